//! Base64 (RFC 4648, section 4).

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes with padding.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| bits << 8 | u32::from(*group.get(at).unwrap_or(&0)));
        for digit in 0..4 {
            let sextet = (bits >> (18 - 6 * digit)) as usize & 0x3F;
            text.push(if digit <= group.len() { char::from(ALPHABET[sextet]) } else { '=' });
        }
    }
    text
}

/// Decodes, padding or not. White space does not count; nothing else may be in it that is not of the alphabet.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.bytes().filter(|byte| !byte.is_ascii_whitespace());
    let digits: Vec<u8> = digits.collect();
    let unpadded = digits.iter().rposition(|digit| *digit != b'=').map_or(0, |last| last + 1);
    if digits.len() - unpadded > 2 || unpadded % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(unpadded / 4 * 3 + 2);
    for group in digits[..unpadded].chunks(4) {
        let sextets = group.iter().map(|digit| ALPHABET.iter().position(|letter| letter == digit));
        let bits =
            sextets.enumerate().try_fold(0u32, |bits, (at, sextet)| Some(bits | (sextet? as u32) << (18 - 6 * at)))?;
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648() {
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), encoded);
            assert_eq!(decode(encoded).unwrap(), plain.as_bytes());
            assert_eq!(decode(encoded.trim_end_matches('=')).unwrap(), plain.as_bytes());
        }
        assert_eq!(decode(" Zm9v\n YmFy ").unwrap(), b"foobar");
    }

    #[test]
    fn what_is_no_base64_is_told() {
        for text in ["Z", "Zg===", "Zm9vY", "Zm=v", "Zm9-", "Zm9vYmF\u{e4}", "===="] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
