//! Captures: a WIM out of an image, as wimlib sees it.

use std::fs;
use std::path::Path;

use crate::spine::{added_by_us, detailed};
use crate::support::program::{demo_wim, fail, succeed};
use crate::support::tools::{Tools, text};

/// An image built from the demo's second image.
fn built(folder: &Path, wim: &Path, options: &[&str]) -> std::path::PathBuf {
    let image = folder.join("built.vhd");
    let fixed = ["build", "--wim", text(wim), "--image=2", "--size=64M", "--force", "--output", text(&image)];
    succeed([&fixed, options].concat());
    image
}

#[test]
fn a_capture_of_a_built_image_is_the_source_again() {
    let Some(tools) = Tools::find(&["wimlib-imagex"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let single = folder.path().join("single.wim");
    tools.run("wimlib-imagex", &["export", text(&wim), "2", text(&single), "--quiet"]);
    let source = detailed(&tools, &single);
    let image = built(folder.path(), &wim, &[]);
    for compression in ["none", "xpress", "lzx"] {
        let back = folder.path().join(compression).with_extension("wim");
        succeed(["capture", text(&image), "--output", text(&back), "--compress", compression, "--name=back"]);
        tools.run("wimlib-imagex", &["verify", text(&back), "--quiet"]);
        let mut listing = detailed(&tools, &back);
        assert!(listing.keys().any(|path| added_by_us(path)));
        listing.retain(|path, _| !added_by_us(path));
        assert_eq!(listing.len(), source.len());
        for (path, lines) in &source {
            assert_eq!(listing.get(path), Some(lines), "{path} with {compression}");
        }
    }
    let info = tools.run("wimlib-imagex", &["info", text(&folder.path().join("lzx.wim"))]);
    for line in [
        "Name:                   back",
        "Architecture:           x86_64",
        "Edition ID:             ServerDataCenterNano",
        "Installation Type:      Nano Server",
        "Product Type:           ServerNT",
        "Major Version:          10",
        "Build:                  14393",
    ] {
        assert!(info.contains(line), "{line}\n{info}");
    }
    // The same again: the same bytes.
    let again = folder.path().join("again.wim");
    succeed(["capture", text(&image), "--output", text(&again), "--name=back"]);
    assert!(fs::read(&again).unwrap() == fs::read(folder.path().join("lzx.wim")).unwrap());
}

#[test]
fn captures_leave_out_what_dism_leaves_out() {
    let Some(tools) = Tools::find(&["wimlib-imagex"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let junk = folder.path().join("junk");
    fs::create_dir_all(junk.join("System Volume Information")).unwrap();
    fs::create_dir_all(junk.join("$Recycle.Bin/S-1-5-18")).unwrap();
    for file in ["pagefile.sys", "System Volume Information/x", "not pagefile.sys"] {
        fs::write(junk.join(file), "junk").unwrap();
    }
    let image = built(folder.path(), &wim, &["--copy", &format!("{}/=\\", junk.display())]);
    let paths = |name: &str, options: &[&str]| {
        let back = folder.path().join(name);
        let report = succeed([&["capture", text(&image), "--output", text(&back)], options].concat());
        (tools.run("wimlib-imagex", &["dir", text(&back), "1"]), report)
    };
    let (listing, report) = paths("less.wim", &[]);
    assert!(report.contains("left out"), "{report}");
    assert!(listing.contains("/not pagefile.sys\n"));
    for gone in ["/pagefile.sys", "/System Volume Information", "/$Recycle.Bin"] {
        assert!(!listing.contains(gone), "{gone}");
        assert!(report.contains(&gone[1..]), "{report}");
    }
    assert!(paths("all.wim", &["--all"]).0.contains("/$Recycle.Bin/S-1-5-18\n"));
    let (code, complaint) = fail(["capture", text(&image), "--output", text(&folder.path().join("all.wim"))]);
    assert_eq!(code, 12, "{complaint}");
}

#[test]
fn what_cannot_be_read_is_not_left_out_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("damaged.img");
    let wim = demo_wim(folder.path());
    succeed(["build", "--wim", text(&wim), "--image=2", "--size=64M", "--output", text(&image)]);
    let mut bytes = fs::read(&image).unwrap();
    let name: Vec<u8> = "streams.txt".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let record = bytes.chunks_exact(1024).position(|record| {
        record.starts_with(b"FILE") && record.windows(name.len()).any(|window| window == name.as_slice())
    });
    bytes[record.unwrap() * 1024 + 510] ^= 0xFF; // a torn stride
    fs::write(&image, bytes).unwrap();
    let (back, disk) = (folder.path().join("back.wim"), folder.path().join("again.vhd"));
    let capture = ["capture", text(&image), "--output", text(&back)];
    let build = ["build", "--wim", text(&image), "--output", text(&disk)];
    for command in [&capture[..], &build[..]] {
        let (code, complaint) = fail(command);
        assert!(code == 20 && complaint.contains("would be lost"), "{complaint}");
        succeed([command, &["--accept-dirty"]].concat());
    }
}
