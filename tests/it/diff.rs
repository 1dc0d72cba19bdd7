//! `nanovhd diff` against edits that are known: made by wimlib and hivex, and at random.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use nanovhd::base::FileTime;
use nanovhd::image::Control;
use nanovhd::image::diff::{Change, Comparison, Difference, Options, Side};
use nanovhd::tree::{Content, Link, Node, NodeId, Stream, Times, Tree};
use serde_json::Value;

use crate::support::program::{demo_wim, nanovhd, output, succeed};
use crate::support::random_tree::{Random, descriptor, random_tree};
use crate::support::tools::{Tools, text, windows_file};

/// Runs `diff`; the exit code and the lines that are about differences.
fn diff(args: &[&str]) -> (i32, Vec<String>) {
    let output = output(nanovhd([&["diff"], args].concat()));
    let words = String::from_utf8(output.stdout).unwrap();
    let lines = words.lines().filter(|line| !line.starts_with("equal") && !line.starts_with("different"));
    (output.status.code().unwrap(), lines.map(str::to_owned).collect())
}

fn update(tools: &Tools, wim: &Path, image: &str, commands: &[String]) {
    for command in commands {
        tools.run("wimlib-imagex", &["update", text(wim), image, "--command", command]);
    }
}

#[test]
fn shows_just_what_wimlib_changed() {
    let Some(tools) = Tools::find(&["wimlib-imagex"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let other = folder.path().join("other.wim");
    fs::copy(&wim, &other).unwrap();
    let images = ["--image=2"];
    let (code, lines) = diff(&[&[text(&wim), text(&other)][..], &images].concat());
    assert_eq!((code, lines), (0, vec![]));

    let file = folder.path().join("new.txt");
    fs::write(&file, "new").unwrap();
    let commands = [
        format!(r"add '{}' \ProgramData\new.txt", text(&file)),
        r"delete \ProgramData\nanovhd\empty".to_owned(),
        r"rename \ProgramData\nanovhd\extended.txt \ProgramData\nanovhd\Extended.TXT".to_owned(),
        r"rename \ProgramData\nanovhd\read-only.bin \moved.bin".to_owned(),
    ];
    update(&tools, &other, "2", &commands);
    let (code, lines) = diff(&[&[text(&wim), text(&other)][..], &images].concat());
    let expected = [
        r"+ \moved.bin",
        r"- \ProgramData\nanovhd\empty",
        r"~ \ProgramData\nanovhd\extended.txt: name-case extended.txt -> Extended.TXT",
        r"- \ProgramData\nanovhd\read-only.bin",
        r"+ \ProgramData\new.txt",
    ];
    assert_eq!((code, lines), (1, expected.map(str::to_owned).to_vec()));
    let brief = diff(&[text(&wim), text(&other), "--image=2", "--brief", "--exclude=*.bin", "--only=programdata"]);
    assert_eq!(
        brief.1,
        [r"- \ProgramData\nanovhd\empty", r"~ \ProgramData\nanovhd\extended.txt", r"+ \ProgramData\new.txt"]
    );
    // The two images of a WIM against each other: their editions differ.
    let (code, lines) = diff(&[text(&wim), text(&wim), "--image=1", "--image-b=2"]);
    assert_eq!(code, 1);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[1].trim_start().starts_with(r#"~ Microsoft\Windows NT\CurrentVersion "EditionID": REG_SZ"#),
        "{lines:?}"
    );
}

#[test]
fn shows_just_what_hivex_changed() {
    let Some(tools) = Tools::find(&["wimlib-imagex", "hivexsh"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let other = folder.path().join("other.wim");
    fs::copy(&wim, &other).unwrap();
    let destination = format!("--dest-dir={}", text(folder.path()));
    tools.run("wimlib-imagex", &["extract", text(&wim), "2", r"\Windows\System32\config\SYSTEM", &destination]);
    let hive = folder.path().join("SYSTEM");
    let script = folder.path().join("script");
    // hivex replaces all values of a key at once.
    let commands = "cd \\ControlSet001\\Services\n\
                    add New\n\
                    cd New\n\
                    setval 2\n@\nstring:default\nImagePath\nexpandstring:new.sys\n\
                    cd \\ControlSet001\\Services\\disk\n\
                    setval 4\nImagePath\nexpandstring:System32\\drivers\\disk.sys\nStart\ndword:4\nType\ndword:1\nExtra\nhex:3:01,02,03\n\
                    cd \\ControlSet001\\Services\\intelide\n\
                    del\n\
                    commit\n";
    fs::write(&script, commands).unwrap();
    tools.run("hivexsh", &["-w", "-f", text(&script), text(&hive)]);
    update(&tools, &other, "2", &[format!(r"add '{}' \Windows\System32\config\SYSTEM", text(&hive))]);
    let (code, lines) = diff(&[text(&wim), text(&other), "--image=2", "--ignore=times,security,attributes,registry"]);
    assert_eq!((code, lines.len()), (1, 1));
    let (code, lines) = diff(&[text(&wim), text(&other), "--image=2", "--ignore=times,security,attributes"]);
    assert_eq!(code, 1);
    let within: Vec<&str> = lines[1..].iter().map(|line| line.trim_start()).collect();
    let expected = [
        r#"- ControlSet001\Services\disk "ErrorControl": REG_DWORD 0x3"#,
        r#"+ ControlSet001\Services\disk "Extra": REG_BINARY 010203"#,
        r#"~ ControlSet001\Services\disk "Start": REG_DWORD 0x0 -> REG_DWORD 0x4"#,
        r#"- ControlSet001\Services\intelide"#,
        r#"- ControlSet001\Services\intelide "ErrorControl": REG_DWORD 0x3"#,
        r#"- ControlSet001\Services\intelide "ImagePath": REG_EXPAND_SZ System32\drivers\intelide.sys"#,
        r#"- ControlSet001\Services\intelide "Start": REG_DWORD 0x0"#,
        r#"- ControlSet001\Services\intelide "Type": REG_DWORD 0x1"#,
        r#"+ ControlSet001\Services\New"#,
        r#"+ ControlSet001\Services\New (default): REG_SZ default"#,
        r#"+ ControlSet001\Services\New "ImagePath": REG_EXPAND_SZ new.sys"#,
    ];
    assert_eq!(within, expected);
}

/// The demo's second image on a disk: the WIM, and the disk as bare sectors.
fn demo_disk(folder: &Path, options: &[&str]) -> std::path::PathBuf {
    let disk = folder.join("disk.img");
    succeed([&["demo", "--force", "--size=64M", "--output", text(&disk)], options].concat());
    disk
}

#[test]
fn a_disk_differs_from_its_source_in_the_boot_files_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (wim, disk) = (demo_wim(folder.path()), demo_disk(folder.path(), &[]));
    assert_eq!(diff(&[text(&disk), text(&disk)]), (0, vec![]));
    let (code, lines) = diff(&[text(&wim), text(&disk), "--image=2"]);
    assert_eq!(code, 1);
    assert!(lines.iter().all(|line| line.starts_with("+ \\")), "{lines:?}");
    assert!(lines.iter().any(|line| line == r"+ \Boot\BCD"), "{lines:?}");
    let boot = ["--exclude=\\Boot", "--exclude=bootmgr", "--exclude=BOOTNXT"];
    assert_eq!(diff(&[&[text(&wim), text(&disk), "--image=2"][..], &boot].concat()), (0, vec![]));
}

#[test]
fn disks_differ_in_what_was_chosen_differently() {
    let folder = tempfile::tempdir().unwrap();
    let a = folder.path().join("a.img");
    fs::rename(demo_disk(folder.path(), &["--seed=1"]), &a).unwrap();
    let b = demo_disk(folder.path(), &["--seed=1", "--label=LAB"]);
    let (code, lines) = diff(&[text(&a), text(&b)]);
    assert_eq!((code, lines), (1, vec!["~ volume of partition 1: label  -> LAB".to_owned()]));
    assert_eq!(diff(&[text(&a), text(&b), "--ignore=disk"]), (0, vec![]));
}

/// wimlib reads our volume and applies our WIM; extended attributes are all that it does not carry.
#[test]
fn agrees_with_wimlib_about_volumes() {
    let Some(tools) = Tools::find(&["wimlib-imagex", "mkntfs"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (wim, disk) = (demo_wim(folder.path()), demo_disk(folder.path(), &[]));
    let volume = folder.path().join("volume");
    fs::write(&volume, &fs::read(&disk).unwrap()[1 << 20..]).unwrap();
    let captured = folder.path().join("captured.wim");
    tools.run("wimlib-imagex", &["capture", text(&volume), text(&captured)]);
    assert_eq!(diff(&[text(&captured), text(&disk), "--ignore=extended-attributes"]), (0, vec![]));
    assert_eq!(diff(&[text(&captured), text(&disk)]).1.len(), 1);
    let applied = folder.path().join("applied");
    fs::File::create(&applied).unwrap().set_len(96 << 20).unwrap();
    tools.run("mkntfs", &["-F", "-q", "-Q", "-s", "512", "-p", "2048", "-H", "255", "-S", "63", text(&applied)]);
    tools.run("wimlib-imagex", &["apply", text(&wim), "2", text(&applied)]);
    let both = [text(&wim), text(&applied), "--image=2"];
    assert_eq!(diff(&[&both[..], &["--ignore=extended-attributes"]].concat()), (0, vec![]));
}

/// Volumes of Windows against what wimlib takes from them: it leaves these folders out.
#[test]
fn agrees_with_wimlib_about_volumes_of_windows() {
    let Some(tools) = Tools::find(&["wimlib-imagex"]) else { return };
    for name in ["windows10-formatted-10MB.img.xz", "windows10-lastaccess.ntfs.xz"] {
        let Some(bytes) = windows_file(Path::new("ntfs").join(name)) else { return };
        let folder = tempfile::tempdir().unwrap();
        let (volume, captured) = (folder.path().join("volume"), folder.path().join("captured.wim"));
        fs::write(&volume, bytes).unwrap();
        tools.run("wimlib-imagex", &["capture", text(&volume), text(&captured)]);
        let left_out = ["--exclude=System Volume Information", "--exclude=$RECYCLE.BIN"];
        assert_eq!(diff(&[&[text(&captured), text(&volume)][..], &left_out].concat()), (0, vec![]), "{name}");
    }
}

#[test]
fn scripts_get_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let run = |args: &[&str]| -> (i32, Value) {
        let output = output(nanovhd([&["diff", "--json", text(&wim), text(&wim)], args].concat()));
        (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
    };
    let (code, equal) = run(&["--image=2"]);
    assert_eq!(code, 0);
    assert_eq!(equal["equal"], true);
    assert_eq!(equal["differences"], serde_json::json!([]));
    let (code, different) = run(&["--image=1", "--image-b=2"]);
    assert_eq!(code, 1);
    assert_eq!(different["equal"], false);
    assert_eq!(different["summary"]["registry"], 1);
    let value = &different["differences"][1];
    assert_eq!((value["in"].as_str(), value["value"].as_str()), (Some("registry"), Some("EditionID")));
    assert_eq!(value["details"][0]["a"]["type"], "REG_SZ");
    let (code, failure) = run(&["--image=7"]);
    assert_eq!((code, failure["error"]["exit_code"].as_i64()), (31, Some(31)));
    let (code, failure) = run(&["--image=2", r"--only=\not\there"]);
    assert_eq!((code, failure["error"]["kind"].as_str()), (30, Some("Invalid")));
    assert_eq!(output(nanovhd(["diff", text(&wim), text(&wim), "--ignore=nothing"])).status.code(), Some(2));
}

/// What differs, by path: the sign and the kinds of difference.
fn compare(a: Tree, b: Tree) -> BTreeMap<String, String> {
    let (a, b) = (Side::of_volume("a", a, None), Side::of_volume("b", b, None));
    let (options, control) = (Options::default(), Control::default());
    let comparison = Comparison::new(&a, &b, &options, NonZeroUsize::new(2).unwrap(), &control).unwrap();
    let mut told = BTreeMap::new();
    let word = |difference: &Difference| match difference.change {
        Change::Changed => difference.details.iter().map(|detail| detail.aspect.name()).collect::<Vec<_>>().join(" "),
        change => format!("{change:?}"),
    };
    let summary = comparison
        .tell(&control, &mut |difference| {
            let again = told.insert(difference.path.clone(), word(difference));
            assert_eq!(again, None, "{difference:?}");
            Ok(())
        })
        .unwrap();
    assert_eq!(summary.is_equal(), told.is_empty());
    told
}

/// A way to change a file, which shows as this.
type Edit = (&'static str, fn(&mut Tree, NodeId, &mut Random));

const EDITS: [Edit; 9] = [
    ("modified", |tree, node, _| tree.node_mut(node).times.modified.0 ^= 1),
    ("created accessed", |tree, node, _| {
        tree.node_mut(node).times.created.0 ^= 1;
        tree.node_mut(node).times.accessed.0 ^= 1;
    }),
    ("changed", |tree, node, _| tree.node_mut(node).times.changed.0 ^= 1),
    ("attributes", |tree, node, _| tree.node_mut(node).attributes ^= 2),
    ("security", |tree, node, random| {
        let new = tree.add_descriptor(&descriptor(100 + random.below(100) as u32));
        tree.node_mut(node).descriptor = Some(new);
    }),
    ("case-sensitivity", |tree, node, _| {
        let node = tree.node_mut(node);
        node.case_sensitive = !node.case_sensitive;
    }),
    ("streams", |tree, node, _| {
        let stream = Stream { name: "one more stream".into(), content: Content::empty(), sparse: false };
        tree.node_mut(node).streams.push(stream);
    }),
    ("size contents", |tree, node, random| {
        let len = 100_000 + random.below(1000) as usize;
        let main = Stream { name: Default::default(), content: random.bytes(len).into(), sparse: false };
        tree.node_mut(node).streams.retain(|stream| !stream.name.is_empty());
        tree.node_mut(node).streams.push(main);
    }),
    ("contents", |tree, node, _| {
        let content = tree.node(node).main().unwrap().clone();
        let mut bytes = tree.read(&content).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let streams = &mut tree.node_mut(node).streams;
        streams.iter_mut().find(|stream| stream.name.is_empty()).unwrap().content = bytes.into();
    }),
];

#[test]
fn random_edits_of_random_trees_are_told_and_nothing_else() {
    for seed in 0..6 {
        let a = random_tree(seed, 4096);
        assert_eq!(compare(a.clone(), random_tree(seed, 4096)), BTreeMap::new());
        let mut random = Random::new(seed + 1000);
        let mut b = a.clone();
        let mut expected = BTreeMap::new();
        let mut places: Vec<(String, NodeId, Link)> = Vec::new();
        let mut directories = vec![(String::new(), a.root())];
        while let Some((path, directory)) = directories.pop() {
            for link in a.node(directory).children() {
                let path = format!("{path}\\{}", link.name);
                if a.node(link.node).is_directory() {
                    directories.push((path.clone(), link.node));
                }
                places.push((path, directory, link.clone()));
            }
        }
        for (path, directory, link) in places {
            let node = a.node(link.node);
            if node.links() != 1 || !random.one_in(4) {
                continue;
            }
            if random.one_in(4) && !node.is_directory() {
                b.remove_link(directory, link.name.units()).unwrap();
                expected.insert(path, "Removed".to_owned());
                continue;
            }
            let (what, edit) = EDITS[random.below(EDITS.len() as u64) as usize];
            let possible = match what {
                "size contents" => !node.is_directory() && node.main().is_none_or(|main| main.len() < 100_000),
                "contents" => node.main().is_some_and(|main| !main.is_empty()),
                "case-sensitivity" => node.is_directory() && node.children().is_empty(),
                _ => true,
            };
            let sparse = node.streams.iter().any(|stream| stream.name.is_empty() && stream.sparse);
            if possible && !sparse {
                edit(&mut b, link.node, &mut random);
                expected.insert(path, what.to_owned());
            }
        }
        for number in 0..5 {
            let name = format!("brand new {number}");
            let node = b.add_node(Node::file(0, Times::all(FileTime(1)), vec![1].into())).unwrap();
            b.add_link(b.root(), Link { name: name.as_str().into(), short: None, node }).unwrap();
            expected.insert(format!("\\{name}"), "Added".to_owned());
        }
        assert!(expected.len() > 20, "{}", expected.len());
        assert_eq!(compare(a.clone(), b.clone()), expected, "seed {seed}");
        let back = compare(b, a);
        assert!(back.keys().eq(expected.keys()), "seed {seed}");
    }
}
