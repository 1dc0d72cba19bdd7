//! Delta matches.

/// Writes `length` bytes at `at` that differ from those `span` before them as the bytes at `from` do from those `span`
/// before. The caller has checked `1 <= span <= from` and `from + span <= at`; `None` if the bytes do not fit.
///
/// Where there is room, a few bytes more are written: they are output that is yet to come.
pub(super) fn copy(out: &mut [u8], from: usize, at: usize, span: usize, length: usize) -> Option<()> {
    match span {
        1 => steps::<1>(out, from, at, span, length),
        2 => steps::<2>(out, from, at, span, length),
        4 => steps::<4>(out, from, at, span, length),
        8 => steps::<8>(out, from, at, span, length),
        _ => steps::<16>(out, from, at, span, length),
    }
}

/// `STEP` bytes at a time, at most `span` of them, so that no step needs what it makes.
#[inline(always)]
fn steps<const STEP: usize>(out: &mut [u8], from: usize, at: usize, span: usize, length: usize) -> Option<()> {
    if length > out.len() - at {
        return None;
    }
    let offset = at - from;
    // From the byte on with which the one at `from` is compared.
    let window = out.get_mut(from - span..)?;
    let (mut to, end) = (offset + span, offset + span + length);
    while to < end {
        let Some(mut bytes) = window[to - offset..].first_chunk::<STEP>().copied() else { break };
        let (old, older) =
            (window[to - span..].first_chunk::<STEP>()?, window[to - offset - span..].first_chunk::<STEP>()?);
        for i in 0..STEP {
            bytes[i] = bytes[i].wrapping_add(old[i]).wrapping_sub(older[i]);
        }
        let Some(new) = window[to..].first_chunk_mut() else { break };
        *new = bytes;
        to += STEP;
    }
    for to in to..end {
        window[to] = window[to - offset].wrapping_add(window[to - span]).wrapping_sub(window[to - offset - span]);
    }
    Some(())
}
