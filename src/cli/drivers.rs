//! `nanovhd drivers`.

use serde::Serialize;

use super::args::Drivers;
use super::{Env, output};
use crate::base::near;
use crate::error::{Context, Error, Result};
use crate::windows::drivers::{Database, Installed, KnownDevice};

/// Behind `nanovhd drivers --help`.
pub(super) const HELP: &str = "\
A listing has a line for each package: the published name of its INF, the name that its maker gave it, class, version, date, number of
device ids, provider, signer. Packages of one published name that do not count (any more) are marked with a *.";

/// `SignerScore` from which on nobody vouches for a package.
const UNSIGNED: u32 = 0x8000_0000;

#[derive(Serialize)]
struct Report<'d> {
    packages: Vec<&'d Installed>,
    notes: &'d [String],
}

pub(super) fn run(command: &Drivers, json: bool, env: &mut Env<'_>) -> Result<()> {
    let source = command.source.open(env)?;
    let database = Database::read(&source.tree).context(|| source.name.clone())?;
    let packages = if command.names.is_empty() {
        let mut packages: Vec<&Installed> =
            database.packages().iter().filter(|package| command.all || !package.is_inbox).collect();
        packages.sort_by_key(|package| order(package));
        packages
    } else {
        let named = command.names.iter().map(|name| named(&database, name));
        named.collect::<Result<Vec<_>>>().context(|| source.name.clone())?.concat()
    };
    output::warnings(env, database.notes())?;
    let report = Report { packages, notes: database.notes() };
    if json {
        return output::json(env, &report);
    }
    if command.names.is_empty() {
        return list(&report, &database, command.all, env);
    }
    report.packages.iter().try_for_each(|package| detail(package, env))
}

/// By published name, with numbers in their own order.
fn order(package: &Installed) -> (bool, usize, String) {
    let name = package.published.to_lowercase();
    (package.is_inbox, if package.is_inbox { 0 } else { name.len() }, name)
}

/// The packages of a name.
fn named<'d>(database: &'d Database, name: &str) -> Result<Vec<&'d Installed>> {
    let is = |own: &str| own.eq_ignore_ascii_case(name);
    let of_name = |own: &&Installed| is(&own.published) || is(&own.package_name) || is(&own.inf_name);
    let found: Vec<&Installed> = database.packages().iter().filter(of_name).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let names = database.packages().iter().map(|own| own.published.clone());
    let hint = near::did_you_mean(&near::nearest(name, names));
    Err(Error::invalid("no such driver package").found(format_args!("'{name}'")).hint(
        hint.unwrap_or_else(|| "`nanovhd drivers` lists what was added, with --all what came with Windows too".into()),
    ))
}

fn list(report: &Report<'_>, database: &Database, all: bool, env: &mut Env<'_>) -> Result<()> {
    if report.packages.is_empty() {
        let inbox = output::count(database.packages().len(), "package");
        let hint = if all { "" } else { "; --all lists them" };
        return output::line(
            env.stdout,
            format_args!("no driver package was added; {inbox} came with this Windows{hint}"),
        );
    }
    let rows: Vec<[String; 8]> = report.packages.iter().map(|package| row(package)).collect();
    let mut widths = [0; 8];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        output::line(env.stdout, format_args!("{}", line.trim_end()))?;
    }
    Ok(())
}

fn row(package: &Installed) -> [String; 8] {
    let mark = if package.is_active { "" } else { " *" };
    [
        format!("{}{mark}", printable(&package.published)),
        printable(&package.inf_name),
        class(package),
        package.version.to_string(),
        date(package),
        output::count(package.devices.len(), "id"),
        package.provider.as_deref().map_or_else(|| "-".into(), printable),
        signer(package),
    ]
}

fn detail(package: &Installed, env: &mut Env<'_>) -> Result<()> {
    let out = &mut *env.stdout;
    output::line(out, format_args!("{} ({})", printable(&package.published), printable(&package.package_name)))?;
    let guid = package.class_guid.map(|guid| format!("{} {}", class(package), guid.braced()));
    let rows = [
        ("inf", Some(package.inf_name.clone())),
        ("class", guid),
        ("version", Some(format!("{}, {}", package.version, date(package)))),
        ("architecture", package.machine.map(|machine| machine.to_string())),
        ("provider", package.provider.clone()),
        ("signer", Some(format!("{} (score {:08X}h)", signer(package), package.score))),
        ("catalog", package.catalog.clone()),
        ("extension", package.extension.map(|id| id.braced().to_string())),
        ("from", package.origin.clone()),
        ("hive", Some(package.home.to_string())),
        (
            "counts",
            Some(if package.is_active { "yes" } else { "no: another package of its published name does" }.into()),
        ),
    ];
    for (name, text) in rows.iter().filter_map(|(name, text)| Some((name, text.as_ref()?))) {
        output::line(out, format_args!("  {name:<13} {}", printable(text)))?;
    }
    for own in &package.configurations {
        let service = match own.service.as_deref() {
            None => "no service named".into(),
            Some("") => "needs no service".into(),
            Some(service) => format!("service {service}"),
        };
        let filters = [("upper filters", &own.upper_filters), ("lower filters", &own.lower_filters)];
        let filters = filters.iter().filter(|(_, names)| !names.is_empty());
        let filters: String = filters.map(|(what, names)| format!(", {what} {}", names.join(" "))).collect();
        output::line(
            out,
            format_args!("  install       {}: {}", printable(&own.name), printable(&(service + &filters))),
        )?;
    }
    package
        .devices
        .iter()
        .try_for_each(|known| output::line(out, format_args!("  device        {}", device(package, known))))
}

fn device(package: &Installed, device: &KnownDevice) -> String {
    let kind = match device.kind {
        Some(1) => "hardware id".into(),
        Some(2) => format!("compatible id {}", device.index),
        Some(other) => format!("id of kind {other}"),
        None => "not matched".into(),
    };
    let description = device.description.as_deref().map(|text| package.text(text).into_owned());
    let description = description.map(|text| format!(", {text}")).unwrap_or_default();
    printable(&format!("{} ({kind}, feature score {:02X}h){description}", device.id, device.feature))
}

fn class(package: &Installed) -> String {
    match (&package.class, package.class_guid) {
        (Some(class), _) => printable(class),
        (None, Some(guid)) => guid.braced().to_string(),
        (None, None) => "-".into(),
    }
}

fn date(package: &Installed) -> String {
    output::time(package.date).split(' ').next().unwrap_or_default().to_owned()
}

fn signer(package: &Installed) -> String {
    match &package.signer {
        Some(signer) => printable(signer),
        None if package.is_inbox => "Windows".into(),
        None if package.score >= UNSIGNED => "nobody".into(),
        None => "unnamed".into(),
    }
}

/// Control characters would speak to the terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, " ").trim().to_owned()
}
