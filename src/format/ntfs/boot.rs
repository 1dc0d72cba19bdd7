//! `$Boot`: the boot sector with the volume's parameters, and the boot code that it is put into.

use zerocopy::IntoBytes;

use super::Options;
use super::geometry::Geometry;
use super::ondisk::{BOOT_LEN, BiosParameterBlock, INDEX_BLOCK};

/// Where the parameters begin.
const PARAMETERS: usize = 3;
/// Where the signature of a boot sector is.
const SIGNATURE: usize = 0x1FE;

/// The 8192 bytes of `$Boot` on a volume of `total_sectors`.
pub(super) fn image(
    options: &Options,
    geometry: &Geometry,
    total_sectors: u64,
    mft_lcn: u64,
    mirror_lcn: u64,
) -> Vec<u8> {
    let mut image = options.boot_code.to_vec();
    if image.is_empty() {
        image.extend_from_slice(&[0xEB, 0x52, 0x90]); // a jump over the parameters, by which readers know the sector
    }
    image.resize(BOOT_LEN, 0);
    let parameters = BiosParameterBlock {
        oem: *b"NTFS    ",
        bytes_per_sector: (geometry.sector as u16).into(),
        sectors_per_cluster: (geometry.cluster / geometry.sector) as u8,
        zero_0e: [0; 7],
        media: 0xF8,
        zero_16: 0.into(),
        sectors_per_track: 63.into(),
        heads: 255.into(),
        hidden_sectors: u32::try_from(options.hidden_sectors).unwrap_or(0).into(),
        zero_20: 0.into(),
        drive: 0x0080_0080.into(),
        total_sectors: total_sectors.into(),
        mft_lcn: mft_lcn.into(),
        mft_mirror_lcn: mirror_lcn.into(),
        record_size: geometry.size_code(geometry.record),
        zero_41: [0; 3],
        index_block_size: geometry.size_code(INDEX_BLOCK),
        zero_45: [0; 3],
        serial: options.serial.into(),
        checksum: 0.into(),
    };
    image[PARAMETERS..PARAMETERS + size_of::<BiosParameterBlock>()].copy_from_slice(parameters.as_bytes());
    image[SIGNATURE..SIGNATURE + 2].copy_from_slice(&[0x55, 0xAA]);
    image
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ntfs::geometry::tests::geometry;

    #[test]
    fn parameters_are_those_of_windows() {
        // A 10 MB volume formatted by Windows 10, which lay at sector 2048.
        let options = Options { hidden_sectors: 2048, serial: 0xDE46_EEDE_46EE_B705, ..Options::default() };
        let image = image(&options, &geometry(512, 4096), 0x4FFF, 853, 2);
        #[rustfmt::skip]
        assert_eq!(image[..0x54], [
            0xEB, 0x52, 0x90, b'N', b'T', b'F', b'S', b' ', b' ', b' ', b' ', 0, 2, 8, 0, 0,
            0, 0, 0, 0, 0, 0xF8, 0, 0, 0x3F, 0, 0xFF, 0, 0, 8, 0, 0,
            0, 0, 0, 0, 0x80, 0, 0x80, 0, 0xFF, 0x4F, 0, 0, 0, 0, 0, 0,
            0x55, 3, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
            0xF6, 0, 0, 0, 1, 0, 0, 0, 0x05, 0xB7, 0xEE, 0x46, 0xDE, 0xEE, 0x46, 0xDE,
            0, 0, 0, 0,
        ]);
    }

    #[test]
    fn code_keeps_everything_but_the_parameters() {
        let options = Options { boot_code: vec![0x77; BOOT_LEN].into(), ..Options::default() };
        let image = image(&options, &geometry(512, 4096), 1, 1, 1);
        let kept = image.iter().enumerate().filter(|(at, _)| !(3..0x54).contains(at) && !(0x1FE..0x200).contains(at));
        assert!(kept.map(|(_, byte)| byte).all(|byte| *byte == 0x77));
        assert_eq!(image[0x1FE..0x200], [0x55, 0xAA]);
    }
}
