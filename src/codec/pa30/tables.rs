//! The codes of a patch: one set, or several, each from some place of the target on.

use super::bits::Bits;
use super::huffman::Code;
use crate::codec::Damaged;

/// The most sets of codes that a delta may have.
pub const MAX_BLOCKS: usize = 4096;

const MAIN: usize = 600;
const LENGTHS: usize = 256;
const ALIGNED: usize = 16;
const ALL: usize = MAIN + LENGTHS + ALIGNED;
/// Symbols of the code in which the lengths of codewords are stored.
const PRETREE: usize = 39;

/// The codes from some place on.
pub(super) struct Block {
    /// From where on, in the common space of source and target.
    pub(super) start: u64,
    /// Bytes, and slots of matches with short lengths.
    pub(super) main: Code,
    /// Other lengths.
    pub(super) lengths: Code,
    /// The lowest four bits of far distances.
    pub(super) aligned: Code,
}

impl Block {
    fn new(start: u64, lengths: &[u8; ALL]) -> Result<Self, Damaged> {
        let (main, rest) = lengths.split_at(MAIN);
        let (lengths, aligned) = rest.split_at(LENGTHS);
        Ok(Self { start, main: Code::new(main)?, lengths: Code::new(lengths)?, aligned: Code::new(aligned)? })
    }
}

/// Reads all sets; there is one at least.
pub(super) fn read(bits: &mut Bits<'_>) -> Result<Vec<Block>, Damaged> {
    if bits.read(1)? != 0 {
        let mut flat = [0; ALL];
        let lengths = [MAIN, LENGTHS, ALIGNED].into_iter().flat_map(Code::flat);
        flat.iter_mut().zip(lengths).for_each(|(to, length)| *to = length);
        return Ok(vec![Block::new(0, &flat)?]);
    }
    let count = bits.number()?;
    if count == 0 || count > MAX_BLOCKS as u64 {
        return Err(Damaged("a delta without codes, or with more than 4096 sets of them"));
    }
    let mut starts = Vec::new();
    let mut start = 0u64;
    for _ in 0..count {
        start = start.checked_add(bits.number()?).ok_or(Damaged("codes from an impossible place on"))?;
        starts.push(start);
    }
    let mut pretree = [0; PRETREE];
    for length in &mut pretree {
        *length = bits.read(4)? as u8;
    }
    let pretree = Code::new(&pretree)?;
    let mut lengths = [0; ALL];
    starts
        .into_iter()
        .map(|start| {
            read_lengths(bits, &pretree, &mut lengths)?;
            Block::new(start, &lengths)
        })
        .collect()
}

/// Turns the lengths of the set before into those of the next.
///
/// | symbol | next |
/// |---|---|
/// | 0 to 16 | this length |
/// | 17 to 19, 20 to 22 | the one before, and 1 to 3 more, or less |
/// | 23 to 30 | a run of the length that came last |
/// | 31 to 38 | a run of those before, as they are |
fn read_lengths(bits: &mut Bits<'_>, pretree: &Code, lengths: &mut [u8; ALL]) -> Result<(), Damaged> {
    const IMPOSSIBLE: Damaged = Damaged("an impossible length of a codeword");
    let mut at = 0;
    while at < ALL {
        let symbol = pretree.read(bits)? as u8;
        let next = match symbol {
            0..=16 => Some(symbol),
            17..=19 => Some(lengths[at] + (symbol - 16)),
            20..=22 => Some(lengths[at].checked_sub(symbol - 19).ok_or(IMPOSSIBLE)?),
            _ => None,
        };
        if let Some(length) = next {
            if length > 16 {
                return Err(IMPOSSIBLE);
            }
            lengths[at] = length;
            at += 1;
            continue;
        }
        let end = at + read_run(bits, symbol)?;
        let run = lengths.get_mut(..end).ok_or(Damaged("a run past the last length of a codeword"))?;
        if symbol < 31 {
            let last = at.checked_sub(1).ok_or(IMPOSSIBLE)?;
            let length = run[last];
            run[at..].fill(length);
        }
        at = end;
    }
    Ok(())
}

fn read_run(bits: &mut Bits<'_>, symbol: u8) -> Result<usize, Damaged> {
    let slot = u32::from(symbol - 23) & 7;
    Ok(match slot {
        0..3 => slot as usize + 1,
        _ => 1 << (slot - 1) | bits.read(slot - 1)? as usize,
    })
}
