//! The program itself, run as a user runs it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program with some arguments, quiet and without the caller's SOURCE_DATE_EPOCH.
pub(crate) fn nanovhd<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nanovhd"));
    command.args(args).stdin(Stdio::null()).env_remove("SOURCE_DATE_EPOCH").env_remove("NANOVHD_LOG");
    command
}

/// Runs it to the end.
pub(crate) fn output(mut command: Command) -> Output {
    command.output().expect("the program starts")
}

/// Runs it, which has to succeed; gives what it printed.
pub(crate) fn succeed<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> String {
    let command = nanovhd(args);
    let words = format!("{command:?}");
    let output = output(command);
    assert!(output.status.success(), "{words}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs it, which has to fail; gives the exit code and the complaint.
pub(crate) fn fail<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> (i32, String) {
    let command = nanovhd(args);
    let words = format!("{command:?}");
    let output = output(command);
    assert!(!output.status.success(), "{words} succeeded");
    (output.status.code().expect("an exit code"), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The demo's WIM, made by the program.
pub(crate) fn demo_wim(folder: &Path) -> std::path::PathBuf {
    let wim = folder.join("demo.wim");
    let disk = folder.join("demo-for-wim.img");
    succeed([
        OsStr::new("demo"),
        "--size=64M".as_ref(),
        "--output".as_ref(),
        disk.as_ref(),
        "--keep-wim".as_ref(),
        wim.as_ref(),
    ]);
    std::fs::remove_file(disk).expect("the disk was made");
    wim
}
