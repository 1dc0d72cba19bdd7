//! Packages that are put in by the Windows itself, when it starts for the first time.
//!
//! They are copied into [`FOLDER`], with a script (`templates/Packages.cmd`) that a step of `SetupComplete.cmd` calls. It gives one after the
//! other to `dism /Online /Add-Package`, says in [`LOG`] what came of each, removes those that went well, and leaves the others where
//! they are. If one of them wants a restart (exit code 3010), a process of its own waits until `SetupComplete.cmd` is through (its mark,
//! `setupcomplete.running`, is gone) and Windows' setup is complete (`HKLM\SYSTEM\Setup`, `SystemSetupInProgress`), and restarts the machine:
//! from within `SetupComplete.cmd` that "will put the system in a bad state" (Microsoft, "Add a custom script to Windows Setup"). The process
//! is a scheduled task, or where there is no `schtasks.exe` one that `start` starts.
//!
//! What is there already stays in the queue. A package that comes once more takes the place that it had: one with an id of those that are written beside
//! the call, or with the same name of a file, as long as its ids do not make it another package.
//!
//! # Sources
//! "Deploy Nano Server" and "Update Nano Server" of Microsoft's documentation for `dism /Online` on Nano Server, and the order: base before language;
//! "DISM Operating System Package Servicing Command-Line Options".

mod script;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use self::script::{Entry, SCRIPT};
use super::installed::identity_of_id;
use crate::base::FileTime;
use crate::error::{Error, Result};
use crate::format::assembly::Identity;
use crate::tree::{Content, NodeId, Tree};
use crate::windows::place::{self, Access};
use crate::windows::setup::complete::{self, Step};

/// Where packages wait.
pub const FOLDER: &str = r"\Windows\Setup\Scripts\packages";
/// Where it is said what came of them.
pub const LOG: &str = r"\Windows\Setup\Scripts\packages.log";

const TITLE: &str = "Install packages";
const DISM: &str = r"\Windows\System32\Dism.exe";
/// What servicing takes beside the packages: logs, hives, the component store's own records.
const OVERHEAD: u64 = 256 << 20;

/// A package for the queue.
#[derive(Clone)]
pub struct Waiting {
    /// What its file or folder is called.
    pub name: String,
    /// The ids of the packages that it is, without those nested in them; none if they are not known.
    pub packages: Vec<String>,
    /// A tree with the cabinet as its only file; or with what was in it.
    pub files: Arc<Tree>,
    /// Whether those files are an unpacked package.
    pub is_folder: bool,
    /// Whether it is put in without regard to what it says of its parents.
    pub ignore_check: bool,
}

/// A package in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InQueue {
    /// Where it waits.
    pub path: String,
    /// The ids of the packages that it is, as far as they are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
}

/// What came of [`queue`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// The step of `SetupComplete.cmd` that installs all that is in the queue.
    pub step: Step,
    /// The paths that the packages got, in the order in which they were given.
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

/// Puts packages into the queue; what is made is made at `now`. One that is in it already keeps its place there: parts for languages come
/// behind what they belong to. The others come last.
///
/// # Errors
/// As of [`check`]; [`Invalid`](crate::error::Kind::Invalid) if something else is in the way.
pub fn queue(tree: &mut Tree, packages: &[Waiting], now: FileTime) -> Result<Queued> {
    check(tree)?;
    let mut entries = entries(tree)?;
    let mut done: Vec<usize> = Vec::new();
    for package in packages {
        let name = script::safe_name(&package.file_name());
        let ids = package.packages.iter().filter(|id| script::is_id(id)).cloned().collect();
        let new = Entry { name, packages: ids, ignore_check: package.ignore_check };
        let before = (0..entries.len()).find(|at| !done.contains(at) && new.replaces(&entries[*at]));
        if let Some(at) = before {
            remove(tree, &entries[at].name)?;
        }
        let others = (0..entries.len()).filter(|at| Some(*at) != before).map(|at| entries[at].name.as_str());
        let name = script::free_name(&new.name, others.chain([SCRIPT]));
        remove(tree, &name)?;
        copy(tree, package, &format!(r"{FOLDER}\{name}"), now)?;
        let new = Entry { name, ..new };
        match before {
            Some(at) => entries[at] = new,
            None => entries.push(new),
        }
        done.push(before.unwrap_or(entries.len() - 1));
    }
    write(tree, &entries, now)?;
    let folder = FOLDER.replace(r"\Windows", "%SystemRoot%");
    let commands =
        vec![format!("call \"{folder}\\{SCRIPT}\""), format!("if \"%ERRORLEVEL%\"==\"0\" rd /s /q \"{folder}\"")];
    Ok(Queued { step: Step::new(TITLE, commands), paths: done.iter().map(|at| entries[*at].path()).collect() })
}

/// The packages that wait in an image, in their order.
///
/// # Errors
/// Those of the script's contents.
pub fn waiting(tree: &Tree) -> Result<Vec<InQueue>> {
    Ok(entries(tree)?.iter().map(InQueue::of).collect())
}

/// Takes out of the queue what has that id, name, or name of a file, and with a package its parts for languages. With the last one, the folder
/// goes, and the step of `SetupComplete.cmd`.
///
/// # Errors
/// Those of the scripts' contents.
pub fn take(tree: &mut Tree, asked: &str, now: FileTime) -> Result<Vec<InQueue>> {
    let entries = entries(tree)?;
    let by_id = entries.iter().any(|entry| entry.has_id(asked));
    let is_asked = |entry: &&Entry| if by_id { entry.has_id(asked) } else { entry.is_called(asked) };
    let asked: Vec<&Entry> = entries.iter().filter(is_asked).collect();
    let goes = entries.iter().map(|entry| asked.iter().any(|one| entry == *one || entry.is_language_of(one))).collect();
    take_out(tree, entries, goes, now)
}

/// Takes out of the queue what the image has by now, in that version or a newer one.
///
/// # Errors
/// Those of the scripts' contents.
pub fn take_installed(tree: &mut Tree, ids: &[String], now: FileTime) -> Result<Vec<InQueue>> {
    let entries = entries(tree)?;
    let installed: Vec<Identity> = ids.iter().filter_map(|id| identity_of_id(id)).collect();
    let goes = entries.iter().map(|entry| entry.is_among(&installed)).collect();
    take_out(tree, entries, goes, now)
}

fn take_out(tree: &mut Tree, entries: Vec<Entry>, goes: Vec<bool>, now: FileTime) -> Result<Vec<InQueue>> {
    let (mut gone, mut left) = (Vec::new(), Vec::new());
    for (entry, goes) in entries.into_iter().zip(goes) {
        if goes { gone.push(entry) } else { left.push(entry) }
    }
    if gone.is_empty() {
        return Ok(Vec::new());
    }
    for entry in &gone {
        remove(tree, &entry.name)?;
    }
    if left.is_empty() {
        place::remove(tree, FOLDER)?;
        complete::drop_step(tree, TITLE, now)?;
    } else {
        write(tree, &left, now)?;
    }
    Ok(gone.iter().map(InQueue::of).collect())
}

/// What the script installs, as far as that is still there: of a queue that was tried once, what failed.
fn entries(tree: &Tree) -> Result<Vec<Entry>> {
    let mut entries = script::read(&tree.read_file(&format!(r"{FOLDER}\{SCRIPT}"))?.unwrap_or_default())?;
    entries.retain(|entry| tree.find(&entry.path()).is_some());
    Ok(entries)
}

fn write(tree: &mut Tree, entries: &[Entry], now: FileTime) -> Result<()> {
    place::put(tree, &format!(r"{FOLDER}\{SCRIPT}"), script::to_bytes(entries)?, Access::Inherited, now)
}

impl Waiting {
    /// The name that it gets: `dism` tells what a package is by the end of its name.
    fn file_name(&self) -> String {
        let has = |end: &str| self.name.rsplit_once('.').is_some_and(|(_, own)| own.eq_ignore_ascii_case(end));
        match self.is_folder {
            true if has("cab") || has("msu") => format!("{}-unpacked", self.name),
            false if !has("cab") => format!("{}.cab", self.name),
            _ => self.name.clone(),
        }
    }
}

impl InQueue {
    fn of(entry: &Entry) -> Self {
        Self { path: entry.path(), packages: entry.packages.clone() }
    }
}

impl fmt::Display for InQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if self.packages.is_empty() { Ok(()) } else { write!(f, " ({})", self.packages.join(", ")) }
    }
}

fn remove(tree: &mut Tree, name: &str) -> Result<()> {
    place::remove(tree, &format!(r"{FOLDER}\{name}"))
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
    use crate::format::hive::Value;
    use crate::windows::registry::CONFIG;
    use crate::windows::setup::{Setup, SetupComplete};
    use crate::windows::tests::{system_hive, tree_of};

    const NOW: FileTime = FileTime(131_000_000_000_000_000);

    fn image() -> Tree {
        tree_of(&[(DISM, b"MZ")])
    }

    fn cabinet(name: &str, bytes: &[u8]) -> Waiting {
        let files = Arc::new(tree_of(&[(r"\x.cab", bytes)]));
        Waiting { name: name.into(), packages: Vec::new(), files, is_folder: false, ignore_check: false }
    }

    fn known(name: &str, id: &str) -> Waiting {
        Waiting { packages: vec![id.into()], ..cabinet(name, id.as_bytes()) }
    }

    fn script(tree: &Tree) -> String {
        String::from_utf8(tree.read_file(&format!(r"{FOLDER}\{SCRIPT}")).unwrap().unwrap()).unwrap()
    }

    fn names(tree: &Tree) -> Vec<String> {
        let waiting = waiting(tree).unwrap();
        waiting.iter().map(|package| package.path.strip_prefix(FOLDER).unwrap()[1..].to_owned()).collect()
    }

    #[test]
    fn packages_wait_in_their_order() {
        let mut tree = image();
        let folder = Waiting {
            files: Arc::new(tree_of(&[(r"\update.mum", b"m"), (r"\k\file", b"f")])),
            is_folder: true,
            ignore_check: true,
            ..cabinet("Folder & %PATH%.cab", b"")
        };
        let queued = queue(&mut tree, &[cabinet("B.cab", b"b"), cabinet("b.CAB", b"b2"), folder], NOW).unwrap();
        let paths = ["B.cab", "2-b.CAB", "Folder____PATH_.cab-unpacked"].map(|name| format!(r"{FOLDER}\{name}"));
        assert_eq!(queued.paths, paths);
        assert_eq!(waiting(&tree).unwrap().into_iter().map(|package| package.path).collect::<Vec<_>>(), paths);
        assert_eq!(tree.read_file(&paths[1]).unwrap().unwrap(), b"b2");
        assert_eq!(tree.read_file(&format!(r"{}\k\file", paths[2])).unwrap().unwrap(), b"f");
        let text = script(&tree);
        assert!(text.is_ascii() && !text.contains("{packages}"));
        assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
        assert!(
            text.contains("call :add \"2-b.CAB\"\r\ncall :add \"Folder____PATH_.cab-unpacked\" /IgnoreCheck\r\n"),
            "{text}"
        );

        // What is asked for again keeps its place; the rest stays.
        let again = queue(&mut tree, &[cabinet("c.cab", b"c"), cabinet("B.cab", b"new")], NOW).unwrap();
        assert_eq!(again.step, queued.step);
        assert_eq!(again.paths, ["c.cab", "B.cab"].map(|name| format!(r"{FOLDER}\{name}")));
        assert_eq!(names(&tree), ["B.cab", "2-b.CAB", "Folder____PATH_.cab-unpacked", "c.cab"]);
        assert_eq!(tree.read_file(&again.paths[1]).unwrap().unwrap(), b"new");

        // What has been installed and is gone waits no more.
        place::remove(&mut tree, &again.paths[1]).unwrap();
        assert_eq!(names(&tree)[0], "2-b.CAB");
    }

    const BASE: &str = "Made-A-Package~0~amd64~~10.0.1.2";
    const GERMAN: &str = "Made-A-Package~0~amd64~de-DE~10.0.1.2";
    const OTHER: &str = "Made-B-Package~0~amd64~~10.0.1.2";

    #[test]
    fn a_package_that_is_known_keeps_its_place() {
        let mut tree = image();
        queue(&mut tree, &[known("a.cab", BASE), known("a.cab", GERMAN)], NOW).unwrap();
        assert_eq!(names(&tree), ["a.cab", "2-a.cab"]);
        // Under another name, and another one under its name.
        queue(&mut tree, &[known("new.cab", BASE), known("2-a.cab", OTHER), cabinet("x.cab", b"x")], NOW).unwrap();
        assert_eq!(names(&tree), ["new.cab", "2-a.cab", "2-2-a.cab", "x.cab"]);
        let waiting = waiting(&tree).unwrap();
        let ids: Vec<&[String]> = waiting.iter().map(|package| package.packages.as_slice()).collect();
        assert_eq!(ids, [&[BASE.to_owned()][..], &[GERMAN.to_owned()], &[OTHER.to_owned()], &[]]);
        assert_eq!(tree.read_file(&waiting[0].path).unwrap().unwrap(), BASE.as_bytes());
        assert!(tree.find(&format!(r"{FOLDER}\a.cab")).is_none());
        assert!(script(&tree).contains(&format!(":: package {OTHER}\r\ncall :add \"2-2-a.cab\"\r\n")));
    }

    #[test]
    fn dism_goes_by_the_ends_of_names() {
        let mut tree = image();
        let folder =
            Waiting { is_folder: true, files: Arc::new(tree_of(&[(r"\update.mum", b"m")])), ..cabinet("f.MSU", b"") };
        let given =
            [cabinet("t.psf", b"1"), cabinet("bare", b"2"), cabinet("u.msu", b"3"), cabinet("K.CAB", b"4"), folder];
        queue(&mut tree, &given, NOW).unwrap();
        assert_eq!(names(&tree), ["t.psf.cab", "bare.cab", "u.msu.cab", "K.CAB", "f.MSU-unpacked"]);
    }

    fn queued() -> Tree {
        let mut tree = image();
        let given = [known("a.cab", BASE), known("a-de.cab", GERMAN), known("b.cab", OTHER)];
        let step = queue(&mut tree, &given, NOW).unwrap().step;
        let script = SetupComplete { steps: vec![step], secrets: Vec::new() };
        place::put(&mut tree, complete::PATH, script.to_bytes(), Access::Inherited, NOW).unwrap();
        tree
    }

    #[test]
    fn what_waits_is_taken_back() {
        for (asked, left) in [
            (BASE.to_uppercase().as_str(), &["b.cab"][..]),
            ("made-a-package", &["b.cab"]),
            ("a.cab", &["b.cab"]),
            ("A", &["b.cab"]),
            (GERMAN, &["a.cab", "b.cab"]),
            ("Made-B-Package", &["a.cab", "a-de.cab"]),
            ("Made", &["a.cab", "a-de.cab", "b.cab"]),
        ] {
            let mut tree = queued();
            let gone = take(&mut tree, asked, NOW).unwrap();
            assert_eq!(
                (names(&tree), gone.len()),
                (left.iter().map(ToString::to_string).collect(), 3 - left.len()),
                "{asked}"
            );
            assert!(gone.iter().all(|gone| tree.find(&gone.path).is_none()));
            assert!(tree.find(complete::PATH).is_some());
        }
    }

    #[test]
    fn what_is_installed_waits_no_more() {
        let mut tree = queued();
        assert!(take_installed(&mut tree, &[OTHER.replace("10.", "9.")], NOW).unwrap().is_empty());
        let gone = take_installed(&mut tree, &[OTHER.replace("10.", "11."), BASE.into()], NOW).unwrap();
        assert_eq!(
            gone.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [format!(r"{FOLDER}\a.cab ({BASE})"), format!(r"{FOLDER}\b.cab ({OTHER})"),]
        );
        assert_eq!(names(&tree), ["a-de.cab"]);
    }

    /// The folder goes with the last one, and so does the step; what else there is to do stays.
    #[test]
    fn an_empty_queue_leaves_nothing() {
        let empty = |tree: &mut Tree| {
            take(tree, "Made-A-Package", NOW).unwrap();
            take(tree, OTHER, NOW).unwrap();
            assert!(tree.find(FOLDER).is_none() && waiting(tree).unwrap().is_empty());
        };
        let mut tree = queued();
        empty(&mut tree);
        assert!(tree.find(complete::PATH).is_none());

        let mut tree = queued();
        let mut script = SetupComplete::read(&tree.read_file(complete::PATH).unwrap().unwrap()).unwrap();
        let own = Step::command("echo own").unwrap();
        script.steps.push(own.clone());
        place::put(&mut tree, complete::PATH, script.to_bytes(), Access::Inherited, NOW).unwrap();
        empty(&mut tree);
        let left = SetupComplete::read(&tree.read_file(complete::PATH).unwrap().unwrap()).unwrap();
        assert_eq!(left, SetupComplete { steps: vec![own], secrets: Vec::new() });

        // The image's own script, which had been put aside, is itself again.
        let mut tree = image();
        place::put(&mut tree, complete::PATH, b"echo image".to_vec(), Access::Inherited, NOW).unwrap();
        let step = queue(&mut tree, &[known("b.cab", OTHER)], NOW).unwrap().step;
        let system = system_hive(&[("Control", "SystemBootDevice", Value::sz("multi(0)"))]);
        place::put(&mut tree, &format!(r"{CONFIG}\SYSTEM"), system, Access::Inherited, NOW).unwrap();
        let setup = Setup { first_start: vec![step], ..Setup::default() };
        setup.apply(&mut tree, NOW).unwrap();
        assert_ne!(tree.read_file(complete::PATH).unwrap().unwrap(), b"echo image");
        empty(&mut tree);
        assert_eq!(tree.read_file(complete::PATH).unwrap().unwrap(), b"echo image");
        assert!(tree.find(r"\Windows\Setup\Scripts\SetupComplete.image.cmd").is_none());
    }

    #[test]
    fn the_step_is_one_of_setup_complete() {
        let step = queue(&mut image(), &[cabinet("a.cab", b"a")], NOW).unwrap().step;
        let whole = SetupComplete { steps: vec![step], secrets: Vec::new() };
        assert_eq!(SetupComplete::read(&whole.to_bytes()), Some(whole));
    }

    #[test]
    fn an_image_without_dism_is_refused() {
        let error = queue(&mut tree_of(&[(r"\Windows\a", b"")]), &[cabinet("a.cab", b"")], NOW).unwrap_err();
        assert!(error.to_string().contains("Dism.exe"), "{error}");
        assert_eq!((space_of_all([].into_iter()), space_of_all([5].into_iter())), (0, OVERHEAD + 10));
        assert_eq!(space_of_all([u64::MAX, 1].into_iter()), u64::MAX);
    }
}
