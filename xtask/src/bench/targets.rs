//! Four targets in one run against four runs: what sharing the decode is worth.

use std::ffi::OsString;
use std::path::Path;

use super::measure::{Cost, Spread, cost};
use super::{mb, output_folder, verdict};
use crate::shell::{self, Result};

const TARGETS: [&str; 4] = ["hyperv-gen1", "hyperv-gen2", "virtualbox", "azure-gen1"];
/// Of the wall time of the runs one after the other.
const BAR: f64 = 0.5;

pub(super) fn compare(ours: &Path, wim: &Path, rounds: usize) -> Result<()> {
    let (mut together, mut apart) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        together.push(build(ours, wim, &TARGETS)?);
        let mut sum = Cost::default();
        for target in TARGETS {
            sum = sum.then(build(ours, wim, &[target])?);
        }
        apart.push(sum);
    }
    let wall = |runs: &[Cost]| Spread::of(runs, |cost| cost.wall).median;
    let processor = |runs: &[Cost]| Spread::of(runs, Cost::processor).median;
    println!("\ntargets {}:", TARGETS.join(", "));
    println!("  one run    {:.2} s wall, {:.2} s of processor time", wall(&together), processor(&together));
    println!("  four runs  {:.2} s wall, {:.2} s of processor time", wall(&apart), processor(&apart));
    let memory = Spread::of(&together, |cost| cost.memory as f64).max;
    let ratio = wall(&together) / wall(&apart);
    println!("  ratio {ratio:.2}, peak memory {:.1} MB", mb(memory as u64));
    println!("  wall time at most {BAR} of four runs: {}", verdict(ratio <= BAR));
    Ok(())
}

fn build(program: &Path, wim: &Path, targets: &[&str]) -> Result<Cost> {
    let folder = output_folder()?;
    let mut command = shell::command(program);
    command.args(["build", "--image", "1", "--size", "4GiB", "--wim"]).arg(wim);
    for target in targets {
        command.arg("--target").arg(target);
    }
    let mut output = OsString::from("--output=");
    output.push(folder.path().join("nano"));
    command.arg(output);
    cost(&command)
}
