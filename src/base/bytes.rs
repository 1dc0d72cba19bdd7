//! Little-endian integers out of byte slices, without panics.

macro_rules! readers {
    ($($(#[$doc:meta])* $name:ident: $int:ty;)*) => {
        $($(#[$doc])* pub fn $name(bytes: &[u8], at: usize) -> Option<$int> {
            let end = at.checked_add(size_of::<$int>())?;
            Some(<$int>::from_le_bytes(bytes.get(at..end)?.try_into().ok()?))
        })*
    };
}

readers! {
    /// The `u16` at `at`, or `None` past the end.
    u16_at: u16;
    /// The `u32` at `at`, or `None` past the end.
    u32_at: u32;
    /// The `u64` at `at`, or `None` past the end.
    u64_at: u64;
}

/// Whether there is nothing but zeros. By the widest words that the machine has: of disks, this is what is asked most.
pub fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<64>();
    words.iter().all(|word| word.iter().fold(0, |all, byte| all | byte) == 0) && rest.iter().all(|byte| *byte == 0)
}

/// `value` rounded up to a multiple of `unit` (a power of two), or `None` on overflow.
pub fn round_up(value: u64, unit: u64) -> Option<u64> {
    debug_assert!(unit.is_power_of_two());
    Some(value.checked_add(unit - 1)? & !(unit - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_inside_and_refuses_outside() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        assert_eq!(u16_at(&bytes, 1), Some(0x0302));
        assert_eq!(u32_at(&bytes, 5), Some(0x0908_0706));
        assert_eq!(u64_at(&bytes, 2), None);
        assert_eq!(u16_at(&bytes, usize::MAX), None);
    }

    #[test]
    fn sees_every_byte_that_is_not_zero() {
        let mut bytes = [0; 150];
        assert!(is_zero(&bytes) && is_zero(&[]));
        for at in 0..bytes.len() {
            bytes[at] = 1;
            assert!(!is_zero(&bytes), "{at}");
            bytes[at] = 0;
        }
    }

    #[test]
    fn rounds_up_to_powers_of_two() {
        assert_eq!(round_up(0, 8), Some(0));
        assert_eq!(round_up(9, 8), Some(16));
        assert_eq!(round_up(u64::MAX, 8), None);
    }
}
