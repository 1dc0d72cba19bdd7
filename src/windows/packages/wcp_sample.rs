//! A `wcp.dll` with nothing but a base manifest, for tests. The integration tests include this file too.

/// A program of 64 bits whose resource 1 of type 614 is `base`.
pub(crate) fn wcp(base: &[u8]) -> Vec<u8> {
    const RSRC: u32 = 0x1000;
    const DATA_AT: usize = 0x258;
    let len = (DATA_AT + base.len()).next_multiple_of(0x200);
    let mut image = vec![0; len];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3C, &0x40u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    put(0x44, &0x8664u16.to_le_bytes());
    put(0x46, &1u16.to_le_bytes()); // sections
    put(0x54, &240u16.to_le_bytes()); // of the optional header
    put(0x58, &0x20Bu16.to_le_bytes());
    put(0x58 + 108, &16u32.to_le_bytes()); // data directories
    let size = (len - 0x200) as u32;
    put(0x58 + 112 + 16, &[RSRC.to_le_bytes(), size.to_le_bytes()].concat());
    let section = 0x58 + 240;
    put(section, b".rsrc");
    put(section + 8, &[size, RSRC, size, 0x200].map(u32::to_le_bytes).concat());
    // Three directories of one entry each: type, name, language; then the data entry and the data.
    for (at, id, next) in [(0x200, 614u32, 0x8000_0018u32), (0x218, 1, 0x8000_0030), (0x230, 0x409, 0x48)] {
        put(at + 14, &1u16.to_le_bytes());
        put(at + 16, &[id, next].map(u32::to_le_bytes).concat());
    }
    put(0x248, &[RSRC + 0x58, base.len() as u32, 0, 0].map(u32::to_le_bytes).concat());
    put(DATA_AT, base);
    image
}
