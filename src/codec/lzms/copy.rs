//! Copies of earlier output, which may overlap what they write.

/// Bytes that are copied at once.
const WIDE: usize = 16;

/// Copies `length` bytes to `at` from `from`, which lies before it; `None` if they do not fit.
///
/// Where there is room, a few bytes more are written: they are output that is yet to come.
#[inline(always)]
pub(super) fn lz(out: &mut [u8], from: usize, at: usize, length: usize) -> Option<()> {
    let room = out.len() - at;
    if length > room {
        return None;
    }
    if at - from < WIDE || room - length < WIDE {
        return lz_rest(out, from, at, length);
    }
    let mut done = 0;
    loop {
        let bytes = *out.get(from + done..)?.first_chunk::<WIDE>()?;
        *out.get_mut(at + done..)?.first_chunk_mut()? = bytes;
        done += WIDE;
        if done >= length {
            return Some(());
        }
    }
}

/// The same for long matches, short offsets and the end of the output.
#[inline(never)]
fn lz_rest(out: &mut [u8], from: usize, at: usize, length: usize) -> Option<()> {
    let offset = at.checked_sub(from).filter(|&offset| offset > 0)?;
    if length > out.len() - at {
        return None;
    }
    if offset == 1 {
        let byte = out[from];
        out[at..at + length].fill(byte);
        return Some(());
    }
    // What is copied repeats every `offset` bytes: each round doubles what the next one can take.
    let mut done = 0;
    while done < length {
        let round = (offset + done).min(length - done);
        out.copy_within(from..from + round, at + done);
        done += round;
    }
    Some(())
}

/// Like [`lz`] for a delta match: bytes differ from those `span` before them as the bytes from `from` on do from those
/// `span` before. The caller has checked `1 <= span <= from` and `from + span <= at`.
pub(super) fn delta(out: &mut [u8], from: usize, at: usize, span: usize, length: usize) -> Option<()> {
    match span {
        1 => delta_steps::<1>(out, from, at, span, length),
        2 => delta_steps::<2>(out, from, at, span, length),
        4 => delta_steps::<4>(out, from, at, span, length),
        8 => delta_steps::<8>(out, from, at, span, length),
        _ => delta_steps::<16>(out, from, at, span, length),
    }
}

/// `STEP` bytes at a time, at most `span` of them, so that no step needs what it makes.
#[inline(always)]
fn delta_steps<const STEP: usize>(out: &mut [u8], from: usize, at: usize, span: usize, length: usize) -> Option<()> {
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
