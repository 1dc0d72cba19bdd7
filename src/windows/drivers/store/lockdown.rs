//! `PnpLockdownFiles`: who owns a file in place, and where the driver store has it.
//!
//! ```text
//! SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\PnpLockdownFiles\%SystemRoot%/System32/drivers/x.sys    (one key)
//!   Class   REG_DWORD       3 of Windows itself, 4 with PnpLockdown = 1, 5 without it
//!   Owners  REG_MULTI_SZ    published names
//!   Source  REG_EXPAND_SZ   %SystemRoot%\System32\DriverStore\FileRepository\PACKAGE\x.sys
//! ```

use super::{SOFTWARE, Store, is_owner, own, set_if_absent, texts};
use crate::error::Result;
use crate::format::hive::{Hive, KeyId, Value};
use crate::windows::drivers::{CopyOut, Driver, REPOSITORY};

/// Where they are, within SOFTWARE.
pub(super) const FILES: &str = r"Microsoft\Windows\CurrentVersion\Setup\PnpLockdownFiles";

const PROTECTED: u32 = 4;
const SHARED: u32 = 5;

/// A package's claim to a file.
pub(super) struct Claim<'a> {
    pub(super) driver: &'a Driver,
    pub(super) copy: &'a CopyOut,
    pub(super) published: &'a str,
    /// Whether the file in place is this package's.
    pub(super) is_ours: bool,
}

/// The name of a file's key.
fn key_name(path: &str) -> String {
    let path = match path.get(..9) {
        Some(root) if root.eq_ignore_ascii_case(r"\Windows\") => format!(r"%SystemRoot%\{}", &path[9..]),
        _ => format!("%SystemDrive%{path}"),
    };
    path.replace('\\', "/")
}

/// The path in the image that a text with `%SystemRoot%` or `%SystemDrive%` means.
pub(super) fn image_path(text: &str) -> Option<String> {
    let text = text.replace('/', r"\");
    let (variable, rest) = text.split_once('\\')?;
    match variable.to_ascii_lowercase().as_str() {
        "%systemroot%" => Some(format!(r"\Windows\{rest}")),
        "%systemdrive%" => Some(format!(r"\{rest}")),
        _ => None,
    }
}

/// A file in place that somebody owns.
pub(super) struct Locked {
    pub(super) key: KeyId,
    /// Its path in the image.
    pub(super) path: String,
    pub(super) owners: Vec<String>,
    /// Where the driver store has it, as a path in the image.
    pub(super) source: Option<String>,
}

/// The files that a published name owns.
pub(super) fn owned(software: &Hive, published: &str) -> Vec<Locked> {
    let keys = software.open(FILES).into_iter().flat_map(|key| software.subkeys(key));
    keys.filter_map(|key| {
        let owners = texts(software, key, "Owners");
        let is_theirs = owners.iter().any(|owner| owner.eq_ignore_ascii_case(published));
        let source = software.value(key, "Source").and_then(|value| value.as_text());
        let path = image_path(&software.name(key).to_string()).filter(|_| is_theirs)?;
        Some(Locked { key, path, owners, source: source.and_then(|source| image_path(&source)) })
    })
    .collect()
}

impl Store<'_> {
    /// Whether some package owns a file in place.
    pub(super) fn is_locked_down(&self, path: &str) -> bool {
        let key = || {
            let software = self.hives.opened(SOFTWARE)?.hive();
            let key = software.subkey(software.open(FILES)?, key_name(path).as_str())?;
            Some(texts(software, key, "Owners").iter().any(|owner| is_owner(owner)))
        };
        key().unwrap_or(false)
    }

    /// Enters a claim. The source is that of the package whose file is in place.
    pub(super) fn lock_down(&mut self, claim: &Claim<'_>) -> Result<()> {
        let software = self.hives.open(self.tree, SOFTWARE)?;
        let files = software.make_alike(software.hive().root(), FILES)?;
        let key = software.make_sibling(files, &key_name(&claim.copy.target))?;
        let class = if claim.driver.lockdown == Some(true) { PROTECTED } else { SHARED };
        set_if_absent(software, key, "Class", Value::dword(class))?;
        let source = format!(r"{REPOSITORY}\{}\{}", claim.driver.package_name, claim.copy.source.replace('/', r"\"));
        let source = source.replacen(r"\Windows", "%SystemRoot%", 1);
        let source = Value::expand_sz(&source);
        if claim.is_ours {
            software.set(key, "Source", source)?;
        } else {
            set_if_absent(software, key, "Source", source)?;
        }
        own(software, key, claim.published)
    }
}
