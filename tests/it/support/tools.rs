//! Foreign tools, and what happens when they are missing.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Runs a tool, or says that the test is skipped for want of it. With NANOVHD_REQUIRE_TOOLS a missing tool fails the test.
pub(crate) fn tool(name: &str, args: &[&str]) -> Option<Output> {
    match Command::new(name).args(args).env("LC_ALL", "C.UTF-8").output() {
        Ok(output) => Some(output),
        Err(error) if std::env::var_os("NANOVHD_REQUIRE_TOOLS").is_some() => panic!("{name}: {error}"),
        Err(error) => {
            skip(&format!("{name}: {error}"));
            None
        }
    }
}

/// Runs a tool that leaves a server behind, which would keep its output open. Whether there is such a tool; it has to succeed.
pub(crate) fn start(name: &str, args: &[&str]) -> bool {
    if tool(name, &["--version"]).is_none() {
        return false;
    }
    let status =
        Command::new(name).args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.unwrap().success(), "{name} {args:?}");
    true
}

/// Runs a tool that has to succeed and returns what it prints.
pub(crate) fn succeed(name: &str, args: &[&str]) -> Option<String> {
    let output = tool(name, args)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name} {args:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    Some(text)
}

/// A file of the Windows-made test data, unpacked, or a note that the test is skipped.
pub(crate) fn windows_file(path: &str) -> Option<Vec<u8>> {
    let Some(folder) = std::env::var_os("NANOVHD_TESTDATA") else {
        skip("NANOVHD_TESTDATA is not set");
        return None;
    };
    let path = PathBuf::from(folder).join(path);
    let output = tool("xz", &["-dkc", path.to_str()?])?;
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}

/// Says why a test is skipped.
#[allow(clippy::print_stderr)]
pub(crate) fn skip(why: &str) {
    eprintln!("skipped: {why}");
}
