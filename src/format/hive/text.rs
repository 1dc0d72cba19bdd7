//! Names as they lie in a hive: one byte or two for each code unit.

use std::cmp::Ordering;
use std::fmt;

use crate::base::{Name, upcase};

/// A name of a key or value, borrowed from the hive.
#[derive(Clone, Copy)]
pub struct Text<'a>(pub(super) Form<'a>);

/// How the code units are stored.
#[derive(Clone, Copy)]
pub(super) enum Form<'a> {
    /// "Compressed": one byte each, the upper one being zero.
    Bytes(&'a [u8]),
    /// Two bytes each, little-endian.
    Pairs(&'a [u8]),
    /// A name that was set since the hive was read.
    Units(&'a [u16]),
}

impl<'a> Text<'a> {
    pub(super) fn stored(bytes: &'a [u8], compressed: bool) -> Self {
        Self(if compressed { Form::Bytes(bytes) } else { Form::Pairs(bytes) })
    }

    pub(super) fn units_of(units: &'a [u16]) -> Self {
        Self(Form::Units(units))
    }

    /// How many code units there are.
    pub fn len(&self) -> usize {
        match self.0 {
            Form::Bytes(bytes) => bytes.len(),
            Form::Pairs(bytes) => bytes.len() / 2,
            Form::Units(units) => units.len(),
        }
    }

    /// Whether it has no code units: the name of a key's default value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn unit(&self, i: usize) -> u16 {
        match self.0 {
            Form::Bytes(bytes) => u16::from(bytes[i]),
            Form::Pairs(bytes) => u16::from_le_bytes([bytes[2 * i], bytes[2 * i + 1]]),
            Form::Units(units) => units[i],
        }
    }

    /// The code units.
    pub fn units(self) -> impl ExactSizeIterator<Item = u16> + 'a {
        (0..self.len()).map(move |i| self.unit(i))
    }

    /// An owned copy.
    pub fn to_name(self) -> Name {
        Name::new(self.units().collect::<Vec<_>>())
    }

    /// The order in which a hive keeps its keys: by upper-cased code units.
    pub fn compare(&self, other: &Text<'_>) -> Ordering {
        let table = upcase::table();
        let upper = |unit: u16| table[usize::from(unit)];
        self.units().map(upper).cmp(other.units().map(upper))
    }

    /// Whether both are the same to a registry, which ignores case.
    pub fn is(&self, name: &str) -> bool {
        self.compare(&Text::units_of(Name::from(name).units())).is_eq()
    }
}

impl fmt::Display for Text<'_> {
    /// Lossy and safe to print, as [`Name`] prints.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_name().fmt(f)
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_name(), f)
    }
}
