//! Mapping pairs: the compact form of a stream's extents.
//!
//! Each run is a byte whose low nibble counts the bytes of the run's length and whose high nibble those of its place,
//! then both, signed and as short as possible; the place is the distance to that of the run before. A hole has no place.
//! A zero byte ends the list.

/// Longest form of the single run of an extent with the end mark, when nothing is known about its place.
///
/// Places stay below 2^32 clusters, and take five bytes with their sign.
pub(super) fn max_len(clusters: u64, hole: u64) -> usize {
    let data = if clusters > 0 { 1 + signed_len(clusters as i64) + 5 } else { 0 };
    let hole = if hole > 0 { 1 + signed_len(hole as i64) } else { 0 };
    data + hole + 1
}

/// Appends one run; `delta` is `None` for a hole.
pub(super) fn push(out: &mut Vec<u8>, clusters: u64, delta: Option<i64>) {
    let len = signed_len(clusters as i64);
    let place = delta.map_or(0, signed_len);
    out.push((place << 4 | len) as u8);
    out.extend_from_slice(&clusters.to_le_bytes()[..len]);
    if let Some(delta) = delta {
        out.extend_from_slice(&delta.to_le_bytes()[..place]);
    }
}

/// How many bytes `value` takes with its sign bit.
fn signed_len(value: i64) -> usize {
    let magnitude = if value < 0 { !value } else { value };
    (64 - magnitude.leading_zeros() as usize) / 8 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(clusters: u64, delta: Option<i64>) -> Vec<u8> {
        let mut out = Vec::new();
        push(&mut out, clusters, delta);
        out
    }

    #[test]
    fn writes_what_windows_writes() {
        // $MFT, $MFT:$BITMAP (second run) and $BadClus:$Bad of a 10 MB volume formatted by Windows 10.
        assert_eq!(one(0x40, Some(853)), [0x21, 0x40, 0x55, 0x03]);
        assert_eq!(one(1, Some(-815)), [0x21, 0x01, 0xD1, 0xFC]);
        assert_eq!(one(2559, None), [0x02, 0xFF, 0x09]);
        assert_eq!(one(0x200, Some(0x153)), [0x22, 0x00, 0x02, 0x53, 0x01]);
    }

    #[test]
    fn pads_when_the_top_bit_would_be_a_sign() {
        assert_eq!(one(0x80, Some(0x80)), [0x22, 0x80, 0, 0x80, 0]);
        assert_eq!(one(0x7F, Some(-0x80)), [0x11, 0x7F, 0x80]);
        assert_eq!(one(1, Some(0xFFFF_FFFF)), [0x51, 1, 0xFF, 0xFF, 0xFF, 0xFF, 0]);
    }

    #[test]
    fn bound_holds() {
        for clusters in [1, 127, 128, 0x7FFF, 0x8000, u64::from(u32::MAX)] {
            let longest = one(clusters, Some(i64::from(u32::MAX))).len() + 1;
            assert_eq!(max_len(clusters, 0), longest);
            assert_eq!(max_len(clusters, 15), longest + 2);
        }
        assert_eq!(max_len(0, 0), 1);
    }
}
