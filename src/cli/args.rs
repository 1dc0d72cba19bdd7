//! The grammar of the command line.

use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand, ValueEnum};
use parse_size::{ByteSuffix, Config};

use crate::base::FileTime;
use crate::error::Result;
use crate::format::wim::Compression;
use crate::image::diff::{Aspect, Aspects};
use crate::image::edits::{CopyIn, replaced_in_path};
use crate::image::package::{self, Controller, Nic, Package};
use crate::image::{Firmware, Format};
use crate::windows::boot::{Ems, Generation};
use crate::windows::setup::ComputerName;
use crate::windows::setup::complete::Step;

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
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub(super) enum Command {
    Build(Build),
    Edit(Edit),
    Fork(Fork),
    Capture(Capture),
    Convert(Convert),
    Pack(Pack),
    #[command(alias = "inspect")]
    Info(Info),
    Ls(Ls),
    Cat(Cat),
    Extract(Extract),
    Reg(Reg),
    Bcd(Bcd),
    Verify(Verify),
    Diff(Diff),
    Demo(Demo),
}

/// Apply an image to a new disk and make it bootable.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true).multiple(true).args(["wim", "media"]))]
pub(super) struct Build {
    /// The image file: WIM, ESD, or one part of a split WIM (the others are looked for beside it; 'install*.swm' works too); or a
    /// disk, whose Windows volume is taken; or a folder (or ISO) without image files, whose files become the volume. With --media,
    /// the path of an image file on it: sources\install.wim.
    #[arg(long, value_name = "FILE")]
    pub(super) wim: Option<PathBuf>,
    /// The installation medium: an ISO, or a folder with its files. Of it NanoServer\NanoServer.wim is taken, or else
    /// sources\install.wim, .esd or .swm.
    #[arg(long, value_name = "ISO|FOLDER")]
    pub(super) media: Option<PathBuf>,
    /// Further parts of a split WIM that lie elsewhere, as a pattern.
    #[arg(long, value_name = "PATTERN", conflicts_with = "media")]
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
    /// Go on although parts of a source that is a disk cannot be read: they will be missing.
    #[arg(long)]
    pub(super) accept_dirty: bool,
    #[command(flatten)]
    pub(super) edits: EditArgs,
    #[command(flatten)]
    pub(super) disk: DiskArgs,
}

/// Change the files, the registry or the label of an image that exists. A new image is written, checked and put in the old one's
/// place; until then the old one is untouched.
#[derive(Debug, clap::Args)]
pub(super) struct Edit {
    /// The image: VHD, VHDX or the bare sectors of a disk or an NTFS volume.
    pub(super) image: PathBuf,
    /// Make a new file instead, and leave the image as it is.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// The partition. Without it the one that holds a Windows, or the only NTFS one.
    #[arg(long, value_name = "N")]
    pub(super) partition: Option<u32>,
    #[command(flatten)]
    pub(super) edits: EditArgs,
    /// Give the volume another label, at most 32 characters.
    #[arg(long, value_name = "TEXT", value_parser = label)]
    pub(super) label: Option<String>,
    /// The moment at which the changes are made: RFC 3339 or seconds since 1970. Without it SOURCE_DATE_EPOCH, else the newest
    /// modification time in the image.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(super) timestamp: Option<FileTime>,
    /// Take the volume as it lies on the disk even if it was not left clean or parts of it cannot be read. What is in its journal only,
    /// and what cannot be read, is lost.
    #[arg(long)]
    pub(super) accept_dirty: bool,
    /// Do not check the new image before it gets its name.
    #[arg(long)]
    pub(super) no_verify: bool,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Replace an existing --output.
    #[arg(long)]
    pub(super) force: bool,
}

/// Make disks that hold just what makes them differ from a base: VHD on VHD, VHDX on VHDX.
///
/// The base is only read, and must not change from then on: its children need it as it is. In the arguments of edits and in the label,
/// {name} stands for the child's file name without its extension, so that several children can each have their own.
#[derive(Debug, clap::Args)]
pub(super) struct Fork {
    /// The disk that the children lie on; it may be a differencing disk itself.
    pub(super) base: PathBuf,
    /// The disks to make.
    #[arg(value_name = "CHILD", required = true)]
    pub(super) children: Vec<PathBuf>,
    /// The partition. Without it the one that holds a Windows, or the only NTFS one.
    #[arg(long, value_name = "N")]
    pub(super) partition: Option<u32>,
    #[command(flatten)]
    pub(super) edits: EditArgs,
    /// Give the volume another label, at most 32 characters.
    #[arg(long, value_name = "TEXT", value_parser = label)]
    pub(super) label: Option<String>,
    /// The moment at which the changes are made: RFC 3339 or seconds since 1970. Without it SOURCE_DATE_EPOCH, else the newest
    /// modification time in the base.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(super) timestamp: Option<FileTime>,
    /// Take the base as it lies on the disk even if it was not left clean. What is in its journal only is lost.
    #[arg(long)]
    pub(super) accept_dirty: bool,
    /// Do not check the children and their chain before they get their names.
    #[arg(long)]
    pub(super) no_verify: bool,
    /// Print what would be made, and make nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Replace existing children.
    #[arg(long)]
    pub(super) force: bool,
}

/// What `build` and `edit` share. Deletions come first, then copies, then the registry, each kind in the order of the arguments.
#[derive(Debug, clap::Args)]
pub(super) struct EditArgs {
    /// Delete a file or a directory with all that is in it.
    #[arg(long, value_name = "PATH")]
    pub(super) delete: Vec<String>,
    /// Copy a file or folder into the image. Without a target, or with one that ends in '\\', it goes into that directory (the root)
    /// under its own name; else the target is what it becomes. 'FOLDER/=\\X' copies what is in the folder into \\X.
    #[arg(long, value_name = "SOURCE[=TARGET]", value_parser = copy)]
    pub(super) copy: Vec<CopyIn>,
    /// Apply a .reg file to the image's registry.
    #[arg(long, value_name = "FILE")]
    pub(super) reg: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) setup: SetupArgs,
}

/// What makes an image a machine of its own that can be reached. It comes last, after deletions, copies and the registry.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Machine")]
pub(super) struct SetupArgs {
    /// The machine's name: 1 to 15 letters, digits and hyphens; '*' lets Windows make one up.
    #[arg(long, value_name = "NAME", value_parser = computer_name)]
    pub(super) computer_name: Option<String>,
    /// Take the administrator's password from the first line of a file; '-' is standard input.
    #[arg(long, value_name = "FILE")]
    pub(super) admin_password_file: Option<PathBuf>,
    /// Ask for the administrator's password.
    #[arg(long, conflicts_with = "admin_password_file")]
    pub(super) admin_password_prompt: bool,
    /// An answer file for the first start. It is checked, joined with what the other options say (they win, and say so), and put at
    /// \Windows\Panther\unattend.xml.
    #[arg(long, value_name = "FILE")]
    pub(super) unattend: Option<PathBuf>,
    /// The machine's time zone, by Windows' name for it: 'UTC', 'W. Europe Standard Time'.
    #[arg(long, value_name = "ZONE")]
    pub(super) time_zone: Option<String>,
    /// Let Windows Remote Management answer from the first start on: HTTP on port 5985, and the firewall opened for it.
    #[arg(long)]
    pub(super) winrm: bool,
    /// The same by HTTPS on port 5986 too, with a certificate made now. Its key comes by chance, or from --seed.
    #[arg(long)]
    pub(super) winrm_https: bool,
    /// The same with Basic authentication and without encryption, as Vagrant needs it.
    #[arg(long)]
    pub(super) winrm_basic: bool,
    /// Run a command when Windows has set itself up, as SYSTEM, in a shell of its own. It is written as in a batch file (%% is a
    /// percent sign); what it says goes into \Windows\Setup\Scripts\setupcomplete.log. May be given several times.
    #[arg(long, value_name = "COMMAND", value_parser = first_start)]
    pub(super) setup_complete: Vec<Step>,
}

/// Capture the volume of an image as a WIM.
#[derive(Debug, clap::Args)]
pub(super) struct Capture {
    /// The image: VHD, VHDX or the bare sectors of a disk or an NTFS volume.
    pub(super) image: PathBuf,
    /// The WIM to make.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// The partition. Without it the one that holds a Windows, or the only NTFS one.
    #[arg(long, value_name = "N")]
    pub(super) partition: Option<u32>,
    /// The compression.
    #[arg(long, value_name = "TYPE", default_value = "lzx")]
    pub(super) compress: CompressArg,
    /// The image's name in the WIM. Without it the volume's label, or the product's name.
    #[arg(long, value_name = "TEXT")]
    pub(super) name: Option<String>,
    /// The image's description in the WIM.
    #[arg(long, value_name = "TEXT")]
    pub(super) description: Option<String>,
    /// Leave nothing out. (Else page files, the hibernation file, the recycle bin and 'System Volume Information' are, as by DISM.)
    #[arg(long)]
    pub(super) all: bool,
    /// Go on although parts of the volume cannot be read: they will be missing.
    #[arg(long)]
    pub(super) accept_dirty: bool,
    /// When the WIM was made: RFC 3339 or seconds since 1970. Without it SOURCE_DATE_EPOCH, else the newest modification time in the
    /// image.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(super) timestamp: Option<FileTime>,
    /// Print what would be made, and make nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Replace an existing output.
    #[arg(long)]
    pub(super) force: bool,
}

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

/// What `build` and `demo` share.
#[derive(Debug, clap::Args)]
pub(super) struct DiskArgs {
    /// The disk's size: bytes, or with a unit (4GiB, 4G: powers of 1024). Without it 4 GiB, or more if the image needs it.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) size: Option<u64>,
    /// The machine that it is for: hyperv-gen1, hyperv-gen2, virtualbox, azure-gen1, azure-gen2, kvm, vmware, raw. It sets firmware,
    /// partitions, container and boot settings, each of which can be set by itself too. Several give several disks from one reading
    /// of the image; then the output is what their names begin with.
    #[arg(long, value_name = "TARGET")]
    pub(super) target: Vec<String>,
    /// What is made of the disk; without it an output '*.ova' is an OVA, '*.box' is a box, and all else a disk.
    #[arg(long, value_name = "PACKAGE")]
    pub(super) pack: Option<PackageArg>,
    #[command(flatten)]
    pub(super) machine: MachineArgs,
    /// The container; without it the output's extension decides, or the target.
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Option<FormatArg>,
    /// What starts the machine. Without it what the target has; or UEFI for a VHDX, and a BIOS for all else, as Microsoft's
    /// converter has it.
    #[arg(long, value_name = "FIRMWARE")]
    pub(super) firmware: Option<FirmwareArg>,
    /// Give what a BIOS starts a partition of its own.
    #[arg(long)]
    pub(super) separate_system: bool,
    /// The size of the EFI system partition (200 MiB), or of the one with what a BIOS starts (500 MiB).
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) system_size: Option<u64>,
    /// The size of the Microsoft reserved partition on a UEFI disk (128 MiB); 0 for none.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) reserved_size: Option<u64>,
    /// Add a recovery partition of that size.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) recovery_size: Option<u64>,
    /// The size of the disk's sectors: 512, or 4096 in a VHDX or raw file.
    #[arg(long, value_name = "SIZE", default_value = "512", value_parser = sector_size)]
    pub(super) sector_size: u32,
    /// Windows and its boot programs talk on a serial port too: COM1 with 115200 baud, or what is said.
    #[arg(long, value_name = "PORT[,BAUD]", num_args = 0..=1, require_equals = true, default_missing_value = "1", value_parser = ems)]
    pub(super) ems: Option<Ems>,
    /// Let Windows take drivers with test signatures.
    #[arg(long)]
    pub(super) test_signing: bool,
    /// Whose signature the boot manager for UEFI is to have, where the image carries several.
    #[arg(long, value_name = "YEAR", default_value = "auto")]
    pub(super) boot_manager: BootManagerArg,
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
    /// Do not check the disk before it gets its name.
    #[arg(long)]
    pub(super) no_verify: bool,
    /// Replace an existing output.
    #[arg(long)]
    pub(super) force: bool,
}

/// Put a disk into another container: VHD, VHDX or none, growing or fixed. A differencing disk is made one of its own.
#[derive(Debug, clap::Args)]
pub(super) struct Convert {
    /// The disk: VHD, VHDX (with the parents of a differencing one) or raw.
    #[arg(value_name = "IMAGE")]
    pub(super) image: PathBuf,
    /// The file to make.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// The machine that it is for: hyperv-gen1, hyperv-gen2, virtualbox, azure-gen1, azure-gen2, kvm, vmware, raw. It sets firmware,
    /// partitions, container and boot settings, each of which can be set by itself too. Several give several disks from one reading
    /// of the image; then the output is what their names begin with.
    #[arg(long, value_name = "TARGET")]
    pub(super) target: Vec<String>,
    /// The container; without it the output's extension decides, or the target.
    #[arg(long, value_name = "FORMAT")]
    pub(super) format: Option<FormatArg>,
    /// What starts the machine. Without it what the target has; or UEFI for a VHDX, and a BIOS for all else, as Microsoft's
    /// converter has it.
    #[arg(long, value_name = "FIRMWARE")]
    pub(super) firmware: Option<FirmwareArg>,
    /// Give what a BIOS starts a partition of its own.
    #[arg(long)]
    pub(super) separate_system: bool,
    /// The size of the EFI system partition (200 MiB), or of the one with what a BIOS starts (500 MiB).
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) system_size: Option<u64>,
    /// The size of the Microsoft reserved partition on a UEFI disk (128 MiB); 0 for none.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) reserved_size: Option<u64>,
    /// Add a recovery partition of that size.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(super) recovery_size: Option<u64>,
    /// The size of the disk's sectors: 512, or 4096 in a VHDX or raw file.
    #[arg(long, value_name = "SIZE", default_value = "512", value_parser = sector_size)]
    pub(super) sector_size: u32,
    /// The moment to write as the disk's creation: RFC 3339 or seconds since 1970. Without it SOURCE_DATE_EPOCH, else that of the
    /// disk, else the year 2000.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(super) timestamp: Option<FileTime>,
    /// Replace an existing output.
    #[arg(long)]
    pub(super) force: bool,
}

/// Make of a disk what a platform imports: an OVA, a Vagrant box, or the platform's own kind of disk, compressed.
#[derive(Debug, clap::Args)]
pub(super) struct Pack {
    /// The disk, in any container that can be read.
    #[arg(value_name = "IMAGE")]
    pub(super) image: PathBuf,
    /// The file to make.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// The machine that it is for: hyperv-gen1, hyperv-gen2, virtualbox, azure-gen1, azure-gen2, kvm, vmware, raw.
    #[arg(long, value_name = "TARGET")]
    pub(super) target: String,
    /// What is made; without it an output '*.ova' is an OVA, '*.box' is a box, and all else a disk.
    #[arg(long, value_name = "PACKAGE")]
    pub(super) format: Option<PackageArg>,
    #[command(flatten)]
    pub(super) machine: MachineArgs,
    /// The time of all that is in it: RFC 3339 or seconds since 1970. Without it SOURCE_DATE_EPOCH, else the year 2000.
    #[arg(long, value_name = "TIME", value_parser = timestamp)]
    pub(super) timestamp: Option<FileTime>,
    /// Replace an existing output.
    #[arg(long)]
    pub(super) force: bool,
}

/// What `pack`, and a build that packs, say of the machine and of what is made for it.
#[derive(Debug, clap::Args)]
pub(super) struct MachineArgs {
    /// The machine's name. Without it that of the output.
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Its memory: bytes, or with a unit (2G). Without it 1 GiB.
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub(super) memory: Option<u32>,
    /// Its processors. Without it one.
    #[arg(long, value_name = "N")]
    pub(super) cpus: Option<u32>,
    /// Its network adapter. Without it e1000, for VMware e1000e.
    #[arg(long, value_name = "KIND")]
    pub(super) nic: Option<NicArg>,
    /// Its disk controller. Without it SATA. (Hyper-V has its own.)
    #[arg(long, value_name = "KIND")]
    pub(super) controller: Option<ControllerArg>,
    /// Secure Boot, on or off. Without it as the target has it, if the disk boots by UEFI.
    #[arg(long, value_name = "on|off", value_parser = switch)]
    pub(super) secure_boot: Option<bool>,
    /// How the result is compressed. Without it a box is with gzip, which every Vagrant unpacks, and a disk is not. An OVA never is.
    #[arg(long, value_name = "KIND")]
    pub(super) compress: Option<PackCompressArg>,
    /// Make FILE.sha256, too.
    #[arg(long)]
    pub(super) checksum: bool,
    /// List the box in a Vagrant catalog: a new one, or one that exists and is added to.
    #[arg(long, value_name = "FILE")]
    pub(super) catalog: Option<PathBuf>,
    /// The name of the box in the catalog, as 'owner/nano'. Without it the machine's.
    #[arg(long, value_name = "NAME", requires = "catalog", default_value = "", hide_default_value = true)]
    pub(super) box_name: String,
    /// The version of the box in the catalog.
    #[arg(long, value_name = "VERSION", requires = "catalog", default_value = "1.0.0")]
    pub(super) box_version: String,
    /// Where the box will be fetched from. Without it the output's name, for a Vagrant that is run in its folder.
    #[arg(long, value_name = "URL", requires = "catalog", default_value = "", hide_default_value = true)]
    pub(super) box_url: String,
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

/// What is looked into.
#[derive(Debug, clap::Args)]
pub(super) struct SourceArgs {
    /// What to look into: a WIM, ESD or one part of a split WIM, a VHD or VHDX, the bare sectors of a disk, or an NTFS volume; an ISO
    /// or a folder, and with --image the image file on it that a build would take. What it is follows from what it holds, not from
    /// its name.
    #[arg(value_name = "SOURCE")]
    pub(super) file: PathBuf,
    /// Further parts of a split WIM that lie elsewhere, as a pattern.
    #[arg(long, value_name = "PATTERN")]
    pub(super) parts: Option<String>,
    /// The image of a WIM: an index, or a name or edition, or a part of one that only one image has. Needed if it has several.
    #[arg(long, value_name = "INDEX|NAME")]
    pub(super) image: Option<String>,
    /// The partition of a disk, by its number. Without it the one that holds a Windows.
    #[arg(long, value_name = "N", conflicts_with = "image")]
    pub(super) partition: Option<u32>,
}

/// Show what a WIM, ESD or SWM holds, or what a disk is: its container, partitions, volumes, and the Windows on it; or which images
/// and packages an installation medium has.
#[derive(Debug, clap::Args)]
pub(super) struct Info {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// List the files of each image too. (`nanovhd ls` tells more.)
    #[arg(long)]
    pub(super) tree: bool,
    /// Check a WIM's integrity table.
    #[arg(long)]
    pub(super) check_integrity: bool,
}

/// List files of an image.
#[derive(Debug, clap::Args)]
#[command(after_help = super::ls::HELP)]
pub(super) struct Ls {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// The files or directories to list, with \ or / between names; * and ? match, case does not matter. Without one the root.
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<String>,
    /// Show attributes, size, modification time (UTC), number of links, short name, link targets and named streams.
    #[arg(short, long)]
    pub(super) long: bool,
    /// List what is below directories too, with full paths.
    #[arg(short = 'R', long)]
    pub(super) recursive: bool,
    /// Show owners and security descriptors (SDDL); implies --long.
    #[arg(long)]
    pub(super) security: bool,
}

/// Write files of an image to standard output.
///
/// Contents are checked on the way (a WIM's against their SHA-1): if the exit code is not 0, what was written is not to be
/// trusted. With --json only errors are JSON.
#[derive(Debug, clap::Args)]
pub(super) struct Cat {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// The files, one after the other; a named stream is PATH:STREAM.
    #[arg(value_name = "PATH[:STREAM]", required = true)]
    pub(super) paths: Vec<String>,
}

/// Copy files and folders of an image to the host.
#[derive(Debug, clap::Args)]
#[command(after_help = super::extract::HELP)]
pub(super) struct Extract {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// What to copy, with \ or / between names; * and ? match. Each comes into the folder under its last name; without one
    /// everything comes.
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<String>,
    /// The folder to copy into; it is made if it is not there.
    #[arg(short, long, value_name = "DIR")]
    pub(super) output: PathBuf,
    /// Replace files that exist. (Folders that exist are filled in any case.)
    #[arg(long)]
    pub(super) force: bool,
    /// Copy named streams too: as such on Windows, elsewhere as files NAME:STREAM.
    #[arg(long)]
    pub(super) streams: bool,
}

/// Read the registry of an image, or of a hive file.
#[derive(Debug, clap::Args)]
#[command(after_help = super::reg::HELP)]
pub(super) struct Reg {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// The key, as Windows shows it: HKLM\SYSTEM\CurrentControlSet\...; or, in a hive file or with --hive, its path within the
    /// hive. Without it: which hives there are, or the root of the hive.
    #[arg(value_name = "KEY")]
    pub(super) key: Option<String>,
    /// Only this value; '' is the default value.
    #[arg(value_name = "VALUE")]
    pub(super) value: Option<String>,
    /// Show everything below the key too.
    #[arg(short, long)]
    pub(super) recursive: bool,
    /// Take KEY to be a path within the hive that this file of the image is: Users\Default\NTUSER.DAT.
    #[arg(long, value_name = "PATH")]
    pub(super) hive: Option<String>,
    /// Write the text of a .reg file, as regedit does.
    #[arg(long, conflicts_with_all = ["json", "value"])]
    pub(super) export: bool,
}

/// Print a boot store as `bcdedit /enum all` does.
#[derive(Debug, clap::Args)]
#[command(after_help = super::bcd::HELP)]
pub(super) struct Bcd {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// The store, as a path in the image, where it is not the one that the firmware would find.
    #[arg(long, value_name = "PATH")]
    pub(super) store: Option<String>,
    /// Print identifiers in full, as /v does, and not {bootmgr} and its like.
    #[arg(short, long)]
    pub(super) verbose: bool,
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

/// Check an image on all levels: container, partitions, NTFS, the way to boot, Windows.
#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    /// The image: VHD, VHDX, the bare sectors of a disk, or an NTFS volume.
    #[arg(required_unless_present = "list")]
    pub(super) image: Option<PathBuf>,
    /// Show findings of this level and above. (All count.)
    #[arg(long, value_name = "LEVEL", default_value = "note")]
    pub(super) level: LevelArg,
    /// Of the volumes check only this one, and not the way to boot.
    #[arg(long, value_name = "N")]
    pub(super) partition: Option<u32>,
    /// Print all rules instead: code, level, what each demands, and what happens else.
    #[arg(long, conflicts_with_all = ["image", "level", "partition"])]
    pub(super) list: bool,
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

fn size(text: &str) -> Result<u64, String> {
    let config = Config::new().with_binary().with_byte_suffix(ByteSuffix::Allow);
    config.parse_size(text).map_err(|e| format!("{e}; write bytes, or a number with K, M, G, T or KiB, MiB, GiB, TiB"))
}

fn cluster_size(text: &str) -> Result<u32, String> {
    let bytes = size(text)?;
    let fits = bytes.is_power_of_two() && (512..=0x1_0000).contains(&bytes);
    if fits { Ok(bytes as u32) } else { Err(format!("{bytes} bytes; allowed: 512, 1K, 2K, 4K, 8K, 16K, 32K, 64K")) }
}

fn ems(text: &str) -> Result<Ems, String> {
    let (port, baud) = text.split_once(',').unwrap_or((text, "115200"));
    let port = port.trim_start_matches("COM").parse().ok().filter(|port| (1..=4).contains(port));
    let port = port.ok_or_else(|| format!("'{text}'; allowed: 1 to 4, for COM1 to COM4"))?;
    const BAUDS: [u32; 5] = [9600, 19_200, 38_400, 57_600, 115_200];
    let baud = baud.parse().ok().filter(|baud| BAUDS.contains(baud));
    let baud = baud.ok_or_else(|| format!("'{text}'; allowed baud rates: 9600, 19200, 38400, 57600, 115200"))?;
    Ok(Ems { port, baud })
}

fn sector_size(text: &str) -> Result<u32, String> {
    match size(text)? {
        512 => Ok(512),
        4096 => Ok(4096),
        other => Err(format!("{other} bytes; allowed: 512, 4096")),
    }
}

fn copy(text: &str) -> Result<CopyIn, String> {
    CopyIn::parse(text).map_err(|error| error.to_string())
}

/// A name with a [`CHILD_NAME`] in it is looked at when that is known.
fn computer_name(text: &str) -> Result<String, String> {
    if text.contains(CHILD_NAME) {
        return Ok(text.to_owned());
    }
    ComputerName::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn first_start(command: &str) -> Result<Step, String> {
    Step::command(command).map_err(|error| error.to_string())
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

/// What stands for a child's name in the arguments of `fork`.
pub(super) const CHILD_NAME: &str = "{name}";

impl EditArgs {
    /// The same for a child of that name.
    pub(super) fn for_child(&self, name: &str) -> Result<Self> {
        let named = |text: &str| text.replace(CHILD_NAME, name);
        Ok(Self {
            delete: self.delete.iter().map(|path| named(path)).collect(),
            copy: self.copy.iter().map(|copy| copy.replaced(CHILD_NAME, name)).collect::<Result<_>>()?,
            reg: self.reg.iter().map(|path| replaced_in_path(path, CHILD_NAME, name)).collect(),
            setup: self.setup.for_child(name)?,
        })
    }
}

impl SetupArgs {
    /// See [`EditArgs::for_child`].
    fn for_child(&self, name: &str) -> Result<Self> {
        let named = |text: &str| text.replace(CHILD_NAME, name);
        let path = |path: &PathBuf| replaced_in_path(path, CHILD_NAME, name);
        let step = |step: &Step| Step::command(&named(&step.commands.join("\n")));
        Ok(Self {
            computer_name: self.computer_name.as_deref().map(named),
            admin_password_file: self.admin_password_file.as_ref().map(path),
            unattend: self.unattend.as_ref().map(path),
            setup_complete: self.setup_complete.iter().map(step).collect::<Result<_>>()?,
            time_zone: self.time_zone.clone(),
            ..*self
        })
    }

    /// Whether each child has a password of its own.
    pub(super) fn has_password_of_each(&self) -> bool {
        let path = self.admin_password_file.as_deref().and_then(Path::to_str);
        path.is_some_and(|path| path.contains(CHILD_NAME))
    }
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

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("neither on nor off".into()),
    }
}

/// A machine's memory, in MiB.
fn memory(text: &str) -> Result<u32, String> {
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
