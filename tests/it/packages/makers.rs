//! The makers themselves: their formulas against a real package, what they make against other programs.

use std::collections::BTreeSet;

use crate::support::packages::{Component, Files, Id, Package};
use crate::support::program_sample::with_resource;
use crate::support::tools::{Tools, testdata, text};

/// Names of a real package follow from its documents by the formulas of the tests.
#[test]
fn names_follow_from_identities() {
    const CHECKED: &str = "Microsoft-Windows-NetFx4-OC-Package~31bf3856ad364e35~amd64~~10.0.17763.1.NetFx4";
    assert_eq!(crate::support::packages::text_hash(CHECKED), 0x13ac_ec2c_c6ee_f42a);
    let Some(real) = unpacked() else { return };
    let mut derived = BTreeSet::new();
    for (name, bytes) in &real.0 {
        let Ok(document) = str::from_utf8(bytes) else { continue };
        let ending = name.rsplit('.').next().unwrap();
        let expected = match ending {
            "mum" if name == "update.mum" => continue,
            "mum" => Id::of_xml(document).package_id(),
            "manifest" if document.contains("<assembly") => Id::of_xml(document).keyform(),
            _ => continue,
        };
        assert_eq!(*name, format!("{expected}.{ending}"));
        derived.insert(expected);
    }
    assert_eq!(derived.len(), 7, "{derived:?}");
}

/// The real package, unpacked by 7z.
pub(super) fn unpacked() -> Option<Files> {
    let cabinet = testdata(format!("packages/{}", super::REAL))?;
    let tools = Tools::find(&["7z"])?;
    let folder = tempfile::tempdir().unwrap();
    tools.run("7z", &["x", "-bd", &format!("-o{}", text(folder.path())), text(&cabinet)]);
    Some(Files::of_folder(folder.path()))
}

/// What is made is what other programs take for it: cabinets for 7z, catalogs for openssl, programs for 7z.
#[test]
fn others_read_what_is_made() {
    let Some(tools) = Tools::find(&["7z", "openssl"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let package = Package::new("Made-Package")
        .update("Made", &[Component::new("Made").file("$(runtime.system32)", "a.txt", b"text")]);
    let files = package.files().with_hashes();
    let cabinet = folder.path().join("made.cab");
    std::fs::write(&cabinet, files.cabinet()).unwrap();
    let unpacked = folder.path().join("unpacked");
    tools.run("7z", &["x", "-bd", &format!("-o{}", text(&unpacked)), text(&cabinet)]);
    assert_eq!(Files::of_folder(&unpacked), files);
    let catalog = unpacked.join("update.cat");
    let shown = tools.run("openssl", &["asn1parse", "-inform", "DER", "-in", text(&catalog)]);
    assert!(shown.contains("1.3.6.1.4.1.311.10.1"), "{shown}");

    let dll = folder.path().join("wcp.dll");
    std::fs::write(&dll, with_resource(614, 1, b"<assembly/>")).unwrap();
    assert_eq!(tools.run("7z", &["e", "-so", text(&dll), ".rsrc/614/1"]), "<assembly/>");
}
