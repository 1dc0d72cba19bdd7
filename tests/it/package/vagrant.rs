//! Boxes, taken by Vagrant itself.

use std::fs;
use std::path::{Path, PathBuf};

use nanovhd::image::package::{Compression, Package};
use nanovhd::image::{Firmware, Format};

use super::{MIB, bios_disk, by_qemu, facts, job, run, uefi_disk, xpath};
use crate::support::program::succeed;
use crate::support::tools::{Tools, text};

/// A Vagrant with nothing in it, which asks nobody.
struct Vagrant<'t> {
    tools: &'t Tools,
    home: PathBuf,
}

impl Vagrant<'_> {
    fn run(&self, folder: &Path, args: &[&str]) -> String {
        let home = format!("VAGRANT_HOME={}", text(&self.home));
        let settings = [home.as_str(), "VAGRANT_CHECKPOINT_DISABLE=1", "VAGRANT_NO_PLUGINS=1", "vagrant"];
        self.tools.run_in(folder, "env", &[&settings, args].concat())
    }

    /// Where it keeps a box.
    fn place(&self, name: &str, version: &str, provider: &str) -> PathBuf {
        self.home.join("boxes").join(name).join(version).join(provider)
    }
}

const TOOLS: [&str; 7] = ["env", "vagrant", "bsdtar", "ruby", "qemu-img", "xmllint", "cmp"];

#[test]
fn vagrant_takes_every_box() {
    let Some(tools) = Tools::find(&TOOLS) else { return };
    let folder = tempfile::tempdir().unwrap();
    let vagrant = Vagrant { tools: &tools, home: folder.path().join("home") };
    let (bios, uefi) = (bios_disk(folder.path()), uefi_disk(folder.path()));
    let made = [
        ("hyperv-gen1", Firmware::Bios, Format::Vhd, by_qemu(&tools, &bios, "vpc", "force_size=on", "vhd"), 96),
        ("hyperv-gen2", Firmware::Uefi, Format::Vhdx, by_qemu(&tools, &uefi, "vhdx", "", "vhdx"), 640),
        (
            "virtualbox",
            Firmware::Bios,
            Format::VmdkStream,
            by_qemu(&tools, &bios, "vmdk", "subformat=streamOptimized", "vmdk"),
            96,
        ),
        ("kvm", Firmware::Uefi, Format::Qcow2, by_qemu(&tools, &uefi, "qcow2", "", "qcow2"), 640),
    ];
    for (target, firmware, format, disk, mib) in &made {
        let output = folder.path().join(format!("{target}.box"));
        let report = run(&job(Package::Box, facts(target, *firmware), output.clone()), disk, *format, mib * MIB);
        vagrant.run(folder.path(), &["box", "add", "--name", target, text(&output)]);
        let provider = match *target {
            "virtualbox" => "virtualbox",
            "kvm" => "libvirt",
            _ => "hyperv",
        };
        let place = vagrant.place(target, "0", provider);
        tools.run("ruby", &["-c", text(&place.join("Vagrantfile"))]);
        let member = report.members.last().unwrap();
        tools.run("cmp", &[text(disk), text(&place.join(&member.name))]);
        match *target {
            "hyperv-gen1" => hyperv(&tools, &place, 1),
            "hyperv-gen2" => hyperv(&tools, &place, 2),
            "virtualbox" => {
                let file =
                    xpath(&tools, &place.join("box.ovf"), "string(//*[local-name()='File']/@*[local-name()='href'])");
                assert!(place.join(file).is_file());
            }
            _ => {
                let metadata = fs::read_to_string(place.join("metadata.json")).unwrap();
                let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
                assert_eq!((&metadata["format"], &metadata["virtual_size"]), (&"qcow2".into(), &1.into()));
                let vagrantfile = fs::read_to_string(place.join("Vagrantfile")).unwrap();
                assert!(vagrantfile.contains("libvirt.loader"), "{vagrantfile}");
            }
        }
    }
    let list = vagrant.run(folder.path(), &["box", "list"]);
    let mut found: Vec<&str> = list.lines().collect();
    found.sort_unstable();
    assert_eq!(
        found.iter().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>(),
        ["hyperv-gen1 (hyperv,", "hyperv-gen2 (hyperv,", "kvm (libvirt,", "virtualbox (virtualbox,"]
    );
}

/// What Vagrant's script for Hyper-V reads. It looks at `#text` of PowerShell's view of each element, which only those have that
/// have an attribute.
fn hyperv(tools: &Tools, place: &Path, generation: u32) {
    let folder = place.join("Virtual Machines");
    let files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [xml] = files.as_slice() else { panic!("{files:?}") };
    let drive = "//*[starts-with(name(.),'controller')]/*[pathname]";
    let secure = if generation == 2 { "True" } else { "False" };
    let subtype = (generation - 1).to_string();
    for (path, value) in [
        ("configuration/properties/subtype", subtype.as_str()),
        ("configuration/properties/name", "nano <1> & 2"),
        ("configuration/settings/processors/count", "1"),
        ("//boot/device0", "HardDrive"),
        ("//secure_boot_enabled", secure),
        (&format!("{drive}/type"), "VHD"),
        ("//memory/bank/dynamic_memory_enabled", "False"),
        ("//memory/bank/limit", "1024"),
        ("//memory/bank/size", "1024"),
        ("//memory/bank/reservation", "1024"),
        ("//notes", "Windows"),
    ] {
        let query = format!("concat(count({path}), count({path}/@type), string({path}))");
        assert_eq!(xpath(tools, xml, &query), format!("11{value}"), "{path}");
    }
    let disks: Vec<PathBuf> =
        fs::read_dir(place.join("Virtual Hard Disks")).unwrap().map(|e| e.unwrap().path()).collect();
    let name = xpath(tools, xml, &format!("string({drive}/pathname)"));
    assert_eq!(disks, [place.join("Virtual Hard Disks").join(name)]);
    // The controller's number is the first digit of its name, and its kind whether it is a channel.
    assert_eq!(xpath(tools, xml, "name(//*[starts-with(name(.),'controller')])"), "controller0");
    let scsi = xpath(tools, xml, "count(//*[starts-with(name(.),'controller')]/../ChannelInstanceGuid)");
    assert_eq!(scsi, if generation == 2 { "1" } else { "0" });
    let template = xpath(tools, xml, "string(//secure_boot_template)");
    assert_eq!(template, if generation == 2 { "MicrosoftWindows" } else { "" });
}

#[test]
fn boxes_are_compressed_as_bsdtar_reads_them() {
    let Some(tools) = Tools::find(&["bsdtar", "tar"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.vhd");
    fs::write(&disk, (0..5_000_000u32).map(|i| (i >> 7) as u8).collect::<Vec<u8>>()).unwrap();
    for compression in [Compression::None, Compression::Gzip, Compression::Xz, Compression::Zstd] {
        let output = folder.path().join("x.box");
        let mut made = job(Package::Box, facts("hyperv-gen1", Firmware::Bios), output.clone());
        made.compression = compression;
        run(&made, &disk, Format::Vhd, MIB);
        let list = tools.run("bsdtar", &["-tf", text(&output)]);
        assert_eq!(list.lines().count(), 4, "{compression:?}");
        let member = "Virtual Hard Disks/nano--1----2.vhd";
        let back = tools.run_for_bytes("bsdtar", &["-xOf", text(&output), member]);
        assert!(back == fs::read(&disk).unwrap(), "{compression:?}");
    }
}

#[test]
fn a_catalog_leads_to_its_boxes() {
    let Some(tools) = Tools::find(&["env", "vagrant", "bsdtar"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let raw = bios_disk(folder.path());
    let path = |name: &str| folder.path().join(name);
    let catalog = path("nano.json");
    let pack = |output: &str, version: &str, more: &[&str]| {
        let output = path(output);
        let fixed = ["pack", text(&raw), "--target=hyperv-gen1", "--output", text(&output), "--force"];
        let listed = ["--catalog", text(&catalog), "--box-name=me/nano", "--box-version", version];
        succeed(fixed.iter().chain(&listed).chain(more))
    };
    let told = pack("one.box", "1.0.0", &[]);
    assert!(told.contains("vagrant box add --provider hyperv") && told.contains("vagrant init me/nano"), "{told}");
    pack("two.box", "1.1.0", &["--memory=2G", "--cpus=2"]);
    let before = (fs::read(path("two.box")).unwrap(), fs::read(&catalog).unwrap());
    pack("two.box", "1.1.0", &["--memory=2G", "--cpus=2"]);
    assert!(before == (fs::read(path("two.box")).unwrap(), fs::read(&catalog).unwrap()), "the same again");

    let vagrant = Vagrant { tools: &tools, home: path("home") };
    let add = ["box", "add", "--provider", "hyperv", "nano.json"];
    vagrant.run(folder.path(), &[&add[..], &["--box-version", "1.0.0"]].concat());
    vagrant.run(folder.path(), &add);
    let list = vagrant.run(folder.path(), &["box", "list"]);
    assert!(list.contains("me/nano (hyperv, 1.0.0") && list.contains("me/nano (hyperv, 1.1.0"), "{list}");
    let vagrantfile = vagrant.place("me-VAGRANTSLASH-nano", "1.1.0", "hyperv").join("Vagrantfile");
    let vagrantfile = fs::read_to_string(vagrantfile).unwrap();
    assert!(vagrantfile.contains("hyperv.memory = 2048") && vagrantfile.contains("hyperv.cpus = 2"), "{vagrantfile}");

    // Vagrant checks the sum that the catalog has.
    let mut bytes = fs::read(path("one.box")).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(path("one.box"), bytes).unwrap();
    let home = format!("VAGRANT_HOME={}", text(&path("other home")));
    let mut command = std::process::Command::new("env");
    command.args([&home, "VAGRANT_NO_PLUGINS=1", "vagrant"]).args(add).args(["--box-version", "1.0.0"]);
    let refused = command.current_dir(folder.path()).output().unwrap();
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("checksum"), "{refused:?}");
}
