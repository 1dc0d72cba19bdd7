//! The grammar of the command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use parse_size::{ByteSuffix, Config};

use crate::base::FileTime;
use crate::image::Format;
use crate::image::diff::{Aspect, Aspects};

/// Turns a Windows image file (WIM, ESD, SWM) into a disk that boots. Needs no Windows, no administrator rights and no mounts.
#[derive(Debug, Parser)]
#[command(name = "nanovhd", version, after_help = super::exit::HELP)]
pub(super) struct Args {
    /// Print results (and errors) as JSON on standard output.
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Build(Build),
    Inspect(Inspect),
    Diff(Diff),
    Demo(Demo),
}

/// Apply an image to a new disk and make it bootable.
#[derive(Debug, clap::Args)]
pub(super) struct Build {
    /// The image file: WIM, ESD, or one part of a split WIM (the others are looked for beside it; 'install*.swm' works too).
    #[arg(long, value_name = "FILE")]
    pub(super) wim: PathBuf,
    /// Further parts of a split WIM that lie elsewhere, as a pattern.
    #[arg(long, value_name = "PATTERN")]
    pub(super) parts: Option<String>,
    /// The image in it: an index, or a name or edition, or a part of one that only one image has.
    #[arg(long, value_name = "INDEX|NAME", default_value = "1")]
    pub(super) image: String,
    /// The file to make.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// Check the image file's integrity table first. (What is used is checked in any case, by its SHA-1.)
    #[arg(long)]
    pub(super) check_integrity: bool,
    #[command(flatten)]
    pub(super) disk: DiskArgs,
}

/// What `build` and `demo` share.
#[derive(Debug, clap::Args)]
pub(super) struct DiskArgs {
    /// The disk's size: bytes, or with a unit (4GiB, 4G: powers of 1024). Without it 4 GiB, or more if the image needs it.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) size: Option<u64>,
    /// The container; without it the output's extension decides.
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Option<FormatArg>,
    /// The volume's label, at most 32 characters.
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = label)]
    pub(super) label: String,
    /// The volume's cluster size: 512 to 64K.
    #[arg(long, value_name = "SIZE", default_value = "4K", value_parser = cluster_size)]
    pub(super) cluster_size: u32,
    /// A number to derive the disk's ids from. Without it they follow from the image file, the chosen image and the options.
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// The moment to write wherever a build writes "now": RFC 3339 or seconds since 1970. Without it SOURCE_DATE_EPOCH, else the
    /// image's own modification time.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(super) timestamp: Option<FileTime>,
    /// Print what would be made, and make nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Replace an existing output.
    #[arg(long)]
    pub(super) force: bool,
}

/// Show what a WIM, ESD or SWM holds.
#[derive(Debug, clap::Args)]
pub(super) struct Inspect {
    /// The image file.
    pub(super) file: PathBuf,
    /// Further parts of a split WIM that lie elsewhere, as a pattern.
    #[arg(long, value_name = "PATTERN")]
    pub(super) parts: Option<String>,
    /// Only this image.
    #[arg(long, value_name = "INDEX|NAME")]
    pub(super) image: Option<String>,
    /// List the files of each image too.
    #[arg(long)]
    pub(super) tree: bool,
    /// Check the integrity table.
    #[arg(long)]
    pub(super) check_integrity: bool,
}

/// Show what differs between two images: files with their metadata, registry values, boot stores, disks.
///
/// Each of the two is a WIM, ESD or part of a split WIM, or a disk or NTFS volume, whichever it holds. Lines begin with + (only
/// in B), - (only in A), ~ (in both, but not the same), = (a hive that means the same in other bytes) or ? (it cannot be read).
/// The exit code is 0 if they are equal, 1 if they differ, and larger if that cannot be told.
#[derive(Debug, clap::Args)]
pub(super) struct Diff {
    /// The first image, as it was.
    #[arg(value_name = "A")]
    pub(super) a: PathBuf,
    /// The second image, as it is.
    #[arg(value_name = "B")]
    pub(super) b: PathBuf,
    /// The image in a WIM: an index, or a name or edition, or a part of one that only one image has. Needed if it has several.
    #[arg(long, value_name = "INDEX|NAME")]
    pub(super) image: Option<String>,
    /// The image in B, if it is to be another than in A.
    #[arg(long, value_name = "INDEX|NAME")]
    pub(super) image_b: Option<String>,
    /// The partition of a disk, by its number. Without it the one that holds a Windows.
    #[arg(long, value_name = "N")]
    pub(super) partition: Option<u32>,
    /// The partition of B, if it is to be another than of A.
    #[arg(long, value_name = "N")]
    pub(super) partition_b: Option<u32>,
    /// Leave a kind of difference out: times (all four of files), or one of those that --json names: size, contents, created,
    /// modified, changed, accessed, attributes, security, short-name, streams, registry, bcd, disk, ...
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = ignored)]
    pub(super) ignore: Vec<Aspects>,
    /// Compare the times of registry keys too.
    #[arg(long)]
    pub(super) times: bool,
    /// Compare only this file, or this directory and what is below it. May be given several times.
    #[arg(long, value_name = "PATH")]
    pub(super) only: Vec<String>,
    /// Leave out files that match a pattern, and what is below them: '*.log' by name in any directory, '\Windows\Temp\*' by path
    /// ('**' crosses directories). May be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub(super) exclude: Vec<String>,
    /// Tell only which files differ.
    #[arg(long)]
    pub(super) brief: bool,
}

/// Make a small Nano-like WIM out of nothing and build a disk from it.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// The disk to make. (The default one is replaced if it exists.)
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Keep the made WIM too, in this file.
    #[arg(long, value_name = "FILE")]
    pub(super) keep_wim: Option<PathBuf>,
    #[command(flatten)]
    pub(super) disk: DiskArgs,
}

/// [`Format`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum FormatArg {
    /// VHD that grows.
    Vhd,
    /// VHD with every sector in the file.
    VhdFixed,
    /// The sectors alone.
    Raw,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Vhd => Self::Vhd,
            FormatArg::VhdFixed => Self::VhdFixed,
            FormatArg::Raw => Self::Raw,
        }
    }
}

fn size(text: &str) -> Result<u64, String> {
    let config = Config::new().with_binary().with_byte_suffix(ByteSuffix::Allow);
    config.parse_size(text).map_err(|e| format!("{e}; write bytes, or a number with K, M, G, T or KiB, MiB, GiB, TiB"))
}

fn cluster_size(text: &str) -> Result<u32, String> {
    let bytes = size(text)?;
    let fits = bytes.is_power_of_two() && (512..=0x1_0000).contains(&bytes);
    if fits { Ok(bytes as u32) } else { Err(format!("{bytes} bytes; allowed: 512, 1K, 2K, 4K, 8K, 16K, 32K, 64K")) }
}

/// What `diff` is not to compare.
fn ignored(text: &str) -> Result<Aspects, String> {
    if text == "times" {
        return Ok(Aspects::of(&[Aspect::Created, Aspect::Modified, Aspect::Changed, Aspect::Accessed]));
    }
    let found = Aspect::ALL.iter().find(|aspect| aspect.name() == text);
    found.map(|aspect| Aspects::of(&[*aspect])).ok_or_else(|| {
        let names: Vec<&str> = Aspect::ALL.iter().map(|aspect| aspect.name()).collect();
        format!("no kind of difference; allowed: times, {}", names.join(", "))
    })
}

fn label(text: &str) -> Result<String, String> {
    let units = text.encode_utf16().count();
    if units > 32 {
        return Err(format!("{units} characters; allowed: 32"));
    }
    if text.chars().any(char::is_control) {
        return Err("control characters".into());
    }
    Ok(text.to_owned())
}

/// Seconds since 1970, or RFC 3339.
pub(super) fn timestamp(text: &str) -> Result<FileTime, String> {
    if let Ok(seconds) = text.parse::<i64>() {
        return FileTime::from_unix(seconds).ok_or_else(|| "before 1601 or too far in the future".into());
    }
    let time: jiff::Timestamp =
        text.parse().map_err(|_| "neither RFC 3339 (2016-09-26T12:00:00Z) nor seconds since 1970".to_owned())?;
    let ticks = time.subsec_nanosecond() as i64 / 100; // of 100 ns; negative before 1970
    let base = FileTime::from_unix(time.as_second()).ok_or("before 1601 or too far in the future")?;
    base.0.checked_add_signed(ticks).map(FileTime).ok_or_else(|| "before 1601".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn grammar_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn sizes_are_binary() {
        for (text, bytes) in
            [("4GiB", 4 << 30), ("4G", 4 << 30), ("4GB", 4 << 30), ("1048576", 1 << 20), ("1.5k", 1536)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        assert!(size("four").is_err());
        assert_eq!(cluster_size("64K"), Ok(0x1_0000));
        for bad in ["128K", "256", "3000", "0"] {
            assert!(cluster_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_rfc_3339_or_seconds() {
        let y2k = FileTime::from_unix(946_684_800).unwrap();
        assert_eq!(timestamp("946684800"), Ok(y2k));
        assert_eq!(timestamp("2000-01-01T00:00:00Z"), Ok(y2k));
        assert_eq!(timestamp("2000-01-01T01:00:00+01:00"), Ok(y2k));
        assert_eq!(timestamp("2000-01-01T00:00:00.0000001Z"), Ok(FileTime(y2k.0 + 1)));
        assert_eq!(timestamp("1969-12-31T23:59:59.9999999Z"), Ok(FileTime(FileTime::from_unix(0).unwrap().0 - 1)));
        for bad in ["yesterday", "1600-01-01T00:00:00Z", "9223372036854775807"] {
            assert!(timestamp(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_are_limited() {
        assert!(label(&"x".repeat(32)).is_ok());
        assert!(label(&"x".repeat(33)).is_err());
        assert!(label("a\nb").is_err());
    }
}
