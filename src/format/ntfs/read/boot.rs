//! The boot sector, which every address on the volume counts from.

use zerocopy::FromBytes;

use crate::base::ReadAt;
use crate::error::{Error, Result};
use crate::format::ntfs::ondisk::BiosParameterBlock;

/// Clusters of 2 MiB are the largest that Windows formats with.
const MAX_CLUSTER: u64 = 2 << 20;
/// Records and index blocks are not longer than this; Windows has 1024 and 4096.
const MAX_RECORD: u64 = 1 << 16;

/// What the boot sector says, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Boot {
    pub(super) sector: u64,
    pub(super) cluster: u64,
    /// Length of a FILE record.
    pub(super) record: usize,
    /// Not counting the last one, which keeps the copy of the boot sector.
    pub(super) total_sectors: u64,
    pub(super) mft_lcn: u64,
    pub(super) mirror_lcn: u64,
    pub(super) hidden_sectors: u64,
    pub(super) serial: u64,
}

impl Boot {
    pub(super) fn read(volume: &dyn ReadAt) -> Result<Self> {
        let mut sector = [0; 512];
        if volume.len() < sector.len() as u64 {
            return Err(Error::truncated("no NTFS boot sector: the volume is too short")
                .found(format_args!("{} bytes", volume.len()))
                .allowed("512 bytes or more"));
        }
        volume.read_at(0, &mut sector)?;
        Self::parse(&sector)
    }

    fn parse(sector: &[u8; 512]) -> Result<Self> {
        let wrong = |what: &str, at| Error::corrupt(format_args!("NTFS boot sector: {what}")).at(at);
        let (parameters, _) = BiosParameterBlock::read_from_prefix(&sector[3..]).map_err(|_| wrong("too short", 0))?;
        if parameters.oem != *b"NTFS    " {
            return Err(Error::corrupt("no NTFS boot sector: signature")
                .at(3)
                .found(format_args!("\"{}\"", parameters.oem.escape_ascii()))
                .allowed("\"NTFS    \"")
                .hint("the volume may have another file system, or may be encrypted (BitLocker)"));
        }
        let bytes_per_sector = u64::from(parameters.bytes_per_sector.get());
        if !matches!(bytes_per_sector, 512 | 1024 | 2048 | 4096) {
            return Err(wrong("bytes per sector", 0x0B).found(bytes_per_sector).allowed("512, 1024, 2048 or 4096"));
        }
        let code = parameters.sectors_per_cluster;
        let sectors = if code > 0x80 { 1u64.checked_shl(256 - u32::from(code)) } else { Some(u64::from(code)) };
        let cluster = sectors.and_then(|sectors| sectors.checked_mul(bytes_per_sector));
        let cluster =
            cluster.filter(|cluster| cluster.is_power_of_two() && *cluster <= MAX_CLUSTER).ok_or_else(|| {
                wrong("sectors per cluster", 0x0D)
                    .found(code)
                    .allowed("a power of two, or its logarithm negated, for clusters of at most 2 MiB")
            })?;
        let record = size(parameters.record_size, cluster)
            .ok_or_else(|| wrong("size of a FILE record", 0x40).found(parameters.record_size).allowed(SIZES))?;
        let total_sectors = parameters.total_sectors.get();
        let len = total_sectors.checked_add(1).and_then(|sectors| sectors.checked_mul(bytes_per_sector));
        if total_sectors == 0 || len.is_none_or(|len| len > i64::MAX as u64) {
            return Err(wrong("number of sectors", 0x28).found(total_sectors).allowed("1 to 2^63 bytes in all"));
        }
        let boot = Self {
            sector: bytes_per_sector,
            cluster,
            record,
            total_sectors,
            mft_lcn: parameters.mft_lcn.get(),
            mirror_lcn: parameters.mft_mirror_lcn.get(),
            hidden_sectors: u64::from(parameters.hidden_sectors.get()),
            serial: parameters.serial.get(),
        };
        if boot.mft_lcn >= boot.clusters() {
            return Err(wrong("cluster of $MFT", 0x30)
                .found(boot.mft_lcn)
                .allowed(format_args!("less than {}, the number of clusters", boot.clusters())));
        }
        Ok(boot)
    }

    /// How many whole clusters the volume has.
    pub(super) fn clusters(&self) -> u64 {
        self.total_sectors * self.sector / self.cluster
    }

    /// The length of the volume with its last sector.
    pub(super) fn len(&self) -> u64 {
        (self.total_sectors + 1) * self.sector
    }
}

const SIZES: &str = "a power of two from 512 to 65536 bytes, in clusters or as its logarithm, negated";

/// The length of records or index blocks: clusters if positive, else the binary logarithm of bytes, negated.
fn size(code: i8, cluster: u64) -> Option<usize> {
    let size = match u64::try_from(code) {
        Ok(clusters) => clusters.checked_mul(cluster)?,
        Err(_) => 1u64.checked_shl(u32::from(code.unsigned_abs()))?,
    };
    (size.is_power_of_two() && (512..=MAX_RECORD).contains(&size)).then_some(size as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    /// That of a 10 MB volume formatted by Windows 10.
    pub(in super::super) fn sector() -> [u8; 512] {
        let mut sector = [0; 512];
        #[rustfmt::skip]
        sector[..0x54].copy_from_slice(&[
            0xEB, 0x52, 0x90, b'N', b'T', b'F', b'S', b' ', b' ', b' ', b' ', 0, 2, 8, 0, 0,
            0, 0, 0, 0, 0, 0xF8, 0, 0, 0x3F, 0, 0xFF, 0, 0, 8, 0, 0,
            0, 0, 0, 0, 0x80, 0, 0x80, 0, 0xFF, 0x4F, 0, 0, 0, 0, 0, 0,
            0x55, 3, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
            0xF6, 0, 0, 0, 1, 0, 0, 0, 0x05, 0xB7, 0xEE, 0x46, 0xDE, 0xEE, 0x46, 0xDE,
            0, 0, 0, 0,
        ]);
        sector
    }

    #[test]
    fn reads_what_windows_wrote() {
        let boot = Boot::parse(&sector()).unwrap();
        assert_eq!((boot.sector, boot.cluster, boot.record), (512, 4096, 1024));
        assert_eq!((boot.clusters(), boot.len()), (2559, 10 << 20));
        assert_eq!((boot.mft_lcn, boot.mirror_lcn, boot.hidden_sectors), (853, 2, 2048));
        assert_eq!(boot.serial, 0xDE46_EEDE_46EE_B705);
    }

    #[test]
    fn cluster_sizes_up_to_2_mib() {
        for (code, cluster) in [(1, 512), (0x80, 65536), (0xF8, 131_072), (0xF4, 2 << 20)] {
            let mut sector = sector();
            (sector[0x0D], sector[0x30], sector[0x31]) = (code, 1, 0);
            assert_eq!(Boot::parse(&sector).unwrap().cluster, cluster, "{code:#x}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (at, value, message) in [
            (3, b'F', "signature: found \"FTFS    \", allowed: \"NTFS    \" (at offset 0x3)"),
            (0x0B, 1, "bytes per sector: found 513"),
            (0x0D, 3, "sectors per cluster: found 3"),
            (0x0D, 0xF3, "sectors per cluster: found 243"),
            (0x0D, 0x81, "sectors per cluster: found 129"),
            (0x2F, 0xFF, "number of sectors"),
            (0x31, 0xFF, "cluster of $MFT: found 65365, allowed: less than 2559"),
            (0x40, 0x80, "size of a FILE record: found -128"),
            (0x40, 0x7F, "size of a FILE record: found 127"),
        ] {
            let mut sector = sector();
            sector[at] = value;
            let error = Boot::parse(&sector).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt);
            assert!(error.to_string().contains(message), "{error}");
        }
        assert_eq!(Boot::read(&vec![0u8; 511]).unwrap_err().kind(), Kind::Truncated);
    }
}
