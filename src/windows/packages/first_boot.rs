//! Packages that are put in by the Windows itself, when it starts for the first time.
//!
//! They are copied into [`FOLDER`], with a script (`templates/Packages.cmd`) that a step of `SetupComplete.cmd` calls. It gives one after the
//! other to `dism /Online /Add-Package`, says in [`LOG`] what came of each, removes those that went well, and leaves the others where
//! they are. If one of them wants a restart (exit code 3010), a process of its own waits until `SetupComplete.cmd` is through (its mark,
//! `setupcomplete.running`, is gone) and Windows' setup is complete (`HKLM\SYSTEM\Setup`, `SystemSetupInProgress`), and restarts the machine:
//! from within `SetupComplete.cmd` that "will put the system in a bad state" (Microsoft, "Add a custom script to Windows Setup"). The process
//! is a scheduled task, or where there is no `schtasks.exe` one that `start` starts.
//!
//! What is there already stays in the queue; a package of the same name takes its place.
//!
//! # Sources
//! "Deploy Nano Server" and "Update Nano Server" of Microsoft's documentation for `dism /Online` on Nano Server, and the order: base before language;
//! "DISM Operating System Package Servicing Command-Line Options".

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{FileTime, Name};
use crate::error::{Error, Result};
use crate::tree::{Content, NodeId, Tree};
use crate::windows::place::{self, Access};
use crate::windows::setup::complete::Step;

/// Where packages wait.
pub const FOLDER: &str = r"\Windows\Setup\Scripts\packages";
/// Where it is said what came of them.
pub const LOG: &str = r"\Windows\Setup\Scripts\packages.log";

const TEMPLATE: &str = include_str!("../../../templates/Packages.cmd");
const SCRIPT: &str = "install.cmd";
const TITLE: &str = "Install packages";
const CALL: &str = "call :add ";
const IGNORE_CHECK: &str = "/IgnoreCheck";
const DISM: &str = r"\Windows\System32\Dism.exe";
/// The longest name that a package has in the queue.
const MAX_NAME: usize = 120;
/// What servicing takes beside the packages: logs, hives, the component store's own records.
const OVERHEAD: u64 = 256 << 20;

/// A package for the queue.
#[derive(Clone)]
pub struct Waiting {
    /// What it is called.
    pub name: String,
    /// A tree with the cabinet as its only file; or with what was in it.
    pub files: Arc<Tree>,
    /// Whether those files are an unpacked package.
    pub is_folder: bool,
    /// Whether it is put in without regard to what it says of its parents.
    pub ignore_check: bool,
}

/// What came of [`queue`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// The step of `SetupComplete.cmd` that installs all that is in the queue.
    pub step: Step,
    /// The paths that the packages got, in their order.
    pub paths: Vec<String>,
}

/// Whether the image has what it takes.
///
/// # Errors
/// [`Unsupported`](crate::error::Kind::Unsupported) if it has no `Dism.exe`.
pub fn check(tree: &Tree) -> Result<()> {
    if tree.find(DISM).is_some() {
        return Ok(());
    }
    Err(Error::unsupported("the image cannot install packages when it starts").found(format_args!("no {DISM} in it")))
}

/// How many bytes the first start takes for a package that unpacks to so many: once beside the store, once in it.
pub fn space(unpacked: u64) -> u64 {
    unpacked.saturating_mul(2)
}

/// The same for all of them.
pub fn space_of_all(unpacked: impl Iterator<Item = u64>) -> u64 {
    let all = unpacked.map(space).fold(0, u64::saturating_add);
    if all == 0 { 0 } else { all.saturating_add(OVERHEAD) }
}

/// Puts packages into the queue, behind what is in it; what is made is made at `now`.
///
/// # Errors
/// As of [`check`]; [`Invalid`](crate::error::Kind::Invalid) if something else is in the way.
pub fn queue(tree: &mut Tree, packages: &[Waiting], now: FileTime) -> Result<Queued> {
    check(tree)?;
    let script = format!(r"{FOLDER}\{SCRIPT}");
    let mut lines = tree.read_file(&script)?.map(|own| calls(&own)).unwrap_or_default();
    let mut taken: Vec<String> = vec![SCRIPT.to_owned()];
    let mut paths = Vec::new();
    for package in packages {
        let name = free_name(&safe_name(&package.name), &taken);
        taken.push(name.clone());
        remove(tree, &name)?;
        lines.retain(|line| !named(line).is_some_and(|own| own.eq_ignore_ascii_case(&name)));
        let path = format!(r"{FOLDER}\{name}");
        copy(tree, package, &path, now)?;
        let options = if package.ignore_check { IGNORE_CHECK } else { "" };
        lines.push(format!("{CALL}\"{name}\" {options}").trim_end().to_owned());
        paths.push(path);
    }
    place::put(tree, &script, to_bytes(&lines), Access::Inherited, now)?;
    let folder = FOLDER.replace(r"\Windows", "%SystemRoot%");
    let commands =
        vec![format!("call \"{folder}\\{SCRIPT}\""), format!("if \"%ERRORLEVEL%\"==\"0\" rd /s /q \"{folder}\"")];
    Ok(Queued { step: Step::new(TITLE, commands), paths })
}

/// The paths of the packages that wait in an image, in their order.
///
/// # Errors
/// Those of the script's contents.
pub fn waiting(tree: &Tree) -> Result<Vec<String>> {
    let script = tree.read_file(&format!(r"{FOLDER}\{SCRIPT}"))?.unwrap_or_default();
    let calls = calls(&script);
    Ok(calls.iter().filter_map(|line| named(line)).map(|name| format!(r"{FOLDER}\{name}")).collect())
}

fn to_bytes(calls: &[String]) -> Vec<u8> {
    let lines = TEMPLATE.lines().flat_map(|line| match line {
        "{packages}" => calls.iter().map(String::as_str).collect::<Vec<_>>(),
        _ => vec![line],
    });
    lines.flat_map(|line| [line, "\r\n"]).collect::<String>().into_bytes()
}

/// The lines of an earlier script that install something.
fn calls(script: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(script);
    let is_ours = |line: &&str| named(line).is_some_and(|name| safe_name(name) == name);
    text.lines().filter(is_ours).map(|line| line.trim_end().to_owned()).collect()
}

/// What a line installs.
fn named(line: &str) -> Option<&str> {
    let (name, options) = line.strip_prefix(CALL)?.strip_prefix('"')?.split_once('"')?;
    ["", IGNORE_CHECK].contains(&options.trim()).then_some(name)
}

/// A name without anything that a batch file, or a list of options, would take for more than a letter.
fn safe_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._~-+".contains(c) { c } else { '_' };
    let mut name: String = name.chars().map(safe).collect();
    let over = name.len().saturating_sub(MAX_NAME);
    name.drain(..over);
    let name = name.trim_start_matches(['-', '.']).trim_end_matches('.');
    if name.is_empty() || crate::base::name::windows_fault(name).is_some() { format!("p_{name}") } else { name.into() }
}

fn free_name(name: &str, taken: &[String]) -> String {
    let is_free = |name: &String| !taken.iter().any(|own| own.eq_ignore_ascii_case(name));
    let numbered = (2..).map(|number: u32| format!("{number}-{name}"));
    std::iter::once(name.to_owned()).chain(numbered).find(is_free).unwrap_or_default()
}

fn remove(tree: &mut Tree, name: &str) -> Result<()> {
    let Some(folder) = tree.find(FOLDER) else { return Ok(()) };
    let units = Name::from(name);
    if tree.child(folder, units.units()).is_some() {
        tree.remove_tree(folder, units.units())?;
    }
    Ok(())
}

/// Copies a package's files to a path.
fn copy(tree: &mut Tree, package: &Waiting, path: &str, now: FileTime) -> Result<()> {
    let files = &package.files;
    let stores: Vec<_> = files.stores().iter().map(|store| tree.add_store(Arc::clone(store))).collect();
    let mut folders: BTreeMap<NodeId, String> = BTreeMap::from([(files.root(), path.to_owned())]);
    for (directory, link) in files.walk() {
        let node = files.node(link.node);
        let folder = folders.get(&directory).cloned().unwrap_or_default();
        let path = if package.is_folder { format!(r"{folder}\{}", link.name) } else { folder };
        if node.is_directory() {
            place::ensure_folder(tree, &path, now)?;
            folders.insert(link.node, path);
            continue;
        }
        let content = match node.main() {
            Some(Content::Blob { store, blob, len }) => {
                let store = stores.get(store.index()).copied();
                let store = store.ok_or_else(|| Error::invalid("contents of another tree"))?;
                Content::Blob { store, blob: *blob, len: *len }
            }
            Some(content) => content.clone(),
            None => Content::empty(),
        };
        place::put(tree, &path, content, Access::Inherited, now)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::setup::SetupComplete;
    use crate::windows::tests::tree_of;

    const NOW: FileTime = FileTime(131_000_000_000_000_000);

    fn image() -> Tree {
        tree_of(&[(DISM, b"MZ")])
    }

    fn cabinet(name: &str, bytes: &[u8]) -> Waiting {
        let files = Arc::new(tree_of(&[(r"\x.cab", bytes)]));
        Waiting { name: name.into(), files, is_folder: false, ignore_check: false }
    }

    fn script(tree: &Tree) -> String {
        String::from_utf8(tree.read_file(&format!(r"{FOLDER}\{SCRIPT}")).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn packages_wait_in_their_order() {
        let mut tree = image();
        let folder = Waiting {
            files: Arc::new(tree_of(&[(r"\update.mum", b"m"), (r"\k\file", b"f")])),
            is_folder: true,
            ignore_check: true,
            ..cabinet("Folder & %PATH%", b"")
        };
        let queued = queue(&mut tree, &[cabinet("B.cab", b"b"), cabinet("b.CAB", b"b2"), folder], NOW).unwrap();
        let names = ["B.cab", "2-b.CAB", "Folder____PATH_"].map(|name| format!(r"{FOLDER}\{name}"));
        assert_eq!(queued.paths, names);
        assert_eq!(waiting(&tree).unwrap(), names);
        assert_eq!(tree.read_file(&names[1]).unwrap().unwrap(), b"b2");
        assert_eq!(tree.read_file(&format!(r"{}\k\file", names[2])).unwrap().unwrap(), b"f");
        let text = script(&tree);
        assert!(text.is_ascii() && !text.contains("{packages}"));
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
        assert!(text.contains("call :add \"2-b.CAB\"\r\ncall :add \"Folder____PATH_\" /IgnoreCheck\r\n"), "{text}");

        // What is asked for again takes the place of what waits; the rest stays.
        let again = queue(&mut tree, &[cabinet("B.cab", b"new"), cabinet("c.cab", b"c")], NOW).unwrap();
        assert_eq!(again.step, queued.step);
        let order = ["2-b.CAB", "Folder____PATH_", "B.cab", "c.cab"].map(|name| format!(r"{FOLDER}\{name}"));
        assert_eq!(waiting(&tree).unwrap(), order);
        assert_eq!(tree.read_file(&order[2]).unwrap().unwrap(), b"new");
    }

    #[test]
    fn the_step_is_one_of_setup_complete() {
        let step = queue(&mut image(), &[cabinet("a.cab", b"a")], NOW).unwrap().step;
        let whole = SetupComplete { steps: vec![step], secrets: Vec::new() };
        assert_eq!(SetupComplete::read(&whole.to_bytes()), Some(whole));
    }

    /// All labels that are gone to are there, each once: `cmd.exe` would end the script at one that is not.
    #[test]
    fn labels_are_there() {
        let labels: Vec<&str> = TEMPLATE.lines().filter_map(|line| line.strip_prefix(':')).collect();
        assert_eq!(labels, ["add", "ask", "restart", "wait", "again", "now"]);
        let words: Vec<&str> = TEMPLATE.split_whitespace().collect();
        let targets = words.windows(2).filter(|pair| pair[0] == "goto").map(|pair| pair[1]);
        assert!(targets.clone().count() >= 4 && targets.clone().all(|target| labels.contains(&target)));
        assert!(TEMPLATE.is_ascii());
    }

    #[test]
    fn names_cannot_speak_to_the_shell() {
        for (name, safe) in [
            ("a.cab", "a.cab"),
            ("a\" & del *.cab", "a____del__.cab"),
            ("%TEMP%^!", "_TEMP___"),
            ("", "p_"),
            ("..", "p_"),
            ("nul.cab", "p_nul.cab"),
            ("-x.", "x"),
            ("gr\u{fc}n.cab", "gr_n.cab"),
        ] {
            assert_eq!(safe_name(name), safe, "{name}");
        }
        assert_eq!(safe_name(&format!("{}.cab", "x".repeat(300))).len(), MAX_NAME);
        let evil = b"call :add \"a\" & format c:\r\ncall :add \"..\\x\"\r\ncall :add \"good.cab\" /IgnoreCheck\r\ncall :add \"b\"x\r\n\xFF";
        assert_eq!(calls(evil), ["call :add \"good.cab\" /IgnoreCheck"]);
    }

    #[test]
    fn an_image_without_dism_is_refused() {
        let error = queue(&mut tree_of(&[(r"\Windows\a", b"")]), &[cabinet("a.cab", b"")], NOW).unwrap_err();
        assert!(error.to_string().contains("Dism.exe"), "{error}");
        assert_eq!((space_of_all([].into_iter()), space_of_all([5].into_iter())), (0, OVERHEAD + 10));
        assert_eq!(space_of_all([u64::MAX, 1].into_iter()), u64::MAX);
    }
}
