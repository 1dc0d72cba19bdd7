//! $Secure: its stream and its indexes.

use super::{Key, Surgeon, int, kind};

const SDS_BLOCK: usize = 0x4_0000;
const RECORD: u64 = 9;

impl Surgeon {
    /// The security id of a file.
    pub(crate) fn security_id(&self, base: u64) -> u32 {
        int(&self.value(base, kind::STANDARD_INFORMATION, ""), 52, 4) as u32
    }

    /// Where in $SDS the entry of a security id begins: its first copy.
    #[track_caller]
    pub(crate) fn sds_at(&self, id: u32) -> usize {
        let entry = self.view_entry(RECORD, "$SII", Key::Bytes(&id.to_le_bytes()));
        int(&self.entry_bytes(&entry), 20 + 8, 8) as usize
    }

    /// Changes bytes of $SDS, in a block and in its copy.
    pub(crate) fn patch_sds(&mut self, at: usize, bytes: &[u8]) {
        self.patch(RECORD, kind::DATA, "$SDS", at, bytes);
        self.patch(RECORD, kind::DATA, "$SDS", at + SDS_BLOCK, bytes);
    }

    /// The same in the copy only.
    pub(crate) fn patch_sds_copy(&mut self, at: usize, bytes: &[u8]) {
        self.patch(RECORD, kind::DATA, "$SDS", at + SDS_BLOCK, bytes);
    }

    /// Changes what $SII and $SDH say of an entry of $SDS (its header: hash, id, offset, length), but not the keys.
    pub(crate) fn patch_sds_indexes(&mut self, id: u32, at: usize, bytes: &[u8]) {
        for entry in [self.sii(id), self.sdh(id)] {
            let data = int(&self.entry_bytes(&entry), 0, 2) as usize;
            self.patch_entry_at(&entry, data + at, bytes);
        }
    }

    /// The entry of $SII for an id.
    pub(crate) fn sii(&self, id: u32) -> super::index::Entry {
        self.view_entry(RECORD, "$SII", Key::Bytes(&id.to_le_bytes()))
    }

    /// The entry of $SDH for an id.
    pub(crate) fn sdh(&self, id: u32) -> super::index::Entry {
        let header = self.entry_bytes(&self.sii(id))[20..28].to_vec();
        self.view_entry(RECORD, "$SDH", Key::Bytes(&header))
    }
}
