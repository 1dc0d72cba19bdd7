//! The digest of a file as a catalog has it.
//!
//! A PE image has its Authenticode digest: that of the file without the checksum of its header, the entry of the certificate table among the data
//! directories, and the certificates themselves, so that a signature put into the file changes nothing (Microsoft, "Windows Authenticode Portable
//! Executable Signature Format"). Everything else has the digest of its bytes, and so has what only begins like an image.

use authenticode::{PeOffsetError, PeOffsets, PeTrait, authenticode_digest};
use object::read::pe::{ImageNtHeaders, PeFile, PeFile32, PeFile64};
use rsa::sha2::digest::Update;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::ops::Range;

/// What a file is recognized by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileDigest {
    /// Its SHA-1.
    pub sha1: [u8; 20],
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// Whether these are those of a PE image.
    pub is_image: bool,
    /// Whether it is a PE image with a signature inside.
    pub is_signed: bool,
}

impl FileDigest {
    /// The digest of a file.
    pub fn of(file: &[u8]) -> Self {
        image(file).unwrap_or_else(|| Both::of(file).finish(false, false))
    }

    /// Whether it is this digest.
    pub fn is(&self, digest: &[u8]) -> bool {
        digest == self.sha1 || digest == self.sha256
    }
}

#[derive(Default)]
struct Both(Sha1, Sha256);

impl Update for Both {
    fn update(&mut self, bytes: &[u8]) {
        Digest::update(&mut self.0, bytes);
        Digest::update(&mut self.1, bytes);
    }
}

impl Both {
    fn of(bytes: &[u8]) -> Self {
        let mut both = Self::default();
        both.update(bytes);
        both
    }

    fn finish(self, is_image: bool, is_signed: bool) -> FileDigest {
        FileDigest { sha1: self.0.finalize().into(), sha256: self.1.finalize().into(), is_image, is_signed }
    }
}

fn image(file: &[u8]) -> Option<FileDigest> {
    if !file.starts_with(b"MZ") {
        return None;
    }
    if let Ok(image) = PeFile64::parse(file) {
        return Image::new(image)?.digest();
    }
    Image::new(PeFile32::parse(file).ok()?)?.digest()
}

/// An image that can be hashed in a time that its length bounds.
struct Image<'f, H: ImageNtHeaders>(PeFile<'f, H>);

impl<'f, H: ImageNtHeaders> Image<'f, H> {
    /// `None` for one whose sections lie on one another: 65535 of them could each be the whole file.
    fn new(file: PeFile<'f, H>) -> Option<Self> {
        let image = Self(file);
        let mut sections = (1..=image.num_sections()).map(|index| image.section_data_range(index));
        let total = sections.try_fold(0, |total: usize, range| total.checked_add(range.ok()?.len()))?;
        (total <= image.data().len()).then_some(image)
    }

    fn digest(&self) -> Option<FileDigest> {
        let mut both = Both::default();
        authenticode_digest(self, &mut both).ok()?;
        let is_signed = self.certificate_table_range().ok()?.is_some_and(|range| !range.is_empty());
        // Signing a file pads it with zeros to a multiple of 8, so that its digest has to be that of the padded one all along.
        if !is_signed {
            let missing = self.data().len().next_multiple_of(8) - self.data().len();
            both.update(&[0; 8][..missing]);
        }
        Some(both.finish(true, is_signed))
    }
}

impl<H: ImageNtHeaders> PeTrait for Image<'_, H> {
    fn data(&self) -> &[u8] {
        PeTrait::data(&self.0)
    }

    fn num_sections(&self) -> usize {
        self.0.num_sections()
    }

    /// A section without bytes in the file may say any place.
    fn section_data_range(&self, index: usize) -> Result<Range<usize>, PeOffsetError> {
        let range = self.0.section_data_range(index)?;
        Ok(if range.is_empty() { 0..0 } else { range })
    }

    fn certificate_table_range(&self) -> Result<Option<Range<usize>>, PeOffsetError> {
        self.0.certificate_table_range()
    }

    fn offsets(&self) -> Result<PeOffsets, PeOffsetError> {
        self.0.offsets()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STUB: usize = 0x40;
    const OPTIONAL: usize = STUB + 24;
    const CHECKSUM: usize = OPTIONAL + 64;
    const CERTIFICATES: usize = OPTIONAL + 112 + 4 * 8;
    const SECTION: usize = OPTIONAL + 240;

    /// A PE32+ image with one section of 512 bytes behind headers of 512.
    fn program() -> Vec<u8> {
        let mut file = vec![0; 1024];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(0x3C, &(STUB as u32).to_le_bytes());
        put(STUB, b"PE\0\0");
        put(STUB + 4, &0x8664_u16.to_le_bytes());
        put(STUB + 6, &1_u16.to_le_bytes());
        put(STUB + 20, &240_u16.to_le_bytes());
        put(OPTIONAL, &0x20B_u16.to_le_bytes());
        put(OPTIONAL + 60, &512_u32.to_le_bytes());
        put(OPTIONAL + 108, &16_u32.to_le_bytes());
        put(SECTION + 16, &512_u32.to_le_bytes());
        put(SECTION + 20, &512_u32.to_le_bytes());
        file[700..900].fill(0xC3);
        file
    }

    fn with(file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut file = file.to_vec();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        file
    }

    #[test]
    fn an_image_is_what_runs() {
        let program = program();
        let digest = FileDigest::of(&program);
        assert!(digest.is_image && !digest.is_signed);
        let left_out =
            [&program[..CHECKSUM], &program[CHECKSUM + 4..CERTIFICATES], &program[CERTIFICATES + 8..]].concat();
        assert_eq!(digest.sha256, <[u8; 32]>::from(Sha256::digest(&left_out)));
        assert_eq!(digest.sha1, <[u8; 20]>::from(Sha1::digest(&left_out)));
        assert_eq!(FileDigest::of(&with(&program, CHECKSUM, &[1, 2, 3, 4])), digest);
        assert_ne!(FileDigest::of(&with(&program, 1023, &[1])).sha256, digest.sha256);
        let table = [&1024_u32.to_le_bytes()[..], &16_u32.to_le_bytes()].concat();
        let signed = [with(&program, CERTIFICATES, &table), vec![7; 16]].concat();
        assert_eq!(FileDigest::of(&signed), FileDigest { is_signed: true, ..digest });
    }

    #[test]
    fn an_odd_length_is_padded_until_it_is_signed() {
        let odd = [program(), vec![5; 3]].concat();
        let padded = [odd.clone(), vec![0; 5]].concat();
        let digest = FileDigest::of(&odd);
        assert_eq!(FileDigest::of(&padded), digest);
        let table = [&1032_u32.to_le_bytes()[..], &8_u32.to_le_bytes()].concat();
        let signed = [with(&padded, CERTIFICATES, &table), vec![7; 8]].concat();
        assert_eq!(FileDigest::of(&signed).sha256, digest.sha256);
    }

    #[test]
    fn what_is_no_image_is_its_bytes() {
        for file in [&b""[..], b"[Version]", b"MZ", &program()[..600], &[b"MZ", &[0xFF; 2000][..]].concat()] {
            let digest = FileDigest::of(file);
            assert!(!digest.is_image, "{} bytes", file.len());
            assert!(digest.is(&Sha256::digest(file)) && digest.is(&Sha1::digest(file)) && !digest.is(&[]));
        }
    }

    #[test]
    fn sections_without_bytes_lie_anywhere() {
        let elsewhere = [&0_u32.to_le_bytes()[..], &u32::MAX.to_le_bytes()].concat();
        assert!(FileDigest::of(&with(&program(), SECTION + 16, &elsewhere)).is_image);
    }

    /// Sections that each are the whole file would take hours.
    #[test]
    fn overlapping_sections_make_no_image() {
        let count = 10_000_u16;
        let mut file = with(&program(), STUB + 6, &count.to_le_bytes());
        file.resize(SECTION + usize::from(count) * 40 + 8_000_000, 0);
        let len = (file.len() as u32).to_le_bytes();
        for section in 0..usize::from(count) {
            let at = SECTION + section * 40;
            file[at + 16..at + 20].copy_from_slice(&len);
            file[at + 20..at + 24].fill(0);
        }
        assert!(!FileDigest::of(&file).is_image);
    }

    #[test]
    fn no_header_makes_it_panic() {
        let program = program();
        for at in 0..600 {
            for value in [0x00, 0x01, 0x7F, 0x80, 0xFF] {
                FileDigest::of(&with(&program, at, &[value]));
            }
            FileDigest::of(&program[..at]);
        }
    }
}
