//! A program that has one resource, for tests. The integration tests include this file too.

/// A DLL whose only resource is of that type and name (numbers), in one section.
pub(crate) fn with_resource(kind: u32, name: u32, data: &[u8]) -> Vec<u8> {
    const SECTION: u32 = 0x1000;
    const HEADERS: u32 = 0x200;
    const OPTIONAL: usize = 0xF0;
    // Three directories of one entry each, the description of the data, the data.
    let mut section = Vec::new();
    let directory = |entry: u32, target: u32| {
        let mut bytes = vec![0; 12];
        bytes.extend(0_u16.to_le_bytes()); // entries with names
        bytes.extend(1_u16.to_le_bytes()); // entries with numbers
        bytes.extend(entry.to_le_bytes());
        bytes.extend(target.to_le_bytes());
        bytes
    };
    const SUBDIRECTORY: u32 = 1 << 31;
    section.extend(directory(kind, SUBDIRECTORY | 24));
    section.extend(directory(name, SUBDIRECTORY | 48));
    section.extend(directory(0x409, 72));
    for number in [SECTION + 88, data.len() as u32, 0, 0] {
        section.extend(number.to_le_bytes());
    }
    section.extend(data);
    let len = section.len() as u32;
    section.resize(section.len().next_multiple_of(0x200), 0);

    let mut file = vec![0; HEADERS as usize];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3C, &0x40_u32.to_le_bytes());
    put(0x40, b"PE\0\0\x64\x86\x01\0"); // amd64, one section
    put(0x54, &(OPTIONAL as u16).to_le_bytes());
    put(0x56, &0x2022_u16.to_le_bytes()); // a DLL that can run
    let optional = 0x58;
    put(optional, &0x20B_u16.to_le_bytes());
    put(optional + 32, &0x1000_u32.to_le_bytes()); // alignments in memory and in the file
    put(optional + 36, &0x200_u32.to_le_bytes());
    put(optional + 56, &(SECTION + len.next_multiple_of(0x1000)).to_le_bytes());
    put(optional + 60, &HEADERS.to_le_bytes());
    put(optional + 108, &16_u32.to_le_bytes());
    put(optional + 112 + 2 * 8, &SECTION.to_le_bytes()); // the directory of resources
    put(optional + 112 + 2 * 8 + 4, &len.to_le_bytes());
    let header = optional + OPTIONAL;
    put(header, b".rsrc");
    put(header + 8, &len.to_le_bytes());
    put(header + 12, &SECTION.to_le_bytes());
    put(header + 16, &(section.len() as u32).to_le_bytes());
    put(header + 20, &HEADERS.to_le_bytes());
    put(header + 36, &0x4000_0040_u32.to_le_bytes());
    file.extend(section);
    file
}
