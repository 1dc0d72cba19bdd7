//! The boot code of a FAT32 volume.
//!
//! The source is `templates/boot/fat32.asm`; it says what the program does and where it lies in memory.

use std::ops::Range;

const SECTOR: usize = 512;

/// Sectors 0, 2 and 3, with everything but the BIOS parameter block.
static CODE: &[u8; 3 * SECTOR] = include_bytes!("../../../templates/boot/fat32.bin");

/// Where the BIOS parameter block lies in the first sector, OEM name included.
const BPB: Range<usize> = 0x03..0x5A;

/// What makes a FAT32 volume with sectors of 512 bytes start BOOTMGR from its root directory, when an MBR starts the volume: bytes, and
/// where they go.
///
/// That is the first sector, around the parameter block, and the reserved sectors 2 and 3. The hidden sectors have to be right: both
/// the code and BOOTMGR find the volume by them.
pub fn boot_code() -> [(u64, &'static [u8]); 3] {
    [(0, &CODE[..BPB.start]), (BPB.end as u64, &CODE[BPB.end..SECTOR]), (2 * SECTOR as u64, &CODE[SECTOR..])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_room_for_the_parameter_block() {
        assert_eq!(CODE[..3], [0xEB, 0x58, 0x90], "the jump over it, as Windows writes it");
        assert!(CODE[BPB].iter().all(|byte| *byte == 0));
        assert_eq!(CODE[510..512], [0x55, 0xAA]);
    }
}
