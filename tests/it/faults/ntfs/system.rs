//! The boot sector, $MFT, and the files that every volume has.

use nanovhd::verify::Rule;

use super::{Faults, Surgeon, Where, fault};
use crate::support::surgeon::{int, kind, put, units};

/// What cannot be looked at when $MFT is not found.
const NO_MFT: &[Rule] =
    &[Rule::BootSector, Rule::MftRuns, Rule::RecordMagic, Rule::Fixup, Rule::MftMirror, Rule::SystemFile];

const BOOT: Where = Where::Offset(0, 512);

/// Changes a field of the boot sector and its copy.
fn boot(volume: &mut Surgeon, at: usize, bytes: &[u8]) -> Where {
    volume.patch_boot(at, bytes);
    BOOT
}

/// Changes a byte of a stream of a system file.
fn flip(volume: &mut Surgeon, record: u64, name: &str, at: usize) -> Where {
    let old = volume.value(record, kind::DATA, name)[at];
    volume.patch(record, kind::DATA, name, at, &[old ^ 0x40]);
    Where::Record(record)
}

/// Changes the size of a non-resident stream of a system file, and how much of it is initialised.
fn resize(volume: &mut Surgeon, record: u64, name: &str, by: i64) -> Where {
    let size = volume.size(record, kind::DATA, name).wrapping_add_signed(by);
    volume.set_field(record, kind::DATA, name, 48, 8, size);
    volume.set_field(record, kind::DATA, name, 56, 8, size);
    Where::Record(record)
}

/// Moves the backup of the boot sector to the sector after so many.
fn total_sectors(volume: &mut Surgeon, total: u64) -> Where {
    volume.patch_boot(0x28, &total.to_le_bytes());
    let sector = volume.sector;
    let at = total as usize * sector;
    if at + sector <= volume.bytes.len() {
        volume.bytes.copy_within(..sector, at);
    }
    BOOT
}

pub(super) const FAULTS: Faults = &[
    fault(Rule::BootSector, "another name", |v| boot(v, 3, b"NTFT")),
    fault(Rule::BootSector, "sectors of no power of two", |v| boot(v, 0x0B, &[1, 2])),
    fault(Rule::BootSector, "sectors of 0 bytes", |v| boot(v, 0x0B, &[0, 0])),
    fault(Rule::BootSector, "clusters of 3 sectors", |v| boot(v, 0x0D, &[3])),
    fault(Rule::BootSector, "clusters of no sectors", |v| boot(v, 0x0D, &[0])),
    fault(Rule::BootSector, "a field that has to be 0", |v| boot(v, 0x10, &[2])),
    fault(Rule::BootSector, "media", |v| boot(v, 0x15, &[0xF0])),
    fault(Rule::BootSector, "no sectors", |v| boot(v, 0x28, &[0; 8])).also(&[Rule::BootBackup, Rule::VolumeSize]),
    fault(Rule::BootSector, "$MFT outside of the volume", |v| boot(v, 0x30, &u64::MAX.to_le_bytes())).also(NO_MFT),
    fault(Rule::BootSector, "$MFTMirr outside of the volume", |v| boot(v, 0x38, &[0, 0, 0, 0, 0, 0, 0, 0x10]))
        .also(&[Rule::MftMirror]),
    fault(Rule::BootSector, "records of no length", |v| boot(v, 0x40, &[0])).also(NO_MFT),
    fault(Rule::BootSector, "records of 1 TiB", |v| boot(v, 0x40, &[0x80])).also(NO_MFT),
    fault(Rule::BootSector, "index blocks of no length", |v| boot(v, 0x44, &[0])).also(&[Rule::IndexRoot]),
    fault(Rule::BootSector, "signature", |v| boot(v, 0x1FE, &[0xAA, 0x55])),
    fault(Rule::BootBackup, "one byte differs", |v| {
        let at = v.bytes.len() - v.sector;
        v.bytes[at + 0x100] ^= 1;
        Where::Offset(at as u64, v.sector as u64)
    }),
    fault(Rule::BootBackup, "nothing there", |v| {
        let at = v.bytes.len() - v.sector;
        v.bytes[at..].fill(0);
        Where::Offset(at as u64, v.sector as u64)
    }),
    fault(Rule::VolumeSize, "a sector less", |v| {
        let total = int(&v.bytes, 0x28, 8);
        total_sectors(v, total - 1)
    })
    .also(&[Rule::BootBackup, Rule::BitmapTail, Rule::BadClusters]),
    fault(Rule::VolumeSize, "longer than its partition", |v| {
        let total = int(&v.bytes, 0x28, 8);
        total_sectors(v, total + 1)
    })
    .also(&[Rule::BootBackup, Rule::BitmapTail, Rule::BadClusters, Rule::ClusterLeak]),
    fault(Rule::BootFile, "another place", |v| {
        let clusters = v.runs(7, kind::DATA, "")[0].1;
        let lcn = v.free_clusters(clusters);
        v.set_runs(7, kind::DATA, "", &[(Some(lcn), clusters)]);
        Where::Record(7)
    }),
    fault(Rule::BootFile, "half of it", |v| resize(v, 7, "", -4096)).also(&[Rule::AttributeSizes, Rule::EntrySizes]),
    fault(Rule::MftMirror, "a byte in the copy of record 1", |v| {
        let mirror = int(&v.bytes, 0x38, 8) as usize * v.cluster;
        let at = mirror + v.record_len + 8; // the LSN
        v.bytes[at] ^= 1;
        Where::Any(vec![Where::Record(1), Where::Offset(mirror as u64, 4 * v.record_len as u64)])
    }),
    fault(Rule::MftMirror, "a torn copy of record 3", |v| {
        let mirror = int(&v.bytes, 0x38, 8) as usize * v.cluster;
        let end = mirror + 4 * v.record_len;
        v.bytes[end - 1] ^= 0x80;
        Where::Any(vec![Where::Records(vec![1, 3]), Where::Offset(mirror as u64, 4 * v.record_len as u64)])
    }),
    fault(Rule::MftMirror, "the boot sector names another place", |v| {
        let lcn = v.free_clusters((4 * v.record_len).div_ceil(v.cluster) as u64);
        v.patch_boot(0x38, &lcn.to_le_bytes());
        Where::Any(vec![Where::Record(1), BOOT])
    })
    .also(&[Rule::BootSector]),
    fault(Rule::MftRuns, "the boot sector names an empty place", |v| {
        let lcn = v.free_clusters((4 * v.record_len).div_ceil(v.cluster) as u64);
        v.patch_boot(0x30, &lcn.to_le_bytes());
        Where::Whole
    })
    .also(NO_MFT),
    fault(Rule::MftRuns, "the boot sector names a copy of $MFT's first records", |v| {
        let clusters = (16 * v.record_len).div_ceil(v.cluster);
        let lcn = v.free_clusters(clusters as u64);
        for record in 0..16 {
            let raw = v.raw_record(record);
            v.bytes[lcn as usize * v.cluster + record as usize * v.record_len..][..raw.len()].copy_from_slice(&raw);
        }
        v.patch_boot(0x30, &lcn.to_le_bytes());
        Where::Whole
    })
    .also(&[Rule::BootSector]),
    fault(Rule::MftBitmap, "a free record is marked", |v| {
        let record = v.free_record();
        v.set_bit(0, kind::BITMAP, "", record, true);
        Where::Records(vec![0, record])
    }),
    fault(Rule::MftBitmap, "a record in use is not", |v| {
        let record = super::only(v);
        v.set_bit(0, kind::BITMAP, "", record, false);
        Where::Records(vec![0, record])
    }),
    fault(Rule::SystemFile, "$MFT has another name", |v| {
        v.patch_name(0, "$MFT", 66 + 2 * 3, &units("S"));
        Where::Record(0)
    }),
    fault(Rule::SystemFile, "$AttrDef is not hidden", |v| {
        v.set_file_attributes(4, |_| 0);
        Where::Record(4)
    }),
    fault(Rule::SystemFile, "$Quota has another name", |v| {
        v.patch_name(24, "$Quota", 66 + 2 * 5, &units("b"));
        Where::Records(vec![11, 24])
    })
    .also(&[Rule::Quota]),
    fault(Rule::SystemFile, "a reserved record is free", |v| {
        v.set(13, 22, 2, 0);
        v.set_bit(0, kind::BITMAP, "", 13, false);
        Where::Record(13)
    }),
    fault(Rule::SystemFile, "$Volume has no $VOLUME_INFORMATION", |v| {
        v.remove(3, kind::VOLUME_INFORMATION, "");
        Where::Record(3)
    })
    .also(&[Rule::VolumeInformation, Rule::AttributeKind]),
    fault(Rule::SystemFile, "$BadClus has no main stream", |v| {
        v.remove(8, kind::DATA, "");
        Where::Record(8)
    })
    .also(&[Rule::BadClusters, Rule::AttributeKind]),
    fault(Rule::AttributeDefinitions, "a flag of a type", |v| flip(v, 4, "", 140)),
    fault(Rule::AttributeDefinitions, "a type less", |v| resize(v, 4, "", -160)).also(&[Rule::EntrySizes]),
    fault(Rule::UpCase, "one unit", |v| flip(v, 10, "", 2 * 0xE000)),
    fault(Rule::UpCase, "one unit less", |v| resize(v, 10, "", -2)).also(&[Rule::EntrySizes]),
    fault(Rule::UpCaseInfo, "another checksum", |v| flip(v, 10, "$Info", 9)),
    fault(Rule::UpCaseInfo, "none", |v| {
        v.remove(10, kind::DATA, "$Info");
        Where::Record(10)
    }),
    fault(Rule::BadClusters, "a bad cluster", |v| {
        let (all, lcn) = (v.clusters(), v.free_clusters(1));
        v.set_runs(8, kind::DATA, "$Bad", &[(None, lcn), (Some(lcn), 1), (None, all - lcn - 1)]);
        Where::Record(8)
    })
    .also(&[Rule::AttributeSizes]),
    fault(Rule::BadClusters, "a cluster less", |v| {
        let all = v.clusters();
        let len = (all - 1) * v.cluster as u64;
        v.set_runs(8, kind::DATA, "$Bad", &[(None, all - 1)]);
        for (at, value) in [(24, all - 2), (40, len), (48, len)] {
            v.set_field(8, kind::DATA, "$Bad", at, 8, value);
        }
        Where::Record(8)
    }),
    fault(Rule::BadClusters, "initialised", |v| {
        v.set_field(8, kind::DATA, "$Bad", 56, 8, 4096);
        Where::Record(8)
    }),
    fault(Rule::LogFile, "something that is no journal", |v| {
        v.patch(2, kind::DATA, "", 0, &[0x5A; 4096]);
        Where::Record(2)
    }),
    fault(Rule::LogFile, "a page that was not closed", |v| {
        v.patch(2, kind::DATA, "", 0, &restart_page(0));
        v.patch(2, kind::DATA, "", 4096, &restart_page(0));
        Where::Record(2)
    }),
    fault(Rule::LogFile, "half of a page", |v| {
        v.patch(2, kind::DATA, "", 0, &restart_page(2)[..512]);
        Where::Record(2)
    }),
    fault(Rule::LogFile, "a byte in an empty journal", |v| flip(v, 2, "", 0x8000)),
    fault(Rule::VolumeInformation, "version 3.0", |v| {
        v.patch(3, kind::VOLUME_INFORMATION, "", 9, &[0]);
        Where::Record(3)
    }),
    fault(Rule::VolumeInformation, "version 1.2", |v| {
        v.patch(3, kind::VOLUME_INFORMATION, "", 8, &[1, 2]);
        Where::Record(3)
    }),
    fault(Rule::VolumeInformation, "an unknown flag", |v| {
        v.patch(3, kind::VOLUME_INFORMATION, "", 10, &[0, 4]);
        Where::Record(3)
    }),
    fault(Rule::VolumeInformation, "half a character in the label", |v| {
        v.set_value(3, kind::VOLUME_NAME, "", b"abc");
        Where::Record(3)
    }),
    fault(Rule::VolumeInformation, "a long label", |v| {
        v.set_value(3, kind::VOLUME_NAME, "", &units(&"x".repeat(129)));
        Where::Record(3)
    })
    .also(&[Rule::AttributeKind]),
    fault(Rule::VolumeDirty, "dirty", |v| {
        v.patch(3, kind::VOLUME_INFORMATION, "", 10, &[1]);
        Where::Record(3)
    }),
    fault(Rule::Quota, "an owner of another number", |v| {
        let entry = v.entry_of(24, "$O", crate::support::surgeon::Node::Root, 0);
        v.patch_entry_at(&entry, 32, &[1, 1]);
        Where::Record(24)
    }),
    fault(Rule::Quota, "no quota for the owner", |v| {
        let entry = v.entry_of(24, "$Q", crate::support::surgeon::Node::Root, 1);
        v.remove_entry(&entry);
        Where::Record(24)
    }),
    fault(Rule::Quota, "an unknown version", |v| {
        let entry = v.entry_of(24, "$Q", crate::support::surgeon::Node::Root, 1);
        v.patch_entry_at(&entry, 20, &[9]);
        Where::Record(24)
    }),
];

/// A restart page of a journal that NTFS uses, of version 1.1, with these flags (2: closed).
fn restart_page(flags: u64) -> Vec<u8> {
    const AREA: usize = 0x30;
    const CLIENT: usize = AREA + 0x40;
    let mut page = vec![0; 4096];
    page[..4].copy_from_slice(b"RSTR");
    // The update sequence, the lengths of pages, the restart area, the version.
    for (at, len, value) in
        [(4, 2, 0x1E), (6, 2, 9), (16, 4, 4096), (20, 4, 4096), (24, 2, AREA as u64), (26, 2, 1), (28, 2, 1)]
    {
        put(&mut page, at, len, value);
    }
    // Current LSN, clients, the lists of free and used ones, flags, lengths.
    let area = [
        (0, 8, 0x10_0000),
        (8, 2, 1),
        (10, 2, 0xFFFF),
        (12, 2, 0),
        (14, 2, flags),
        (16, 4, 44),
        (20, 2, 0xE0),
        (22, 2, 0x40),
        (24, 8, 2 << 20),
        (36, 2, 48),
        (38, 2, 64),
    ];
    for (at, len, value) in area {
        put(&mut page, AREA + at, len, value);
    }
    put(&mut page, CLIENT + 16, 4, 0xFFFF_FFFF);
    put(&mut page, CLIENT + 28, 4, 8);
    page[CLIENT + 32..CLIENT + 40].copy_from_slice(&units("NTFS"));
    let number = [1, 0];
    page[0x1E..0x20].copy_from_slice(&number);
    for end in (512..=4096).step_by(512) {
        page[end - 2..end].copy_from_slice(&number);
    }
    page
}
