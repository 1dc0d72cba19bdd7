//! The foreign tools that tests compare us with: which they are, and how they get onto this machine.

use std::fs;
use std::process::Command;

use crate::shell::{self, Failure, Result};

/// The programs that tests run, with the Debian package that has them.
const TOOLS: &[(&str, &str)] = &[
    ("wimlib-imagex", "wimtools"),
    ("mkntfs", "ntfs-3g"),
    ("ntfs-3g", "ntfs-3g"),
    ("ntfscat", "ntfs-3g"),
    ("ntfscp", "ntfs-3g"),
    ("ntfsfix", "ntfs-3g"),
    ("ntfsinfo", "ntfs-3g"),
    ("ntfssecaudit", "ntfs-3g"),
    ("fls", "sleuthkit"),
    ("istat", "sleuthkit"),
    ("fsntfsinfo", "libfsntfs-utils"),
    ("hivexget", "libhivex-bin"),
    ("hivexml", "libhivex-bin"),
    ("hivexsh", "libhivex-bin"),
    ("hivexregedit", "libwin-hivex-perl"),
    ("reglookup", "reglookup"),
    ("regfinfo", "libregf-utils"),
    ("grub-fstest", "grub-common"),
    ("nasm", "nasm"),
    ("vhdiinfo", "libvhdi-utils"),
    ("qcowinfo", "libqcow-utils"),
    ("vmdkinfo", "libvmdk-utils"),
    ("vmdkmount", "libvmdk-utils"),
    ("qemu-img", "qemu-utils"),
    ("qemu-io", "qemu-utils"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("fusermount3", "fuse3"),
    ("7z", "p7zip-full"),
    ("setfattr", "attr"),
    ("sgdisk", "gdisk"),
    ("mkdosfs", "dosfstools"),
    ("mkfs.vfat", "dosfstools"),
    ("fsck.vfat", "dosfstools"),
    ("mcopy", "mtools"),
    ("mdel", "mtools"),
    ("mmd", "mtools"),
    ("mdir", "mtools"),
    ("mtype", "mtools"),
    ("sfdisk", "fdisk"),
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf"),
    ("xmllint", "libxml2-utils"),
    ("openssl", "openssl"),
    ("file", "file"),
    ("iconv", "libc-bin"),
    ("base64", "coreutils"),
    ("sha256sum", "coreutils"),
    ("env", "coreutils"),
    ("kill", "procps"),
    ("umount", "mount"),
    ("genisoimage", "genisoimage"),
    ("xorriso", "xorriso"),
    ("mkudffs", "udftools"),
    ("cabextract", "cabextract"),
    ("gcab", "gcab"),
    ("makensis", "nsis"),
    ("xz", "xz-utils"),
    ("bzip2", "bzip2"),
    ("gzip", "gzip"),
    ("zstd", "zstd"),
    ("tar", "tar"),
    ("bsdtar", "libarchive-tools"),
    ("vagrant", "vagrant"),
    ("ruby", "ruby"),
    ("cmp", "diffutils"),
    ("/usr/share/doc/python3-libvhdi/copyright", "python3-libvhdi"), // a module, whose own file has the version in its name
    ("time", "time"),                                                // for `cargo xtask bench`
];

/// The packages of [`TOOLS`] that lack a program here, each once.
fn missing() -> Vec<&'static str> {
    let lacking = TOOLS.iter().filter(|(program, _)| shell::find_program(program).is_none());
    let mut packages: Vec<_> = lacking.map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

/// Installs what is missing where that can be done without asking. Returns whether everything is there afterwards.
///
/// Fails if installing can be done, but did not work.
pub(crate) fn provide(install: bool) -> Result<bool> {
    let packages = missing();
    if packages.is_empty() {
        println!("all foreign tools are here");
        return Ok(true);
    }
    let installer = if install { Apt::find() } else { None };
    let Some(apt) = installer else {
        println!("missing packages (names as in Debian): {}", packages.join(" "));
        println!("tests that need them will be skipped, and will say so");
        println!("on Debian or Ubuntu: sudo apt-get install --no-install-recommends {}", packages.join(" "));
        return Ok(false);
    };
    apt.provide(&packages)?;
    match missing() {
        rest if rest.is_empty() => Ok(true),
        rest => Err(Failure::new(format_args!("installed, and yet programs are missing, of: {}", rest.join(" ")))),
    }
}

/// Debian's package manager, used as root or through a sudo that does not ask.
struct Apt {
    sudo: bool,
}

impl Apt {
    fn find() -> Option<Self> {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        if !is_debian(&release) || shell::find_program("apt-get").is_none() {
            return None;
        }
        let is_root = shell::output(shell::command("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
        let can_sudo = || shell::output(shell::command("sudo").args(["-n", "true"])).is_ok();
        (is_root || can_sudo()).then_some(Self { sudo: !is_root })
    }

    fn provide(&self, packages: &[&str]) -> Result<()> {
        println!("installing {}", packages.join(" "));
        if let Err(failure) = shell::run(self.get().args(["--quiet", "update"])) {
            // One unreachable source of several is no reason to stop: what is missing may come from the others.
            println!("{failure}");
        }
        let plain: Vec<String> = packages.iter().map(ToString::to_string).collect();
        self.install(&[], &plain).or_else(|failure| match packages.contains(&"qemu-system-x86") {
            true => self.install(&["--allow-downgrades"], &self.with_one_qemu(packages)?),
            false => Err(failure),
        })
    }

    /// The packages with all of qemu in one version. A `qemu-utils` from elsewhere (backports), newer than the
    /// distribution's, keeps `qemu-system-x86` out, and apt does not go back by itself.
    fn with_one_qemu(&self, packages: &[&str]) -> Result<Vec<String>> {
        let policy = shell::output(shell::command("apt-cache").args(["policy", "qemu-system-x86"]).env("LC_ALL", "C"))?;
        let version = candidate(&policy).ok_or_else(|| Failure::new("apt knows no qemu-system-x86"))?;
        let others = packages.iter().filter(|package| !package.starts_with("qemu-")).map(ToString::to_string);
        let qemu = ["qemu-system-x86", "qemu-system-common", "qemu-utils"].map(|name| format!("{name}={version}"));
        Ok(others.chain(qemu).collect())
    }

    fn install(&self, options: &[&str], packages: &[String]) -> Result<()> {
        let install = ["--quiet", "--yes", "--no-install-recommends", "install"];
        shell::run(self.get().args(install).args(options).args(packages))
    }

    fn get(&self) -> Command {
        let mut command = shell::command(if self.sudo { "sudo" } else { "env" });
        if self.sudo {
            command.args(["-n", "env"]);
        }
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        command
    }
}

/// Whether an `os-release` file is Debian's or of a descendant.
fn is_debian(release: &str) -> bool {
    let ids = release.lines().filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")));
    ids.flat_map(|value| value.trim_matches('"').split_whitespace()).any(|id| id == "debian" || id == "ubuntu")
}

/// The version that apt would install, from the output of `apt-cache policy`.
fn candidate(policy: &str) -> Option<&str> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate:"))?.trim();
    (version != "(none)").then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_debian_and_its_descendants() {
        assert!(is_debian("NAME=\"Debian GNU/Linux\"\nID=debian\n"));
        assert!(is_debian("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"));
        assert!(!is_debian("ID=fedora\nVARIANT_ID=debian\n"));
        assert!(!is_debian(""));
    }

    #[test]
    fn reads_the_candidate() {
        let policy = "qemu-system-x86:\n  Installed: (none)\n  Candidate: 1:7.2+dfsg-7+deb12u18\n  Version table:\n";
        assert_eq!(candidate(policy), Some("1:7.2+dfsg-7+deb12u18"));
        assert_eq!(candidate("nothing:\n  Candidate: (none)\n"), None);
        assert_eq!(candidate(""), None);
    }

    #[test]
    fn packages_are_in_one_place_each() {
        let mut packages: Vec<_> = TOOLS.iter().map(|(_, package)| package).collect();
        packages.dedup();
        let count = packages.len();
        packages.sort_unstable();
        packages.dedup();
        assert_eq!(packages.len(), count, "rows of a package have to follow each other");
    }
}
