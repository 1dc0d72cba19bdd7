//! CRC-32C (Castagnoli), the checksum of VHDX files.

/// The polynomial 1EDC6F41h, its bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// `TABLES[n][b]` is what a byte `b` does to the checksum when `n` more bytes follow it.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut distance = 1;
    while distance < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[distance - 1][byte];
            tables[distance][byte] = before >> 8 ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        distance += 1;
    }
    tables
}

/// The CRC-32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    !extend(!0, bytes)
}

/// The CRC-32C of a structure in which the four bytes at `at`, its own checksum, count as zeros.
pub fn crc32c_without(bytes: &[u8], at: usize) -> u32 {
    let (before, rest) = bytes.split_at(at.min(bytes.len()));
    let behind = rest.get(4..).unwrap_or_default();
    !extend(extend(extend(!0, before), &[0; 4]), behind)
}

fn extend(mut crc: u32, bytes: &[u8]) -> u32 {
    let (eights, rest) = bytes.as_chunks::<8>();
    for eight in eights {
        let [a, b, c, d] = crc.to_le_bytes();
        let folded = [eight[0] ^ a, eight[1] ^ b, eight[2] ^ c, eight[3] ^ d, eight[4], eight[5], eight[6], eight[7]];
        crc = (0..8).fold(0, |crc, index| crc ^ TABLES[7 - index][usize::from(folded[index])]);
    }
    rest.iter().fold(crc, |crc, byte| crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_the_known_values() {
        // From RFC 3720, B.4, and the catalogue's check value.
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&ascending), 0x46DD_794E);
    }

    #[test]
    fn leaves_its_own_field_out() {
        let with_zeros = [1, 2, 3, 4, 0, 0, 0, 0, 9, 10, 11];
        let with_sum = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
        assert_eq!(crc32c_without(&with_sum, 4), crc32c(&with_zeros));
    }
}
