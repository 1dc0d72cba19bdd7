//! `nanovhd info` of installation media: which images and packages are on one.

use serde::Serialize;

use super::{Env, output};
use crate::error::Result;
use crate::format::wim::ImageInfo;
use crate::image::Media;
use crate::image::media::{MediaKind, Package};

#[derive(Serialize)]
struct Report<'m> {
    path: String,
    #[serde(flatten)]
    kind: &'m MediaKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'m str>,
    /// The one that a build takes comes first.
    image_files: Vec<ImageFile>,
    packages: Vec<Package>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct ImageFile {
    file: String,
    bytes: u64,
    images: Vec<ImageInfo>,
}

pub(super) fn info(media: &Media, json: bool, env: &mut Env<'_>) -> Result<()> {
    let mut warnings: Vec<String> = media.notes().to_vec();
    let mut image_files = Vec::new();
    for file in media.images()? {
        let bytes = media.file(&file)?.map_or(0, |file| file.len());
        // What one damaged file holds is no reason to hide what is in the others.
        let images = match media.wim(Some(&file)) {
            Ok((_, wim)) => {
                warnings.extend(wim.warnings().iter().map(|warning| format!("{file}: {warning}")));
                wim.images().to_vec()
            }
            Err(error) => {
                warnings.push(error.to_string());
                Vec::new()
            }
        };
        image_files.push(ImageFile { file, bytes, images });
    }
    let path = media.path.display().to_string();
    let (label, packages) = (media.label.as_deref(), media.packages()?);
    let report = Report { path, kind: &media.kind, label, image_files, packages, warnings };
    if json { output::json(env, &report) } else { print(&report, env) }
}

fn print(report: &Report<'_>, env: &mut Env<'_>) -> Result<()> {
    let out = &mut *env.stdout;
    let label = report.label.map_or_else(String::new, |label| format!(", label {label:?}"));
    output::line(out, format_args!("{}: {}{label}", report.path, report.kind))?;
    if report.image_files.is_empty() {
        output::line(out, format_args!("no image files where installation media have them"))?;
    }
    for (place, file) in report.image_files.iter().enumerate() {
        let taken = if place == 0 && report.image_files.len() > 1 { ", taken by a build" } else { "" };
        output::line(out, format_args!("\n{}, {}{taken}", file.file, output::bytes(file.bytes)))?;
        for image in &file.images {
            let details: Vec<String> = [
                image.edition.clone(),
                image.version.map(|version| version.to_string()),
                image.architecture_name().map(str::to_owned),
            ]
            .into_iter()
            .flatten()
            .collect();
            let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
            let name = image.name.as_deref().unwrap_or("(no name)");
            output::line(out, format_args!("  {}: {name}{details}", image.index))?;
        }
    }
    if !report.packages.is_empty() {
        output::line(out, format_args!("\n{}", output::count(report.packages.len(), "package")))?;
    }
    for package in &report.packages {
        let language = package.language.as_deref().unwrap_or("-");
        output::line(out, format_args!("  {language:<10} {:>12} {}", package.bytes, package.file))?;
    }
    output::warnings(env, &report.warnings)
}
