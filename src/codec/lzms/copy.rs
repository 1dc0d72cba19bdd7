//! Copies of earlier output, which may overlap what they write.

/// Bytes that are copied at once.
const WIDE: usize = 16;

/// Copies `length` bytes from `offset` bytes before `at` to `at`. The caller has checked `1 <= offset <= at` and
/// `at + length <= out.len()`. What lies behind the copy may be overwritten: it is output that is yet to come.
#[inline(always)]
pub(super) fn lz(out: &mut [u8], at: usize, offset: usize, length: usize) {
    if offset >= WIDE && length <= out.len() - at - WIDE.min(out.len() - at) {
        let mut done = 0;
        loop {
            let from = at + done - offset;
            let Some(&bytes) = out.get(from..).and_then(|o| o.first_chunk::<WIDE>()) else { return };
            let Some(to) = out.get_mut(at + done..).and_then(|o| o.first_chunk_mut::<WIDE>()) else { return };
            *to = bytes;
            done += WIDE;
            if done >= length {
                return;
            }
        }
    }
    narrow(out, at, offset, length);
}

/// The same for short offsets and at the end of the output.
#[inline(never)]
fn narrow(out: &mut [u8], at: usize, offset: usize, length: usize) {
    let from = at - offset;
    if offset == 1 {
        let byte = out[from];
        out[at..at + length].fill(byte);
        return;
    }
    // What is copied repeats every `offset` bytes: each round doubles what the next one can take.
    let mut done = 0;
    while done < length {
        let round = (offset + done).min(length - done);
        out.copy_within(from..from + round, at + done);
        done += round;
    }
}

/// Like [`lz`] for a delta match: the difference of bytes `span` apart is that of `offset` bytes before. The caller has
/// checked `1 <= span`, `offset + span <= at` and `at + length <= out.len()`.
pub(super) fn delta(out: &mut [u8], at: usize, offset: usize, span: usize, length: usize) {
    for to in at..at + length {
        out[to] = out[to - offset].wrapping_add(out[to - span]).wrapping_sub(out[to - offset - span]);
    }
}
