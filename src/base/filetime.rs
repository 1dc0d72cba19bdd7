//! Windows time stamps.

use std::fmt;

/// 100 ns ticks since 1601-01-01 00:00 UTC: the unit of NTFS, WIM and registry times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileTime(pub u64);

/// Seconds from 1601-01-01 to 1970-01-01.
const UNIX_EPOCH: i64 = 11_644_473_600;
/// Seconds from 1601-01-01 to 2000-01-01, the epoch of VHD footers.
const VHD_EPOCH: u64 = 12_591_158_400;
const TICKS: u64 = 10_000_000;

impl FileTime {
    /// From whole seconds since 1970; `None` outside 1601..60056.
    pub fn from_unix(seconds: i64) -> Option<Self> {
        let seconds = u64::try_from(seconds.checked_add(UNIX_EPOCH)?).ok()?;
        seconds.checked_mul(TICKS).map(Self)
    }

    /// Whole seconds since 1970, rounded down.
    pub fn to_unix(self) -> i64 {
        (self.0 / TICKS) as i64 - UNIX_EPOCH
    }

    /// From whole seconds since 2000, as VHD footers count them.
    pub fn from_vhd(seconds: u32) -> Self {
        Self((VHD_EPOCH + u64::from(seconds)) * TICKS)
    }

    /// Whole seconds since 2000 as VHD footers count them, saturating at both ends.
    pub fn to_vhd(self) -> u32 {
        (self.0 / TICKS).saturating_sub(VHD_EPOCH).try_into().unwrap_or(u32::MAX)
    }
}

impl fmt::Display for FileTime {
    /// RFC 3339 in UTC with all seven decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::new(self.to_unix(), ((self.0 % TICKS) * 100) as i32) {
            Ok(time) => write!(f, "{time:.7}"),
            Err(_) => write!(f, "{:#x}", self.0), // beyond the year 9999
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converts_epochs() {
        let y2k = FileTime::from_unix(946_684_800).unwrap();
        assert_eq!((y2k.to_vhd(), FileTime::from_vhd(0)), (0, y2k));
        assert_eq!(FileTime::from_vhd(u32::MAX).to_vhd(), u32::MAX);
        assert_eq!(y2k.to_unix(), 946_684_800);
        assert_eq!(FileTime(y2k.0 + 1).to_string(), "2000-01-01T00:00:00.0000001Z");
        assert_eq!(FileTime(u64::MAX).to_string(), "0xffffffffffffffff");
        assert_eq!(FileTime::from_unix(i64::MIN), None);
        assert_eq!(FileTime(0).to_vhd(), 0);
    }
}
