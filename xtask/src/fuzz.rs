//! `cargo xtask fuzz`: random damage to good images and to packed manifests, in the release build.

use crate::shell::{self, Result, cargo};

/// Arguments of `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many damaged images to check.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    runs: u64,
    /// The number of the first of them. Each number stands for one damage: a failure names its own.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Runs the tests of `tests/it/corruptions.rs` and `tests/it/pa30.rs`, which show what came of it.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut test = cargo();
    test.args(["test", "--release", "--test", "it", "--", "corruptions", "--nocapture"]);
    test.env("NANOVHD_CORRUPTIONS", args.runs.to_string());
    test.env("NANOVHD_CORRUPTIONS_FIRST", args.seed.to_string());
    shell::run(&mut test)
}
