//! Finds earlier occurrences of the bytes at a place, for the encoders: chains of places with the same hash.

/// Bytes that are the same as `offset` bytes earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    pub(super) length: u32,
    pub(super) offset: u32,
}

const HASH_BITS: u32 = 15;
/// How many places with the same hash are looked at.
const DEPTH: usize = 24;

/// Knows the places that it was shown, in order.
#[derive(Default)]
pub(super) struct Matchfinder {
    /// By pair of bytes: the last place of it, plus one.
    pairs: Vec<u32>,
    /// By hash of three bytes: the last place, plus one.
    heads: Vec<u32>,
    /// By place: the one before with the same hash, plus one.
    links: Vec<u32>,
}

impl Matchfinder {
    /// Forgets all places, for data of `length` bytes.
    pub(super) fn reset(&mut self, length: usize) {
        for (table, length) in
            [(&mut self.pairs, 1 << 16), (&mut self.heads, 1 << HASH_BITS), (&mut self.links, length)]
        {
            table.clear();
            table.resize(length, 0);
        }
    }

    /// Adds the place `at`.
    pub(super) fn skip(&mut self, data: &[u8], at: usize) {
        self.add(data, at);
    }

    /// Adds the place `at` and appends the matches that start there: of two bytes or more, each longer than the one before,
    /// none longer than `max`, and each at the nearest place that was found for its length.
    pub(super) fn find(&mut self, data: &[u8], at: usize, max: usize, matches: &mut Vec<Match>) {
        let Some((pair, mut next)) = self.add(data, at) else { return };
        let rest = &data[at..at + max.min(data.len() - at)];
        let mut best = 1;
        if pair != 0 && rest.len() >= 2 {
            best = 2;
            matches.push(Match { length: 2, offset: (at + 1) as u32 - pair });
        }
        for _ in 0..DEPTH {
            if next == 0 || best >= rest.len() {
                break;
            }
            let place = next as usize - 1;
            if data[place + best] == rest[best] {
                let length = common_length(&data[place..], rest);
                if length > best.max(2) {
                    best = length;
                    matches.push(Match { length: length as u32, offset: (at - place) as u32 });
                }
            }
            next = self.links[place];
        }
    }

    /// The last places of the same pair and of the same hash.
    fn add(&mut self, data: &[u8], at: usize) -> Option<(u32, u32)> {
        let [a, b, c] = *data.get(at..)?.first_chunk()?;
        let pair = std::mem::replace(&mut self.pairs[usize::from(u16::from_le_bytes([a, b]))], at as u32 + 1);
        let hash = u32::from_le_bytes([a, b, c, 0]).wrapping_mul(0x9E37_79B1) >> (32 - HASH_BITS);
        let head = std::mem::replace(&mut self.heads[hash as usize], at as u32 + 1);
        self.links[at] = head;
        Some((pair, head))
    }
}

/// How many bytes `a` starts with that are those of `b`.
pub(super) fn common_length(a: &[u8], b: &[u8]) -> usize {
    let mut length = 0;
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        let different = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if different != 0 {
            return length + different.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    length + a[length..].iter().zip(&b[length..]).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_nearest_of_each_length() {
        let data = b"abcdX.abcY.abZ.abcd";
        let mut finder = Matchfinder::default();
        finder.reset(data.len());
        let mut matches = Vec::new();
        for at in 0..15 {
            finder.skip(data, at);
        }
        finder.find(data, 15, 100, &mut matches);
        let pairs: Vec<_> = matches.iter().map(|m| (m.length, m.offset)).collect();
        assert_eq!(pairs, [(2, 4), (3, 9), (4, 15)]);
        finder.reset(data.len());
        matches.clear();
        finder.find(data, 15, 100, &mut matches);
        assert_eq!(matches, []);
    }

    #[test]
    fn common_lengths() {
        let a: Vec<u8> = (0..40).collect();
        for length in 0..40 {
            let mut b = a.clone();
            b[length] ^= 0x80;
            assert_eq!(common_length(&a, &b), length);
            assert_eq!(common_length(&a, &a[..length]), length);
        }
    }
}
