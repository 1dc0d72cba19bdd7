//! What a path of the host is, as a source of drivers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::choose::is_inf;
use super::{DriverSource, archive, folder};
use crate::base::{Machine, ReadAt};
use crate::error::{Context, Error, Result};
use crate::format::cab;
use crate::format::inf;
use crate::image::host::InputFile;
use crate::image::lookup::{self, Found};
use crate::image::media::{self, Media};
use crate::tree::Tree;

/// What ZIP archives begin with: a file, or the end of an empty one.
const ZIP: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];
/// What to do with installers that are not understood.
const EXTRACT: &str = "let it unpack itself (many take /extract), or try `7z x`; then name the folder that comes of it";
/// What the installers of VirtualBox' Guest Additions are called, before the processor.
const ADDITIONS: &str = "VBoxWindowsAdditions-";
/// Catalogs are some 10 KiB; this is far beyond.
const MAX_CATALOG: u64 = 16 << 20;

impl DriverSource {
    /// Opens what a user names.
    ///
    /// # Errors
    /// [`Invalid`](crate::error::Kind::Invalid) if it is nothing that drivers come in; those of the archive or medium that it is.
    pub fn open(path: &Path) -> Result<Self> {
        let opened = open(path).context(|| path.display())?;
        let fingerprint = fingerprint(&opened.tree, opened.only.as_deref()).context(|| path.display())?;
        let Opened { tree, only, notes } = opened;
        Ok(Self { path: path.to_owned(), tree: Arc::new(tree), only, notes, fingerprint })
    }
}

impl DriverSource {
    /// What the installer of VirtualBox' Guest Additions for a processor unpacks, if the source has one, with its name.
    pub(super) fn additions(&self, machine: Machine) -> Result<Option<(String, Tree, Vec<String>)>> {
        let name = format!("{ADDITIONS}{machine}.exe");
        let found = lookup::sorted(&self.tree, self.tree.root())
            .into_iter()
            .find(|link| link.name.to_string().eq_ignore_ascii_case(&name));
        let Some(content) = found.and_then(|link| self.tree.node(link.node).main()).filter(|_| self.only.is_none())
        else {
            return Ok(None);
        };
        let unpack = || archive::installer(&self.tree.read(content)?);
        let unpacked = unpack().map_err(|error| error.hint(EXTRACT)).context(|| name.clone())?;
        let (tree, notes) = unpacked
            .ok_or_else(|| Error::invalid("not the installer that its name says").hint(EXTRACT).context(&name))?;
        Ok(Some((name, tree, notes)))
    }
}

struct Opened {
    tree: Tree,
    only: Option<String>,
    notes: Vec<String>,
}

fn open(path: &Path) -> Result<Opened> {
    if path.is_dir() {
        let (tree, notes) = folder::all(path)?;
        return Ok(Opened { tree, only: None, notes });
    }
    let file: Arc<dyn ReadAt> = Arc::new(InputFile::open(path)?);
    let mut start = [0; 4];
    if file.len() >= start.len() as u64 {
        file.read_at(0, &mut start)?;
    }
    let all = |(tree, notes)| Opened { tree, only: None, notes };
    if ZIP.contains(&start.as_slice()) {
        return archive::zip(&*file).map(all);
    }
    if cab::is_cabinet(&*file)? {
        return archive::cabinet(file).map(all);
    }
    if media::is_iso(&*file)? {
        let medium = Media::open(path)?;
        return Ok(all((medium.tree()?.0, medium.notes().to_vec())));
    }
    if start.starts_with(b"MZ") {
        let unpacked = archive::installer(&*file)?;
        return unpacked.map(all).ok_or_else(|| {
            Error::invalid("a program that drivers cannot be taken from")
                .allowed("an installer made by NSIS")
                .hint(EXTRACT)
        });
    }
    let name = path.file_name().and_then(|name| name.to_str()).filter(|name| is_inf(name));
    let name = name.ok_or_else(|| {
        Error::invalid("nothing that drivers come in")
            .allowed("an .inf file, a folder, a ZIP archive, a cabinet, an ISO, an installer")
    })?;
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).map_or_else(|| PathBuf::from("."), PathBuf::from);
    if file.len() > inf::MAX_FILE as u64 {
        return Err(Error::unsupported("size of an INF file").found(file.len()).allowed(inf::MAX_FILE));
    }
    let mut bytes = vec![0; file.len() as usize];
    file.read_at(0, &mut bytes)?;
    let (tree, notes) = folder::of_inf(&folder, &inf::Inf::parse(&bytes)?)?;
    Ok(Opened { tree, only: Some(name.to_owned()), notes })
}

/// See [`DriverSource::fingerprint`].
fn fingerprint(tree: &Tree, only: Option<&str>) -> Result<Vec<u8>> {
    let mut hash = Sha256::new();
    hash.update(only.unwrap_or_default());
    lookup::walk(tree, &Found::root(tree), |path, link| {
        let Some(content) = tree.node(link.node).main() else { return Ok::<(), Error>(()) };
        hash.update(path);
        hash.update(content.len().to_le_bytes());
        let is_catalog = path.get(path.len().saturating_sub(4)..).is_some_and(|end| end.eq_ignore_ascii_case(".cat"));
        if is_inf(path) && content.len() <= inf::MAX_FILE as u64 || is_catalog && content.len() <= MAX_CATALOG {
            hash.update(tree.read(content).context(|| path.to_owned())?);
        }
        Ok(())
    })?;
    Ok(hash.finalize().to_vec())
}
