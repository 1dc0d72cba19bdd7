//! Packages for people.

use super::{Listing, Offer, Offered, Offers};
use crate::cli::{Env, output};
use crate::error::Result;
use crate::image::edits::Fit;

/// Rows in columns.
fn table(rows: &[Vec<String>], env: &mut Env<'_>) -> Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        output::line(env.stdout, format_args!("{}", line.trim_end()))?;
    }
    Ok(())
}

/// What there is to be put in.
pub(super) fn offers(report: &Offers, is_listing: bool, env: &mut Env<'_>) -> Result<()> {
    if let Some(image) = &report.image {
        output::line(env.stdout, format_args!("for {}", printable(image)))?;
    }
    if is_listing {
        let rows: Vec<Vec<String>> = report.packages.iter().map(row).collect();
        table(&rows, env)?;
    } else {
        for part in report.packages.iter().flat_map(|offer| &offer.parts) {
            detail(part, env)?;
        }
    }
    // Where a part was judged, that is said already.
    let parts = report.packages.iter().flat_map(|offer| &offer.parts);
    let odd = parts.filter(|part| part.judged.is_none()).filter_map(|part| part.problem.as_ref());
    output::warnings(env, odd)?;
    match &report.plan {
        Some(plan) => output::line(env.stdout, format_args!("\n{}", lines(plan.to_string().trim_end()))),
        None => Ok(()),
    }
}

/// Short name, version, length, languages, whether it fits, what it is.
fn row(offer: &Offer) -> Vec<String> {
    let first = offer.parts.first();
    let described = first.and_then(|part| part.description.as_ref());
    let bytes: u64 = offer.parts.iter().filter_map(|part| part.description.as_ref()).map(|part| part.bytes).sum();
    let dash = || "-".to_owned();
    let mut row = vec![
        printable(&offer.name),
        described.map_or_else(dash, |part| part.identity.version.to_string()),
        output::bytes(bytes),
        if offer.languages.is_empty() { dash() } else { offer.languages.join(" ") },
    ];
    let judged = offer.parts.iter().filter_map(|part| part.judged.as_ref());
    let worst = judged.clone().max_by_key(|judged| judged.fit);
    if let Some(worst) = worst {
        let why = worst.reasons.first().map(|reason| format!(": {}", printable(reason))).unwrap_or_default();
        row.push(format!("{}{why}", worst.fit.word()));
    } else {
        let parents = described.map(|part| part.parents.join(" or ")).unwrap_or_default();
        let text = described.and_then(|part| part.description.as_ref().or(part.display_name.as_ref()));
        row.push(text.map_or_else(dash, |text| printable(text)));
        row.push(if parents.is_empty() { String::new() } else { format!("belongs to {}", printable(&parents)) });
    }
    row
}

fn detail(part: &Offered, env: &mut Env<'_>) -> Result<()> {
    let Some(described) = &part.description else { return Ok(()) };
    let out = &mut *env.stdout;
    let sizes = (output::bytes(described.bytes), output::bytes(described.unpacked_bytes));
    output::line(out, format_args!("{}, {}, unpacked {}", printable(&described.source), sizes.0, sizes.1))?;
    let judged = part.judged.as_ref();
    let inspection = part.inspection.as_ref().or(judged.and_then(|judged| judged.inspection.as_ref()));
    let list = |texts: &[String], between: &str| (!texts.is_empty()).then(|| texts.join(between));
    let nested = inspection.map(|inspection| inspection.packages.get(1..).unwrap_or_default().to_vec());
    let rows = [
        ("package", Some(described.id.clone())),
        ("name", described.display_name.clone()),
        ("description", described.description.clone()),
        ("kind", described.release_type.clone()),
        ("capability", list(&described.capabilities, ", ")),
        ("features", list(&described.features, ", ")),
        ("belongs to", list(&described.parents, " or ")),
        ("holds", nested.as_ref().and_then(|nested| list(nested, "\n                "))),
        (
            "components",
            inspection.map(|found| {
                let files = output::count(found.files, "file");
                format!("{} and deployments, {files}: all hashes hold", output::count(found.components, "component"))
            }),
        ),
        ("signed by", inspection.map(|found| found.signer.clone().unwrap_or_else(|| "nobody".to_owned()))),
        (
            "refused",
            inspection
                .filter(|_| judged.is_none_or(|judged| judged.fit == Fit::No))
                .and_then(|found| found.refusal.clone()),
        ),
        ("remark", inspection.and_then(|found| list(&found.remarks, "; "))),
        ("verdict", judged.map(|judged| judged.fit.word().to_owned())),
        ("because", judged.and_then(|judged| list(&judged.reasons, "\n                "))),
    ];
    for (name, text) in rows.iter().filter_map(|(name, text)| Some((name, text.as_ref()?))) {
        output::line(out, format_args!("  {name:<13} {}", lines(text)))?;
    }
    Ok(())
}

/// What an image has.
pub(super) fn installed(listing: &Listing<'_>, all: usize, is_detail: bool, env: &mut Env<'_>) -> Result<()> {
    output::line(env.stdout, format_args!("{}", printable(&listing.image)))?;
    for package in &listing.waiting {
        output::line(env.stdout, format_args!("waits for the first start: {}", printable(&package.to_string())))?;
    }
    if listing.packages.is_empty() {
        let all = output::count(all, "package");
        return output::line(env.stdout, format_args!("no package that a user would be shown; --all lists {all}"));
    }
    if !is_detail {
        let rows: Vec<Vec<String>> = listing
            .packages
            .iter()
            .map(|entry| {
                let by = entry.package.client.as_deref().map_or_else(|| "-".to_owned(), printable);
                let time = entry.installed.clone().unwrap_or_else(|| "-".into());
                vec![printable(&entry.package.id), entry.state_name.to_owned(), time, by]
            })
            .collect();
        return table(&rows, env);
    }
    for entry in &listing.packages {
        let package = entry.package;
        let out = &mut *env.stdout;
        output::line(out, format_args!("{}", printable(&package.id)))?;
        let features = package.updates.iter().map(|(name, state)| format!("{name} ({})", super::state::word(*state)));
        let features: Vec<String> = features.collect();
        // One that stands for itself is its own owner.
        let wholes = package.owners.iter().filter(|owner| !owner.eq_ignore_ascii_case(&package.id));
        let wholes: Vec<&str> = wholes.map(String::as_str).collect();
        let rows = [
            ("state", Some(entry.state_name.to_owned())),
            ("shown", Some(if package.visible { "yes" } else { "no" }.to_owned())),
            ("installed", entry.installed.clone()),
            ("from", package.install_name.clone()),
            ("by", package.client.clone()),
            ("features", (!features.is_empty()).then(|| features.join(", "))),
            ("part of", (!wholes.is_empty()).then(|| wholes.join(", "))),
        ];
        for (name, text) in rows.iter().filter_map(|(name, text)| Some((name, text.as_ref()?))) {
            output::line(out, format_args!("  {name:<13} {}", printable(text)))?;
        }
    }
    Ok(())
}

/// Control characters would speak to the terminal.
fn printable(text: &str) -> String {
    text.replace(char::is_control, " ").trim().to_owned()
}

/// The same, with lines kept.
fn lines(text: &str) -> String {
    text.lines().map(|line| line.replace(char::is_control, " ")).collect::<Vec<_>>().join("\n")
}
