//! What made packages come to in the made image, word for word.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use nanovhd::format::cab::Cabinet;
use nanovhd::format::wim::Wim;
use nanovhd::image::{Source, demo};
use nanovhd::tree::Tree;
use nanovhd::windows::packages::installed::Installed;
use nanovhd::windows::packages::{Bundle, Verified, resolve, verify};

use super::elements;
use crate::support::packages::{Files, Package};

fn golden(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/packages/{case}.txt"))
}

/// The files of the made image.
pub(super) fn image() -> Arc<Tree> {
    static IMAGE: OnceLock<Arc<Tree>> = OnceLock::new();
    let made = || {
        let wim = Wim::open(vec![Arc::new(super::wim().to_vec())]).unwrap();
        Arc::new(Source::of_wim(&wim, "demo.wim", demo::IMAGE).unwrap().tree)
    };
    Arc::clone(IMAGE.get_or_init(made))
}

/// Files of a package out of a cabinet, checked.
pub(super) fn verified(files: &Files, base: Option<&[u8]>) -> nanovhd::error::Result<Verified> {
    checked(files.cabinet(), base)
}

/// What is in a cabinet, checked.
pub(super) fn checked(cabinet: Vec<u8>, base: Option<&[u8]>) -> nanovhd::error::Result<Verified> {
    let (tree, _) = Cabinet::open(Arc::new(cabinet))?.into_tree(|_| true)?;
    verify(Bundle::read("made.cab".into(), Arc::new(tree))?, base)
}

fn plan(packages: &[Package]) -> String {
    let bundles: Vec<Verified> =
        packages.iter().map(|package| verified(&package.clone().unsigned().files(), None).unwrap()).collect();
    let installed = Installed::read(&image()).unwrap();
    let options = resolve::Options { ignore_check: false, threads: NonZeroUsize::new(2).unwrap() };
    let planned = resolve::plan(&bundles, &installed, &options).unwrap();
    let mut text = planned.plan.to_string();
    planned.problems.iter().for_each(|problem| text.push_str(&format!("problem: {}\n", problem.text)));
    planned.warnings.iter().for_each(|warning| text.push_str(&format!("warning: {warning}\n")));
    text
}

#[test]
fn are_what_they_were() {
    for (case, packages) in elements::cases() {
        let expected = fs::read_to_string(golden(case)).unwrap_or_default().replace("\r\n", "\n");
        let found = plan(&packages);
        assert!(found == expected, "{case}: another plan; write_plans makes it anew\n{found}");
    }
}

/// `cargo test --test it write_plans -- --ignored`: then read what `git diff` says.
#[test]
#[ignore = "writes the fixtures anew"]
fn write_plans() {
    for (case, packages) in elements::cases() {
        fs::create_dir_all(golden(case).parent().unwrap()).unwrap();
        fs::write(golden(case), plan(&packages)).unwrap();
    }
}
