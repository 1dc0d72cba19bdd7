//! Adaptive canonical Huffman codes: rebuilt from the symbols' own frequencies every so many symbols.

use super::bits::BackwardBits;

/// No code of the format is longer. A code of length L needs frequencies that sum to the Fibonacci number F(L + 2) at least;
/// the sum stays below 2 * (symbols + symbols between rebuilds), and where that reaches F(18) the many symbols that were
/// never seen share the longest codes and keep them shorter still.
const MAX_LENGTH: usize = 15;

/// What decoding one symbol takes, packed: the symbol from bit 16 up, the length of its code from bit 8 up, and below
/// that the length of its code and its extra bits together. Never 0.
#[derive(Clone, Copy)]
pub(super) struct Entry(u32);

impl Entry {
    #[inline(always)]
    pub(super) fn symbol(self) -> usize {
        (self.0 >> 16) as usize
    }

    /// Bits of code and extra bits.
    #[inline(always)]
    fn total(self) -> u32 {
        self.0 & 0xff
    }

    #[inline(always)]
    fn extra(self) -> u32 {
        self.total() - (self.0 >> 8 & 0xff)
    }
}

/// One adaptive code. `N` is a power of two and at least the number of symbols, `TABLE` the power-of-two size of the table
/// that decodes the shorter codes at one stroke.
pub(super) struct Code<const N: usize, const TABLE: usize> {
    table: [u32; TABLE],
    frequencies: [u16; N],
    /// Symbols left to decode until the next rebuild.
    left: u32,
    long: LongCodes<N>,
    shape: Shape,
}

/// What a code is made of.
#[derive(Clone, Copy)]
struct Shape {
    symbols: usize,
    period: u32,
    extra: &'static [u8],
}

/// The codes that are too long for the table, found by comparison.
struct LongCodes<const N: usize> {
    /// For each length the first code behind its codes, left-aligned to `MAX_LENGTH` bits.
    end: [u32; MAX_LENGTH + 1],
    /// For each length the place in `order` of its last code, plus 1.
    last: [u32; MAX_LENGTH + 1],
    /// All symbols in the order of their codes.
    order: [u16; N],
}

impl<const N: usize, const TABLE: usize> Code<N, TABLE> {
    const TABLE_BITS: u32 = TABLE.trailing_zeros();

    /// A code over no symbols yet; `period` symbols are decoded between rebuilds, and symbol s has `extra[s]` extra bits
    /// (none beyond the end of `extra`).
    pub(super) fn new(period: u32, extra: &'static [u8]) -> Self {
        assert!(N.is_power_of_two() && TABLE.is_power_of_two());
        Self {
            table: [0; TABLE],
            frequencies: [0; N],
            left: 0,
            long: LongCodes { end: [0; MAX_LENGTH + 1], last: [0; MAX_LENGTH + 1], order: [0; N] },
            shape: Shape { symbols: 0, period, extra },
        }
    }

    /// Starts over with `symbols` equally likely symbols.
    pub(super) fn reset(&mut self, symbols: usize) {
        // With fewer than two there is nothing to choose from, and all that could be chosen is refused as an offset.
        self.shape.symbols = symbols.clamp(2, N);
        self.frequencies.fill(1);
        self.build();
    }

    /// Decodes a symbol with its extra bits; the caller has refilled `bits`.
    #[inline(always)]
    pub(super) fn decode(&mut self, bits: &mut BackwardBits) -> (usize, u32) {
        let buffer = bits.peek();
        let mut entry = Entry(self.table[(buffer >> (64 - Self::TABLE_BITS)) as usize]);
        if entry.0 == 0 {
            entry = self.long_code(buffer);
        }
        bits.consume(entry.total());
        let symbol = entry.symbol() & (N - 1);
        self.frequencies[symbol] += 1;
        self.left -= 1;
        if self.left == 0 {
            self.rebuild();
        }
        let body = buffer >> (64 - entry.total());
        (symbol, body as u32 & ((1 << entry.extra()) - 1))
    }

    fn long_code(&self, buffer: u64) -> Entry {
        let head = (buffer >> (64 - MAX_LENGTH)) as u32;
        let mut length = Self::TABLE_BITS as usize + 1;
        while length < MAX_LENGTH && head >= self.long.end[length] {
            length += 1;
        }
        let before_end = (self.long.end[length].wrapping_sub(1).wrapping_sub(head)) >> (MAX_LENGTH - length);
        let place = self.long.last[length].wrapping_sub(1).wrapping_sub(before_end);
        self.shape.entry(self.long.order[place as usize & (N - 1)], length)
    }

    #[cold]
    #[inline(never)]
    fn rebuild(&mut self) {
        self.build();
        for frequency in &mut self.frequencies[..self.shape.symbols] {
            *frequency = *frequency / 2 + 1;
        }
    }

    fn build(&mut self) {
        self.left = self.shape.period;
        let symbols = self.shape.symbols;
        let mut sorted = [0; N];
        let sorted = &mut sorted[..symbols];
        sort_by_frequency(&self.frequencies[..symbols], sorted);
        let mut weights = [0; N];
        for (weight, &symbol) in weights.iter_mut().zip(&*sorted) {
            *weight = u32::from(self.frequencies[usize::from(symbol) & (N - 1)]);
        }
        let counts = code_lengths::<N>(&mut weights, symbols);
        self.assign(sorted, &counts);
    }

    /// Gives the symbols, the rarest first in `sorted`, codes of the lengths that `counts` counts.
    fn assign(&mut self, sorted: &[u16], counts: &[u16; MAX_LENGTH + 1]) {
        let mut lengths = [0u8; N];
        let mut from = 0;
        for length in (1..=MAX_LENGTH).rev() {
            let to = (from + usize::from(counts[length])).min(sorted.len());
            for &symbol in &sorted[from..to] {
                lengths[usize::from(symbol) & (N - 1)] = length as u8;
            }
            from = to;
        }

        let mut next = [0u32; MAX_LENGTH + 1];
        let (mut place, mut end) = (0, 0);
        for length in 1..=MAX_LENGTH {
            next[length] = place;
            place += u32::from(counts[length]);
            end += u32::from(counts[length]) << (MAX_LENGTH - length);
            self.long.last[length] = place;
            self.long.end[length] = end;
        }
        for (symbol, &length) in lengths[..sorted.len()].iter().enumerate() {
            let next = &mut next[usize::from(length) & MAX_LENGTH];
            self.long.order[*next as usize & (N - 1)] = symbol as u16;
            *next += 1;
        }
        self.fill_table(counts);
    }

    fn fill_table(&mut self, counts: &[u16; MAX_LENGTH + 1]) {
        let shape = self.shape;
        let mut table = &mut self.table[..];
        let mut order = &self.long.order[..];
        for length in 1..=Self::TABLE_BITS as usize {
            let each = TABLE >> length;
            let count = usize::from(counts[length]).min(table.len() / each).min(order.len());
            let (now, later) = table.split_at_mut(count * each);
            let (symbols, others) = order.split_at(count);
            for (places, &symbol) in now.chunks_exact_mut(each).zip(symbols) {
                places.fill(shape.entry(symbol, length).0);
            }
            (table, order) = (later, others);
        }
        table.fill(0);
    }
}

impl Shape {
    #[inline(always)]
    fn entry(&self, symbol: u16, length: usize) -> Entry {
        let extra = u32::from(self.extra.get(usize::from(symbol)).copied().unwrap_or(0));
        let length = length as u32;
        Entry(u32::from(symbol) << 16 | length << 8 | (length + extra))
    }
}

/// Frequencies from this one up are few, because frequencies sum to less than 4096: they are sorted by insertion.
const COUNTED: usize = 256;

/// All symbols into `sorted`, by frequency, and among equals by symbol.
fn sort_by_frequency(frequencies: &[u16], sorted: &mut [u16]) {
    let class = |frequency: u16| usize::from(frequency).min(COUNTED - 1);
    let mut starts = [0u16; COUNTED];
    for &frequency in frequencies {
        starts[class(frequency)] += 1;
    }
    let mut start = 0;
    for slot in &mut starts {
        (*slot, start) = (start, start + *slot);
    }
    let frequent = usize::from(starts[COUNTED - 1]);
    for (symbol, &frequency) in frequencies.iter().enumerate() {
        let start = &mut starts[class(frequency)];
        if let Some(place) = sorted.get_mut(usize::from(*start)) {
            *place = symbol as u16;
        }
        *start += 1;
    }
    sorted[frequent..].sort_by_key(|&symbol| frequencies[usize::from(symbol)]);
}

/// How many codes there are of each length, for ascending weights.
///
/// Huffman's algorithm with two queues: leaves wait in `weights`, inner nodes in the order of their making, which is the
/// order of their weights. The format takes the leaf when the two are equally light.
fn code_lengths<const N: usize>(weights: &mut [u32; N], symbols: usize) -> [u16; MAX_LENGTH + 1] {
    const NONE: u32 = u32::MAX;
    let weights = &weights[..symbols];
    let nodes = symbols - 1;
    let mut inner = [NONE; N];
    let mut parent = [0u16; N];
    let (mut leaf, mut oldest) = (0, 0);
    for node in 0..nodes {
        let mut take = || {
            let (l, i) = (weights.get(leaf).copied().unwrap_or(NONE), inner[oldest & (N - 1)]);
            if l <= i {
                leaf += 1;
                l
            } else {
                parent[oldest & (N - 1)] = node as u16;
                oldest += 1;
                i
            }
        };
        inner[node & (N - 1)] = take().wrapping_add(take());
    }

    // An inner node at one depth makes room for two nodes at the next: those that are not inner nodes are leaves.
    let mut depths = [0u8; N];
    let mut inner_at = [0u16; MAX_LENGTH + 2];
    for node in (0..nodes).rev() {
        let depth = if node == nodes - 1 { 0 } else { depths[usize::from(parent[node]) & (N - 1)] + 1 };
        depths[node] = depth;
        inner_at[usize::from(depth).min(MAX_LENGTH + 1)] += 1;
    }
    let mut counts = [0; MAX_LENGTH + 1];
    for length in 1..=MAX_LENGTH {
        counts[length] = (2 * inner_at[length - 1]).saturating_sub(inner_at[length]);
    }
    counts
}
