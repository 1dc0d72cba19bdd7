//! The registry of an installation that does not run: where the keys that Windows shows lie in its hives.
//!
//! | key | file |
//! |---|---|
//! | `HKLM\SYSTEM`, `SOFTWARE`, `SAM`, `SECURITY`, `DRIVERS`, `COMPONENTS`, `ELAM` | of that name in `\Windows\System32\config` |
//! | `HKLM\BCD00000000` | the boot store: `\Boot\BCD` or `\EFI\Microsoft\Boot\BCD` |
//! | `HKU\.DEFAULT`, `HKU\S-1-5-18` | `\Windows\System32\config\DEFAULT` |
//! | `HKU\S-1-5-19`, `HKU\S-1-5-20` | `NTUSER.DAT` of the local and of the network service |
//! | `HKU\Default`: here alone, for the profile that new users get | `\Users\Default\NTUSER.DAT` |
//! | `HKU\SID`, `HKU\SID_Classes` | `NTUSER.DAT` and `UsrClass.dat` of the profile that `ProfileList` names |
//! | `HKCR` | `HKLM\SOFTWARE\Classes` |
//! | `HKCC` | `HKLM\SYSTEM\CurrentControlSet\Hardware Profiles\Current` |
//!
//! `CurrentControlSet` is a link that the kernel makes when it starts; here it is what `Select\Default` says, or else `Current`. Links
//! that are in the hives themselves (in `SOFTWARE` there are some) are followed.

use std::ops::ControlFlow;

use crate::base::near;
use crate::error::{Context, Error, Kind, Result};
use crate::format::hive::{Hive, KeyId, ReadOptions};
use crate::tree::Tree;

/// The folder of the machine's hives.
pub const CONFIG: &str = r"\Windows\System32\config";

/// The flag of a key that is a symbolic link.
pub(super) const KEY_SYM_LINK: u16 = 0x10;
/// Links that lead on to links.
const LINKS_FOLLOWED: usize = 8;

const MACHINE: &str = "HKEY_LOCAL_MACHINE";
const USERS: &str = "HKEY_USERS";

/// Names below `HKLM`, and their files.
const MACHINE_HIVES: [(&str, &[&str]); 8] = [
    ("SYSTEM", &[r"\Windows\System32\config\SYSTEM"]),
    ("SOFTWARE", &[r"\Windows\System32\config\SOFTWARE"]),
    ("SAM", &[r"\Windows\System32\config\SAM"]),
    ("SECURITY", &[r"\Windows\System32\config\SECURITY"]),
    ("DRIVERS", &[r"\Windows\System32\config\DRIVERS"]),
    ("COMPONENTS", &[r"\Windows\System32\config\COMPONENTS"]),
    ("ELAM", &[r"\Windows\System32\config\ELAM"]),
    ("BCD00000000", &[r"\Boot\BCD", r"\EFI\Microsoft\Boot\BCD"]),
];

/// Names below `HKU` that every installation has, and their files.
const USER_HIVES: [(&str, &[&str]); 4] = [
    (".DEFAULT", &[r"\Windows\System32\config\DEFAULT"]),
    ("S-1-5-18", &[r"\Windows\System32\config\DEFAULT"]),
    ("S-1-5-19", &[r"\Windows\ServiceProfiles\LocalService\NTUSER.DAT"]),
    ("S-1-5-20", &[r"\Windows\ServiceProfiles\NetworkService\NTUSER.DAT"]),
];

/// A key that was found.
pub struct Found {
    /// The hive that it is in.
    pub hive: Hive,
    /// The key.
    pub key: KeyId,
    /// The path as Windows shows it: `HKEY_LOCAL_MACHINE\SYSTEM\Select`.
    pub shown: String,
    /// The file of the hive.
    pub file: String,
}

/// Reads the hive in a file, its logs beside it replayed where it was not left clean; `None` if there is no such file.
pub fn read_hive(tree: &Tree, path: &str) -> Result<Option<Hive>> {
    let Some(bytes) = tree.read_file(path)? else { return Ok(None) };
    let logs = [".LOG1", ".LOG2", ".LOG"].map(|ending| tree.read_file(&format!("{path}{ending}")));
    let logs = logs.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>>>()?;
    let logs: Vec<&[u8]> = logs.iter().map(Vec::as_slice).collect();
    Hive::read_with(bytes, ReadOptions { logs: &logs, accept_dirty: true }).context(|| path).map(Some)
}

/// The control set that the next start will have: `Select\Default`, which the loader follows, or else `Current`, that of the last start.
/// They differ after a start that failed.
pub fn current_control_set(system: &Hive) -> Option<KeyId> {
    let select = system.open("Select")?;
    ["Default", "Current"].iter().find_map(|name| {
        let number = system.value(select, *name)?.as_dword()?;
        system.open(&format!("ControlSet{number:03}"))
    })
}

/// The hives that a tree has: the key under which Windows shows each, and its file.
pub fn hives(tree: &Tree) -> Vec<(String, &'static str)> {
    let named = |root: &'static str, table: &'static [(&str, &[&'static str])]| {
        table.iter().filter_map(move |(name, files)| {
            let file = files.iter().find(|file| tree.find(file).is_some())?;
            Some((format!(r"{root}\{name}"), *file))
        })
    };
    named(MACHINE, &MACHINE_HIVES).chain(named(USERS, &USER_HIVES)).collect()
}

/// Opens the key that Windows shows under a path, such as `HKLM\SYSTEM\CurrentControlSet\Services`.
///
/// # Errors
/// [`Invalid`](Kind::Invalid) for a path that leads nowhere, with what is near; [`Corrupt`](Kind::Corrupt) for a damaged hive.
pub fn open(tree: &Tree, path: &str) -> Result<Found> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_FOLLOWED {
        let address = Address::parse(tree, &path)?;
        let (shown, file, rest) = (address.shown(), address.file(tree)?, address.rest);
        let missing = || Error::invalid("the hive of this key is not in the image").found("nothing").allowed(&file);
        let hive = read_hive(tree, &file)?.ok_or_else(missing).context(|| shown.clone())?;
        match walk(&hive, &shown, &rest)? {
            Walked::Key(key) => {
                let shown = rest.iter().fold(shown, |path, part| path + r"\" + part);
                return Ok(Found { hive, key, shown, file });
            }
            Walked::Link(target) => path = target,
        }
    }
    Err(Error::corrupt("registry: symbolic links that lead on and on")
        .found(path)
        .allowed(format_args!("{LINKS_FOLLOWED} of them")))
}

/// Opens the key at a path within one hive.
pub fn open_in(hive: &Hive, path: &str) -> Result<KeyId> {
    let parts: Vec<String> = parts(path).map(str::to_owned).collect();
    let found = parts.iter().try_fold(hive.root(), |key, part| match hive.subkey(key, part.as_str()) {
        Some(subkey) => ControlFlow::Continue(subkey),
        None => ControlFlow::Break((key, part)),
    });
    match found {
        ControlFlow::Continue(key) => Ok(key),
        ControlFlow::Break((key, part)) => Err(no_such_key(hive, key, part).context(path)),
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('\\').filter(|part| !part.is_empty())
}

enum Walked {
    Key(KeyId),
    /// The whole path that is meant instead.
    Link(String),
}

fn walk(hive: &Hive, shown: &str, rest: &[String]) -> Result<Walked> {
    let mut key = hive.root();
    for (at, part) in rest.iter().enumerate() {
        let current = || {
            let wanted = at == 0 && part.eq_ignore_ascii_case("CurrentControlSet") && shown.ends_with(r"\SYSTEM");
            wanted.then(|| current_control_set(hive)).flatten()
        };
        key = hive.subkey(key, part.as_str()).or_else(current).ok_or_else(|| {
            let so_far = rest[..at].iter().fold(shown.to_owned(), |path, part| path + r"\" + part);
            no_such_key(hive, key, part).context(so_far)
        })?;
        if hive.flags(key) & KEY_SYM_LINK != 0 {
            let target = hive.value(key, "SymbolicLinkValue").and_then(|value| value.as_text());
            let target = target
                .ok_or_else(|| Error::corrupt("registry: a symbolic link without a target").found(hive.path(key)))?;
            return Ok(Walked::Link(rest[at + 1..].iter().fold(target, |path, part| path + r"\" + part)));
        }
    }
    Ok(Walked::Key(key))
}

fn no_such_key(hive: &Hive, parent: KeyId, part: &str) -> Error {
    let error = Error::invalid("no such key").found(format_args!("'{part}'"));
    let names = hive.subkeys(parent).map(|key| hive.name(key).to_string());
    match near::did_you_mean(&near::nearest(part, names)) {
        Some(hint) => error.hint(hint),
        None => error.hint("`nanovhd reg` without the last part of the key lists what there is"),
    }
}

/// A path, divided where its hive begins.
pub(super) struct Address {
    root: &'static str,
    /// The hive's name below the root.
    name: String,
    /// The names of the keys within the hive.
    pub(super) rest: Vec<String>,
}

impl Address {
    /// Divides a path. The tree is only asked for what it has where a hive is not named.
    pub(super) fn parse(tree: &Tree, path: &str) -> Result<Self> {
        let (root, mut names) = rooted(path)?;
        match names.next() {
            Some(name) => Ok(Self { root, name, rest: names.collect() }),
            None => {
                let below: Vec<String> =
                    hives(tree).into_iter().map(|(key, _)| key).filter(|key| key.starts_with(root)).collect();
                let what = format!("{root} is no key of a file; its hives are");
                Err(Error::invalid(what).allowed(below.join(", ")))
            }
        }
    }

    /// The key under which Windows shows the hive.
    pub(super) fn shown(&self) -> String {
        let name = if self.root == MACHINE { self.name.to_uppercase() } else { self.name.clone() };
        format!(r"{}\{name}", self.root)
    }

    /// The hive's file. That of a user follows from another hive, which is read for it.
    pub(super) fn file(&self, tree: &Tree) -> Result<String> {
        file_of(tree, self.root, &self.name)
    }
}

/// The root of a path, and the names below it.
fn rooted(path: &str) -> Result<(&'static str, impl Iterator<Item = String>)> {
    let mut names = parts(path).map(str::to_owned).collect::<Vec<_>>().into_iter().peekable();
    // As regedit's address bar has it, and as links do.
    names.next_if(|name| name.eq_ignore_ascii_case("Computer"));
    let by_kernel = names.next_if(|name| name.eq_ignore_ascii_case("REGISTRY")).is_some();
    let root = names.next().unwrap_or_default();
    let root = root.trim_end_matches(':').to_ascii_uppercase(); // PowerShell writes HKLM:\
    let (root, before): (&'static str, &'static [&'static str]) = match root.as_str() {
        "MACHINE" if by_kernel => (MACHINE, &[]),
        "USER" if by_kernel => (USERS, &[]),
        "HKLM" | MACHINE => (MACHINE, &[]),
        "HKU" | USERS => (USERS, &[]),
        "HKCR" | "HKEY_CLASSES_ROOT" => (MACHINE, &["SOFTWARE", "Classes"]),
        "HKCC" | "HKEY_CURRENT_CONFIG" => (MACHINE, &["SYSTEM", "CurrentControlSet", "Hardware Profiles", "Current"]),
        "HKCU" | "HKEY_CURRENT_USER" => {
            return Err(Error::invalid("nobody is logged on to an image, so it has no HKEY_CURRENT_USER")
                .hint(r"name the user: HKU\.DEFAULT, HKU\S-1-5-..., or --hive with the path of an NTUSER.DAT"));
        }
        _ => {
            return Err(Error::invalid("the key begins with no root of the registry")
                .found(format_args!("'{path}'"))
                .allowed(r"HKLM\..., HKU\..., HKCR\..., HKCC\...")
                .hint(r"say HKLM\SYSTEM\CurrentControlSet\..., or name the hive's file with --hive"));
        }
    };
    Ok((root, before.iter().map(|name| (*name).to_owned()).chain(names)))
}

/// The file of the hive `name` below a root.
fn file_of(tree: &Tree, root: &str, name: &str) -> Result<String> {
    let table: &[(&str, &[&str])] = if root == MACHINE { &MACHINE_HIVES } else { &USER_HIVES };
    if let Some((_, files)) = table.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        let present = files.iter().find(|file| tree.find(file).is_some());
        return Ok((*present.unwrap_or(&files[0])).to_owned());
    }
    if root == MACHINE {
        let error = Error::invalid("no such hive").found(format_args!(r"{root}\{name}"));
        let known = MACHINE_HIVES.map(|(name, _)| name).join(", ");
        return Err(match name.to_ascii_uppercase().as_str() {
            "HARDWARE" => error.hint("Windows makes this one anew whenever it starts; no file holds it"),
            _ => error.allowed(known).hint("a hive of another name is read with --hive and the path of its file"),
        });
    }
    profile_file(tree, name)
}

/// The hive of a user, by the list of profiles.
fn profile_file(tree: &Tree, name: &str) -> Result<String> {
    if name.eq_ignore_ascii_case("Default") {
        return Ok(r"\Users\Default\NTUSER.DAT".to_owned());
    }
    let (sid, is_classes) = match name.to_ascii_lowercase().strip_suffix("_classes") {
        Some(sid) => (name[..sid.len()].to_owned(), true),
        None => (name.to_owned(), false),
    };
    let unknown = || {
        Error::invalid("no such user").found(format_args!(r"{USERS}\{name}")).hint(
            r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList lists them; --hive takes the path of an NTUSER.DAT",
        )
    };
    let software = read_hive(tree, &format!(r"{CONFIG}\SOFTWARE"))?.ok_or_else(unknown)?;
    let list = software.open(r"Microsoft\Windows NT\CurrentVersion\ProfileList").ok_or_else(unknown)?;
    let profile = software.subkey(list, sid.as_str()).ok_or_else(unknown)?;
    let folder = software.value(profile, "ProfileImagePath").and_then(|value| value.as_text()).ok_or_else(unknown)?;
    let folder = on_system_drive(&folder)
        .ok_or_else(|| Error::new(Kind::Unsupported, "the user's profile is on another volume").found(&folder))?;
    let file = if is_classes { r"AppData\Local\Microsoft\Windows\UsrClass.dat" } else { "NTUSER.DAT" };
    Ok(format!(r"{folder}\{file}"))
}

/// A path as the running Windows knows it, from the root of the volume.
fn on_system_drive(path: &str) -> Option<String> {
    let (start, rest) = path.split_once('\\')?;
    match start.to_ascii_lowercase().as_str() {
        "%systemdrive%" | "c:" => Some(format!(r"\{rest}")),
        "%systemroot%" => Some(format!(r"\Windows\{rest}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FileTime;
    use crate::format::hive::Value;
    use crate::windows::tests::{system_hive, tree_of};

    const SYSTEM: &str = r"\Windows\System32\config\SYSTEM";

    fn link(hive: &mut Hive, path: &str, target: &str) {
        let key = hive.create_key(path).unwrap();
        hive.set_flags(key, KEY_SYM_LINK).unwrap();
        let target: Vec<u8> = target.encode_utf16().flat_map(u16::to_le_bytes).collect();
        hive.set_value(key, "SymbolicLinkValue", Value::new(crate::format::hive::kind::LINK, target)).unwrap();
    }

    fn image() -> Tree {
        let mut software = Hive::new("SOFTWARE", FileTime(1)).unwrap();
        software.create_key(r"Classes\.txt").unwrap();
        link(&mut software, r"WOW6432Node\Classes", r"\REGISTRY\MACHINE\SOFTWARE\Classes");
        link(&mut software, "Loop", r"\Registry\Machine\SOFTWARE\Loop");
        let profile = software.create_key(r"Microsoft\Windows NT\CurrentVersion\ProfileList\S-1-5-21-1").unwrap();
        software.set_value(profile, "ProfileImagePath", Value::expand_sz(r"%SystemDrive%\Users\Me")).unwrap();
        let software = software.to_bytes().unwrap();
        let mut user = Hive::new("User", FileTime(1)).unwrap();
        user.create_key("Console").unwrap();
        let user = user.to_bytes().unwrap();
        let system = system_hive(&[(r"Services\disk", "Start", Value::dword(0))]);
        tree_of(&[
            (SYSTEM, &system),
            (r"\Windows\System32\config\SOFTWARE", &software),
            (r"\Windows\System32\config\DEFAULT", &user),
            (r"\Users\Me\NTUSER.DAT", &user),
        ])
    }

    #[test]
    fn finds_keys_where_windows_shows_them() {
        let tree = image();
        let paths = [
            (
                r"HKLM\system\currentcontrolset\services\DISK",
                r"HKEY_LOCAL_MACHINE\SYSTEM\currentcontrolset\services\DISK",
            ),
            (r"hklm:\SYSTEM\ControlSet002", r"HKEY_LOCAL_MACHINE\SYSTEM\ControlSet002"),
            (r"Computer\HKEY_LOCAL_MACHINE\SOFTWARE", r"HKEY_LOCAL_MACHINE\SOFTWARE"),
            (r"HKCR\.txt", r"HKEY_LOCAL_MACHINE\SOFTWARE\Classes\.txt"),
            (r"HKLM\SOFTWARE\Wow6432Node\Classes\.txt", r"HKEY_LOCAL_MACHINE\SOFTWARE\Classes\.txt"),
            (r"HKU\.DEFAULT\Console", r"HKEY_USERS\.DEFAULT\Console"),
            (r"HKU\S-1-5-21-1\Console", r"HKEY_USERS\S-1-5-21-1\Console"),
        ];
        for (path, shown) in paths {
            let found = open(&tree, path).unwrap();
            assert_eq!(found.shown, shown);
        }
        let start = open(&tree, r"HKLM\SYSTEM\CurrentControlSet\Services\disk").unwrap();
        assert_eq!(start.hive.value(start.key, "Start").unwrap().as_dword(), Some(0));
        assert_eq!(hives(&tree).len(), 4);
    }

    #[test]
    fn says_what_is_missing() {
        let tree = image();
        let complaint = |path: &str| open(&tree, path).err().unwrap();
        let missing = complaint(r"HKLM\SYSTEM\CurrentControlSet\Servces\disk");
        assert_eq!(missing.to_string(), r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet: no such key: found 'Servces'");
        assert_eq!(missing.hint_text(), Some("did you mean Services?"));
        for (path, word) in [
            ("HKCU", "logged on"),
            ("HKLM", "SOFTWARE"),
            (r"HKLM\HARDWARE", "no such hive"),
            (r"HKLM\SAM", "not in the image"),
            (r"HKU\S-1-5-21-2", "no such user"),
            ("SYSTEM", "no root"),
            ("", "no root"),
        ] {
            let error = complaint(path);
            assert_eq!(error.kind(), Kind::Invalid, "{path}");
            assert!(error.to_string().contains(word), "{error}");
        }
        assert_eq!(complaint(r"HKLM\SOFTWARE\Loop\x").kind(), Kind::Corrupt);
    }

    #[test]
    fn opens_keys_of_one_hive() {
        let hive = read_hive(&image(), SYSTEM).unwrap().unwrap();
        assert_eq!(open_in(&hive, "").unwrap(), hive.root());
        assert!(open_in(&hive, r"\Select\").is_ok());
        assert_eq!(open_in(&hive, r"Select\a\b").unwrap_err().to_string(), r"Select\a\b: no such key: found 'a'");
    }
}
