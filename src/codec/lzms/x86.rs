//! The x86 filter: turns the absolute targets of x86 instructions back into relative ones.
//!
//! It runs over every chunk, whatever the chunk holds. What looks like an instruction with a target relative to itself is
//! taken for real x86 code if it lies near one whose target (modulo 2^16) was used less than 64 KiB before.

/// How far behind a likely instruction the next one may start and still be translated.
const NEAR: u32 = 1023;
/// The same for CALL (E8), which as a single byte is met by chance more often.
const NEAR_CALL: u32 = NEAR / 2;
/// How far back the last use of a target may lie to count as a repetition.
const WINDOW: u32 = 65535;
/// The first byte and the last 16 bytes never start an instruction.
const TAIL: usize = 16;
/// Positions that are looked at together.
const BLOCK: usize = 64;

/// The filter's table, kept between chunks.
pub(super) struct Filter {
    /// For each target modulo 2^16 the position after which it was last used, counted from `origin` on.
    last_use: Vec<u32>,
    /// The position of the current chunk's first byte, always more than `WINDOW` behind all earlier ones: a new chunk
    /// needs no clean table.
    origin: u32,
}

/// What starts at a byte.
struct Instruction {
    /// Bytes before the 32-bit displacement.
    opcode: usize,
    near: u32,
}

impl Filter {
    pub(super) fn new() -> Self {
        Self { last_use: vec![0; 1 << 16], origin: WINDOW + 1 }
    }

    #[inline(never)]
    /// Undoes the translation in a whole decoded chunk.
    pub(super) fn undo(&mut self, data: &mut [u8]) {
        let Some(end) = data.len().checked_sub(TAIL).filter(|&end| end > 1) else { return };
        let origin = self.start_chunk(data.len());
        let mut likely = origin - NEAR - 1;
        let mut next = 1;
        let mut block = 1;
        while block < end {
            let mut starts = candidates(data, block);
            while starts != 0 {
                let at = block + starts.trailing_zeros() as usize;
                starts &= starts - 1;
                if at >= end {
                    return;
                }
                if at < next {
                    continue;
                }
                next = match instruction(data, at) {
                    Some(found) => self.translate(data, at, &found, origin, &mut likely),
                    None => at + 5,
                };
            }
            block += BLOCK;
        }
    }

    /// As if four billion bytes had gone by.
    #[cfg(test)]
    pub(super) fn fast_forward(&mut self) {
        self.origin = u32::MAX - 400_000;
    }

    /// Returns the origin of a chunk of `length` bytes and moves on behind it.
    fn start_chunk(&mut self, length: usize) -> u32 {
        let needed = length as u32 + WINDOW + 1;
        if self.origin.checked_add(needed).is_none() {
            self.last_use.fill(0);
            self.origin = WINDOW + 1;
        }
        let origin = self.origin;
        self.origin += needed;
        origin
    }

    /// Handles the instruction at `at` and returns where the next one may start.
    #[inline(always)]
    fn translate(&mut self, data: &mut [u8], at: usize, found: &Instruction, origin: u32, likely: &mut u32) -> usize {
        let position = origin + at as u32;
        let next = at + found.opcode + 4;
        let Some(field) = data.get_mut(at + found.opcode..).and_then(|d| d.first_chunk_mut::<4>()) else { return next };
        let mut displacement = u32::from_le_bytes(*field);
        if position - *likely <= found.near {
            displacement = displacement.wrapping_sub(at as u32);
            *field = displacement.to_le_bytes();
        }
        let target = (at as u32).wrapping_add(displacement) & 0xffff;
        let last_byte = origin + next as u32 - 1;
        let last_use = &mut self.last_use[target as usize];
        if last_byte - *last_use <= WINDOW {
            *likely = last_byte;
        }
        *last_use = last_byte;
        next
    }
}

/// A bit for each of the `BLOCK` positions from `at` on where a jump (E9) or an instruction to translate may start.
fn candidates(data: &[u8], at: usize) -> u64 {
    let mut padded = [0; BLOCK + 2];
    let window = match data.get(at..).and_then(|d| d.first_chunk::<{ BLOCK + 2 }>()) {
        Some(window) => window,
        None => {
            let rest = data.get(at..).unwrap_or(&[]);
            padded[..rest.len()].copy_from_slice(rest);
            &padded
        }
    };
    let mut found = [0u8; BLOCK];
    for i in 0..BLOCK {
        let (a, b, c) = (window[i], window[i + 1], window[i + 2]);
        let call_or_jump = a & 0xfe == 0xe8;
        let indirect_call = (a == 0xff) & (b == 0x15);
        let lock_add = (a == 0xf0) & (b == 0x83) & (c == 0x05);
        let lea = (a & 0xfb == 0x48) & (b == 0x8d) & (c & 0x07 == 0x05);
        let mov = (a == 0x48) & (b == 0x8b) & (c & 0xf7 == 0x05);
        found[i] = u8::from(call_or_jump | indirect_call | lock_add | lea | mov);
    }
    let mut bits = 0;
    for (i, eight) in found.as_chunks::<8>().0.iter().enumerate() {
        // The product gathers the low bits of the eight bytes in its top byte, the first byte's lowest.
        bits |= (u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i);
    }
    bits
}

/// The instruction at a candidate position; `None` for a jump (E9), which is skipped with its displacement.
#[inline(always)]
fn instruction(data: &[u8], at: usize) -> Option<Instruction> {
    match data[at] {
        0xe8 => Some(Instruction { opcode: 1, near: NEAR_CALL }),
        0xe9 => None,
        // CALL [rip + ...]
        0xff => Some(Instruction { opcode: 2, near: NEAR }),
        // LOCK ADD [rip + ...], and LEA and MOV with a REX.W prefix.
        _ => Some(Instruction { opcode: 3, near: NEAR }),
    }
}
