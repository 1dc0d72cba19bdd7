//! The version of an executable: the fixed part of its version resource.

use object::LittleEndian as LE;
use object::read::pe::{ImageNtHeaders, PeFile32, PeFile64, ResourceDirectory, ResourceDirectoryEntryData};

use crate::base::Version;
use crate::base::bytes::{u16_at, u32_at};

const RT_VERSION: u16 = 16;
/// `VS_VERSION_INFO` in UTF-16 with its NUL, behind three words.
const KEY_AT: usize = 6;
const KEY_LEN: usize = 32;
/// `VS_FIXEDFILEINFO.dwSignature`.
const SIGNATURE: u32 = 0xFEEF_04BD;

/// `FileVersion` of a PE file; `None` where there is none (Microsoft, "VS_VERSIONINFO structure").
pub(super) fn file_version(image: &[u8]) -> Option<Version> {
    let block = match PeFile64::parse(image) {
        Ok(file) => version_block(&file),
        Err(_) => version_block(&PeFile32::parse(image).ok()?),
    }?;
    // The value is aligned to four bytes, from the start of the block.
    let value = KEY_AT + KEY_LEN + 2;
    let has_value = u16_at(block, 2)? != 0 && u32_at(block, value)? == SIGNATURE;
    let (high, low) = (u32_at(block, value + 8)?, u32_at(block, value + 12)?);
    has_value.then_some(Version([(high >> 16) as u16, high as u16, (low >> 16) as u16, low as u16]))
}

/// The first version resource, of whatever name and language.
fn version_block<'data, Pe: ImageNtHeaders>(file: &object::read::pe::PeFile<'data, Pe>) -> Option<&'data [u8]> {
    let (data, sections) = (file.data(), file.section_table());
    let resources: ResourceDirectory<'data> = file.data_directories().resource_directory(data, &sections).ok()??;
    let root = resources.root().ok()?;
    let versions = root.entries.iter().find(|entry| entry.name_or_id().id() == Some(RT_VERSION))?;
    let names = versions.data(resources).ok()?.table()?;
    let languages = names.entries.first()?.data(resources).ok()?.table()?;
    let ResourceDirectoryEntryData::Data(entry) = languages.entries.first()?.data(resources).ok()? else { return None };
    let bytes = sections.pe_data_at(data, entry.offset_to_data.get(LE))?;
    bytes.get(..entry.size.get(LE) as usize)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::windows::program_sample::with_resource;

    /// A program of 64 bits with nothing but a version.
    pub(in super::super) fn executable(version: Version) -> Vec<u8> {
        let mut block = [92u16, 52, 0].map(u16::to_le_bytes).concat();
        block.extend("VS_VERSION_INFO\0".encode_utf16().flat_map(u16::to_le_bytes));
        block.resize(KEY_AT + KEY_LEN + 2, 0);
        let [a, b, c, d] = version.0.map(u32::from);
        block.extend([SIGNATURE, 0x1_0000, a << 16 | b, c << 16 | d].map(u32::to_le_bytes).concat());
        block.resize(92, 0);
        with_resource(16, 1, &block)
    }

    #[test]
    fn reads_versions() {
        let version = Version([100, 93, 104, 24000]);
        assert_eq!(file_version(&executable(version)), Some(version));
        assert_eq!(file_version(b"MZ"), None);
        assert_eq!(file_version(&[]), None);
    }

    #[test]
    fn survives_hostile_programs() {
        let good = executable(Version([1, 2, 3, 4]));
        for len in 0..good.len() {
            let _ = file_version(&good[..len]);
        }
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = file_version(&bytes);
        }
    }
}
