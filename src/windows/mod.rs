//! Floor 3: a tree that is known to be an installation of Windows, and what is done to one.

mod about;
pub mod boot;
pub mod drivers;
mod hive_files;
pub mod packages;
mod place;
#[cfg(test)]
mod program_sample;
pub mod regedit;
pub mod registry;
pub mod setup;

pub use crate::base::Machine;
pub use about::About;

use crate::error::{Context, Error, Kind, Result};
use crate::format::hive::Hive;
use crate::tree::{NodeId, Tree};

/// A [`Tree`] that holds a Windows in `\Windows`.
pub struct Windows {
    tree: Tree,
    machine: Machine,
}

/// The folder of Windows in every image that Microsoft makes.
pub const SYSTEM_ROOT: &str = r"\Windows";

/// The machine of the installation that a tree holds, by its loader or kernel; an error if it holds none.
fn machine_of(tree: &Tree) -> Result<Machine> {
    const HIVE: &str = r"\Windows\System32\config\SYSTEM";
    // Whichever is there: a container base image has no loader, a stripped one no kernel.
    const PROGRAMS: [&str; 6] = [
        r"\Windows\System32\winload.exe",
        r"\Windows\System32\boot\winload.exe",
        r"\Windows\System32\winload.efi",
        r"\Windows\System32\boot\winload.efi",
        r"\Windows\System32\ntoskrnl.exe",
        r"\Windows\System32\ntdll.dll",
    ];
    let not_windows = |what: String| {
        Error::new(Kind::NotWindows, what).hint("choose another image: `nanovhd info` lists what the file holds")
    };
    if tree.find(HIVE).is_none() {
        return Err(not_windows(format!("the image is no installation of Windows: it has no {HIVE}")));
    }
    let program = PROGRAMS.iter().find(|path| tree.find(path).is_some()).ok_or_else(|| {
        not_windows(format!("the image is no installation of Windows: it has none of {}", PROGRAMS.join(", ")))
    })?;
    let image = tree.read_file(program)?.unwrap_or_default();
    Machine::of_pe(&image).context(|| program)
}

impl Windows {
    /// Recognises an installation by its SYSTEM hive and the machine of its loader or kernel.
    pub fn recognise(tree: Tree) -> Result<Self> {
        let machine = machine_of(&tree)?;
        Ok(Self { tree, machine })
    }

    /// The processor it is for.
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// Reads a hive of the installation by its name (`SYSTEM`), its logs replayed where it was not left clean.
    pub fn hive(&self, name: &str) -> Result<Hive> {
        let path = format!(r"{SYSTEM_ROOT}\System32\config\{name}");
        let missing = || Error::new(Kind::NotWindows, "a hive of the installation is missing");
        registry::read_hive(&self.tree, &path)?.ok_or_else(missing).context(|| path)
    }

    /// The files.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The files, to be changed.
    pub fn tree_mut(&mut self) -> &mut Tree {
        &mut self.tree
    }

    /// The files, done with.
    pub fn into_tree(self) -> Tree {
        self.tree
    }

    /// The directory at a path, if there is one.
    fn directory(&self, path: &str) -> Option<NodeId> {
        self.tree.find(path).filter(|id| self.tree.node(*id).is_directory())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::base::FileTime;
    pub(crate) use crate::base::machine::tests::executable;
    use crate::format::hive::Value;
    use crate::tree::{Content, Link, Node, Times};

    /// A tree of files and their contents, with directories made as needed.
    pub(crate) fn tree_of(files: &[(&str, &[u8])]) -> Tree {
        let mut tree = Tree::new(Node::directory(0, Times::default()));
        for (path, content) in files {
            let (folder, name) = path.rsplit_once('\\').unwrap();
            let directory = folder.split('\\').filter(|part| !part.is_empty()).fold(tree.root(), |parent, part| {
                let units: Vec<u16> = part.encode_utf16().collect();
                if let Some(link) = tree.child(parent, &units) {
                    return link.node;
                }
                let node = tree.add_node(Node::directory(0, Times::default())).unwrap();
                tree.add_link(parent, Link { name: part.into(), short: None, node }).unwrap();
                node
            });
            let node = tree.add_node(Node::file(0, Times::default(), Content::Bytes((*content).into()))).unwrap();
            tree.add_link(directory, Link { name: name.into(), short: None, node }).unwrap();
        }
        tree
    }

    /// The SYSTEM hive of an installation, with a control set that has these values.
    pub(crate) fn system_hive(values: &[(&str, &str, Value)]) -> Vec<u8> {
        let mut hive = Hive::new("SYSTEM", FileTime(131_000_000_000_000_000)).unwrap();
        let select = hive.create_key("Select").unwrap();
        hive.set_value(select, "Current", Value::dword(2)).unwrap();
        for (path, name, value) in values {
            let key = hive.create_key(&format!(r"ControlSet002\{path}")).unwrap();
            hive.set_value(key, *name, value.clone()).unwrap();
        }
        hive.to_bytes().unwrap()
    }

    #[test]
    fn recognises_by_hive_and_loader() {
        let loader = executable(0xAA64);
        let hive = (r"\Windows\System32\config\SYSTEM", &b"regf"[..]);
        let windows = Windows::recognise(tree_of(&[hive, (r"\windows\system32\WINLOAD.EXE", &loader)])).unwrap();
        assert_eq!(windows.machine(), Machine::Arm64);
        for files in [&[hive][..], &[(r"\Windows\System32\winload.exe", &loader[..])][..]] {
            assert_eq!(Windows::recognise(tree_of(files)).err().unwrap().kind(), Kind::NotWindows);
        }
        let odd = tree_of(&[hive, (r"\Windows\System32\winload.exe", b"text")]);
        assert_eq!(Windows::recognise(odd).err().unwrap().kind(), Kind::Corrupt);
    }
}
