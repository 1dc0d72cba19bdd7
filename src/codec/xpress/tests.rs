use super::*;
use crate::codec::Damaged;
use crate::codec::samples::{Numbers, from_hex, structured, vector_data, with_damage};
use proptest::prelude::*;

/// Written by wimlib 1.13.5.
const VECTOR: &str = "
    0600000000007000000000000000000005000000000080005544546566600000808888888888080000000000000000008000880080000000
    8078800000000000000000000000000000000000000000000008000008000008000008000008000008000008000008000008000008000008
    0000080005000000000000000000000008000000000000800000000000000000050000000000000000000000000000000000000060800000
    7807000000080000560700000007000056080000005400005808000000600000680800000050070000000000000000000000000000000000
    0000000000000000000000000000000000000000000000000000000000000000324af4f3f4f1f2729b23132a15622a6805c456a06d20ec0a
    7d41964176212e8832c41fd153913ba5aa8465d1d7d2d56865784c2782e9aa98c60caa358a2bc550d7052c2abceba2920dd6c894ccc87263
    3c1576c3fc208fab2209e21be083c4378d595d831857f90676616f404d9700e632df800f33df8d393af5370ce8d407cb18b87d131f5cbe09
    19ae0707c8c4702c4c7d878ce50764490a4e60bf9f052a093871196a0967fcc47ff41507c44b53383221ca1136646a62c82814a746795845
    0bad1b51c9168e4c489892298c15a68c044903bd0290f09700727a939c055c802c2403e4a03305e4412f20677f2a390b5f010cff0fe485dc
    8ecf70a8c8597ffe093d86c40b484c9cd1a4eead5cdfff28015194dfae5b47f30db27527df4d5b75f1dfb65b07ef8dba75e7decd5b75edde
    be5cc7eb0dc275acde5194ecc50000
";

fn decoded(chunk: &[u8], length: usize) -> Result<Vec<u8>, Damaged> {
    let mut output = vec![0xD1; length];
    Decoder::new().decode(chunk, &mut output).map(|()| output)
}

#[test]
fn decodes_what_wimlib_writes() {
    let data = vector_data();
    assert_eq!(decoded(&from_hex(VECTOR), data.len()).unwrap(), data);
}

#[test]
fn round_trips_in_every_chunk_size() {
    let mut encoder = Encoder::new();
    let mut decoder = Decoder::new();
    let mut chunk = Vec::new();
    for order in 9..=16 {
        for seed in 0..6 {
            let data = structured(seed, (1 << order) - seed as usize * 7);
            if encoder.encode(&data, &mut chunk) {
                assert!(chunk.len() < data.len());
                let mut output = vec![0xD1; data.len()];
                decoder.decode(&chunk, &mut output).unwrap();
                assert!(output == data, "order {order}, seed {seed}");
            } else {
                assert!(order < 11, "order {order}, seed {seed} did not become smaller");
            }
        }
    }
}

#[test]
fn long_matches_of_every_coding() {
    let mut encoder = Encoder::new();
    let mut chunk = Vec::new();
    for run in (1..40).chain(260..290).chain([600, 60_000, MAX_CHUNK - 700]) {
        let mut data = structured(3, 600);
        data.resize(data.len() + run, b'r');
        data.extend(b"the end");
        assert!(encoder.encode(&data, &mut chunk));
        assert!(decoded(&chunk, data.len()).unwrap() == data, "run of {run}");
    }
}

#[test]
fn does_not_grow_what_cannot_shrink() {
    let mut numbers = Numbers::new(5);
    let noise: Vec<u8> = (0..4096).map(|_| numbers.byte()).collect();
    let mut chunk = Vec::new();
    assert!(!Encoder::new().encode(&noise, &mut chunk));
    assert!(!Encoder::new().encode(&[], &mut chunk));
    assert!(!Encoder::new().encode(&[0; MAX_CHUNK + 1], &mut chunk));
}

#[test]
fn is_deterministic() {
    let data = structured(11, 32768);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut used = Encoder::new();
    assert!(used.encode(&structured(12, 65536), &mut first));
    assert!(used.encode(&data, &mut first));
    assert!(Encoder::new().encode(&data, &mut second));
    assert_eq!(first, second);
}

#[test]
fn a_truncated_chunk_is_refused_or_was_padded() {
    let data = vector_data();
    let chunk = from_hex(VECTOR);
    for length in 0..chunk.len() {
        if let Ok(output) = decoded(&chunk[..length], data.len()) {
            assert!(length >= chunk.len() - 4 && output == data, "cut to {length}");
        }
    }
}

#[test]
fn damage_does_no_harm() {
    let mut decoder = Decoder::new();
    let mut chunk = Vec::new();
    let mut output = vec![0; 1 << 17];
    for seed in 0..4 {
        let data = structured(seed, 5000);
        assert!(Encoder::new().encode(&data, &mut chunk));
        let mut refused = 0;
        with_damage(&chunk, data.len(), |chunk, length| {
            refused += u32::from(decoder.decode(chunk, &mut output[..length]).is_err());
        });
        assert!(refused > 500, "{refused}");
    }
}

/// A code in which a match of 3 bytes at offset 1 has one bit, and so has a literal.
fn two_symbols() -> Vec<u8> {
    let mut chunk = vec![0; HEADER_BYTES];
    chunk[b'x' as usize / 2] |= 1;
    chunk[(LITERALS + 16) / 2] |= 1;
    chunk
}

#[test]
fn a_match_before_the_start_is_refused() {
    for length in [3, 100] {
        let mut chunk = two_symbols();
        chunk.extend(0b1000_0000_0000_0000u16.to_le_bytes());
        chunk.extend([0; 40]);
        assert_eq!(decoded(&chunk, length), Err(Damaged("a match that starts before the output")));
    }
}

#[test]
fn a_match_past_the_end_is_refused() {
    let mut chunk = two_symbols();
    // x, then a match of offset 2 + 0 bits
    chunk.extend(0b0010_0000_0000_0000u16.to_le_bytes());
    chunk.extend([0; 2]);
    assert_eq!(decoded(&chunk, 5), Ok(b"xxxxx".to_vec()));
    assert_eq!(decoded(&chunk, 4), Err(Damaged("a match that passes the end of the output")));
}

#[test]
fn codes_that_are_not_complete_are_refused() {
    let mut chunk = vec![0; HEADER_BYTES + 10];
    assert_eq!(decoded(&chunk, 1), Err(Damaged("a symbol of an empty Huffman code")));
    chunk[0] = 1;
    assert_eq!(decoded(&chunk, 1), Err(Damaged("a Huffman code that is not complete")));
    chunk[0] = 0x11;
    assert_eq!(decoded(&chunk, 1), Ok(vec![0]));
    chunk[1] = 0x11;
    assert_eq!(decoded(&chunk, 1), Err(Damaged("a Huffman code that is not complete")));
}

proptest! {
    #[test]
    fn round_trips_anything(data in proptest::collection::vec(prop_oneof![Just(0u8), 0u8..4, any::<u8>()], 0..3000)) {
        let mut chunk = Vec::new();
        if Encoder::new().encode(&data, &mut chunk) {
            prop_assert_eq!(decoded(&chunk, data.len()), Ok(data));
        }
    }

    #[test]
    fn survives_anything(chunk in proptest::collection::vec(any::<u8>(), 0..600), length in 0usize..3000) {
        let _ = decoded(&chunk, length);
    }
}
