//! The boot sector, its copy, and the sizes that follow from it.

use std::fmt::Display;

use zerocopy::FromBytes;

use crate::base::ReadAt;
use crate::format::ntfs::ondisk::{BiosParameterBlock, INDEX_BLOCK, MAX_CLUSTERS};
use crate::verify::{Finding, Findings, Level, Rule};

/// Where the parameters and the signature are in the sector.
const PARAMETERS: std::ops::Range<usize> = 3..0x54;
const SIGNATURE: std::ops::Range<usize> = 0x1FE..0x200;
/// The part of the sector that is there at any sector size.
const SECTOR: usize = 512;
/// The largest cluster that Windows 10 formats.
const MAX_CLUSTER: u64 = 2 << 20;

/// The sizes of a volume's units, all of them sane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Geometry {
    pub(super) sector: u64,
    pub(super) cluster: u64,
    pub(super) record: usize,
    /// Whole clusters of the volume.
    pub(super) clusters: u64,
    pub(super) mft_lcn: u64,
    pub(super) mirror_lcn: u64,
}

impl Geometry {
    /// The offset of a cluster in the volume.
    pub(super) fn offset(&self, lcn: u64) -> u64 {
        lcn.saturating_mul(self.cluster)
    }

    /// By which unit blocks of indexes are numbered.
    pub(super) fn index_unit(&self) -> u64 {
        if self.cluster > INDEX_BLOCK as u64 { 512 } else { self.cluster }
    }
}

/// Checks the boot sector; `None` where it is too wrong to go on.
pub(super) fn check(volume: &dyn ReadAt, findings: &mut Findings) -> Option<Geometry> {
    let mut sector = [0; SECTOR];
    if let Err(error) = volume.read_at(0, &mut sector) {
        findings.add(Finding::new(Rule::BootSector, error).part("boot sector").at(0));
        return None;
    }
    let parameters = BiosParameterBlock::read_from_bytes(&sector[PARAMETERS]).ok()?;
    let mut checker = Checker { findings, volume_len: volume.len() };
    checker.constants(&sector, &parameters);
    let geometry = checker.sizes(&parameters)?;
    checker.size(&parameters, &geometry);
    checker.backup(volume, &sector, parameters.total_sectors.get(), geometry.sector);
    Some(geometry)
}

struct Checker<'a> {
    findings: &'a mut Findings,
    volume_len: u64,
}

impl Checker<'_> {
    fn field(&mut self, sound: bool, at: u64, name: &str, found: impl Display, allowed: impl Display) -> bool {
        if !sound {
            let finding = Finding::new(Rule::BootSector, found).allowed(allowed);
            self.findings.add(finding.part(format_args!("boot sector, {name}")).at(at));
        }
        sound
    }

    fn constants(&mut self, sector: &[u8; SECTOR], parameters: &BiosParameterBlock) {
        let jump = &sector[..3];
        self.field(
            matches!(jump, [0xEB, 0x52, 0x90] | [0xEB, 0x5B, 0x90] | [0xE9, ..]),
            0,
            "jump",
            format_args!("{jump:02x?}"),
            "eb 52 90",
        );
        let oem = parameters.oem;
        self.field(
            oem == *b"NTFS    ",
            3,
            "name",
            format_args!("{:?}", oem.escape_ascii().to_string()),
            "\"NTFS    \"",
        );
        let zeros: [(&[u8], u64); 5] = [
            (&parameters.zero_0e, 0x0E),
            (&sector[0x16..0x18], 0x16),
            (&sector[0x20..0x24], 0x20),
            (&parameters.zero_41, 0x41),
            (&parameters.zero_45, 0x45),
        ];
        for (bytes, at) in zeros {
            self.field(
                bytes.iter().all(|byte| *byte == 0),
                at,
                "reserved bytes",
                format_args!("{bytes:02x?}"),
                "zeros",
            );
        }
        self.field(parameters.media == 0xF8, 0x15, "media", format_args!("{:#x}", parameters.media), "0xf8");
        // 80 00 80 00 as mkntfs writes it, 80 00 00 00 and 80 00 80 00 on volumes of Windows 10.
        let drive = parameters.drive.get();
        self.field(matches!(drive, 0x80 | 0x0080_0080), 0x24, "drive", format_args!("{drive:#x}"), "0x80 or 0x800080");
        let signature = &sector[SIGNATURE];
        self.field(signature == [0x55, 0xAA], 0x1FE, "signature", format_args!("{signature:02x?}"), "55 aa");
    }

    fn sizes(&mut self, parameters: &BiosParameterBlock) -> Option<Geometry> {
        let sector = u64::from(parameters.bytes_per_sector.get());
        let sane = sector.is_power_of_two() && (512..=4096).contains(&sector);
        if !self.field(sane, 0x0B, "bytes per sector", sector, "512, 1024, 2048 or 4096") {
            return None;
        }
        let code = parameters.sectors_per_cluster;
        let sectors = match code {
            0..=0x80 => u64::from(code),
            _ => 1u64.checked_shl(256 - u32::from(code)).unwrap_or(0),
        };
        let cluster = sectors.saturating_mul(sector);
        let sane = sectors.is_power_of_two() && cluster <= MAX_CLUSTER;
        if !self.field(
            sane,
            0x0D,
            "sectors per cluster",
            format_args!("{code:#x}"),
            "a power of two, clusters up to 2 MiB",
        ) {
            return None;
        }
        let record = size_of_code(parameters.record_size, cluster);
        let sane = matches!(record, Some(1024 | 2048 | 4096));
        let code = parameters.record_size;
        if !self.field(sane, 0x40, "size of records", code, "what gives 1024, 2048 or 4096 bytes") {
            return None;
        }
        let index_block = size_of_code(parameters.index_block_size, cluster);
        let code = parameters.index_block_size;
        self.field(
            index_block == Some(INDEX_BLOCK as u64),
            0x44,
            "size of index blocks",
            code,
            "what gives 4096 bytes",
        );
        let clusters = parameters.total_sectors.get() / sectors;
        let sane = (1..=MAX_CLUSTERS).contains(&clusters);
        if !self.field(sane, 0x28, "total sectors", parameters.total_sectors.get(), "1 to 4294967295 clusters in all") {
            return None;
        }
        let (mft_lcn, mirror_lcn) = (parameters.mft_lcn.get(), parameters.mft_mirror_lcn.get());
        let inside = format!("1 to {}", clusters - 1);
        self.field((1..clusters).contains(&mirror_lcn), 0x38, "cluster of $MFTMirr", mirror_lcn, &inside);
        let found = self.field((1..clusters).contains(&mft_lcn), 0x30, "cluster of $MFT", mft_lcn, &inside);
        let record = record? as usize;
        found.then_some(Geometry { sector, cluster, record, clusters, mft_lcn, mirror_lcn })
    }

    fn size(&mut self, parameters: &BiosParameterBlock, geometry: &Geometry) {
        let sectors = self.volume_len / geometry.sector;
        let total = parameters.total_sectors.get();
        if total.checked_add(1) == Some(sectors) {
            return;
        }
        // A volume that was not grown with its partition works; one that goes beyond it is not mounted.
        let level = if total < sectors { Level::Warning } else { Level::Error };
        let allowed = format!("{}, one less than the {sectors} of the partition", sectors.saturating_sub(1));
        let finding = Finding::new(Rule::VolumeSize, format_args!("{total} sectors")).allowed(allowed);
        self.findings.add(finding.part("boot sector, total sectors").at(0x28).level(level));
    }

    fn backup(&mut self, volume: &dyn ReadAt, sector: &[u8; SECTOR], total: u64, sector_size: u64) {
        let at = total.saturating_mul(sector_size);
        if at.checked_add(sector_size).is_none_or(|end| end > self.volume_len) {
            return; // there is none, as the size of the volume is wrong
        }
        let mut copy = [0; SECTOR];
        let found = match volume.read_at(at, &mut copy) {
            Err(error) => error.to_string(),
            Ok(()) => match copy.iter().zip(sector).position(|(copy, byte)| copy != byte) {
                None => return,
                Some(differs) => format!("differs from the boot sector at byte {differs:#x}"),
            },
        };
        let finding = Finding::new(Rule::BootBackup, found).allowed("a copy of the boot sector");
        self.findings.add(finding.part("backup boot sector").at(at));
    }
}

/// Bytes from the code that the boot sector has for them: clusters, or the negated binary logarithm of bytes.
fn size_of_code(code: i8, cluster: u64) -> Option<u64> {
    match code {
        1.. => Some(u64::from(code.unsigned_abs()).saturating_mul(cluster)),
        _ => 1u64.checked_shl(u32::from(code.unsigned_abs())).filter(|size| *size > 1),
    }
}
