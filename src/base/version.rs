//! Versions in four parts, as programs, drivers and packages have them.

use std::fmt;

use serde::{Serialize, Serializer};

/// A version in four parts, in the order of their weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub [u16; 4]);

impl Version {
    /// Four numbers with dots; those that are missing are 0.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = [0; 4];
        let mut numbers = text.split('.');
        for part in &mut parts {
            let Some(number) = numbers.next() else { break };
            *part = number.trim().parse().ok()?;
        }
        numbers.next().is_none().then_some(Self(parts))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, build, revision] = self.0;
        write!(f, "{major}.{minor}.{build}.{revision}")
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
