//! Nobody but Windows makes deltas: what is decoded here was made by `samples`, after the same descriptions. Those by Windows are in the integration tests.

use std::time::{Duration, Instant};

use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::bits::Bits;
use super::huffman::Code;
use super::samples::{self, Codes, Item, Recipe};
use super::*;
use crate::error::{Error, Kind};

const LIMIT: usize = 1 << 20;

/// Something to copy from, without repetitions.
fn source(len: usize) -> Vec<u8> {
    (0..len as u32 / 4).flat_map(|n| (n.wrapping_mul(0x9E37_79B1) >> 7).to_le_bytes()).collect()
}

/// Parts of the source, moved or not, text, runs.
fn target(source: &[u8]) -> Vec<u8> {
    let part = |from: usize, to: usize| source.get(from..to).unwrap_or_default();
    let mut target = part(0, 5_000).to_vec();
    target.extend_from_slice(b"something new, something new, something newer");
    target.extend_from_slice(part(100_000, 103_000));
    target.extend_from_slice(&[0; 3_000]);
    target.extend_from_slice(part(4_900, 40_000));
    target.extend_from_slice(part(7, 9));
    target
}

/// What the items come to, one byte after the other.
fn replay(source: &[u8], recipe: &Recipe) -> Vec<u8> {
    let mut all = source.to_vec();
    let mut recent = [0; 3];
    let shift_at = |place: i64| {
        let own = [(source.len() as i64, -(source.len() as i64))];
        let entries = recipe.rifts.iter().chain(&own).filter(|(from, _)| *from <= place);
        entries.max_by_key(|(from, _)| *from).map_or(0, |(_, shift)| *shift)
    };
    for item in &recipe.items {
        let place = all.len() as i64;
        let (distance, length) = match *item {
            Item::Byte(byte) => {
                all.push(byte);
                continue;
            }
            Item::Near { more, length } => ((more - shift_at(place)) as usize, length),
            Item::Back { distance, length } => (distance as usize, length),
            Item::Recent { which, length } => (recent[usize::from(which)], length),
            Item::Aligned { length } => (-shift_at(place) as usize, length),
        };
        for _ in 0..length {
            let here =
                if matches!(item, Item::Aligned { .. }) { -shift_at(all.len() as i64) as usize } else { distance };
            all.push(all[all.len() - here]);
        }
        if let Some(at) = recent.iter().position(|other| *other == distance) {
            recent[..=at].rotate_right(1);
        } else {
            recent.rotate_right(1);
        }
        recent[0] = distance;
    }
    all.split_off(source.len())
}

/// Decodes a recipe, and compares with what it stands for.
fn check(source: &[u8], recipe: &Recipe) {
    let target = replay(source, recipe);
    let delta = samples::delta(source.len(), target.len(), recipe);
    assert!(apply(source, &delta, LIMIT).unwrap() == target, "{recipe:?}");
}

#[test]
fn what_was_encoded_comes_back() {
    let long = source(200_000);
    let target = target(&long);
    for source in [&long[..], &long[..50], &[]] {
        let delta = samples::encode(source, &target);
        assert!(delta.len() < target.len());
        assert_eq!(apply(source, &delta, LIMIT).unwrap(), target);
    }
    assert_eq!(apply(b"abc", &samples::encode(b"abc", b""), 0).unwrap(), b"");
}

#[test]
fn every_slot_and_length_is_known() {
    let source = source(400_000);
    let mut items = vec![Item::Byte(1), Item::Byte(255)];
    for distance in (1..40).chain((5..19).flat_map(|power| [(1 << power) - 1, 1 << power, (3 << (power - 1)) + 5])) {
        items.push(Item::Back { distance, length: 2 + distance % 9 });
    }
    for more in [-0xA001, -0xA000, -0x2001, -0x2000, -1, 0, 1, 0x1FFF, 0x2000, 0x9FFF, 0xA000, 0x29FFF] {
        items.push(Item::Near { more, length: 7 });
        items.push(Item::Recent { which: 0, length: 3 });
        items.push(Item::Recent { which: 2, length: 2 });
        items.push(Item::Recent { which: 1, length: 2 });
        items.push(Item::Byte(more as u8));
    }
    for length in [2, 8, 9, 263, 264, 265, 519, 520, 5000, 100_000] {
        items.push(Item::Aligned { length });
        items.push(Item::Back { distance: 3, length });
    }
    // Places before the start of the source come first in the target: go on when it is long enough.
    items.rotate_right(20);
    for codes in [Codes::Flat, Codes::Own(vec![0]), Codes::Own(vec![0, 1, 400, 70_000])] {
        check(&source, &Recipe { items: items.clone(), codes, ..Recipe::default() });
    }
}

/// A match that begins in the source and goes on in the target.
#[test]
fn source_and_target_are_one_space() {
    let items = vec![Item::Byte(b'-'), Item::Back { distance: 4, length: 11 }, Item::Recent { which: 0, length: 9 }];
    check(b"abc", &Recipe { items, ..Recipe::default() });
}

#[test]
fn rift_tables_shift_places_of_the_source() {
    let source = source(20_000);
    let len = source.len() as i64;
    let rifts = vec![(len + 100, -len + 5_000), (len + 150, -len - 120), (len + 200, -7), (len + 1_000_000, 0)];
    let items = vec![
        Item::Aligned { length: 180 },
        Item::Near { more: -3, length: 5 },
        Item::Aligned { length: 40 },
        Item::Near { more: 20, length: 5 },
    ];
    for codes in [Codes::Flat, Codes::Own(vec![0])] {
        check(&source, &Recipe { items: items.clone(), rifts: rifts.clone(), codes, ..Recipe::default() });
    }
}

#[test]
fn hashes_are_checked() {
    let target = b"target".to_vec();
    let items: Vec<Item> = target.iter().map(|byte| Item::Byte(*byte)).collect();
    for (algorithm, hash) in [(0x8004, Sha1::digest(&target).to_vec()), (0x800C, Sha256::digest(&target).to_vec())] {
        let with = |hash: Vec<u8>| {
            let recipe = Recipe { items: items.clone(), hash: Some((algorithm, hash)), ..Recipe::default() };
            samples::delta(0, target.len(), &recipe)
        };
        let delta = with(hash.clone());
        assert_eq!(Header::read(&delta).unwrap().hash, hash);
        assert_eq!(apply(&[], &delta, LIMIT).unwrap(), target);
        let error = apply(&[], &with(vec![1; hash.len()]), LIMIT).unwrap_err();
        assert!(error.to_string().contains("hash"), "{error}");
    }
}

#[test]
fn what_cannot_be_applied_is_named() {
    let refused = |recipe: &Recipe| -> Error { apply(&[], &samples::delta(0, 0, recipe), 0).unwrap_err() };
    for (file_types, words) in [
        ([15, 2], "i386"),
        ([15, 8], "AMD64"),
        ([0x80, 0x80], "ARM64"),
        ([1, 0x1000], "0x1000"),
        ([0x101, 1], "undoes"),
    ] {
        let error = refused(&Recipe { file_types: Some(file_types), ..Recipe::default() });
        assert_eq!(error.kind(), Kind::Unsupported);
        assert!(error.to_string().contains(words), "{error}");
    }
    let error = refused(&Recipe { preparation: vec![0], ..Recipe::default() });
    assert_eq!(error.kind(), Kind::Unsupported);
    for magic in [b"PA19", b"PA31"] {
        assert_eq!(apply(&[], magic, LIMIT).unwrap_err().kind(), Kind::Unsupported);
    }
    let delta = samples::encode(&[], b"four");
    assert_eq!(apply(&[], &delta, 3).unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn evil_items_are_errors() {
    for (len, item) in [
        (2, Item::Back { distance: 1, length: 2 }),
        (2, Item::Aligned { length: 2 }),
        (2, Item::Recent { which: 0, length: 2 }),
        (2, Item::Near { more: -2, length: 2 }),
        (300, Item::Near { more: 0x2_0000, length: 2 }),
        (2, Item::Back { distance: u64::from(u32::MAX), length: 2 }),
        (1, Item::Back { distance: 1, length: 2 }),
        (LIMIT, Item::Back { distance: 1, length: u64::from(u32::MAX) }),
    ] {
        let recipe = Recipe { items: vec![item], ..Recipe::default() };
        assert_eq!(apply(&[], &samples::delta(0, len, &recipe), LIMIT).unwrap_err().kind(), Kind::Corrupt, "{item:?}");
    }
    // The last entry holds before the first: a source that is there twice, and one that is nowhere.
    for rifts in [vec![(5, 1)], vec![(i64::MAX, i64::MIN)], vec![(i64::MIN / 4, i64::MIN / 4); 4]] {
        let recipe = Recipe { items: vec![Item::Near { more: 1, length: 9 }], rifts, ..Recipe::default() };
        let _ = apply(b"source", &samples::delta(6, 9, &recipe), LIMIT);
    }
}

/// A header alone cannot ask for memory.
#[test]
fn promises_cost_nothing() {
    let recipe = Recipe { items: vec![Item::Byte(1)], ..Recipe::default() };
    let delta = samples::delta(0, 1 << 40, &recipe);
    let start = Instant::now();
    assert_eq!(apply(&[], &delta, usize::MAX).unwrap_err().kind(), Kind::Corrupt);
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn counts_are_bounded() {
    let delta = |patch: samples::Bits| {
        let mut bits = samples::Bits::new();
        [1, 1, 0, 10, 0].into_iter().for_each(|number| bits.number(number));
        [&[][..], &[], &patch.finish()].into_iter().for_each(|buffer| bits.buffer(buffer));
        [&b"PA30\0\0\0\0\0\0\0\0"[..], &bits.finish()].concat()
    };
    for count in [0, MAX_BLOCKS as u64 + 1, u64::MAX] {
        let mut patch = samples::Bits::new();
        patch.put(0, 2);
        patch.number(count);
        patch.put(0, 64);
        assert!(apply(&[], &delta(patch), LIMIT).unwrap_err().to_string().contains("4096"), "{count}");
    }
    for count in [33, u64::MAX] {
        let mut patch = samples::Bits::new();
        patch.put(1, 1);
        for _ in 0..2 {
            [0, 0, 248].into_iter().for_each(|symbols| patch.put(symbols, 8));
            patch.put(7, 4);
        }
        patch.number(count);
        patch.put(0, 64);
        assert!(apply(&[], &delta(patch), LIMIT).unwrap_err().to_string().contains("rift"), "{count}");
    }
}

/// The example of the format's description: 14 and 17, with one bit of padding.
#[test]
fn numbers_are_as_described() {
    let mut bits = Bits::new(&[0xE9, 0x46]).unwrap();
    // Three bits of padding, and four for the first digit's prefix and digit.
    assert_eq!((bits.number().unwrap(), bits.left()), (14, 7));
    assert!(bits.number().is_err());
    let mut bits = Bits::new(&[0xE8, 0x46, 0x04]).unwrap();
    assert_eq!((bits.number().unwrap(), bits.number().unwrap()), (14, 17));
    for number in [0, 1, 15, 16, 255, 256, u64::from(u32::MAX), 1 << 32, 1 << 60, u64::MAX] {
        let mut written = samples::Bits::new();
        written.number(number);
        written.buffer(b"bytes");
        written.number(3);
        let written = written.finish();
        let mut bits = Bits::new(&written).unwrap();
        assert_eq!(
            (bits.number().unwrap(), bits.buffer().unwrap(), bits.number().unwrap()),
            (number, &b"bytes"[..], 3)
        );
        assert_eq!(bits.left(), 0);
    }
}

/// Counted by hand.
#[test]
fn the_longest_codewords_come_first() {
    let code = Code::new(&[1, 2, 3, 3]).unwrap();
    // 000 and 001, then 01, then 1: behind the padding's three bits 000, 01 and 1, each from its top bit on.
    let mut bits = Bits::new(&[0b1000_0111, 0b1]).unwrap();
    assert_eq!([(); 3].map(|()| code.read(&mut bits).unwrap()), [2, 1, 0]);
    assert_eq!(bits.left(), 0);
    for lengths in [&[1, 1, 1][..], &[2], &[1, 2], &[17], &[16, 16, 16]] {
        assert!(Code::new(lengths).is_err(), "{lengths:?}");
    }
    let lone = Code::new(&[0, 1]).unwrap();
    assert_eq!(lone.read(&mut Bits::new(&[0]).unwrap()), Ok(1));
    assert!(lone.read(&mut Bits::new(&[0xF8]).unwrap()).is_err());
    assert!(Code::new(&[0; 9]).unwrap().read(&mut Bits::new(&[0]).unwrap()).is_err());
}

#[test]
fn damage_is_survived() {
    let source = source(3_000);
    let target = [&source[100..900], b"and so on, and so on", &[0; 700], &source[..500]].concat();
    let len = source.len() as i64;
    let recipe = Recipe {
        items: vec![
            Item::Aligned { length: 90 },
            Item::Near { more: 1, length: 9 },
            Item::Back { distance: 40, length: 300 },
        ],
        rifts: vec![(len + 10, 20 - len), (len + 50, -len)],
        codes: Codes::Own(vec![0, 95]),
        ..Recipe::default()
    };
    let made = samples::delta(source.len(), 399, &recipe);
    for delta in [samples::encode(&source, &target), samples::encode(&[], &target), made] {
        for len in 0..delta.len() {
            assert!(apply(&source, &delta[..len], LIMIT).is_err(), "cut off at {len}");
        }
        let start = Instant::now();
        for bit in (0..delta.len() * 8).step_by(3) {
            let mut bytes = delta.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(target) = apply(&source, &bytes, LIMIT) {
                assert!(target.len() <= LIMIT);
            }
        }
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}
