//! The machine's time zone.
//!
//! An installation describes its zones in `SOFTWARE\Microsoft\Windows NT\CurrentVersion\Time Zones\NAME`, and keeps the one that is
//! in force in `SYSTEM\…\Control\TimeZoneInformation`, spelled out. The two write the same rules in different ways:
//!
//! ```text
//! TZI (REG_TZI_FORMAT)   bias, standard bias, daylight bias (i32 each), start of standard time, start of daylight time
//!   each start           SYSTEMTIME:  year, month, day of week, day, hour, minute, second, millisecond (u16 each)
//! StandardStart, ...     TIME_FIELDS: year, month, day, hour, minute, second, millisecond, day of week
//! ```
//!
//! Source: Microsoft, `TIME_ZONE_INFORMATION` (which describes the first), and a SYSTEM hive of Windows 10 (for the second).

use super::Changes;
use super::changes::Hives;
use crate::base::bytes::u32_at;
use crate::base::near;
use crate::error::{Error, Result};
use crate::format::hive::{Hive, KeyId, Value};

const ZONES: &str = r"Microsoft\Windows NT\CurrentVersion\Time Zones";
const TZI_LEN: usize = 44;
/// Limit of what is looked at of a value that a user types.
const MAX_NAME: usize = 128;

/// What became of the zone.
pub(super) enum Written {
    /// It stands in the registry, under the name as the image spells it.
    Offline(String),
    /// The image does not describe its zones: only the answer file names it.
    Unknown,
}

/// Refuses what no zone is called.
pub(super) fn check(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Error::invalid("time zone")
            .found(format_args!("{name:?}"))
            .allowed("a name of Windows, such as \"UTC\" or \"W. Europe Standard Time\""));
    }
    Ok(())
}

/// Looks the zone up in the image, and makes it the one in force.
///
/// # Errors
/// [`Invalid`](crate::error::Kind::Invalid), with names that are near, for a zone that the image does not have.
pub(super) fn write(name: &str, hives: &Hives, changes: &mut Changes) -> Result<Written> {
    check(name)?;
    let zones = hives.software.as_ref().and_then(|software| Some((software, software.open(ZONES)?)));
    let Some((software, zones)) = zones else { return Ok(Written::Unknown) };
    let Some(zone) = software.subkey(zones, name) else {
        let names = software.subkeys(zones).map(|zone| software.name(zone).to_string());
        let error = Error::invalid("the image knows no such time zone").found(format_args!("{name:?}"));
        return Err(match near::did_you_mean(&near::nearest(name, names)) {
            Some(hint) => error.hint(hint),
            None => error.hint(format_args!(r"`nanovhd reg IMAGE HKLM\SOFTWARE\{ZONES}` lists what there is")),
        });
    };
    let name = software.name(zone).to_string();
    let rules = software.value(zone, "TZI");
    let rules = rules.as_ref().and_then(|value| value.as_binary()).and_then(Rules::read).ok_or_else(|| {
        Error::corrupt("the rules of a time zone (TZI)").found(&name).allowed(format_args!("{TZI_LEN} bytes"))
    })?;
    let mut set = |value: &str, data: Value| changes.system(r"Control\TimeZoneInformation", value, data);
    set("TimeZoneKeyName", Value::sz(&name));
    set("Bias", Value::dword(rules.bias));
    set("StandardBias", Value::dword(rules.standard_bias));
    set("DaylightBias", Value::dword(rules.daylight_bias));
    set("StandardStart", Value::binary(rules.standard_start));
    set("DaylightStart", Value::binary(rules.daylight_start));
    set("StandardName", Value::sz(&text(software, zone, ["MUI_Std", "Std"]).unwrap_or_else(|| name.clone())));
    set("DaylightName", Value::sz(&text(software, zone, ["MUI_Dlt", "Dlt"]).unwrap_or_else(|| name.clone())));
    set("DynamicDaylightTimeDisabled", Value::dword(0));
    // What is in force at the moment: Windows works it out anew when it starts.
    set("ActiveTimeBias", Value::dword(rules.bias.wrapping_add(rules.standard_bias)));
    Ok(Written::Offline(name))
}

fn text(hive: &Hive, key: KeyId, names: [&str; 2]) -> Option<String> {
    names.into_iter().find_map(|name| hive.value(key, name)?.as_text().filter(|text| !text.is_empty()))
}

/// A TZI, as `TimeZoneInformation` has it. The biases are signed minutes; their bits are all that is needed.
#[derive(Debug, PartialEq, Eq)]
struct Rules {
    bias: u32,
    standard_bias: u32,
    daylight_bias: u32,
    standard_start: [u8; 16],
    daylight_start: [u8; 16],
}

impl Rules {
    fn read(tzi: &[u8]) -> Option<Self> {
        Some(Self {
            bias: u32_at(tzi, 0)?,
            standard_bias: u32_at(tzi, 4)?,
            daylight_bias: u32_at(tzi, 8)?,
            standard_start: time_fields(tzi.get(12..28)?)?,
            daylight_start: time_fields(tzi.get(28..TZI_LEN)?)?,
        })
    }
}

/// A SYSTEMTIME as TIME_FIELDS: the day of the week moves to the end.
fn time_fields(system_time: &[u8]) -> Option<[u8; 16]> {
    let (year_and_month, day_of_week, rest) = (system_time.get(..4)?, system_time.get(4..6)?, system_time.get(6..16)?);
    [year_and_month, rest, day_of_week].concat().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From November's first Sunday to March's second one, at two o'clock: the rules of Pacific Time since 2007, as SYSTEMTIMEs.
    pub(crate) fn pacific() -> Vec<u8> {
        let start = |month: u16, day: u16| [0, month, 0, day, 2, 0, 0, 0].map(u16::to_le_bytes).concat();
        let biases = [480i32, 0, -60].map(i32::to_le_bytes).concat();
        [biases, start(11, 1), start(3, 2)].concat()
    }

    #[test]
    fn spells_the_rules_as_windows_does() {
        // Out of the SYSTEM hive of a Windows 10 1709 that is set to Pacific Time.
        let windows = Rules {
            bias: 0x1e0,
            standard_bias: 0,
            daylight_bias: 0xffff_ffc4,
            standard_start: [0, 0, 0x0b, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            daylight_start: [0, 0, 3, 0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        };
        assert_eq!(Rules::read(&pacific()), Some(windows));
        for short in 0..TZI_LEN {
            assert_eq!(Rules::read(&pacific()[..short]), None);
        }
    }

    #[test]
    fn the_day_of_the_week_is_last() {
        let thursday = [0u16, 10, 4, 5, 23, 59, 59, 999].map(u16::to_le_bytes).concat();
        let fields = [0u16, 10, 5, 23, 59, 59, 999, 4].map(u16::to_le_bytes).concat();
        assert_eq!(time_fields(&thursday).unwrap()[..], fields);
    }
}
