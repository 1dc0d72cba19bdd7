//! Packages: a real one and made ones, checked, planned, put into the made image and taken out again, there as other programs see them.

mod compiled;
mod elements;
mod install;
mod makers;
mod media;
mod plans;
mod real;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nanovhd::image::demo;

use crate::support::program::{nanovhd, output, succeed};
use crate::support::tools::{Tools, text};

/// A real package, signed by Microsoft.
const REAL: &str = "OpenSSH-Client-Package~31bf3856ad364e35~amd64~~.cab";
/// The document that its manifests are packed against.
const BASE: &str = "servicing-stack-base-manifest.xml";

/// The made WIM, made once.
fn wim() -> &'static [u8] {
    static WIM: OnceLock<Vec<u8>> = OnceLock::new();
    WIM.get_or_init(|| demo::wim(NonZeroUsize::new(2).unwrap()).unwrap())
}

/// A folder with the made WIM, and a disk that was built of it.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("demo.wim"), wim()).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A disk without packages: bare sectors, one volume.
    fn disk(&self, name: &str) -> PathBuf {
        static DISK: OnceLock<Vec<u8>> = OnceLock::new();
        let path = self.path(name);
        let bytes = DISK.get_or_init(|| {
            self.build(&path, &[]);
            fs::read(&path).unwrap()
        });
        fs::write(&path, bytes).unwrap();
        path
    }

    fn build(&self, output: &Path, more: &[&str]) -> String {
        let wim = self.path("demo.wim");
        let all = ["build", "--wim", text(&wim), "--image=2", "--size=80M", "--format=raw", "--output", text(output)];
        succeed([&all[..], more].concat())
    }

    /// A cabinet as a file.
    fn cabinet(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

/// What was said, results and remarks.
fn said(args: &[&str]) -> String {
    let command = nanovhd(args);
    let words = format!("{command:?}");
    let output = output(command);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words}: {text}");
    text
}

/// What `nanovhd diff` finds, line by line, apart from hives that say the same in other bytes, written at another time.
fn differences(a: &Path, b: &Path) -> Vec<String> {
    let output = output(nanovhd(["diff", text(a), text(b), "--ignore=disk"]));
    assert!(output.status.code().is_some_and(|code| code < 2), "{}", String::from_utf8_lossy(&output.stderr));
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    let hive = |line: &str| {
        let path = line.strip_prefix("= ")?.strip_suffix(": a hive that means the same in other bytes")?;
        Some(path.to_owned())
    };
    let hives: Vec<String> = found.lines().filter_map(hive).collect();
    let is_of_hive =
        |line: &str| hive(line).is_some() || hives.iter().any(|path| line.starts_with(&format!("~ {path}: modified ")));
    let lines = found.lines().filter(|line| !is_of_hive(line) && !line.starts_with("different: "));
    lines.map(str::to_owned).collect()
}

/// The volume of a disk as a file of its own.
fn volume(scene: &Scene, disk: &Path) -> PathBuf {
    const START: usize = 1 << 20;
    let path = scene.path("volume");
    let bytes = fs::read(disk).unwrap();
    fs::write(&path, &bytes[START..bytes.len() - START]).unwrap();
    path
}

/// A file of a volume, as ntfscat reads it.
fn file_of(tools: &Tools, volume: &Path, path: &str) -> Vec<u8> {
    tools.run_for_bytes("ntfscat", &[text(volume), &path.replace('\\', "/")])
}

/// A hive of a volume as a file, as ntfscat reads it.
fn hive_of(tools: &Tools, scene: &Scene, volume: &Path, name: &str) -> PathBuf {
    let path = scene.path(name);
    fs::write(&path, file_of(tools, volume, &format!("/Windows/System32/config/{name}"))).unwrap();
    path
}

const HIVES: [&str; 7] = ["SYSTEM", "SOFTWARE", "COMPONENTS", "DRIVERS", "SAM", "SECURITY", "DEFAULT"];

/// hivexsh opens all hives of a volume, and finds keys in them.
fn check_hives(tools: &Tools, scene: &Scene, volume: &Path) {
    let script = scene.path("commands");
    fs::write(&script, "ls\n").unwrap();
    for name in HIVES {
        let hive = hive_of(tools, scene, volume, name);
        tools.run("hivexsh", &["-f", text(&script), text(&hive)]);
    }
}
