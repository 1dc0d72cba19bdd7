//! LZNT1: what NTFS compresses the streams of compressed files with.
//!
//! | | supported |
//! |---|---|
//! | decode, any length | yes |
//! | encode | no: volumes are written with plain streams |
//!
//! The data is a sequence of chunks, each of which unpacks to 4096 bytes, the last one perhaps to fewer. A chunk begins with a
//! header of 16 bits: twelve with the length of what follows less one, three with the signature 3, and the highest that says whether
//! the chunk is compressed. A zero in its place ends the data. A compressed chunk is made of groups: a byte of flags, lowest
//! bit first, then for each flag a literal byte (0) or a match of 16 bits (1). A match has the distance less one in its high bits and
//! the length less three in the others; how many bits the distance has grows with the chunk's output, from 4 at its start to 12.
//!
//! What a chunk leaves of its 4096 bytes, and what the end mark leaves of the output, is zero: NTFS compresses the last part of a
//! stream, and parts that were never written, in this way.
//!
//! Source: \[MS-XCA\] section 2.5; streams compressed by ntfs-3g and Windows.

use super::{Damaged, copy};

/// The longest that a chunk unpacks to.
pub const CHUNK: usize = 4096;

const COMPRESSED: u16 = 0x8000;
const LENGTH: u16 = 0x0FFF;
const SIGNATURE: u16 = 0x7000;
const SIGNATURE_VALUE: u16 = 0x3000;

const MIN_MATCH: usize = 3;
/// Distances have at least so many bits.
const MIN_DISTANCE_BITS: u32 = 4;

const TOO_SHORT: Damaged = Damaged("the compressed data ends too early");
const TOO_LONG: Damaged = Damaged("a chunk that unpacks to more than 4096 bytes");
const TOO_FAR: Damaged = Damaged("a match that starts before its chunk");

/// Fills `output` from `input`, with zeros behind an end mark. Output that the last chunk has beyond `output` is dropped; what
/// follows it in `input` is not looked at. What `output` holds after an error is of no use.
pub fn decode(input: &[u8], output: &mut [u8]) -> Result<(), Damaged> {
    let mut rest = input;
    let mut chunks = output.chunks_mut(CHUNK);
    while let Some(chunk) = chunks.next() {
        let (header, data) = rest.split_first_chunk::<2>().ok_or(TOO_SHORT)?;
        let header = u16::from_le_bytes(*header);
        if header == 0 {
            chunk.fill(0);
            chunks.for_each(|chunk| chunk.fill(0));
            return Ok(());
        }
        if header & SIGNATURE != SIGNATURE_VALUE {
            return Err(Damaged("the signature of a chunk"));
        }
        let (data, behind) = data.split_at_checked(usize::from(header & LENGTH) + 1).ok_or(TOO_SHORT)?;
        rest = behind;
        if header & COMPRESSED == 0 {
            fill(chunk, data);
        } else if chunk.len() == CHUNK {
            let len = unpack(data, chunk)?;
            chunk[len..].fill(0);
        } else {
            let mut whole = [0; CHUNK];
            let len = unpack(data, &mut whole)?;
            fill(chunk, &whole[..len]);
        }
    }
    Ok(())
}

/// As much of `data` as fits, then zeros.
fn fill(chunk: &mut [u8], data: &[u8]) {
    let len = data.len().min(chunk.len());
    chunk[..len].copy_from_slice(&data[..len]);
    chunk[len..].fill(0);
}

/// Unpacks the groups of a chunk, and returns how many bytes they are.
fn unpack(mut data: &[u8], output: &mut [u8]) -> Result<usize, Damaged> {
    let mut at = 0;
    while let Some((&flags, rest)) = data.split_first() {
        data = rest;
        for bit in 0..8 {
            let Some((&byte, behind)) = data.split_first() else { break };
            if flags >> bit & 1 == 0 {
                *output.get_mut(at).ok_or(TOO_LONG)? = byte;
                at += 1;
                data = behind;
                continue;
            }
            let (token, behind) = data.split_first_chunk::<2>().ok_or(TOO_SHORT)?;
            let (distance, length) = split(u16::from_le_bytes(*token), at);
            if distance > at {
                return Err(TOO_FAR);
            }
            if length > output.len() - at {
                return Err(TOO_LONG);
            }
            copy::exact(output, at, distance, length);
            at += length;
            data = behind;
        }
    }
    Ok(at)
}

/// Distance and length of a match at `at` bytes into the chunk: distances have the bits that are needed to reach back to its start.
fn split(token: u16, at: usize) -> (usize, usize) {
    let reach = usize::BITS - at.saturating_sub(1).leading_zeros();
    let length_bits = 16 - reach.clamp(MIN_DISTANCE_BITS, 12);
    let length = token & ((1 << length_bits) - 1);
    (usize::from(token >> length_bits) + 1, usize::from(length) + MIN_MATCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::samples::{Numbers, from_hex, structured, with_damage};

    fn decoded(input: &[u8], length: usize) -> Result<Vec<u8>, Damaged> {
        let mut output = vec![0xD1; length];
        decode(input, &mut output).map(|()| output)
    }

    /// Compresses chunk by chunk with the longest match at each place.
    fn encoded(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for chunk in data.chunks(CHUNK) {
            let packed = encoded_chunk(chunk);
            let (flag, body) = if packed.len() < chunk.len() { (COMPRESSED, &packed[..]) } else { (0, chunk) };
            out.extend((flag | SIGNATURE_VALUE | (body.len() - 1) as u16).to_le_bytes());
            out.extend(body);
        }
        out.extend([0, 0]);
        out
    }

    fn encoded_chunk(chunk: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let (mut at, mut flags_at, mut bit) = (0, 0, 8);
        while at < chunk.len() {
            if bit == 8 {
                (flags_at, bit) = (out.len(), 0);
                out.push(0);
            }
            let length_bits = (4..=12).rev().find(|bits| at <= 1 << (16 - bits)).unwrap();
            let longest = (1 << length_bits) + MIN_MATCH - 1;
            let length_at =
                |from: usize| chunk[at..].iter().zip(&chunk[from..]).take(longest).take_while(|(a, b)| a == b).count();
            let best = (0..at).max_by_key(|from| length_at(*from)).map(|from| (at - from, length_at(from)));
            match best {
                Some((distance, length)) if length >= MIN_MATCH => {
                    out[flags_at] |= 1 << bit;
                    out.extend((((distance - 1) << length_bits | (length - MIN_MATCH)) as u16).to_le_bytes());
                    at += length;
                }
                _ => {
                    out.push(chunk[at]);
                    at += 1;
                }
            }
            bit += 1;
        }
        out
    }

    /// The example of \[MS-XCA\] section 3.3.
    #[test]
    fn decodes_the_specification_s_example() {
        let packed = from_hex(
            "38b08846232000204720410010a24701a045204400084501507900c045200524138805b4024a44ef0358028c091601484500be009e00
             0401189000",
        );
        let text = b"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# G \
                     F# E D E A F# F# G A A G F# E D D E F# E D D";
        assert_eq!(decoded(&packed, text.len()).unwrap(), text);
    }

    #[test]
    fn round_trips() {
        for seed in 0..12 {
            let data = structured(seed, 1 + 5000 * seed as usize);
            assert!(decoded(&encoded(&data), data.len()).unwrap() == data, "seed {seed}");
        }
    }

    #[test]
    fn long_runs_reach_the_end_of_a_chunk() {
        for len in [1, 4095, 4096, 4097, 65536] {
            let data = vec![7; len];
            assert!(decoded(&encoded(&data), len).unwrap() == data, "{len}");
        }
    }

    #[test]
    fn the_rest_is_zero() {
        let packed = encoded(b"only this");
        let output = decoded(&packed, 10_000).unwrap();
        assert_eq!((&output[..9], output.len()), (&b"only this"[..], 10_000));
        assert!(output[9..].iter().all(|byte| *byte == 0));
        assert_eq!(decoded(&packed[..packed.len() - 2], 10_000), Err(TOO_SHORT), "without an end mark");
        assert_eq!(decoded(&packed[..packed.len() - 2], 9).unwrap(), b"only this");
        assert_eq!(decoded(&encoded(&structured(1, 9000)), 5000).unwrap(), structured(1, 9000)[..5000]);
    }

    #[test]
    fn refuses_what_is_damaged() {
        assert_eq!(decoded(&[], 1), Err(TOO_SHORT));
        assert_eq!(decoded(&[0x01, 0x80, 0, 0], 1), Err(Damaged("the signature of a chunk")));
        assert_eq!(decoded(&[0x03, 0xB0, 0x02, 0x41, 0x00, 0x10], 10), Err(TOO_FAR));
        assert_eq!(decoded(&[0x03, 0xB0, 0x02, 0x41, 0x06, 0x00], 10), Ok(vec![0x41; 10]));
        let endless: Vec<u8> = [0x05, 0xB0, 0x06, 0x41, 0xFF, 0x0F, 0xFF, 0x0F].into();
        assert_eq!(decoded(&endless, 4096), Err(TOO_LONG));
    }

    #[test]
    fn damage_does_no_harm() {
        let data = structured(5, 20_000);
        with_damage(&encoded(&data), data.len(), |packed, length| {
            let _ = decoded(packed, length);
        });
        let mut numbers = Numbers::new(9);
        for _ in 0..3000 {
            let noise: Vec<u8> = (0..numbers.below(300)).map(|_| numbers.byte() | 0x30).collect();
            let _ = decoded(&noise, numbers.below(9000));
        }
    }
}
