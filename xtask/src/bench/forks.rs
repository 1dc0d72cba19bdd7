//! Twenty machines forked from one base: how long that takes, and how much they hold.

use std::fs;
use std::path::Path;

use super::measure::{Spread, cost};
use super::{mb, output_folder};
use crate::shell::{self, Result};

const CHILDREN: usize = 20;

pub(super) fn measure(ours: &Path, wim: &Path, rounds: usize) -> Result<()> {
    for extension in ["vhdx", "vhd"] {
        let folder = output_folder()?;
        let base = folder.path().join(format!("base.{extension}"));
        let mut build = shell::command(ours);
        build.args(["build", "--image", "1", "--size", "4GiB", "--wim"]).arg(wim).arg("--output").arg(&base);
        shell::output(&mut build)?;
        let names = (1..=CHILDREN).map(|number| folder.path().join(format!("web{number:02}.{extension}")));
        let names: Vec<_> = names.collect();
        let mut runs = Vec::new();
        for _ in 0..rounds {
            let mut fork = shell::command(ours);
            fork.args(["fork", "--force", "--computer-name", "{name}"]).arg(&base).args(&names);
            runs.push(cost(&fork)?);
        }
        let lengths: u64 = names.iter().map(|name| Ok(fs::metadata(name)?.len())).sum::<Result<u64>>()?;
        println!(
            "\n{CHILDREN} forks of a {extension}, each with a name of its own and checked with its chain: {:.2} s wall, {:.2} s of \
             processor time, {:.1} MB in all, peak memory {:.1} MB (the base has {:.0} MB)",
            Spread::of(&runs, |cost| cost.wall).median,
            Spread::of(&runs, super::Cost::processor).median,
            mb(lengths),
            mb(Spread::of(&runs, |cost| cost.memory as f64).max as u64),
            mb(fs::metadata(&base)?.len()),
        );
    }
    Ok(())
}
