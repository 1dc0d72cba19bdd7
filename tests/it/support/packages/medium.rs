//! A medium of Nano Server with packages.

use std::fs;
use std::path::Path;

use super::{Component, Id, Package};
use crate::support::catalog::program;

/// The package of Nano Server that all others are for.
fn edition() -> Id {
    Id::package("Microsoft-NanoServer-Edition-Core-Package")
}

/// A package of Nano Server, by the name that its cabinet has, for the edition.
fn role(name: &str) -> Package {
    Package::new(&format!("Microsoft-NanoServer-{name}-Package")).parent(&edition())
}

/// The same in English: its parent is the neutral one.
fn english(name: &str) -> Package {
    let neutral = role(name).id;
    let component = Component::of(Id::component(&format!("Nano-{name}.Resources")).language("en-US")).file(
        r"$(runtime.system32)\en-US\",
        &format!("{}.dll.mui", name.to_lowercase()),
        format!("English for {name}").as_bytes(),
    );
    let own = Id::package(&neutral.name).language("en-US");
    Package::of(own).parent(&neutral).update(&format!("Nano-{name}-en-US"), &[component])
}

/// What a role brings: a program, its service, and English where it is.
fn service(name: &str) -> Component {
    let lower = name.to_lowercase();
    let resources = Id::component(&format!("Nano-{name}.Resources")).language("*");
    Component::new(&format!("Nano-{name}"))
        .needs("prerequisite", &resources)
        .file(r"$(runtime.system32)\", &format!("{lower}.dll"), &program(lower.len() as u8, 3000))
        .with(&format!(
            "<memberships><categoryMembership><id name=\"Microsoft.Windows.Categories.Services\" version=\"10.0.14393.0\" \
             publicKeyToken=\"31bf3856ad364e35\" typeName=\"Service\" /><categoryInstance subcategory=\"{lower}\">\
             <serviceData name=\"{lower}\" displayName=\"{name}\" errorControl=\"normal\" start=\"auto\" type=\"win32OwnProcess\" \
             imagePath=\"%SystemRoot%\\System32\\{lower}.dll\" objectName=\"LocalSystem\" /></categoryInstance></categoryMembership></memberships>"
        ))
}

/// The packages of the medium: the names of their cabinets, the neutral part, the English one.
fn roles() -> Vec<(&'static str, Package, Package)> {
    let switch = "<networkComponents xmlns=\"urn:schemas-microsoft-com:asm.v3\"><networkComponent id=\"nano_switch\" /></networkComponents>";
    ["Containers", "Compute", "Guest", "Storage"]
        .map(|name| {
            // The one of Hyper-V has what cannot be done without its Windows.
            let component = if name == "Compute" { service(name).with(switch) } else { service(name) };
            (name, role(name).update(&format!("Nano-{name}"), &[component]), english(name))
        })
        .into()
}

/// Writes a medium with that image file into a folder.
pub(crate) fn medium(folder: &Path, wim: &Path) {
    let nano = folder.join("NanoServer");
    let packages = nano.join("Packages");
    fs::create_dir_all(packages.join("en-us")).unwrap();
    fs::copy(wim, nano.join("NanoServer.wim")).unwrap();
    for (name, neutral, english) in roles() {
        let name = format!("Microsoft-NanoServer-{name}-Package");
        fs::write(packages.join(format!("{name}.cab")), neutral.files().cabinet()).unwrap();
        fs::write(packages.join("en-us").join(format!("{name}_en-us.cab")), english.files().cabinet()).unwrap();
    }
    // One for another edition.
    let datacenter = Id::package("Microsoft-NanoServer-Edition-Datacenter-Package");
    let shielded = Package::new("Microsoft-NanoServer-ShieldedVM-Package").parent(&datacenter);
    let shielded = shielded.update("Nano-ShieldedVM", &[service("ShieldedVM")]);
    fs::write(packages.join("Microsoft-NanoServer-ShieldedVM-Package.cab"), shielded.files().cabinet()).unwrap();
}
