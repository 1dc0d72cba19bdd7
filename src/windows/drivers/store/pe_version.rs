//! The version of an executable: the fixed part of its version resource.

use object::LittleEndian as LE;
use object::read::pe::{ImageNtHeaders, PeFile32, PeFile64, ResourceDirectory, ResourceDirectoryEntryData};

use crate::base::bytes::{u16_at, u32_at};

const RT_VERSION: u16 = 16;
/// `VS_VERSION_INFO` in UTF-16 with its NUL, behind three words.
const KEY_AT: usize = 6;
const KEY_LEN: usize = 32;
/// `VS_FIXEDFILEINFO.dwSignature`.
const SIGNATURE: u32 = 0xFEEF_04BD;

/// `FileVersion` of a PE file; `None` where there is none (Microsoft, "VS_VERSIONINFO structure").
pub(super) fn file_version(image: &[u8]) -> Option<[u16; 4]> {
    let block = match PeFile64::parse(image) {
        Ok(file) => version_block(&file),
        Err(_) => version_block(&PeFile32::parse(image).ok()?),
    }?;
    // The value is aligned to four bytes, from the start of the block.
    let value = KEY_AT + KEY_LEN + 2;
    let has_value = u16_at(block, 2)? != 0 && u32_at(block, value)? == SIGNATURE;
    let (high, low) = (u32_at(block, value + 8)?, u32_at(block, value + 12)?);
    has_value.then_some([(high >> 16) as u16, high as u16, (low >> 16) as u16, low as u16])
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
