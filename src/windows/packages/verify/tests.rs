//! Bundles that nobody has signed; signed ones need keys, which the integration tests have.

use super::*;
use crate::base::base64;
use crate::error::Kind;
use crate::windows::packages::bundle::tests::tree;

const COMPONENT: &str = "amd64_a-component_31bf3856ad364e35_1.2.3.4_none_";
const PACKAGE_ID: &str = "A-Package~31bf3856ad364e35~amd64~~1.2.3.4";

fn identity(name: &str, more: &str) -> String {
    format!(
        r#"<assemblyIdentity name="{name}" version="1.2.3.4" processorArchitecture="amd64" language="neutral" publicKeyToken="31bf3856ad364e35"{more}/>"#
    )
}

fn mum(name: &str, nested: &[&str]) -> String {
    let nested = nested.iter().map(|name| format!("<package>{}</package>", identity(name, ""))).collect::<String>();
    format!(
        r#"<assembly>{}<package releaseType="Feature Pack"><update name="u">{nested}</update></package></assembly>"#,
        identity(name, "")
    )
}

fn manifest(hash: &str) -> String {
    let digest =
        |hash: &str| format!(r#"<hash><DigestMethod Algorithm="x#sha256"/><DigestValue>{hash}</DigestValue></hash>"#);
    let hash = if hash.is_empty() { String::new() } else { digest(hash) };
    format!(
        r#"<assembly>{}<file name="A.dll">{hash}</file></assembly>"#,
        identity("A-Component", r#" versionScope="nonSxS""#)
    )
}

/// `printf abc | openssl dgst -sha256 -binary | base64`.
const ABC: &str = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";

fn keyform() -> String {
    let document = Element::parse(manifest("").as_bytes()).unwrap();
    crate::format::assembly::Manifest::read(&document).unwrap().identity.keyform()
}

fn run(files: &[(&str, &[u8])]) -> Result<Verified> {
    verify(Bundle::read("a.cab".into(), tree(files))?, None)
}

#[test]
fn a_bundle_without_signatures_holds_as_far_as_it_goes() {
    let keyform = keyform();
    assert!(keyform.starts_with(COMPONENT));
    let (mum, manifest) = (mum("A-Package", &[]), manifest(ABC));
    let (manifest_name, payload) = (format!("{}.manifest", keyform.to_uppercase()), format!(r"{keyform}\a.DLL"));
    let (id_mum, stray) = (format!("{PACKAGE_ID}.mum"), format!(r"{keyform}\b.dll"));
    let files: Vec<(&str, &[u8])> = vec![
        ("update.mum", mum.as_bytes()),
        (&id_mum, mum.as_bytes()),
        (&manifest_name, manifest.as_bytes()),
        (&payload, b"abc"),
        (&stray, b"?"),
        ("update.ses", b""),
    ];
    let verified = run(&files).unwrap();
    let [package] = &verified.packages[..] else { panic!("{:?}", verified.packages) };
    assert_eq!((package.id.as_str(), package.is_top, package.kind), (PACKAGE_ID, true, SignatureKind::None));
    let component = &verified.manifests[&keyform];
    assert_eq!((component.payload.len(), component.missing.len(), component.manifest.files.len()), (1, 0, 1));
    assert_eq!(verified.remarks.len(), 1, "{:?}", verified.remarks);
    assert!(verified.remarks[0].contains(&stray) && verified.issues.is_empty());
    let refused = verified.verdict(false).unwrap_err();
    assert_eq!(refused.kind(), Kind::Unsupported);
    assert!(refused.hint_text().unwrap().contains("--allow-unsigned"), "{refused}");
    verified.verdict(true).unwrap();
    let missing = run(&files[..3]).unwrap();
    assert_eq!(missing.manifests[&keyform].missing, ["A.dll"]);
}

#[test]
fn wrong_bytes_are_refused_by_name_whatever_is_allowed() {
    let keyform = keyform();
    let (mum, good) = (mum("A-Package", &[]), manifest(ABC));
    let (manifest_name, payload) = (format!("{keyform}.manifest"), format!(r"{keyform}\A.dll"));
    let told = |files: &[(&str, &[u8])], name: &str| {
        let error = run(files).unwrap_err();
        assert!(
            error.kind() == Kind::Corrupt && error.to_string().starts_with(&format!("a.cab: {}", name.to_lowercase())),
            "{error}"
        );
    };
    told(&[("update.mum", mum.as_bytes()), (&manifest_name, good.as_bytes()), (&payload, b"abd")], &manifest_name);
    let other = "amd64_b.manifest";
    told(&[("update.mum", mum.as_bytes()), (other, good.as_bytes())], other);
    let id_mum = format!("{PACKAGE_ID}.mum");
    let changed = mum.replace("Feature", "Featuse");
    told(&[("update.mum", mum.as_bytes()), (&id_mum, changed.as_bytes())], "update.mum");
    told(&[("update.mum", mum.as_bytes()), ("b~~~~.mum", mum.as_bytes())], "b~~~~.mum");
    told(&[("update.mum", mum.as_bytes()), ("update.cat", b"\x30\x03\x06\x01\x2A")], "update.cat");
    told(&[("update.mum", &mum.as_bytes()[..40])], "update.mum");
    assert_eq!(base64::decode(ABC).unwrap().len(), 32);
}

#[test]
fn what_nobody_vouches_for_is_an_issue() {
    let (mum, bare) = (mum("A-Package", &[]), manifest(""));
    let (manifest_name, payload) = (format!("{}.manifest", keyform()), format!(r"{}\A.dll", keyform()));
    let verified =
        run(&[("update.mum", mum.as_bytes()), (&manifest_name, bare.as_bytes()), (&payload, b"abc")]).unwrap();
    assert!(verified.issues[0].contains("a.dll"), "{:?}", verified.issues);
}

#[test]
fn the_top_is_found_without_update_mum() {
    let (top, nested) = (mum("Top", &["Nested"]), mum("Nested", &[]));
    let name = |name: &str| format!("{name}~31bf3856ad364e35~amd64~~1.2.3.4.mum");
    let verified = run(&[(&name("Nested"), nested.as_bytes()), (&name("Top"), top.as_bytes())]).unwrap();
    let tops: Vec<_> =
        verified.packages.iter().map(|package| (package.manifest.identity.name.as_str(), package.is_top)).collect();
    assert_eq!(tops, [("Top", true), ("Nested", false)]);
    assert_eq!(verified.top().count(), 1);
}

#[test]
fn express_packages_and_packed_manifests_without_a_base_are_told() {
    let express = mum("A-Package", &[]).replace("<package ", "<package psfName=\"a.psf\" ");
    let verified = run(&[("update.mum", express.as_bytes())]).unwrap();
    assert!(verified.unread[0].why.contains("express"), "{:?}", verified.unread);
    assert!(verified.verdict(false).is_err(), "nobody has signed it");
    let plain = manifest("");
    let name = format!("{}.manifest", keyform());
    let files = [("update.mum", mum("A-Package", &[])), (&name, plain.replace("A.dll", "B.dll"))];
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    let verified = run(&[&files[..], &[("a.manifest", b"DCM\x01PA30")]].concat()).unwrap();
    assert_eq!(verified.unread[0].what, "a.manifest");
    assert!(verified.unread[0].why.contains("--servicing-stack") && verified.manifests.len() == 1);
}

#[test]
fn only_catalogs_of_packages_vouch() {
    use SignatureKind::{Attested, Windows};
    let (mum, manifest) = (mum("A-Package", &[]), manifest(ABC));
    let (manifest_name, payload) = (format!("{}.manifest", keyform()), format!(r"{}\A.dll", keyform()));
    let (mum, manifest) = (mum.as_bytes(), manifest.as_bytes());
    let files = tree(&[("update.mum", mum), (&manifest_name, manifest), (&payload, b"abc")]);
    let bundle = Bundle::read("a.cab".into(), files).unwrap();
    let run =
        |catalogs: &[(&str, SignatureKind, &[&[u8]])]| verify_with(bundle.clone(), Catalogs::signed(catalogs), None);
    let genuine = run(&[("update.cat", Windows, &[mum, manifest])]).unwrap();
    genuine.verdict(false).unwrap();
    assert!(genuine.remarks.is_empty(), "{:?}", genuine.remarks);
    // The manifest is another one than that of the package, and somebody else's catalog lists it.
    let unlisted = |error: Error| {
        assert!(error.kind() == Kind::Corrupt && error.to_string().contains(&manifest_name), "{error}");
    };
    for (foreign, kind) in
        [("x.cat", Attested), ("x.cat", Windows), ("update.cat.cat", Windows), ("b~~~~1.0.0.0.cat", Windows)]
    {
        unlisted(run(&[("update.cat", Windows, &[mum]), (foreign, kind, &[manifest])]).unwrap_err());
    }
    // One that vouches counts by who has signed it, under whichever of the package's names.
    let id = format!("{}.cat", PACKAGE_ID.to_lowercase());
    for name in ["update.cat", &id] {
        let foreign = run(&[(name, Attested, &[mum, manifest])]).unwrap();
        assert!(foreign.verdict(false).unwrap_err().to_string().contains("signed by Attested"));
    }
    unlisted(run(&[("update.cat", Windows, &[mum]), (&id, Attested, &[mum, manifest])]).unwrap_err());
    // Without any, nobody has signed the package.
    let unsigned = run(&[("x.cat", Windows, &[manifest])]).unwrap();
    assert!(unsigned.verdict(false).unwrap_err().to_string().contains("nobody has signed"));
    assert!(unsigned.remarks[0].contains("x.cat is the catalog of no package"), "{:?}", unsigned.remarks);
}
