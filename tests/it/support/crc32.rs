//! Cyclic redundancy checks, bit by bit: slow, and independent of the library's.

/// That of GPT and zlib.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    reflected(0xEDB8_8320, bytes)
}

/// That of VHDX (Castagnoli's polynomial).
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    reflected(0x82F6_3B78, bytes)
}

fn reflected(polynomial: u32, bytes: &[u8]) -> u32 {
    let step = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ polynomial } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| step(sum)))
}
