//! Which package may be whose parent, and the words where none is there.

use super::super::installed::{Installed, state};
use crate::format::assembly::{Compare, Identity, Parent, Version};

/// Whether a package of a version will do for a parent that is wanted in another.
///
/// Major and minor have to be the same, whatever is compared: 6.1 is another Windows than 10.0. Then builds are compared. Where the build is another one
/// and may be, the revision does not matter: Hello Face for Windows 10 2004 wants revision 1000 of build 17637 or later, and goes into 19041.1.
///
/// A manifest that does not say how to compare (`buildCompare`, `revisionCompare`, `serviceCompare`) is taken to mean "the same or later" (GE). That is an
/// assumption: so what was made for the first release of a Windows goes into an updated one.
pub(super) fn holds(parent: &Parent, wanted: Version, there: Version) -> bool {
    let ([.., build, revision], [.., wanted_build, wanted_revision]) = (there.0, wanted.0);
    if there.0[..2] != wanted.0[..2] {
        return false;
    }
    let order = build.cmp(&wanted_build);
    let service = parent.service_compare.unwrap_or_default();
    if !parent.build_compare.holds(order) || !service.holds(order) && service == Compare::Equal {
        return false;
    }
    order.is_ne() || parent.revision_compare.holds(revision.cmp(&wanted_revision))
}

/// Whether a package is the one that an identity names, but for the version. `*` is any language or processor.
pub(in crate::windows::packages) fn is_named(wanted: &Identity, there: &Identity) -> bool {
    let any = |wanted: &str, there: &str| wanted == "*" || wanted.eq_ignore_ascii_case(there);
    wanted.name.eq_ignore_ascii_case(&there.name)
        && wanted.public_key_token.eq_ignore_ascii_case(&there.public_key_token)
        && any(&wanted.architecture, &there.architecture)
        && (wanted.is_neutral() && there.is_neutral() || any(&wanted.language, &there.language))
}

/// Whether an identity names more than one package.
pub(super) fn is_wild(wanted: &Identity) -> bool {
    wanted.language == "*" || wanted.architecture == "*"
}

/// The parent that an image has, by its id.
pub(super) fn in_image(parent: &Parent, image: &Installed) -> Option<String> {
    parent.identities.iter().find_map(|wanted| {
        let fits = |identity: &Identity| holds(parent, wanted.version, identity.version);
        let found = if is_wild(wanted) {
            let mut all = image.packages().iter();
            all.find(|package| package.is_installed() && is_named(wanted, &package.identity) && fits(&package.identity))
        } else {
            image.versions_of(wanted).find(|package| package.is_installed() && fits(&package.identity))
        };
        found.map(|package| package.id.clone())
    })
}

/// What is wanted, in words: `A 10.0.14393.0 or later, or B 10.0.1.0`.
pub(super) fn wanted(parents: &[Parent]) -> String {
    let name = |parent: &Parent, identity: &Identity| {
        let order = match (parent.build_compare, parent.revision_compare) {
            (Compare::GreaterOrEqual | Compare::Greater, _) => " or later",
            (Compare::Equal, Compare::Equal) => "",
            (Compare::Equal, _) => " or a later revision",
            (Compare::LessOrEqual | Compare::Less, _) => " or earlier",
        };
        let language = if identity.is_neutral() { String::new() } else { format!(" ({})", identity.language) };
        format!("{}{language} {}{order}", identity.name, identity.version)
    };
    let all = parents.iter().flat_map(|parent| parent.identities.iter().map(move |identity| name(parent, identity)));
    listed(all, ", or ")
}

/// What an image has of that which is wanted, in another version or state: nothing, if it has nothing of it.
pub(super) fn near(parents: &[Parent], image: &Installed) -> Option<String> {
    let wanted = parents.iter().flat_map(|parent| &parent.identities);
    let near = wanted.flat_map(|wanted| image.versions_of(wanted));
    let words = near.map(|package| match package.is_installed() {
        true => format!("{} {}", package.identity.name, package.identity.version),
        false => format!("{} {}, {}", package.identity.name, package.identity.version, state::word(package.state)),
    });
    Some(listed(words, "; ")).filter(|words| !words.is_empty())
}

/// The first of many in words.
pub(super) fn listed(words: impl Iterator<Item = String>, between: &str) -> String {
    const MOST: usize = 8;
    let mut words: Vec<String> = words.take(MOST + 1).collect();
    if words.len() > MOST {
        words[MOST] = "...".into();
    }
    words.join(between)
}
