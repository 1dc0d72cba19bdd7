//! Other people's programs and Windows' own files: found, or said to be missing.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set by `cargo xtask test` where it could install everything: a missing tool then fails the test.
const REQUIRE_TOOLS: &str = "NANOVHD_REQUIRE_TOOLS";

/// A folder of files made by Windows, which are not part of this project.
const TESTDATA: &str = "NANOVHD_TESTDATA";

/// Where the programs of one test are.
pub(crate) struct Tools(Vec<PathBuf>);

impl Tools {
    /// Looks for all of `names`. `None` if one is missing: the test is to return, having said that it was skipped.
    pub(crate) fn find(names: &[&str]) -> Option<Self> {
        let found: Vec<PathBuf> = names.iter().filter_map(|name| find(name)).collect();
        if found.len() == names.len() {
            return Some(Self(found));
        }
        let missing: Vec<_> = names.iter().filter(|name| find(name).is_none()).collect();
        unavailable(&format!("missing tools {missing:?}"));
        None
    }

    /// Runs a program that was asked for, which has to succeed, and gives what it printed.
    pub(crate) fn run(&self, name: &str, args: &[&str]) -> String {
        String::from_utf8_lossy(&self.run_for_bytes(name, args)).into_owned()
    }

    /// The same in a folder of its own, in which arguments can be names.
    pub(crate) fn run_in(&self, folder: &Path, name: &str, args: &[&str]) -> String {
        String::from_utf8_lossy(&self.output(name, args, Some(folder))).into_owned()
    }

    /// Runs a program that leaves a server behind, which would keep its output open; it has to succeed.
    pub(crate) fn start(&self, name: &str, args: &[&str]) {
        let mut command = self.command(name, args);
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("the tool starts");
        assert!(status.success(), "{command:?}: {status}");
    }

    /// The same for a program that prints no text.
    pub(crate) fn run_for_bytes(&self, name: &str, args: &[&str]) -> Vec<u8> {
        self.output(name, args, None)
    }

    fn command(&self, name: &str, args: &[&str]) -> Command {
        let file = format!("{name}{}", env::consts::EXE_SUFFIX);
        let program = self.0.iter().find(|path| path.file_name().is_some_and(|found| found == file.as_str()));
        let mut command = Command::new(program.expect("a tool that the test asked for"));
        command.args(args).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
        command
    }

    fn output(&self, name: &str, args: &[&str], folder: Option<&Path>) -> Vec<u8> {
        let mut command = self.command(name, args);
        folder.map(|folder| command.current_dir(folder));
        let output = command.output().expect("the tool starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
        output.stdout
    }
}

/// A program in `PATH` or where Debian keeps those of the administrator.
fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    folders.map(|folder| folder.join(&file)).find(|path| path.is_file())
}

/// A file of the folder that `NANOVHD_TESTDATA` names. `None` if it names none: the test is to return, having said so.
pub(crate) fn testdata(file: impl AsRef<Path>) -> Option<PathBuf> {
    let Some(folder) = env::var_os(TESTDATA) else {
        skip(&format!("{TESTDATA} is not set"));
        return None;
    };
    let path = Path::new(&folder).join(file);
    assert!(path.is_file(), "{} is missing", path.display());
    Some(path)
}

/// Says that a test is skipped because this machine lacks something, unless it is known to have everything.
pub(crate) fn unavailable(what: &str) {
    assert!(env::var_os(REQUIRE_TOOLS).is_none(), "{what}, and {REQUIRE_TOOLS} is set");
    skip(what);
}

/// Past the capture of the test harness, which shows only what failed.
fn skip(reason: &str) {
    let thread = std::thread::current();
    let _ = writeln!(std::io::stderr(), "SKIPPED {}: {reason}", thread.name().unwrap_or("a test"));
}

/// A path as an argument. The folders of tests are named by text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

/// The contents of an `.xz` file of that folder. `None` as for [`testdata`].
pub(crate) fn windows_file(file: impl AsRef<Path>) -> Option<Vec<u8>> {
    let tools = Tools::find(&["xz"])?;
    Some(tools.run_for_bytes("xz", &["-dc", text(&testdata(file)?)]))
}
