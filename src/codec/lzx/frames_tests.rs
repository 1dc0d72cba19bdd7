//! LZX in the frames of cabinets.

use super::frames::Frames;
use super::{Encoder, Window};
use crate::codec::Damaged;
use crate::codec::samples::{structured, with_damage};
use proptest::prelude::*;

const FRAME: usize = 1 << 15;

fn window(order: u16) -> Window {
    Window::of_order(order).unwrap()
}

/// Decodes frames, each of 32 KiB but for the last one.
fn decoded(order: u16, frames: &[Vec<u8>], len: usize) -> Result<Vec<u8>, Damaged> {
    let mut decoder = Frames::new(window(order));
    let mut output = Vec::new();
    for frame in frames {
        let len = FRAME.min(len - output.len());
        output.extend_from_slice(decoder.decode(frame, len)?);
    }
    Ok(output)
}

/// Units from bits, most significant first.
fn units(bits: &str) -> Vec<u8> {
    let digits: Vec<u8> = bits.bytes().map(|b| b - b'0').collect();
    let unit = |digits: &[u8]| (0..16).fold(0u16, |unit, i| unit << 1 | u16::from(digits.get(i).copied().unwrap_or(0)));
    digits.chunks(16).flat_map(|digits| unit(digits).to_le_bytes()).collect()
}

/// The head of an uncompressed block.
fn head(before: &str, size: usize) -> Vec<u8> {
    let mut head = units(&format!("{before}011{size:024b}"));
    head.extend([1u32, 1, 1].iter().flat_map(|offset| offset.to_le_bytes()));
    head
}

#[test]
fn windows_of_cabinets() {
    assert_eq!(window(21).size(), 1 << 21);
    for order in [0, 14, 22, 31, u16::MAX] {
        assert_eq!(Window::of_order(order), None);
    }
}

#[test]
fn frames_go_on_where_the_last_ended() {
    for (order, len) in [(18, 200_000), (21, 700_001), (17, FRAME), (17, 1)] {
        let data = structured(u64::from(order), len);
        let frames = Encoder::new(window(order)).encode_frames(&data);
        assert!(decoded(order, &frames, len).unwrap() == data, "{order}");
    }
}

/// Many windows of data: the decoder moves what it keeps.
#[test]
fn the_window_moves_on() {
    let frame: Vec<u8> = (0..FRAME).map(|at| ((at * at) >> 7) as u8).collect();
    let mut decoder = Frames::new(window(15));
    for number in 0..20 {
        let mut packed = head(if number == 0 { "0" } else { "" }, FRAME);
        packed.extend(frame.iter().map(|byte| byte ^ number));
        let output = decoder.decode(&packed, FRAME).unwrap();
        assert!(output.iter().zip(&frame).all(|(a, b)| *a == b ^ number), "{number}");
    }
}

#[test]
fn calls_are_translated_by_their_place_in_the_whole() {
    let mut data = vec![0; 2 * FRAME];
    for (at, operand) in [
        (4, 1000),
        (FRAME + 100, 70_000),
        (FRAME + 200, 0),
        (FRAME + 300, -1),
        (FRAME - 6, 500),
        (FRAME + 400, 1 << 20),
    ] {
        data[at] = 0xE8;
        data[at + 1..at + 5].copy_from_slice(&i32::to_le_bytes(operand));
    }
    let size = format!("1{:032b}", 1 << 20);
    let mut first = head(&size, 2 * FRAME);
    first.extend(&data[..FRAME]);
    let output = decoded(16, &[first, data[FRAME..].to_vec()], data.len()).unwrap();
    let operand = |at: usize| i32::from_le_bytes(output[at + 1..at + 5].try_into().unwrap());
    assert_eq!(operand(4), 996);
    assert_eq!(operand(FRAME + 100), 70_000 - FRAME as i32 - 100);
    assert_eq!(operand(FRAME + 200), -(FRAME as i32) - 200, "an absolute 0 is the start of the file");
    assert_eq!(operand(FRAME + 300), (1 << 20) - 1);
    assert_eq!(operand(FRAME - 6), 500, "too near to the end of its frame");
    assert_eq!(operand(FRAME + 400), 1 << 20, "beyond the file");
}

/// A block of an odd number of bytes over a frame's end: the byte of padding is where the block ends.
#[test]
fn uncompressed_blocks_over_frames() {
    let data: Vec<u8> = (0..FRAME + 100).map(|at| (at % 251) as u8).collect();
    for (first_block, second) in [(FRAME + 51, 49), (FRAME + 52, 48), (11, FRAME + 89)] {
        let mut stream = head("0", first_block);
        let mut frames = vec![Vec::new(), Vec::new()];
        let (a, b) = data.split_at(first_block);
        let cut = |stream: &mut Vec<u8>, bytes: &[u8], done: usize, frames: &mut Vec<Vec<u8>>| {
            let here = if done < FRAME { bytes.len().min(FRAME - done) } else { bytes.len() };
            stream.extend(&bytes[..here]);
            if here < bytes.len() {
                frames[0] = std::mem::take(stream);
                stream.extend(&bytes[here..]);
            }
        };
        cut(&mut stream, a, 0, &mut frames);
        if first_block % 2 == 1 {
            stream.push(0xAA);
        }
        stream.extend(head("", second));
        cut(&mut stream, b, a.len(), &mut frames);
        frames[1] = stream;
        assert!(decoded(15, &frames, data.len()).unwrap() == data, "{first_block}");
    }
}

#[test]
fn evil_streams_are_refused() {
    let refused = |frame: Vec<u8>| decoded(15, &[frame], 100).unwrap_err().0;
    assert_eq!(refused(units(&format!("0001{:024b}", 0))), "an empty block");
    assert_eq!(refused([units(&format!("0000{:024b}", 5)), vec![0; 90]].concat()), "a block of an unknown type");
    assert_eq!(refused(Vec::new()), "an empty block");
    let mut zero = head("0", 100);
    zero[4..8].fill(0);
    assert_eq!(refused(zero), "a recent offset of zero");
    assert!(Frames::new(window(15)).decode(&[0; 9], FRAME + 1).is_err());
    // An offset that reaches far before the window, then a match with it.
    let data = structured(3, 5000);
    let frames = Encoder::new(window(16)).encode_frames(&data);
    let mut decoder = Frames::new(window(16));
    let mut evil = head("0", 2);
    evil[4..16].fill(0xFF);
    evil.extend(b"ab");
    decoder.decode(&evil, 2).unwrap();
    assert!(decoder.decode(&frames[0], 5000).is_err());
}

#[test]
fn damage_does_no_harm() {
    let data = structured(5, 50_000);
    let frames = Encoder::new(window(16)).encode_frames(&data);
    let mut refused = 0;
    with_damage(&frames[1], data.len() - FRAME, |frame, len| {
        let mut decoder = Frames::new(window(16));
        decoder.decode(&frames[0], FRAME).unwrap();
        refused += u32::from(decoder.decode(frame, len.min(FRAME)).is_err());
    });
    assert!(refused > 500, "{refused}");
    for cut in 0..frames[1].len() {
        assert!(decoded(16, &[frames[0].clone(), frames[1][..cut].to_vec()], data.len()).is_err(), "{cut}");
    }
}

proptest! {
    #[test]
    fn survives_anything(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..4), len in 0usize..5000) {
        let mut decoder = Frames::new(window(15));
        for frame in &frames {
            let _ = decoder.decode(frame, len);
        }
    }
}
