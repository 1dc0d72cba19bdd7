//! Names, media, updates and folders, made here.

use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::error::Kind;
use crate::image::Media;

/// A cabinet with these files, by somebody else's code.
fn cabinet(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = cab::CabinetBuilder::new();
    let folder = builder.add_folder(cab::CompressionType::MsZip);
    files.iter().for_each(|(name, _)| {
        folder.add_file(*name);
    });
    let mut writer = builder.build(Cursor::new(Vec::new())).unwrap();
    let mut contents = files.iter();
    while let Some(mut file) = writer.next_file().unwrap() {
        file.write_all(contents.next().unwrap().1).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn package(text: &str) -> Vec<u8> {
    cabinet(&[("update.mum", text.as_bytes()), (r"x\payload.bin", &[7; 1000])])
}

fn put(folder: &Path, path: &str, bytes: &[u8]) {
    let path = folder.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A medium as that of Windows Server 2016, and one package as previews have them.
fn medium() -> (tempfile::TempDir, Media) {
    let folder = tempfile::tempdir().unwrap();
    for name in ["Containers", "Compute", "OEM-Drivers", "FailoverCluster"] {
        let file = format!("Microsoft-NanoServer-{name}-Package");
        put(folder.path(), &format!("NanoServer/Packages/{file}.cab"), &package(name));
        for language in ["en-us", "de-de"].iter().filter(|language| name != "Compute" || **language == "en-us") {
            put(folder.path(), &format!("NanoServer/Packages/{language}/{file}_{language}.cab"), &package(language));
        }
    }
    put(folder.path(), "NanoServer/Packages/Microsoft-OneCore-ReverseForwarders-Package.cab", &package("rf"));
    put(folder.path(), "NanoServer/Packages/en-us/Microsoft-OneCore-ReverseForwarders-Package.cab", &package("rf en"));
    let media = Media::open(folder.path()).unwrap();
    (folder, media)
}

fn names(picked: &Picked) -> Vec<&str> {
    picked.parts.iter().map(|part| part.name.as_str()).collect()
}

fn languages(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn short_names() {
    for (stem, short) in [
        ("Microsoft-NanoServer-OEM-Drivers-Package", "OEM-Drivers"),
        ("microsoft-nanoserver-dns-package", "dns"),
        ("Microsoft-OneCore-ReverseForwarders-Package", "ReverseForwarders"),
        ("-Package", "-Package"),
        ("Package", "Package"),
        ("grün-Package", "grün"),
        ("", ""),
    ] {
        assert_eq!(short_name(stem), short);
    }
}

#[test]
fn a_name_is_looked_up_on_the_medium_with_its_language() {
    let (_folder, media) = medium();
    let file = |name: &str| format!("Microsoft-NanoServer-{name}-Package");
    for (named, found) in [
        ("Containers", "Containers"),
        ("oemdrivers", "OEM-Drivers"),
        ("OEM-Drivers", "OEM-Drivers"),
        ("clustering", "FailoverCluster"),
        ("microsoft-nanoserver-containers-package", "Containers"),
        ("Microsoft-NanoServer-Containers-Package.CAB", "Containers"),
    ] {
        let source = PackageSource::open(named, Some(&media)).unwrap();
        let picked = source.parts(&languages(&["en-US"]));
        let expected = [format!("{}.cab", file(found)), format!("{}_en-us.cab", file(found))];
        assert_eq!(names(&picked), expected, "{named}");
        assert!(picked.warnings.is_empty(), "{:?}", picked.warnings);
    }
    let source = PackageSource::open("reverse-forwarders", Some(&media)).unwrap();
    let picked = source.parts(&languages(&["en-us"]));
    let languages_of: Vec<_> = picked.parts.iter().map(|part| part.language.as_deref()).collect();
    assert_eq!((names(&picked)[0], names(&picked)[1]), (names(&picked)[1], names(&picked)[0]));
    assert_eq!(languages_of, [None, Some("en-us")]);
}

#[test]
fn a_missing_language_is_said() {
    let (_folder, media) = medium();
    let source = PackageSource::open("Containers", Some(&media)).unwrap();
    let several = source.parts(&languages(&["de-DE", "en-US", "fr-FR"]));
    assert_eq!(several.parts.len(), 3);
    assert!(several.warnings[0].contains("nothing for fr-FR, only for de-de, en-us"), "{:?}", several.warnings);
    let unknown = source.parts(&[]);
    assert_eq!((unknown.parts.len(), unknown.warnings.len()), (1, 1));
    let only = PackageSource::open("Compute", Some(&media)).unwrap().parts(&[]);
    assert_eq!((only.parts.len(), only.warnings.len()), (2, 0));
}

#[test]
fn what_is_not_there_is_told_with_what_is() {
    let (_folder, media) = medium();
    let missing = |named: &str, media: Option<&Media>| PackageSource::open(named, media).unwrap_err();
    let near = missing("Containrs", Some(&media));
    assert_eq!((near.kind(), near.hint_text()), (Kind::Invalid, Some("did you mean Containers?")));
    let far = missing("zzz", Some(&media)).to_string();
    assert!(far.contains("allowed: Compute, Containers, FailoverCluster, OEM-Drivers, ReverseForwarders"), "{far}");
    assert!(missing("zzz", Some(&media)).hint_text().unwrap().contains("nanovhd packages MEDIUM"));
    assert!(missing("Containers", None).hint_text().unwrap().contains("--media"));
    assert!(missing("no/such.cab", None).hint_text().unwrap().contains("no file or folder"));
    let bare = tempfile::tempdir().unwrap();
    assert!(missing("x", Some(&Media::open(bare.path()).unwrap())).hint_text().unwrap().contains("none at all"));
    let whole = PackageSource::of_path(media.path.as_path()).unwrap_err();
    assert!(whole.hint_text().unwrap().contains("--media"), "{whole}");
    let empty = PackageSource::of_path(bare.path()).unwrap_err();
    assert!(empty.hint_text().unwrap().contains("update.mum"), "{empty}");
}

#[test]
fn a_path_is_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "odd.bin", &package("a"));
    put(folder.path(), "drivers.cab", &cabinet(&[("a.inf", b"")]));
    put(folder.path(), "new.msu", b"MSWIM\0\0\0 and so on");
    put(folder.path(), "text.cab", b"text");
    put(folder.path(), "unpacked/update.mum", b"<assembly/>");
    put(folder.path(), "unpacked/k/file.dll", &[1; 10]);
    put(folder.path(), "several/b.cab", &package("b"));
    put(folder.path(), "several/a.cab", &package("a"));
    put(folder.path(), "several/en-US/a_en-US.cab", &package("a en"));
    put(folder.path(), "several/old/a.cab", &package("old"));
    let open = |name: &str| PackageSource::of_path(&folder.path().join(name));
    let one = open("odd.bin").unwrap().parts(&[]);
    assert_eq!(names(&one), ["odd.bin"]);
    let (tree, notes) = one.parts[0].files().unwrap();
    assert_eq!((tree.read_file("update.mum").unwrap().unwrap().as_slice(), notes.len()), (&b"a"[..], 0));
    assert_eq!(one.parts[0].unpacked_len().unwrap(), 1001);
    for (name, kind, word) in [
        ("drivers.cab", Kind::Invalid, "without packages"),
        ("new.msu", Kind::Unsupported, "an image or an .msu of the new kind"),
        ("text.cab", Kind::Invalid, "nothing that packages come in"),
        (".", Kind::Invalid, "nothing"),
        ("none.cab", Kind::Io, "none.cab"),
    ] {
        match open(name) {
            Err(error) => assert!(error.kind() == kind && error.to_string().contains(word), "{name}: {error}"),
            // A folder's cabinets are looked into when their turn comes.
            Ok(source) => assert!(name == "." && source.parts(&[]).parts.iter().any(|part| part.files().is_err())),
        }
    }
    let unpacked = open("unpacked").unwrap().parts(&languages(&["de-DE"]));
    assert_eq!((names(&unpacked), unpacked.parts[0].bytes, unpacked.warnings.len()), (vec!["unpacked"], 21, 0));
    let several = open("several").unwrap().parts(&languages(&["en-US"]));
    assert_eq!(names(&several), ["a.cab", "a_en-US.cab", "b.cab"]);
    assert!(several.warnings[0].contains(r"old\a.cab: left out"), "{:?}", several.warnings);
}

#[test]
fn an_update_gives_its_cabinets_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second, stack) = (package("first"), package("second"), package("stack"));
    let xml = br#"<unattend xmlns="urn:schemas-microsoft-com:unattend"><servicing>
        <package action="install"><assemblyIdentity name="b"/><source location="%configsetroot%\B.CAB"/></package>
        <package action="install"><assemblyIdentity name="a"/><source location="a.cab"/></package></servicing></unattend>"#;
    let other = cabinet(&[("metadata.txt", b"")]);
    let files: [(&str, &[u8]); 7] = [
        ("WSUSSCAN.cab", b"never opened"),
        ("a.cab", &second),
        ("b.cab", &first),
        ("SSU-1.cab", &stack),
        ("DesktopDeployment.cab", &other),
        ("b.xml", xml),
        ("b-pkgProperties.txt", b""),
    ];
    put(folder.path(), "kb.msu", &cabinet(&files));
    let source = PackageSource::of_path(&folder.path().join("kb.msu")).unwrap();
    let picked = source.parts(&[]);
    assert_eq!(names(&picked), ["b.cab", "a.cab", "SSU-1.cab"]);
    assert!(picked.warnings[0].contains("DesktopDeployment.cab: left out"), "{:?}", picked.warnings);
    let (tree, _) = picked.parts[0].files().unwrap();
    assert_eq!(tree.read_file("update.mum").unwrap().unwrap(), b"first");

    put(folder.path(), "plain.msu", &cabinet(&files[..4]));
    let plain = PackageSource::of_path(&folder.path().join("plain.msu")).unwrap().parts(&[]);
    assert_eq!(names(&plain), ["SSU-1.cab", "a.cab", "b.cab"]);
    put(folder.path(), "bad.msu", &cabinet(&[("a.cab", b"no cabinet")]));
    assert!(PackageSource::of_path(&folder.path().join("bad.msu")).is_err());
    for outer in [&[("inner.msu", &b"any"[..])][..], &[("inner.msu", b"any"), ("DesktopDeployment.cab", &other)]] {
        put(folder.path(), "outer.msu", &cabinet(outer));
        let error = PackageSource::of_path(&folder.path().join("outer.msu")).unwrap_err();
        assert!(error.hint_text().unwrap().contains("inner.msu"), "{error}");
    }
    put(folder.path(), "badxml.msu", &cabinet(&[("a.cab", &second), ("a.xml", b"<a")]));
    assert!(PackageSource::of_path(&folder.path().join("badxml.msu")).is_err());
}

#[test]
fn fingerprints_tell_packages_apart() {
    let (folder, media) = medium();
    let of = |name: &str| PackageSource::open(name, Some(&media)).unwrap().fingerprint();
    assert_eq!(of("Containers"), of("containers"));
    assert_ne!(of("Containers"), of("OEM-Drivers"));
    let before = of("Compute");
    let path = folder.path().join("NanoServer/Packages/Microsoft-NanoServer-Compute-Package.cab");
    fs::write(path, package("other")).unwrap();
    assert_ne!(of("Compute"), before);
    assert!(
        Arc::strong_count(
            &PackageSource::open("Compute", Some(&media)).unwrap().parts(&[]).parts[0].files().unwrap().0
        ) == 1
    );
}
