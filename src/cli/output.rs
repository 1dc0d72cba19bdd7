//! Words and numbers on their way out.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use super::{Env, exit};
use crate::base::FileTime;
use crate::error::{Error, Result};

/// A line for people or scripts. A reader who went away (a closed pipe) is no failure of ours.
pub(super) fn line(stream: &mut dyn Write, text: fmt::Arguments<'_>) -> Result<()> {
    finish(writeln!(stream, "{text}"))
}

/// A value for scripts.
pub(super) fn json(env: &mut Env<'_>, value: &impl Serialize) -> Result<()> {
    let written = serde_json::to_writer_pretty(&mut *env.stdout, value).map_err(io::Error::from);
    finish(written.and_then(|()| writeln!(env.stdout)))
}

fn finish(written: io::Result<()>) -> Result<()> {
    match written {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("the result cannot be printed", e)),
        _ => Ok(()),
    }
}

/// An error as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Failure {
    error: FailureDetails,
}

#[derive(Debug, Serialize)]
struct FailureDetails {
    kind: String,
    message: String,
    hint: String,
    exit_code: u8,
}

impl Failure {
    pub(super) fn new(error: &Error, exit_code: u8) -> Self {
        debug_assert_eq!(exit_code, exit::code(error.kind()));
        let details = FailureDetails {
            kind: format!("{:?}", error.kind()),
            message: error.to_string(),
            hint: error.hint_text().unwrap_or(exit::hint(error.kind())).to_owned(),
            exit_code,
        };
        Self { error: details }
    }
}

/// What is worth knowing, for people.
pub(super) fn warnings<T: fmt::Display>(env: &mut Env<'_>, warnings: impl IntoIterator<Item = T>) -> Result<()> {
    warnings.into_iter().try_for_each(|warning| line(env.stderr, format_args!("warning: {warning}")))
}

/// What the result will lack, for people.
pub(super) fn losses(env: &mut Env<'_>, losses: &[String]) -> Result<()> {
    losses.iter().try_for_each(|loss| line(env.stderr, format_args!("lost: {loss}")))
}

/// Bytes as they are. `false` once the reader has gone away.
pub(super) fn raw(stream: &mut dyn Write, bytes: &[u8]) -> Result<bool> {
    let written = stream.write_all(bytes);
    let gone = matches!(&written, Err(e) if e.kind() == io::ErrorKind::BrokenPipe);
    finish(written).map(|()| !gone)
}

/// A moment to the second, in UTC: `2016-09-26 12:00:00`.
pub(super) fn time(time: FileTime) -> String {
    let text = time.to_string();
    text.split('.').next().unwrap_or_default().replace('T', " ")
}

/// A number of things: `1 image`, `2 images`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// A number of bytes as people read it: `4 GiB`, `97.3 MiB`, `512 bytes`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match count {
        0..1024 => format!("{count} bytes"),
        _ if value.fract() == 0.0 => format!("{value:.0} {}", UNITS[unit]),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_readable() {
        for (count, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1 << 20, "1 MiB"),
            (4 << 30, "4 GiB"),
            (102_000_000, "97.3 MiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }
}
