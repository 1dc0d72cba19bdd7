//! Processors, as the headers of programs and the names of folders have them.

use std::fmt;

use serde::Serialize;

use super::bytes;
use crate::error::{Error, Result};

/// The processor that a Windows is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    /// 32-bit x86.
    X86,
    /// 64-bit x86.
    Amd64,
    /// 32-bit ARM.
    Arm,
    /// 64-bit ARM.
    Arm64,
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86 => "x86",
            Self::Amd64 => "amd64",
            Self::Arm => "arm",
            Self::Arm64 => "arm64",
        })
    }
}

impl Machine {
    /// The machine that a PE file is for, by its COFF header (Microsoft's PE/COFF specification, "Machine Types").
    pub fn of_pe(image: &[u8]) -> Result<Self> {
        let header = bytes::u32_at(image, 0x3C).filter(|_| image.starts_with(b"MZ")).map(|offset| offset as usize);
        let machine = header
            .filter(|&header| header.checked_add(4).and_then(|end| image.get(header..end)) == Some(b"PE\0\0"))
            .and_then(|header| bytes::u16_at(image, header + 4))
            .ok_or_else(|| Error::corrupt("not an executable of Windows").allowed("an MZ and a PE header"))?;
        match machine {
            0x014C => Ok(Self::X86),
            0x8664 => Ok(Self::Amd64),
            0x01C0 | 0x01C4 => Ok(Self::Arm),
            0xAA64 => Ok(Self::Arm64),
            other => Err(Error::unsupported("processor of an executable")
                .found(format_args!("{other:#06x}"))
                .allowed("x86, amd64, arm, arm64")),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::error::Kind;

    /// The least that counts as an executable for a machine.
    pub(crate) fn executable(machine: u16) -> Vec<u8> {
        let mut image = vec![0; 0x60];
        image[..2].copy_from_slice(b"MZ");
        image[0x3C] = 0x40;
        image[0x40..0x44].copy_from_slice(b"PE\0\0");
        image[0x44..0x46].copy_from_slice(&machine.to_le_bytes());
        image
    }

    #[test]
    fn reads_machines_without_trusting_offsets() {
        for machine in [0x014C, 0x8664, 0x01C4, 0xAA64] {
            assert!(Machine::of_pe(&executable(machine)).is_ok());
        }
        assert_eq!(Machine::of_pe(&executable(0x0200)).unwrap_err().kind(), Kind::Unsupported);
        let mut image = executable(0x8664);
        image[0x3C..0x40].copy_from_slice(&[0xFF; 4]);
        assert_eq!(Machine::of_pe(&image).unwrap_err().kind(), Kind::Corrupt);
        assert!(Machine::of_pe(&image[..0x3D]).is_err());
    }
}
