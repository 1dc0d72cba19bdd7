//! The files of a package: in the driver store, published, and in place.

use std::collections::BTreeSet;

use super::{Added, Store, folder_of, lockdown, pe_version};
use crate::base::{Name, Version};
use crate::error::{Context, Error, Result};
use crate::tree::{Content, DescriptorId, NodeId, Tree};
use crate::windows::drivers::database::layout::oem_number;
use crate::windows::drivers::{CopyOut, Driver, INF_FOLDER, Package, REPOSITORY, Signature, store_name};
use crate::windows::place::{self, Access};

/// The folder of the catalogs that the kernel trusts, by the subsystem's id (`DRIVER_ACTION_VERIFY`'s).
pub(super) const CATALOGS: &str = r"\Windows\System32\CatRoot\{F750E6C3-38EE-11D1-85E5-00C04FC295EE}";

/// Folders that are looked at for what is usual.
const SAMPLE: usize = 64;
/// INF files that are read to see whether the names of folders are made as they are made here: in a solid image each may cost a chunk.
const HASHED: usize = 3;

/// Security descriptors of the packages that are there.
#[derive(Clone, Copy, Default)]
pub(super) struct Usual {
    folder: Option<DescriptorId>,
    file: Option<DescriptorId>,
}

/// What became of a file that is to be in place.
enum Put {
    /// It is there now.
    Done,
    /// The one that is there, the same or a newer one, stays; it belongs to packages.
    Kept,
    /// The one that is there stays, and belongs to no package.
    Unclaimed,
}

/// The numbers of the INF files that are published.
pub(super) fn published_numbers(tree: &Tree) -> BTreeSet<u32> {
    let names = tree.find(INF_FOLDER).into_iter().flat_map(|folder| tree.node(folder).children());
    // An INF that is gone may have left its precompiled form (.PNF), which Windows would take for the new one's.
    let names = names.map(|link| link.name.to_string().to_ascii_lowercase().replace(".pnf", ".inf"));
    names.filter_map(|name| oem_number(&name)).collect()
}

impl Store<'_> {
    /// Whether this Windows makes the names of packages as they are made here: a few of its own are made anew.
    pub(super) fn check_names(&mut self) -> Result<()> {
        let Some(repository) = self.tree.find(REPOSITORY) else { return Ok(()) };
        let folders = self.tree.node(repository).children();
        let step = (folders.len() / HASHED).max(1);
        for link in folders.iter().step_by(step).take(HASHED) {
            let name = link.name.to_string();
            let Some((inf, _)) = name.split_once(".inf_") else { continue };
            let inf = format!("{inf}.inf");
            let content = self.tree.child(link.node, Name::from(inf.as_str()).units());
            let Some(content) = content.and_then(|file| self.tree.node(file.node).main()) else { continue };
            let own = store_name(&inf, self.target.machine, &self.tree.read(content).context(|| &name)?);
            if !own.eq_ignore_ascii_case(&name) {
                self.notes.push(format!(
                    "this Windows makes the names of driver packages in another way ({name}, not {own}); any name serves"
                ));
            }
        }
        Ok(())
    }

    /// The package's folder in the driver store, its published INF, its catalog.
    pub(super) fn put_files(&mut self, package: &Package, driver: &Driver, added: &mut Added) -> Result<()> {
        let folder = folder_of(&driver.package_name);
        self.make_folder(&folder)?;
        for file in &driver.files {
            let content = self.graft(package, file)?;
            let path = format!(r"{folder}\{}", file.replace('/', r"\"));
            self.make_folder(path.rsplit_once('\\').map_or("", |(parent, _)| parent))?;
            let access = self.usual().file.map_or(Access::Inherited, Access::As);
            added.files += usize::from(self.put(&path, content, access)?);
        }
        let inf = self.graft(package, &driver.inf_name)?;
        added.files += usize::from(self.put(&format!(r"{INF_FOLDER}\{}", added.published), inf, Access::Inherited)?);
        if let Some(catalog) = driver.catalog.as_ref().filter(|catalog| package.content(catalog).is_some()) {
            let content = self.graft(package, catalog)?;
            let name = catalog_of(&added.published);
            added.files += usize::from(self.put(&format!(r"{CATALOGS}\{name}"), content, Access::Inherited)?);
        }
        Ok(())
    }

    /// Files that run elsewhere than in the driver store.
    ///
    /// A file of that name which is there stays if it is of a newer version, whoever it belongs to: PnP prefers the driver with the newer
    /// version too. (COPYFLG_NOVERSIONCHECK and its like are of no account to Windows either where a package is signed.)
    pub(super) fn put_copies(
        &mut self,
        package: &Package,
        driver: &Driver,
        signature: &Signature,
        added: &mut Added,
    ) -> Result<()> {
        for copy in &driver.copies {
            let content = self.graft(package, &copy.source)?;
            let is_ours = match self.put_copy(copy, content, signature, added).context(|| &copy.target)? {
                Put::Done => true,
                Put::Kept => false,
                Put::Unclaimed => continue,
            };
            self.lock_down(&lockdown::Claim { driver, copy, published: &added.published, is_ours })?;
        }
        Ok(())
    }

    fn put_copy(&mut self, copy: &CopyOut, content: Content, signature: &Signature, added: &mut Added) -> Result<Put> {
        let target = &copy.target;
        let there = self.tree.find(target).filter(|node| !self.tree.node(*node).is_directory());
        let Some(there) = there.and_then(|node| self.tree.node(node).main().cloned()) else {
            added.files += usize::from(self.put(target, content, Access::Inherited)?);
            return Ok(Put::Done);
        };
        let is_owned = self.is_locked_down(target);
        if self.same(&there, &content)? {
            if !is_owned {
                added.notes.push(format!(
                    "{target} is there already and belongs to no package: taking this one out will leave it"
                ));
            }
            return Ok(if is_owned { Put::Kept } else { Put::Unclaimed });
        }
        let version = |content: &Content| -> Result<_> { Ok(pe_version::file_version(&self.tree.read(content)?)) };
        let (old, new) = (version(&there)?, version(&content)?);
        let words =
            |version: Option<Version>| version.map_or("without a version".into(), |version| version.to_string());
        if old > new {
            added.notes.push(format!(
                "{target} is kept: it is newer ({}) than the package's ({})",
                words(old),
                words(new)
            ));
            return Ok(if is_owned { Put::Kept } else { Put::Unclaimed });
        }
        let unsigned = if signature.signer.is_some() { "" } else { ", which nobody signed" };
        if !is_owned && is_vital(target) {
            return Err(Error::invalid("a file that Windows starts with, which no driver may replace").found(target));
        }
        added.notes.push(format!("{target} ({}) is replaced by the package's ({}{unsigned})", words(old), words(new)));
        added.files += usize::from(self.put(target, content, Access::Inherited)?);
        if is_owned {
            return Ok(Put::Done);
        }
        added.notes.push(format!("{target} came with this Windows: taking the package out will leave the new one"));
        Ok(Put::Unclaimed)
    }

    /// A file of a package as a content of the tree, unread.
    fn graft(&mut self, package: &Package, path: &str) -> Result<Content> {
        let content = package.content(path);
        let content = content.ok_or_else(|| Error::invalid("a file that the package lacks").found(path))?;
        Ok(place::graft(self.tree, package.tree(), content))
    }

    /// Puts a file in place, unless the same is there; whether it was put.
    pub(super) fn put(&mut self, path: &str, content: Content, access: Access) -> Result<bool> {
        let there = self.tree.find(path).and_then(|node| self.tree.node(node).main().cloned());
        if let Some(there) = there
            && self.same(&there, &content).context(|| path)?
        {
            return Ok(false);
        }
        place::put(self.tree, path, content, access, self.now).context(|| path)?;
        Ok(true)
    }

    /// A folder of the driver store, with the security descriptor that such have.
    fn make_folder(&mut self, path: &str) -> Result<()> {
        if self.tree.find(path).is_some() {
            return Ok(());
        }
        let usual = self.usual().folder;
        let node = place::ensure_folder(self.tree, path, self.now).context(|| path)?;
        if usual.is_some() {
            self.tree.node_mut(node).descriptor = usual;
        }
        Ok(())
    }

    fn usual(&mut self) -> Usual {
        *self.usual.get_or_insert_with(|| Usual::learn(self.tree))
    }

    /// Whether two contents are the same bytes.
    pub(super) fn same(&self, a: &Content, b: &Content) -> Result<bool> {
        place::is_same(self.tree, a, b)
    }

    /// Takes a file away; whether there was one.
    pub(super) fn take(&mut self, path: &str) -> Result<bool> {
        let (folder, name) = path.rsplit_once('\\').unwrap_or(("", path));
        let Some(folder) = self.tree.find(folder) else { return Ok(false) };
        let name = Name::from(name);
        if self.tree.child(folder, name.units()).is_none() {
            return Ok(false);
        }
        self.tree.remove_tree(folder, name.units()).context(|| path)?;
        Ok(true)
    }
}

impl Usual {
    fn learn(tree: &Tree) -> Self {
        let folders: Vec<NodeId> = tree
            .find(REPOSITORY)
            .into_iter()
            .flat_map(|folder| tree.node(folder).children())
            .map(|link| link.node)
            .filter(|node| tree.node(*node).is_directory())
            .take(SAMPLE)
            .collect();
        let files = folders.iter().flat_map(|folder| tree.node(*folder).children()).map(|link| link.node);
        let files = files.filter(|node| !tree.node(*node).is_directory()).take(SAMPLE);
        Self { folder: place::most_common(tree, folders.iter().copied()), file: place::most_common(tree, files) }
    }
}

/// The name of a package's catalog: `oem3.cat`.
pub(super) fn catalog_of(published: &str) -> String {
    format!("{}cat", published.strip_suffix("inf").unwrap_or(published))
}

/// Whether a file is one of those without which nothing starts, or in which Windows keeps its state.
fn is_vital(path: &str) -> bool {
    const FILES: [&str; 8] = [
        r"\bootmgr",
        r"\bootnxt",
        r"\windows\system32\ntoskrnl.exe",
        r"\windows\system32\hal.dll",
        r"\windows\system32\winload.exe",
        r"\windows\system32\winload.efi",
        r"\windows\system32\ntdll.dll",
        r"\windows\system32\ci.dll",
    ];
    const FOLDERS: [&str; 5] =
        [r"\boot\", r"\efi\", r"\windows\boot\", r"\windows\system32\boot\", r"\windows\system32\config\"];
    let path = path.to_ascii_lowercase();
    FILES.contains(&path.as_str()) || FOLDERS.iter().any(|folder| path.starts_with(folder))
}
