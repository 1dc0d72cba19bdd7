//! Data from which wimlib made the chunks in `tests/data/lzms`, made anew whenever it is needed.
//!
//! Each sample leads its compressor to other parts of the format. The integration tests include this file too.

/// A sample's name, which is also that of its fixture, and its data.
pub(crate) type Sample = (&'static str, Vec<u8>);

/// All samples.
pub(crate) fn all() -> Vec<Sample> {
    vec![
        ("few", b"few, few, few".repeat(5)),
        ("words", words(60_000)),
        ("records", records(90_000)),
        ("ramps", ramps()),
        ("code", code(90_000)),
        ("far", far()),
    ]
}

/// Marsaglia's xorshift64: the same numbers everywhere.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

/// Made-up words, the first of them the most frequent: literals and short matches.
fn words(length: usize) -> Vec<u8> {
    let mut numbers = Numbers(1);
    let vocabulary: Vec<Vec<u8>> = (0..2000)
        .map(|_| (0..2 + numbers.below(9)).map(|_| b"etaoinshrdlucmfw"[numbers.below(16) as usize]).collect())
        .collect();
    let mut text = Vec::new();
    while text.len() < length {
        let rank = numbers.below(2000) * numbers.below(2000) * numbers.below(2000) / 4_000_000;
        text.extend_from_slice(&vocabulary[rank as usize]);
        text.push(b' ');
    }
    text
}

/// Records of 40 bytes of which a few bytes change each time: the same offset over and over.
fn records(length: usize) -> Vec<u8> {
    let mut numbers = Numbers(2);
    let mut record = numbers.bytes(40);
    let mut data = Vec::new();
    while data.len() < length {
        for _ in 0..1 + numbers.below(4) {
            record[numbers.below(40) as usize] = numbers.below(256) as u8;
        }
        data.extend_from_slice(&record);
        if numbers.below(20) == 0 {
            data.extend_from_slice(b"between them");
        }
    }
    data
}

/// Rows of bytes that each go up at their own pace, in groups of every span that delta matches know, with faults.
fn ramps() -> Vec<u8> {
    let mut numbers = Numbers(3);
    let mut data = Vec::new();
    for span in [1, 2, 4, 8, 16, 32, 64, 128] {
        let (start, pace) = (numbers.bytes(span), numbers.bytes(span));
        for row in 0..(16_000 / span) {
            for (start, pace) in start.iter().zip(&pace) {
                data.push(start.wrapping_add(pace.wrapping_mul(row as u8)));
            }
            if numbers.below(1 + 200 / span as u64) == 0 {
                let fault = numbers.bytes(3);
                data.extend_from_slice(&fault);
            }
        }
    }
    data
}

/// What the x86 filter takes for machine code: a few targets, used from everywhere; jumps, which it skips; and stretches
/// of other data in which it has to stop.
fn code(length: usize) -> Vec<u8> {
    let mut numbers = Numbers(4);
    let mut data = Vec::new();
    while data.len() < length {
        if numbers.below(400) == 0 {
            let count = numbers.below(3000) as usize;
            let other = numbers.bytes(count);
            data.extend_from_slice(&other);
        }
        let opcode: &[u8] = match numbers.below(12) {
            0..5 => &[0xe8],
            5 => &[0xe9],
            6 => &[0xff, 0x15],
            7 => &[0xf0, 0x83, 0x05],
            8 => &[0x48, 0x8d, 0x0d],
            9 => &[0x4c, 0x8d, 0x05],
            10 => &[0x48, 0x8b, 0x05],
            _ => &[0x48, 0x8b, 0xc5],
        };
        let target = 0x2000 + 0x3a0 * numbers.below(40) as u32;
        let displacement = target.wrapping_sub((data.len() + opcode.len() + 4) as u32);
        data.extend_from_slice(opcode);
        data.extend_from_slice(&displacement.to_le_bytes());
        let filler = numbers.below(6) as usize;
        data.extend_from_slice(&[0x8b, 0x45, 0x08, 0x85, 0xc0][..filler.min(5)]);
    }
    data
}

/// Two megabytes with matches that are long or go far back: high slots of both kinds.
fn far() -> Vec<u8> {
    let mut numbers = Numbers(5);
    let parts: Vec<Vec<u8>> = (0..24).map(|i| numbers.bytes(40 + 10 * i)).collect();
    let mut data = parts.concat();
    while data.len() < 2_000_000 {
        let part = &parts[numbers.below(24) as usize];
        data.extend_from_slice(part);
        let zeros = numbers.below(40) * numbers.below(40) * numbers.below(40);
        data.resize(data.len() + zeros as usize, 0);
    }
    data.resize(2_400_000, 0);
    data
}
