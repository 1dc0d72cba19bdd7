//! Folders of made packages, and archives that nobody should make.

use std::fs;
use std::io::Write;

use super::*;
use crate::base::Machine;
use crate::error::Kind;
use crate::format::inf::ProductType;
use crate::image::edits::tests::host;

fn server(build: u32) -> TargetOs {
    TargetOs { machine: Machine::Amd64, major: 10, minor: 0, build, product: ProductType::Server, suites: 0 }
}

/// An INF file of a network adapter, or of several.
fn inf(decorations: &str, version: &str, ids: &[&str]) -> String {
    let mut text = format!(
        "[Version]\r\nSignature=\"$Windows NT$\"\r\nClass=Net\r\nClassGuid={{4d36e972-e325-11ce-bfc1-08002be10318}}\r\n\
         Provider=%v%\r\nDriverVer={version}\r\n[Manufacturer]\r\n%v%=Models,{decorations}\r\n"
    );
    for decoration in decorations.split(',') {
        text.push_str(&format!("[Models.{decoration}]\r\n"));
        ids.iter().for_each(|id| text.push_str(&format!("\"A card\"=Install,{id}\r\n")));
    }
    text + "[Install]\r\nCopyFiles=@a.sys\r\n[Strings]\r\nv=\"Made\"\r\n"
}

fn card(decorations: &str) -> String {
    inf(decorations, "01/01/2020,1.0.0.0", &[r"PCI\VEN_1AF4&DEV_1000"])
}

/// The paths of the packages below the source, as `FOLDER\NAME.inf`.
fn taken(found: &Collected, source: &Path) -> Vec<String> {
    let source = source.display().to_string();
    let path = |package: &Package| {
        let folder = package.origin.strip_prefix(&source).unwrap().trim_start_matches('\\');
        format!(r"{folder}\{}", package.inf_name()).trim_start_matches('\\').to_owned()
    };
    found.packages.iter().map(path).collect()
}

fn reasons(found: &Collected) -> Vec<(String, Why)> {
    found.left_out.iter().map(|left| (left.path.clone(), left.why)).collect()
}

fn collected(folder: &tempfile::TempDir, target: &TargetOs) -> Vec<String> {
    taken(&collect(folder.path(), target).unwrap_or_else(|error| panic!("{error}")), folder.path())
}

#[test]
fn the_folder_for_the_right_windows_is_found() {
    let (both, amd64, x86) = (card("NTamd64.6.3,NTarm64.6.3"), card("NTamd64.6.3"), card("NTx86.6.3"));
    let folders =
        ["2k12R2", "2k16", "2k19", "2k22", "w10", "w11"].map(|os| (format!("NetKVM/{os}/amd64/netkvm.inf"), &amd64));
    let mut files: Vec<(&str, &str)> = folders.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    files.push(("NetKVM/w10/x86/netkvm.inf", &x86));
    files.push(("NetKVM/2k16/ARM64/netkvm.inf", &both));
    files.push(("NetKVM/2k16/amd64/netkvm.cat", "a catalog"));
    files.push(("autorun.inf", "[AutoRun]\r\nopen=setup.exe\r\n"));
    let medium = host(&files);
    for (build, expected) in
        [(14393, "2k16"), (17763, "2k19"), (20348, "2k22"), (19042, "2k19"), (26100, "2k22"), (9600, "2k12R2")]
    {
        let target = if build == 9600 { TargetOs { major: 6, minor: 3, ..server(build) } } else { server(build) };
        assert_eq!(collected(&medium, &target), [format!(r"NetKVM\{expected}\amd64\netkvm.inf")], "{build}");
    }
    let client = TargetOs { product: ProductType::Workstation, ..server(22631) };
    assert_eq!(collected(&medium, &client), [r"NetKVM\w11\amd64\netkvm.inf"]);
    assert_eq!(
        collected(&medium, &TargetOs { machine: Machine::Arm64, ..server(14393) }),
        [r"NetKVM\2k16\ARM64\netkvm.inf"]
    );
    assert_eq!(collected(&medium, &TargetOs { machine: Machine::X86, ..client }), [r"NetKVM\w10\x86\netkvm.inf"]);

    let found = collect(medium.path(), &server(14393)).unwrap();
    assert_eq!(
        found.summary(),
        "1 package for other processors, 6 packages that others replace, 1 INF file that is no driver"
    );
    assert_eq!(reasons(&found)[0], (r"\autorun.inf".to_owned(), Why::NoDriver));
    assert!(found.packages[0].read("NETKVM.cat").unwrap().is_some(), "what is beside it belongs to it");
}

#[test]
fn several_packages_in_one_folder() {
    let storage = card("NTamd64.6.3").replace("DEV_1000", "DEV_1001");
    let medium = host(&[
        ("amd64/2k16/netkvm.inf", &card("NTamd64.6.3")),
        ("amd64/2k16/viostor.inf", &storage),
        ("amd64/w10/netkvm.inf", &card("NTamd64.6.3")),
        ("amd64/w10/viostor.inf", &storage),
        ("amd64/w10/only.inf", &card("NTamd64.6.3").replace("DEV_1000", "DEV_1002")),
        ("i386/2k3/netkvm.inf", &card("NTx86.5.2")),
    ]);
    let expected = [r"amd64\2k16\netkvm.inf", r"amd64\2k16\viostor.inf", r"amd64\w10\only.inf"];
    assert_eq!(collected(&medium, &server(14393)), expected);
}

#[test]
fn without_names_the_newest_is_taken() {
    let version = |date: &str| inf("NTamd64.6.1", date, &[r"PCI\VEN_8086&DEV_100E", r"PCI\VEN_8086&DEV_100F"]);
    let medium = host(&[
        ("a/net.inf", &version("01/02/2019,9.0.0.0")),
        ("b/net.inf", &version("01/02/2020,1.0.0.0")),
        ("c/net.inf", &version("01/02/2020,1.0.0.1")),
        ("d/other.inf", &inf("NTamd64.6.1", "01/01/2000,1.0.0.0", &[r"PCI\VEN_8086&DEV_100E"])),
        (
            "e/more.inf",
            &inf("NTamd64.6.1", "01/01/2000,1.0.0.0", &[r"PCI\VEN_8086&DEV_100E", r"PCI\VEN_8086&DEV_9999"]),
        ),
        ("Win7/f/net.inf", &version("01/02/2021,9.0.0.0")),
        ("Win10/x64/g/net.inf", &version("01/01/2001,1.0.0.0").replace("Class=Net", "Class=Extension")),
    ]);
    let found = collect(medium.path(), &server(14393)).unwrap();
    assert_eq!(taken(&found, medium.path()), [r"c\net.inf", r"e\more.inf", r"Win10\x64\g\net.inf"]);
    assert_eq!(found.summary(), "4 packages that others replace");
    let later = host(&[("w11/amd64/net.inf", &version("01/02/2021,9.0.0.0"))]);
    let found = collect(later.path(), &server(14393)).unwrap();
    assert!(found.packages.len() == 1 && found.notes[0].contains("later Windows"), "{:?}", found.notes);
}

#[test]
fn what_does_not_fit_is_told() {
    let medium = host(&[
        ("old/net.inf", &card("NTamd64.10.0...22000")),
        ("x86/net.inf", &card("NTx86.6.1")),
        ("bare/net.inf", &card("NTamd64.6.1").replace(",NTamd64.6.1", "")),
        ("empty/net.inf", &card("NTamd64.6.1").replace("\"A card\"=", ";")),
        ("setup.inf", "[Version]\r\nSignature=\"$Chicago$\"\r\n[DefaultInstall]\r\n"),
        ("class.inf", "[Version]\r\nSignature=\"$Windows NT$\"\r\nClass=Net\r\n[ClassInstall32]\r\n"),
        ("broken.inf", "[Version\r\n"),
        ("date/net.inf", &card("NTamd64.6.1").replace("01/01/2020", "yesterday")),
    ]);
    let error = collect(medium.path(), &server(14393)).err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid);
    let words = error.to_string();
    assert!(words.contains("no drivers for Windows 10.0.14393 (server, amd64): found 2 packages for other systems, 2 packages for other processors, 2 INF files that are no drivers, 2 INF files that cannot be read"), "{words}");
    let of = |path: &str| collect(&medium.path().join(path), &server(14393)).err().unwrap().to_string();
    assert!(of("old/net.inf").contains("found for NTamd64.10.0...22000"), "{}", of("old/net.inf"));
    assert!(of("x86/net.inf").contains("found for NTx86.6.1"));
    assert!(of("bare/net.inf").contains("x86 alone"));
    assert!(of("broken.inf").contains("line 1"));
    assert!(of("setup.inf").contains("no class of devices"));
    assert!(
        collect(&host(&[("readme.txt", "")]).path().join(""), &server(14393))
            .err()
            .unwrap()
            .to_string()
            .contains("no INF file")
    );
    assert_eq!(collect(&medium.path().join("none"), &server(14393)).err().unwrap().kind(), Kind::Io);
}

#[test]
fn one_inf_file_is_one_package() {
    let folder = host(&[
        ("net.inf", &(card("NTamd64.6.1") + "[SourceDisksFiles]\r\na.sys=1,\\sub\r\n")),
        ("other.inf", &card("NTamd64.6.1")),
        ("sub/a.sys", "driver"),
        ("else/b.sys", "of no account"),
        ("not.txt", ""),
    ]);
    let found = collect(&folder.path().join("net.inf"), &server(14393)).unwrap();
    assert_eq!(found.packages.len(), 1);
    assert_eq!(found.packages[0].read(r"SUB\a.sys").unwrap().unwrap(), b"driver");
    assert_eq!(found.packages[0].read(r"else\b.sys").unwrap(), None);
    assert_eq!(found.packages[0].oem_path, r"\");
    let error = collect(&folder.path().join("not.txt"), &server(14393)).err().unwrap();
    assert!(error.to_string().contains("nothing that drivers come in"), "{error}");
}

/// A ZIP archive of such files.
fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn opened(name: &str, bytes: &[u8]) -> Result<DriverSource> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    DriverSource::open(&path)
}

#[test]
fn archives_are_what_they_hold() {
    let text = card("NTamd64.6.1");
    let bytes = zipped(&[
        ("pack/x64/net.inf", text.as_bytes()),
        (r"pack\x64\sub\a.sys", b"driver"),
        ("big/movie.avi", &[0; 5000]),
    ]);
    let source = opened("driver.exe", &bytes).unwrap();
    let found = source.collect(&server(14393)).unwrap();
    assert_eq!(found.packages[0].read("sub/a.sys").unwrap().unwrap(), b"driver");
    assert!(source.tree.find("big").is_none(), "what is not beside an INF file is not unpacked");
    assert!(opened("empty.zip", &zipped(&[])).unwrap().collect(&server(14393)).is_err());
}

#[test]
fn evil_names_stay_inside() {
    let text = card("NTamd64.6.1");
    let names = [
        ("net.inf", text.as_bytes()),
        (r"..\..\evil.dll", b"x"),
        ("/etc/passwd", b"x"),
        (r"C:\Windows\evil.sys", b"x"),
        ("NUL", b"x"),
        ("a.SYS", b"first"),
        ("A.sys", b"second"),
    ];
    let source = opened("evil.zip", &zipped(&names)).unwrap();
    assert_eq!(source.notes.len(), 4, "{:?}", source.notes);
    let paths = source.tree.paths(100, |_, _| true);
    assert_eq!(paths, [r"\etc", r"\etc\passwd", r"\A.sys", r"\net.inf"]);
    assert_eq!(source.tree.read_file("a.sys").unwrap().unwrap(), b"second");
    let both = zipped(&[("net.inf", text.as_bytes()), ("x", b""), ("X/y", b"")]);
    assert!(opened("both.zip", &both).err().unwrap().to_string().contains("a file and a folder of one name"));
    let deep = format!("{}net.inf", "d/".repeat(70));
    let source = opened("deep.zip", &zipped(&[(deep.as_str(), text.as_bytes())])).unwrap();
    assert!(source.notes[0].contains("too deep"), "{:?}", source.notes);
}

#[test]
fn bombs_are_refused() {
    let text = card("NTamd64.6.1");
    let mut bytes = zipped(&[("net.inf", text.as_bytes()), ("bomb", &[0; 100])]);
    // The lengths that the directory claims: at the end, of the second file.
    let directory = bytes.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
    bytes[directory + 24..directory + 28].copy_from_slice(&0xFFFF_0000u32.to_le_bytes());
    let error = opened("bomb.zip", &bytes).err().unwrap();
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(error.to_string().contains("unpacks to"), "{error}");
    bytes[directory + 24..directory + 28].copy_from_slice(&50u32.to_le_bytes());
    assert_eq!(opened("liar.zip", &bytes).err().unwrap().kind(), Kind::Corrupt);
}

#[test]
fn damaged_archives_do_no_harm() {
    let text = card("NTamd64.6.1");
    let bytes = zipped(&[("net.inf", text.as_bytes()), ("a.sys", &[7; 3000])]);
    for cut in (0..bytes.len()).step_by(3) {
        assert!(opened("cut.zip", &bytes[..cut]).is_err(), "{cut}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        if let Ok(source) = opened("flip.zip", &damaged) {
            let _ = source.collect(&server(14393));
        }
    }
}

#[test]
fn sources_are_told_apart_by_what_they_hold() {
    let text = card("NTamd64.6.1");
    let of = |files: &[(&str, &str)]| DriverSource::open(host(files).path()).unwrap().fingerprint().to_vec();
    let first = of(&[("net.inf", &text), ("a.sys", "one"), ("a.cat", "cat")]);
    assert_eq!(first, of(&[("net.inf", &text), ("a.sys", "two"), ("a.cat", "cat")]), "a catalog vouches for the rest");
    assert_ne!(first, of(&[("net.inf", &text), ("a.sys", "longer"), ("a.cat", "cat")]));
    assert_ne!(first, of(&[("net.inf", &text), ("a.sys", "one"), ("a.cat", "dog")]));
    assert_ne!(first, of(&[("net.inf", &text.replace("2020", "2021")), ("a.sys", "one"), ("a.cat", "cat")]));
    let zip = zipped(&[("net.inf", text.as_bytes()), ("a.sys", b"one"), ("a.cat", b"cat")]);
    assert_eq!(first, opened("same.zip", &zip).unwrap().fingerprint(), "however they are packed");
}
