//! The binary values of the database.

use uuid::Uuid;

use crate::base::bytes::{u16_at, u64_at};
use crate::base::{FileTime, Machine, Version};

/// The value `Version` of a package, 48 bytes:
///
/// ```text
///  0  u8      FFh for a package that came with Windows, 0 for any other
///  1  u8      FFh
///  2  u16     processor as in SYSTEM_INFO: 0 x86, 5 ARM, 9 AMD64, 12 ARM64
///  4  u32     0
///  8  16      class id, its first three parts little-endian
/// 24  u64     date as a FILETIME
/// 32  u64     version: the first number in the upper 16 bits
/// 40  u64     flags, 0 in 233 of 238 packages of a Windows 10
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VersionBlob {
    pub(crate) is_inbox: bool,
    pub(crate) architecture: u16,
    pub(crate) class: Uuid,
    pub(crate) date: FileTime,
    pub(crate) version: Version,
    pub(crate) tail: u64,
}

/// Its length.
pub(crate) const VERSION_LEN: usize = 48;

const MARK: u8 = 0xFF;

impl VersionBlob {
    /// Parses it; `None` for fewer bytes. More are ignored.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; VERSION_LEN] = bytes.first_chunk()?;
        let class: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
        let version = u64_at(bytes, 32)?;
        Some(Self {
            is_inbox: bytes[0] == MARK,
            architecture: u16_at(bytes, 2)?,
            class: Uuid::from_bytes_le(class),
            date: FileTime(u64_at(bytes, 24)?),
            version: Version([48, 32, 16, 0].map(|shift| (version >> shift) as u16)),
            tail: u64_at(bytes, 40)?,
        })
    }

    /// The bytes.
    pub(crate) fn to_bytes(self) -> [u8; VERSION_LEN] {
        let version = self.version.0.iter().fold(0, |number, part| number << 16 | u64::from(*part));
        let mut bytes = [0; VERSION_LEN];
        bytes[0] = if self.is_inbox { MARK } else { 0 };
        bytes[1] = MARK;
        bytes[2..4].copy_from_slice(&self.architecture.to_le_bytes());
        bytes[8..24].copy_from_slice(&self.class.to_bytes_le());
        bytes[24..32].copy_from_slice(&self.date.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&version.to_le_bytes());
        bytes[40..].copy_from_slice(&self.tail.to_le_bytes());
        bytes
    }
}

/// The number of a processor in the database (`SYSTEM_INFO.wProcessorArchitecture`).
pub(crate) fn architecture(machine: Machine) -> u16 {
    match machine {
        Machine::X86 => 0,
        Machine::Arm => 5,
        Machine::Amd64 => 9,
        Machine::Arm64 => 12,
    }
}

/// The processor of such a number.
pub(crate) fn machine(architecture: u16) -> Option<Machine> {
    [Machine::X86, Machine::Arm, Machine::Amd64, Machine::Arm64]
        .into_iter()
        .find(|machine| self::architecture(*machine) == architecture)
}

/// The value that `DeviceIds` has for an INF: kind, feature score, index.
pub(crate) fn device_id(bytes: &[u8]) -> Option<(u8, u8, u16)> {
    let bytes: &[u8; 4] = bytes.try_into().ok()?;
    Some((bytes[0], bytes[1], u16::from_le_bytes([bytes[2], bytes[3]])))
}

/// The bytes of such a value.
pub(crate) fn device_id_bytes(kind: u8, feature: u8, index: u16) -> [u8; 4] {
    let [low, high] = index.to_le_bytes();
    [kind, feature, low, high]
}

/// `OemInfMap`: which numbers of oemN.inf are taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OemInfMap(Vec<u8>);

impl OemInfMap {
    /// The map of these bytes.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    fn bit(number: u32) -> (usize, u8) {
        ((number / 8) as usize, 0x80 >> (number % 8))
    }

    /// Whether a number is taken.
    pub(crate) fn has(&self, number: u32) -> bool {
        let (byte, bit) = Self::bit(number);
        self.0.get(byte).is_some_and(|byte| byte & bit != 0)
    }

    /// All that are taken.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        (0..self.0.len() as u32 * 8).filter(|number| self.has(*number)).collect()
    }

    /// Takes a number.
    pub(crate) fn take(&mut self, number: u32) {
        let (byte, bit) = Self::bit(number);
        if self.0.len() <= byte {
            self.0.resize(byte + 1, 0);
        }
        self.0[byte] |= bit;
    }

    /// Gives a number back. The map ends with the byte of the highest number, as those that were seen do.
    pub(crate) fn free(&mut self, number: u32) {
        let (byte, bit) = Self::bit(number);
        if let Some(byte) = self.0.get_mut(byte) {
            *byte &= !bit;
        }
        while self.0.pop_if(|byte| *byte == 0).is_some() {}
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The number of a published name: 3 of `oem3.inf`.
pub(crate) fn oem_number(published: &str) -> Option<u32> {
    let name = published.to_ascii_lowercase();
    let digits = name.strip_prefix("oem")?.strip_suffix(".inf")?;
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| digits.parse().ok()).flatten()
}
