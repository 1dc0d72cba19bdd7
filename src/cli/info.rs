//! `nanovhd info`: what a WIM holds. Disks are in [`disk`].

use std::ops::ControlFlow;

use serde::Serialize;

use super::args::Info;
use super::{Env, disk, output, progress};
use crate::error::{Context, Error, Result};
use crate::format::wim::{ImageInfo, Wim};
use crate::image::Input;
use crate::tree::{Content, Node, Tree, attributes};

#[derive(Serialize)]
struct Report<'w> {
    #[serde(flatten)]
    wim: crate::format::wim::Summary,
    images: Vec<Image<'w>>,
    warnings: &'w [String],
}

#[derive(Serialize)]
struct Image<'w> {
    #[serde(flatten)]
    info: &'w ImageInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Vec<File>>,
}

#[derive(Serialize)]
struct File {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    short_name: Option<String>,
    directory: bool,
    bytes: u64,
    attributes: u32,
    modified: String,
    links: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    reparse_tag: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    streams: Vec<String>,
}

pub(super) fn run(command: &Info, json: bool, env: &mut Env<'_>) -> Result<()> {
    match command.source.input()? {
        Input::Wim(wim) => of_wim(&wim, command, json, env),
        Input::Disk(_) if command.tree || command.check_integrity || command.source.image.is_some() => {
            Err(Error::invalid("--tree, --check-integrity and --image are for WIMs, and this is a disk")
                .hint("`nanovhd ls -R` lists the files of a disk, `nanovhd verify` checks it")
                .context(command.source.name()))
        }
        Input::Media(_) if command.tree || command.check_integrity || command.source.image.is_some() => {
            Err(Error::invalid("--tree, --check-integrity and --image are for WIMs, and this is an ISO or a folder")
                .hint("`nanovhd ls -R` lists its files, and with --image those of an image on it")
                .context(command.source.name()))
        }
        Input::Media(media) => super::media::info(&media, json, env),
        Input::Disk(opened) => {
            disk::info(&opened, command.source.partition, json, env).context(|| command.source.name())
        }
    }
}

fn of_wim(wim: &Wim, command: &Info, json: bool, env: &mut Env<'_>) -> Result<()> {
    let name = || command.source.name();
    if command.source.partition.is_some() {
        return Err(Error::invalid("a WIM has no partitions; its images are chosen with --image").context(name()));
    }
    if command.check_integrity {
        check_integrity(wim, env).context(name)?;
    }
    let chosen = command.source.image.as_deref().map(|selector| wim.select(selector)).transpose().context(name)?;
    let mut images = Vec::new();
    for info in wim.images().iter().filter(|info| chosen.is_none_or(|index| info.index == index)) {
        let volume = command.tree.then(|| wim.tree(info.index)).transpose().context(name)?;
        images.push(Image { info, files: volume.map(|volume| files(&volume.tree)) });
    }
    let report = Report { wim: wim.summary(), images, warnings: wim.warnings() };
    if json {
        return output::json(env, &report);
    }
    print(&report, env)
}

/// Checks the integrity table with a progress bar; a source without one is an error, since the check was asked for.
pub(super) fn check_integrity(wim: &Wim, env: &Env<'_>) -> Result<()> {
    let control = &env.control;
    let checked = progress::with_bar("Checking", env, || {
        wim.check_integrity(&mut |done, total| {
            control.at(done, total);
            control.check()
        })
    })?;
    if checked == 0 {
        return Err(Error::invalid("the file has no integrity table to check")
            .hint("leave --check-integrity out: what is used is checked by its SHA-1 in any case"));
    }
    Ok(())
}

fn files(tree: &Tree) -> Vec<File> {
    let mut files = Vec::new();
    tree.visit(|path, link| {
        files.push(file(path.to_owned(), link.short.as_ref().map(ToString::to_string), tree.node(link.node)));
        ControlFlow::Continue(())
    });
    files
}

fn file(path: String, short_name: Option<String>, node: &Node) -> File {
    File {
        path,
        short_name,
        directory: node.is_directory(),
        bytes: node.main().map_or(0, Content::len),
        attributes: node.attributes | if node.is_directory() { attributes::DIRECTORY } else { 0 },
        modified: node.times.modified.to_string(),
        links: node.links(),
        reparse_tag: node.reparse.as_ref().map(|reparse| reparse.tag),
        streams: node
            .streams
            .iter()
            .filter(|stream| !stream.name.is_empty())
            .map(|stream| stream.name.to_string())
            .collect(),
    }
}

fn print(report: &Report<'_>, env: &mut Env<'_>) -> Result<()> {
    let wim = &report.wim;
    let out = &mut *env.stdout;
    output::line(
        out,
        format_args!(
            "{}, {}, {}, {}, GUID {}",
            output::bytes(wim.bytes),
            wim.compression,
            output::count(wim.image_count as usize, "image"),
            output::count(wim.parts, "part"),
            wim.guid
        ),
    )?;
    for image in &report.images {
        let info = image.info;
        output::line(out, format_args!("\nimage {}: {}", info.index, info.name.as_deref().unwrap_or("(no name)")))?;
        let rows = [
            ("description", info.description.clone()),
            ("edition", info.edition.clone()),
            ("version", info.version.map(|version| version.to_string())),
            ("architecture", info.architecture_name().map(str::to_owned)),
            ("languages", Some(info.languages.join(", ")).filter(|languages| !languages.is_empty())),
            ("files", info.files.map(|files| files.to_string())),
            ("directories", info.directories.map(|directories| directories.to_string())),
            ("size", info.total_bytes.map(output::bytes)),
            ("modified", info.modified.map(|time| time.to_string())),
        ];
        for (name, text) in rows {
            output::line(out, format_args!("  {name:<13} {}", text.as_deref().unwrap_or("-")))?;
        }
        for file in image.files.iter().flatten() {
            let kind = if file.directory {
                'd'
            } else if file.reparse_tag.is_some() {
                'l'
            } else {
                '-'
            };
            output::line(out, format_args!("  {kind} {:>12} {} {}", file.bytes, file.modified, file.path))?;
        }
    }
    output::warnings(env, report.warnings)
}
