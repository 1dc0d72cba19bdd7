//! `[Version]`: who made the package, for which class of devices, when.

use jiff::civil;
use uuid::Uuid;

use super::{Entry, Inf};
use crate::base::{FileTime, Machine, Version};
use crate::error::{Error, Result};

/// What `[Version]` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The class of devices: `Net`.
    pub class: String,
    /// The same as an id.
    pub class_guid: Uuid,
    /// Who gives it out, its tokens replaced.
    pub provider: String,
    /// The catalog for a processor, if one is named.
    pub catalog: Option<String>,
    /// The date of the driver, at midnight UTC.
    pub date: FileTime,
    /// The version of the driver.
    pub version: Version,
    /// `PnpLockdown`, where it is said.
    pub lockdown: Option<bool>,
    /// The id of an extension INF.
    pub extension: Option<Uuid>,
}

impl Inf {
    /// Reads `[Version]` for a processor.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) for what no driver can do without: the signature, the class, the date. Each names its line.
    pub fn header(&self, machine: Machine) -> Result<Header> {
        let section = self.section("Version").ok_or_else(|| {
            Error::corrupt("no INF file of a driver")
                .found("no [Version]")
                .allowed("[Version] with Class, ClassGuid, DriverVer")
        })?;
        let text = |key: &str| section.get(key).map(|entry| self.expand(&entry.fields.join(",")).trim().to_owned());
        let missing = |key: &str| {
            Error::corrupt(format_args!("line {}: [Version] has no {key}", section.line))
                .hint("INF files without it describe no driver of devices, or are of before Windows 2000")
        };
        let signature = section.get("Signature").ok_or_else(|| missing("Signature"))?;
        let signed = self.expand(signature.field(0)).into_owned();
        if !["$Windows NT$", "$Chicago$", "$Windows 95$"].iter().any(|known| known.eq_ignore_ascii_case(&signed)) {
            return Err(at(signature, "Signature").found(signed).allowed("$Windows NT$ or $Chicago$"));
        }
        let class_guid = section.get("ClassGuid").ok_or_else(|| missing("ClassGuid"))?;
        let class_guid = self.guid(class_guid)?;
        let class = text("Class").ok_or_else(|| missing("Class"))?;
        let driver_ver = section.get("DriverVer").ok_or_else(|| missing("DriverVer"))?;
        let (date, version) = self.driver_ver(driver_ver)?;
        let catalogs = [format!("CatalogFile.NT{machine}"), "CatalogFile.NT".into(), "CatalogFile".into()];
        let catalog = catalogs.iter().find_map(|key| text(key)).filter(|name| !name.is_empty());
        Ok(Header {
            class,
            class_guid,
            provider: text("Provider").unwrap_or_default(),
            catalog,
            date,
            version,
            lockdown: text("PnpLockdown").map(|value| value != "0"),
            extension: section.get("ExtensionId").map(|entry| self.guid(entry)).transpose()?,
        })
    }

    fn guid(&self, entry: &Entry) -> Result<Uuid> {
        let text = self.expand(entry.field(0));
        Uuid::try_parse(text.trim()).map_err(|_| {
            at(entry, entry.first()).found(text).allowed("an id such as {4d36e972-e325-11ce-bfc1-08002be10318}")
        })
    }

    /// `mm/dd/yyyy[,a.b.c.d]`; missing parts of a version are 0.
    fn driver_ver(&self, entry: &Entry) -> Result<(FileTime, Version)> {
        let text = self.expand(entry.field(0));
        let bad = || at(entry, "DriverVer").found(entry.fields.join(",")).allowed("mm/dd/yyyy,a.b.c.d");
        let numbers = text.split(['/', '-']).map(|part| part.trim().parse::<i16>());
        let numbers = numbers.collect::<Result<Vec<_>, _>>().map_err(|_| bad())?;
        let [month, day, year] = *numbers.as_slice() else { return Err(bad()) };
        let small = |number: i16| i8::try_from(number).ok();
        let date = small(month).zip(small(day)).and_then(|(month, day)| civil::Date::new(year, month, day).ok());
        let seconds = date.and_then(|date| date.at(0, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).ok());
        let time = seconds.and_then(|time| FileTime::from_unix(time.timestamp().as_second())).ok_or_else(bad)?;
        let mut version = [0; 4];
        let written = self.expand(entry.field(1));
        let parts: Vec<&str> = written.trim().split('.').filter(|part| !part.is_empty()).collect();
        if parts.len() > version.len() {
            return Err(bad());
        }
        for (part, number) in parts.iter().zip(&mut version) {
            *number = part.trim().parse().map_err(|_| bad())?;
        }
        Ok((time, Version(version)))
    }
}

/// What is wrong with an entry.
fn at(entry: &Entry, key: &str) -> Error {
    Error::corrupt(format_args!("line {}: {key}", entry.line))
}
