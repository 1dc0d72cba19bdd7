//! Bad input and bad luck: each cause is named, has its own exit code, and leaves nothing behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::program::{demo_wim, fail, nanovhd, output, succeed};
use crate::support::tools::{Tools, text};

/// A folder with the demo's WIM in it, and a second one for outputs.
struct Scene {
    inputs: tempfile::TempDir,
    outputs: tempfile::TempDir,
    wim: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let inputs = tempfile::tempdir().unwrap();
        let wim = demo_wim(inputs.path());
        Self { inputs, outputs: tempfile::tempdir().unwrap(), wim }
    }

    fn output(&self) -> PathBuf {
        self.outputs.path().join("out.vhd")
    }

    /// Builds from a WIM, which has to fail with an exit code and these words, and to leave nothing behind.
    fn refuse(&self, wim: &Path, options: &[&str], code: i32, words: &[&str]) {
        let output = self.output();
        let (found, complaint) = fail([&["build", "--wim", text(wim), "--output", text(&output)], options].concat());
        assert_eq!(found, code, "{complaint}");
        for word in words {
            assert!(complaint.contains(word), "no {word:?} in: {complaint}");
        }
        assert!(complaint.starts_with("error: "), "{complaint}");
        let left: Vec<_> = fs::read_dir(self.outputs.path()).unwrap().collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    /// A copy of the WIM with its bytes changed.
    fn changed(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
        let mut bytes = fs::read(&self.wim).unwrap();
        change(&mut bytes);
        let path = self.inputs.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

#[test]
fn damaged_sources_are_refused() {
    let scene = Scene::new();
    let len = fs::metadata(&scene.wim).unwrap().len() as usize;
    for at in [0, 5, 100, 207, 208, len / 2, len - 1] {
        let cut = scene.changed("cut.wim", |bytes| bytes.truncate(at));
        let (code, complaint) = fail(["build", "--wim", text(&cut), "--output", text(&scene.output())]);
        assert!(code == 20 || code == 21, "cut at {at}: {complaint}");
        assert!(complaint.contains("cut.wim"), "{complaint}");
    }
    // A byte in the middle of the first blob, which both images use.
    let damaged = scene.changed("damaged.wim", |bytes| bytes[300] ^= 0x10);
    scene.refuse(&damaged, &[], 20, &["damaged.wim", r"\Windows\"]);
    let table = scene.changed("table.wim", |bytes| {
        let at = bytes.len() - 5; // the integrity table is last
        bytes[at] ^= 1;
    });
    scene.refuse(&table, &["--check-integrity"], 20, &["integrity"]);
    let text_file = scene.changed("text.wim", |bytes| *bytes = b"This is no WIM at all. ".repeat(20));
    scene.refuse(&text_file, &[], 20, &["WIM"]);
    scene.refuse(&scene.inputs.path().join("none.wim"), &[], 10, &["none.wim"]);
    scene.refuse(scene.inputs.path(), &[], 32, &["no installation of Windows"]);
    scene.refuse(Path::new("-"), &[], 30, &["standard input"]);
}

#[test]
fn unknown_images_are_listed() {
    let scene = Scene::new();
    for selector in ["3", "0", "Nano", "nobody"] {
        scene.refuse(&scene.wim, &["--image", selector], 31, &["SERVERSTANDARDNANO", "SERVERDATACENTERNANO"]);
    }
    succeed([
        "build",
        "--wim",
        text(&scene.wim),
        "--image",
        "datacenter",
        "--output",
        text(&scene.output()),
        "--dry-run",
    ]);
    assert!(!scene.output().exists(), "a dry run made a file");
}

#[test]
fn impossible_outputs_are_refused() {
    let scene = Scene::new();
    let wim = text(&scene.wim);
    let folder = scene.outputs.path();
    let build =
        |output: &Path, more: &[&str]| fail([&["build", "--wim", wim, "--output", text(output)], more].concat());
    let (code, complaint) = build(folder, &["--format=vhd"]);
    assert_eq!(code, 12, "{complaint}");
    let (code, complaint) = build(&folder.join("no").join("such").join("folder.vhd"), &[]);
    assert_eq!(code, 12, "{complaint}");
    let taken = folder.join("taken.vhd");
    fs::write(&taken, "precious").unwrap();
    let (code, complaint) = build(&taken, &[]);
    assert!(code == 12 && complaint.contains("--force"), "{complaint}");
    assert_eq!(fs::read(&taken).unwrap(), b"precious");
    let (code, _) = build(&taken, &["--force", "--size=3M"]);
    assert_eq!(code, 35);
    assert_eq!(fs::read(&taken).unwrap(), b"precious", "a failed build harmed the old file");
    succeed(["build", "--wim", wim, "--output", text(&taken), "--force"]);
    assert!(fs::metadata(&taken).unwrap().len() > 1 << 20);
    let (code, complaint) = build(&folder.join("disk.floppy"), &[]);
    assert!(code == 30 && complaint.contains("'floppy'"), "{complaint}");
}

#[test]
fn odd_sizes_are_refused() {
    let scene = Scene::new();
    scene.refuse(&scene.wim, &["--size=8M"], 35, &["too small", "bytes needed", "bytes available", "--size"]);
    scene.refuse(&scene.wim, &["--size=1M"], 35, &["bytes needed"]);
    scene.refuse(&scene.wim, &["--size=100000001"], 30, &["whole MiB"]);
    scene.refuse(&scene.wim, &["--size=2041G"], 30, &["2040 GiB"]);
    for wrong in ["--size=much", "--cluster-size=3K", "--timestamp=noon", "--format=iso"] {
        let (code, complaint) = fail(["build", "--wim", text(&scene.wim), "--output", text(&scene.output()), wrong]);
        assert_eq!(code, 2, "{complaint}");
    }
}

#[test]
fn images_that_cannot_boot_are_refused() {
    let Some(tools) = Tools::find(&["wimlib-imagex"]) else { return };
    let scene = Scene::new();
    let without = |name: &str, command: &str| {
        let wim = scene.changed(name, |_| {});
        tools.run("wimlib-imagex", &["update", text(&wim), "1", "--command", command]);
        wim
    };
    scene.refuse(
        &without("a.wim", "delete /Windows/Boot/PCAT/bootmgr"),
        &[],
        33,
        &["BOOTMGR", r"\Windows\Boot\PCAT\bootmgr"],
    );
    scene.refuse(
        &without("b.wim", "delete /Windows/System32/boot/winload.exe"),
        &[],
        33,
        &["WINLOAD", r"\boot\winload.exe"],
    );
    scene.refuse(&without("c.wim", "delete /Windows/System32/config/SYSTEM"), &[], 32, &["no installation of Windows"]);
    let mut arm = vec![0; 0x100];
    arm[..2].copy_from_slice(b"MZ");
    arm[0x3C] = 0x80;
    arm[0x80..0x86].copy_from_slice(b"PE\0\0\x64\xAA");
    let loader = scene.inputs.path().join("winload.exe");
    fs::write(&loader, arm).unwrap();
    let command = format!("add '{}' /Windows/System32/boot/winload.exe", text(&loader));
    scene.refuse(&without("d.wim", &command), &[], 34, &["arm64", "x86, amd64"]);
    let plain = scene.inputs.path().join("plain");
    fs::create_dir(&plain).unwrap();
    fs::write(plain.join("file.txt"), "text").unwrap();
    let wim = scene.inputs.path().join("plain.wim");
    tools.run("wimlib-imagex", &["capture", text(&plain), text(&wim), "--quiet"]);
    scene.refuse(&wim, &[], 32, &["no installation of Windows"]);
    let delta = scene.inputs.path().join("delta.wim");
    tools.run("wimlib-imagex", &["capture", text(&plain), text(&delta), "--quiet", "--delta-from", text(&wim)]);
    scene.refuse(&delta, &[], 22, &["delta"]);
    let pipable = scene.inputs.path().join("pipable.wim");
    tools.run("wimlib-imagex", &["capture", text(&plain), text(&pipable), "--quiet", "--pipable"]);
    scene.refuse(&pipable, &[], 22, &["ipable", "wimlib-imagex"]);
}

#[test]
fn errors_are_json_for_scripts() {
    let scene = Scene::new();
    let result =
        output(nanovhd(["build", "--json", "--wim", text(&scene.wim), "--image=9", "--output", text(&scene.output())]));
    let value: serde_json::Value = serde_json::from_slice(&result.stdout).unwrap();
    assert_eq!(value["error"]["exit_code"], 31);
    assert_eq!(value["error"]["kind"], "NoSuchImage");
    let report =
        succeed(["build", "--json", "--wim", text(&scene.wim), "--output", text(&scene.output()), "--dry-run"]);
    let value: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(value["built"], false);
    assert_eq!(value["disk"]["partitions"][0]["active"], true);
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_named_and_left_clean() {
    let Some(tools) = Tools::find(&["mount", "umount"]) else { return };
    let scene = Scene::new();
    let small = scene.outputs.path().join("small");
    fs::create_dir(&small).unwrap();
    let mounted =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "none"]).arg(&small).output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        crate::support::tools::unavailable("this user may not mount a small file system");
        return;
    }
    let (code, complaint) = fail(["build", "--wim", text(&scene.wim), "--output", text(&small.join("out.vhd"))]);
    let left = fs::read_dir(&small).unwrap().count();
    tools.run("umount", &[text(&small)]);
    assert_eq!(code, 11, "{complaint}");
    assert!(complaint.contains("free some space"), "{complaint}");
    assert_eq!(left, 0, "left behind");
}

/// A WIM that takes a while: incompressible data added to the demo's.
#[cfg(unix)]
fn slow_wim(tools: &Tools, scene: &Scene) -> PathBuf {
    let bulk = scene.inputs.path().join("bulk.bin");
    let mut state = 1u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    });
    let bytes: Vec<u8> = noise.take(100 << 18).flat_map(u32::to_le_bytes).collect();
    fs::write(&bulk, bytes).unwrap();
    let wim = scene.changed("slow.wim", |_| {});
    tools.run("wimlib-imagex", &["update", text(&wim), "1", "--command", &format!("add '{}' /bulk.bin", text(&bulk))]);
    wim
}

#[cfg(unix)]
#[test]
fn signals_leave_no_output() {
    let Some(tools) = Tools::find(&["wimlib-imagex", "kill"]) else { return };
    let scene = Scene::new();
    let wim = slow_wim(&tools, &scene);
    for (signal, code, left) in [("INT", Some(130), 0), ("TERM", Some(130), 0), ("KILL", None, 1)] {
        let mut child = nanovhd(["build", "--wim", text(&wim), "--output", text(&scene.output())]).spawn().unwrap();
        let names =
            || fs::read_dir(scene.outputs.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
        let start = Instant::now();
        while names().is_empty() {
            assert!(start.elapsed() < Duration::from_secs(60), "no temporary file appeared");
            assert!(child.try_wait().unwrap().is_none(), "the build was over before it could be stopped");
        }
        tools.run("kill", &["-s", signal, &child.id().to_string()]);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), code, "after {signal}");
        let names = names();
        assert_eq!(names.len(), left, "{names:?} after {signal}");
        for name in names {
            let name = name.into_string().unwrap();
            assert!(name.starts_with(".out.vhd.") && name.ends_with(".nanovhd-partial"), "{name}");
        }
    }
}
