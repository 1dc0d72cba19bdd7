use super::*;
use crate::codec::Damaged;
use crate::codec::samples::{Numbers, from_hex, structured, vector_data, with_damage};
use proptest::prelude::*;

/// Written by wimlib 1.13.5 for chunks of 32 KiB: a verbatim block with calls.
const VERBATIM: &str = "
    5e2000c20000250050433400b04c6cd18465ef2483e4af47d055a020d73479c3bbd2defb98d100000100221a01a86f2064b3969f92a10262
    e3634405b65a54098405822c7f8740ba000000000600668807409ed87e3ffefd856ebcf9bb3c7b3c6fbbcdef377c8fefa3cc1252c554a04a
    dfa2440d564bb511246466a54a2653d0638dc20f0d612056725147046a30053ad4194a440aec20cf1e9d3262a047f437a06d021347044920
    02b990939c2cb0816d205870f6a552ec909b1c4d98c25118f5b20446b19a9d8e021dce2afea1c5089aa240eaf56d82293d224a0148354203
    48154f8304491c9969c24047b3a18aa8a51f1420a663504011cb1d1c9200a00e824b3681414a2a2d3d61549a450a6db476143850ba9e1290
    8865b6cd116bdfa4db7bcf0fbbe7dc75e71eb80dc7ad4b6edb72dc9ae8f64db7b3ba6efa775d0058
";

/// Written by wimlib 1.13.5 for chunks of 64 KiB: an aligned block.
const ALIGNED: &str = "
    01400090000900000000200100000000ee2ec9eebb74baa4242ea5b8b8c4714949174b77c8a5884b97b8b874aabbb8ee7497008000000305
    50331400530d3b47707174747b74c3c2e8f8f0f0e0f0e0e87ce7002000000000040044661d09d9bcfd7ee8fbb7c23ec878d19f2e2a2853c7
    360ddadaf9bc9e76ef45a9f7ee6e676337f17e0fa57e821bec983c5c4a590d47eddbada69ef55be7648b6a96cb9fcbbe6c6bfc3d0f7d737f
    c0f8bad559583da4cba368965ee33a7fde862ed6ba7bf6736ae798317e09c7be922370a37e9d4a9a55cf71eab5b620fabc29e49baeaeddbf
    50c7b737861fa982c1d0a1ccdeacad3c2e26f7efb6d33176bd3397cb37afe6507f3cd6b5f72827dae9020529e957cdbc96b6339f4ffbf51e
    84faed6e27e336d176ffae790337d83078387472a778ae6fb596f71cdb39c9b86966a7dc6d798365f9bcdf42a45c6ae01cbdce24cf1e7ee4
    e2683fde6d109cbdf254cf219cd98c6acbbff7bf9123af1346cfa92710bac114ea4ac2ab6fa0a910c5f3650d2e4226ecbece4e20a45e3f1e
    8fa221c8a229cc1366d7fa27105ad195b74fe176f335b290057875153b42270e4e1f4e60c4ff281f9322a1d0d933fa09c4951d140871688b
    b99ae1b7c837e8200132028c01a4220470e2081be2c500609002cea50b0d10a015a5a970020920e2a0b082186ae101010090045e90810cce
    12a114f0452b201188664493704521783092e1002f5805014d54c3024200401432083d22f6600c831851210286584820f40bc32814c04304
    4421622a0270580f1e4862986384a219602085ee7a0000a168c6c05b8d31547143140cdb105151ec4406a6820b30428334f116030f9e2870
    58c51c4808100120808421e00114709102f50dc41886c3742898000583526f41d00c5260a28941d12a8cc7c185003444c8e098c6549080c1
    0188400f154c32888c0184693060a0b89532d418430606ca83846400150b4006caa001ac0608e3544400a2153080d01c2980110565205885
    1bbc640fc529ede12380d0281a1c9f16600932d8081e90c618080800436a16d408bb60400aaaf57081018470c644a918818984e80061c570
    4c4c820648840c28e2b830ae0c07305a2f67d119c9c370153560250280ae9c6144fcd8ca40339a802219c1d185e7ca2030d0d842091064c0
    17069087a81ec0cf020833de8caf02a739a4f9c1a345820440d629ec28431306b041
";

fn window(order: u32) -> Window {
    Window::of_chunk_size(1 << order).unwrap()
}

fn decoded(order: u32, chunk: &[u8], length: usize) -> Result<Vec<u8>, Damaged> {
    let mut output = vec![0xD1; length];
    Decoder::new(window(order)).decode(chunk, &mut output).map(|()| output)
}

/// What [`ALIGNED`] holds: records of 16 bytes that repeat 24 earlier ones.
fn records() -> Vec<u8> {
    let mut state = 1u32;
    let mut data = Vec::new();
    for record in 0..400 {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        let which = if record < 24 { record } else { (state >> 16) % 24 };
        data.extend((1..=16).map(|byte| ((which * 16 + byte).wrapping_mul(2_654_435_761) >> 24) as u8));
    }
    data
}

#[test]
fn decodes_what_wimlib_writes() {
    let data = vector_data();
    assert_eq!(decoded(15, &from_hex(VERBATIM), data.len()).unwrap(), data);
    let data = records();
    assert_eq!(decoded(16, &from_hex(ALIGNED), data.len()).unwrap(), data);
}

#[test]
fn windows() {
    assert_eq!(window(15).main_symbols(), 256 + 8 * 30);
    assert_eq!(window(19).main_symbols(), 256 + 8 * 38);
    assert_eq!(window(21).main_symbols(), MAX_MAIN_SYMBOLS);
    for bytes in [0, 1, 1 << 14, 40_000, 1 << 22, u32::MAX] {
        assert_eq!(Window::of_chunk_size(bytes), None);
    }
}

#[test]
fn round_trips_in_every_window() {
    let mut chunk = Vec::new();
    for order in 15..=21 {
        let mut encoder = Encoder::new(window(order));
        let mut decoder = Decoder::new(window(order));
        for seed in 0..3 {
            let data = structured(seed, (1 << order) - seed as usize * 777);
            assert!(encoder.encode(&data, &mut chunk));
            let mut output = vec![0xD1; data.len()];
            decoder.decode(&chunk, &mut output).unwrap();
            assert!(output == data, "order {order}, seed {seed}");
        }
    }
}

#[test]
fn round_trips_in_short_chunks() {
    let mut encoder = Encoder::new(window(15));
    let mut decoder = Decoder::new(window(15));
    let mut chunk = Vec::new();
    for length in (0..300).chain([1000, 32_767]) {
        let data = structured(2, length);
        if encoder.encode(&data, &mut chunk) {
            let mut output = vec![0xD1; length];
            decoder.decode(&chunk, &mut output).unwrap();
            assert_eq!(output, data);
        } else {
            assert!(length < 300);
        }
    }
}

/// The two longest offsets have no code in a window that they fill.
#[test]
fn matches_at_the_far_end() {
    let mut numbers = Numbers::new(7);
    let mut chunk = Vec::new();
    for order in [15, 16] {
        let mut data: Vec<u8> = (0..1 << order).map(|_| numbers.byte() & 15).collect();
        for tail in 2..8 {
            let end = data.len();
            data.copy_within(0..tail, end - tail);
            data[0] = 0xF0;
            data[end - tail] = 0xF0;
            assert!(Encoder::new(window(order)).encode(&data, &mut chunk));
            assert!(decoded(order, &chunk, data.len()).unwrap() == data, "order {order}, tail {tail}");
        }
    }
}

#[test]
fn does_not_grow_what_cannot_shrink() {
    let mut numbers = Numbers::new(5);
    let noise: Vec<u8> = (0..32_768).map(|_| numbers.byte()).collect();
    let mut chunk = Vec::new();
    let mut encoder = Encoder::new(window(15));
    assert!(!encoder.encode(&noise, &mut chunk));
    assert!(!encoder.encode(&[], &mut chunk));
    assert!(!encoder.encode(&[0; 32_769], &mut chunk));
    assert!(Decoder::new(window(15)).decode(&[0; 9], &mut [0; 32_769]).is_err());
}

#[test]
fn is_deterministic() {
    let data = structured(11, 32_768);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut used = Encoder::new(window(16));
    assert!(used.encode(&structured(12, 65_536), &mut first));
    assert!(used.encode(&data, &mut first));
    assert!(Encoder::new(window(16)).encode(&data, &mut second));
    assert_eq!(first, second);
}

#[test]
fn a_truncated_chunk_is_refused() {
    for (order, chunk, length) in [(15, VERBATIM, vector_data().len()), (16, ALIGNED, records().len())] {
        let chunk = from_hex(chunk);
        for cut in 0..chunk.len() {
            assert!(decoded(order, &chunk[..cut], length).is_err(), "cut to {cut}");
        }
    }
}

#[test]
fn damage_does_no_harm() {
    let mut output = vec![0; 1 << 17];
    let mut chunk = Vec::new();
    for (order, seed) in [(15, 1), (16, 2), (17, 3)] {
        let data = structured(seed, 5000);
        assert!(Encoder::new(window(order)).encode(&data, &mut chunk));
        let mut decoder = Decoder::new(window(order));
        let mut refused = 0;
        with_damage(&chunk, data.len(), |chunk, length| {
            refused += u32::from(decoder.decode(chunk, &mut output[..length]).is_err());
        });
        assert!(refused > 500, "{refused}");
        let mut whole = vec![0; data.len()];
        decoder.decode(&chunk, &mut whole).unwrap();
        assert!(whole == data, "damage outlived its chunk");
    }
    with_damage(&from_hex(ALIGNED), records().len(), |chunk, length| {
        let _ = decoded(16, chunk, length);
    });
}

/// Units from bits, most significant first; spaces do not count.
fn units(bits: &str) -> Vec<u8> {
    let digits: Vec<u8> = bits.bytes().filter(|b| *b != b' ').map(|b| b - b'0').collect();
    let unit = |digits: &[u8]| (0..16).fold(0u16, |unit, i| unit << 1 | u16::from(digits.get(i).copied().unwrap_or(0)));
    digits.chunks(16).flat_map(|digits| unit(digits).to_le_bytes()).collect()
}

fn uncompressed_block(size: u16, offsets: [u32; 3], data: &[u8]) -> Vec<u8> {
    let mut block = units(&format!("011 0 {size:016b}"));
    block.extend(offsets.iter().flat_map(|offset| offset.to_le_bytes()));
    block.extend(data);
    block
}

#[test]
fn uncompressed_blocks() {
    let data = b"an odd number of bytes, \xE8 and a call or two";
    assert!(!data.len().is_multiple_of(2));
    let mut chunk = uncompressed_block(data.len() as u16, [1, 1, 1], data);
    assert_eq!(decoded(15, &chunk, data.len()).unwrap()[..25], data[..25], "the last byte of padding may be missing");
    chunk.push(0);
    chunk.extend(uncompressed_block(4, [3, 2, 1], b"tail"));
    let output = decoded(15, &chunk, data.len() + 4).unwrap();
    assert_eq!(output[data.len()..], *b"tail");
    assert!(decoded(15, &chunk, data.len() + 5).is_err());
    for cut in 0..chunk.len() {
        assert!(decoded(15, &chunk[..cut], data.len() + 4).is_err());
    }
    let zero = uncompressed_block(4, [1, 0, 1], b"data");
    assert_eq!(decoded(15, &zero, 4), Err(Damaged("a recent offset of zero")));
}

#[test]
fn calls_in_uncompressed_blocks_are_translated_too() {
    let mut data = vec![0; 20];
    data[4] = 0xE8;
    data[5..9].copy_from_slice(&1000u32.to_le_bytes());
    let output = decoded(15, &uncompressed_block(20, [1, 1, 1], &data), 20).unwrap();
    assert_eq!(output[5..9], 996u32.to_le_bytes());
}

#[test]
fn evil_headers_are_refused() {
    let block = Damaged("a block that is empty or passes the end of the output");
    for (bits, error) in [
        ("000 1", Damaged("a block of an unknown type")),
        ("100 1", Damaged("a block of an unknown type")),
        ("001 0 0000000000000000", block),
        ("001 0 1000000000000001", block),
    ] {
        let mut chunk = units(bits);
        chunk.extend([0; 30]);
        assert_eq!(decoded(15, &chunk, 32_768), Err(error), "{bits}");
    }
    let precode = |one: usize, other: usize| -> String {
        (0..PRECODE_SYMBOLS).map(|symbol| if symbol == one || symbol == other { "0001" } else { "0000" }).collect()
    };
    for (lengths, error) in [
        (precode(18, 19), "a run that passes the end of the codeword lengths"),
        (precode(3, 3), "a Huffman code that is not complete"),
    ] {
        let mut chunk = units(&format!("001 1 {lengths} {}", "0 11111 ".repeat(6)));
        chunk.extend([0; 300]);
        assert_eq!(decoded(15, &chunk, 32_768), Err(Damaged(error)));
    }
    let mut chunk = units(&format!("001 1 {} 1 0 1", precode(18, 19)));
    chunk.extend([0xFF; 30]);
    assert_eq!(decoded(15, &chunk, 32_768), Err(Damaged("a run of runs among the codeword lengths")));
}

#[test]
fn slots_have_room_for_all_offsets() {
    assert_eq!(SLOTS[3], (0, 3));
    assert_eq!(SLOTS[4], (1, 4));
    assert_eq!(SLOTS[35], (16, 196_608));
    assert_eq!(SLOTS[36], (17, 262_144));
    assert_eq!(MAX_MATCH, 257);
}

proptest! {
    #[test]
    fn round_trips_anything(data in proptest::collection::vec(prop_oneof![Just(0u8), Just(0xE8), 0u8..4, any::<u8>()], 0..3000)) {
        let mut chunk = Vec::new();
        if Encoder::new(window(15)).encode(&data, &mut chunk) {
            prop_assert_eq!(decoded(15, &chunk, data.len()), Ok(data));
        }
    }

    #[test]
    fn survives_anything(chunk in proptest::collection::vec(any::<u8>(), 0..600), length in 0usize..3000) {
        let _ = decoded(16, &chunk, length);
    }

    #[test]
    fn translation_of_calls_can_be_undone(mut data in proptest::collection::vec(prop_oneof![Just(0xE8u8), Just(0u8), Just(0xFF), any::<u8>()], 0..400)) {
        let before = data.clone();
        e8::to_absolute(&mut data);
        e8::to_relative(&mut data);
        prop_assert_eq!(data, before);
    }
}
