//! Copies of earlier output: the second half of every Lempel-Ziv decoder.

/// How far [`overshooting`] may write past the end of the match; a place that near the end of the output needs [`exact`].
pub(super) const OVERSHOOT: usize = 16;

/// Copies `length` bytes from `offset` bytes before `at` to `at`, in wide strides that may write up to [`OVERSHOOT`] bytes more.
///
/// `1 <= offset <= at`, and `at + length + OVERSHOOT <= out.len()`.
#[inline(always)]
pub(super) fn overshooting(out: &mut [u8], at: usize, offset: usize, length: usize) {
    if offset >= 16 {
        strides::<16>(out, at, offset, length);
    } else if offset >= 8 {
        strides::<8>(out, at, offset, length);
    } else {
        pattern(out, at, offset, length);
    }
}

/// Copies `N` bytes at a time from at least as far back.
#[inline(always)]
fn strides<const N: usize>(out: &mut [u8], at: usize, offset: usize, length: usize) {
    let mut rest = &mut out[at - offset..];
    let mut left = length;
    loop {
        let (source, target) = rest.split_at_mut(offset);
        if let (Some(source), Some(target)) = (source.first_chunk::<N>(), target.first_chunk_mut::<N>()) {
            *target = *source;
        }
        if left <= N {
            break;
        }
        left -= N;
        rest = &mut rest[N..];
    }
}

/// Repeats a pattern of `offset` < 8 bytes: as many whole repetitions as fit in eight bytes at a time.
fn pattern(out: &mut [u8], at: usize, offset: usize, length: usize) {
    let from = at - offset;
    let mut word = [0; 8];
    word.copy_from_slice(&out[from..from + 8]);
    let mut word = u64::from_le_bytes(word) & (u64::MAX >> (64 - 8 * offset));
    let mut filled = offset;
    while filled < 8 {
        word |= word << (8 * filled);
        filled *= 2;
    }
    let stride = 8 - 8 % offset;
    let word = word.to_le_bytes();
    for to in (at..at + length).step_by(stride) {
        out[to..to + 8].copy_from_slice(&word);
    }
}

/// Copies exactly `length` bytes from `offset` bytes before `at` to `at`.
///
/// `1 <= offset <= at`, and `at + length <= out.len()`.
pub(super) fn exact(out: &mut [u8], at: usize, offset: usize, length: usize) {
    if offset >= length {
        out.copy_within(at - offset..at - offset + length, at);
    } else if offset == 1 {
        let byte = out[at - 1];
        out[at..at + length].fill(byte);
    } else {
        for to in at..at + length {
            out[to] = out[to - offset];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_repeat_what_is_there() {
        for offset in 1..40 {
            for length in 1..70 {
                let mut expected: Vec<u8> = (0..40).map(|i| i * 5 + 1).collect();
                for i in 0..length {
                    expected.push(expected[40 + i - offset]);
                }
                let mut out = vec![0xD1; 40 + length + OVERSHOOT];
                out[..40].copy_from_slice(&expected[..40]);
                let mut exactly = out.clone();
                overshooting(&mut out, 40, offset, length);
                assert_eq!(out[..40 + length], expected, "offset {offset}, length {length}");
                exact(&mut exactly, 40, offset, length);
                expected.resize(40 + length + OVERSHOOT, 0xD1);
                assert_eq!(exactly, expected, "exact: offset {offset}, length {length}");
            }
        }
    }
}
