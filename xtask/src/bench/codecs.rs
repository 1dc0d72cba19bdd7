//! Megabytes per second and core: each codec against wimlib's, and the whole way against the sum of its parts.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha1::{Digest, Sha1};

use super::corpus::{Corpus, files_below};
use super::measure::{Cost, Spread, cost};
use super::{mb, output_folder, parts};
use crate::shell::{self, Result};

/// Every so many files make the part of the corpus that is compressed in each way: compressing all of it takes minutes.
const SUBSET: usize = 5;

/// The ways, as wimlib names them.
const CODECS: [(&str, &[&str]); 4] = [
    ("XPRESS", &["--compress=XPRESS"]),
    ("LZX", &["--compress=LZX"]),
    ("LZMS", &["--compress=LZMS"]),
    ("LZMS, solid", &["--compress=LZX", "--solid"]),
];

/// The bar of the project for each codec: the speed against wimlib's.
const CODEC_BAR: f64 = 0.85;

/// The program that runs [`super::parts`]: this one, built for speed.
pub(super) struct Worker(pub(super) PathBuf);

impl Worker {
    fn command(&self, part: &str, file: Option<&Path>) -> Command {
        let mut command = shell::command(&self.0);
        command.args(["bench-part", part]).args(file);
        command
    }
}

/// Prints the codecs' speeds.
pub(super) fn compare(worker: &Worker, corpus: &Corpus, rounds: usize) -> Result<()> {
    let subset = corpus.wim.with_file_name("subset");
    link_subset(&corpus.files, &subset)?;
    let bytes = distinct_bytes(&subset)?;
    println!("\n{:.0} MB of distinct files; MB/s of processor time, decoded and hashed", mb(bytes));
    println!("{:<14} {:>10} {:>10} {:>10}", "codec", "nanovhd", "wimlib", "ratio");
    for (name, options) in CODECS {
        let wim = corpus.wim.with_file_name(format!("{}.wim", name.replace(", ", "-").to_lowercase()));
        if !wim.is_file() {
            capture(&subset, &wim, options)?;
        }
        let mut verify = shell::command("wimlib-imagex");
        verify.arg("verify").arg(&wim);
        let decode = worker.command("decode", Some(&wim));
        let (mut our_runs, mut their_runs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            our_runs.push(cost(&decode)?);
            their_runs.push(cost(&verify)?);
        }
        let speed = |runs: &[Cost]| mb(bytes) / Spread::of(runs, |cost| cost.user).median;
        let ratio = speed(&our_runs) / speed(&their_runs);
        let verdict = super::verdict(ratio >= CODEC_BAR);
        println!("{name:<14} {:>10.0} {:>10.0} {ratio:>10.2} {verdict}", speed(&our_runs), speed(&their_runs));
    }
    Ok(())
}

/// Prints the processor time of the parts, and how far the whole is from their sum.
pub(super) fn sum_up(worker: &Worker, corpus: &Corpus, whole: f64, rounds: usize) -> Result<()> {
    let bytes = mb(distinct_bytes(&corpus.files)?);
    let folder = output_folder()?;
    let file = folder.path().join("sample");
    let measure = |command: Command| -> Result<f64> {
        let runs = (0..rounds).map(|_| cost(&command)).collect::<Result<Vec<_>>>()?;
        Ok(Spread::of(&runs, Cost::processor).median)
    };
    let per_megabyte = |seconds: f64| seconds / mb(parts::SAMPLE);
    let hash = per_megabyte(measure(worker.command("hash", None))?);
    let write = per_megabyte(measure(worker.command("write", Some(&file)))?);
    let decode_and_hash = measure(worker.command("decode", Some(&corpus.wim)))?;
    let decode = decode_and_hash / bytes - hash;
    println!("\n{bytes:.0} MB of distinct files from the whole WIM; processor time, one thread");
    for (name, seconds) in [("decode", decode), ("hash", hash), ("write", write)] {
        println!("{name:<14} {:>7.2} s {:>7.0} MB/s", seconds * bytes, 1.0 / seconds);
    }
    let sum = (decode + hash + write) * bytes;
    println!("{:<14} {sum:>7.2} s", "their sum");
    println!("{:<14} {whole:>7.2} s, {:.2} of the sum", "nanovhd build", whole / sum);
    Ok(())
}

fn capture(folder: &Path, wim: &Path, options: &[&str]) -> Result<()> {
    println!("making {}", wim.display());
    let partial = wim.with_extension("partial");
    shell::output(
        shell::command("wimlib-imagex").arg("capture").arg(folder).arg(&partial).arg("Subset").args(options),
    )?;
    Ok(fs::rename(partial, wim)?)
}

/// Every [`SUBSET`]th file, under numbers as names.
fn link_subset(files: &Path, subset: &Path) -> Result<()> {
    if subset.is_dir() {
        return Ok(());
    }
    let partial = subset.with_extension("partial");
    fs::create_dir_all(&partial)?;
    for (number, file) in files_below(files)?.iter().step_by(SUBSET).enumerate() {
        fs::copy(file, partial.join(format!("{number:05}")))?;
    }
    Ok(fs::rename(partial, subset)?)
}

/// How many bytes a WIM of the folder's files holds: equal files are one.
fn distinct_bytes(folder: &Path) -> Result<u64> {
    let mut distinct = HashMap::new();
    for file in files_below(folder)? {
        let bytes = fs::read(file)?;
        distinct.insert(Sha1::digest(&bytes), bytes.len() as u64);
    }
    Ok(distinct.values().sum())
}
