//! `cargo xtask bench`: nanovhd against `mkntfs` and `wimlib-imagex apply`, on a WIM like Nano Server's.
//!
//! Theirs makes a volume, without a disk, a boot sector or a BCD; ours the whole bootable VHD. Both check every SHA-1, read
//! from the page cache and write to memory.

mod codecs;
mod corpus;
mod drivers;
mod forks;
mod measure;
mod packages;
pub(crate) mod parts;
mod targets;
mod windows;

use std::env;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use nanovhd::format::vhd::Vhd;

use crate::shell::{self, Failure, Result, cargo};
use corpus::Corpus;
use measure::{Cost, Spread, cost};

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often each side runs.
    #[arg(long, default_value = "5")]
    rounds: NonZeroUsize,
    /// Measure this program instead of a release build of the sources as they are.
    #[arg(long, value_name = "PROGRAM")]
    ours: Option<PathBuf>,
    /// Only make the WIM.
    #[arg(long)]
    prepare: bool,
}

/// The bars of the project: wall time against theirs, and memory.
const WALL_BAR: f64 = 0.45;
const MEMORY_BAR: f64 = 100e6;
/// Of the build without it, which the check of its result may take on top.
const VERIFY_BAR: f64 = 0.2;

const VOLUME_LEN: u64 = 4 << 30;

const NEEDED: [&str; 4] = ["mkntfs", "python3", "time", "wimlib-imagex"];

pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(missing) = NEEDED.iter().find(|name| shell::find_program(name).is_none()) {
        return Err(Failure::new(format_args!("the benchmark needs the program {missing}")));
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| shell::root().join("target"), PathBuf::from);
    let corpus = Corpus::get(&target.join("bench"))?;
    println!(
        "{}: {:.0} MB of files, {:.0} MB",
        corpus.wim.display(),
        mb(corpus.bytes),
        mb(fs::metadata(&corpus.wim)?.len())
    );
    if args.prepare {
        return Ok(());
    }
    if let Some(load) = load().filter(|load| *load > 0.5) {
        println!("the machine is busy (load {load}): wall times will be too long, processor times are right");
    }
    shell::run(cargo().args(["build", "--quiet", "--release", "--workspace"]))?;
    let release = |name: &str| target.join("release").join(format!("{name}{}", env::consts::EXE_SUFFIX));
    let ours = args.ours.as_ref().map_or_else(|| Ok(release("nanovhd")), fs::canonicalize)?;
    let worker = codecs::Worker(release("xtask"));
    let rounds = args.rounds.get();
    let processor = whole(&ours, &corpus, rounds)?;
    targets::compare(&ours, &corpus.wim, rounds)?;
    forks::measure(&ours, &corpus.wim, rounds)?;
    drivers::measure(&ours, rounds)?;
    packages::measure(&ours, rounds)?;
    codecs::compare(&worker, &corpus, rounds)?;
    codecs::sum_up(&worker, &corpus, processor, rounds)
}

/// How many programs wanted to run during the last minute, where the system tells.
fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// The whole way, ours and theirs in turns. Returns the processor time of ours.
fn whole(ours: &Path, corpus: &Corpus, rounds: usize) -> Result<f64> {
    drop(fs::read(&corpus.wim)?); // into the page cache
    let (mut our_runs, mut unverified, mut their_runs) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        our_runs.push(build(ours, &corpus.wim, &[])?);
        unverified.push(build(ours, &corpus.wim, &["--no-verify"])?);
        their_runs.push(apply(&corpus.wim)?);
    }
    print_comparison(&our_runs, &their_runs);
    print_verification(&our_runs, &unverified);
    Ok(Spread::of(&our_runs, Cost::processor).median)
}

/// A folder for output, in memory where there is such a thing.
fn output_folder() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { memory.to_path_buf() } else { env::temp_dir() };
    Ok(tempfile::Builder::new().prefix("nanovhd-bench-").tempdir_in(folder)?)
}

fn build(program: &Path, wim: &Path, options: &[&str]) -> Result<Cost> {
    let folder = output_folder()?;
    let vhd = folder.path().join("nano.vhd");
    let mut command = shell::command(program);
    command.args(["build", "--image", "1", "--size", "4GiB", "--force", "--wim"]).arg(wim).arg("--output").arg(&vhd);
    command.args(options);
    let cost = cost(&command)?;
    let made = Vhd::open(fs::read(vhd)?)?;
    match made.footer().current_size {
        VOLUME_LEN => Ok(cost),
        other => Err(Failure::new(format_args!("a disk of {other} bytes instead of {VOLUME_LEN}"))),
    }
}

fn apply(wim: &Path) -> Result<Cost> {
    let folder = output_folder()?;
    let volume = folder.path().join("volume.img");
    fs::File::create(&volume)?.set_len(VOLUME_LEN)?;
    let mut format = shell::command("mkntfs");
    format.args(["-Q", "-F"]).arg(&volume);
    let mut apply = shell::command("wimlib-imagex");
    apply.arg("apply").arg(wim).arg("1").arg(&volume);
    Ok(cost(&format)?.then(cost(&apply)?))
}

/// A line of the table.
type Figure = (&'static str, fn(Cost) -> f64);

fn print_comparison(ours: &[Cost], theirs: &[Cost]) {
    println!("\n{:<26} {:>24} {:>24} {:>7}", "median (min..max)", "nanovhd build", "mkntfs + wimlib apply", "ratio");
    let figures: [Figure; 4] = [
        ("wall, s", |cost| cost.wall),
        ("user, s", |cost| cost.user),
        ("system, s", |cost| cost.system),
        ("peak memory, MB", |cost| mb(cost.memory)),
    ];
    for (name, figure) in figures {
        let (our, their) = (Spread::of(ours, figure), Spread::of(theirs, figure));
        let cell = |s: Spread| format!("{:.2} ({:.2}..{:.2})", s.median, s.min, s.max);
        println!("{name:<26} {:>24} {:>24} {:>7.2}", cell(our), cell(their), our.median / their.median);
    }
    let wall = |runs: &[Cost]| Spread::of(runs, |cost| cost.wall).median;
    let memory = Spread::of(ours, |cost| cost.memory as f64).max;
    println!("\nwall time at most {WALL_BAR} of theirs: {}", verdict(wall(ours) <= WALL_BAR * wall(theirs)));
    println!("memory at most {:.0} MB: {}", MEMORY_BAR / 1e6, verdict(memory <= MEMORY_BAR));
}

/// What checking the finished disk adds to a build.
fn print_verification(verified: &[Cost], unverified: &[Cost]) {
    let added =
        |figure: fn(Cost) -> f64| Spread::of(verified, figure).median / Spread::of(unverified, figure).median - 1.0;
    let (wall, processor) = (added(|cost| cost.wall), added(Cost::processor));
    println!(
        "\nverifying adds {:.0} % to the wall time, {:.0} % to the processor time",
        100.0 * wall,
        100.0 * processor
    );
    println!("wall time at most {:.0} % more: {}", 100.0 * VERIFY_BAR, verdict(wall <= VERIFY_BAR));
}

fn verdict(good: bool) -> &'static str {
    if good { "met" } else { "MISSED" }
}

/// Megabytes of 1,000,000.
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
