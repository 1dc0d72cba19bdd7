//! The machine's name in the network.

use std::fmt;

use super::Changes;
use crate::error::{Error, Result};
use crate::format::hive::Value;

/// A name that a machine can have, or one of Windows' own making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComputerName {
    /// `*`: Windows makes one up when it first starts.
    Random,
    /// This one.
    Fixed(String),
}

impl ComputerName {
    /// A name as typed: what NetBIOS and DNS both take (Microsoft, "Naming conventions in Active Directory for computers").
    pub fn parse(text: &str) -> Result<Self> {
        let is_dns = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        let fits = (1..=15).contains(&text.len()) && is_dns && !text.starts_with('-') && !text.ends_with('-');
        match text {
            "*" => Ok(Self::Random),
            _ if fits && !text.chars().all(|c| c.is_ascii_digit()) => Ok(Self::Fixed(text.to_owned())),
            _ => Err(Error::invalid("computer name").found(format_args!("{text:?}")).allowed(
                "1 to 15 letters, digits and hyphens, not only digits, no hyphen at an end; or * for one that Windows makes up",
            )),
        }
    }

    /// The name, if it is known.
    pub fn fixed(&self) -> Option<&str> {
        match self {
            Self::Random => None,
            Self::Fixed(name) => Some(name),
        }
    }

    /// Writes it where a machine that is running has it. (`ActiveComputerName` is volatile: Windows copies it when it starts.)
    pub(super) fn write(&self, changes: &mut Changes) {
        let Some(name) = self.fixed() else { return };
        changes.system(r"Control\ComputerName\ComputerName", "ComputerName", Value::sz(name));
        for value in ["Hostname", "NV Hostname"] {
            changes.system(r"Services\Tcpip\Parameters", value, Value::sz(name));
        }
    }
}

impl fmt::Display for ComputerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.fixed().unwrap_or("*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_netbios_and_dns_take() {
        for good in ["a", "web01", "WEB-01", "1a", "123456789012345a".get(..15).unwrap().replace('5', "x").as_str()] {
            assert_eq!(ComputerName::parse(good).unwrap().fixed(), Some(good));
        }
        assert_eq!(ComputerName::parse("*").unwrap(), ComputerName::Random);
        for bad in ["", "-a", "a-", "123", "a b", "a_b", "a.b", "gr\u{fc}n", "abcdefghijklmnop", "**", "a*"] {
            assert!(ComputerName::parse(bad).is_err(), "{bad}");
        }
    }
}
