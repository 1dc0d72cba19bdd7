//! Directory identifiers: the numbers that INF files have for folders.

use crate::base::Machine;
use crate::windows::drivers::INF_FOLDER;

/// Where a directory identifier leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Folder {
    /// A folder of the image, below its root: `\Windows\System32`; empty for the root itself.
    Image(String),
    /// The package's folder in the driver store: files run from there.
    Store,
    /// What is no folder of the image: `-1` is an absolute path, 32768 and up are folders that an installer makes up.
    Unknown,
}

/// The folder of an identifier (Microsoft, "Using Dirids"; from 16384 on `CSIDL_*` of shlobj.h, from 66000 on printers).
pub(super) fn folder(id: i64, machine: Machine) -> Folder {
    let environment = match machine {
        Machine::X86 => "W32X86",
        Machine::Amd64 => "x64",
        Machine::Arm => "ARM",
        Machine::Arm64 => "ARM64",
    };
    let processors = if machine == Machine::X86 { "w32x86" } else { environment };
    let wide = machine != Machine::X86;
    let path = match id {
        // 1 is where the INF file is, which for an installed package is the store as well.
        1 | 13 => return Folder::Store,
        24 | 30 | 54 => String::new(),
        10 | 25 | 16420 => r"\Windows".to_owned(),
        11 | 16421 | 66002 => r"\Windows\System32".to_owned(),
        12 => r"\Windows\System32\drivers".to_owned(),
        17 => INF_FOLDER.to_owned(),
        18 => r"\Windows\Help".to_owned(),
        20 | 16404 => r"\Windows\Fonts".to_owned(),
        21 => r"\Windows\System32\viewers".to_owned(),
        23 | 66003 => r"\Windows\System32\spool\drivers\color".to_owned(),
        50 => r"\Windows\System".to_owned(),
        51 => r"\Windows\System32\spool".to_owned(),
        52 => r"\Windows\System32\spool\drivers".to_owned(),
        53 => r"\Users\Default".to_owned(),
        55 | 66001 => format!(r"\Windows\System32\spool\prtprocs\{processors}"),
        66000 => format!(r"\Windows\System32\spool\drivers\{environment}"),
        16406 => r"\ProgramData\Microsoft\Windows\Start Menu".to_owned(),
        16407 => r"\ProgramData\Microsoft\Windows\Start Menu\Programs".to_owned(),
        16408 => r"\ProgramData\Microsoft\Windows\Start Menu\Programs\Startup".to_owned(),
        16409 => r"\Users\Public\Desktop".to_owned(),
        16419 => r"\ProgramData".to_owned(),
        16430 => r"\Users\Public\Documents".to_owned(),
        16422 => r"\Program Files".to_owned(),
        16427 => r"\Program Files\Common Files".to_owned(),
        16425 if wide => r"\Windows\SysWOW64".to_owned(),
        16425 => r"\Windows\System32".to_owned(),
        16426 if wide => r"\Program Files (x86)".to_owned(),
        16426 => r"\Program Files".to_owned(),
        16428 if wide => r"\Program Files (x86)\Common Files".to_owned(),
        16428 => r"\Program Files\Common Files".to_owned(),
        _ => return Folder::Unknown,
    };
    Folder::Image(path)
}

/// A folder or file below `\Windows` or the root as a text of the registry has it: `%SystemRoot%\System32`. DISM writes into an image
/// without knowing its drive, and so do we.
pub(super) fn in_registry(path: &str) -> String {
    const WINDOWS: &str = r"\Windows";
    match path.get(..WINDOWS.len()).filter(|start| start.eq_ignore_ascii_case(WINDOWS)) {
        Some(_) if path[WINDOWS.len()..].is_empty() || path[WINDOWS.len()..].starts_with('\\') => {
            format!("%SystemRoot%{}", &path[WINDOWS.len()..])
        }
        _ => format!("%SystemDrive%{path}"),
    }
}

/// A subfolder or name that an INF file gives: parts with a `\` between them, none at the ends; `None` if it would lead elsewhere.
pub(super) fn below(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split(['\\', '/']).filter(|part| !part.is_empty() && *part != ".").collect();
    let sound = |part: &&str| *part != ".." && !part.contains(|c: char| c < ' ' || r#":*?"<>|"#.contains(c));
    parts.iter().all(sound).then(|| parts.join(r"\"))
}

/// Joins two paths, either of which may be empty.
pub(super) fn join(folder: &str, name: &str) -> String {
    match (folder.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => folder.to_owned(),
        _ => format!(r"{folder}\{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_stay_within_the_image() {
        assert_eq!(below(r"\a\.\b\").as_deref(), Some(r"a\b"));
        assert_eq!(below("").as_deref(), Some(""));
        for path in [r"..\x", r"a\..\..\b", "c:x", "a/../b", "a\0b", "x:stream", "*"] {
            assert_eq!(below(path), None, "{path:?}");
        }
    }

    #[test]
    fn paths_are_shown_to_the_registry() {
        assert_eq!(in_registry(r"\Windows"), "%SystemRoot%");
        assert_eq!(in_registry(r"\windows\INF"), r"%SystemRoot%\INF");
        assert_eq!(in_registry(r"\Windows2\x"), r"%SystemDrive%\Windows2\x");
        assert_eq!(in_registry("\\Wind\u{f6}ws"), "%SystemDrive%\\Wind\u{f6}ws");
        assert_eq!(folder(12, Machine::Amd64), Folder::Image(r"\Windows\System32\drivers".into()));
        assert_eq!(folder(16426, Machine::X86), Folder::Image(r"\Program Files".into()));
        assert_eq!(folder(13, Machine::Arm64), Folder::Store);
        assert_eq!(folder(-1, Machine::Amd64), Folder::Unknown);
    }
}
