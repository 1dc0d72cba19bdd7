//! The boot code of an NTFS volume: what `$Boot` holds besides the BIOS parameter block.
//!
//! The source is `templates/boot/ntfs.asm`; it says what the program does and where it lies in memory.

use std::ops::Range;

/// The whole of `$Boot`, which lies at cluster 0, with everything but the BIOS parameter block.
///
/// Whoever formats a volume
/// * lays the parameter block over [`BPB`], where these bytes are zero: bytes per sector 512 (others are refused at boot),
///   hidden sectors the LBA of the partition (the code finds the volume by it, and so does BOOTMGR), total sectors,
///   clusters of `$MFT`, sizes of records (512 to 4096 bytes) and index blocks (512 to 16384 bytes);
/// * copies the first sector to the last of the partition, as the backup boot sector;
/// * puts BOOTMGR into the root directory: not compressed, encrypted or sparse, and at most some 508 KiB long (what low memory
///   holds from 20000h on). Fragments, attribute lists and resident data are fine.
///
/// The code is position-independent on the disk: nothing in it depends on the volume.
pub const BOOT_CODE: &[u8; 8192] = include_bytes!("../../../templates/boot/ntfs.bin");

/// Where the BIOS parameter block lies in the first sector, OEM name included.
pub const BPB: Range<usize> = 0x03..0x54;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_room_for_the_parameter_block() {
        assert_eq!(BOOT_CODE[..3], [0xEB, 0x52, 0x90], "the jump over it, as Windows writes it");
        assert!(BOOT_CODE[BPB].iter().all(|byte| *byte == 0));
        assert_eq!(BOOT_CODE[510..512], [0x55, 0xAA]);
    }
}
