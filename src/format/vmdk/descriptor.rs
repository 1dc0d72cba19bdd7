//! The descriptor: lines of text that say what kind of disk it is, of which files it is made, and what its machine is like.

use std::fmt::Write;

use uuid::Uuid;

use super::ondisk::SECTOR;
use super::plan::DESCRIPTOR_LEN;
use crate::error::{Error, Result};

/// The kinds of VMDK that are one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Variant {
    /// monolithicSparse: grains that can be written anew, those that hold nothing left out.
    Sparse,
    /// streamOptimized: compressed grains, each written once, for transport.
    StreamOptimized,
}

impl Variant {
    /// The `createType` of its descriptor.
    pub fn create_type(self) -> &'static str {
        match self {
            Self::Sparse => "monolithicSparse",
            Self::StreamOptimized => "streamOptimized",
        }
    }
}

/// The controller that a disk is made for, `ddb.adapterType`. VMware wants it to be that of the machine; VirtualBox does not look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Adapter {
    /// IDE, and by custom SATA too.
    Ide,
    /// SCSI by LSI Logic, parallel and SAS, and by custom paravirtual SCSI and NVMe too.
    LsiLogic,
    /// SCSI by BusLogic.
    BusLogic,
}

impl Adapter {
    /// The adapter of that name in a descriptor.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Ide, Self::LsiLogic, Self::BusLogic]
            .into_iter()
            .find(|adapter| adapter.name().eq_ignore_ascii_case(name))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ide => "ide",
            Self::LsiLogic => "lsilogic",
            Self::BusLogic => "buslogic",
        }
    }

    /// Cylinders, heads and sectors per track: what the BIOS shows of a disk by IDE, at most 8 GB of it; by SCSI those of the
    /// controller's translation, which grow with the disk.
    fn geometry(self, disk_len: u64) -> (u64, u64, u64) {
        const GIB: u64 = 1 << 30;
        let (heads, sectors) = match self {
            Self::Ide => (16, 63),
            _ if disk_len < GIB => (64, 32),
            _ if disk_len < 2 * GIB => (128, 32),
            _ => (255, 63),
        };
        let most = if self == Self::Ide { 16383 } else { 65535 };
        ((disk_len / SECTOR / (heads * sectors)).clamp(1, most), heads, sectors)
    }
}

/// What a descriptor says beside sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    /// The disk's unique id, for VirtualBox. The content ids of VMware follow from it.
    pub id: Uuid,
    /// The controller it is made for.
    pub adapter: Adapter,
    /// The name of the file itself, without a path. VMware and libvmdk open the file of this name for the contents.
    pub name: String,
}

impl Params {
    /// The content id: what a snapshot's delta knows the disk by. Two values are VMware's own: no parent, and never written.
    fn cid(&self) -> u32 {
        match self.id.as_fields().0 {
            cid @ (0 | 0xFFFF_FFFE | 0xFFFF_FFFF) => cid ^ 0x5555_5555,
            cid => cid,
        }
    }

    /// The name, with what would break its line replaced.
    fn safe_name(&self) -> String {
        self.name.chars().map(|c| if c.is_control() || "\"/\\".contains(c) { '_' } else { c }).collect()
    }
}

/// The descriptor of a disk, as long as the room for it.
///
/// Fails with [`Kind::Invalid`](crate::error::Kind::Invalid) if the name is too long.
pub(super) fn render(params: &Params, variant: Variant, disk_len: u64) -> Result<Vec<u8>> {
    let cid = params.cid();
    let (cylinders, heads, sectors) = params.adapter.geometry(disk_len);
    let access = if variant == Variant::Sparse { "RW" } else { "RDONLY" };
    let mut text = String::new();
    let id = params.id.simple().to_string();
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "# Disk DescriptorFile\n\
         version=1\n\
         encoding=\"UTF-8\"\n\
         CID={cid:08x}\n\
         parentCID=ffffffff\n\
         createType=\"{}\"\n\
         \n\
         # Extent description\n\
         {access} {} SPARSE \"{}\"\n\
         \n\
         # The Disk Data Base\n\
         #DDB\n\
         \n\
         ddb.adapterType = \"{}\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\n\
         ddb.geometry.heads = \"{heads}\"\n\
         ddb.geometry.sectors = \"{sectors}\"\n\
         ddb.longContentID = \"{}{cid:08x}\"\n\
         ddb.uuid.image=\"{}\"\n\
         ddb.uuid.modification=\"00000000-0000-0000-0000-000000000000\"\n\
         ddb.uuid.parent=\"00000000-0000-0000-0000-000000000000\"\n\
         ddb.uuid.parentmodification=\"00000000-0000-0000-0000-000000000000\"\n\
         ddb.virtualHWVersion = \"4\"\n",
        variant.create_type(),
        disk_len / SECTOR,
        params.safe_name(),
        params.adapter.name(),
        &id[8..],
        params.id,
    );
    let mut bytes = text.into_bytes();
    // A zero behind the text ends it.
    if bytes.len() as u64 >= DESCRIPTOR_LEN {
        return Err(Error::invalid("name of a VMDK's file").found(format_args!("{} bytes", params.name.len())));
    }
    bytes.resize(DESCRIPTOR_LEN as usize, 0);
    Ok(bytes)
}

/// What a descriptor says, as far as it is understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// The content id.
    pub cid: Option<u32>,
    /// The content id of the disk below; [`NO_PARENT`] if there is none.
    pub parent_cid: Option<u32>,
    /// What kind of disk it is.
    pub create_type: Option<String>,
    /// The files that it is made of.
    pub extents: Vec<Extent>,
    /// The id that VirtualBox knows it by.
    pub id: Option<Uuid>,
    /// The controller it is made for.
    pub adapter: Option<String>,
}

/// The `parentCID` of a disk that lies on none.
pub const NO_PARENT: u32 = u32::MAX;

/// A part of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extent {
    /// Its length in sectors.
    pub sectors: u64,
    /// How it is kept: `SPARSE`, `FLAT`, `ZERO`, `VMFS`, ...
    pub kind: String,
    /// The file; empty where there is none.
    pub name: String,
}

impl Descriptor {
    /// Reads the text up to the first zero. Lines that are not understood are skipped: VMware and others add their own.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let mut parsed = Self::default();
        for line in String::from_utf8_lossy(text).lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            if let Some(extent) = Extent::parse(line) {
                parsed.extents.push(extent);
            } else if let Some((key, value)) = line.split_once('=') {
                parsed.set(key.trim(), value.trim().trim_matches('"'));
            }
        }
        parsed
    }

    fn set(&mut self, key: &str, value: &str) {
        let hex = || u32::from_str_radix(value, 16).ok();
        match key.to_ascii_lowercase().as_str() {
            "cid" => self.cid = hex(),
            "parentcid" => self.parent_cid = hex(),
            "createtype" => self.create_type = Some(value.to_owned()),
            "ddb.uuid.image" => self.id = Uuid::parse_str(value).ok(),
            "ddb.adaptertype" => self.adapter = Some(value.to_owned()),
            _ => {}
        }
    }
}

impl Extent {
    /// `RW 4192256 SPARSE "name.vmdk"`, with more behind it for some kinds.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(4, ' ');
        let access = words.next()?;
        if !["RW", "RDONLY", "NOACCESS"].contains(&access) {
            return None;
        }
        let sectors = words.next()?.parse().ok()?;
        let kind = words.next()?.to_owned();
        let name = words.next().and_then(|rest| rest.split('"').nth(1)).unwrap_or_default().to_owned();
        Some(Self { sectors, kind, name })
    }
}
