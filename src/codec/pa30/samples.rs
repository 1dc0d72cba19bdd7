//! Makes deltas for tests: all kinds of items, codes and rift tables that the decoder reads. The integration tests include this file too.
#![allow(dead_code, reason = "each of those who include it uses another part")]

/// The flags of the deltas in Windows' component store: no limit to the sizes of files.
const FLAGS: u64 = 0x2_0000;

/// What a delta is made of, where [`encode`] does not do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recipe {
    pub(crate) file_types: Option<[u64; 2]>,
    pub(crate) hash: Option<(u64, Vec<u8>)>,
    pub(crate) preparation: Vec<u8>,
    /// Places and shifts, in order.
    pub(crate) rifts: Vec<(i64, i64)>,
    pub(crate) codes: Codes,
    pub(crate) items: Vec<Item>,
}

/// Which codes the items are in.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Codes {
    /// Those that need not be stored.
    #[default]
    Flat,
    /// Those of the symbols that occur, from each of these places of the target on; the first is 0.
    Own(Vec<usize>),
}

/// A part of the target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Item {
    Byte(u8),
    /// From the same place of the source and `more` bytes before, as the rift table has it.
    Near {
        more: i64,
        length: u64,
    },
    Aligned {
        length: u64,
    },
    Recent {
        which: u16,
        length: u64,
    },
    Back {
        distance: u64,
        length: u64,
    },
}

impl Item {
    fn length(self) -> u64 {
        match self {
            Self::Byte(_) => 1,
            Self::Near { length, .. }
            | Self::Aligned { length }
            | Self::Recent { length, .. }
            | Self::Back { length, .. } => length,
        }
    }
}

/// A delta that makes `target` of `source`.
pub(crate) fn encode(source: &[u8], target: &[u8]) -> Vec<u8> {
    let items = items(source, target);
    delta(source.len(), target.len(), &Recipe { items, codes: Codes::Own(vec![0]), ..Recipe::default() })
}

/// A manifest as Windows' component store packs it: `DCM`, against its base manifest.
pub(crate) fn encode_dcm(base: &[u8], target: &[u8]) -> Vec<u8> {
    [b"DCM\x01", &encode(base, target)[..]].concat()
}

/// Matches wherever there are any, by the bytes that they begin with.
pub(crate) fn items(source: &[u8], target: &[u8]) -> Vec<Item> {
    const SEED: usize = 4;
    let all = [source, target].concat();
    let mut last = std::collections::HashMap::new();
    let (mut items, mut recent, mut indexed) = (Vec::new(), [0u64; 3], 0);
    let mut at = source.len();
    while at < all.len() {
        while indexed < at {
            if let Some(seed) = all.get(indexed..indexed + SEED) {
                last.insert(seed, indexed);
            }
            indexed += 1;
        }
        let same = |from: usize| all[from..].iter().zip(&all[at..]).take_while(|(a, b)| a == b).count();
        let found = all.get(at..at + SEED).and_then(|seed| last.get(seed)).map(|from| (at - from, same(*from)));
        let repeated = (0..3).filter(|which| (1..=at as u64).contains(&recent[*which]));
        let repeated =
            repeated.map(|which| (which, same(at - recent[which] as usize))).max_by_key(|(_, length)| *length);
        let item = match (repeated, found) {
            (Some((which, length)), found) if length >= 2 && found.is_none_or(|(_, other)| length + 2 > other) => {
                let distance = recent[which];
                recent = remembered(recent, distance);
                Item::Recent { which: which as u16, length: length as u64 }
            }
            (_, Some((distance, length))) => {
                recent = remembered(recent, distance as u64);
                let (more, length) = (distance as i64 - source.len() as i64, length as u64);
                match more {
                    0 => Item::Aligned { length },
                    _ if more.abs() < 0x1_0000 && length % 2 == 0 => Item::Near { more, length },
                    _ => Item::Back { distance: distance as u64, length },
                }
            }
            _ => Item::Byte(all[at]),
        };
        at += item.length() as usize;
        items.push(item);
    }
    items
}

fn remembered(recent: [u64; 3], distance: u64) -> [u64; 3] {
    let mut others = recent.into_iter().filter(|other| *other != distance);
    if recent[0] == distance {
        return recent;
    }
    match recent[1] == distance {
        true => [distance, recent[0], recent[2]],
        false => [distance, others.next().unwrap_or(0), recent[1]],
    }
}

/// The delta of a recipe.
pub(crate) fn delta(source_len: usize, target_len: usize, recipe: &Recipe) -> Vec<u8> {
    let mut bits = Bits::new();
    for number in recipe.file_types.unwrap_or([1, 1]) {
        bits.number(number);
    }
    bits.number(FLAGS);
    bits.number(target_len as u64);
    let (algorithm, hash) = recipe.hash.clone().unwrap_or_default();
    bits.number(algorithm);
    bits.buffer(&hash);
    bits.buffer(&recipe.preparation);
    bits.buffer(&patch(source_len, recipe));
    let time = 0x019D_B1DE_D5D7_1680u64;
    [b"PA30", &time.to_le_bytes()[..], &bits.finish()].concat()
}

/// The lengths of the three codes: of items, of lengths, of the lowest bits of distances.
const SYMBOLS: [usize; 3] = [600, 256, 16];

fn patch(source_len: usize, recipe: &Recipe) -> Vec<u8> {
    let mut bits = Bits::new();
    bits.rifts(&recipe.rifts);
    let starts = match &recipe.codes {
        Codes::Flat => vec![0],
        Codes::Own(starts) => starts.clone(),
    };
    // The items of each set of codes, and all that is to be written of them.
    let mut blocks: Vec<Vec<Field>> = vec![Vec::new(); starts.len()];
    let mut at = 0;
    for item in &recipe.items {
        let block = starts.iter().rposition(|start| *start <= at).unwrap_or(0);
        fields(*item, &mut blocks[block]);
        at += item.length() as usize;
    }
    let codes: Vec<[Code; 3]> = match recipe.codes {
        Codes::Flat => vec![SYMBOLS.map(|count| Code::flat(count, &vec![true; count]))],
        Codes::Own(_) => blocks.iter().map(|fields| own_codes(fields)).collect(),
    };
    bits.put(u64::from(recipe.codes == Codes::Flat), 1);
    if recipe.codes != Codes::Flat {
        bits.codes(source_len, &starts, &codes);
    }
    for (fields, codes) in blocks.iter().zip(&codes) {
        for field in fields {
            match *field {
                Field::Symbol(code, symbol) => codes[code].write(&mut bits, symbol),
                Field::Bits(value, count) => bits.put(value, count),
            }
        }
    }
    bits.finish()
}

/// What an item is written as.
#[derive(Debug, Clone, Copy)]
enum Field {
    Symbol(usize, usize),
    Bits(u64, u32),
}

fn fields(item: Item, fields: &mut Vec<Field>) {
    let mut later = Vec::new();
    let slot = match item {
        Item::Byte(byte) => return fields.push(Field::Symbol(0, usize::from(byte))),
        Item::Near { more, .. } => near(more, &mut later),
        Item::Aligned { .. } => 3,
        Item::Recent { which, .. } => 4 + usize::from(which),
        Item::Back { distance, .. } => back(distance, &mut later),
    };
    let length = item.length();
    let short = if length <= 8 { length as usize - 1 } else { 0 };
    fields.push(Field::Symbol(0, 256 + 8 * slot + short));
    fields.append(&mut later);
    match length {
        0..=8 => {}
        9..264 => fields.push(Field::Symbol(1, length as usize - 8)),
        _ => {
            let count = (length - 8).ilog2();
            fields.extend([
                Field::Symbol(1, 0),
                Field::Bits(1 << (count - 8), count - 7),
                Field::Bits(length - 8, count),
            ]);
        }
    }
}

fn near(more: i64, later: &mut Vec<Field>) -> usize {
    let (slot, bits, gap) = match more {
        -0x2000..0x2000 => (0, 14, 0),
        -0xA000..0xA000 => (1, 16, 0x2000),
        _ => (2, 18, 0xA000),
    };
    let raw = if more < 0 { more + gap } else { more - gap };
    later.push(Field::Bits((raw + (1 << (bits - 1))) as u64, bits));
    slot
}

fn back(distance: u64, later: &mut Vec<Field>) -> usize {
    let number = if distance < 4 {
        distance
    } else {
        2 * u64::from(distance.ilog2()) + (distance >> (distance.ilog2() - 1) & 1)
    };
    match number {
        0..36 => {}
        36..40 => later.extend([Field::Bits(0, 1), Field::Bits(number - 36, 2)]),
        40..48 => later.extend([Field::Bits(1, 2), Field::Bits(number - 40, 3)]),
        _ => later.extend([Field::Bits(3, 2), Field::Bits(number - 48, 4)]),
    }
    match (number / 2).saturating_sub(1) as u32 {
        0 => {}
        count @ 1..4 => later.push(Field::Bits(distance, count)),
        count => later.extend([Field::Bits(distance >> 4, count - 4), Field::Symbol(2, (distance & 15) as usize)]),
    }
    if number < 36 { 7 + number as usize } else { 7 }
}

fn own_codes(fields: &[Field]) -> [Code; 3] {
    let mut used = SYMBOLS.map(|count| vec![false; count]);
    for field in fields {
        if let Field::Symbol(code, symbol) = *field {
            used[code][symbol] = true;
        }
    }
    let [main, lengths, aligned] = used;
    [main, lengths, aligned].map(|used| Code::flat(used.len(), &used))
}

/// A code for writing.
struct Code {
    lengths: Vec<u8>,
    codewords: Vec<u32>,
}

impl Code {
    /// The symbols that are used are all about as frequent. A lone one gets a codeword of one bit.
    fn flat(symbols: usize, used: &[bool]) -> Self {
        let count = used.iter().filter(|used| **used).count();
        let longest = count.max(2).next_power_of_two().ilog2();
        let shorter = (1usize << longest) - count.max(2);
        let mut ranks = 0..;
        let mut length = |used: bool| {
            let rank = used.then(|| ranks.next().unwrap_or(0));
            rank.map_or(0, |rank| longest as u8 - u8::from(rank < shorter))
        };
        Self::of((0..symbols).map(|symbol| length(used[symbol])).collect())
    }

    fn of(lengths: Vec<u8>) -> Self {
        let mut codewords = vec![0; lengths.len()];
        let mut next = 0;
        for length in (1..=16).rev() {
            for (codeword, _) in codewords.iter_mut().zip(&lengths).filter(|(_, l)| **l == length) {
                *codeword = next;
                next += 1;
            }
            next /= 2;
        }
        Self { lengths, codewords }
    }

    fn write(&self, bits: &mut Bits, symbol: usize) {
        let length = u32::from(self.lengths[symbol]);
        assert!(length > 0, "a symbol without a codeword");
        for bit in (0..length).rev() {
            bits.put(u64::from(self.codewords[symbol] >> bit & 1), 1);
        }
    }
}

/// Writes a row of bits.
pub(crate) struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    pub(crate) fn new() -> Self {
        let mut bits = Self { bytes: Vec::new(), count: 0 };
        bits.put(0, 3);
        bits
    }

    pub(crate) fn put(&mut self, value: u64, count: u32) {
        for bit in 0..count {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            self.bytes[self.count / 8] |= ((value >> bit & 1) as u8) << (self.count % 8);
            self.count += 1;
        }
    }

    pub(crate) fn number(&mut self, number: u64) {
        let digits = number.max(1).ilog2() / 4;
        self.put(1 << digits, digits + 1);
        self.put(number, 4 * (digits + 1));
    }

    pub(crate) fn buffer(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.count = 8 * self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.count += 8 * bytes.len();
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes[0] |= (8 * self.bytes.len() - self.count) as u8;
        self.bytes
    }

    fn rifts(&mut self, rifts: &[(i64, i64)]) {
        self.put(u64::from(!rifts.is_empty()), 1);
        if rifts.is_empty() {
            return;
        }
        // Of places: one length after the other. Of shifts: a run of 248 codewords of eight bits, the last four of seven.
        let mut lengths = vec![8; 252];
        lengths[..4].fill(7);
        self.put(126, 8);
        self.put(126, 8);
        self.put(0, 8);
        lengths.iter().for_each(|length| self.put(length - 1, 4));
        self.put(0, 4);
        self.put(0, 8);
        self.put(0, 8);
        self.put(248, 8);
        self.put(7, 4);
        let places = Code::of(lengths.iter().map(|length| *length as u8).collect());
        let shifts = Code::of((0..252).map(|symbol| if symbol < 248 { 8 } else { 7 }).collect());
        self.number(rifts.len() as u64);
        let mut before = (0, 0);
        for (place, shift) in rifts {
            self.signed(&places, place - before.0);
            self.signed(&shifts, shift - before.1);
            before = (*place, *shift);
        }
    }

    fn signed(&mut self, code: &Code, number: i64) {
        let (half, size) = if number < 0 { (126, !number as u64) } else { (0, number as u64) };
        if size < 4 {
            return code.write(self, half + size as usize);
        }
        let top = size.ilog2();
        code.write(self, half + 2 * top as usize + (size >> (top - 1) & 1) as usize);
        self.put(size, top - 1);
    }

    fn codes(&mut self, source_len: usize, starts: &[usize], codes: &[[Code; 3]]) {
        self.number(starts.len() as u64);
        let mut before = 0;
        for start in starts {
            self.number((source_len + start - before) as u64);
            before = source_len + start;
        }
        let pretree = Code::flat(39, &[true; 39]);
        pretree.lengths.iter().for_each(|length| self.put(u64::from(*length), 4));
        let mut before = vec![0; SYMBOLS.iter().sum()];
        for codes in codes {
            let lengths: Vec<u8> = codes.iter().flat_map(|code| code.lengths.clone()).collect();
            self.lengths(&pretree, &before, &lengths);
            before = lengths;
        }
    }

    fn lengths(&mut self, pretree: &Code, before: &[u8], lengths: &[u8]) {
        let mut at = 0;
        while at < lengths.len() {
            let same = lengths[at..].iter().zip(&before[at..]).take_while(|(a, b)| a == b).count();
            let last = at.checked_sub(1).map(|last| lengths[last]);
            let repeated = lengths[at..].iter().take_while(|length| Some(**length) == last).count();
            if same.max(repeated) > 1 {
                let symbol = if same > repeated { 31 } else { 23 };
                let run = same.max(repeated).min(127);
                match run {
                    1..=3 => pretree.write(self, symbol + run - 1),
                    _ => {
                        let count = run.ilog2();
                        pretree.write(self, symbol + 1 + count as usize);
                        self.put(run as u64, count);
                    }
                }
                at += run;
                continue;
            }
            match i16::from(lengths[at]) - i16::from(before[at]) {
                more @ 1..=3 => pretree.write(self, 16 + more as usize),
                less @ -3..=-1 => pretree.write(self, 19 + less.unsigned_abs() as usize),
                _ => pretree.write(self, usize::from(lengths[at])),
            }
            at += 1;
        }
    }
}
