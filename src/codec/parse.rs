//! Chooses literals and matches for the encoders: the cheapest way through a block under a model of what each costs.
//!
//! The costs depend on the codes, and those on the choice. So an encoder parses a block a few times, each time with the
//! costs that the choice before gave.

use super::matchfinder::{Match, Matchfinder, common_length};
use std::ops::Range;

/// One step through a block: a match, or for an offset of 0 a literal (of length 1).
pub(super) type Step = Match;

/// What steps cost, in [`BIT`]ths of a bit.
pub(super) trait Costs {
    /// The shortest match.
    const MIN_MATCH: usize;
    /// The longest match.
    const MAX_MATCH: usize;
    /// How many recent offsets there are.
    const RECENT: usize;

    fn literal(&self, byte: u8) -> u32;
    fn explicit(&self, offset: u32) -> impl Fn(usize) -> u32;
    fn recent(&self, which: usize) -> impl Fn(usize) -> u32;
}

/// The unit of costs, as a part of a bit.
pub(super) const BIT: u32 = 16;

/// A match that is at least as long is taken without looking for something better.
const LONG_ENOUGH: usize = 48;

/// The recent offsets of a format; those without them do not look.
pub(super) type Recent = [u32; 3];

/// Makes `offset` the most recent one, and says which recent one it was: by exchange, as LZX does.
pub(super) fn use_offset(recent: &mut Recent, offset: u32) -> Option<usize> {
    let which = recent.iter().position(|&r| r == offset);
    match which {
        Some(which) => recent.swap(0, which),
        None => *recent = [offset, recent[0], recent[1]],
    }
    which
}

/// The best known way to a place.
#[derive(Clone, Copy)]
struct Node {
    cost: u32,
    /// The last step of the way.
    step: Step,
    recent: Recent,
}

/// Parses blocks; keeps its memory between them.
#[derive(Default)]
pub(super) struct Parser {
    finder: Matchfinder,
    matches: Vec<Match>,
    /// For each place of the block: where its matches end in `matches`.
    ends: Vec<u32>,
    nodes: Vec<Node>,
}

impl Parser {
    /// Starts new data.
    pub(super) fn reset(&mut self, length: usize) {
        self.finder.reset(length);
    }

    /// Finds the matches of the next block.
    pub(super) fn find<C: Costs>(&mut self, data: &[u8], block: Range<usize>) {
        self.matches.clear();
        self.ends.clear();
        let mut skip_until = block.start;
        for at in block.clone() {
            // No match of the last two bytes: LZX has no code for the two longest offsets, which only they could have.
            if at < skip_until || block.end - at < 3 {
                self.finder.skip(data, at);
            } else {
                let max = (block.end - at).min(C::MAX_MATCH);
                self.finder.find(data, at, max, &mut self.matches);
                let first = self.ends.last().map_or(0, |&end| end as usize);
                if let Some(longest) = self.matches[first..].last().map(|m| m.length as usize)
                    && longest >= LONG_ENOUGH
                {
                    skip_until = at + longest;
                }
            }
            self.ends.push(self.matches.len() as u32);
        }
    }

    /// The cheapest steps through the block that was searched last, into `steps`.
    pub(super) fn parse<C: Costs>(
        &mut self,
        costs: &C,
        data: &[u8],
        block: Range<usize>,
        recent: Recent,
        steps: &mut Vec<Step>,
    ) {
        let start = Node { cost: u32::MAX, step: Step { length: 0, offset: 0 }, recent };
        self.nodes.clear();
        self.nodes.resize(block.len() + 1, start);
        self.nodes[0].cost = 0;
        let mut at = 0;
        while at < block.len() {
            at += self.relax(costs, &data[..block.end], block.start, at);
        }
        steps.clear();
        let mut at = block.len();
        while at > 0 {
            let step = self.nodes[at].step;
            steps.push(step);
            at -= step.length as usize;
        }
        steps.reverse();
    }

    /// Tries all steps from a place, and returns how far to go to the next place to try from.
    fn relax<C: Costs>(&mut self, costs: &C, data: &[u8], start: usize, at: usize) -> usize {
        let Node { cost, recent, .. } = self.nodes[at];
        let place = start + at;
        let rest = &data[place..data.len().min(place + C::MAX_MATCH)];
        let (_, nodes) = self.nodes.split_at_mut(at);
        let try_step = |nodes: &mut [Node], length: usize, offset: u32, step_cost: u32, recent: Recent| {
            let node = &mut nodes[length];
            let cost = cost + step_cost;
            if cost < node.cost {
                *node = Node { cost, step: Step { length: length as u32, offset }, recent };
            }
        };
        try_step(nodes, 1, 0, costs.literal(rest[0]), recent);
        for (which, &offset) in recent.iter().enumerate().take(C::RECENT) {
            let Some(earlier) = place.checked_sub(offset as usize) else { continue };
            let longest = common_length(&data[earlier..], rest);
            let mut after = recent;
            use_offset(&mut after, offset);
            let cost_of = costs.recent(which);
            if longest >= LONG_ENOUGH {
                try_step(nodes, longest, offset, cost_of(longest), after);
                return longest;
            }
            for length in C::MIN_MATCH..=longest {
                try_step(nodes, length, offset, cost_of(length), after);
            }
        }
        let first = if at == 0 { 0 } else { self.ends[at - 1] } as usize;
        let mut shortest = C::MIN_MATCH;
        for found in &self.matches[first..self.ends[at] as usize] {
            let longest = found.length as usize;
            let cost_of = costs.explicit(found.offset);
            let mut after = recent;
            use_offset(&mut after, found.offset);
            if longest >= LONG_ENOUGH {
                try_step(nodes, longest, found.offset, cost_of(longest), after);
                return longest;
            }
            for length in shortest..=longest {
                try_step(nodes, length, found.offset, cost_of(length), after);
            }
            shortest = shortest.max(longest + 1);
        }
        1
    }
}

/// Costs of symbols that occur `frequencies` times: their information content, and for those that do not occur that of
/// half an occurrence.
pub(super) fn symbol_costs(frequencies: &[u32], costs: &mut [u32]) {
    let total = log2(2 * frequencies.iter().sum::<u32>().max(1));
    for (cost, &frequency) in costs.iter_mut().zip(frequencies) {
        *cost = total - log2((2 * frequency).max(1));
    }
}

/// The logarithm in [`BIT`]ths, without floating point so that it is the same everywhere.
fn log2(value: u32) -> u32 {
    let whole = value.ilog2();
    let mut fraction = (u64::from(value) << 31) >> whole;
    let mut result = whole;
    for _ in 0..BIT.ilog2() {
        fraction = (fraction * fraction) >> 31;
        let bit = fraction >> 32;
        fraction >>= bit;
        result = 2 * result + bit as u32;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms() {
        for (value, expected) in [(1, 0), (2, 16), (3, 25), (1024, 160), (1 << 31, 31 * 16), (u32::MAX, 32 * 16 - 1)] {
            assert_eq!(log2(value), expected, "{value}");
        }
    }
}
