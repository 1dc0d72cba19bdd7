//! Packages by their short names on a medium, as updates and folders; those that wait for the first start.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Scene, elements, said, wim};
use crate::support::packages::{Component, Package, medium, msu};
use crate::support::program::{fail, nanovhd, succeed};
use crate::support::tools::{Tools, text};

const QUEUE: &str = r"\Windows\Setup\Scripts\packages";
const COMPUTE: &str = "Microsoft-NanoServer-Compute-Package";

/// A scene with a medium.
fn scene() -> (Scene, PathBuf) {
    let scene = Scene::new();
    let files = scene.path("medium");
    medium(&files, &scene.path("demo.wim"));
    (scene, files)
}

fn build(medium: &Path, output: &Path, more: &[&str]) -> String {
    let all = ["build", "--media", text(medium), "--image=datacenter", "--output", text(output)];
    said(&[&all[..], more].concat())
}

fn read(image: &Path, path: &str) -> Vec<u8> {
    let output = nanovhd(["cat", text(image), path]).output().unwrap();
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn has(image: &Path, path: &str) -> bool {
    nanovhd(["cat", text(image), path]).output().unwrap().status.success()
}

#[test]
fn short_names_from_a_folder_and_an_iso() {
    let Some(tools) = Tools::find(&["genisoimage"]) else { return };
    let (scene, files) = scene();
    let iso = scene.path("medium.iso");
    tools.run("genisoimage", &["-quiet", "-udf", "-J", "-joliet-long", "-o", text(&iso), text(&files)]);
    let (from_folder, from_iso) = (scene.path("folder.vhd"), scene.path("iso.vhd"));
    let wanted = ["--package", "Containers", "--package", "compute", "--allow-unsigned"];
    let words = build(&files, &from_folder, &wanted);
    build(&iso, &from_iso, &wanted);
    assert!(fs::read(&from_folder).unwrap() == fs::read(&from_iso).unwrap(), "the same packages, another disk");

    // The one goes in with its language, the other has what is for its Windows alone, and takes its language with it.
    let way = |file: &str| words.lines().find(|line| line.contains(file)).unwrap_or_else(|| panic!("{file}: {words}"));
    assert!(way("Microsoft-NanoServer-Containers-Package.cab").contains("installed"), "{words}");
    assert!(way("Microsoft-NanoServer-Containers-Package_en-us.cab").contains("installed"), "{words}");
    let compute = way(&format!("{COMPUTE}.cab"));
    assert!(compute.contains("first start") && compute.contains("networkComponents"), "{words}");
    assert!(way(&format!("{COMPUTE}_en-us.cab")).contains("first start"), "{words}");
    assert!(!read(&from_iso, r"\Windows\System32\containers.dll").is_empty());
    assert_eq!(read(&from_iso, r"\Windows\System32\en-US\containers.dll.mui"), b"English for Containers");
    assert!(!has(&from_iso, r"\Windows\System32\compute.dll"));
    check_queue(&files, &from_iso);
}

/// What waits is what the medium has, base before language, and is called by what runs after setup.
fn check_queue(medium: &Path, image: &Path) {
    let packages = medium.join("NanoServer").join("Packages");
    let (base, language) = (format!("{COMPUTE}.cab"), format!("{COMPUTE}_en-us.cab"));
    assert!(read(image, &format!(r"{QUEUE}\{base}")) == fs::read(packages.join(&base)).unwrap());
    assert!(read(image, &format!(r"{QUEUE}\{language}")) == fs::read(packages.join("en-us").join(&language)).unwrap());
    let script = String::from_utf8(read(image, &format!(r"{QUEUE}\install.cmd"))).unwrap();
    assert!(script.is_ascii() && script.lines().count() == script.matches("\r\n").count(), "{script}");
    let (first, second) = (script.find(&base).unwrap(), script.find(&language).unwrap());
    assert!(first < second, "{script}");
    assert!(script.contains("dism.exe /Online /Add-Package") && script.contains("packages.log"), "{script}");
    let setup = String::from_utf8(read(image, r"\Windows\Setup\Scripts\SetupComplete.cmd")).unwrap();
    assert!(setup.contains(r"packages\install.cmd"), "{setup}");
    assert!(!setup.to_lowercase().contains("shutdown"), "{setup}");
}

#[test]
fn names_that_are_none() {
    let (scene, files) = scene();
    let refused = |name: &str| {
        let output = scene.path("none.vhd");
        let all = ["build", "--media", text(&files), "--image=datacenter", "--output", text(&output)];
        let (_, words) = fail([&all[..], &["--allow-unsigned", "--package", name]].concat());
        assert!(!output.exists(), "{name}");
        words
    };
    let words = refused("Contaners");
    assert!(words.contains("Contaners") && words.contains("Containers"), "{words}");
    let words = refused("Teapot");
    assert!(words.contains("Storage") && words.contains("Guest"), "{words}");
    assert!(refused("nowhere.cab").contains("nowhere.cab"));
    let text_file = scene.cabinet("words.cab", b"no cabinet at all");
    assert!(refused(text(&text_file)).contains("words.cab"));
    // Without a medium there are no short names.
    let disk = scene.disk("disk.img");
    let (_, words) = fail(["edit", text(&disk), "--package", "Containers"]);
    assert!(words.contains("Containers") && words.contains("--media"), "{words}");
}

#[test]
fn media_are_listed() {
    let (scene, files) = scene();
    let listed = succeed(["packages", text(&files)]);
    for word in ["Containers", "Compute", "Guest", "Storage", "ShieldedVM", "10.0.14393.0", "en-us"] {
        assert!(listed.to_lowercase().contains(&word.to_lowercase()), "{word}: {listed}");
    }
    let wim = scene.path("demo.wim");
    let all = ["packages", text(&files), "--into", text(&wim), "--image=2"];
    let judged = succeed([&all[..], &["--package", "ShieldedVM"]].concat());
    assert!(judged.contains("Microsoft-NanoServer-Edition-Datacenter-Package"), "{judged}");
    let planned = succeed([&all[..], &["--package", "Containers", "--plan"]].concat());
    assert!(
        planned.contains(r"\Windows\System32\containers.dll") && planned.contains("service containers"),
        "{planned}"
    );
    let json = succeed([&all[..], &["--json"]].concat());
    serde_json::from_str::<serde_json::Value>(&json).unwrap();
}

/// A medium with several images: which is meant has to be said, and the list says how.
#[test]
fn an_image_has_to_be_named() {
    let (scene, files) = scene();
    let plan = ["packages", text(&files), "--package", "Containers", "--plan"];
    let wim = scene.path("demo.wim");
    for into in [&[][..], &["--into", text(&files)], &["--into", text(&wim)]] {
        let (_, words) = fail([&plan[..], into].concat());
        assert!(words.contains("2: ") && words.contains("--image INDEX"), "{words}");
    }
    let planned = succeed([&plan[..], &["--image=2"]].concat());
    for word in
        [r"      link \Windows\System32\containers.dll to ", "      value Start = REG_DWORD ", "PACKAGE.mum", "stored "]
    {
        assert!(planned.contains(word), "{word}: {planned}");
    }
    // Who has not signed it is not left to a second word.
    assert!(planned.contains("verdict       refused") && planned.contains("--allow-unsigned"), "{planned}");
    let allowed = succeed([&plan[..], &["--image=2", "--allow-unsigned"]].concat());
    assert!(allowed.contains("verdict       fits") && !allowed.contains("refused"), "{allowed}");
    let (_, words) = fail(["packages", text(&wim), "--package", "Containers", "--plan", "--image=2"]);
    assert!(words.contains("--into"), "{words}");
}

#[test]
fn a_damaged_package_leaves_the_others_judged() {
    let (scene, files) = scene();
    let broken = files.join("NanoServer").join("Packages").join("Microsoft-NanoServer-Broken-Package.cab");
    fs::write(&broken, b"no cabinet, whatever it is called").unwrap();
    assert!(said(&["packages", text(&files)]).contains("Containers"));
    let disk = scene.disk("disk.img");
    for judge in [["--image", "2"], ["--into", text(&disk)]] {
        let all = [&["packages", text(&files), "--allow-unsigned"][..], &judge].concat();
        let judged = said(&all);
        let row = |name: &str| judged.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        assert!(row("Broken").contains("cannot be read") && row("Broken").contains("not a cabinet"), "{judged}");
        assert!(row("Containers").ends_with("fits"), "{judged}");
        // Asked for by name, it is an error, and no fault of the image.
        let (_, words) = fail([&all[..], &["--package", "Broken"]].concat());
        assert!(words.contains("Broken-Package.cab") && !words.contains("disk.img: "), "{words}");
    }
}

#[test]
fn another_edition_is_named() {
    let (scene, files) = scene();
    let output = scene.path("none.vhd");
    let all = ["build", "--media", text(&files), "--image=datacenter", "--output", text(&output)];
    let wanted = ["--package", "ShieldedVM", "--allow-unsigned"];
    let (_, words) = fail([&all[..], &wanted].concat());
    for word in
        ["Microsoft-NanoServer-Edition-Datacenter-Package", "ServerDataCenterNano", "0x800f081e", "--ignore-check"]
    {
        assert!(words.contains(word), "{word}: {words}");
    }
    assert!(!output.exists());
    build(&files, &output, &[&wanted[..], &["--ignore-check"]].concat());
    assert!(has(&output, r"\Windows\System32\shieldedvm.dll"));
}

#[test]
fn strict_refuses_and_first_boot_takes_all() {
    let (scene, files) = scene();
    let output = scene.path("none.vhd");
    let all = ["build", "--media", text(&files), "--image=datacenter", "--output", text(&output)];
    let wanted = ["--package", "Storage", "--package", "Compute", "--allow-unsigned"];
    let (_, words) = fail([&all[..], &wanted, &["--packages=strict"]].concat());
    assert!(words.contains("networkComponents") && words.contains("nano-compute"), "{words}");
    assert!(!output.exists());
    let words = build(&files, &output, &[&wanted[..], &["--packages=first-boot"]].concat());
    assert_eq!(words.matches("left to the first start").count(), 4, "{words}");
    assert!(!has(&output, r"\Windows\System32\storage.dll"));
    assert!(has(&output, &format!(r"{QUEUE}\Microsoft-NanoServer-Storage-Package.cab")));
    check_queue(&files, &output);
    // Added once more, the queue is the same.
    let before = read(&output, &format!(r"{QUEUE}\install.cmd"));
    let cab = files.join("NanoServer").join("Packages").join(format!("{COMPUTE}.cab"));
    said(&["edit", text(&output), "--package", text(&cab), "--packages=first-boot", "--allow-unsigned"]);
    assert!(read(&output, &format!(r"{QUEUE}\install.cmd")) == before);
    check_queue(&files, &output);

    // What waits is known by its ids, and is taken back by a name.
    let storage = "Microsoft-NanoServer-Storage-Package";
    let listed = succeed(["packages", text(&output)]);
    let waits: Vec<&str> = listed.lines().filter(|line| line.starts_with("waits for the first start")).collect();
    let mut ids = waits.iter().map(|line| line.split(['(', ')']).nth(1).unwrap());
    assert!(waits.len() == 4 && ids.all(|id| id.matches('~').count() == 4), "{listed}");
    let words = said(&["edit", text(&output), "--remove-package", storage]);
    assert_eq!(words.matches("no longer left to the first start").count(), 2, "{words}");
    assert!(!has(&output, &format!(r"{QUEUE}\{storage}.cab")));
    check_queue(&files, &output);
    let words = said(&["edit", text(&output), "--remove-package", COMPUTE]);
    assert_eq!(words.matches("no longer left to the first start").count(), 2, "{words}");
    assert!(!has(&output, &format!(r"{QUEUE}\install.cmd")));
    assert!(!has(&output, r"\Windows\Setup\Scripts\SetupComplete.cmd"));
    let (_, words) = fail(["edit", text(&output), "--remove-package", COMPUTE]);
    assert!(words.contains("no such package"), "{words}");
}

/// A package that waits is put in after all: it waits no more.
#[test]
fn what_is_put_in_does_not_wait() {
    let scene = Scene::new();
    let component = Component::new("late").file(r"$(runtime.system32)\", "late.dll", b"late");
    let package = Package::new("Made-Late-Package").parent(&elements::edition()).update("Late", &[component]);
    let cab = scene.cabinet("late.psf", &package.files().cabinet());
    let disk = scene.disk("disk.img");
    let all = ["edit", text(&disk), "--package", text(&cab), "--allow-unsigned"];
    said(&[&all[..], &["--packages=first-boot"]].concat());
    assert!(has(&disk, &format!(r"{QUEUE}\late.psf.cab")) && !has(&disk, r"\Windows\System32\late.dll"));
    let words = said(&all);
    assert!(words.contains("no longer left to the first start") && words.contains("Made-Late-Package~"), "{words}");
    assert!(has(&disk, r"\Windows\System32\late.dll") && !has(&disk, &format!(r"{QUEUE}\late.psf.cab")));
    assert!(!has(&disk, r"\Windows\Setup\Scripts\SetupComplete.cmd"));
}

#[test]
fn nobody_has_signed_them() {
    let (scene, files) = scene();
    let disk = scene.disk("disk.img");
    let before = fs::read(&disk).unwrap();
    let cab = files.join("NanoServer").join("Packages").join("Microsoft-NanoServer-Guest-Package.cab");
    let (_, words) = fail(["edit", text(&disk), "--package", text(&cab)]);
    assert!(words.contains("--allow-unsigned") && words.contains("Package Tests"), "{words}");
    assert!(fs::read(&disk).unwrap() == before);
    said(&["edit", text(&disk), "--package", text(&cab), "--allow-unsigned"]);
    assert!(has(&disk, r"\Windows\System32\guest.dll"));
}

#[test]
fn updates_and_folders() {
    let scene = Scene::new();
    let component =
        |name: &str| Component::new(name).file(r"$(runtime.system32)\", &format!("{name}.dll"), name.as_bytes());
    let package = |name: &str| {
        Package::new(&format!("Made-{name}-Package"))
            .parent(&elements::edition())
            .update(&format!("Made-{name}"), &[component(name)])
    };
    let (one, two, three, other) = (package("one"), package("two"), package("three"), package("other"));
    let update = scene.cabinet("windows10.0-kb0000000-x64.msu", &msu(&[("b.cab", &one), ("a.cab", &two)]));
    let folder = scene.path("unpacked");
    three.files().write(&folder);
    let several = scene.path("several");
    fs::create_dir(&several).unwrap();
    fs::write(several.join("other.cab"), other.files().with_hashes().cabinet()).unwrap();
    let disk = scene.disk("disk.img");
    let sources = ["--package", text(&update), "--package", text(&folder), "--package", text(&several)];
    said(&[&["edit", text(&disk)][..], &sources, &["--allow-unsigned"]].concat());
    for name in ["one", "two", "three", "other"] {
        assert_eq!(read(&disk, &format!(r"\Windows\System32\{name}.dll")), name.as_bytes());
    }
    // One wrong byte in a folder.
    let manifest = folder.join(format!("{}.manifest", component("three").id.keyform()));
    let mut bytes = fs::read(&manifest).unwrap();
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    fs::write(&manifest, bytes).unwrap();
    let (_, words) = fail(["edit", text(&disk), "--package", text(&folder), "--allow-unsigned"]);
    assert!(words.contains(manifest.file_name().unwrap().to_str().unwrap()), "{words}");
}

/// A WIM has no edition package of another version: the made one is not mistaken for it.
#[test]
fn a_newer_parent_is_wanted() {
    let scene = Scene::new();
    assert!(!wim().is_empty());
    let package = Package::new("Made-Newer-Package").parent(&elements::edition().version("10.0.17763.1"));
    let package = package.update("Made-Newer", &[Component::new("Newer")]);
    let cab = scene.cabinet("newer.cab", &package.files().cabinet());
    let disk = scene.disk("disk.img");
    let (_, words) = fail(["edit", text(&disk), "--package", text(&cab), "--allow-unsigned"]);
    assert!(words.contains("10.0.17763.1") && words.contains("10.0.14393.0"), "{words}");
}
