//! Tasks of the project that are not the program: `cargo xtask`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "these are commands for a terminal")]

mod bench;
mod boot;
mod docs;
mod fuzz;
mod shell;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the nanovhd project.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Check everything: format, lints, the rules of the project, all tests, the documentation.
    Test(test::Args),
    /// Check the rules of the project that neither the compiler nor clippy knows.
    Tidy,
    /// Assemble the boot programs of templates/boot.
    Boot {
        /// Only check that they are what their sources give.
        #[arg(long)]
        check: bool,
    },
    /// Write the pages of docs/ that are made from the code.
    Docs {
        /// Only check that they are what the code gives.
        #[arg(long)]
        check: bool,
    },
    /// Damage good images at random, and check them.
    Fuzz(fuzz::Args),
    /// Measure the release build against mkntfs and wimlib.
    Bench(bench::Args),
    /// Run a part of the way alone, for the benchmark.
    #[command(hide = true)]
    BenchPart {
        #[command(subcommand)]
        part: bench::parts::Part,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Test(args) => test::run(&args),
        Task::Tidy => tidy::run(),
        Task::Boot { check } => boot::run(check).map_err(Into::into),
        Task::Docs { check } => docs::run(check),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::BenchPart { part } => bench::parts::run(&part),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
