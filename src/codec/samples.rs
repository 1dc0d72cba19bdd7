//! Data for the tests of the codecs: made from seeds, so that a failure can be had again.

/// A small generator of numbers (xorshift).
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % limit
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }
}

/// Runs, short periods, text, records, code with calls, noise and repetitions of earlier parts, `length` bytes in all.
pub(super) fn structured(seed: u64, length: usize) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let mut data = Vec::new();
    while data.len() < length {
        let limit = if numbers.below(8) == 0 { 70_000 } else { 600 };
        let size = 1 + numbers.below(limit);
        match numbers.below(7) {
            0 => data.resize(data.len() + size, numbers.byte()),
            1 => {
                let period: Vec<u8> = (0..=numbers.below(20)).map(|_| numbers.byte()).collect();
                data.extend(period.iter().cycle().take(size));
            }
            2 => data.extend((0..size).map(|_| b"etaoin shrdlu"[numbers.below(13)])),
            3 => data.extend((0..size / 8).flat_map(|i| [i as u8, 0, 0, 0x10, numbers.below(3) as u8, 7, 7, 0])),
            4 => {
                for _ in 0..size / 12 {
                    let target =
                        [0x401_000, 0, 0xFFFF_F000, 11_999_999, 12_000_000][numbers.below(5)] + numbers.below(3) as u32;
                    data.push(0xE8);
                    data.extend(target.wrapping_sub(data.len() as u32).to_le_bytes());
                    data.extend((0..7).map(|_| numbers.byte() & 0x33));
                }
            }
            5 => data.extend((0..size.min(400)).map(|_| numbers.byte())),
            _ if data.is_empty() => {}
            _ => {
                let from = numbers.below(data.len());
                data.extend_from_within(from..data.len().min(from + size));
            }
        }
    }
    data.truncate(length);
    data
}

/// The bytes that `hex` spells; white space does not count.
pub(super) fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.as_chunks::<2>().0.iter().map(|[high, low]| high << 4 | low).collect()
}

/// What the vectors in the tests of XPRESS and LZX hold: text, a long run, and calls of one function.
pub(super) fn vector_data() -> Vec<u8> {
    let mut data: Vec<u8> = (0..60).flat_map(|i| format!("{i} squared is {}; ", i * i).into_bytes()).collect();
    data.resize(data.len() + 300, b'-');
    for i in 0..12 {
        data.push(0xE8);
        data.extend((5001 - data.len() as u32).to_le_bytes());
        data.push(b'A' + i);
    }
    data
}

/// Calls `decode` with `chunk` damaged in many ways and output lengths near `length`; it must not panic.
pub(super) fn with_damage(chunk: &[u8], length: usize, mut decode: impl FnMut(&[u8], usize)) {
    let mut numbers = Numbers::new(chunk.len() as u64);
    let mut damaged = chunk.to_vec();
    for bit in 0..8 * chunk.len().min(700) {
        damaged[bit / 8] ^= 1 << (bit % 8);
        decode(&damaged, length);
        damaged[bit / 8] ^= 1 << (bit % 8);
    }
    for _ in 0..2000 {
        damaged.copy_from_slice(chunk);
        for _ in 0..=numbers.below(8) {
            let at = numbers.below(chunk.len());
            damaged[at] = numbers.byte();
        }
        decode(&damaged, length);
    }
    for change in 1..600 {
        decode(chunk, length.saturating_sub(change));
        decode(chunk, length + change);
    }
}
