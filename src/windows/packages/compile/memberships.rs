//! `memberships`: categories that a component belongs to.
//!
//! ```text
//! categoryMembership
//!   id [name, typeName, version, publicKeyToken]
//!   categoryInstance [subcategory]
//!     serviceData ...                         typeName="Service"
//!     serviceGroup [serviceName, position]    typeName="SvcHost", subcategory is the group
//!     path [name, position]                   typeName="Environment", subcategory is "path"
//! ```
//!
//! Some categories are marks: what boots needs it (`BootCritical`), its files are there once (`SingleInstanceFiles`), it is part of the
//! servicing stack. Such marks say nothing to do, be there an instance, which has nothing in it then, or not.

use super::files::is_one_of;
use super::registry::SOFTWARE;
use super::{Change, Compiler, EffectKind, Said, needed, shortened, word};
use crate::format::assembly::Element;

const ENVIRONMENT: &str = r"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Control\Session Manager\Environment";
/// The one variable that is a list of folders and that components join.
const PATH: &str = "Path";
const SVCHOST: &str = r"Microsoft\Windows NT\CurrentVersion\SvcHost";

/// Categories that are only marks.
const MARKS: [&str; 7] = [
    "BootCritical",
    "BootRecovery",
    "Network",
    "ServicingStackComponent",
    "SingleInstanceFiles",
    "StoreContent",
    "WinPE",
];

/// Where a new one comes among those that are there.
const POSITIONS: [(&str, bool); 3] = [("first", true), ("last", false), ("any", false)];

impl Compiler<'_> {
    pub(super) fn memberships(&mut self) {
        for membership in self.document.children("memberships").flat_map(|found| found.children("categoryMembership")) {
            let Some(id) = membership.child("id") else { continue };
            let kind = id.attribute("typeName").unwrap_or_default();
            id.mark_attributes(|_| true);
            let has_instances = membership.all_children().iter().any(|child| child.is("categoryInstance"));
            match kind.to_ascii_lowercase().as_str() {
                "service" => self.each(membership, "serviceData", |own, _, data| own.service(data)),
                "svchost" => self.each(membership, "serviceGroup", |own, group, service| own.svchost(group, service)),
                "environment" => self.each(membership, "path", |own, variable, path| own.environment(variable, path)),
                // Of a foundation, or a mark.
                "" if !has_instances => {}
                _ if is_one_of(kind, &MARKS) => {
                    let instances = membership.children("categoryInstance");
                    instances.for_each(|instance| instance.mark_attributes(|name| is_one_of(name, &["subcategory"])));
                }
                _ => {
                    let name = id.attribute("name").unwrap_or_default();
                    let what = format!("membership {} {}", shortened(name), shortened(kind));
                    self.leave(membership, what.trim_end(), "what this category does is not known");
                }
            }
        }
    }

    /// Does something for each element of a name in the instances of a category.
    fn each(&mut self, membership: &Element, name: &str, mut act: impl FnMut(&mut Self, &str, &Element)) {
        for instance in membership.children("categoryInstance") {
            let subcategory = instance.attribute("subcategory").unwrap_or_default();
            for element in instance.children(name) {
                act(self, subcategory, element);
            }
        }
    }

    fn svchost(&mut self, group: &str, service: &Element) {
        let what = format!("svchost group {}", shortened(group));
        let said = if group.is_empty() { Err("it has no name".to_owned()) } else { member(service, "serviceName") };
        let Some((name, first)) = self.or_leave(service, &what, said) else { return };
        let key = format!(r"{SOFTWARE}\{}", self.below_software(SVCHOST));
        let texts = vec![name.to_owned()];
        let change = Change::Append { key, name: group.to_owned(), texts, first };
        self.add(EffectKind::SvcHost, format!("{what}: {name}"), vec![change]);
    }

    fn environment(&mut self, variable: &str, path: &Element) {
        let said = member(path, "name").and_then(|(part, first)| {
            if !variable.eq_ignore_ascii_case(PATH) {
                return Err(format!("the variable '{}' is not known to be a list of paths", shortened(variable)));
            }
            let part = self.text(part)?;
            if part.contains([';', '\0']) {
                Err(format!("'{}' is more than one path", shortened(&part)))
            } else {
                Ok((part, first))
            }
        });
        let Some((part, first)) = self.or_leave(path, "path of the environment", said) else { return };
        let change =
            Change::AppendPath { key: ENVIRONMENT.to_owned(), name: PATH.to_owned(), part: part.clone(), first };
        self.add(EffectKind::Environment, format!("{PATH}: {part}"), vec![change]);
    }
}

/// A name, and whether it comes first.
fn member<'e>(element: &'e Element, attribute: &str) -> Said<(&'e str, bool)> {
    let first = element.filled("position").map_or(Ok(false), |position| word(position, &POSITIONS))?;
    Ok((needed(element, attribute)?, first))
}
