//! Rift tables: which place of the source is the same as which of the target, where more has been moved than one number can say.

use super::bits::Bits;
use super::huffman::Code;
use crate::codec::Damaged;

/// The most entries that a rift table may have.
pub const MAX_RIFTS: usize = 1 << 18;

/// Symbols of a code for signed numbers: as many for negative ones as for others.
const SYMBOLS: usize = 252;
const HALF: usize = SYMBOLS / 2;

/// By places of the common space of source and target: what is added to a place to get that of the source.
pub(super) struct Rifts {
    /// From where on, and what; in order. The first is for all that comes before the second.
    entries: Vec<(i64, i64)>,
    /// The entry for the place that was asked for last.
    current: usize,
}

impl Rifts {
    /// Reads a table, and adds what holds without any: the target begins where the source did.
    pub(super) fn read(bits: &mut Bits<'_>, source_len: i64) -> Result<Self, Damaged> {
        let mut entries = Vec::new();
        if bits.read(1)? != 0 {
            read_entries(bits, &mut entries)?;
        }
        entries.push((source_len, source_len.wrapping_neg()));
        entries.sort_by_key(|(from, _)| *from);
        // Before the first entry that of the last one holds.
        let last = entries.last().map_or(0, |(_, shift)| *shift);
        entries.insert(0, (i64::MIN, last));
        Ok(Self { entries, current: 0 })
    }

    /// The shift at `place`, and for how many bytes from there on it holds. Places may only go up.
    pub(super) fn at(&mut self, place: i64) -> (i64, u64) {
        while self.entries.get(self.current + 1).is_some_and(|(from, _)| *from <= place) {
            self.current += 1;
        }
        let shift = self.entries.get(self.current).map_or(0, |(_, shift)| *shift);
        (shift, self.entries.get(self.current + 1).map_or(u64::MAX, |(from, _)| from.abs_diff(place)))
    }
}

fn read_entries(bits: &mut Bits<'_>, entries: &mut Vec<(i64, i64)>) -> Result<(), Damaged> {
    let (places, shifts) = (number_code(bits)?, number_code(bits)?);
    let count = bits.number()?;
    // Each entry takes two bits at least.
    if count > bits.left() / 2 || count > MAX_RIFTS as u64 {
        return Err(Damaged("a rift table with more entries than there can be"));
    }
    let (mut place, mut shift) = (0i64, 0i64);
    for _ in 0..count {
        place = place.wrapping_add(read_number(&places, bits)?);
        shift = shift.wrapping_add(read_number(&shifts, bits)?);
        entries.push((place, shift));
    }
    Ok(())
}

/// Lengths of codewords: some one by one for the first symbols of either half, then one for a run of the others, in order;
/// those that are left are one bit shorter.
fn number_code(bits: &mut Bits<'_>) -> Result<Code, Damaged> {
    let [positive, negative, run] = [bits.read(8)? as usize, bits.read(8)? as usize, bits.read(8)? as usize];
    if positive > HALF || negative > HALF || positive + negative + run > SYMBOLS {
        return Err(Damaged("a code for numbers with more symbols than there are"));
    }
    let mut lengths = [0u8; SYMBOLS];
    let mut length = || bits.read(4).map(|length| length as u8 + 1);
    for at in (0..positive).chain(HALF..HALF + negative) {
        lengths[at] = length()?;
    }
    let common = length()?;
    for (number, at) in (positive..HALF).chain(HALF + negative..SYMBOLS).enumerate() {
        lengths[at] = common - u8::from(number >= run);
    }
    Code::new(&lengths)
}

/// A signed number: its highest two bits by the symbol, the others follow.
fn read_number(code: &Code, bits: &mut Bits<'_>) -> Result<i64, Damaged> {
    let symbol = usize::from(code.read(bits)?);
    let slot = (symbol % HALF) as u32;
    let size = if slot < 4 { i64::from(slot) } else { wide(slot, bits)? };
    Ok(if symbol < HALF { size } else { !size })
}

fn wide(slot: u32, bits: &mut Bits<'_>) -> Result<i64, Damaged> {
    let count = slot / 2 - 1;
    let low = u64::from(bits.read(count.min(32))?);
    let high = u64::from(bits.read(count.saturating_sub(32))?);
    // At most 61 bits follow the two on top.
    Ok((u64::from(slot & 1 | 2) << count | high << 32 | low) as i64)
}
