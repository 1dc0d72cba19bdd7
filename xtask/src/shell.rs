//! Where the project is, and how its tasks run other programs.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What went wrong in a task, in words for the person who ran it.
#[derive(Debug)]
pub(crate) struct Failure(String);

/// The result of a task.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn new(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error)
    }
}

impl From<nanovhd::error::Error> for Failure {
    fn from(error: nanovhd::error::Error) -> Self {
        match error.hint_text() {
            Some(hint) => Self::new(format_args!("{error}\nhint: {hint}")),
            None => Self::new(error),
        }
    }
}

/// The project's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A program, to be run in the project's folder without a standard input.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The command line, for messages.
pub(crate) fn words(command: &Command) -> String {
    let name = Path::new(command.get_program()).file_stem().unwrap_or(command.get_program());
    std::iter::once(name).chain(command.get_args()).map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Runs a program to its end; what it prints is shown.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|e| Failure::new(format_args!("{}: {e}", words(command))))?;
    if !status.success() {
        return Err(Failure::new(format_args!("{}: {status}", words(command))));
    }
    Ok(())
}

/// Runs a program to its end and gives what it printed on its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().map_err(|e| Failure::new(format_args!("{}: {e}", words(command))))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format_args!("{}: {}\n{}", words(command), output.status, errors.trim_end())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A program in `PATH`, or where Debian keeps those of the administrator.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    folders.map(|folder| folder.join(&file)).find(|path| path.is_file())
}
