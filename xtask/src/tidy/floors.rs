//! The house: a module uses only what is on lower floors.

use super::Findings;
use super::code::{Code, Path};
use super::files::Files;

/// The modules of the crate, with their floors.
const FLOORS: &[(&str, u8)] = &[
    ("base", 0),
    ("error", 0),
    ("codec", 1),
    ("tree", 1),
    ("format", 2),
    ("windows", 3),
    ("verify", 4),
    ("image", 5),
    ("cli", 6),
];

/// Modules that may use each other although neither is lower.
const SIDEWAYS: &[(&str, &str)] = &[("base", "error"), ("error", "base")];

/// The same between formats.
const SIDEWAYS_FORMATS: &[(&str, &str)] = &[("bcd", "hive")];

/// Modules that know neither paths nor the clock nor a terminal.
const PURE: &[&str] = &["base", "codec", "error", "format", "tree", "verify"];

const HOST: &[&str] = &["env", "fs", "net", "path", "process", "time"];

/// Last segments of paths to the clock and to randomness.
const CHANGING: &[&str] = &["new_v4", "now", "now_utc", "now_v1", "now_v6", "now_v7", "random"];

const PRINTING: &[&str] = &["eprint!", "eprintln!", "print!", "println!"];

/// Files of the crate's root, which see every floor.
const ROOT: [&str; 2] = ["src/lib.rs", "src/main.rs"];

/// Every path from one module of the crate to another goes to a lower floor, or sideways where that is allowed.
pub(super) fn layering(files: &Files, findings: &mut Findings) {
    for (name, text) in files.rust(&["src"]).filter(|(name, _)| !ROOT.contains(name)) {
        let module = module_of(name);
        if floor(&module[0]).is_none() {
            findings.add(name, 1, format_args!("module {} has no floor in the house", module[0]));
            continue;
        }
        for path in Code::new(text).paths() {
            let Some(target) = resolve(&path, &module) else { continue };
            if let Err(why) = check(&module, &target) {
                findings.add(name, path.line, format_args!("{} uses crate::{}: {why}", module[0], target.join("::")));
            }
        }
    }
}

/// Formats and what is below them have no paths, no files, no clock, no randomness and print nothing, tests apart.
pub(super) fn purity(files: &Files, findings: &mut Findings) {
    for (name, text) in files.rust(&["src"]).filter(|(name, _)| !ROOT.contains(name)) {
        let module = module_of(name);
        let is_tests = module.iter().any(|part| part == "tests");
        if is_tests || !PURE.contains(&module[0].as_str()) {
            continue;
        }
        for path in Code::new(text).paths().iter().filter(|path| !path.in_tests) {
            if is_impure(&path.segments) {
                findings.add(
                    name,
                    path.line,
                    format_args!("{} has no place in {}", path.segments.join("::"), module[0]),
                );
            }
        }
    }
}

fn is_impure(segments: &[String]) -> bool {
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        ["std", host, ..] => HOST.contains(host),
        [only] => PRINTING.contains(only),
        [.., last] => CHANGING.contains(last),
        [] => false,
    }
}

/// The path of the module that a file is, without `crate`.
fn module_of(file: &str) -> Vec<String> {
    let inner = file.trim_start_matches("src/").trim_end_matches(".rs");
    inner.split('/').filter(|part| *part != "mod").map(str::to_string).collect()
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// The path from the crate's root, or `None` if it leads out of the crate or is relative to a name.
fn resolve(path: &Path, module: &[String]) -> Option<Vec<String>> {
    let mut base: Vec<String> = module.iter().chain(&path.modules).cloned().collect();
    let mut rest = path.segments.as_slice();
    match rest.first().map(String::as_str) {
        Some("crate") => {
            base.clear();
            rest = &rest[1..];
        }
        Some("self") => rest = &rest[1..],
        Some("super") => {
            while rest.first().is_some_and(|segment| segment == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        _ => return None,
    }
    base.extend_from_slice(rest);
    Some(base)
}

fn check(from: &[String], to: &[String]) -> Result<(), String> {
    let Some(target) = to.first() else { return Err("the root of the crate is above every floor".to_string()) };
    let Some(to_floor) = floor(target) else { return Err(format!("module {target} has no floor in the house")) };
    let from_floor = floor(&from[0]).unwrap_or_default();
    if from[0] == *target {
        return if target == "format" { check_formats(from, to) } else { Ok(()) };
    }
    if to_floor < from_floor || SIDEWAYS.contains(&(from[0].as_str(), target)) {
        return Ok(());
    }
    Err(format!("floor {to_floor} is not below floor {from_floor}"))
}

fn check_formats(from: &[String], to: &[String]) -> Result<(), String> {
    match (from.get(1), to.get(1)) {
        (Some(from), Some(to)) if from == to || SIDEWAYS_FORMATS.contains(&(from, to)) => Ok(()),
        (None, _) => Ok(()), // src/format/mod.rs, which lists them
        _ => Err("formats do not know each other, but for bcd, which is made of hives".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::tests::findings;

    fn layering_of(file: &str, text: &str) -> Vec<String> {
        findings(layering, [(file, text)])
    }

    #[test]
    fn lower_floors_are_free() {
        let text =
            "use crate::base::Name;\nuse crate::{error::Error, tree::Tree};\nuse super::ondisk::A;\nuse self::b::C;";
        assert!(layering_of("src/format/wim/read.rs", text).is_empty());
        assert!(layering_of("src/format/bcd/mod.rs", "use crate::format::hive::Hive;").is_empty());
        assert!(layering_of("src/format/bcd/mod.rs", "use super::hive::Hive;").is_empty());
        assert!(layering_of("src/error.rs", "use crate::base::Name;").is_empty());
        assert!(layering_of("src/lib.rs", "pub use crate::cli::run;").is_empty());
        assert!(layering_of("src/format/vhd.rs", "/// See crate::cli::run.\n// crate::image::x\nfn f() {}").is_empty());
        assert!(layering_of("src/base/io.rs", "#[cfg(test)]\nmod tests { use super::super::name::Name; }").is_empty());
    }

    #[test]
    fn higher_floors_are_out_of_reach() {
        for (file, text) in [
            ("src/base/io.rs", "\nuse crate::tree::Tree;"),
            ("src/codec/lzx.rs", "\nuse crate::tree::Tree;"),
            ("src/tree.rs", "\nuse crate::codec::lzx;"),
            ("src/format/wim/read.rs", "\nuse crate::{base::Name, format::{ntfs::Plan}};"),
            ("src/format/wim/read.rs", "\nfn f() { super::super::ntfs::plan() }"),
            ("src/format/wim/read.rs", "\nuse super::super::super::image::Plan;"),
            ("src/format/hive/mod.rs", "\nuse crate::format::bcd::Store;"),
            ("src/windows/boot.rs", "\nfn f(x: &crate::image::Plan) {}"),
            ("src/image/mod.rs", "\nuse crate::cli::Args;"),
            ("src/image/mod.rs", "\nuse crate::*;"),
            ("src/image/mod.rs", "\nuse crate::Error;"),
            ("src/base/io.rs", "\nmod tests { use super::super::super::tree::Tree; }"),
        ] {
            let found = layering_of(file, text);
            assert_eq!(found.len(), 1, "{file} {text}: {found:?}");
            assert!(found[0].starts_with(&format!("{file}:2: ")), "{found:?}");
        }
        assert_eq!(layering_of("src/helpers/mod.rs", "").len(), 1);
    }

    #[test]
    fn formats_do_not_touch_the_host() {
        for text in [
            "\nuse std::fs;",
            "\nuse std::{io, path::PathBuf};",
            "\nfn f() { std::env::var(\"X\"); }",
            "\nuse std::time::SystemTime;",
            "\nfn f() { println!(\"x\"); }",
            "\nfn f() { eprint!(\"x\"); }",
            "\nfn f() { Uuid::new_v4(); }",
            "\nfn f() { jiff::Timestamp::now(); }",
        ] {
            for file in ["src/format/ntfs/plan.rs", "src/base/io.rs", "src/codec/lzx.rs", "src/tree.rs"] {
                let found = findings(purity, [(file, text)]);
                assert!(found.len() == 1 && found[0].starts_with(&format!("{file}:2: ")), "{text}: {found:?}");
            }
            assert!(findings(purity, [("src/image/build.rs", text)]).is_empty());
            assert!(findings(purity, [("src/format/vhd/tests.rs", text)]).is_empty());
            let inside = format!("#[cfg(test)]\nmod checks {{ {text} }}");
            assert!(findings(purity, [("src/codec/lzx.rs", inside.as_str())]).is_empty());
        }
        assert!(findings(purity, [("src/base/io.rs", "use std::io;\nuse std::sync::Arc;")]).is_empty());
    }
}
