//! The tar archives of packages: plain headers, no owner, one time stamp.

use std::io::Write;

use serde::Serialize;
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use super::super::Control;
use super::{failure, hex};
use crate::base::{FileTime, ReadAt};
use crate::error::{Error, Result};

const BLOCK: usize = 512;
/// How much of a file is in memory at a time.
const PIECE: usize = 1 << 20;
/// The largest size that eleven octal digits hold. Larger ones have to be in GNU's binary form, which bsdtar and VirtualBox read.
const MAX_OCTAL: u64 = (1 << 33) - 1;

/// A file in an archive.
#[derive(Debug, Clone, Serialize)]
pub struct Member {
    /// Its path.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// An archive that is being written.
pub(super) struct Archive<'w> {
    out: &'w mut dyn Write,
    mtime: u64,
    control: &'w Control,
    members: Vec<Member>,
}

impl<'w> Archive<'w> {
    pub(super) fn new(out: &'w mut dyn Write, time: FileTime, control: &'w Control) -> Self {
        Self { out, mtime: time.to_unix().max(0) as u64, control, members: Vec::new() }
    }

    /// Adds a text.
    pub(super) fn text(&mut self, name: &str, text: &str) -> Result<()> {
        self.file(name, text.as_bytes())
    }

    /// Adds a file.
    pub(super) fn file(&mut self, name: &str, file: &(impl ReadAt + ?Sized)) -> Result<()> {
        let header = self.header(name, file.len())?;
        self.put(header.as_bytes())?;
        let sha256 = copy(file, self.out, self.control)?;
        let rest = (file.len() % BLOCK as u64) as usize;
        if rest > 0 {
            self.put(&[0; BLOCK][rest..])?;
        }
        self.members.push(Member { name: name.to_owned(), bytes: file.len(), sha256 });
        Ok(())
    }

    /// What was added so far.
    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Result<Vec<Member>> {
        self.put(&[0; 2 * BLOCK])?;
        Ok(self.members)
    }

    fn header(&self, name: &str, len: u64) -> Result<Header> {
        let mut header = if len > MAX_OCTAL { Header::new_gnu() } else { Header::new_ustar() };
        header
            .set_path(name)
            .map_err(|_| Error::invalid("a name that no tar archive can have").found(format_args!("{name:?}")))?;
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(self.mtime);
        header.set_size(len);
        header.set_cksum();
        Ok(header)
    }

    fn put(&mut self, data: &[u8]) -> Result<()> {
        self.out.write_all(data).map_err(|e| failure(self.control, e))
    }
}

/// Copies a file; gives the SHA-256 of its bytes.
pub(super) fn copy(file: &(impl ReadAt + ?Sized), out: &mut dyn Write, control: &Control) -> Result<String> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE.min(file.len().try_into().unwrap_or(PIECE))];
    let mut at = 0;
    while at < file.len() {
        control.check()?;
        let data = &mut piece[..(file.len() - at).min(PIECE as u64) as usize];
        file.read_at(at, data)?;
        hash.update(&*data);
        out.write_all(data).map_err(|e| failure(control, e))?;
        at += data.len() as u64;
        control.advance(data.len() as u64);
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of that length without any bytes of its own.
    struct Zeros(u64);

    impl ReadAt for Zeros {
        fn len(&self) -> u64 {
            self.0
        }

        fn read_at(&self, _: u64, _: &mut [u8]) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn headers_are_plain() {
        let control = Control::default();
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes, FileTime::from_unix(1_474_891_200).unwrap(), &control);
        archive.text("a b/c", "text").unwrap();
        archive.file("empty", &b""[..]).unwrap();
        let members = archive.finish().unwrap();
        assert_eq!(bytes.len(), 5 * BLOCK);
        assert_eq!(&bytes[257..265], b"ustar\x0000");
        assert_eq!((&bytes[100..107], &bytes[108..115]), (&b"0000644"[..], &b"0000000"[..]));
        assert!(bytes[265..329].iter().all(|byte| *byte == 0), "nobody's name");
        assert_eq!(members[0].sha256, "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1");
    }

    #[test]
    fn large_files_have_binary_sizes() {
        let control = Control::default();
        let mut out = std::io::sink();
        let archive = Archive::new(&mut out, FileTime(0), &control);
        for len in [MAX_OCTAL, MAX_OCTAL + 1, 1 << 40] {
            let header = archive.header("disk", Zeros(len).len()).unwrap();
            assert_eq!(header.size().unwrap(), len);
            assert_eq!(header.as_bytes()[124] == 0x80, len > MAX_OCTAL);
        }
        assert!(archive.header(&"x".repeat(300), 1).is_err());
    }

    #[test]
    fn an_interruption_ends_it() {
        let control = Control::default();
        control.interrupt();
        let mut out = std::io::sink();
        let error = copy(&Zeros(5), &mut out, &control).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Interrupted);
    }
}
