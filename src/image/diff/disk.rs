//! The disks around two volumes.

use uuid::Uuid;

use super::difference::{Area, Aspect, Change, Detail, Difference, Fact};
use crate::base::ReadAt;
use crate::error::Result;
use crate::format::hive::words::hexadecimal;
use crate::format::ntfs::{BPB, read::Facts};
use crate::format::partitions::{Kind, Partition, Scheme, Table};

/// Bytes of program in a master boot record; behind them are the disk's signature and the table.
const MBR_CODE: usize = 440;

/// What a disk is, apart from the files on it.
#[derive(Debug, Clone)]
pub struct DiskFacts {
    /// Its length in bytes.
    pub len: u64,
    /// How it is divided.
    pub table: Table,
    /// The program in its first sector, if it is divided.
    pub boot_code: Vec<u8>,
    /// The number of the partition whose files are compared.
    pub partition: u32,
    /// What the volume there says about itself.
    pub volume: Facts,
}

impl DiskFacts {
    /// Those of a disk whose partition `number` holds the volume.
    pub fn read(disk: &dyn ReadAt, table: Table, number: u32, volume: Facts) -> Result<Self> {
        let mut boot_code = vec![0; if table.scheme == Scheme::None { 0 } else { MBR_CODE }];
        disk.read_at(0, &mut boot_code)?;
        Ok(Self { len: disk.len(), table, boot_code, partition: number, volume })
    }
}

/// Tells what differs: of the disk, of each partition by its number, and of the volume.
pub(super) fn compare(a: &DiskFacts, b: &DiskFacts, tell: &mut dyn FnMut(Difference) -> Result<()>) -> Result<()> {
    let whole = [
        ("size", [a, b].map(|disk| Some(Fact::Number(disk.len)))),
        ("partition table", [a, b].map(|disk| Some(scheme(&disk.table.scheme)))),
        ("identifier", [a, b].map(|disk| identifier(&disk.table.scheme))),
        ("boot code", [a, b].map(|disk| code(&disk.boot_code))),
    ];
    changed("disk", whole, tell)?;
    let number = |partition: &&Partition| partition.number;
    let mut numbers: Vec<u32> = a.table.partitions.iter().chain(&b.table.partitions).map(|p| number(&p)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    for number in numbers {
        let path = format!("partition {number}");
        let find = |disk: &'_ DiskFacts| disk.table.partitions.iter().find(|p| p.number == number).cloned();
        match (find(a), find(b)) {
            (Some(a), Some(b)) => changed(&path, partition(&a, &b), tell)?,
            (Some(_), None) => tell(Difference::new(Area::Disk, Change::Removed, path))?,
            (None, _) => tell(Difference::new(Area::Disk, Change::Added, path))?,
        }
    }
    let numbers = Some(Fact::Number(a.partition.into())) != Some(Fact::Number(b.partition.into()));
    let path = if numbers { "volumes".to_owned() } else { format!("volume of partition {}", a.partition) };
    changed(&path, volume(&a.volume, &b.volume), tell)
}

type Facts2 = (&'static str, [Option<Fact>; 2]);

fn changed(
    path: &str,
    facts: impl IntoIterator<Item = Facts2>,
    tell: &mut dyn FnMut(Difference) -> Result<()>,
) -> Result<()> {
    let differing = facts.into_iter().filter(|(_, [a, b])| a != b);
    let details: Vec<Detail> = differing.map(|(what, [a, b])| Detail::new(Aspect::Disk, a, b).of(what)).collect();
    if details.is_empty() { Ok(()) } else { tell(Difference::new(Area::Disk, Change::Changed, path).with(details)) }
}

fn scheme(scheme: &Scheme) -> Fact {
    Fact::from(match scheme {
        Scheme::None => "none",
        Scheme::Mbr { .. } => "MBR",
        Scheme::Gpt { .. } => "GPT",
    })
}

fn identifier(scheme: &Scheme) -> Option<Fact> {
    match scheme {
        Scheme::None => None,
        Scheme::Mbr { signature } => Some(Fact::Text(format!("{signature:08x}"))),
        Scheme::Gpt { disk } => Some(Fact::Text(disk.to_string())),
    }
}

/// Boot code by its SHA-1: nobody wants to see the bytes.
fn code(bytes: &[u8]) -> Option<Fact> {
    use sha1::{Digest, Sha1};
    let end = bytes.iter().rposition(|byte| *byte != 0)? + 1;
    Some(Fact::Text(format!("SHA-1 {}", hexadecimal(&Sha1::digest(&bytes[..end])))))
}

fn partition(a: &Partition, b: &Partition) -> [Facts2; 5] {
    let kind = |partition: &Partition| match partition.kind {
        Kind::Bare => None,
        Kind::Mbr(kind) => Some(Fact::Text(format!("{kind:#04x}"))),
        Kind::Gpt(kind) => Some(Fact::Text(kind.to_string())),
    };
    let id = |partition: &Partition| partition.id.as_ref().map(Uuid::to_string).map(Fact::Text);
    [
        ("start", [a, b].map(|partition| Some(Fact::Number(partition.range.start)))),
        ("size", [a, b].map(|partition| Some(Fact::Number(partition.range.end.saturating_sub(partition.range.start))))),
        ("type", [a, b].map(kind)),
        ("active", [a, b].map(|partition| Some(Fact::Flag(partition.active)))),
        ("identifier", [a, b].map(id)),
    ]
}

fn volume(a: &Facts, b: &Facts) -> [Facts2; 8] {
    let both = [a, b];
    [
        ("label", both.map(|volume| Some(Fact::Text(volume.label.to_string())))),
        ("serial", both.map(|volume| Some(Fact::Text(format!("{:016x}", volume.serial))))),
        ("size", both.map(|volume| Some(Fact::Number(volume.len)))),
        ("cluster size", both.map(|volume| Some(Fact::Number(volume.cluster_size.into())))),
        ("sector size", both.map(|volume| Some(Fact::Number(volume.sector_size.into())))),
        ("hidden sectors", both.map(|volume| Some(Fact::Number(volume.hidden_sectors)))),
        ("dirty", both.map(|volume| Some(Fact::Flag(volume.dirty)))),
        ("boot code", both.map(|volume| code(&without_parameters(&volume.boot_code)))),
    ]
}

/// The boot code without what it says about the volume.
fn without_parameters(code: &[u8]) -> Vec<u8> {
    let mut code = code.to_vec();
    if let Some(parameters) = code.get_mut(BPB) {
        parameters.fill(0);
    }
    code
}
