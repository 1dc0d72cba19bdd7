//! LZMS has no encoder here: the chunks come from wimlib, see `tests/data/INDEX.md`.

use std::time::{Duration, Instant};

use super::samples::{self, Numbers};
use super::*;

/// What wimlib made of each sample.
fn fixture(name: &str) -> &'static [u8] {
    macro_rules! fixtures {
        ($($name:literal)*) => {
            match name {
                $($name => include_bytes!(concat!("../../../tests/data/lzms/", $name, ".lzms")),)*
                _ => panic!("no fixture {name}"),
            }
        };
    }
    fixtures!("few" "words" "records" "ramps" "code" "far")
}

#[test]
fn chunks_of_wimlib_are_what_they_were_made_from() {
    let mut decoder = Decoder::new();
    // Twice and in both orders, so that nothing of one chunk is left for the next.
    let samples = samples::all();
    for (name, data) in samples.iter().chain(samples.iter().rev()) {
        let mut output = vec![0xD1; data.len()];
        decoder.decode(fixture(name), &mut output).expect(name);
        assert!(output == *data, "{name}: first difference at {:?}", output.iter().zip(data).position(|(a, b)| a != b));
    }
}

#[test]
fn the_filter_translates_where_there_is_code_and_only_there() {
    let mut decoder = Decoder::new();
    for (name, data) in samples::all() {
        let mut unfiltered = vec![0; data.len()];
        decoder.model.reset(data.len());
        decoder.model.decode(fixture(name), &mut unfiltered).expect(name);
        let differing = unfiltered.iter().zip(&data).filter(|(a, b)| a != b).count();
        match name {
            "code" => assert!(differing > 10_000, "{differing} bytes translated"),
            "few" | "words" => assert_eq!(differing, 0, "{name}"),
            _ => {}
        }
    }
}

#[test]
fn origins_of_the_filter_wrap_without_a_trace() {
    let (_, data) = samples::all().swap_remove(4);
    let mut decoder = Decoder::new();
    decoder.filter.fast_forward();
    for _ in 0..4 {
        let mut output = vec![0; data.len()];
        decoder.decode(fixture("code"), &mut output).expect("a sound chunk");
        assert!(output == data);
    }
}

#[test]
fn input_that_cannot_be_lzms_is_refused() {
    let mut decoder = Decoder::new();
    for input in [&[][..], &[1], &[1, 2], &[1, 2, 3], &[1, 2, 3, 4, 5]] {
        assert!(decoder.decode(input, &mut [0; 100]).is_err(), "{input:?}");
    }
    let words = fixture("words");
    assert!(decoder.decode(&words[..words.len() - 1], &mut [0; 100]).is_err());
}

#[test]
fn outputs_of_every_small_size_are_filled_or_refused() {
    let mut decoder = Decoder::new();
    let mut numbers = Numbers(6);
    for length in 0..300 {
        for _ in 0..20 {
            let input: Vec<u8> = (0..2 * (2 + numbers.below(40))).map(|_| numbers.below(256) as u8).collect();
            let _ = decoder.decode(&input, &mut vec![0; length]);
        }
    }
    assert_eq!(decoder.decode(&[0; 4], &mut []), Ok(()));
}

#[test]
fn a_truncated_chunk_is_refused() {
    let mut decoder = Decoder::new();
    for (name, data) in samples::all().iter().filter(|(name, _)| *name != "far") {
        let whole = fixture(name);
        let mut output = vec![0; data.len()];
        for tenth in 0..10 {
            // Both ends carry bits: what is cut off at one shifts nothing at the other.
            let cut = (whole.len() * tenth / 10) & !1;
            let from_front = decoder.decode(&whole[whole.len() - cut..], &mut output);
            assert!(from_front.is_err() || output != *data, "{name} without its front");
            let from_back = decoder.decode(&whole[..cut], &mut output);
            assert!(from_back.is_err() || output != *data, "{name} without its back");
        }
    }
}

#[test]
fn flipped_bits_end_in_a_result_within_linear_time() {
    let mut decoder = Decoder::new();
    let mut numbers = Numbers(7);
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    for (name, data) in samples::all() {
        let mut chunk = fixture(name).to_vec();
        let mut output = vec![0; data.len()];
        for _ in 0..if name == "far" { 100 } else { 700 } {
            let (at, bit) = (numbers.below(chunk.len() as u64) as usize, 1 << numbers.below(8));
            chunk[at] ^= bit;
            let started = Instant::now();
            let result = decoder.decode(&chunk, &mut output);
            slowest = slowest.max(started.elapsed());
            refused += u32::from(result.is_err());
            chunk[at] ^= bit;
        }
        decoder.decode(&chunk, &mut output).expect("nothing of the damaged chunks is left in the decoder");
        assert!(output == data, "{name}");
    }
    assert!(refused > 1000, "{refused} refused");
    assert!(slowest < Duration::from_secs(5), "{slowest:?} for at most 2.4 MB");
}

#[test]
fn noise_ends_in_a_result() {
    let mut decoder = Decoder::new();
    let mut numbers = Numbers(8);
    let mut output = vec![0; 40_000];
    for _ in 0..2000 {
        // Biased bytes, so that decisions run one way for a while: long matches, delta matches, recent sources.
        let mask = numbers.below(256) | numbers.below(256);
        let input: Vec<u8> = (0..4000).map(|_| (numbers.below(256) & mask) as u8).collect();
        let _ = decoder.decode(&input, &mut output);
    }
}
