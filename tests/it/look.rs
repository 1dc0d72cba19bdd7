//! Looking into images: what our commands show, against what wimlib and the NTFS tools show.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::program::{demo_wim, fail, nanovhd, output, succeed};
use crate::support::tools::{Tools, text};

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeed(args.iter().chain(&["--json"]))).expect("JSON")
}

/// What wimlib says of each file: attributes, modification time, short name, streams; by path.
fn by_wimlib(tools: &Tools, wim: &Path) -> BTreeMap<String, BTreeMap<String, String>> {
    let listing = tools.run("wimlib-imagex", &["dir", text(wim), "2", "--detailed"]);
    let mut files = BTreeMap::new();
    for block in listing.split("----------------------------------------------------------------------------\n").skip(1)
    {
        let mut fields = BTreeMap::new();
        let mut path = String::new();
        for line in block.lines() {
            let Some((name, value)) = line.split_once('=') else { continue };
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name == "Full Path" {
                path = value.replace('/', "\\");
            }
            fields.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        files.insert(path, fields);
    }
    files
}

#[test]
fn ls_shows_what_wimlib_shows() {
    let Some(tools) = Tools::find(&["wimlib-imagex"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let expected = by_wimlib(&tools, &wim);
    let listed = json(&["ls", text(&wim), "--image=2", "--recursive", "--long", "--security"]);
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len() + 1, expected.len(), "wimlib lists the root too");
    for file in listed {
        let path = file["path"].as_str().unwrap();
        let theirs = expected.get(path).unwrap_or_else(|| panic!("{path} is not in wimlib's listing"));
        let attributes = u64::from_str_radix(theirs["Attributes"].trim_start_matches("0x"), 16).unwrap();
        let normal = 0x80;
        assert_eq!(file["attributes"].as_u64().unwrap() & !normal, attributes & !normal, "{path}");
        assert_eq!(file["links"].as_u64().unwrap(), theirs["Link Count"].parse::<u64>().unwrap(), "{path}");
        assert_eq!(
            file["short_name"].as_str(),
            theirs.get("Short Name").map(String::as_str).filter(|name| !name.is_empty()),
            "{path}"
        );
        let tag = theirs.get("Reparse Tag").map(|tag| u64::from_str_radix(tag.trim_start_matches("0x"), 16).unwrap());
        assert_eq!(file["reparse_tag"].as_u64(), tag, "{path}");
        assert!(file["security"]["sddl"].as_str().is_some_and(|sddl| sddl.starts_with("O:")), "{path}");
    }
    let short: Vec<String> = succeed(["ls", text(&wim), "--image=2", "-R"]).lines().map(str::to_owned).collect();
    assert_eq!(short, listed.iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>());
}

/// A disk with the demo's Windows, made by the program.
fn demo_disk(folder: &Path, options: &[&str]) -> std::path::PathBuf {
    let disk = folder.join("disk.vhd");
    succeed([&["demo", "--size=64M", "--force", "--output", text(&disk)], options].concat());
    disk
}

#[test]
fn a_disk_shows_what_its_source_shows() {
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let disk = demo_disk(folder.path(), &[]);
    let list = |args: &[&str]| -> BTreeMap<String, Value> {
        let listed = json(&[&["ls", "--recursive", "--long", "--security"], args].concat());
        let keyed = listed.as_array().unwrap().iter().map(|file| {
            let mut file = file.clone();
            file.as_object_mut().unwrap().remove("changed"); // a WIM has no such time
            (file["path"].as_str().unwrap().to_owned(), file)
        });
        keyed.collect()
    };
    let (source, built) = (list(&[text(&wim), "--image=2"]), list(&[text(&disk)]));
    for (path, file) in &source {
        assert_eq!(built.get(path), Some(file), "{path}");
    }
    let added = built.keys().filter(|path| !source.contains_key(*path));
    assert!(added.clone().count() > 5);
    for path in added {
        assert!([r"\Boot", r"\bootmgr", r"\BOOTNXT"].iter().any(|start| path.starts_with(start)), "{path}");
    }
    let file = r"ProgramData\nanovhd\read-only.bin";
    let (a, b) = (output(nanovhd(["cat", text(&wim), "--image=2", file])), output(nanovhd(["cat", text(&disk), file])));
    assert!(a.status.success() && b.status.success() && a.stdout == b.stdout);
    let (from_wim, from_disk) = (folder.path().join("a"), folder.path().join("b"));
    succeed(["extract", text(&wim), "--image=2", "Windows", "--output", text(&from_wim)]);
    succeed(["extract", text(&disk), "Windows", "--output", text(&from_disk)]);
    if let Some(tools) = Tools::find(&["diff"]) {
        tools.run("diff", &["--recursive", text(&from_wim), text(&from_disk)]);
    }
}

#[test]
fn info_tells_what_a_disk_is() {
    let folder = tempfile::tempdir().unwrap();
    let disk = demo_disk(folder.path(), &["--label=Nano"]);
    let report = json(&["info", text(&disk)]);
    assert_eq!((&report["scheme"], &report["bytes"]), (&"MBR".into(), &(64u64 << 20).into()));
    let part = &report["partitions"][0];
    assert_eq!((&part["active"], &part["volume"]["file_system"]), (&true.into(), &"NTFS 3.1".into()));
    assert_eq!(part["volume"]["ntfs"]["label"], "Nano");
    assert_eq!(
        (&part["windows"]["computer_name"], &part["windows"]["machine"]),
        (&"NANOVHD-DEMO".into(), &"amd64".into())
    );
    assert_eq!(part["boot"].as_array().unwrap().len(), 1, "{part}");
    assert_eq!(report["warnings"], Value::Array(Vec::new()));
    let words = succeed(["info", text(&disk)]);
    for word in ["VHD, dynamic", "label \"Nano\"", "ServerDataCenterNano", "NANOVHD-DEMO", "winload.exe, default"] {
        assert!(words.contains(word), "{word} is not in\n{words}");
    }
}

#[test]
fn info_of_a_new_disk_is_that_it_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, disk) = (folder.path().join("new.img"), folder.path().join("new.vhd"));
    std::fs::File::create(&raw).unwrap().set_len(8 << 20).unwrap();
    succeed(["convert", text(&raw), "--output", text(&disk)]);
    let report = json(&["info", text(&disk)]);
    assert_eq!((&report["scheme"], &report["bytes"]), (&"empty".into(), &(8 << 20).into()));
    assert!(succeed(["info", text(&raw)]).contains("8 MiB, empty"));
}

#[test]
fn the_store_of_a_disk_reads_as_in_bcdedit() {
    let folder = tempfile::tempdir().unwrap();
    let disk = demo_disk(folder.path(), &[]);
    let listing = succeed(["bcd", text(&disk)]);
    for line in [
        "\\Boot\\BCD on partition 1\n",
        "\nWindows Boot Manager\n--------------------\nidentifier              {bootmgr}\n",
        "\ndevice                  locate=custom:12000002\n",
        "\nosdevice                locate=custom:22000002\n",
        "\nsystemroot              \\Windows\n",
        "\nnx                      OptOut\n",
    ] {
        assert!(listing.contains(line), "{line:?} is not in\n{listing}");
    }
    let by_registry = succeed(["reg", text(&disk), r"HKLM\BCD00000000\Description", "KeyName"]);
    assert!(by_registry.contains("BCD0000000"), "{by_registry}");
}

#[test]
fn a_disk_is_a_source_to_build_from() {
    let folder = tempfile::tempdir().unwrap();
    let disk = demo_disk(folder.path(), &[]);
    let again = folder.path().join("again.vhd");
    succeed(["build", "--wim", text(&disk), "--size=64M", "--output", text(&again)]);
    assert_eq!(succeed(["ls", text(&disk), "-R"]), succeed(["ls", text(&again), "-R"]));
}

/// An EFI system partition, made by other people's tools.
#[test]
fn the_store_of_an_efi_system_partition_is_found() {
    let Some(tools) = Tools::find(&["sgdisk", "mkfs.vfat", "mmd", "mcopy"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let store = folder.path().join("BCD");
    fs::write(
        &store,
        output(nanovhd(["cat", text(&wim), "--image=2", r"Windows\System32\config\BCD-Template"])).stdout,
    )
    .unwrap();
    let disk = folder.path().join("gpt.img");
    fs::File::create(&disk).unwrap().set_len(64 << 20).unwrap();
    tools.run("sgdisk", &["-n", "1:2048:4095", "-t", "1:0c01", "-n", "2:4096:+40M", "-t", "2:ef00", text(&disk)]);
    tools.run("mkfs.vfat", &["-F", "32", "--offset", "4096", text(&disk), "40000"]);
    let volume = format!("{}@@{}", text(&disk), 4096 * 512);
    for folder in ["::EFI", "::EFI/Microsoft", "::EFI/Microsoft/Boot"] {
        tools.run("mmd", &["-i", &volume, folder]);
    }
    tools.run("mcopy", &["-i", &volume, text(&store), "::EFI/Microsoft/Boot/BCD"]);
    let report = json(&["bcd", text(&disk)]);
    assert_eq!((&report["partition"], &report["store"]), (&2.into(), &r"\EFI\Microsoft\Boot\BCD".into()));
    assert_eq!(succeed(["ls", text(&disk), "--partition=2", r"EFI\Microsoft\Boot"]), "BCD\n");
    assert_eq!(json(&["info", text(&disk)])["partitions"][1]["type"], "EFI system");
}

#[test]
fn extract_agrees_with_wimlib() {
    let Some(tools) = Tools::find(&["wimlib-imagex", "diff"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let solid = folder.path().join("solid.esd");
    tools.run("wimlib-imagex", &["export", text(&wim), "2", text(&solid), "--solid", "--quiet"]);
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    succeed(["extract", text(&solid), "--output", text(&ours)]);
    tools.run("wimlib-imagex", &["apply", text(&solid), "1", text(&theirs), "--quiet"]);
    // wimlib makes junctions into absolute links, ours lead to the same place relative to the folder.
    let link = "Documents and Settings";
    assert_eq!(fs::canonicalize(ours.join(link)).unwrap(), fs::canonicalize(ours.join("Users")).unwrap());
    for copy in [&ours, &theirs] {
        fs::remove_file(copy.join(link)).unwrap();
    }
    tools.run("diff", &["--recursive", text(&ours), text(&theirs)]);
    compare_metadata(&ours, &theirs);
}

fn compare_metadata(ours: &Path, theirs: &Path) {
    for entry in fs::read_dir(ours).unwrap().map(Result::unwrap) {
        let (a, b) = (entry.metadata().unwrap(), fs::symlink_metadata(theirs.join(entry.file_name())).unwrap());
        assert_eq!(a.modified().unwrap(), b.modified().unwrap(), "{}", entry.path().display());
        #[cfg(unix)]
        if a.is_file() {
            use std::os::unix::fs::MetadataExt;
            assert_eq!(a.nlink(), b.nlink(), "{}", entry.path().display());
        }
        if a.is_dir() {
            compare_metadata(&entry.path(), &theirs.join(entry.file_name()));
        }
    }
}

#[test]
fn cat_gives_the_bytes_that_wimlib_gives() {
    let Some(tools) = Tools::find(&["wimlib-imagex"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    for path in
        [r"\ProgramData\nanovhd\read-only.bin", r"\Windows\System32\config\SYSTEM", r"\ProgramData\nanovhd\empty"]
    {
        let theirs = tools.run_for_bytes("wimlib-imagex", &["extract", text(&wim), "2", path, "--to-stdout"]);
        let ours = output(nanovhd(["cat", text(&wim), "--image=ServerDataCenterNano", path]));
        assert!(ours.status.success() && ours.stdout == theirs, "{path}");
    }
    let stream = succeed(["cat", text(&wim), "--image=2", "programdata/NANOVHD/streams.txt:Zone.Identifier"]);
    assert_eq!(stream, "[ZoneTransfer]\r\nZoneId=3\r\n");
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    for args in [
        vec!["cat", text(&wim), "--image=2", r"ProgramData\nanovhd\read-only.bin"],
        vec!["ls", text(&wim), "--image=2", "-R", "-l"],
    ] {
        let mut command = nanovhd(&args);
        let mut child =
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn damage_is_told_and_leaves_nothing() {
    let Some(tools) = Tools::find(&["wimlib-imagex"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let plain = folder.path().join("plain.wim");
    tools.run("wimlib-imagex", &["export", text(&wim), "2", text(&plain), "--compress=none", "--quiet"]);
    let mut bytes = fs::read(&plain).unwrap();
    let at = bytes.windows(18).position(|found| found == b"Hello from nanovhd").unwrap();
    bytes[at] = b'h';
    fs::write(&plain, bytes).unwrap();
    let out = folder.path().join("out");
    let (code, complaint) = fail(["extract", text(&plain), "--output", text(&out)]);
    assert_eq!(code, 20, "{complaint}");
    assert!(complaint.contains("Grüße.txt"), "{complaint}");
    assert!(!out.exists());
    let (code, _) = fail(["cat", text(&plain), r"Users\Administrator\Desktop\Gr*.txt"]);
    assert_eq!(code, 20);
}

#[test]
fn requests_that_make_no_sense_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let text_file = folder.path().join("text.txt");
    fs::write(&text_file, "no image ".repeat(100)).unwrap();
    for (args, code, word) in [
        (vec!["ls", text(&wim)], 31, "--image"),
        (vec!["ls", text(&wim), "--image=9"], 31, "no image"),
        (vec!["ls", text(&wim), "--partition=1"], 30, "no partitions"),
        (vec!["ls", text(&wim), "--image=2", "Windows/Sytem32"], 30, "did you mean System32?"),
        (vec!["cat", text(&wim), "--image=2", "Windows"], 30, "a directory"),
        (vec!["ls", text(&text_file)], 20, "neither a WIM nor a disk"),
        (vec!["info", text(&text_file)], 20, "MBR"),
        (vec!["reg", text(&wim), "--image=2", r"HKLM\SYSTEM\Selct"], 30, "did you mean Select?"),
        (vec!["bcd", text(&wim), "--image=2", "--store=nowhere"], 30, "no boot store"),
        (vec!["ls", "no-such-file"], 10, "no-such-file"),
    ] {
        let (found, complaint) = fail(&args);
        assert_eq!(found, code, "{args:?}: {complaint}");
        assert!(complaint.contains(word), "{args:?}: {complaint}");
    }
}

#[test]
fn inspect_is_still_a_name_of_info() {
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    assert_eq!(succeed(["inspect", text(&wim), "--tree"]), succeed(["info", text(&wim), "--tree"]));
}
