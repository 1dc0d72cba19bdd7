//! `nanovhd drivers`.

use std::fs;

use serde_json::Value;

use super::real_system;
use crate::support::program::{demo_wim, fail, succeed};
use crate::support::tools::text;

#[test]
fn packages_are_listed_and_shown() {
    let Some(system) = real_system() else { return };
    let folder = tempfile::tempdir().unwrap();
    let wim = demo_wim(folder.path());
    let plain = succeed(["drivers", text(&wim), "--image=2"]);
    assert!(plain.starts_with("no driver package was added"), "{plain}");

    let hive = folder.path().join("SYSTEM");
    fs::write(&hive, system.to_bytes().unwrap()).unwrap();
    let image = folder.path().join("image.vhd");
    let copy = format!(r"{}=\Windows\System32\config\SYSTEM", text(&hive));
    succeed([
        "build",
        "--wim",
        text(&wim),
        "--image=2",
        "--size=128M",
        "--no-verify",
        "--output",
        text(&image),
        "--copy",
        &copy,
    ]);
    let listed = succeed(["drivers", text(&image)]);
    let names: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["oem0.inf", "oem2.inf", "oem4.inf", "oem6.inf", "oem11.inf"], "{listed}");
    let pvscsi = listed.lines().find(|line| line.contains("pvscsi.inf")).unwrap();
    for word in
        ["SCSIAdapter", "1.3.15.0", "2019-08-02", "VMware, Inc.", "Microsoft Windows Hardware Compatibility Publisher"]
    {
        assert!(pvscsi.contains(word), "{word}: {pvscsi}");
    }
    const ALL: usize = 238 + 1; // with the one that the demo's own DRIVERS hive has
    assert_eq!(succeed(["drivers", text(&image), "--all"]).lines().count(), ALL);

    let detail = succeed(["drivers", text(&image), "oem6.inf"]);
    for word in [
        "vmmouse.inf_amd64_916101d3748847e7",
        "upper filters VMMouse",
        "*PNP0F03 (compatible id",
        "VMware Pointing Device",
    ] {
        assert!(detail.contains(word), "{word}: {detail}");
    }
    let report: Value = serde_json::from_str(&succeed(["drivers", text(&image), "--all", "--json"])).unwrap();
    assert_eq!(report["packages"].as_array().unwrap().len(), ALL);
    assert_eq!(report["packages"][0]["version"], "12.5.10.0");
    let (_, complaint) = fail(["drivers", text(&image), "oem5.inf"]);
    assert!(complaint.contains("no such driver package") && complaint.contains("did you mean"), "{complaint}");
}
