//! Adaptive canonical Huffman codes: rebuilt from the symbols' own frequencies every so many symbols.

use std::hint::cold_path;

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
    fn new(seed: u32, length: usize) -> Self {
        Self(seed + length as u32 * 0x101)
    }

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
    tables: Tables<N, TABLE>,
    frequencies: [u16; N],
    /// Symbols left to decode until the next rebuild.
    left: u32,
    period: u32,
    symbols: usize,
    /// For each symbol its entry for a code of length 0.
    seeds: [u32; N],
    /// The tables for `symbols` equally frequent symbols, with which each chunk starts.
    start: Tables<N, TABLE>,
    scratch: Scratch<N>,
}

/// What decodes one version of a code.
#[derive(Clone)]
struct Tables<const N: usize, const TABLE: usize> {
    /// Entries by the next bits; 0 where the code is longer.
    short: [u32; TABLE],
    /// For each length the first code behind its codes, left-aligned to `MAX_LENGTH` bits.
    end: [u32; MAX_LENGTH + 1],
    /// For each length the place in `order` behind its last code.
    last: [u32; MAX_LENGTH + 1],
    /// All symbols in the order of their codes.
    order: [u16; N],
}

impl<const N: usize, const TABLE: usize> Code<N, TABLE> {
    const TABLE_BITS: u32 = TABLE.trailing_zeros();

    /// A code over no symbols yet; `period` symbols are decoded between rebuilds, and symbol s has `extra[s]` extra bits
    /// (none beyond the end of `extra`).
    pub(super) fn new(period: u32, extra: &[u8]) -> Self {
        assert!(N.is_power_of_two() && TABLE.is_power_of_two());
        let tables = Tables { short: [0; TABLE], end: [0; MAX_LENGTH + 1], last: [0; MAX_LENGTH + 1], order: [0; N] };
        let mut seeds = [0; N];
        for (symbol, seed) in seeds.iter_mut().enumerate() {
            *seed = (symbol as u32) << 16 | extra.get(symbol).copied().map_or(0, u32::from);
        }
        Self {
            tables: tables.clone(),
            frequencies: [0; N],
            left: 0,
            period,
            symbols: 0,
            seeds,
            start: tables,
            scratch: Scratch::new(),
        }
    }

    /// Starts over with `symbols` equally frequent symbols.
    pub(super) fn reset(&mut self, symbols: usize) {
        // Fewer than two cannot be told apart by bits. Only outputs of at most two bytes have so few offsets, and there
        // every offset that could be decoded is refused or the only one.
        let symbols = symbols.clamp(2, N);
        self.frequencies.fill(1);
        if symbols == self.symbols {
            self.tables.clone_from(&self.start);
        } else {
            self.symbols = symbols;
            self.build();
            self.start.clone_from(&self.tables);
        }
        self.left = self.period;
    }

    /// Decodes a symbol with its extra bits; the caller has refilled `bits`.
    #[inline(always)]
    pub(super) fn decode(&mut self, bits: &mut BackwardBits) -> (usize, u32) {
        let buffer = bits.peek();
        let mut entry = Entry(self.tables.short[(buffer >> (64 - Self::TABLE_BITS)) as usize]);
        if entry.0 == 0 {
            cold_path();
            entry = self.long_entry(buffer);
        }
        bits.consume(entry.total());
        let symbol = entry.symbol() & (N - 1);
        self.frequencies[symbol] += 1;
        self.left -= 1;
        if self.left == 0 {
            cold_path();
            self.rebuild();
        }
        let body = buffer >> (64 - entry.total());
        (symbol, body as u32 & ((1 << entry.extra()) - 1))
    }

    /// The entry of a code that is too long for the table.
    #[cold]
    #[inline(never)]
    fn long_entry(&self, buffer: u64) -> Entry {
        let head = (buffer >> (64 - MAX_LENGTH)) as u32;
        let mut length = Self::TABLE_BITS as usize + 1;
        while length < MAX_LENGTH && head >= self.tables.end[length] {
            length += 1;
        }
        let from_end = (self.tables.end[length].wrapping_sub(1).wrapping_sub(head)) >> (MAX_LENGTH - length);
        let place = self.tables.last[length].wrapping_sub(1).wrapping_sub(from_end);
        let symbol = self.tables.order[place as usize & (N - 1)];
        Entry::new(self.seeds[usize::from(symbol) & (N - 1)], length)
    }

    #[cold]
    #[inline(never)]
    fn rebuild(&mut self) {
        self.build();
        for frequency in &mut self.frequencies[..self.symbols] {
            *frequency = *frequency / 2 + 1;
        }
        self.left = self.period;
    }

    /// Makes the tables for the present frequencies.
    fn build(&mut self) {
        self.scratch.sort(&self.frequencies[..self.symbols]);
        let counts = self.scratch.count_lengths(self.symbols);
        self.scratch.lengths_by_symbol(self.symbols, &counts);

        let mut next = [0u32; MAX_LENGTH + 1];
        let (mut place, mut end) = (0, 0);
        for length in 1..=MAX_LENGTH {
            next[length] = place;
            place += u32::from(counts[length]);
            end += u32::from(counts[length]) << (MAX_LENGTH - length);
            self.tables.last[length] = place;
            self.tables.end[length] = end;
        }
        for (symbol, &length) in self.scratch.lengths[..self.symbols].iter().enumerate() {
            let next = &mut next[usize::from(length) & MAX_LENGTH];
            self.tables.order[*next as usize & (N - 1)] = symbol as u16;
            *next += 1;
        }
        self.fill_short(&counts);
    }

    fn fill_short(&mut self, counts: &Counts) {
        let mut short = &mut self.tables.short[..];
        let mut order = &self.tables.order[..];
        for (length, &count) in counts.iter().enumerate().take(Self::TABLE_BITS as usize + 1).skip(1) {
            let each = TABLE >> length;
            let count = usize::from(count).min(short.len() / each).min(order.len());
            let (now, later) = short.split_at_mut(count * each);
            let (symbols, others) = order.split_at(count);
            let entries = symbols.iter().map(|&symbol| Entry::new(self.seeds[usize::from(symbol) & (N - 1)], length).0);
            match each {
                1 => repeat_each::<1>(now, entries),
                2 => repeat_each::<2>(now, entries),
                4 => repeat_each::<4>(now, entries),
                _ => {
                    for (places, entry) in now.chunks_exact_mut(each).zip(entries) {
                        repeat_each::<8>(places, std::iter::repeat(entry));
                    }
                }
            }
            (short, order) = (later, others);
        }
        short.fill(0);
    }
}

/// Writes each of `entries` to `EACH` places.
#[inline(always)]
fn repeat_each<const EACH: usize>(places: &mut [u32], entries: impl Iterator<Item = u32>) {
    for (places, entry) in places.as_chunks_mut::<EACH>().0.iter_mut().zip(entries) {
        *places = [entry; EACH];
    }
}

/// How many codes there are of each length.
type Counts = [u16; MAX_LENGTH + 1];

/// Heavier than all frequencies together, and still no overflow when two of it are added.
const HEAVIEST: u32 = 1 << 30;

/// Frequencies from this one up are few, because all of them sum to less than 4096: those are sorted by comparison.
const COUNTED: usize = 128;

/// Room for building a code.
struct Scratch<const N: usize> {
    /// The symbols in bits 0..16 under their frequencies in bits 16..32, ascending.
    sorted: [u32; N],
    /// The weights of Huffman's inner nodes, in the order of their making, which is ascending.
    inner: [u32; N],
    /// For each inner node how many older ones already have a parent when it is made.
    adopted: [u16; N],
    /// The length of each symbol's code.
    lengths: [u8; N],
}

impl<const N: usize> Scratch<N> {
    fn new() -> Self {
        Self { sorted: [0; N], inner: [0; N], adopted: [0; N], lengths: [0; N] }
    }

    /// Sorts the symbols by frequency, and among equals by symbol.
    fn sort(&mut self, frequencies: &[u16]) {
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
            self.sorted[usize::from(*start) & (N - 1)] = u32::from(frequency) << 16 | symbol as u32;
            *start += 1;
        }
        self.sorted[frequent..frequencies.len()].sort_unstable();
    }

    /// The lengths that Huffman's algorithm gives to the codes of the sorted symbols, of which there are two at least.
    ///
    /// Two queues: leaves wait in `sorted`, inner nodes in `inner`, both lightest first. The format takes the leaf when a
    /// leaf and an inner node are equally light.
    fn count_lengths(&mut self, symbols: usize) -> Counts {
        let leaves = &self.sorted[..symbols];
        let leaf_weight = |leaf: usize| leaves.get(leaf).map_or(HEAVIEST, |&key| key >> 16);
        let root = symbols - 2;
        let (mut leaf, mut oldest) = (0, 0);
        for node in 0..=root {
            let inner = &mut self.inner[..=node];
            inner[node] = HEAVIEST;
            self.adopted[node] = oldest as u16;
            let (leaf_1, leaf_2) = (leaf_weight(leaf), leaf_weight(leaf + 1));
            let inner_1 = inner[oldest];
            inner[node] = if leaf_2 <= inner_1 {
                leaf += 2;
                leaf_1 + leaf_2
            } else {
                let inner_2 = inner.get(oldest + 1).copied().unwrap_or(HEAVIEST);
                if inner_2 < leaf_1 {
                    oldest += 2;
                    inner_1 + inner_2
                } else {
                    leaf += 1;
                    oldest += 1;
                    leaf_1 + inner_1
                }
            };
        }

        // The inner nodes of one depth are neighbours, behind those of the next. Each makes room for two nodes at the next
        // depth: those that are not inner nodes are leaves.
        let mut counts = [0; MAX_LENGTH + 1];
        let (mut first, mut end) = (root, root + 1);
        for count in &mut counts[1..] {
            let room = 2 * (end - first);
            end = first;
            first = usize::from(self.adopted[first]);
            *count = (room - (end - first)) as u16;
            if first == end {
                break;
            }
        }
        counts
    }

    /// Spreads the lengths over the sorted symbols, the longest first.
    fn lengths_by_symbol(&mut self, symbols: usize, counts: &Counts) {
        let mut rest = &self.sorted[..symbols];
        for (length, &count) in counts.iter().enumerate().rev() {
            let (these, others) = rest.split_at(usize::from(count).min(rest.len()));
            for &key in these {
                self.lengths[key as usize & (N - 1)] = length as u8;
            }
            rest = others;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::Numbers;
    use super::*;

    /// The lengths by the book: the two lightest nodes are joined until one is left.
    fn expected_lengths(frequencies: &[u16]) -> Vec<usize> {
        // Weight, leaves before inner nodes, age; and the symbols beneath.
        let mut nodes: Vec<((u32, bool, usize), Vec<usize>)> = (frequencies.iter().enumerate())
            .map(|(symbol, &frequency)| ((u32::from(frequency), false, symbol), vec![symbol]))
            .collect();
        let mut lengths = vec![0; frequencies.len()];
        for age in 0..frequencies.len() - 1 {
            nodes.sort();
            let second = nodes.remove(1);
            let first = nodes.remove(0);
            let beneath = [first.1, second.1].concat();
            beneath.iter().for_each(|&symbol| lengths[symbol] += 1);
            nodes.push(((first.0.0 + second.0.0, true, age), beneath));
        }
        // Among equals the lower symbols have the longer codes.
        let mut ranks: Vec<usize> = (0..frequencies.len()).collect();
        ranks.sort_by_key(|&symbol| frequencies[symbol]);
        let mut sorted = lengths.clone();
        sorted.sort_by_key(|&length| std::cmp::Reverse(length));
        for (symbol, length) in ranks.into_iter().zip(sorted) {
            lengths[symbol] = length;
        }
        lengths
    }

    fn check<const N: usize, const TABLE: usize>(code: &mut Code<N, TABLE>) {
        let lengths = expected_lengths(&code.frequencies[..code.symbols]);
        let mut order: Vec<usize> = (0..code.symbols).collect();
        order.sort_by_key(|&symbol| (lengths[symbol], symbol));
        let mut next = 0u64;
        for symbol in order {
            let bits = next.to_le_bytes();
            let entry = match Entry(code.tables.short[(next >> (64 - Code::<N, TABLE>::TABLE_BITS)) as usize]) {
                Entry(0) => code.long_entry(next),
                entry => entry,
            };
            assert_eq!((entry.symbol(), entry.total() as usize), (symbol, lengths[symbol]), "code {bits:02x?}");
            next = next.wrapping_add(1 << (64 - lengths[symbol]));
        }
        assert_eq!(next, 0, "the code is complete");
    }

    #[test]
    fn codes_are_those_of_the_book() {
        let mut numbers = Numbers(9);
        let mut code = Code::<1024, 1024>::new(1024, &[]);
        for symbols in [2, 3, 4, 8, 54, 256, 799] {
            code.reset(symbols);
            check(&mut code);
            for steepness in 1..40 {
                // As in a chunk: symbols are counted, the code is rebuilt, the frequencies are halved.
                for _ in 0..1024 {
                    let symbol = (0..steepness % 8)
                        .fold(numbers.below(symbols as u64), |least, _| least.min(numbers.below(symbols as u64)));
                    code.frequencies[symbol as usize] += 1;
                }
                let before = code.frequencies;
                code.rebuild();
                let after = std::mem::replace(&mut code.frequencies, before);
                check(&mut code);
                code.frequencies = after;
            }
        }
    }

    #[test]
    fn the_longest_codes_come_from_fibonacci_frequencies() {
        let mut code = Code::<256, 256>::new(1024, &[]);
        code.reset(15);
        let (mut a, mut b) = (1, 1);
        for symbol in 0..15 {
            code.frequencies[symbol] = a;
            (a, b) = (b, a + b);
        }
        code.build();
        assert_eq!(code.scratch.lengths[..2], [14, 14]);
        check(&mut code);
    }
}
