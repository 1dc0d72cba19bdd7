//! Values: a type number and bytes, with helpers for the usual types.

use std::borrow::Cow;

use super::Text;
use crate::base::Name;
use crate::base::bytes::{u32_at, u64_at};

/// The type numbers that have names. Others occur, and any `u32` is kept: drivers set flags in the upper half, device
/// properties use 0xFFFFxxxx.
pub mod kind {
    /// No type.
    pub const NONE: u32 = 0;
    /// A string with its NUL.
    pub const SZ: u32 = 1;
    /// A string with `%variables%`.
    pub const EXPAND_SZ: u32 = 2;
    /// Bytes.
    pub const BINARY: u32 = 3;
    /// A little-endian `u32`.
    pub const DWORD: u32 = 4;
    /// A big-endian `u32`.
    pub const DWORD_BIG_ENDIAN: u32 = 5;
    /// The target of a symbolic link, without a NUL.
    pub const LINK: u32 = 6;
    /// Strings, each with its NUL, and one NUL more.
    pub const MULTI_SZ: u32 = 7;
    /// A little-endian `u64`.
    pub const QWORD: u32 = 11;
}

/// The type and bytes of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The type number, often one of [`kind`].
    pub kind: u32,
    /// The bytes as stored.
    pub data: Vec<u8>,
}

fn wide(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes)
}

impl Value {
    /// The value as a hive would show it, without a name.
    pub fn view(&self) -> ValueRef<'_> {
        ValueRef { name: Text::units_of(&[]), kind: self.kind, data: Cow::Borrowed(&self.data) }
    }

    /// Any type with any bytes.
    pub fn new(kind: u32, data: impl Into<Vec<u8>>) -> Self {
        Self { kind, data: data.into() }
    }

    /// REG_SZ, with its NUL.
    pub fn sz(text: &str) -> Self {
        Self::new(kind::SZ, wide(text).collect::<Vec<_>>())
    }

    /// REG_EXPAND_SZ, with its NUL.
    pub fn expand_sz(text: &str) -> Self {
        Self::new(kind::EXPAND_SZ, wide(text).collect::<Vec<_>>())
    }

    /// REG_MULTI_SZ. An empty string would end the list for every reader, so none should be given.
    pub fn multi_sz<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Self {
        let mut data = Vec::new();
        for text in texts {
            data.extend(wide(text.as_ref()));
        }
        data.extend([0, 0]);
        Self::new(kind::MULTI_SZ, data)
    }

    /// REG_DWORD.
    pub fn dword(number: u32) -> Self {
        Self::new(kind::DWORD, number.to_le_bytes())
    }

    /// REG_QWORD.
    pub fn qword(number: u64) -> Self {
        Self::new(kind::QWORD, number.to_le_bytes())
    }

    /// REG_BINARY.
    pub fn binary(data: impl Into<Vec<u8>>) -> Self {
        Self::new(kind::BINARY, data)
    }
}

/// A value of a hive.
#[derive(Debug, Clone)]
pub struct ValueRef<'a> {
    /// The name; empty for the key's default value.
    pub name: Text<'a>,
    /// The type number, often one of [`kind`].
    pub kind: u32,
    /// The bytes: borrowed, but for data that the hive keeps in segments.
    pub data: Cow<'a, [u8]>,
}

impl ValueRef<'_> {
    /// An owned copy of type and bytes.
    pub fn to_value(&self) -> Value {
        Value::new(self.kind, &*self.data)
    }

    /// The text of a REG_SZ, REG_EXPAND_SZ or REG_LINK up to its first NUL, lossy; `None` for other types.
    pub fn as_text(&self) -> Option<String> {
        matches!(self.kind, kind::SZ | kind::EXPAND_SZ | kind::LINK).then(|| text_until_nul(&units(&self.data)))
    }

    /// The texts of a REG_MULTI_SZ up to its empty one, lossy; `None` for other types.
    pub fn as_texts(&self) -> Option<Vec<String>> {
        (self.kind == kind::MULTI_SZ).then(|| {
            let units = units(&self.data);
            units.split(|unit| *unit == 0).take_while(|text| !text.is_empty()).map(text_until_nul).collect()
        })
    }

    /// The number of a REG_DWORD of either byte order; `None` for other types and for too few bytes.
    pub fn as_dword(&self) -> Option<u32> {
        match self.kind {
            kind::DWORD => u32_at(&self.data, 0),
            kind::DWORD_BIG_ENDIAN => u32_at(&self.data, 0).map(u32::swap_bytes),
            _ => None,
        }
    }

    /// The number of a REG_QWORD; `None` for other types and for too few bytes.
    pub fn as_qword(&self) -> Option<u64> {
        (self.kind == kind::QWORD).then(|| u64_at(&self.data, 0)).flatten()
    }

    /// The bytes of a REG_BINARY; `None` for other types.
    pub fn as_binary(&self) -> Option<&[u8]> {
        (self.kind == kind::BINARY).then_some(&*self.data)
    }
}

fn units(data: &[u8]) -> Vec<u16> {
    Name::from_le_bytes(data).units().to_vec()
}

fn text_until_nul(units: &[u16]) -> String {
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..end])
}
