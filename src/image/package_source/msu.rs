//! Updates as Microsoft gives them out: a cabinet with cabinets, and an XML that says in which order they go in.
//!
//! | in it | |
//! |---|---|
//! | `Windows10.0-KB…-x64.cab`, `SSU-…-x64.cab` | packages |
//! | `Windows10.0-KB…-x64.xml` | an answer file: `servicing/package/source@location`, whose last name is the cabinet's |
//! | `WSUSSCAN.cab`, `DesktopDeployment.cab`, `onepackage.AggregatedMetadata.cab` | for Windows Update, no packages |
//! | `…-pkgProperties.txt`, `*.psf` | what it is for; payload of express packages |

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::part::{Part, has_extension};
use crate::base::ReadAt;
use crate::error::{Context, Error, Result};
use crate::format::assembly::Element;
use crate::format::cab::{self, Cabinet};
use crate::image::scratch::Scratch;

/// The most that is unpacked.
const MAX_BYTES: u64 = 16 << 30;
/// The longest XML; they have some KiB.
const MAX_XML: u64 = 1 << 20;

/// Whether a name is that of a cabinet that may be a package.
fn is_wanted(name: &str) -> bool {
    has_extension(name, "cab") && !name.eq_ignore_ascii_case("WSUSSCAN.cab")
}

/// Whether a cabinet is one with cabinets.
pub(super) fn is_msu(cabinet: &Cabinet) -> bool {
    cabinet.files().iter().any(|file| is_wanted(&file.name))
}

/// The packages in it, in their order; and what else is in it.
pub(super) fn parts(cabinet: &Cabinet, origin: &str) -> Result<(Vec<Part>, Vec<String>)> {
    let is_document = |file: &cab::File| has_extension(&file.name, "xml") && file.len <= MAX_XML;
    let wanted = |file: &cab::File| is_wanted(&file.name) || is_document(file);
    let bytes = cabinet.files().iter().filter(|file| wanted(file)).map(|file| file.len).fold(0, u64::saturating_add);
    if bytes > MAX_BYTES {
        return Err(Error::unsupported("bytes that the update unpacks to").found(bytes).allowed(MAX_BYTES));
    }
    let (cabinets, documents) = (RefCell::new(BTreeMap::new()), RefCell::new(BTreeMap::<String, Vec<u8>>::new()));
    cabinet.unpack(wanted, |file, piece| {
        if is_document(file) {
            documents.borrow_mut().entry(file.name.clone()).or_default().extend_from_slice(piece);
            return Ok(());
        }
        let mut cabinets = cabinets.borrow_mut();
        if !cabinets.contains_key(&file.name) {
            cabinets.insert(file.name.clone(), Scratch::new()?);
        }
        cabinets.get_mut(&file.name).map_or(Ok(()), |scratch| scratch.push(piece))
    })?;

    let (mut parts, mut notes) = (Vec::new(), Vec::new());
    for (name, scratch) in cabinets.into_inner() {
        let file: Arc<dyn ReadAt> = Arc::new(scratch);
        let is_package = |cabinet: Cabinet| cabinet.files().iter().any(|file| is_update_mum(&file.name));
        match Cabinet::open(Arc::clone(&file)).map(is_package).context(|| name.clone())? {
            true => parts.push(Part::cabinet(format!("{origin}: {name}"), &name, None, file)?),
            false => notes.push(format!("{name}: left out: no package")),
        }
    }
    let mut order = Vec::new();
    for (name, bytes) in documents.into_inner() {
        order.extend(locations(&bytes).context(|| name)?);
    }
    // Those that the XML does not name come last; what updates the servicing itself has to be there before the rest.
    let place = |part: &Part| {
        let named = order.iter().position(|name: &String| name.eq_ignore_ascii_case(&part.name));
        let is_stack = part.name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("SSU-"));
        (named.unwrap_or(usize::MAX), !is_stack)
    };
    parts.sort_by_key(place);
    Ok((parts, notes))
}

pub(super) fn is_update_mum(name: &str) -> bool {
    name.trim_start_matches(['\\', '/']).eq_ignore_ascii_case("update.mum")
}

/// The names of the files that an answer file names, in their order.
fn locations(xml: &[u8]) -> Result<Vec<String>> {
    let document = Element::parse(xml)?;
    let packages = document.children("servicing").flat_map(|servicing| servicing.children("package"));
    let sources = packages.flat_map(|package| package.children("source"));
    let locations = sources.filter_map(|source| source.filled("location"));
    Ok(locations.filter_map(|path| path.rsplit(['\\', '/']).next().map(str::to_owned)).collect())
}
