//! `CopyFiles` and what it refers to: which files a package has, and where they run.
//!
//! ```text
//! [install]          CopyFiles = list, @one.dll
//! [list]             name in the image, name in the package, , flags
//! [DestinationDirs]  list = 12, subfolder         else DefaultDestDir
//! [SourceDisksFiles] name in the package = disk, subfolder
//! [SourceDisksNames] disk = description, , , folder
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::folders::{self, Folder};
use super::library::{Line, Source};
use super::{Compiler, number};
use crate::base::Machine;
use crate::error::Result;
use crate::windows::drivers::CopyOut;

/// Copies only over a file that is there (`COPYFLG_REPLACEONLY`).
const REPLACE_ONLY: u32 = 0x400;

/// What is known of the files so far.
#[derive(Default)]
pub(super) struct Files {
    /// Paths in the package, by their lower-case form.
    wanted: BTreeMap<String, String>,
    /// Copies by the lower-case form of their target.
    copies: BTreeMap<String, CopyOut>,
    /// Lists that have been worked through.
    done: BTreeSet<String>,
    /// `[SourceDisksFiles.amd64]` before `[SourceDisksFiles]`: names in lower case.
    source_files: Table,
    /// `[SourceDisksNames]`, in the same way.
    source_disks: Table,
    /// `[DestinationDirs]`.
    destinations: Table,
}

type Table = HashMap<String, Line>;

impl Files {
    /// Nothing yet, with the tables of an INF file at hand: one that lists many files is not searched for each.
    pub(super) fn new(own: &Rc<Source>, machine: Machine) -> Self {
        let table = |section: &str| {
            let mut table = Table::new();
            let sections = [format!("{section}.{machine}"), section.to_owned()];
            for entry in sections.iter().filter_map(|name| own.inf.section(name)).flat_map(|section| &section.entries) {
                let key = own.inf.expand(entry.first()).trim().to_lowercase();
                table.entry(key).or_insert_with(|| Line {
                    source: Rc::clone(own),
                    entry: entry.clone(),
                    needed: false,
                });
            }
            table
        };
        Self {
            source_files: table("SourceDisksFiles"),
            source_disks: table("SourceDisksNames"),
            destinations: table("DestinationDirs"),
            ..Self::default()
        }
    }

    /// Adds a file of the package.
    pub(super) fn want(&mut self, path: &str) {
        self.wanted.entry(path.to_lowercase()).or_insert_with(|| path.to_owned());
    }

    /// The files, and the copies in the order of their lines.
    pub(super) fn finish(self) -> (Vec<String>, Vec<CopyOut>) {
        let mut copies: Vec<CopyOut> = self.copies.into_values().collect();
        copies.sort_by(|one, other| (one.line, &one.target).cmp(&(other.line, &other.target)));
        (self.wanted.into_values().collect(), copies)
    }
}

impl Compiler<'_> {
    /// `CopyFiles = list, @file`.
    pub(super) fn copy_files(&mut self, line: &Line) -> Result<()> {
        for name in line.names(0) {
            if !line.source.own {
                self.note(line, format!("CopyFiles={name}: files of this INF file are the image's own"));
            } else if let Some(file) = name.strip_prefix('@') {
                let folder = self.destination(line, "DefaultDestDir")?;
                self.copy_file(line, folder.as_ref(), file, file)?;
            } else if self.files.done.insert(name.to_lowercase()) {
                self.copy_list(line, &name)?;
            }
        }
        Ok(())
    }

    /// The files of a `CopyFiles` that Windows carries out later: they have to be in the package then.
    pub(super) fn store_files(&mut self, line: &Line) -> Result<()> {
        for name in line.names(0).iter().filter(|_| line.source.own) {
            if let Some(file) = name.strip_prefix('@') {
                self.copy_file(line, None, file, file)?;
                continue;
            }
            for line in self.referenced(line, "CopyFiles", name)? {
                let (target, source) = (line.field(0), line.field(1));
                if !target.is_empty() {
                    self.copy_file(&line, None, &target, if source.is_empty() { &target } else { &source })?;
                }
            }
        }
        Ok(())
    }

    fn copy_list(&mut self, line: &Line, list: &str) -> Result<()> {
        let lines = self.referenced(line, "CopyFiles", list)?;
        let folder = self.destination(line, list)?;
        for line in lines {
            let target = match &line.entry.key {
                Some(_) => {
                    return Err(line.fault("a list of files to copy").found("=").allowed("target,source,,flags"));
                }
                None => line.field(0),
            };
            let source = line.field(1);
            let flags = number(&line.field(3)).unwrap_or(0);
            let folder = if flags & REPLACE_ONLY == 0 {
                folder.as_ref()
            } else {
                self.note(
                    &line,
                    format!("{target}: is to replace a file that is there (flag 400h): only put into the store"),
                );
                None
            };
            let source = if source.is_empty() { &target } else { &source };
            if !target.is_empty() {
                self.copy_file(&line, folder, &target, source)?;
            }
        }
        Ok(())
    }

    /// Adds a file to those of the package, and a copy if there is a folder for it.
    fn copy_file(&mut self, line: &Line, folder: Option<&String>, target: &str, source: &str) -> Result<()> {
        let sound = |name: &str| folders::below(name).filter(|name| !name.is_empty());
        let bad = |name: &str| line.fault("name of a file").found(name).allowed("one within its folder");
        let source_path = self.source_path(line, &sound(source).ok_or_else(|| bad(source))?)?;
        let target = sound(target).ok_or_else(|| bad(target))?;
        self.files.want(&source_path);
        let Some(folder) = folder else { return Ok(()) };
        let copy = CopyOut { source: source_path, target: format!(r"{folder}\{target}"), line: line.entry.line };
        match self.files.copies.get(&copy.target.to_lowercase()) {
            None => drop(self.files.copies.insert(copy.target.to_lowercase(), copy)),
            Some(other) if other.source.eq_ignore_ascii_case(&copy.source) => {}
            Some(other) => {
                let text = format!("{}: line {} has another file for it already: left out", copy.target, other.line);
                self.note(line, text);
            }
        }
        Ok(())
    }

    /// Where a list's files go: a folder of the image, or none for files that run from the store.
    fn destination(&mut self, line: &Line, list: &str) -> Result<Option<String>> {
        let table = &self.files.destinations;
        let Some(entry) = table.get(&list.to_lowercase()).or_else(|| table.get("defaultdestdir")).cloned() else {
            self.note(line, format!("[DestinationDirs] has no folder for {list}: its files stay in the store"));
            return Ok(None);
        };
        let line = entry;
        let (id, below) = (line.field(0), line.field(1));
        let parsed = id.parse::<i64>().ok().or_else(|| number(&id).map(i64::from));
        let parsed = parsed.ok_or_else(|| line.fault("identifier of a folder").found(&id).allowed("a number"))?;
        let sub = folders::below(&below);
        Ok(match (folders::folder(parsed, self.target.machine), sub) {
            (Folder::Image(path), Some(below)) => Some(folders::join(&path, &below)),
            (Folder::Image(_), None) => {
                return Err(line.fault("subfolder").found(below).allowed("one below its folder"));
            }
            (Folder::Store, _) => None,
            (Folder::Unknown, _) => {
                self.note(
                    &line,
                    format!("folder {id},{below} is known to an installer only: the files stay in the store"),
                );
                None
            }
        })
    }

    /// Where a source file is in the package.
    fn source_path(&mut self, line: &Line, name: &str) -> Result<String> {
        let listed = self.files.source_files.get(&name.to_lowercase()).cloned();
        let mut path = name.to_owned();
        if let Some(file) = &listed {
            let disk = self.files.source_disks.get(&file.field(0).to_lowercase());
            let folder = disk.map(|disk| disk.field(3)).unwrap_or_default();
            let (folder, sub) = (folders::below(&folder), folders::below(&file.field(1)));
            let (Some(folder), Some(sub)) = (folder, sub) else {
                return Err(file.fault("folder of a file").found(file.field(1)).allowed("one within the package"));
            };
            path = folders::join(&folders::join(&folder, &sub), name);
        }
        if self.package.content(&path).is_some() {
            if listed.is_none() && self.files.done.insert(format!("?{}", name.to_lowercase())) {
                self.note(
                    line,
                    format!("{name}: is not in [SourceDisksFiles]; the file of that name beside the INF file is taken"),
                );
            }
            return Ok(path);
        }
        let error = line.fault(format_args!("the package has no {path}"));
        Err(match listed {
            Some(_) => error.hint("take the whole folder that the maker gives out, not the INF file alone"),
            None => error.hint("it is not in [SourceDisksFiles] either: the INF file is not complete"),
        })
    }

    /// `DelFiles` and `RenFiles` change an installed system; an image has none of the files that they are about.
    pub(super) fn delete_files(&mut self, line: &Line) {
        let what = line.entry.first().to_owned();
        self.note(
            line,
            format!("{what}={}: is left out, an image has no earlier version to remove", line.entry.fields.join(",")),
        );
    }
}
