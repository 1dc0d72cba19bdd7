//! A package as a file of the host, with its checksum and its place in a catalog beside it.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::Control;
use super::super::host::{self, InputFile, OutputFile, OutputStream};
use super::catalog::{self, Entry};
use super::{Compression, Disk, MachineFacts, Member, Package, Place, Provider, next_steps};
use crate::base::{Disk as _, ReadAt};
use crate::error::{Context, Error, Result};

/// What is to be made.
#[derive(Debug, Clone)]
pub struct Job {
    /// The kind of package.
    pub package: Package,
    /// What it says of the machine.
    pub facts: MachineFacts,
    /// Where it goes.
    pub output: PathBuf,
    /// Whether existing outputs may be replaced. (A catalog is always added to.)
    pub force: bool,
    /// How it is compressed.
    pub compression: Compression,
    /// Whether a file with its SHA-256 is made beside it.
    pub checksum: bool,
    /// The catalog that is to list it.
    pub catalog: Option<Catalog>,
}

/// A catalog of Vagrant.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Its file, which may exist.
    pub path: PathBuf,
    /// The name of the box in it.
    pub name: String,
    /// The version of the box.
    pub version: String,
    /// Where the box will be fetched from.
    pub url: String,
}

/// What was made.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The file.
    pub output: String,
    /// The kind of package.
    pub package: Package,
    /// The container of the disk in it.
    pub format: &'static str,
    /// How it is compressed.
    pub compression: Compression,
    /// The size of the disk in it.
    pub disk_bytes: u64,
    /// The length of the file.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// What is in it, if it is an archive.
    pub members: Vec<Member>,
    /// The file with the SHA-256.
    pub checksum: Option<String>,
    /// The catalog that lists it.
    pub catalog: Option<String>,
    /// The commands to run next.
    pub next_steps: Vec<String>,
}

/// A package that is complete but for the names of its files.
pub struct Made<'c> {
    files: Vec<OutputFile<'c>>,
    report: Report,
}

impl Made<'_> {
    /// Gives the files their names.
    pub fn keep(self) -> Result<Report> {
        self.files.into_iter().try_for_each(OutputFile::keep)?;
        Ok(self.report)
    }
}

impl Job {
    /// Refuses what cannot become anything, before any work is done.
    pub fn check(&self) -> Result<()> {
        host::check_target(&self.output, self.force)?;
        if self.checksum {
            host::check_target(&checksum_path(&self.output), self.force)?;
        }
        self.package.check(self.facts.target, self.compression)?;
        self.facts.check()?;
        if let Some(catalog) = &self.catalog {
            host::check_target(&catalog.path, true)?;
            self.merged(catalog, "")?;
        }
        Ok(())
    }

    /// Makes the package out of a finished disk.
    pub fn run(&self, disk: &Disk<'_>, threads: NonZeroUsize, control: &Control) -> Result<Report> {
        self.write(disk, threads, control)?.keep()
    }

    /// The same, up to the names of what was made.
    pub fn write<'c>(&self, disk: &Disk<'_>, threads: NonZeroUsize, control: &'c Control) -> Result<Made<'c>> {
        let mut output = OutputStream::create(&self.output, self.force, control)?;
        let written = super::write(self.package, disk, &self.facts, self.compression, threads, &mut output, control)
            .context(|| self.output.display())?;
        let mut files = vec![output.finish()?];
        let sha256 = &written.sha256;
        let checksum = self.checksum.then(|| self.write_checksum(sha256, &mut files, control)).transpose()?;
        let catalog =
            self.catalog.as_ref().map(|catalog| self.list(catalog, sha256, &mut files, control)).transpose()?;
        let file = self.output.display().to_string();
        let box_name = self.catalog.as_ref().map(|catalog| catalog.name.as_str());
        let place = Place {
            file: &file,
            bytes: written.bytes,
            catalog: catalog.as_deref().zip(box_name),
            format: disk.format,
            compression: self.compression,
        };
        let report = Report {
            next_steps: next_steps(self.package, &self.facts, &place),
            package: self.package,
            format: disk.format.name(),
            compression: self.compression,
            disk_bytes: disk.disk_bytes,
            bytes: written.bytes,
            sha256: written.sha256,
            members: written.members,
            checksum,
            catalog,
            output: file,
        };
        Ok(Made { files, report })
    }

    fn write_checksum<'c>(
        &self,
        sha256: &str,
        files: &mut Vec<OutputFile<'c>>,
        control: &'c Control,
    ) -> Result<String> {
        let path = checksum_path(&self.output);
        let name = self.output.file_name().unwrap_or_default().to_string_lossy();
        files.push(write_text(&path, &checksum_line(sha256, &name), self.force, control)?);
        Ok(path.display().to_string())
    }

    fn list<'c>(
        &self,
        catalog: &Catalog,
        sha256: &str,
        files: &mut Vec<OutputFile<'c>>,
        control: &'c Control,
    ) -> Result<String> {
        let text = self.merged(catalog, sha256)?;
        files.push(write_text(&catalog.path, &text, true, control)?);
        Ok(catalog.path.display().to_string())
    }

    /// The catalog with the box in it.
    fn merged(&self, catalog: &Catalog, sha256: &str) -> Result<String> {
        let Some(provider) = self.provider() else {
            return Err(Error::invalid("a catalog lists boxes only").hint("leave --catalog out, or say --format box"));
        };
        let entry = Entry {
            name: &catalog.name,
            version: &catalog.version,
            provider,
            architecture: self.facts.os.architecture(),
            url: &catalog.url,
            sha256,
        };
        let old = read_small(&catalog.path)?;
        catalog::merge(old.as_deref(), &entry).context(|| catalog.path.display())
    }

    fn provider(&self) -> Option<Provider> {
        Provider::of(self.facts.target).filter(|_| self.package == Package::Box)
    }
}

fn checksum_path(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".sha256");
    name.into()
}

/// A line as `sha256sum` writes and checks it.
fn checksum_line(sha256: &str, name: &str) -> String {
    let escaped = name.replace('\\', r"\\").replace('\n', r"\n").replace('\r', r"\r");
    let mark = if escaped == name { "" } else { "\\" };
    format!("{mark}{sha256}  {escaped}\n")
}

/// The bytes of a catalog, if it is there.
fn read_small(path: &Path) -> Result<Option<Vec<u8>>> {
    if !path.exists() {
        return Ok(None);
    }
    let file = InputFile::open(path)?;
    if ReadAt::len(&file) > catalog::MAX_BYTES as u64 {
        return Err(Error::unsupported("a catalog that is too large for Vagrant")
            .found(ReadAt::len(&file))
            .allowed(catalog::MAX_BYTES)
            .context(path.display()));
    }
    let mut bytes = vec![0; ReadAt::len(&file) as usize];
    file.read_at(0, &mut bytes)?;
    Ok(Some(bytes))
}

fn write_text<'c>(path: &Path, text: &str, force: bool, control: &'c Control) -> Result<OutputFile<'c>> {
    let output = OutputFile::create(path, text.len() as u64, force, control)?;
    output.write_at(0, text.as_bytes())?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_sha256sum() {
        assert_eq!(checksum_line("ab", "x.box"), "ab  x.box\n");
        assert_eq!(checksum_line("ab", "a\\b\nc"), "\\ab  a\\\\b\\nc\n");
        assert_eq!(checksum_path(Path::new("d/x.box")), Path::new("d/x.box.sha256"));
    }
}
