//! The OpenSSH client of Windows 10 2004, as Microsoft has signed it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nanovhd::format::delta;
use nanovhd::windows::drivers::trust::SignatureKind;
use roxmltree::Document;

use super::makers::unpacked;
use super::{BASE, REAL, Scene, check_hives, differences, file_of, hive_of, plans, said, volume};
use crate::support::packages::{Files, Id};
use crate::support::program::{fail, succeed};
use crate::support::program_sample::with_resource;
use crate::support::tools::{Tools, testdata, text};

const PACKAGE: &str = "OpenSSH-Client-Package~31bf3856ad364e35~amd64~~10.0.19041.1";
const PROGRAMS: [&str; 7] =
    ["scp.exe", "sftp.exe", "ssh-add.exe", "ssh-agent.exe", "ssh-keygen.exe", "ssh-keyscan.exe", "ssh.exe"];

fn base() -> Option<Vec<u8>> {
    Some(fs::read(testdata(format!("packages/{BASE}"))?).unwrap())
}

/// The manifests, unpacked, by their names without the ending.
pub(super) fn manifests(files: &Files) -> Option<BTreeMap<String, String>> {
    let base = base()?;
    let manifests = files.0.iter().filter_map(|(name, bytes)| {
        let name = name.strip_suffix(".manifest")?;
        let plain = delta::unpack(bytes, Some(&base), 1 << 20).unwrap().into_owned();
        Some((name.to_owned(), String::from_utf8(plain).unwrap()))
    });
    Some(manifests.collect())
}

#[test]
fn identities_are_those_of_the_folders() {
    let Some(files) = unpacked() else { return };
    let Some(manifests) = manifests(&files) else { return };
    assert_eq!(manifests.len(), 6);
    for (name, document) in &manifests {
        assert_eq!(*name, Id::of_xml(document).keyform());
    }
    let folders = files.0.keys().filter_map(|name| name.split_once('\\'));
    folders.for_each(|(folder, file)| {
        let document = manifests.get(folder).unwrap_or_else(|| panic!("{folder} has no manifest"));
        assert!(document.contains(&format!("name=\"{file}\"")), "{folder} does not name {file}");
    });
    let packed = files.0.iter().filter(|(name, bytes)| name.ends_with(".manifest") && delta::is_packed(bytes));
    assert_eq!(packed.count(), 3);
}

#[test]
fn everything_is_as_it_was_signed() {
    let (Some(cabinet), Some(base)) = (testdata(format!("packages/{REAL}")), base()) else { return };
    let verified = plans::checked(fs::read(cabinet).unwrap(), Some(&base)).unwrap();
    assert_eq!(verified.packages.len(), 4);
    assert!(verified.packages.iter().all(|package| package.kind == SignatureKind::Windows));
    let top: Vec<&str> = verified.packages.iter().filter(|own| own.is_top).map(|own| own.id.as_str()).collect();
    assert_eq!(top, [PACKAGE]);
    assert_eq!(verified.manifests.len(), 6);
    assert_eq!(verified.manifests.values().map(|manifest| manifest.payload.len()).sum::<usize>(), 8);
    verified.verdict(false).unwrap();
}

/// One bit in any of its files: refused, by the name of the file.
#[test]
fn a_wrong_bit_is_refused_by_name() {
    let (Some(files), Some(base)) = (unpacked(), base()) else { return };
    assert_eq!(files.0.len(), 25);
    for (index, (name, bytes)) in files.0.iter().enumerate() {
        let mut damaged = files.clone();
        // In the middle of most; catalogs have padding and certificates there, so in a digest of the list.
        let at = bytes.len() / 2;
        damaged.0.get_mut(name).unwrap()[at] ^= 1 << (index % 8);
        let cabinet = damaged.cabinet_of(cab::CompressionType::None);
        let error = plans::checked(cabinet, Some(&base)).err().unwrap_or_else(|| panic!("{name} is taken"));
        let words = error.to_string().to_lowercase();
        assert!(words.contains(&name.to_lowercase()), "{name}: {words}");
    }
}

/// The same in the bytes of the cabinet itself, up to the signature behind it.
#[test]
fn a_wrong_bit_of_the_cabinet_is_refused() {
    let (Some(cabinet), Some(base)) = (testdata(format!("packages/{REAL}")), base()) else { return };
    let bytes = fs::read(cabinet).unwrap();
    let len = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    assert!(len < bytes.len(), "there is a signature behind it");
    for part in 0..6 {
        let mut damaged = bytes.clone();
        let at = 3000 + (len - 3100) * part / 5;
        damaged[at] ^= 0x10;
        assert!(plans::checked(damaged, Some(&base)).is_err(), "at {at}");
    }
    let mut behind = bytes;
    behind[len + 100] ^= 0x10;
    plans::checked(behind, Some(&base)).unwrap();
}

#[test]
fn is_listed() {
    let (Some(cabinet), Some(base)) = (testdata(format!("packages/{REAL}")), testdata(format!("packages/{BASE}")))
    else {
        return;
    };
    let scene = Scene::new();
    let disk = scene.disk("disk.img");
    let listed = succeed(["packages", text(&cabinet), "--servicing-stack", text(&base)]);
    for word in [PACKAGE, "OpenSSH Client", "Microsoft-NanoServer-Edition-Core-Package", "Microsoft Windows"] {
        assert!(listed.contains(word), "{word}: {listed}");
    }
    let planned =
        succeed(["packages", text(&cabinet), "--servicing-stack", text(&base), "--into", text(&disk), "--plan"]);
    for word in [r"\Windows\System32\OpenSSH\ssh.exe", "service ssh-agent"] {
        assert!(planned.contains(word), "{word}: {planned}");
    }
    let json = succeed(["packages", text(&cabinet), "--servicing-stack", text(&base), "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json.to_string().contains(PACKAGE), "{json}");
}

/// Options with which the real package goes in.
fn options() -> Option<[String; 4]> {
    let (cabinet, base) = (testdata(format!("packages/{REAL}"))?, testdata(format!("packages/{BASE}"))?);
    Some(["--package", text(&cabinet), "--servicing-stack", text(&base)].map(str::to_owned))
}

#[test]
fn goes_in_and_out() {
    let Some(tools) = Tools::find(&["ntfscat", "hivexsh", "hivexget", "wimlib-imagex"]) else { return };
    let (Some(options), Some(files)) = (options(), unpacked()) else { return };
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let Some(manifests) = manifests(&files) else { return };
    let scene = Scene::new();
    let (before, disk) = (scene.disk("before.img"), scene.disk("disk.img"));
    let words = said(&[&["edit", text(&disk)], &options[..]].concat());
    assert!(words.contains(PACKAGE), "{words}");
    let once = fs::read(&disk).unwrap();

    let volume = volume(&scene, &disk);
    check_files(&tools, &scene, &volume, &files);
    check_hives(&tools, &scene, &volume);
    manifests.values().for_each(|document| check_registry(&tools, &scene, &volume, document));
    check_agent(&tools, &scene);

    // Again: nothing changes.
    said(&[&["edit", text(&disk)], &options[..]].concat());
    assert!(fs::read(&disk).unwrap() == once, "installing it twice changes something");
    let listed = succeed(["packages", text(&disk)]);
    assert!(listed.contains("OpenSSH-Client-Package"), "{listed}");

    let words = said(&["edit", text(&disk), "--remove-package", "OpenSSH-Client-Package", options[2], options[3]]);
    assert!(words.contains(PACKAGE), "{words}");
    assert_eq!(differences(&before, &disk), [""; 0]);
    let (_, words) = fail(["edit", text(&disk), "--remove-package", "OpenSSH-Client-Package", options[2], options[3]]);
    assert!(words.contains("OpenSSH-Client-Package"), "{words}");
}

/// The programs are hard links to the store, whose files are those of the cabinet; documents are where servicing looks for them.
fn check_files(tools: &Tools, scene: &Scene, volume: &Path, files: &Files) {
    let captured = scene.path("captured.wim");
    tools.run("wimlib-imagex", &["capture", text(volume), text(&captured), "--compress=none"]);
    let about = |path: &str| {
        let path = path.replace('\\', "/");
        tools.run(
            "wimlib-imagex",
            &["dir", text(&captured), "1", "--detailed", "--one-file-only", &format!("--path={path}")],
        )
    };
    let field = |about: &str, name: &str| {
        let line = about.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("no {name}: {about}")).split('=').nth(1).unwrap().trim().to_owned()
    };
    for (name, bytes) in files.0.iter().filter(|(name, _)| name.contains('\\')) {
        let file = name.split('\\').nth(1).unwrap();
        let place = if PROGRAMS.contains(&file) { format!(r"OpenSSH\{file}") } else { file.to_owned() };
        let (place, store) = (format!(r"\Windows\System32\{place}"), format!(r"\Windows\WinSxS\{name}"));
        let (there, stored) = (about(&place), about(&store));
        assert_eq!(field(&there, "Link Group ID"), field(&stored, "Link Group ID"), "{name}");
        assert_eq!(field(&there, "Link Count"), "2", "{name}");
        assert!(file_of(tools, volume, &place) == *bytes, "{name} has other contents");
    }
    for (name, bytes) in files.0.iter().filter(|(name, _)| !name.contains('\\') && !name.starts_with("update.")) {
        let path = match name.rsplit('.').next().unwrap() {
            "mum" => format!(r"\Windows\servicing\Packages\{name}"),
            "cat" => format!(r"\Windows\System32\CatRoot\{{F750E6C3-38EE-11D1-85E5-00C04FC295EE}}\{name}"),
            "manifest" => format!(r"\Windows\WinSxS\Manifests\{name}"),
            _ => continue,
        };
        let found = file_of(tools, volume, &path);
        // Manifests are kept unpacked.
        assert!(found == *bytes || name.ends_with(".manifest") && found.starts_with(b"<?xml"), "{path}");
    }
}

/// What the manifest says of the registry, read with another XML parser's eyes and by hivex.
fn check_registry(tools: &Tools, scene: &Scene, volume: &Path, document: &str) {
    let document = Document::parse(document).unwrap();
    for key in document.descendants().filter(|node| node.has_tag_name("registryKey")) {
        let name = key.attribute("keyName").unwrap().trim_end_matches('\\');
        let (_, below) = name.split_once('\\').unwrap();
        let (hive, path) = below.split_once('\\').unwrap();
        let path = path.replace("CurrentControlSet", "ControlSet001");
        let hive = hive_of(tools, scene, volume, &hive.to_uppercase());
        for value in key.children().filter(|node| node.has_tag_name("registryValue")) {
            let name = value.attribute("name").unwrap();
            let expected = value.attribute("value").unwrap_or_default();
            let found =
                tools.run("hivexget", &[text(&hive), &format!("\\{path}"), if name.is_empty() { "@" } else { name }]);
            if ["REG_SZ", "REG_EXPAND_SZ"].contains(&value.attribute("valueType").unwrap()) && !expected.contains("$(")
            {
                assert_eq!(found.trim_end(), expected, "{path} {name}");
            }
        }
    }
}

fn check_agent(tools: &Tools, scene: &Scene) {
    let system = scene.path("SYSTEM");
    let value = |name: &str| {
        tools.run("hivexget", &[text(&system), r"\ControlSet001\Services\ssh-agent", name]).trim_end().to_owned()
    };
    assert_eq!(value("ImagePath").to_lowercase(), r"%systemroot%\system32\openssh\ssh-agent.exe");
    assert_eq!(value("Type"), "16", "a process of its own");
    assert_eq!(value("ObjectName"), "LocalSystem");
}

/// The same package, put in while a disk is built; with the base manifest from the image's own servicing stack.
#[test]
fn is_unpacked_with_the_stack_of_the_image() {
    let (Some(options), Some(base)) = (options(), base()) else { return };
    let scene = Scene::new();
    let stack = Id::component("Microsoft-Windows-ServicingStack").keyform();
    let dll = scene.path("wcp.dll");
    fs::write(&dll, with_resource(614, 1, &base)).unwrap();
    let copy = format!(r"{}=\Windows\WinSxS\{stack}\wcp.dll", text(&dll));
    let (with, without) = (scene.path("with.img"), scene.path("without.img"));
    scene.build(&with, &["--copy", &copy, "--package", &options[1]]);
    scene.build(&without, &["--copy", &copy, "--package", &options[1], "--servicing-stack", &options[3]]);
    assert!(fs::read(&with).unwrap() == fs::read(&without).unwrap());
    let plain = scene.disk("plain.img");
    let strict = ["edit", text(&plain), "--package", &options[1], "--packages=strict"];
    let (_, words) = fail(strict);
    assert!(words.contains("--servicing-stack"), "{words}");
    // The Windows of the image can do it itself, when it starts.
    let words = said(&strict[..4]);
    assert!(words.contains("first start"), "{words}");
}
