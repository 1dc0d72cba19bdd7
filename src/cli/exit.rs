//! What the exit code tells a script.

use crate::error::Kind;

/// Stopped by a signal: 128 + SIGINT, as shells report it.
pub(super) const INTERRUPTED: u8 = 130;

/// There are errors in the image that was checked.
pub(super) const FOUND: u8 = 1;

/// The table of `nanovhd --help`.
pub(super) const HELP: &str = "\
Exit codes:
   0  done; of verify: no errors; of diff: equal
   1  of verify: there are errors in the image; of diff: different
   2  the command line is wrong
  10  the host failed to read or write
  11  the host's disk is full
  12  the output cannot be put there (exists, is a directory, not writable)
  20  the input is damaged
  21  the input ends too early
  22  the input is sound, but cannot be handled
  30  what was asked for cannot be done
  31  the source has no such image
  32  the image is no installation of Windows
  33  the image lacks what it needs to boot (BOOTMGR, WINLOAD)
  34  the image is for another processor or firmware
  35  the disk is too small for the image
  40  what was made did not pass the check, and was not kept
 130  stopped by a signal";

/// The exit code of a kind of error: each has its own.
pub(super) fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Io => 10,
        Kind::HostFull => 11,
        Kind::BadOutput => 12,
        Kind::Corrupt => 20,
        Kind::Truncated => 21,
        Kind::Unsupported => 22,
        Kind::Invalid => 30,
        Kind::NoSuchImage => 31,
        Kind::NotWindows => 32,
        Kind::NotBootable => 33,
        Kind::WrongMachine => 34,
        Kind::NoSpace => 35,
        Kind::BadResult => 40,
        Kind::Interrupted => INTERRUPTED,
    }
}

/// The next step where an error names none of its own.
pub(super) fn hint(kind: Kind) -> &'static str {
    match kind {
        Kind::Io => "check that the file is there, that you may use it, and that its disk is in order",
        Kind::HostFull => "free some space, or choose an output on another disk",
        Kind::BadOutput => "choose another output",
        Kind::Corrupt | Kind::Truncated => "fetch the file again, and compare its checksum with its publisher's",
        Kind::Unsupported => "choose another image, or make this one again without it",
        Kind::Invalid => "`nanovhd help COMMAND` explains what a command takes",
        Kind::NoSuchImage => "`nanovhd info FILE` shows the images of a file",
        Kind::NotWindows | Kind::NotBootable | Kind::WrongMachine => {
            "`nanovhd info FILE` shows the images of a file; choose another"
        }
        Kind::NoSpace => "choose a larger --size",
        Kind::BadResult => {
            "what the source lacked or an edit took away, put back; else please report it; --no-verify keeps the disk for a look"
        }
        Kind::Interrupted => "run it again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_its_own_and_in_the_help() {
        let kinds = [
            Kind::Io,
            Kind::HostFull,
            Kind::BadOutput,
            Kind::Corrupt,
            Kind::Truncated,
            Kind::Unsupported,
            Kind::Invalid,
            Kind::NoSuchImage,
            Kind::NotWindows,
            Kind::NotBootable,
            Kind::WrongMachine,
            Kind::NoSpace,
            Kind::BadResult,
            Kind::Interrupted,
        ];
        let mut codes: Vec<u8> = kinds.into_iter().map(code).collect();
        for code in &codes {
            assert!(HELP.lines().any(|line| line.trim_start().starts_with(&format!("{code} "))), "{code}");
        }
        codes.sort();
        codes.dedup();
        assert_eq!(codes.len(), kinds.len());
    }
}
