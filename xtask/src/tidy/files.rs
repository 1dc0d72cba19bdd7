//! The project's files, in memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::shell::Result;

/// What belongs to the project: the rest of the folder is the user's.
const FOLDERS: [&str; 8] = [".cargo", ".ci", "docs", "drivers", "src", "templates", "tests", "xtask"];

/// Folders inside them that programs make.
const MADE: [&str; 4] = ["artifacts", "corpus", "coverage", "target"];

/// Paths with `/`, from the project's folder, and contents.
#[derive(Default)]
pub(super) struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    /// Reads all files of the project in `root`.
    pub(super) fn load(root: &Path) -> Result<Self> {
        let mut files = Self::default();
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_text = [".md", ".toml"].iter().any(|end| name.ends_with(end));
            if is_text || FOLDERS.contains(&name.as_str()) {
                files.add(&entry, name)?;
            }
        }
        Ok(files)
    }

    fn add(&mut self, entry: &fs::DirEntry, name: String) -> Result<()> {
        let kind = entry.file_type()?;
        if kind.is_file() {
            self.0.insert(name, fs::read(entry.path())?);
        } else if kind.is_dir() && !MADE.iter().any(|made| entry.file_name() == *made) {
            for child in fs::read_dir(entry.path())? {
                let child = child?;
                let path = format!("{name}/{}", child.file_name().to_string_lossy());
                self.add(&child, path)?;
            }
        }
        Ok(())
    }

    pub(super) fn names_in(&self, folder: &str) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str).filter(move |name| is_in(name, folder))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.0.get(name)?).ok()
    }

    /// All files that people write: fixtures are data, and what is not UTF-8 as well.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let written = self.0.iter().filter(|(name, _)| !is_in(name, "tests/data") || name.ends_with(".md"));
        written.filter_map(|(name, bytes)| Some((name.as_str(), std::str::from_utf8(bytes).ok()?)))
    }

    /// The Rust files in any of `folders`.
    pub(super) fn rust(&self, folders: &'static [&'static str]) -> impl Iterator<Item = (&str, &str)> {
        let chosen = |name: &str| name.ends_with(".rs") && folders.iter().any(|folder| is_in(name, folder));
        self.texts().filter(move |(name, _)| chosen(name))
    }
}

/// Whether a file is in a folder, which is named without a slash at its end.
pub(super) fn is_in(name: &str, folder: &str) -> bool {
    name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Files {
    fn from(files: [(&str, &str); N]) -> Self {
        Self(files.into_iter().map(|(name, text)| (name.to_string(), text.as_bytes().to_vec())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_what_belongs_to_the_project() {
        let folder = tempfile::TempDir::new().unwrap();
        for name in ["README.md", "src/main.rs", "tests/fuzz/target/x.rs", "tests/it/a.rs", "disk.vhd", "mine/x.rs"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        let files = Files::load(folder.path()).unwrap();
        let names: Vec<_> = files.0.keys().map(String::as_str).collect();
        assert_eq!(names, ["README.md", "src/main.rs", "tests/it/a.rs"]);
        assert_eq!(files.text("src/main.rs"), Some("src/main.rs"));
    }
}
