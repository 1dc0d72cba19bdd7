//! `directories` and `file`: what stands outside the store.
//!
//! ```text
//! directories / directory [destinationPath, attributes, owner]      securityDescriptor
//! file [name, destinationPath, attributes, writeableType, ...]      securityDescriptor, link [destination], infFile, gac, ngen
//! ```
//!
//! A file without a destination stays in the store: side-by-side assemblies (`type="win32"`) are found there, and so are files that other installers
//! take from there. What `comClass`, `windowClass` and their like say about such an assembly Windows reads in its manifest.

use super::drivers::Way;
use super::security::Object;
use super::variables::{not_of_the_volume, sound};
use super::{Change, Compiler, EffectKind, Said, needed, shortened, word};
use crate::format::assembly::Element;
use crate::tree::attributes;

/// Words of `attributes`.
const ATTRIBUTES: [(&str, u32); 6] = [
    ("readOnly", attributes::READ_ONLY),
    ("hidden", attributes::HIDDEN),
    ("system", attributes::SYSTEM),
    ("archive", attributes::ARCHIVE),
    ("normal", 0),
    ("notContentIndexed", NOT_CONTENT_INDEXED),
];
const NOT_CONTENT_INDEXED: u32 = 0x2000;

/// Attributes of a file that say where Microsoft's build has it from, whether other components may write to it, and what whole packages are for.
const SILENT: [&str; 8] = [
    "sourceName",
    "sourcePath",
    "importPath",
    "buildFilter",
    "writeableType",
    "perUserVirtualization",
    "loadFrom",
    "size",
];

/// Parts of a file that Windows reads in the manifest where it stands in the store, or that say who may replace it.
const SILENT_PARTS: [&str; 9] = [
    "signatureInfo",
    "systemProtection",
    "resfile",
    "comClass",
    "comInterfaceProxyStub",
    "typelib",
    "windowClass",
    "activatableClass",
    "winmdFile",
];

/// What takes more than putting files in their places.
const INSTALLERS: [(&str, &str); 2] = [
    ("gac", "the assembly is put into the cache of .NET by .NET itself"),
    ("ngen", "programs are compiled by .NET on the machine that runs them"),
];

impl Compiler<'_> {
    pub(super) fn directories(&mut self) {
        for directory in self.document.children("directories").flat_map(|found| found.children("directory")) {
            let what = format!("directory {}", shortened(directory.attribute("destinationPath").unwrap_or_default()));
            let said = self.directory(directory);
            let Some((path, attributes)) = self.or_leave(directory, &what, said) else { continue };
            let descriptor = self.descriptor(directory, &path, Object::Directory);
            self.add(EffectKind::Directory, path.clone(), vec![Change::Directory { path, descriptor, attributes }]);
        }
    }

    fn directory(&self, directory: &Element) -> Said<(String, u32)> {
        directory.mark_attributes(|name| is_one_of(name, &["owner", "buildFilter"]));
        directory.children("systemProtection").for_each(Element::mark_all);
        let path = self.path(needed(directory, "destinationPath")?)?;
        Ok((path, attributes_of(directory)?))
    }

    pub(super) fn files(&mut self) {
        for file in self.document.children("file") {
            let name = shortened(file.attribute("name").unwrap_or_default());
            for (installer, why) in INSTALLERS {
                for part in file.children(installer) {
                    self.leave(part, format_args!("{installer} of {name}"), why);
                }
            }
            self.driver(file);
            let said = self.file(file);
            let Some(Some(placed)) = self.or_leave(file, format_args!("file {name}"), said) else { continue };
            let descriptor = self.descriptor(file, &name, Object::File);
            let what = placed.paths.join(", also ");
            let links = placed.paths.into_iter().map(|path| Change::Link {
                payload: placed.payload.clone(),
                path,
                descriptor: descriptor.clone(),
                attributes: placed.attributes,
            });
            let links = links.collect();
            self.add(EffectKind::File, what, links);
        }
    }

    /// Where a file goes; none for one that stays in the store, or that goes where an INF file says.
    fn file(&self, file: &Element) -> Said<Option<Placed>> {
        file.mark_attributes(|name| is_one_of(name, &SILENT));
        SILENT_PARTS.iter().flat_map(|part| file.children(part)).for_each(Element::mark_all);
        let payload = sound(needed(file, "name")?)?;
        let attributes = attributes_of(file)?;
        let name = payload.rsplit('\\').next().unwrap_or(&payload).to_owned();
        let mut paths = Vec::new();
        if let Some(folder) = file.filled("destinationPath") {
            paths.push(not_of_the_volume(format!(r"{}\{name}", self.path(folder)?))?);
        }
        for link in file.children("link") {
            let destination = needed(link, "destination")?;
            let path = self.path(destination)?;
            let is_folder = destination.ends_with(['\\', '/']);
            paths.push(if is_folder { not_of_the_volume(format!(r"{path}\{name}"))? } else { path });
        }
        if self.drivers == Way::Whole {
            return Ok(None);
        }
        Ok((!paths.is_empty() && !payload.is_empty()).then_some(Placed { payload, paths, attributes }))
    }
}

struct Placed {
    /// Its path in the component's folder.
    payload: String,
    paths: Vec<String>,
    attributes: u32,
}

pub(super) fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|one| name.eq_ignore_ascii_case(one))
}

fn attributes_of(element: &Element) -> Said<u32> {
    let words = element.attribute("attributes").unwrap_or_default();
    words.split([' ', ',', ';']).filter(|one| !one.is_empty()).try_fold(0, |all, one| Ok(all | word(one, &ATTRIBUTES)?))
}
