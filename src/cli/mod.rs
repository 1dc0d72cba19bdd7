//! Floor 6: the command line. One file per command; words, progress and exit codes here and nowhere below.

mod args;
mod bcd;
mod build;
mod capture;
mod cat;
mod convert;
mod coverage;
mod demo;
mod diff;
mod disk;
mod drivers;
mod edit;
mod exit;
mod extract;
mod fork;
mod info;
mod ls;
mod media;
mod output;
mod pack;
mod packages;
mod progress;
mod reg;
mod setup;
mod sources;
mod values;
mod verify;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;

use clap::Parser;

use crate::error::{Error, Result};
use crate::image::Control;
use args::{Args, Command};

/// What a command sees of the world: the tests give it a world of their own.
pub struct Env<'w> {
    /// Results go here.
    pub stdout: &'w mut dyn Write,
    /// Everything else that is for people goes here.
    pub stderr: &'w mut dyn Write,
    /// Whether a person watches: progress is shown only then.
    pub watched: bool,
    /// `SOURCE_DATE_EPOCH`, if it is set (see reproducible-builds.org).
    pub source_date_epoch: Option<String>,
    /// How many threads to work on.
    pub threads: NonZeroUsize,
    /// Progress and interruption.
    pub control: Arc<Control>,
}

/// Runs the program on the process's own arguments and streams; gives its exit code.
pub fn main() -> u8 {
    start_log();
    let control = Arc::new(Control::default());
    stop_on_signals(&control);
    let mut env = Env {
        stdout: &mut io::stdout().lock(),
        stderr: &mut io::stderr(),
        watched: io::stderr().is_terminal(),
        source_date_epoch: std::env::var("SOURCE_DATE_EPOCH").ok(),
        threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        control,
    };
    run(std::env::args_os(), &mut env)
}

/// Runs the program on `args`, the program's name first; gives its exit code.
pub fn run(args: impl IntoIterator<Item = OsString>, env: &mut Env<'_>) -> u8 {
    let args = match Args::try_parse_from(args) {
        Ok(args) => args,
        Err(error) => {
            // Help and version are "errors" of clap that go to standard output and succeed.
            let stream = if error.use_stderr() { &mut *env.stderr } else { &mut *env.stdout };
            let _ = write!(stream, "{}", error.render());
            return error.exit_code() as u8;
        }
    };
    let json = args.json;
    let outcome = match args.command {
        Command::Build(command) => build::run(&command, json, env),
        Command::Edit(command) => edit::run(&command, json, env),
        Command::Fork(command) => fork::run(&command, json, env),
        Command::Capture(command) => capture::run(&command, json, env),
        Command::Convert(command) => convert::run(&command, json, env),
        Command::Pack(command) => pack::run(&command, json, env),
        Command::Info(command) => info::run(&command, json, env),
        Command::Ls(command) => ls::run(&command, json, env),
        Command::Cat(command) => cat::run(&command, env),
        Command::Extract(command) => extract::run(&command, json, env),
        Command::Reg(command) => reg::run(&command, json, env),
        Command::Bcd(command) => bcd::run(&command, json, env),
        Command::Drivers(command) => drivers::run(&command, json, env),
        Command::Packages(command) => packages::run(&command, json, env),
        Command::Verify(command) => return finish(verify::run(&command, json, env), json, env),
        Command::Diff(command) => return finish(diff::run(&command, json, env), json, env),
        Command::Demo(command) => demo::run(&command, json, env),
    };
    finish(outcome.map(|()| 0), json, env)
}

/// The exit code of what a command came to; an error is told first.
fn finish(outcome: Result<u8>, json: bool, env: &mut Env<'_>) -> u8 {
    match outcome {
        Ok(code) => code,
        Err(error) => {
            let code = exit::code(error.kind());
            // If even this cannot be written, the exit code is all there is left to say.
            let _ = report(&error, code, json, env);
            code
        }
    }
}

fn report(error: &Error, code: u8, json: bool, env: &mut Env<'_>) -> Result<()> {
    if json {
        output::json(env, &output::Failure::new(error, code))?;
    }
    output::line(env.stderr, format_args!("error: {error}"))?;
    output::line(env.stderr, format_args!("hint: {}", error.hint_text().unwrap_or(exit::hint(error.kind()))))
}

/// `NANOVHD_LOG=debug` shows what the program does inside; the filter's grammar is that of `tracing-subscriber`.
fn start_log() {
    if let Ok(filter) = std::env::var("NANOVHD_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).without_time().init();
    }
}

/// A signal asks the work to stop and clean up, if there is anything to clean up; a second one does not wait for that.
fn stop_on_signals(control: &Arc<Control>) {
    let control = Arc::clone(control);
    let handler = move || {
        if !control.has_outputs() || control.check().is_err() {
            std::process::exit(i32::from(exit::INTERRUPTED));
        }
        control.interrupt();
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        tracing::warn!("an interruption will not clean up: {error}");
    }
}
