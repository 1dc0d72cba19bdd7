//! Services and drivers: whether the file of each is where its key says.

use super::{check_program, machine_at};
use crate::format::hive::{Hive, KeyId};
use crate::tree::Tree;
use crate::verify::{Finding, Findings, Level, Rule};
use crate::windows::{Machine, SYSTEM_ROOT, registry};

/// `Start`: by whom a service is started.
const BOOT: u32 = 0;
const SYSTEM: u32 = 1;
const AUTOMATIC: u32 = 2;
const DEMAND: u32 = 3;
/// `Type`: a driver of the kernel or of a file system.
const DRIVER_TYPES: u32 = 0x01 | 0x02 | 0x08;
/// `Type`: a program of its own, or in one with others.
const PROGRAM_TYPES: u32 = 0x10 | 0x20;
/// `ErrorControl`: how bad it is if it does not start. From here on Windows does not start without it.
const SEVERE: u32 = 2;

/// A key of a control set's `Services` that describes a service: it has a start and a type.
pub(crate) struct Service<'h> {
    hive: &'h Hive,
    key: KeyId,
    name: String,
    /// When it starts: 0 at boot, 4 never.
    pub(crate) start: u32,
    kind: u32,
}

impl<'h> Service<'h> {
    /// The service of that name.
    pub(crate) fn named(hive: &'h Hive, services: KeyId, name: &str) -> Option<Self> {
        Self::of_key(hive, hive.subkey(services, name)?)
    }

    fn of_key(hive: &'h Hive, key: KeyId) -> Option<Self> {
        let number = |name: &str| hive.value(key, name)?.as_dword();
        Some(Self { hive, key, name: hive.name(key).to_string(), start: number("Start")?, kind: number("Type")? })
    }

    /// Where its file is, if it is a driver whose path can be told.
    pub(crate) fn driver_path(&self) -> Option<String> {
        driver_path(self)
    }

    /// What counts in place of `Start` at boot, where that keeps the driver from starting.
    pub(crate) fn start_override(&self) -> Option<u32> {
        start_override(self)
    }

    /// The services that have to start before it.
    pub(crate) fn depends_on(&self) -> Vec<String> {
        self.hive.value(self.key, "DependOnService").and_then(|value| value.as_texts()).unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.hive.value(self.key, name)?.as_dword()
    }

    fn text(&self, key: KeyId, name: &str) -> Option<String> {
        self.hive.value(key, name)?.as_text().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn is_driver(&self) -> bool {
        self.kind & DRIVER_TYPES != 0
    }

    fn finding(&self, rule: Rule, found: impl std::fmt::Display) -> Finding {
        Finding::new(rule, found).part(format_args!("service {}", self.name))
    }
}

/// Where the drivers are that start at boot.
pub(in crate::verify) fn boot_drivers(system: &Hive) -> Vec<String> {
    let services = registry::current_control_set(system).and_then(|set| system.subkey(set, "Services"));
    let started = services
        .into_iter()
        .flat_map(|services| all(system, services))
        .filter(|service| service.start == BOOT && service.is_driver() && start_override(service).is_none());
    started.filter_map(|service| driver_path(&service)).collect()
}

/// The services of a control set that have a start and a type.
fn all(hive: &Hive, services: KeyId) -> impl Iterator<Item = Service<'_>> {
    hive.subkeys(services).filter_map(move |key| Service::of_key(hive, key))
}

pub(super) fn check(tree: &Tree, system: &Hive, machine: Option<Machine>, findings: &mut Findings) {
    let Some(set) = registry::current_control_set(system) else {
        let finding = Finding::new(Rule::HiveDamaged, "no current control set").allowed(r"Select\Current, and its key");
        findings.add(finding.path(format_args!(r"{}\SYSTEM", registry::CONFIG)));
        return;
    };
    let Some(services) = system.subkey(set, "Services") else {
        let finding = Finding::new(Rule::HiveDamaged, "no key Services").allowed("the services");
        findings.add(finding.path(format_args!(r"{}\SYSTEM", registry::CONFIG)));
        return;
    };
    for service in all(system, services) {
        check_service(tree, &service, machine, findings);
    }
}

fn check_service(tree: &Tree, service: &Service<'_>, machine: Option<Machine>, findings: &mut Findings) {
    let overridden = start_override(service);
    if service.start == BOOT
        && service.is_driver()
        && let Some(instead) = overridden
    {
        let finding = service.finding(Rule::StartOverride, format_args!("StartOverride {instead}"));
        findings.add(finding.allowed("none, or 0"));
    }
    match service.start {
        BOOT if service.is_driver() => check_boot_driver(tree, service, overridden.is_none(), machine, findings),
        SYSTEM | AUTOMATIC => check_started(tree, service, findings),
        _ => {}
    }
}

/// What counts in place of `Start` at boot, where that keeps the driver from starting: the value "0" of the key `StartOverride`.
fn start_override(service: &Service<'_>) -> Option<u32> {
    let key = service.hive.subkey(service.key, "StartOverride")?;
    service.hive.value(key, "0")?.as_dword().filter(|instead| *instead >= DEMAND)
}

/// A driver that the loader itself reads.
fn check_boot_driver(
    tree: &Tree,
    service: &Service<'_>,
    starts: bool,
    machine: Option<Machine>,
    findings: &mut Findings,
) {
    let Some(path) = driver_path(service) else { return };
    if let Some(found) = machine_at(tree, &path) {
        return check_program(&path, found, machine, Rule::BootDriver, findings);
    }
    // The loader goes on without one that is not critical.
    let critical = service.number("ErrorControl").is_some_and(|control| control >= SEVERE);
    let level = match (starts, critical) {
        (true, true) => Level::Error,
        (true, false) => Level::Warning,
        (false, _) => Level::Note,
    };
    findings.add(service.finding(Rule::BootDriver, "no such file").allowed("the driver").path(path).level(level));
}

/// A driver or program that the kernel or the service manager starts.
fn check_started(tree: &Tree, service: &Service<'_>, findings: &mut Findings) {
    let mut files = Vec::new();
    if service.is_driver() {
        files.extend(driver_path(service));
    } else if service.kind & PROGRAM_TYPES != 0 {
        let command = service.text(service.key, "ImagePath");
        let Some(command) = command else {
            findings.add(service.finding(Rule::ServiceImage, "no ImagePath").allowed("the path of a program"));
            return;
        };
        files.extend(first_file(tree, &command));
        files.extend(library_path(service));
    }
    for path in files.iter().filter(|path| !is_file(tree, path)) {
        findings.add(service.finding(Rule::ServiceImage, "no such file").allowed("the program").path(path));
    }
}

/// The library of a service that shares svchost.exe with others.
fn library_path(service: &Service<'_>) -> Option<String> {
    let parameters = service.hive.subkey(service.key, "Parameters");
    let of = |key: KeyId| service.text(key, "ServiceDll");
    let library = parameters.and_then(of).or_else(|| of(service.key))?;
    in_image(library.trim_matches('"'), r"\Windows\System32")
}

/// Where a driver is; without an ImagePath it has the service's name.
fn driver_path(service: &Service<'_>) -> Option<String> {
    match service.text(service.key, "ImagePath") {
        Some(path) => in_image(path.trim_matches('"'), SYSTEM_ROOT),
        None => Some(format!(r"{SYSTEM_ROOT}\System32\drivers\{}.sys", service.name)),
    }
}

pub(crate) fn is_file(tree: &Tree, path: &str) -> bool {
    tree.find(path).is_some_and(|id| !tree.node(id).is_directory())
}

/// The program of a command line: what is in quotes; or else, as CreateProcess does it, the shortest beginning up to a space
/// that is a file, with `.exe` added where it has no ending; or else all up to the first space.
///
/// Nothing for a path that is not in the image.
fn first_file(tree: &Tree, command: &str) -> Option<String> {
    if let Some(rest) = command.strip_prefix('"') {
        return in_image(rest.split('"').next().unwrap_or_default(), r"\Windows\System32").map(with_ending);
    }
    let ends = command.match_indices(' ').map(|(at, _)| at).chain([command.len()]);
    let candidates: Vec<String> = ends
        .filter_map(|end| command.get(..end))
        .filter_map(|beginning| in_image(beginning, r"\Windows\System32").map(with_ending))
        .take(32)
        .collect();
    candidates.iter().find(|path| is_file(tree, path)).or(candidates.first()).cloned()
}

fn with_ending(path: String) -> String {
    let has_ending = path.rsplit('\\').next().is_some_and(|name| name.contains('.'));
    if has_ending { path } else { path + ".exe" }
}

/// A path of a running system as one in the image; `relative_to` is for paths without a beginning.
///
/// Nothing for what is elsewhere: another drive, a share, a variable that only a running system knows.
fn in_image(path: &str, relative_to: &str) -> Option<String> {
    let path = path.trim().replace('/', r"\");
    let after = |prefix: &str| {
        let head = path.get(..prefix.len())?;
        head.eq_ignore_ascii_case(prefix).then(|| path[prefix.len()..].to_owned())
    };
    const ROOTS: [(&str, &str); 9] = [
        (r"\??\C:", ""),
        (r"\\?\C:", ""),
        (r"C:", ""),
        (r"\SystemRoot", SYSTEM_ROOT),
        (r"%SystemRoot%", SYSTEM_ROOT),
        (r"%windir%", SYSTEM_ROOT),
        (r"%SystemDrive%", ""),
        (r"%ProgramFiles%", r"\Program Files"),
        (r"%ProgramData%", r"\ProgramData"),
    ];
    for (prefix, place) in ROOTS {
        if let Some(rest) = after(prefix) {
            return rest.starts_with('\\').then(|| format!("{place}{rest}"));
        }
    }
    if path.starts_with(r"\\") || path.starts_with(r"\??") || path.contains(['%', ':']) || path.is_empty() {
        return None;
    }
    if path.starts_with('\\') {
        return Some(path);
    }
    // System32\drivers\..., as kernel drivers have it: from the root of Windows, whoever asks.
    let of_system_root = ["system32", "syswow64", "inf", "servicing", "microsoft.net"];
    let first = path.split('\\').next().unwrap_or_default().to_ascii_lowercase();
    let base = if path.contains('\\') && of_system_root.contains(&first.as_str()) { SYSTEM_ROOT } else { relative_to };
    Some(format!(r"{base}\{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_in_many_forms() {
        for (path, place) in [
            (r"\SystemRoot\System32\drivers\disk.sys", Some(r"\Windows\System32\drivers\disk.sys")),
            (r"System32\drivers\disk.sys", Some(r"\Windows\System32\drivers\disk.sys")),
            (r"system32\DRIVERS\disk.sys", Some(r"\Windows\system32\DRIVERS\disk.sys")),
            (r"%SystemRoot%\System32\svchost.exe", Some(r"\Windows\System32\svchost.exe")),
            (r"%windir%\x.dll", Some(r"\Windows\x.dll")),
            (r"\??\C:\Program Files\a\b.sys", Some(r"\Program Files\a\b.sys")),
            (r"c:\windows\x.exe", Some(r"\windows\x.exe")),
            (r"/SystemRoot/x.sys", Some(r"\Windows\x.sys")),
            (r"x.sys", Some(r"\Base\x.sys")),
            (r"sub\x.sys", Some(r"\Base\sub\x.sys")),
            (r"\x.sys", Some(r"\x.sys")),
            (r"D:\x.exe", None),
            (r"\??\D:\x.sys", None),
            (r"\\server\share\x.exe", None),
            (r"%USERPROFILE%\x.exe", None),
            (r"%SystemRootx%\x", None),
            ("", None),
            ("ä", Some(r"\Base\ä")),
        ] {
            assert_eq!(in_image(path, r"\Base").as_deref(), place, "{path}");
        }
    }
}
