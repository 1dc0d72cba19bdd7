//! The disks around two volumes.

use uuid::Uuid;

use super::boot;
use super::difference::{Area, Aspect, Change, Detail, Difference, Fact};
use crate::base::ReadAt;
use crate::error::{self, Result};
use crate::format::bcd::Store;
use crate::format::hive::words::hexadecimal;
use crate::format::ntfs::{BPB, read::Facts};
use crate::format::partitions::{Kind, Partition, Scheme, Table};
use crate::image::boot_store;
use crate::image::source::{Choice, Input};

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
    /// The boot stores on other partitions, with where they are: that of UEFI is on the EFI system partition.
    pub stores: Vec<(String, Store)>,
}

impl DiskFacts {
    /// Those of a disk whose partition `number` holds the volume.
    pub fn read(disk: &dyn ReadAt, table: Table, number: u32, volume: Facts) -> Result<Self> {
        let mut boot_code = vec![0; if table.scheme == Scheme::None { 0 } else { MBR_CODE }];
        disk.read_at(0, &mut boot_code)?;
        Ok(Self { len: disk.len(), table, boot_code, partition: number, volume, stores: Vec::new() })
    }

    /// Looks for boot stores on the partitions from which a firmware starts, but for the one that is compared anyway; gives in
    /// words what is wrong with those that cannot be read.
    pub(super) fn find_stores(&mut self, input: &Input, name: &str) -> Vec<String> {
        let boots = |partition: &&Partition| {
            partition.number != self.partition && (partition.active || partition.kind.is_efi_system())
        };
        let numbers: Vec<u32> = self.table.partitions.iter().filter(boots).map(|partition| partition.number).collect();
        let mut trouble = Vec::new();
        for number in numbers {
            let choice = Choice { partition: Some(number), ..Choice::default() };
            match boot_store::find(input, name, choice, None) {
                Ok(found) => self.stores.push((format!("partition {number}: {}", found.path), found.store)),
                Err(error) if error.kind() == error::Kind::Invalid => {} // there is none
                Err(error) => trouble.push(format!("the boot store of partition {number} is not compared: {error}")),
            }
        }
        trouble
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
    changed(&path, volume(&a.volume, &b.volume), tell)?;
    stores(&a.stores, &b.stores, tell)
}

/// Stores of one place are compared; of one that only one side has, that is all there is to say.
fn stores(a: &[(String, Store)], b: &[(String, Store)], tell: &mut dyn FnMut(Difference) -> Result<()>) -> Result<()> {
    let find = |stores: &[(String, Store)], place: &str| stores.iter().any(|(other, _)| other == place);
    for (place, store) in a {
        match b.iter().find(|(other, _)| other == place) {
            Some((_, other)) => boot::compare(store, other, place, tell)?,
            None => tell(Difference::new(Area::Boot, Change::Removed, place))?,
        }
    }
    let added = b.iter().filter(|(place, _)| !find(a, place));
    added.map(|(place, _)| Difference::new(Area::Boot, Change::Added, place)).try_for_each(tell)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FileTime;
    use crate::format::bcd::{self, Element, Object};

    fn sample() -> DiskFacts {
        let partition = Partition { number: 1, range: 1 << 20..9 << 20, kind: Kind::Mbr(7), active: true, id: None };
        let volume = Facts {
            cluster_size: 4096,
            sector_size: 512,
            hidden_sectors: 2048,
            serial: 7,
            label: "label".into(),
            created: FileTime(1),
            version: (3, 1),
            dirty: false,
            len: 8 << 20,
            free_bytes: 4 << 20,
            boot_code: vec![1; 512],
        };
        let mut store = Store::default();
        store.objects.insert(bcd::id_of_name("bootmgr").unwrap(), Object::new(0x1010_0002));
        let table = Table { scheme: Scheme::Mbr { signature: 1 }, partitions: vec![partition] };
        let stores = vec![("partition 2: store".to_owned(), store)];
        DiskFacts { len: 10 << 20, table, boot_code: vec![2; 440], partition: 1, volume, stores }
    }

    fn told(edit: impl FnOnce(&mut DiskFacts)) -> Vec<String> {
        let (a, mut b) = (sample(), sample());
        edit(&mut b);
        let mut told = Vec::new();
        compare(&a, &b, &mut |difference| {
            let what: Vec<&str> = difference.details.iter().filter_map(|detail| detail.of.as_deref()).collect();
            let value = difference.value.unwrap_or_default();
            told.push(format!("{:?} {}: {}{value}", difference.change, difference.path, what.join(", ")));
            Ok(())
        })
        .unwrap();
        told
    }

    #[test]
    fn one_difference_of_each_kind_is_told_alone() {
        assert_eq!(told(|_| ()), Vec::<String>::new());
        assert_eq!(told(|disk| disk.len += 1), ["Changed disk: size"]);
        assert_eq!(told(|disk| disk.table.scheme = Scheme::Mbr { signature: 2 }), ["Changed disk: identifier"]);
        assert_eq!(told(|disk| disk.boot_code[439] = 1), ["Changed disk: boot code"]);
        let partition = |edit: fn(&mut Partition)| told(move |disk| edit(&mut disk.table.partitions[0]));
        assert_eq!(partition(|partition| partition.active = false), ["Changed partition 1: active"]);
        assert_eq!(partition(|partition| partition.range.end += 512), ["Changed partition 1: size"]);
        assert_eq!(partition(|partition| partition.kind = Kind::Mbr(0x27)), ["Changed partition 1: type"]);
        assert_eq!(partition(|partition| partition.number = 2), ["Removed partition 1: ", "Added partition 2: "]);
        assert_eq!(told(|disk| disk.volume.label = "x".into()), ["Changed volume of partition 1: label"]);
        assert_eq!(told(|disk| disk.volume.serial = 8), ["Changed volume of partition 1: serial"]);
        assert_eq!(told(|disk| disk.volume.cluster_size = 512), ["Changed volume of partition 1: cluster size"]);
        assert_eq!(told(|disk| disk.volume.dirty = true), ["Changed volume of partition 1: dirty"]);
        assert_eq!(told(|disk| disk.volume.boot_code[0x60] = 9), ["Changed volume of partition 1: boot code"]);
        // What the boot record says about the volume is no code.
        assert_eq!(told(|disk| disk.volume.boot_code[0x30] = 9), Vec::<String>::new());
    }

    #[test]
    fn stores_on_other_partitions_are_compared() {
        let timeout = |disk: &mut DiskFacts| {
            let object = disk.stores[0].1.objects.values_mut().next().unwrap();
            object.elements.insert(0x2500_0004, Element::Integer(3));
        };
        assert_eq!(told(timeout), ["Added partition 2: store: timeout"]);
        assert_eq!(told(|disk| disk.stores.clear()), ["Removed partition 2: store: "]);
    }
}
