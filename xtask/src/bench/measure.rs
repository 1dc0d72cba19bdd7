//! Programs measured from outside: wall clock, processor time, memory.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::shell::{self, Failure, Result};

/// What a run took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Cost {
    /// Seconds by the clock on the wall.
    pub(super) wall: f64,
    /// Seconds of processor time in the program.
    pub(super) user: f64,
    /// Seconds of processor time in the kernel.
    pub(super) system: f64,
    /// The largest resident set, in bytes.
    pub(super) memory: u64,
}

impl Cost {
    /// Processor time.
    pub(super) fn processor(self) -> f64 {
        self.user + self.system
    }

    /// One program after another.
    pub(super) fn then(self, next: Self) -> Self {
        Self {
            wall: self.wall + next.wall,
            user: self.user + next.user,
            system: self.system + next.system,
            memory: self.memory.max(next.memory),
        }
    }
}

/// Runs a program under GNU time, quietly, and fails if the program does.
pub(super) fn cost(command: &Command) -> Result<Cost> {
    let report = tempfile::NamedTempFile::new()?;
    let mut time = shell::command("time");
    time.args(["--quiet", "--format=%U %S %M", "--output"]).arg(report.path());
    time.arg(command.get_program()).args(command.get_args());
    let start = Instant::now();
    shell::output(&mut time)?;
    let wall = start.elapsed();
    let text = fs::read_to_string(report.path())?;
    parse(&text, wall).ok_or_else(|| Failure::new(format_args!("not what GNU time prints: {text:?}")))
}

fn parse(report: &str, wall: Duration) -> Option<Cost> {
    let mut fields = report.split_whitespace();
    let user = fields.next()?.parse().ok()?;
    let system = fields.next()?.parse().ok()?;
    let kibibytes: u64 = fields.next()?.parse().ok()?;
    Some(Cost { wall: wall.as_secs_f64(), user, system, memory: kibibytes * 1024 })
}

/// The least, the middle and the largest of some runs' figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of at least one run.
    pub(super) fn of(runs: &[Cost], figure: impl Fn(Cost) -> f64) -> Self {
        let mut figures: Vec<f64> = runs.iter().map(|cost| figure(*cost)).collect();
        figures.sort_by(f64::total_cmp);
        let last = figures.len() - 1;
        Self { min: figures[0], median: (figures[last / 2] + figures[last.div_ceil(2)]) / 2.0, max: figures[last] }
    }
}

/// Builds the demo's image without and with what `arguments` add, and says how much longer that takes than it may. The corpus is no whole
/// Windows; the demo's image is.
pub(super) fn on_top(
    ours: &Path,
    folder: &Path,
    rounds: usize,
    what: &str,
    bar: f64,
    arguments: impl Fn(&mut Command),
) -> Result<()> {
    let (wim, output) = (folder.join("demo.wim"), folder.join("demo.vhd"));
    let mut demo = shell::command(ours);
    demo.args(["demo", "--force", "--keep-wim"]).arg(&wim).arg("--output").arg(&output);
    shell::output(&mut demo)?;
    let run = |with: bool| {
        let mut build = shell::command(ours);
        build.args(["build", "--force", "--image", "1", "--wim"]).arg(&wim).arg("--output").arg(&output);
        if with {
            arguments(&mut build);
        }
        cost(&build)
    };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        without.push(run(false)?);
        with.push(run(true)?);
    }
    let wall = |runs: &[Cost]| Spread::of(runs, |cost| cost.wall).median;
    let more = wall(&with) - wall(&without);
    println!(
        "\n{what}: {:.2} s wall, {:.2} s without them: {more:.2} s more; at most {bar} s: {}",
        wall(&with),
        wall(&without),
        if more <= bar { "met" } else { "NOT met" }
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_time_prints() {
        let cost = parse("1.25 0.50 2048\n", Duration::from_millis(900)).unwrap();
        assert_eq!(cost, Cost { wall: 0.9, user: 1.25, system: 0.5, memory: 2 << 20 });
        assert_eq!(parse("Command exited with non-zero status 1\n", Duration::ZERO), None);
        let both = cost.then(Cost { wall: 1.0, user: 0.0, system: 0.0, memory: 1 });
        assert_eq!((both.wall, both.memory, both.processor()), (1.9, 2 << 20, 1.75));
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let runs = |walls: &[f64]| walls.iter().map(|wall| Cost { wall: *wall, ..Cost::default() }).collect::<Vec<_>>();
        let spread = |walls| Spread::of(&runs(walls), |cost| cost.wall);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(spread(&[4.0, 1.0]), Spread { min: 1.0, median: 2.5, max: 4.0 });
        assert_eq!(spread(&[5.0]).median, 5.0);
    }
}
