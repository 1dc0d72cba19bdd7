//! The translation of x86 calls: the operand of opcode 0xE8 is relative to its place, which hides that two calls go to
//! the same function. The encoder makes it absolute, the decoder relative again.

/// The file size that WIM's compressors assume, whatever the file.
const FILE_SIZE: i32 = 12_000_000;
const OPCODE: u8 = 0xE8;
/// An opcode is left alone when it is one of the last ten bytes.
const TAIL: usize = 10;

/// Makes operands absolute, before encoding.
pub(super) fn to_absolute(data: &mut [u8]) {
    translate(data, |operand, at| {
        if !(-at..FILE_SIZE).contains(&operand) {
            None
        } else if operand < FILE_SIZE - at {
            Some(operand + at)
        } else {
            Some(operand - FILE_SIZE)
        }
    });
}

/// Makes operands relative again, after decoding.
pub(super) fn to_relative(data: &mut [u8]) {
    to_relative_within(data, 0, FILE_SIZE);
}

/// The same for a frame of a longer stream, which begins at `start` (at most 2^30) of a file of so many bytes: cabinets say it.
pub(super) fn to_relative_within(data: &mut [u8], start: i32, file_size: i32) {
    translate(data, |operand, at| {
        let place = start.wrapping_add(at);
        if !(-place..file_size).contains(&operand) {
            None
        } else if operand >= 0 {
            Some(operand - place)
        } else {
            Some(operand.wrapping_add(file_size))
        }
    });
}

/// Hands each operand with the place of its opcode to `change`. The operand's bytes are not looked at as opcodes.
#[inline(always)]
fn translate(data: &mut [u8], change: impl Fn(i32, i32) -> Option<i32>) {
    let end = data.len().saturating_sub(TAIL);
    let mut at = 0;
    while at < end {
        // most data has none far and wide: this becomes a few vector instructions
        if let Some(block) = data.get(at..).and_then(|rest| rest.first_chunk::<32>())
            && !block.iter().fold(false, |any, &byte| any | (byte == OPCODE))
        {
            at += block.len();
            continue;
        }
        let Some(word) = data.get(at..).and_then(|rest| rest.first_chunk()) else { return };
        let opcodes = opcodes(u64::from_le_bytes(*word));
        if opcodes == 0 {
            at += 8;
            continue;
        }
        at += opcodes.trailing_zeros() as usize / 8;
        if at >= end {
            return;
        }
        if let Some(operand) = data.get_mut(at + 1..).and_then(|rest| rest.first_chunk_mut::<4>())
            && let Some(changed) = change(i32::from_le_bytes(*operand), at as i32)
        {
            *operand = changed.to_le_bytes();
        }
        at += 5;
    }
}

/// The top bit of each of eight bytes that is an opcode; bits above the lowest one may be false.
#[inline(always)]
fn opcodes(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xFF;
    let zero_where_equal = word ^ (ONES * OPCODE as u64);
    zero_where_equal.wrapping_sub(ONES) & !zero_where_equal & ONES << 7
}
