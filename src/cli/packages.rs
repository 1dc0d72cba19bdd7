//! `nanovhd packages`.

mod print;

use std::path::Path;

use serde::Serialize;

use super::args::Packages;
use super::{Env, output};
use crate::base::near;
use crate::base::{FileTime, ReadAt};
use crate::error::{Context, Error, Kind, Result};
use crate::format::cab;
use crate::image::edits::{Judged, Preview, ServicingStack, Terms, preview};
use crate::image::host::InputFile;
use crate::image::package_source::{Description, Inspection, PackageSource, Part, Shelf, short_name};
use crate::image::{Input, Media, Source};
use crate::windows::packages::installed::state;
use crate::windows::packages::{Installed, InstalledPackage, Plan, base, first_boot};

/// Behind `nanovhd packages --help`.
pub(super) const HELP: &str = "\
Examples:
  nanovhd packages server2016.iso                                  what the medium has for Nano Server
  nanovhd packages server2016.iso --into nano.vhd                  the same, and which of it fits that image
  nanovhd packages server2016.iso --package Containers --into nano.vhd --plan
  nanovhd packages nano.vhd                                        what is installed
  nanovhd packages update.msu                                      what is in it, and whether it is what was signed

A package's parts for languages are judged for the image's languages only.";

/// A package of a medium, or a cabinet.
#[derive(Serialize)]
struct Offer {
    /// What --package takes.
    name: String,
    /// The languages that there are parts for.
    languages: Vec<String>,
    parts: Vec<Offered>,
}

#[derive(Serialize)]
struct Offered {
    #[serde(flatten)]
    description: Option<Description>,
    /// Why there is no description.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inspection: Option<Inspection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    judged: Option<Judged>,
}

#[derive(Serialize)]
struct Offers {
    source: String,
    /// The image that was judged for.
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    packages: Vec<Offer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Plan>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Listing<'i> {
    source: String,
    image: String,
    packages: Vec<Entry<'i>>,
    /// The packages that the first start installs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waiting: Vec<first_boot::InQueue>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Entry<'i> {
    #[serde(flatten)]
    package: &'i InstalledPackage,
    state_name: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    installed: Option<String>,
}

pub(super) fn run(command: &Packages, json: bool, env: &mut Env<'_>) -> Result<()> {
    let path = &command.source.file;
    let is_cabinet = path.is_file() && is_cabinet(path)?;
    if is_cabinet || path.is_dir() && is_unpacked(path)? {
        return of_source(&PackageSource::of_path(path)?, command, json, env);
    }
    match command.source.input()? {
        Input::Media(media) if !media.packages()?.is_empty() => of_medium(&media, command, json, env),
        Input::Media(media) if media.images()?.is_empty() && path.is_dir() && !has_windows(&media)? => {
            of_source(&PackageSource::of_path(path)?, command, json, env)
        }
        input => {
            if command.into.is_some() || command.plan {
                return Err(Error::invalid("--into and --plan are for packages, and this is an image or has none")
                    .hint("name a medium, a .cab, an .msu or a folder, and the image with --into")
                    .context(command.source.name()));
            }
            of_image(&input.source(&command.source.name(), command.source.choice())?, command, json, env)
        }
    }
}

fn is_cabinet(path: &Path) -> Result<bool> {
    let file = InputFile::open(path)?;
    let file: &dyn ReadAt = &file;
    cab::is_cabinet(file)
}

fn is_unpacked(path: &Path) -> Result<bool> {
    Ok(Media::open(path)?.file("update.mum")?.is_some())
}

fn has_windows(media: &Media) -> Result<bool> {
    Ok(media.list("Windows")?.is_some())
}

/// What a medium has, with all languages or, for an image, with those of the image.
fn of_medium(media: &Media, command: &Packages, json: bool, env: &mut Env<'_>) -> Result<()> {
    let shelf = Shelf::of_medium(media)?;
    let named = |name: &String| {
        let found = shelf.find(name).ok_or_else(|| shelf.no_such(name).context(media.path.display()));
        found.and_then(|title| PackageSource::of_title(media, title))
    };
    let sources: Vec<PackageSource> = if command.package.is_empty() {
        shelf.titles.iter().map(|title| PackageSource::of_title(media, title)).collect::<Result<_>>()?
    } else {
        command.package.iter().map(named).collect::<Result<_>>()?
    };
    let image = match &command.into {
        None if command.plan || command.source.image.is_some() => {
            let source = of_its_images(media, command)?;
            output::warnings(env, &source.warnings)?;
            Some(source)
        }
        _ => into(command, env)?,
    };
    let is_listing = command.package.is_empty();
    offers(&sources, image.as_ref(), is_listing, command, json, env)
}

fn of_source(source: &PackageSource, command: &Packages, json: bool, env: &mut Env<'_>) -> Result<()> {
    if !command.package.is_empty() {
        return Err(Error::invalid("--package picks packages of a medium, and this is a package itself or a folder")
            .hint(format_args!("leave --package out: all that is in {} is shown", command.source.name()))
            .context(command.source.name()));
    }
    let image = into(command, env)?;
    offers(std::slice::from_ref(source), image.as_ref(), false, command, json, env)
}

/// The image of a medium that is meant: of several, one has to be named.
fn of_its_images(media: &Media, command: &Packages) -> Result<Source> {
    match &command.source.image {
        Some(selector) => Source::of_medium(media, None, selector),
        None => Source::only_of_medium(media),
    }
}

/// The image that packages are judged for.
fn into(command: &Packages, env: &mut Env<'_>) -> Result<Option<Source>> {
    let Some(path) = &command.into else {
        return match command.plan {
            true => Err(Error::invalid("--plan needs an image").hint("say --into IMAGE")),
            false => Ok(None),
        };
    };
    let name = path.display().to_string();
    let choice = command.source.choice();
    let source = match Input::open(path, command.source.parts.as_deref())? {
        Input::Media(media) if choice.partition.is_none() && !media.images()?.is_empty() => {
            of_its_images(&media, command)?
        }
        input => input.source(&name, choice)?,
    };
    output::warnings(env, &source.warnings)?;
    Ok(Some(source))
}

/// What there is. A listing has a line for each; packages that were named are read in full.
fn offers(
    sources: &[PackageSource],
    image: Option<&Source>,
    is_listing: bool,
    command: &Packages,
    json: bool,
    env: &mut Env<'_>,
) -> Result<()> {
    let stack = command.servicing_stack.as_deref().map(ServicingStack::open).transpose()?;
    let installed = image.map(|image| Installed::read(&image.tree)).transpose()?;
    let mut report =
        Offers { source: command.source.name(), image: None, packages: Vec::new(), plan: None, warnings: Vec::new() };
    let mut parts: Vec<Part> = Vec::new();
    let mut counts = Vec::new();
    for source in sources {
        let picked = match &installed {
            Some(installed) => source.parts(installed.languages()),
            None => source.parts_of_all_languages(),
        };
        report.warnings.extend(picked.warnings);
        counts.push(picked.parts.len());
        parts.extend(picked.parts);
    }
    let mut judged = Vec::new();
    if let Some(image) = image {
        let terms = Terms {
            servicing_stack: stack.as_ref(),
            ignore_check: command.ignore_check,
            allow_unsigned: command.allow_unsigned,
            take_damaged: is_listing,
        };
        let Preview { image, plan, parts, warnings } = preview(&parts, &image.tree, &image.name, terms)?;
        report.image = Some(image);
        report.plan = command.plan.then_some(plan);
        report.warnings.extend(warnings);
        judged = parts;
    }
    let mut judged = judged.into_iter();
    let mut left = parts.iter();
    for (source, count) in sources.iter().zip(counts) {
        let mut offer = Offer { name: offer_name(source), languages: source.languages(), parts: Vec::new() };
        for part in left.by_ref().take(count) {
            let inspects = image.is_none() && !is_listing;
            let inspection =
                if inspects { inspect(part, command, stack.as_ref(), &mut report.warnings)? } else { None };
            offer.parts.push(offered(part, judged.next(), inspection));
        }
        report.packages.push(offer);
    }
    output::warnings(env, &report.warnings)?;
    if json { output::json(env, &report) } else { print::offers(&report, is_listing, env) }
}

/// What --package takes for it.
fn offer_name(source: &PackageSource) -> String {
    short_name(source.name()).to_owned()
}

fn offered(part: &Part, judged: Option<Judged>, inspection: Option<Inspection>) -> Offered {
    let (description, problem) = match part.describe() {
        Ok(description) => (Some(description), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Offered { description, problem, inspection, judged }
}

/// Reads all of a part; nothing if that takes the Windows that it is for.
fn inspect(
    part: &Part,
    command: &Packages,
    stack: Option<&ServicingStack>,
    warnings: &mut Vec<String>,
) -> Result<Option<Inspection>> {
    match part.inspect(stack.map(ServicingStack::base), command.allow_unsigned) {
        Ok(inspection) => Ok(Some(inspection)),
        Err(error) if error.kind() == Kind::Unsupported => {
            warnings.push(error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn of_image(source: &Source, command: &Packages, json: bool, env: &mut Env<'_>) -> Result<()> {
    let installed = Installed::read(&source.tree).context(|| source.name.clone())?;
    if installed.packages().is_empty() && base::find(&source.tree)?.is_none() {
        return Err(Error::new(Kind::NotWindows, "no packages, and nothing that they could be put into")
            .hint("name a Windows, a medium of Windows Server 2016, a .cab, an .msu or a folder")
            .context(&source.name));
    }
    let packages: Vec<&InstalledPackage> = if command.package.is_empty() {
        let shown = |package: &&InstalledPackage| command.all || package.visible && package.is_installed();
        installed.packages().iter().filter(shown).collect()
    } else {
        let named = command.package.iter().map(|name| of_name(&installed, name));
        named.collect::<Result<Vec<_>>>().context(|| source.name.clone())?.concat()
    };
    let entry = |package| Entry {
        package,
        state_name: state::word(package.state),
        installed: package.time.map(|time: FileTime| output::time(time)),
    };
    let listing = Listing {
        source: source.name.clone(),
        image: installed.description(),
        packages: packages.into_iter().map(entry).collect(),
        waiting: if command.package.is_empty() { first_boot::waiting(&source.tree)? } else { Vec::new() },
        warnings: installed.notes().to_vec(),
    };
    output::warnings(env, source.warnings.iter().chain(&listing.warnings))?;
    if json {
        return output::json(env, &listing);
    }
    print::installed(&listing, installed.packages().len(), !command.package.is_empty(), env)
}

/// The packages of an image with that id or name.
fn of_name<'i>(installed: &'i Installed, name: &str) -> Result<Vec<&'i InstalledPackage>> {
    let is = |own: &str| own.eq_ignore_ascii_case(name);
    let all = installed.packages();
    let found: Vec<_> = all.iter().filter(|package| is(&package.id) || is(&package.identity.name)).collect();
    let found = match found.is_empty() {
        true => all.iter().filter(|package| is(short_name(&package.identity.name))).collect(),
        false => found,
    };
    if !found.is_empty() {
        return Ok(found);
    }
    let names = all.iter().map(|package| short_name(&package.identity.name).to_owned());
    let hint = near::did_you_mean(&near::nearest(short_name(name), names));
    let error = Error::invalid("no such package in the image").found(format_args!("'{name}'"));
    Err(error.hint(hint.unwrap_or_else(|| "`nanovhd packages IMAGE --all` lists them".into())))
}
