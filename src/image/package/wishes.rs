//! What a user says of the machine and of its package, and what the rest follows from.

use std::path::Path;

use uuid::Uuid;

use super::super::Target;
use super::super::layout::Firmware;
use super::super::seed::Seed;
use super::{Catalog, Compression, Controller, Job, MachineFacts, Nic, Os, Package};
use crate::base::FileTime;

/// What is said; all else follows from the disk and the target.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// The machine's name; else that of the output.
    pub name: Option<String>,
    /// Its memory in MiB.
    pub memory_mib: Option<u32>,
    /// Its processors.
    pub cpus: Option<u32>,
    /// Its network adapter.
    pub nic: Option<Nic>,
    /// Its disk controller.
    pub controller: Option<Controller>,
    /// Whether it has Secure Boot; else as the target has it.
    pub secure_boot: Option<bool>,
    /// How the package is compressed; else as its receiver is used to.
    pub compression: Option<Compression>,
    /// Whether a file with its SHA-256 is made beside it.
    pub checksum: bool,
    /// The catalog that is to list the box; its name and URL may be empty, and then are the machine's name and the output's.
    pub catalog: Option<Catalog>,
}

impl Wishes {
    /// The package that they come to, for a disk whose id is `id`.
    #[expect(clippy::too_many_arguments, reason = "each is another thing that a package says")]
    pub fn job(
        &self,
        package: Package,
        target: &'static Target,
        output: &Path,
        force: bool,
        firmware: Firmware,
        id: Uuid,
        os: Os,
        timestamp: FileTime,
    ) -> Job {
        let name = self.name.clone().unwrap_or_else(|| stem(output));
        let seed = Seed::from_parts([&b"package"[..], id.as_bytes(), name.as_bytes()]);
        let mut facts = MachineFacts::new(name, target, firmware, seed, timestamp);
        facts.os = os;
        facts.secure_boot = self.secure_boot.unwrap_or(facts.secure_boot);
        facts.memory_mib = self.memory_mib.unwrap_or(facts.memory_mib);
        facts.cpus = self.cpus.unwrap_or(facts.cpus);
        facts.nic = self.nic.unwrap_or(facts.nic);
        facts.controller = self.controller.unwrap_or(facts.controller);
        let file = output.file_name().unwrap_or_default().to_string_lossy();
        let filled = |text: &str, or: &str| if text.is_empty() { or.to_owned() } else { text.to_owned() };
        let catalog = self.catalog.as_ref().map(|catalog| Catalog {
            name: filled(&catalog.name, &facts.name),
            url: filled(&catalog.url, &file),
            ..catalog.clone()
        });
        Job {
            package,
            facts,
            output: output.to_owned(),
            force,
            compression: self.compression.unwrap_or(package.default_compression()),
            checksum: self.checksum,
            catalog,
        }
    }
}

/// The output's name without what tells the kind of file.
fn stem(output: &Path) -> String {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    const ENDS: [&str; 13] =
        [".gz", ".xz", ".zst", ".box", ".ova", ".vhd", ".vhdx", ".vmdk", ".vdi", ".qcow2", ".img", ".raw", ".json"];
    let mut stem = name.as_ref();
    while let Some(shorter) = ENDS.iter().find_map(|end| stem.strip_suffix(end)).filter(|shorter| !shorter.is_empty()) {
        stem = shorter;
    }
    stem.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_files() {
        for (file, name) in
            [("a/nano.box", "nano"), ("nano.vhd.zst", "nano"), (".box", ".box"), ("x.y.ova", "x.y"), ("none", "none")]
        {
            assert_eq!(stem(Path::new(file)), name);
        }
    }
}
