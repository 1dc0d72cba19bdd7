//! What has to be said about a volume, beside its tree.

use std::fmt;

/// So many notes are kept of what could not be read; the rest is counted.
const KEPT: usize = 100;

/// Words about a volume.
#[derive(Default, Clone)]
pub(super) struct Notes {
    words: Vec<String>,
    lost: u64,
}

impl Notes {
    /// Something that a tree does not carry, or that is odd.
    pub(super) fn say(&mut self, words: impl fmt::Display) {
        self.words.push(words.to_string());
    }

    /// The same if there are any of it.
    pub(super) fn count(&mut self, count: u64, words: &str) {
        if count > 0 {
            self.say(format_args!("{count} {words}"));
        }
    }

    /// Something that could not be read, so that the tree lacks it.
    pub(super) fn lost(&mut self, words: impl fmt::Display) {
        self.lost += 1;
        if self.lost <= KEPT as u64 {
            self.say(words);
        }
    }

    /// All words, and how many things could not be read.
    pub(super) fn finish(mut self) -> (Vec<String>, u64) {
        let silent = self.lost.saturating_sub(KEPT as u64);
        self.count(silent, "more things that could not be read");
        (self.words, self.lost)
    }
}
