//! What the values of arguments may be: words for choices, sizes, times, names.

use clap::ValueEnum;
use parse_size::{ByteSuffix, Config};

use super::args::CHILD_NAME;
use crate::base::FileTime;
use crate::format::wim::Compression;
use crate::image::diff::{Aspect, Aspects};
use crate::image::edits::{CopyIn, Route};
use crate::image::package::{self, Controller, Nic, Package};
use crate::image::{Firmware, Format};
use crate::windows::boot::{Ems, Generation};
use crate::windows::setup::ComputerName;
use crate::windows::setup::complete::Step;

/// A [`Compression`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum CompressArg {
    /// As it is.
    None,
    /// Fast.
    #[value(alias = "fast")]
    Xpress,
    /// Small.
    #[value(alias = "max", alias = "maximum")]
    Lzx,
}

impl From<CompressArg> for Compression {
    fn from(compression: CompressArg) -> Self {
        match compression {
            CompressArg::None => Self::None,
            CompressArg::Xpress => Self::Xpress,
            CompressArg::Lzx => Self::Lzx,
        }
    }
}

/// A [`Package`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum PackageArg {
    /// A disk, as the target takes it.
    Disk,
    /// An Open Virtualization Format archive.
    Ova,
    /// A Vagrant box.
    Box,
}

impl From<PackageArg> for Package {
    fn from(package: PackageArg) -> Self {
        match package {
            PackageArg::Disk => Self::Plain,
            PackageArg::Ova => Self::Ova,
            PackageArg::Box => Self::Box,
        }
    }
}

/// A package's compression as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum PackCompressArg {
    /// Not at all.
    None,
    /// gzip.
    #[value(alias = "gz")]
    Gzip,
    /// xz: small, slow.
    Xz,
    /// zstd: fast.
    #[value(alias = "zst")]
    Zstd,
}

impl From<PackCompressArg> for package::Compression {
    fn from(compression: PackCompressArg) -> Self {
        match compression {
            PackCompressArg::None => Self::None,
            PackCompressArg::Gzip => Self::Gzip,
            PackCompressArg::Xz => Self::Xz,
            PackCompressArg::Zstd => Self::Zstd,
        }
    }
}

/// A [`Nic`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum NicArg {
    /// Intel 82540EM.
    E1000,
    /// Intel 82574L.
    E1000e,
    /// VMware's own.
    Vmxnet3,
    /// QEMU's own.
    Virtio,
}

impl From<NicArg> for Nic {
    fn from(nic: NicArg) -> Self {
        match nic {
            NicArg::E1000 => Self::E1000,
            NicArg::E1000e => Self::E1000e,
            NicArg::Vmxnet3 => Self::Vmxnet3,
            NicArg::Virtio => Self::Virtio,
        }
    }
}

/// A [`Controller`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ControllerArg {
    /// AHCI.
    Sata,
    /// LSI Logic SAS.
    LsiLogicSas,
    /// VMware's own.
    PvScsi,
    /// QEMU's own.
    Virtio,
}

impl From<ControllerArg> for Controller {
    fn from(controller: ControllerArg) -> Self {
        match controller {
            ControllerArg::Sata => Self::Sata,
            ControllerArg::LsiLogicSas => Self::LsiLogicSas,
            ControllerArg::PvScsi => Self::PvScsi,
            ControllerArg::Virtio => Self::Virtio,
        }
    }
}

/// A level of findings, as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LevelArg {
    /// What Windows or the firmware refuses, repairs or goes wrong over.
    Error,
    /// What is sound, but not as it should be.
    Warning,
    /// What is worth knowing.
    Note,
}

/// [`Route`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum RouteArg {
    /// Here, as far as that can be done in full; else at the first start.
    Auto,
    /// Here, or not at all.
    Strict,
    /// At the first start.
    FirstBoot,
}

impl From<RouteArg> for Route {
    fn from(route: RouteArg) -> Self {
        match route {
            RouteArg::Auto => Self::Auto,
            RouteArg::Strict => Self::Strict,
            RouteArg::FirstBoot => Self::FirstBoot,
        }
    }
}

/// [`Firmware`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum FirmwareArg {
    /// A BIOS; the disk gets an MBR.
    Bios,
    /// UEFI; the disk gets a GPT.
    Uefi,
    /// Either, as Windows To Go; the disk gets an MBR and a FAT32 partition.
    Both,
    /// None: the disk is for native boot, or holds data.
    None,
}

impl From<FirmwareArg> for Firmware {
    fn from(firmware: FirmwareArg) -> Self {
        match firmware {
            FirmwareArg::Bios => Self::Bios,
            FirmwareArg::Uefi => Self::Uefi,
            FirmwareArg::Both => Self::Both,
            FirmwareArg::None => Self::None,
        }
    }
}

/// [`Generation`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum BootManagerArg {
    /// As bcdboot takes it by itself.
    Auto,
    /// "Microsoft Windows Production PCA 2011", which all machines know that were not told to refuse it.
    #[value(name = "2011")]
    Ca2011,
    /// "Windows UEFI CA 2023", which machines know that are from 2024 or were updated.
    #[value(name = "2023")]
    Ca2023,
}

impl From<BootManagerArg> for Generation {
    fn from(generation: BootManagerArg) -> Self {
        match generation {
            BootManagerArg::Auto => Self::Auto,
            BootManagerArg::Ca2011 => Self::Ca2011,
            BootManagerArg::Ca2023 => Self::Ca2023,
        }
    }
}

/// [`Format`] as typed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum FormatArg {
    /// VHD that grows.
    Vhd,
    /// VHD with every sector in the file.
    VhdFixed,
    /// VHDX that grows.
    Vhdx,
    /// VHDX with every sector in the file.
    VhdxFixed,
    /// VMDK that grows, in one file.
    Vmdk,
    /// Compressed VMDK, as OVA files have it.
    VmdkStream,
    /// VDI that grows.
    Vdi,
    /// VDI with every sector in the file.
    VdiFixed,
    /// qcow2 that grows.
    Qcow2,
    /// qcow2 with compressed clusters.
    Qcow2Compressed,
    /// The sectors alone.
    Raw,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Vhd => Self::Vhd,
            FormatArg::VhdFixed => Self::VhdFixed,
            FormatArg::Vhdx => Self::Vhdx,
            FormatArg::VhdxFixed => Self::VhdxFixed,
            FormatArg::Vmdk => Self::Vmdk,
            FormatArg::VmdkStream => Self::VmdkStream,
            FormatArg::Vdi => Self::Vdi,
            FormatArg::VdiFixed => Self::VdiFixed,
            FormatArg::Qcow2 => Self::Qcow2,
            FormatArg::Qcow2Compressed => Self::Qcow2Compressed,
            FormatArg::Raw => Self::Raw,
        }
    }
}

pub(super) fn size(text: &str) -> Result<u64, String> {
    let config = Config::new().with_binary().with_byte_suffix(ByteSuffix::Allow);
    config.parse_size(text).map_err(|e| format!("{e}; write bytes, or a number with K, M, G, T or KiB, MiB, GiB, TiB"))
}

pub(super) fn cluster_size(text: &str) -> Result<u32, String> {
    let bytes = size(text)?;
    let fits = bytes.is_power_of_two() && (512..=0x1_0000).contains(&bytes);
    if fits { Ok(bytes as u32) } else { Err(format!("{bytes} bytes; allowed: 512, 1K, 2K, 4K, 8K, 16K, 32K, 64K")) }
}

pub(super) fn ems(text: &str) -> Result<Ems, String> {
    let (port, baud) = text.split_once(',').unwrap_or((text, "115200"));
    let port = port.trim_start_matches("COM").parse().ok().filter(|port| (1..=4).contains(port));
    let port = port.ok_or_else(|| format!("'{text}'; allowed: 1 to 4, for COM1 to COM4"))?;
    const BAUDS: [u32; 5] = [9600, 19_200, 38_400, 57_600, 115_200];
    let baud = baud.parse().ok().filter(|baud| BAUDS.contains(baud));
    let baud = baud.ok_or_else(|| format!("'{text}'; allowed baud rates: 9600, 19200, 38400, 57600, 115200"))?;
    Ok(Ems { port, baud })
}

pub(super) fn sector_size(text: &str) -> Result<u32, String> {
    match size(text)? {
        512 => Ok(512),
        4096 => Ok(4096),
        other => Err(format!("{other} bytes; allowed: 512, 4096")),
    }
}

pub(super) fn copy(text: &str) -> Result<CopyIn, String> {
    CopyIn::parse(text).map_err(|error| error.to_string())
}

/// A name with a [`CHILD_NAME`] in it is looked at when that is known.
pub(super) fn computer_name(text: &str) -> Result<String, String> {
    if text.contains(CHILD_NAME) {
        return Ok(text.to_owned());
    }
    ComputerName::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn first_start(command: &str) -> Result<Step, String> {
    Step::command(command).map_err(|error| error.to_string())
}

/// What `diff` is not to compare.
pub(super) fn ignored(text: &str) -> Result<Aspects, String> {
    if text == "times" {
        return Ok(Aspects::of(&[Aspect::Created, Aspect::Modified, Aspect::Changed, Aspect::Accessed]));
    }
    let found = Aspect::ALL.iter().find(|aspect| aspect.name() == text);
    found.map(|aspect| Aspects::of(&[*aspect])).ok_or_else(|| {
        let names: Vec<&str> = Aspect::ALL.iter().map(|aspect| aspect.name()).collect();
        format!("no kind of difference; allowed: times, {}", names.join(", "))
    })
}

pub(super) fn label(text: &str) -> Result<String, String> {
    let units = text.encode_utf16().count();
    if units > 32 {
        return Err(format!("{units} characters; allowed: 32"));
    }
    if text.chars().any(char::is_control) {
        return Err("control characters".into());
    }
    Ok(text.to_owned())
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("neither on nor off".into()),
    }
}

/// A machine's memory, in MiB.
pub(super) fn memory(text: &str) -> Result<u32, String> {
    let bytes = size(text)?;
    if !bytes.is_multiple_of(1 << 20) {
        return Err("not a whole number of MiB (a number without a unit is one of bytes)".into());
    }
    u32::try_from(bytes >> 20).map_err(|_| "more memory than any machine has".into())
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
