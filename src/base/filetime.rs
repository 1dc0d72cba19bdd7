//! Windows time stamps.

use std::fmt;

use serde::{Serialize, Serializer};

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

    /// From a date and a time of day, in UTC; `None` for those that do not exist.
    pub fn from_civil(date: (i16, i8, i8), time: (i8, i8, i8)) -> Option<Self> {
        let date = jiff::civil::Date::new(date.0, date.1, date.2).ok()?;
        let time = jiff::civil::Time::new(time.0, time.1, time.2, 0).ok()?;
        Self::from_unix(jiff::tz::TimeZone::UTC.to_timestamp(date.to_datetime(time)).ok()?.as_second())
    }

    /// This moment, so many minutes later (or, negative, earlier); saturating.
    #[must_use]
    pub fn plus_minutes(self, minutes: i64) -> Self {
        Self(self.0.saturating_add_signed(minutes.saturating_mul(60 * TICKS as i64)))
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

impl Serialize for FileTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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

    #[test]
    fn converts_dates() {
        let noon = FileTime::from_civil((2016, 9, 26), (12, 0, 0)).unwrap();
        assert_eq!(noon.to_unix(), 1_474_891_200);
        assert_eq!(noon.plus_minutes(-120).to_unix(), 1_474_891_200 - 7200);
        assert_eq!(
            FileTime::from_civil((2016, 2, 29), (23, 59, 59)).unwrap().to_string(),
            "2016-02-29T23:59:59.0000000Z"
        );
        for (date, time) in [
            ((2015, 2, 29), (0, 0, 0)),
            ((2016, 13, 1), (0, 0, 0)),
            ((2016, 1, 1), (24, 0, 0)),
            ((-1, 1, 1), (0, 0, 0)),
        ] {
            assert_eq!(FileTime::from_civil(date, time), None);
        }
    }
}
