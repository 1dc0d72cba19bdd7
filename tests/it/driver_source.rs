//! Drivers from what they come in: cabinets against cabextract, media and installers made by others, the whole way into an image.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nanovhd::base::Machine;
use nanovhd::format::cab::{Cabinet, Compression};
use nanovhd::format::inf::{ProductType, TargetOs};
use nanovhd::image::driver_source::{DriverSource, collect};

use crate::support::program::{demo_wim, fail, nanovhd, output, succeed};
use crate::support::tools::{Tools, testdata, text};

const SERVER_2016: TargetOs =
    TargetOs { machine: Machine::Amd64, major: 10, minor: 0, build: 14393, product: ProductType::Server, suites: 0 };

/// A package for one device; the devices of two packages differ if their names do.
fn inf(name: &str, version: &str) -> String {
    let id: u32 = name.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) & 0xFFFF;
    format!(
        "[Version]\r\nSignature=\"$Windows NT$\"\r\nClass=Net\r\nClassGuid={{4d36e972-e325-11ce-bfc1-08002be10318}}\r\n\
         Provider=%v%\r\nDriverVer={version}\r\nPnpLockdown=1\r\n\
         [SourceDisksNames]\r\n1=%v%\r\n[SourceDisksFiles]\r\n{name}.sys=1\r\n[DestinationDirs]\r\nDefaultDestDir=12\r\n\
         [Manufacturer]\r\n%v%=Models,NTamd64.6.3\r\n[Models.NTamd64.6.3]\r\n%d%=Install,PCI\\VEN_1234&DEV_{id:04X}\r\n\
         [Install.NT]\r\nCopyFiles=Files\r\n[Files]\r\n{name}.sys\r\n\
         [Install.NT.Services]\r\nAddService={name},2,Service\r\n\
         [Service]\r\nServiceType=1\r\nStartType=3\r\nErrorControl=1\r\nServiceBinary=%12%\\{name}.sys\r\n\
         [Strings]\r\nv=\"Made for tests\"\r\nd=\"A card\"\r\n"
    )
}

fn package(folder: &Path, name: &str, version: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join(format!("{name}.inf")), inf(name, version)).unwrap();
    fs::write(folder.join(format!("{name}.sys")), format!("{name} of {}", folder.display())).unwrap();
}

/// A collection with one package for each Windows, and one more.
fn collection(folder: &Path) {
    for os in ["2k12R2", "2k16", "2k19", "w10"] {
        package(&folder.join("NetCard").join(os).join("amd64"), "netcard", "01/02/2020,1.2.3.4");
    }
    package(&folder.join("Other"), "other", "01/02/2020,1.0.0.0");
    fs::write(folder.join("autorun.inf"), "[AutoRun]\r\nopen=setup.exe\r\n").unwrap();
}

fn origins(source: &Path) -> Vec<String> {
    let found = collect(source, &SERVER_2016).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let below = |origin: &str| origin.strip_prefix(text(source)).unwrap().to_owned();
    found.packages.iter().map(|package| below(&package.origin)).collect()
}

fn files_below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(here) = open.pop() {
        for entry in fs::read_dir(here).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false => {
                    let name = path.strip_prefix(folder).unwrap().to_str().unwrap().replace('/', "\\");
                    found.insert(name, fs::read(path).unwrap());
                }
            }
        }
    }
    found
}

/// What a cabinet unpacks to, by us and by cabextract; they have to agree.
fn check_cabinet(tools: &Tools, cabinet: &Path) -> (BTreeMap<String, Vec<u8>>, Vec<Compression>) {
    let target = tempfile::tempdir().unwrap();
    tools.run("cabextract", &["-q", "-d", text(target.path()), text(cabinet)]);
    let opened = Cabinet::open(Arc::new(fs::read(cabinet).unwrap())).unwrap();
    let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    opened
        .unpack(
            |_| true,
            |file, piece| {
                found.entry(file.name.replace('/', "\\")).or_default().extend_from_slice(piece);
                Ok(())
            },
        )
        .unwrap();
    let expected = files_below(target.path());
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    assert!(found == expected, "{}: other bytes than cabextract", cabinet.display());
    (found, opened.compressions().collect())
}

#[test]
fn cabinets_by_gcab() {
    let Some(tools) = Tools::find(&["gcab", "cabextract"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    collection(folder.path());
    let noise: Vec<u8> = (0..300_000u32).map(|at| (at.wrapping_mul(at) >> 9) as u8).collect();
    fs::write(folder.path().join("Other").join("large.bin"), noise).unwrap();
    fs::write(folder.path().join("Other").join("empty.bin"), "").unwrap();
    for (name, options) in [("plain.cab", "-c"), ("packed.cab", "-cz")] {
        tools.run_in(folder.path(), "gcab", &[options, name, "NetCard", "Other", "autorun.inf"]);
        let cabinet = folder.path().join(name);
        let (files, compressions) = check_cabinet(&tools, &cabinet);
        assert_eq!(files.len(), 4 * 2 + 4 + 1);
        let expected = if options == "-c" { Compression::None } else { Compression::MsZip };
        assert!(compressions.iter().all(|found| *found == expected), "{compressions:?}");
        assert_eq!(origins(&cabinet), [r"\NetCard\2k16\amd64", r"\Other"]);
    }
}

#[test]
fn a_cabinet_by_windows() {
    let name = "packages/OpenSSH-Client-Package~31bf3856ad364e35~amd64~~.cab";
    let (Some(tools), Some(cabinet)) = (Tools::find(&["cabextract"]), testdata(name)) else { return };
    let (files, compressions) = check_cabinet(&tools, &cabinet);
    assert!(compressions.iter().any(|found| matches!(found, Compression::Lzx(_))), "{compressions:?}");
    assert!(files.keys().any(|name| name == "update.mum"), "{:?}", files.keys());
    // A package of Windows has no drivers.
    let error = collect(&cabinet, &SERVER_2016).err().unwrap();
    assert!(error.to_string().contains("no drivers"), "{error}");
}

#[test]
fn archives_and_media_by_others() {
    let Some(tools) = Tools::find(&["genisoimage", "7z"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    collection(&files);
    let expected = [r"\NetCard\2k16\amd64", r"\Other"];
    assert_eq!(origins(&files), expected);
    let (iso, zip) = (folder.path().join("drivers.iso"), folder.path().join("drivers.zip"));
    tools.run("genisoimage", &["-quiet", "-J", "-r", "-o", text(&iso), text(&files)]);
    assert_eq!(origins(&iso), expected);
    tools.run_in(&files, "7z", &["a", "-bd", text(&zip), "."]);
    assert_eq!(origins(&zip), expected);
    let read = |source: &Path| {
        let found = collect(source, &SERVER_2016).unwrap();
        found.packages[0].read("netcard.sys").unwrap().unwrap()
    };
    assert_eq!(read(&iso), read(&files));
    assert_eq!(read(&zip), read(&files));
    let fingerprint = |source: &Path| DriverSource::open(source).unwrap().fingerprint().to_vec();
    assert_eq!(fingerprint(&zip).len(), 32);
    assert_eq!(fingerprint(&iso), fingerprint(&files));
}

/// The real packages of virtio-win in the folders that virtio-win has.
#[test]
fn the_collection_of_virtio_win() {
    const NAMES: [&str; 3] = ["NetKVM", "vioscsi", "viostor"];
    let Some(tools) = Tools::find(&["genisoimage"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    for name in NAMES {
        let lower = name.to_lowercase();
        let base = format!("drivers/virtio-win-0.1.240/{name}/2k16/amd64");
        for file in [format!("{lower}.inf"), format!("{lower}.cat"), format!("{lower}.sys")] {
            let Some(source) = testdata(format!("{base}/{file}")) else { return };
            for os in ["2k12R2", "2k16", "2k19", "2k22", "w10", "w11"] {
                let target = folder.path().join("files").join(name).join(os).join("amd64");
                fs::create_dir_all(&target).unwrap();
                fs::copy(&source, target.join(&file)).unwrap();
            }
        }
    }
    let iso = folder.path().join("virtio-win.iso");
    tools.run("genisoimage", &["-quiet", "-J", "-r", "-o", text(&iso), text(&folder.path().join("files"))]);
    assert_eq!(origins(&iso), NAMES.map(|name| format!(r"\{name}\2k16\amd64")));
    let found = collect(&iso, &SERVER_2016).unwrap();
    assert_eq!(found.summary(), "15 packages that others replace");
}

/// An installer as VirtualBox' Guest Additions are one, on their ISO.
#[test]
fn installers_by_nsis() {
    let Some(tools) = Tools::find(&["makensis", "genisoimage", "7z"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    collection(&files);
    for (number, options) in [
        "Unicode true\nSetCompressor /SOLID lzma",
        "Unicode true\nSetCompressor lzma",
        "Unicode false\nSetCompressor zlib",
        "Unicode false\nSetCompressor /SOLID zlib",
        "SetCompress off",
    ]
    .iter()
    .enumerate()
    {
        let medium = folder.path().join(format!("medium{number}"));
        fs::create_dir(&medium).unwrap();
        let installer = medium.join("VBoxWindowsAdditions-amd64.exe");
        let script = format!(
            "{options}\nOutFile \"{}\"\nInstallDir \"$PROGRAMFILES\\Additions\"\nSection\nSetOutPath \"$INSTDIR\\NetCard\\2k16\\amd64\"\n\
             File \"{files}/NetCard/2k16/amd64/netcard.inf\"\nFile \"{files}/NetCard/2k16/amd64/netcard.sys\"\n\
             SetOutPath \"$INSTDIR\\NetCard\\w10\\amd64\"\nFile \"{files}/NetCard/w10/amd64/netcard.inf\"\n\
             SetOutPath \"$INSTDIR\"\nFile /oname=Other\\other.inf \"{files}/Other/other.inf\"\nFile \"{files}/Other/other.sys\"\n\
             SectionEnd\n",
            text(&installer),
            files = text(&files)
        );
        let path = folder.path().join("script.nsi");
        fs::write(&path, script).unwrap();
        tools.run("makensis", &["-V1", text(&path)]);
        let expected = [r"\NetCard\2k16\amd64", r"\Other"];
        assert_eq!(origins(&installer), expected, "{options}");
        assert_eq!(origins(&medium), expected.map(|path| format!(r"\VBoxWindowsAdditions-amd64.exe{path}")));
        let iso = folder.path().join("additions.iso");
        tools.run("genisoimage", &["-quiet", "-J", "-r", "-o", text(&iso), text(&medium)]);
        assert_eq!(origins(&iso), expected.map(|path| format!(r"\VBoxWindowsAdditions-amd64.exe{path}")));
        let unpacked = folder.path().join(format!("unpacked{number}"));
        tools.run("7z", &["x", "-bd", &format!("-o{}", text(&unpacked)), text(&installer)]);
        let by_7z = files_below(&unpacked);
        let found = collect(&installer, &SERVER_2016).unwrap();
        let driver = found.packages[0].read("netcard.sys").unwrap().unwrap();
        assert_eq!(Some(&driver), by_7z.get(r"NetCard\2k16\amd64\netcard.sys"), "{:?}", by_7z.keys());
    }
}

struct Scene {
    folder: tempfile::TempDir,
    wim: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let wim = demo_wim(folder.path());
        collection(&folder.path().join("drivers"));
        Self { folder, wim }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn build(&self, output: &Path, more: &[&str]) -> String {
        let all = ["build", "--wim", text(&self.wim), "--image=2", "--size=64M", "--output", text(output)];
        succeed([&all[..], more].concat())
    }
}

#[test]
fn drivers_go_into_images_and_out_again() {
    let scene = Scene::new();
    let drivers = scene.path("drivers");
    let (plain, image) = (scene.path("plain.vhd"), scene.path("image.vhd"));
    scene.build(&plain, &[]);
    let (code, words) = fail(["edit", text(&plain), "--driver", text(&drivers)]);
    assert!(code != 0 && words.contains("--allow-unsigned"), "{words}");

    let said = scene.build(&image, &["--driver", text(&drivers), "--allow-unsigned", "--test-signing"]);
    assert!(said.contains("netcard.inf as oem") && said.contains("other.inf as oem"), "{said}");
    let list = succeed(["ls", "-R", text(&image), r"\Windows\System32\drivers"]);
    assert!(list.to_lowercase().contains("netcard.sys"), "{list}");
    let again = scene.path("again.vhd");
    scene.build(&again, &["--driver", text(&drivers), "--allow-unsigned", "--test-signing"]);
    assert!(fs::read(&image).unwrap() == fs::read(&again).unwrap(), "the same inputs give other bytes");

    let before = fs::read(&image).unwrap();
    let dry = succeed(["edit", text(&image), "--driver", text(&drivers), "--allow-unsigned", "--dry-run"]);
    assert!(dry.contains("was there already"), "{dry}");
    assert!(fs::read(&image).unwrap() == before);
    let published = dry.split("netcard.inf as ").nth(1).unwrap().split(':').next().unwrap();
    let said = succeed(["edit", text(&image), "--remove-driver", published]);
    assert!(said.contains(&format!("remove driver {published}")), "{said}");
    let list = succeed(["ls", "-R", text(&image), r"\Windows"]);
    assert!(!list.to_lowercase().contains("netcard.sys") && list.to_lowercase().contains("other.sys"));
    let (_, words) = fail(["edit", text(&image), "--remove-driver", published]);
    assert!(words.contains(published), "{words}");
}

#[test]
fn what_cannot_be_is_said() {
    let scene = Scene::new();
    let drivers = scene.path("drivers");
    let image = scene.path("image.vhd");
    scene.build(&image, &[]);
    let refused = |path: &Path| fail(["edit", text(&image), "--allow-unsigned", "--driver", text(path)]).1;
    assert!(refused(&scene.path("none")).contains("cannot be opened"));
    let text_file = scene.path("readme.txt");
    fs::write(&text_file, "no driver").unwrap();
    assert!(refused(&text_file).contains("nothing that drivers come in"));
    assert!(refused(&drivers.join("autorun.inf")).contains("no class of devices"));
    let program = scene.path("setup.exe");
    fs::write(&program, [&b"MZ"[..], &[0; 2000]].concat()).unwrap();
    assert!(refused(&program).contains("cannot be taken from"));
    let other = scene.path("x86");
    package(&other, "old", "01/02/2003,1.0.0.0");
    let inf = other.join("old.inf");
    fs::write(&inf, fs::read_to_string(&inf).unwrap().replace("NTamd64.6.3", "NTx86.5.1")).unwrap();
    let words = refused(&inf);
    assert!(words.contains("NTx86.5.1") && words.contains("14393"), "{words}");
    let words = refused(&other);
    assert!(words.contains("1 package for other processors"), "{words}");
}

#[test]
fn test_signing_is_set_in_an_image() {
    let scene = Scene::new();
    let image = scene.path("plain.vhd");
    scene.build(&image, &[]);
    assert!(!succeed(["bcd", text(&image)]).contains("testsigning"));
    let said = succeed(["edit", text(&image), "--test-signing"]);
    assert!(said.contains(r"test signing on, in \Boot\BCD"), "{said}");
    let store = succeed(["bcd", text(&image)]);
    let line = store.lines().find(|line| line.starts_with("testsigning")).unwrap_or_else(|| panic!("{store}"));
    assert!(line.ends_with("Yes"), "{line}");
    assert!(succeed(["edit", text(&image), "--test-signing"]).contains("on already"));

    let uefi = scene.path("uefi.vhdx");
    succeed(["build", "--wim", text(&scene.wim), "--image=2", "--output", text(&uefi)]);
    let (code, words) = fail(["edit", text(&uefi), "--test-signing"]);
    assert!(code != 0 && words.contains("another partition") && words.contains("bcdedit"), "{words}");
}

/// A storage driver, whose service starts and runs what is said.
fn storage(folder: &Path, version: &str, service: &str, start: u32, program: &str) {
    fs::create_dir_all(folder).unwrap();
    let inf = format!(
        "[Version]\r\nSignature=\"$Windows NT$\"\r\nClass=SCSIAdapter\r\nClassGuid={{4d36e97b-e325-11ce-bfc1-08002be10318}}\r\n\
         Provider=%who%\r\nDriverVer=01/02/2020,{version}\r\n[Manufacturer]\r\n%who%=Models,NTamd64.10.0\r\n\
         [Models.NTamd64.10.0]\r\n%what%=Install,PCI\\VEN_1AF4&DEV_FFF1\r\n[Install]\r\nCopyFiles=@{program}\r\n\
         [DestinationDirs]\r\nDefaultDestDir=12\r\n[SourceDisksNames]\r\n1=disk\r\n[SourceDisksFiles]\r\n{program}=1\r\n\
         [Install.Services]\r\nAddService={service},2,Service\r\n[Service]\r\nServiceType=1\r\nStartType={start}\r\nErrorControl=1\r\n\
         ServiceBinary=%12%\\{program}\r\nLoadOrderGroup=SCSI miniport\r\n[Strings]\r\nwho=\"Made\"\r\nwhat=\"A controller\"\r\n"
    );
    fs::write(folder.join("acme.inf"), inf).unwrap();
    // The headers of a program for amd64, as far as they are looked at.
    let mut bytes = vec![0; 0x200];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3C] = 0x80;
    bytes[0x80..0x86].copy_from_slice(b"PE\0\0\x64\x86");
    bytes.extend(version.as_bytes());
    fs::write(folder.join(program), bytes).unwrap();
}

#[test]
fn services_are_as_their_owners_have_them() {
    let scene = Scene::new();
    let image = scene.path("image.vhd");
    let services =
        |name: &str| succeed(["reg", text(&image), &format!(r"HKLM\SYSTEM\CurrentControlSet\Services\{name}")]);
    let (one, two, own) = (scene.path("one"), scene.path("two"), scene.path("own"));
    storage(&one, "1.0.0.0", "acme", 0, "acme.sys");
    storage(&two, "2.0.0.0", "acme", 3, "acme2.sys");
    storage(&own, "1.0.0.0", "storahci", 3, "mine.sys");
    scene.build(&image, &["--driver", text(&one), "--allow-unsigned", "--test-signing"]);
    let first = services("acme");
    assert!(first.contains(r"System32\drivers\acme.sys"), "{first}");
    let add = |drivers: &Path| {
        let edited =
            output(nanovhd(["edit", text(&image), "--driver", text(drivers), "--allow-unsigned", "--test-signing"]));
        assert!(edited.status.success());
        String::from_utf8_lossy(&edited.stderr).into_owned()
    };
    let said = add(&two);
    assert!(said.contains("acme2.sys now"), "{said}");
    assert!(services("acme").contains("acme2.sys"));
    succeed(["edit", text(&image), "--remove-driver", "oem1.inf"]);
    assert_eq!(services("acme"), first, "the older package has its service back");

    // A service of Windows itself is not taken over by a package that runs something else.
    let before = services("storahci");
    assert!(add(&own).contains("service storahci came with this Windows"));
    assert_eq!(services("storahci"), before);
    succeed(["edit", text(&image), "--remove-driver", "oem1.inf"]);
    assert_eq!(services("storahci"), before);
}

#[cfg(unix)]
#[test]
fn links_of_the_host_are_not_followed() {
    let scene = Scene::new();
    let drivers = scene.path("linked");
    storage(&drivers, "1.0.0.0", "acme", 3, "acme.sys");
    fs::rename(drivers.join("acme.sys"), scene.path("secret")).unwrap();
    std::os::unix::fs::symlink(scene.path("secret"), drivers.join("acme.sys")).unwrap();
    std::os::unix::fs::symlink(&drivers, drivers.join("itself")).unwrap();
    let image = scene.path("image.vhd");
    scene.build(&image, &[]);
    let (_, words) = fail(["edit", text(&image), "--driver", text(&drivers), "--allow-unsigned", "--test-signing"]);
    assert!(words.contains("acme.sys"), "{words}");
    let found = collect(&drivers, &SERVER_2016).unwrap();
    assert_eq!(found.notes.iter().filter(|note| note.contains("a link, which is not followed")).count(), 2);
}
