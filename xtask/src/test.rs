//! `cargo xtask test`: everything that has to hold, in order, up to the first failure.

use std::time::{Duration, Instant};

use crate::shell::{self, Failure, Result, cargo};
use crate::{boot, docs, tidy, tools};

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install nothing: tests whose tools are missing are skipped.
    #[arg(long)]
    no_install: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut steps = Steps::default();
    let mut all_tools = false;
    steps.run("foreign tools", || {
        all_tools = tools::provide(!args.no_install)?;
        Ok(())
    })?;
    steps.run("format", || shell::run(cargo().args(["fmt", "--all", "--check"])))?;
    steps.run("clippy", || {
        shell::run(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    steps.run("tidy", tidy::run)?;
    steps.run("boot programs", || match shell::find_program("nasm") {
        Some(_) => Ok(boot::run(true)?),
        None => {
            println!("SKIPPED: nasm is missing");
            Ok(())
        }
    })?;
    steps.run("made pages", || docs::run(true))?;
    steps.run("unit tests", || shell::run(cargo().args(["test", "--quiet", "--workspace", "--lib", "--bins"])))?;
    steps.run("documentation tests", || shell::run(cargo().args(["test", "--quiet", "--workspace", "--doc"])))?;
    steps.run("integration tests", || {
        let mut tests = cargo();
        tests.args(["test", "--test", "it"]);
        if all_tools {
            tests.env("NANOVHD_REQUIRE_TOOLS", "1");
        }
        shell::run(&mut tests)
    })?;
    steps.run("documentation", || {
        let mut doc = cargo();
        doc.args(["doc", "--quiet", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        shell::run(&mut doc)
    })?;
    steps.summary();
    Ok(())
}

/// The steps so far, with the time that each took.
#[derive(Default)]
struct Steps(Vec<(&'static str, Duration)>);

impl Steps {
    fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("\n== {name}");
        let start = Instant::now();
        step().map_err(|failure| Failure::new(format_args!("step \"{name}\" failed: {failure}")))?;
        println!("== {name}: {:.1} s", start.elapsed().as_secs_f64());
        self.0.push((name, start.elapsed()));
        Ok(())
    }

    fn summary(&self) {
        println!("\nall passed:");
        for (name, time) in &self.0 {
            println!("  {name:<22} {:>6.1} s", time.as_secs_f64());
        }
        println!("  {:<22} {:>6.1} s", "all", self.0.iter().map(|(_, time)| time.as_secs_f64()).sum::<f64>());
    }
}
