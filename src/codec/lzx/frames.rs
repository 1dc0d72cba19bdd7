//! LZX as cabinets have it: one stream for a whole folder, in frames of 32 KiB.
//!
//! What differs from a WIM's chunks: blocks go on from frame to frame, and so do codeword lengths, recent offsets and the window;
//! a block's size always has 24 bits; before the first block a bit says whether calls are translated, and if so 32 bits follow with
//! the file size for that. A frame begins at a whole 16-bit unit, and no match crosses its end.
//!
//! Sources: \[MS-PATCH\] section 2; Microsoft's "LZX DATA COMPRESSION FORMAT"; the real cabinets that tests unpack.

use super::decode::{Bits, Codes, TOO_SHORT, put_in_bit_order};
use super::{BLOCK_ALIGNED, BLOCK_UNCOMPRESSED, BLOCK_VERBATIM, RECENT_OFFSETS, Window, e8};
use crate::codec::Damaged;

/// The length of every frame but the last.
const FRAME: usize = 1 << 15;
/// Calls are not translated from here on.
const TRANSLATED: u64 = 1 << 30;
/// Frames that are no longer than this have no calls.
const TAIL: usize = 10;

/// Decodes the frames of one stream, in their order. Takes twice the window of memory, at most 4 MiB and little more.
pub struct Frames {
    window: Window,
    codes: Box<Codes>,
    /// See [`put_in_bit_order`].
    stream: Vec<u8>,
    /// What was decoded: at least a window of it, or all. Calls are not translated here.
    history: Vec<u8>,
    /// How much of the history is filled.
    filled: usize,
    /// The frame that was decoded last, with calls translated.
    frame: Vec<u8>,
    /// Where the next frame begins in the whole.
    position: u64,
    /// The file size for the translation of calls; `None` before the first frame.
    calls: Option<i32>,
    recent: [u32; RECENT_OFFSETS],
    block: Block,
}

/// What is left of the block that a frame ended in.
#[derive(Clone, Copy, Default)]
struct Block {
    kind: u32,
    left: usize,
    /// Whether a byte follows an uncompressed block, because its bytes are odd in number.
    padded: bool,
}

impl Frames {
    /// A decoder for a stream with this window.
    pub fn new(window: Window) -> Self {
        Self {
            window,
            codes: Box::new(Codes::new(window.main_symbols())),
            stream: Vec::new(),
            history: vec![0; 2 * window.size() + FRAME],
            filled: 0,
            frame: Vec::new(),
            position: 0,
            calls: None,
            recent: [1; RECENT_OFFSETS],
            block: Block::default(),
        }
    }

    /// Decodes the next frame, which comes to `len` bytes. After an error the stream cannot be gone on with.
    pub fn decode(&mut self, input: &[u8], len: usize) -> Result<&[u8], Damaged> {
        if len > FRAME {
            return Err(Damaged("a frame of more than 32 KiB"));
        }
        self.make_room();
        let mut stream = std::mem::take(&mut self.stream);
        let start = self.filled;
        let decoded = self.fill(input, &mut stream, start + len);
        self.stream = stream;
        decoded?;
        self.frame.clear();
        self.frame.extend_from_slice(&self.history[start..start + len]);
        if let Some(size) = self.calls.filter(|size| *size != 0 && self.position < TRANSLATED && len > TAIL) {
            e8::to_relative_within(&mut self.frame, self.position as i32, size);
        }
        self.position += len as u64;
        Ok(&self.frame)
    }

    /// Moves the last window to the front, if another frame would not fit behind it.
    fn make_room(&mut self) {
        if self.filled + FRAME > self.history.len() {
            let kept = self.filled - self.window.size();
            self.history.copy_within(kept..self.filled, 0);
            self.filled = self.window.size();
        }
    }

    fn fill(&mut self, mut input: &[u8], stream: &mut Vec<u8>, end: usize) -> Result<(), Damaged> {
        put_in_bit_order(input, stream);
        let mut bits = Bits::new(stream);
        if self.calls.is_none() {
            bits.refill();
            let translated = bits.read(1) == 1;
            self.calls = Some(if translated { (bits.read(16) << 16 | bits.read(16)) as i32 } else { 0 });
        }
        // Where the next byte of an uncompressed block is in the input: a frame can begin within one.
        let mut raw = 0;
        while self.filled < end {
            if self.block.left == 0 {
                raw = self.begin_block(&mut bits, input, stream.len())?;
            }
            let len = self.block.left.min(end - self.filled);
            let place = self.filled..self.filled + len;
            match self.block.kind {
                BLOCK_VERBATIM => self.codes.decode::<false>(&mut bits, &mut self.recent, &mut self.history, place)?,
                BLOCK_ALIGNED => self.codes.decode::<true>(&mut bits, &mut self.recent, &mut self.history, place)?,
                _ => {
                    let bytes = input.get(raw..).and_then(|rest| rest.get(..len)).ok_or(TOO_SHORT)?;
                    self.history[place].copy_from_slice(bytes);
                    raw += len;
                    if self.block.left == len {
                        raw += usize::from(self.block.padded);
                        if raw % 2 == 1 {
                            // The block began in an earlier frame, after an odd number of its bytes: units go on from here.
                            input = input.get(raw..).unwrap_or_default();
                            put_in_bit_order(input, stream);
                            raw = 0;
                        }
                        bits = Bits::new(stream.get(raw..).unwrap_or_default());
                    }
                }
            }
            self.filled += len;
            self.block.left -= len;
            if self.block.kind != BLOCK_UNCOMPRESSED {
                check_taken(&bits, input, stream.len())?;
            }
        }
        Ok(())
    }

    /// Reads what is before a block's data; gives the place of the first byte of an uncompressed one.
    fn begin_block(&mut self, bits: &mut Bits<'_>, input: &[u8], stream_len: usize) -> Result<usize, Damaged> {
        bits.refill();
        let kind = bits.read(3);
        let left = bits.read(24) as usize;
        if left == 0 {
            return Err(Damaged("an empty block"));
        }
        self.block = Block { kind, left, padded: kind == BLOCK_UNCOMPRESSED && left % 2 == 1 };
        match kind {
            BLOCK_VERBATIM | BLOCK_ALIGNED => {
                self.codes.read(bits, kind == BLOCK_ALIGNED)?;
                Ok(0)
            }
            BLOCK_UNCOMPRESSED => {
                check_taken(bits, input, stream_len)?;
                // Padding to a whole unit, or a whole one if there is no need.
                let start = bits.taken(stream_len) / 16 * 2 + 2;
                let offsets = input.get(start..).and_then(|rest| rest.first_chunk::<12>()).ok_or(TOO_SHORT)?;
                for (recent, bytes) in self.recent.iter_mut().zip(offsets.as_chunks::<4>().0) {
                    *recent = u32::from_le_bytes(*bytes);
                }
                if self.recent.contains(&0) {
                    return Err(Damaged("a recent offset of zero"));
                }
                Ok(start + offsets.len())
            }
            _ => Err(Damaged("a block of an unknown type")),
        }
    }
}

/// Whether no more bits were taken than there are. An odd last byte is only ever one of an uncompressed block.
fn check_taken(bits: &Bits<'_>, input: &[u8], stream_len: usize) -> Result<(), Damaged> {
    if bits.ran_out || bits.taken(stream_len) > 16 * (input.len() / 2) { Err(TOO_SHORT) } else { Ok(()) }
}
