//! Where the ids of an image come from: not from chance, but from what the image is.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::{Error, Kind, Result};

/// The source of every id in an image. The same seed gives the same ids on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// A seed from the parts that make an image what it is. Parts are kept apart: ("ab", "c") is not ("a", "bc").
    pub fn from_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new_with_prefix(b"nanovhd seed 1\0");
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    /// A seed that nobody can guess, and nobody get again: for keys.
    pub fn by_chance() -> Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|e| Error::new(Kind::Io, format_args!("the system gives no random numbers: {e}")))?;
        Ok(Self(bytes))
    }

    /// 32 bytes of its own for each purpose.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(self.0);
        hash.update(purpose);
        hash.finalize().into()
    }

    /// A GUID for a purpose, in the form of a random one (version 4).
    pub fn guid(&self, purpose: &str) -> Uuid {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.derive(purpose)[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// A number for a purpose, never zero.
    pub fn number(&self, purpose: &str) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.derive(purpose)[..8]);
        u64::from_le_bytes(bytes).max(1)
    }

    /// An MBR disk signature: never zero, which Windows would take for "none".
    pub fn disk_signature(&self) -> u32 {
        (self.number("disk signature") as u32).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_parts_and_purpose_only() {
        let seed = |parts: &[&[u8]]| Seed::from_parts(parts.iter().copied());
        assert_eq!(seed(&[b"a"]).guid("x"), seed(&[b"a"]).guid("x"));
        assert_ne!(seed(&[b"a"]).guid("x"), seed(&[b"a"]).guid("y"));
        assert_ne!(seed(&[b"ab", b"c"]), seed(&[b"a", b"bc"]));
        assert_eq!(seed(&[b"a"]).guid("x").get_version_num(), 4);
    }
}
