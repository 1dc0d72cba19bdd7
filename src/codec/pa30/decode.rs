//! Applies a delta.

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::bits::Bits;
use super::header::Header;
use super::rift::Rifts;
use super::tables::{self, Block};
use crate::codec::Damaged;
use crate::error::{Error, Result};

/// Windows' numbers of the hashes that can be checked.
const CALG_SHA1: u64 = 0x8004;
const CALG_SHA256: u64 = 0x800C;

/// Symbols of the main code that are bytes.
const BYTES: u16 = 256;
/// What lengths with a code of their own have on top: the main code has those of up to 8.
const LONG: u64 = 8;
/// The most zeros before a length that no code has.
const MAX_LENGTH_ZEROS: u32 = 24;

const BEFORE_START: Damaged = Damaged("a delta that copies from before the start of the source");
const PAST_END: Damaged = Damaged("a delta that copies past the end of the target");

/// The target that `delta` makes of `source`, of up to `limit` bytes.
///
/// # Errors
/// `Corrupt` for what no maker of deltas wrote, or a target that is not what its hash says; a wrong source is noticed only so. `Unsupported` for kinds
/// that cannot be applied and for a target beyond the limit.
pub fn apply(source: &[u8], delta: &[u8], limit: usize) -> Result<Vec<u8>> {
    let (header, mut bits) = Header::read_before(delta)?;
    let target_len = usize::try_from(header.target_len).ok().filter(|len| *len <= limit).ok_or_else(|| {
        Error::unsupported("a delta whose target is too large").found(header.target_len).allowed(limit)
    })?;
    let (preparation, patch) = (bits.buffer()?, bits.buffer()?);
    if !preparation.is_empty() {
        return Err(Error::unsupported("a delta that transforms the source first"));
    }
    let target = match target_len {
        0 => Vec::new(),
        _ => Patch::read(source, patch)?.decode(target_len)?,
    };
    check_hash(&header, &target)?;
    Ok(target)
}

fn check_hash(header: &Header<'_>, target: &[u8]) -> Result<()> {
    let is_right = match header.hash_algorithm {
        CALG_SHA1 => Sha1::digest(target)[..] == *header.hash,
        CALG_SHA256 => Sha256::digest(target)[..] == *header.hash,
        _ => true,
    };
    match is_right {
        true => Ok(()),
        false => Err(Error::corrupt("the target of a delta is not what its hash says: another source, or damage")),
    }
}

/// A patch that is being decoded.
struct Patch<'a> {
    source: &'a [u8],
    target: Vec<u8>,
    bits: Bits<'a>,
    rifts: Rifts,
    blocks: Vec<Block>,
    /// The last three distances, the latest first.
    recent: [u64; 3],
}

/// Where a match copies from.
enum Distance {
    /// So many bytes before the end of what there is.
    Back(u64),
    /// The same place of the source, as far as it reaches.
    Aligned,
}

impl<'a> Patch<'a> {
    fn read(source: &'a [u8], patch: &'a [u8]) -> Result<Self, Damaged> {
        let mut bits = Bits::new(patch)?;
        let rifts = Rifts::read(&mut bits, source.len() as i64)?;
        let blocks = tables::read(&mut bits)?;
        Ok(Self { source, target: Vec::new(), bits, rifts, blocks, recent: [0; 3] })
    }

    /// The place of the next byte, in the common space of source and target.
    fn place(&self) -> u64 {
        self.source.len() as u64 + self.target.len() as u64
    }

    fn decode(mut self, target_len: usize) -> Result<Vec<u8>, Damaged> {
        let mut block = 0;
        while self.target.len() < target_len {
            while self.blocks.get(block + 1).is_some_and(|next| next.start <= self.place()) {
                block += 1;
            }
            let symbol = self.blocks[block].main.read(&mut self.bits)?;
            match symbol.checked_sub(BYTES) {
                None => self.target.push(symbol as u8),
                Some(symbol) => self.decode_match(block, symbol, target_len)?,
            }
        }
        Ok(self.target)
    }

    fn decode_match(&mut self, block: usize, symbol: u16, target_len: usize) -> Result<(), Damaged> {
        let distance = self.read_distance(block, u32::from(symbol >> 3))?;
        let length = self.read_length(block, u64::from(symbol & 7))?;
        if length > (target_len - self.target.len()) as u64 {
            return Err(PAST_END);
        }
        match distance {
            Distance::Back(distance) => {
                self.remember(distance);
                self.copy(distance, length)
            }
            Distance::Aligned => self.copy_aligned(length),
        }
    }

    fn read_distance(&mut self, block: usize, slot: u32) -> Result<Distance, Damaged> {
        let distance = match slot {
            0 => self.near_same_place(14, 0)?,
            1 => self.near_same_place(16, 0x2000)?,
            2 => self.near_same_place(18, 0xA000)?,
            3 => return Ok(Distance::Aligned),
            4..=6 => self.recent[slot as usize - 4],
            7 => {
                let slot = self.read_far_slot()?;
                self.read_back(block, slot)?
            }
            _ => self.read_back(block, slot - 7)?,
        };
        Ok(Distance::Back(distance))
    }

    /// The distance to the same place of the source, and a signed number of `bits` bits more, which is `gap` farther from 0 than it says.
    fn near_same_place(&mut self, bits: u32, gap: i64) -> Result<u64, Damaged> {
        let raw = i64::from(self.bits.read(bits)?) - (1 << (bits - 1));
        let more = if raw < 0 { raw - gap } else { raw + gap };
        let (shift, _) = self.rifts.at(self.place() as i64);
        let distance = more.checked_sub(shift).and_then(|distance| u64::try_from(distance).ok());
        distance.ok_or(Damaged("a delta that copies from behind the end of the target"))
    }

    fn read_far_slot(&mut self) -> Result<u32, Damaged> {
        Ok(match self.bits.ones()? {
            0 => 36 + self.bits.read(2)?,
            1 => 40 + self.bits.read(3)?,
            _ => 48 + self.bits.read(4)?,
        })
    }

    /// A distance before the end of the target: slots as in LZX, from 1 to 63.
    fn read_back(&mut self, block: usize, slot: u32) -> Result<u64, Damaged> {
        if slot < 4 {
            return Ok(u64::from(slot));
        }
        let (top, count) = (u64::from(slot & 1 | 2), slot / 2 - 1);
        if count < 4 {
            return Ok(top << count | u64::from(self.bits.read(count)?));
        }
        let middle = top << (count - 4) | u64::from(self.bits.read(count - 4)?);
        Ok(middle << 4 | u64::from(self.blocks[block].aligned.read(&mut self.bits)?))
    }

    fn read_length(&mut self, block: usize, short: u64) -> Result<u64, Damaged> {
        if short != 0 {
            return Ok(short + 1);
        }
        let coded = self.blocks[block].lengths.read(&mut self.bits)?;
        if coded != 0 {
            return Ok(u64::from(coded) + LONG);
        }
        let count = self.bits.zeros(MAX_LENGTH_ZEROS)? + 8;
        Ok((1 << count | u64::from(self.bits.read(count)?)) + LONG)
    }

    fn remember(&mut self, distance: u64) {
        let [first, second, third] = self.recent;
        self.recent = match distance {
            _ if distance == first => self.recent,
            _ if distance == second => [distance, first, third],
            _ => [distance, first, second],
        };
    }

    /// Copies from the same place of the source; where the rift table says that it is elsewhere, the copy goes on there.
    fn copy_aligned(&mut self, length: u64) -> Result<(), Damaged> {
        let mut left = length;
        while left > 0 {
            let (shift, reach) = self.rifts.at(self.place() as i64);
            let distance = u64::try_from(shift.wrapping_neg()).map_err(|_| BEFORE_START)?;
            if left == length {
                self.remember(distance);
            }
            let here = left.min(reach);
            self.copy(distance, here)?;
            left -= here;
        }
        Ok(())
    }

    /// Copies `length` bytes, which the target has room for, from `distance` before its end.
    fn copy(&mut self, distance: u64, length: u64) -> Result<(), Damaged> {
        if distance == 0 {
            return Err(Damaged("a delta that copies what is not there yet"));
        }
        let mut left = usize::try_from(length).map_err(|_| PAST_END)?;
        if let Some(of_source) = distance.checked_sub(self.target.len() as u64).filter(|len| *len > 0) {
            let from = (self.source.len() as u64).checked_sub(of_source).ok_or(BEFORE_START)?;
            let rest = &self.source[from as usize..];
            let here = left.min(rest.len());
            self.target.extend_from_slice(&rest[..here]);
            left -= here;
        }
        // What is left begins in the target, and may go on in what it writes: each time round there are more whole repetitions to take.
        let from = self.target.len().saturating_sub(distance as usize);
        while left > 0 {
            let here = left.min(self.target.len() - from);
            self.target.extend_from_within(from..from + here);
            left -= here;
        }
        Ok(())
    }
}
