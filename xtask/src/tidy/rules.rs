//! The rules that are about files and their text.

use super::Findings;
use super::code::Code;
use super::files::{Files, is_in};

const CODE: &[&str] = &["src", "tests", "xtask"];

/// The longest Rust file, in lines.
const LONGEST: usize = 900;

/// The only place where code may be unsafe: calls of Windows itself.
const UNSAFE: &str = "src/windows/native";

/// Words that mark what is not finished. (Put together here, so that this file may be read by its own rule.)
const UNFINISHED: &[&str] = &[concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK"), concat!("TO", "DO")];

const UNFINISHED_MACROS: &[&str] = &["dbg!", "todo!", "unimplemented!"];

/// Folders of one machine.
const OUTSIDE_FOLDERS: &[&str] =
    &[concat!("/tm", "p/"), concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];

pub(super) fn unsafe_code(files: &Files, findings: &mut Findings) {
    for (name, text) in files.rust(CODE).filter(|(name, _)| !is_in(name, UNSAFE)) {
        for line in Code::new(text).lines_with("unsafe") {
            findings.add(name, line, format_args!("unsafe code outside of {UNSAFE}"));
        }
    }
}

pub(super) fn length(files: &Files, findings: &mut Findings) {
    for (name, text) in files.rust(CODE) {
        let lines = text.lines().count();
        if lines > LONGEST {
            findings.add(name, lines, format_args!("{lines} lines; split it, the limit is {LONGEST}"));
        }
    }
}

/// The first line of a module says what it is.
pub(super) fn module_documentation(files: &Files, findings: &mut Findings) {
    for (name, text) in files.rust(&["src", "xtask"]) {
        if !text.starts_with("//! ") {
            findings.add(name, 1, "does not begin with what the module is (//!)");
        }
    }
}

pub(super) fn unfinished(files: &Files, findings: &mut Findings) {
    for (name, text) in files.rust(CODE) {
        for path in Code::new(text).paths().iter().filter(|path| UNFINISHED_MACROS.contains(&path.segments[0].as_str()))
        {
            findings.add(name, path.line, format_args!("unfinished: {}", path.segments[0]));
        }
    }
    for (name, text) in files.texts() {
        for (number, line) in numbered(text) {
            let mut words = line.split(|c: char| !c.is_alphanumeric());
            if let Some(word) = words.find(|word| UNFINISHED.contains(word)) {
                findings.add(name, number, format_args!("unfinished: {word}"));
            }
        }
    }
}

/// The project speaks of itself alone.
pub(super) fn outside(files: &Files, findings: &mut Findings) {
    for (name, text) in files.texts() {
        for (number, line) in numbered(text) {
            if let Some(folder) = OUTSIDE_FOLDERS.iter().find(|folder| starts_a_path(line, folder)) {
                findings.add(name, number, format_args!("names a folder of one machine: {folder}"));
            }
        }
    }
}

/// Whether `folder` is in the line other than within a longer path or address.
fn starts_a_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "}/._-".contains(c)))
}

/// Spaces, and line ends as Unix has them; files for Windows alone may have its own.
pub(super) fn whitespace(files: &Files, findings: &mut Findings) {
    for (name, text) in files.texts() {
        let for_windows = [".cmd", ".reg", ".inf"].iter().any(|end| name.ends_with(end));
        for (number, line) in text.split('\n').enumerate().map(|(index, line)| (index + 1, line)) {
            let line = if for_windows { line.trim_end_matches('\r') } else { line };
            if line.contains('\r') {
                findings.add(name, number, "carriage return");
            } else if line.contains('\t') {
                findings.add(name, number, "tab");
            } else if line.ends_with(' ') {
                findings.add(name, number, "space at the end of the line");
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            findings.add(name, text.lines().count(), "no line end at the end of the file");
        }
    }
}

const FIXTURES: &str = "tests/data";

/// Every fixture has a row in the index (`| `name` | where it comes from |`), and every row a fixture.
pub(super) fn fixtures(files: &Files, findings: &mut Findings) {
    let index_name = format!("{FIXTURES}/INDEX.md");
    let index = files.text(&index_name).unwrap_or_default();
    let rows: Vec<(usize, &str)> =
        numbered(index).filter_map(|(number, line)| Some((number, row_name(line)?))).collect();
    for name in files.names_in(FIXTURES).filter(|name| *name != index_name) {
        let short = name.trim_start_matches(FIXTURES).trim_start_matches('/');
        if !rows.iter().any(|(_, row)| *row == short) {
            findings.add(name, 1, format_args!("not listed in {index_name}"));
        }
    }
    for (number, row) in rows {
        if !files.has(&format!("{FIXTURES}/{row}")) {
            findings.add(&index_name, number, format_args!("lists {row}, which is not there"));
        }
    }
}

/// The name in backquotes in the first column of a table's row.
fn row_name(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix('|')?.trim_start().strip_prefix('`')?.split('`').next()
}

/// Data that nothing uses is dead: a string in the code, or an include of other data, names each file. What tasks turn into other
/// data they may name without its folder, and assembly without its extension.
pub(super) fn used_data(files: &Files, findings: &mut Findings) {
    let strings: Vec<(bool, String)> = files
        .rust(&["src", "xtask"])
        .flat_map(|(name, text)| {
            let of_xtask = is_in(name, "xtask");
            Code::new(text).strings.into_iter().map(move |(_, text)| (of_xtask, text))
        })
        .collect();
    for name in files.names_in("templates").chain(files.names_in("drivers")) {
        let file = name.rsplit('/').next().unwrap_or(name);
        let stem = file.strip_suffix(".asm").unwrap_or(file);
        let in_task = |text: &str| text == file || text == stem;
        let in_code = strings.iter().any(|(of_xtask, text)| text.ends_with(name) || (*of_xtask && in_task(text)));
        if !in_code && !is_included(files, name, file) {
            findings.add(name, 1, "used by nothing: no string in src or xtask names it");
        }
    }
}

/// Whether another template has `%include` or `incbin` with the file's name.
fn is_included(files: &Files, name: &str, file: &str) -> bool {
    let others = files.texts().filter(|(other, _)| is_in(other, "templates") && *other != name);
    let quoted = format!("\"{file}\"");
    others.flat_map(|(_, text)| text.lines()).any(|line| {
        let line = line.trim_start();
        (line.starts_with("%include") || line.contains("incbin")) && line.contains(&quoted)
    })
}

/// The changelog has a place for what is to come.
pub(super) fn changelog(files: &Files, findings: &mut Findings) {
    let name = "CHANGELOG.md";
    if !files.text(name).unwrap_or_default().lines().any(|line| line == "## [Unreleased]") {
        findings.add(name, 1, "no section \"## [Unreleased]\"");
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::findings;

    /// The rule finds exactly one thing, on that line.
    fn one(rule: super::super::Rule, file: &str, line: usize, text: &str) {
        let found = findings(rule, [(file, text)]);
        assert!(found.len() == 1 && found[0].starts_with(&format!("{file}:{line}: ")), "{text:?}: {found:?}");
    }

    fn none(rule: super::super::Rule, file: &str, text: &str) {
        let found = findings(rule, [(file, text)]);
        assert!(found.is_empty(), "{text:?}: {found:?}");
    }

    #[test]
    fn unsafe_code_is_in_one_place() {
        one(unsafe_code, "src/base/io.rs", 2, "\nunsafe { f() }");
        one(unsafe_code, "tests/it/x.rs", 1, "unsafe fn f() {}");
        none(unsafe_code, "src/windows/native/virtdisk.rs", "unsafe { f() }");
        none(unsafe_code, "src/base/io.rs", "// unsafe\n#![deny(unsafe_code)] \"unsafe\"");
    }

    #[test]
    fn files_are_short() {
        one(length, "src/tree.rs", 901, &"\n".repeat(901));
        none(length, "src/tree.rs", &"\n".repeat(900));
    }

    #[test]
    fn modules_say_what_they_are() {
        one(module_documentation, "src/base/io.rs", 1, "use std::io;\n//! late");
        none(module_documentation, "src/base/io.rs", "//! Input.\n");
    }

    #[test]
    fn nothing_is_unfinished() {
        for word in UNFINISHED {
            one(unfinished, "README.md", 2, &format!("\nto be done ({word}: soon)"));
            none(unfinished, "README.md", &format!("{word}A mA{word}"));
        }
        for call in UNFINISHED_MACROS {
            one(unfinished, "xtask/src/main.rs", 2, &format!("\nfn f() {{ {call}() }}"));
            none(unfinished, "xtask/src/main.rs", &format!("// {call}()"));
        }
    }

    #[test]
    fn nothing_outside_is_named() {
        for folder in OUTSIDE_FOLDERS {
            one(outside, "src/tree.rs", 2, &format!("\n// see {folder}x"));
        }
        none(
            outside,
            "README.md",
            &format!("https://example.org{}x ${{HOME}}{}x", OUTSIDE_FOLDERS[0], OUTSIDE_FOLDERS[1]),
        );
    }

    #[test]
    fn blanks_are_spaces_between_words() {
        one(whitespace, "src/tree.rs", 2, "a\n\tb\n");
        one(whitespace, "src/tree.rs", 1, "a \nb\n");
        one(whitespace, "README.md", 1, "a\r\nb\n");
        one(whitespace, "README.md", 2, "a\nb");
        none(whitespace, "templates/SetupComplete.cmd", "a\r\nb\r\n");
        none(whitespace, "tests/data/tabs.txt", "a\tb");
    }

    #[test]
    fn fixtures_and_their_index_agree() {
        let index = ("tests/data/INDEX.md", "| file | from |\n|---|---|\n| `evil/a.wim` | made |\n");
        assert!(findings(fixtures, [index, ("tests/data/evil/a.wim", "x")]).is_empty());
        assert_eq!(
            findings(fixtures, [index, ("tests/data/b.bin", "x")]),
            [
                "tests/data/b.bin:1: not listed in tests/data/INDEX.md",
                "tests/data/INDEX.md:3: lists evil/a.wim, which is not there",
            ]
        );
        assert_eq!(findings(fixtures, [("tests/data/b.bin", "x")]).len(), 1);
    }

    #[test]
    fn data_is_used() {
        let asm = ("templates/boot/mbr.asm", "%include \"lib.inc\"\n");
        let library = ("templates/boot/lib.inc", "");
        let names_it = ("src/image/boot.rs", "include_bytes!(\"../../templates/boot/mbr.asm\");");
        assert!(findings(used_data, [asm, library, names_it]).is_empty());
        assert_eq!(findings(used_data, [asm, library]).len(), 1);
        assert_eq!(findings(used_data, [library, names_it]).len(), 1);
        let comment = ("src/image/boot.rs", "// \"templates/boot/mbr.asm\"");
        assert_eq!(findings(used_data, [asm, comment]).len(), 1);
        let by_name = [("xtask/src/boot.rs", "[\"mbr.asm\"]"), asm];
        assert!(findings(used_data, by_name).is_empty());
        let by_stem = [("xtask/src/boot.rs", "[\"mbr\"]"), asm];
        assert!(findings(used_data, by_stem).is_empty());
        assert_eq!(findings(used_data, [by_stem[0], ("templates/boot/mbr.bin", "")]).len(), 1);
        assert_eq!(findings(used_data, [("drivers/kvm.toml", "")]).len(), 1);
    }

    #[test]
    fn the_changelog_is_open() {
        one(changelog, "CHANGELOG.md", 1, "# Changelog\n## [1.0.0]\n");
        none(changelog, "CHANGELOG.md", "# Changelog\n\n## [Unreleased]\n");
        assert_eq!(findings(changelog, []).len(), 1);
    }
}
