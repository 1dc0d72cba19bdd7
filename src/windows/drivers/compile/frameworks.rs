//! `[install.Wdf]`: drivers that run in Microsoft's driver frameworks.
//!
//! A driver of the kernel-mode framework is bound to the version that `Parameters\Wdf` of its service names. The user-mode framework
//! finds a device's drivers in the device's own key `WUDF`, which is made anew (seen in ehstorpwddrv.inf and hidbthle.inf of Windows 10 1709).

use std::rc::Rc;

use super::configuration::optional_number;
use super::library::{Line, Source};
use super::{Compiler, Draft};
use crate::error::Result;
use crate::format::hive::Value;
use crate::windows::drivers::{ConfigurationValue, database_flag};

/// Where the user-mode framework looks.
const DEVICE: &str = r"Device\WUDF";

/// What the words of a directive are in the registry.
type Words = &'static [(&'static str, u32)];

/// Policies of the user-mode framework: the directive, the value, and what its words are (Microsoft, "Specifying WDF directives in INF
/// files"; the names of the values as Windows 10 1709 has them).
const POLICIES: [(&str, &str, Words); 7] = [
    (
        "UmdfImpersonationLevel",
        "ImpersonationLevel",
        &[("Anonymous", 0), ("Identification", 1), ("Impersonation", 2), ("Delegation", 3)],
    ),
    ("UmdfMethodNeitherAction", "MethodNeitherAction", &[("Reject", 0), ("Copy", 1)]),
    (
        "UmdfKernelModeClientPolicy",
        "KernelModeClientPolicy",
        &[("RejectKernelModeClients", 0), ("AllowKernelModeClients", 1)],
    ),
    (
        "UmdfFileObjectPolicy",
        "FileObjectPolicy",
        &[("RejectNullAndUnknownFileObjects", 0), ("AllowNullAndUnknownFileObjects", 1)],
    ),
    (
        "UmdfFsContextUsePolicy",
        "FsContextUsePolicy",
        &[("CanUseFsContext", 0), ("CanUseFsContext2", 1), ("CannotUseFsContexts", 2)],
    ),
    (
        "UmdfHostProcessSharing",
        "HostProcessSharingEnabled",
        &[("ProcessSharingDisabled", 0), ("ProcessSharingEnabled", 1)],
    ),
    (
        "UmdfDirectHardwareAccess",
        "DirectHardwareAccess",
        &[("RejectDirectHardwareAccess", 0), ("AllowDirectHardwareAccess", 1)],
    ),
];

impl Compiler<'_> {
    /// Works through the section; whether there is one.
    pub(super) fn frameworks(&mut self, draft: &mut Draft, own: &Rc<Source>, name: &str) -> Result<bool> {
        let mut device = Vec::new();
        let found = self.each(own, name, ".Wdf", |own, line| {
            match line.entry.first().to_lowercase().as_str() {
                "kmdfservice" => own.kernel_framework(line)?,
                "umdfserviceorder" => {
                    let drivers = Value::multi_sz(line.names(0));
                    device.push(below(DEVICE, "DriverList", drivers));
                }
                "umdfservice" => own.user_framework(line)?,
                directive => match POLICIES.iter().find(|(own, ..)| own.eq_ignore_ascii_case(directive)) {
                    Some((_, value, words)) => device.extend(own.policy(line, value, words)?),
                    None => own.left_out(line, "a section of driver frameworks"),
                },
            }
            Ok(())
        })?;
        if !device.is_empty() {
            let mark = Value::new(database_flag::DELETE_KEY, Vec::new());
            draft.configuration.values.push(below("Device", "WUDF", mark));
            draft.configuration.values.extend(device);
        }
        Ok(found)
    }

    /// `KmdfService = service, section` with `KmdfLibraryVersion` in the section.
    fn kernel_framework(&mut self, line: &Line) -> Result<()> {
        let (service, section) = (line.field(0), line.field(1));
        for line in self.referenced(line, "KmdfService", &section)? {
            if !line.entry.is("KmdfLibraryVersion") {
                self.left_out(&line, "a section of the kernel-mode framework");
                continue;
            }
            let version = Value::sz(&line.field(0));
            match self.service_index.get(&service.to_lowercase()) {
                Some(index) => {
                    let values = &mut self.services[*index].values;
                    values.push(below(r"Parameters\Wdf", "KmdfLibraryVersion", version));
                    super::configuration::merge(values);
                }
                None => self.note(&line, format!("KmdfService={service}: the INF file has no such service")),
            }
        }
        Ok(())
    }

    /// `UmdfService = name, section`: Windows writes it into the registry of the framework when it installs the device.
    fn user_framework(&mut self, line: &Line) -> Result<()> {
        self.referenced(line, "UmdfService", &line.field(1))?;
        self.leave(line, format!("UmdfService={}: the framework's entry is left to Windows", line.field(0)));
        Ok(())
    }

    fn policy(&mut self, line: &Line, value: &str, words: Words) -> Result<Option<ConfigurationValue>> {
        let word = line.field(0);
        let known = words.iter().find(|(own, _)| own.eq_ignore_ascii_case(&word)).map(|(_, number)| *number);
        let number = match known {
            Some(number) => Some(number),
            None => optional_number(line, 0)?,
        };
        Ok(number.map(|number| below(DEVICE, value, Value::dword(number))))
    }
}

fn below(key: &str, name: &str, value: Value) -> ConfigurationValue {
    ConfigurationValue { key: key.to_owned(), value: Some((name.to_owned(), value)) }
}
