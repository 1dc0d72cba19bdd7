use super::samples::{self, Codes, Item, Recipe};
use super::*;
use crate::error::Kind;

/// Something to copy from.
fn source() -> Vec<u8> {
    (0..60_000u32).flat_map(|n| (n.wrapping_mul(0x9E37_79B1) >> 7).to_le_bytes()).collect()
}

#[test]
fn what_was_encoded_comes_back() {
    let source = source();
    let mut target = source[..5_000].to_vec();
    target.extend_from_slice(b"something new, something new, something newer");
    target.extend_from_slice(&source[100_000..103_000]);
    target.extend_from_slice(&[0; 3000]);
    target.extend_from_slice(&source[7..9]);
    target.extend_from_slice(&source[4_900..40_000]);
    for source in [&source[..], &source[..50], &[]] {
        assert_eq!(apply(source, &samples::encode(source, &target), 1 << 20).unwrap(), target);
    }
}

#[test]
fn real_header() {
    let _ = (Kind::Corrupt, Item::Byte(0), Codes::Flat, Recipe::default());
}
