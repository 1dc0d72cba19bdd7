//! A plan as text for people, and as data for programs. Both are the same for the same plan, on every machine.

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::super::image::STORE;
use super::super::installed::{MANIFESTS, PACKAGES, SERVICING};
use super::super::records::{CATALOGS, CODE_INTEGRITY, DEPLOYMENTS, DERIVED, INDEX, KNOWN_CATALOGS, WINNERS};
use super::{Change, ComponentPlan, EffectKind, LeftOut, PackagePlan, Plan, Sums};
use crate::base::sddl;
use crate::format::assembly::Version;
use crate::format::hive::{Value, words};

/// The deepest package that is shown deeper than the one that it is nested in.
const MOST_INDENT: usize = 12;

impl fmt::Display for Plan {
    /// The packages as a tree, the components with all that they change, what is kept of them, what is not carried out, and how much it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Packages")?;
        let depths = self.depths();
        for (package, depth) in self.packages.iter().zip(depths) {
            self.package(f, package, depth)?;
        }
        writeln!(f, "\nComponents")?;
        self.components.iter().try_for_each(|component| self.component(f, component))?;
        self.records(f)?;
        if self.left_out().next().is_some() {
            writeln!(f, "\nNot carried out")?;
            for (file, LeftOut { what, line, why }) in self.left_out() {
                let line = if *line == 0 { String::new() } else { format!(", line {line}") };
                writeln!(f, "  {file}{line}: {what}: {why}")?;
            }
        }
        writeln!(f, "\n{}", self.sums())
    }
}

impl Plan {
    /// How deep each package is nested: one comes after the one that it is in.
    fn depths(&self) -> Vec<usize> {
        let mut depths: Vec<usize> = Vec::with_capacity(self.packages.len());
        for package in &self.packages {
            let above = package.within.and_then(|within| depths.get(within));
            depths.push(above.map_or(0, |depth| (depth + 1).min(MOST_INDENT)));
        }
        depths
    }

    /// What servicing keeps of packages and components, whatever they are.
    fn records(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let servicing = format!(r"HKEY_LOCAL_MACHINE\SOFTWARE\{SERVICING}");
        let is_new = self.packages.iter().any(|package| !package.is_there);
        if is_new || self.components.iter().any(|component| !component.is_there) {
            writeln!(f, "\nRecords")?;
        }
        if is_new {
            line(
                f,
                "package",
                &format!(r"{PACKAGES}\PACKAGE.mum, and .cat; the latter in {CATALOGS} and {CODE_INTEGRITY} too"),
            )?;
            line(f, "", &format!(r"{servicing}\Packages\PACKAGE, and \PackageIndex"))?;
        }
        if self.components.iter().any(|component| !component.is_there) {
            line(f, "component", &format!(r"{MANIFESTS}\COMPONENT.manifest; what is stored in {STORE}\COMPONENT"))?;
            line(
                f,
                "",
                &format!(
                    r"HKEY_LOCAL_MACHINE\COMPONENTS\{DERIVED}\COMPONENT, {DEPLOYMENTS}, {KNOWN_CATALOGS}; {INDEX} goes"
                ),
            )?;
            line(f, "", &format!(r"HKEY_LOCAL_MACHINE\SOFTWARE\{WINNERS}, where it is there"))?;
        }
        Ok(())
    }

    fn package(&self, f: &mut fmt::Formatter<'_>, package: &PackagePlan, depth: usize) -> fmt::Result {
        let indent = 2 * depth + 2;
        write!(f, "{:indent$}{}", "", package.identity.package_id())?;
        if let Some(release_type) = &package.release_type {
            write!(f, " ({release_type})")?;
        }
        if package.is_there {
            write!(f, ", is there already")?;
        }
        if let Some(parent) = &package.parent {
            write!(f, ", belongs to {parent}")?;
        }
        if !package.supersedes.is_empty() {
            write!(f, ", supersedes {}", package.supersedes.join(", "))?;
        }
        writeln!(f)?;
        for update in package.updates.iter().filter(|update| update.is_selectable || !update.is_on) {
            let state = if update.is_on { "on" } else { "off" };
            writeln!(f, "{:indent$}  feature {}: {state}", "", update.name)?;
        }
        Ok(())
    }

    fn component(&self, f: &mut fmt::Formatter<'_>, component: &ComponentPlan) -> fmt::Result {
        let what = if component.is_deployment { "deployment, " } else { "" };
        writeln!(f, "  {} ({what}{})", component.keyform, component.state())?;
        let dependencies = component.dependencies.iter().filter_map(|at| self.components.get(*at));
        if component.is_deployment {
            dependencies.into_iter().try_for_each(|brought| line(f, "brings", &brought.keyform))?;
        }
        if !component.is_there {
            let stored = component.payload.iter();
            stored
                .map(|file| format!("{}, {} bytes", file.name, file.content.len()))
                .try_for_each(|file| line(f, "stored", &file))?;
        }
        for effect in &component.effects {
            line(f, effect.kind.word(), &effect.what)?;
            changes(f, &effect.changes)?;
        }
        Ok(())
    }
}

/// What is done for an effect, below it. A key is named once for all of its values.
fn changes(f: &mut fmt::Formatter<'_>, changes: &[Change]) -> fmt::Result {
    let mut named = "";
    for change in changes {
        match (change, change.value_key()) {
            (_, Some(key)) => {
                if key != named {
                    writeln!(f, "      in {}", on_one_line(key))?;
                }
                named = key;
            }
            (Change::Key { key, .. }, None) => named = key,
            _ => {}
        }
        writeln!(f, "      {}", on_one_line(&Line { change, is_key_named: true }.to_string()))?;
    }
    Ok(())
}

/// A component's line: `    registry     HKEY_...`.
fn line(f: &mut fmt::Formatter<'_>, word: &str, what: &str) -> fmt::Result {
    writeln!(f, "    {word:<12} {}", on_one_line(what))
}

/// Control characters would begin lines of their own.
fn on_one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

impl ComponentPlan {
    fn state(&self) -> String {
        let list = |versions: &[Version]| versions.iter().map(Version::to_string).collect::<Vec<_>>().join(", ");
        match (self.is_there, self.others.as_slice()) {
            _ if self.is_beaten() => format!("stored only: {} is newer", list(&self.others[self.others.len() - 1..])),
            (true, _) => "is there already".into(),
            (false, []) => "new".into(),
            (false, others) => format!("new, replaces {}", list(others)),
        }
    }
}

impl EffectKind {
    /// What it is called.
    pub fn word(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File => "file",
            Self::Registry => "registry",
            Self::Service => "service",
            Self::SvcHost => "svchost",
            Self::Environment => "environment",
            Self::Firewall => "firewall",
            Self::Driver => "driver",
            Self::Publisher => "publisher",
            Self::Channel => "channel",
            Self::Task => "task",
        }
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", counted(self.packages, "package"))?;
        write!(f, "{}, ", counted(self.components, "component"))?;
        write!(f, "{} ({} bytes), ", counted(self.files, "file"), self.bytes)?;
        write!(f, "{}, ", counted(self.values, "registry value"))?;
        write!(f, "{}", counted(self.services, "service"))?;
        match self.left_out {
            0 => Ok(()),
            left_out => write!(f, "; {} not carried out", counted(left_out, "thing")),
        }
    }
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

impl Change {
    /// The key whose value it is about.
    fn value_key(&self) -> Option<&str> {
        match self {
            Self::Value { key, .. }
            | Self::Append { key, .. }
            | Self::AppendPath { key, .. }
            | Self::DeleteValue { key, .. } => Some(key),
            _ => None,
        }
    }
}

impl fmt::Display for Change {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Line { change: self, is_key_named: false }.fmt(f)
    }
}

/// A change in one line, and whether the key of its value was named before.
struct Line<'c> {
    change: &'c Change,
    is_key_named: bool,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |key: &str, name: &str| {
            let name = if name.is_empty() { "(default)" } else { name };
            if self.is_key_named { name.to_owned() } else { format!("{key} [{name}]") }
        };
        match self.change {
            Change::Directory { path, descriptor, attributes } => {
                write!(f, "directory {path}")?;
                kept(f, descriptor.as_deref(), *attributes)
            }
            Change::Link { payload, path, descriptor, attributes } => {
                write!(f, "link {path} to {payload}")?;
                kept(f, descriptor.as_deref(), *attributes)
            }
            Change::File { path, bytes } => write!(f, "file {path}, {} bytes", bytes.len()),
            Change::Key { key, descriptor } => {
                write!(f, "key {key}")?;
                kept(f, descriptor.as_deref(), 0)
            }
            Change::Value { key, name, value, if_absent } => {
                let condition = if *if_absent { ", if it is not there" } else { "" };
                write!(f, "value {} = {}{condition}", of(key, name), shown(value))
            }
            Change::Append { key, name, texts, first } => {
                let texts: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
                write!(f, "append {} {} {}", of(key, name), place(*first), texts.join(", "))
            }
            Change::AppendPath { key, name, part, first } => {
                write!(f, "append {} {} \"{part}\"", of(key, name), place(*first))
            }
            Change::DeleteValue { key, name } => write!(f, "delete value {}", of(key, name)),
            Change::DeleteKey { key } => write!(f, "delete key {key}"),
            Change::Driver { inf } => write!(f, "driver {inf}"),
        }
    }
}

fn place(first: bool) -> &'static str {
    if first { "before" } else { "after" }
}

fn shown(value: &Value) -> String {
    let (kind, data) = (words::kind_name(value.kind), words::data(&value.view()));
    if data.is_empty() { kind.to_string() } else { format!("{kind} {data}") }
}

/// The descriptor and attributes of what is made, where the manifest says them.
fn kept(f: &mut fmt::Formatter<'_>, descriptor: Option<&[u8]>, attributes: u32) -> fmt::Result {
    if attributes != 0 {
        write!(f, ", attributes {attributes:#x}")?;
    }
    match descriptor {
        Some(descriptor) => {
            let text = sddl::to_text(descriptor).unwrap_or_else(|| words::hexadecimal(descriptor));
            write!(f, ", descriptor {text}")
        }
        None => Ok(()),
    }
}

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let id = |at: &usize| self.packages.get(*at).map(|package| package.identity.package_id());
        let keyforms = |places: &[usize]| {
            places
                .iter()
                .filter_map(|at| self.components.get(*at))
                .map(|component| component.keyform.as_str())
                .collect()
        };
        let packages: Vec<PackageView<'_>> = self
            .packages
            .iter()
            .map(|package| PackageView {
                id: package.identity.package_id(),
                bundle: package.bundle,
                release_type: package.release_type.as_deref(),
                within: package.within.as_ref().and_then(id),
                parent: package.parent.as_deref(),
                supersedes: &package.supersedes,
                is_there: package.is_there,
                left_out: &package.left_out,
                updates: package
                    .updates
                    .iter()
                    .map(|update| UpdateView {
                        name: &update.name,
                        is_selectable: update.is_selectable,
                        is_on: update.is_on,
                        deployments: keyforms(&update.deployments),
                        packages: update.packages.iter().filter_map(id).collect(),
                        drivers: keyforms(&update.drivers),
                    })
                    .collect(),
            })
            .collect();
        let components: Vec<ComponentView<'_>> = self
            .components
            .iter()
            .map(|component| ComponentView {
                keyform: &component.keyform,
                bundle: component.bundle,
                is_deployment: component.is_deployment,
                is_there: component.is_there,
                others: &component.others,
                is_beaten: component.is_beaten(),
                deployments: keyforms(&component.deployments),
                dependencies: keyforms(&component.dependencies),
                payload: component
                    .payload
                    .iter()
                    .map(|file| FileView { name: &file.name, bytes: file.content.len() })
                    .collect(),
                effects: component
                    .effects
                    .iter()
                    .map(|effect| EffectView {
                        kind: effect.kind,
                        what: &effect.what,
                        changes: effect.changes.iter().map(Change::to_string).collect(),
                    })
                    .collect(),
                left_out: &component.left_out,
            })
            .collect();
        let mut plan = serializer.serialize_struct("Plan", 3)?;
        plan.serialize_field("packages", &packages)?;
        plan.serialize_field("components", &components)?;
        plan.serialize_field("sums", &self.sums())?;
        plan.end()
    }
}

#[derive(Serialize)]
struct PackageView<'p> {
    id: String,
    bundle: usize,
    release_type: Option<&'p str>,
    within: Option<String>,
    parent: Option<&'p str>,
    supersedes: &'p [String],
    is_there: bool,
    updates: Vec<UpdateView<'p>>,
    left_out: &'p [LeftOut],
}

#[derive(Serialize)]
struct UpdateView<'p> {
    name: &'p str,
    is_selectable: bool,
    is_on: bool,
    deployments: Vec<&'p str>,
    packages: Vec<String>,
    drivers: Vec<&'p str>,
}

#[derive(Serialize)]
struct ComponentView<'p> {
    keyform: &'p str,
    bundle: usize,
    is_deployment: bool,
    is_there: bool,
    others: &'p [Version],
    is_beaten: bool,
    deployments: Vec<&'p str>,
    dependencies: Vec<&'p str>,
    payload: Vec<FileView<'p>>,
    effects: Vec<EffectView<'p>>,
    left_out: &'p [LeftOut],
}

#[derive(Serialize)]
struct FileView<'p> {
    name: &'p str,
    bytes: u64,
}

#[derive(Serialize)]
struct EffectView<'p> {
    kind: EffectKind,
    what: &'p str,
    changes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_lines() {
        let key = || r"HKEY_LOCAL_MACHINE\SOFTWARE\A".to_owned();
        let (name, texts) = (|| "N".to_owned(), vec!["a".to_owned(), "b".to_owned()]);
        let (path, attributes) = (r"\a".to_owned(), 2);
        let changes = [
            (
                Change::Directory { path: path.clone(), descriptor: Some([1, 0xAB].into()), attributes },
                r"directory \a, attributes 0x2, descriptor 01AB",
            ),
            (
                Change::Link { payload: r"x\a".into(), path: path.clone(), descriptor: None, attributes: 0 },
                r"link \a to x\a",
            ),
            (Change::File { path, bytes: vec![0; 3] }, r"file \a, 3 bytes"),
            (Change::Key { key: key(), descriptor: None }, r"key HKEY_LOCAL_MACHINE\SOFTWARE\A"),
            (
                Change::Value { key: key(), name: name(), value: Value::dword(16), if_absent: true },
                r"value HKEY_LOCAL_MACHINE\SOFTWARE\A [N] = REG_DWORD 0x10, if it is not there",
            ),
            (
                Change::Append { key: key(), name: name(), texts, first: false },
                r#"append HKEY_LOCAL_MACHINE\SOFTWARE\A [N] after "a", "b""#,
            ),
            (
                Change::AppendPath { key: key(), name: name(), part: "p".into(), first: true },
                r#"append HKEY_LOCAL_MACHINE\SOFTWARE\A [N] before "p""#,
            ),
            (Change::DeleteValue { key: key(), name: name() }, r"delete value HKEY_LOCAL_MACHINE\SOFTWARE\A [N]"),
            (Change::DeleteKey { key: key() }, r"delete key HKEY_LOCAL_MACHINE\SOFTWARE\A"),
            (Change::Driver { inf: "a.inf".into() }, "driver a.inf"),
        ];
        for (change, line) in changes {
            assert_eq!(change.to_string(), line);
        }
    }

    #[test]
    fn a_key_is_named_once_and_names_stay_on_their_lines() {
        struct All<'c>(&'c [Change]);
        impl fmt::Display for All<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                super::changes(f, self.0)
            }
        }
        let value = |key: &str, name: &str| {
            let (key, name) = (key.to_owned(), name.to_owned());
            Change::Value { key, name, value: Value::dword(1), if_absent: false }
        };
        let made = Change::Key { key: r"K\A".into(), descriptor: None };
        let changes = [
            value(r"K\A", "first"),
            value(r"K\A", ""),
            made,
            value(r"K\A", "a\nb"),
            value(r"K\B", "c"),
            value(r"K\A", "d"),
        ];
        let text = All(&changes).to_string();
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        let expected = [
            r"in K\A",
            "value first = REG_DWORD 0x1",
            "value (default) = REG_DWORD 0x1",
            r"key K\A",
            "value a b = REG_DWORD 0x1",
            r"in K\B",
            "value c = REG_DWORD 0x1",
            r"in K\A",
            "value d = REG_DWORD 0x1",
        ];
        assert_eq!(lines, expected);
    }
}
