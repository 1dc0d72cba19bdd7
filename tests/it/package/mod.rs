//! Packages, as those see them who unpack them: tar, bsdtar, Vagrant, libxml, qemu, sha256sum, gzip, xz, zstd.

mod vagrant;

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use nanovhd::base::FileTime;
use nanovhd::image::host::InputFile;
use nanovhd::image::package::{Disk, Job, MachineFacts, Package, Report};
use nanovhd::image::seed::Seed;
use nanovhd::image::{Control, Firmware, Format, Target};

use crate::support::program::{fail, succeed};
use crate::support::tools::{Tools, text};

const MIB: u64 = 1 << 20;

/// A disk for a BIOS that boots.
fn bios_disk(folder: &Path) -> PathBuf {
    let disk = folder.join("bios.img");
    succeed(["demo", "--size=96M", "--output", text(&disk)]);
    disk
}

/// A disk for UEFI, as far as packages look: with a GPT.
fn uefi_disk(folder: &Path) -> PathBuf {
    let disk = folder.join("uefi.img");
    succeed(["demo", "--size=640M", "--firmware=uefi", "--output", text(&disk)]);
    disk
}

/// The same disk as qemu puts it into another container.
fn by_qemu(tools: &Tools, raw: &Path, driver: &str, options: &str, extension: &str) -> PathBuf {
    let to = raw.with_extension(extension);
    let mut args = vec!["convert", "-f", "raw", "-O", driver];
    if !options.is_empty() {
        args.extend(["-o", options]);
    }
    args.extend([text(raw), text(&to)]);
    tools.run("qemu-img", &args);
    to
}

fn facts(target: &str, firmware: Firmware) -> MachineFacts {
    let target = Target::named(target).unwrap();
    let seed = Seed::from_parts([&b"package"[..]]);
    let mut facts = MachineFacts::new("nano <1> & 2", target, firmware, seed, FileTime::from_vhd(1));
    facts.secure_boot = target.name != "virtualbox" && firmware == Firmware::Uefi;
    facts
}

fn job(package: Package, facts: MachineFacts, output: PathBuf) -> Job {
    let compression = package.default_compression();
    Job { package, facts, output, force: true, compression, checksum: false, catalog: None }
}

fn run(job: &Job, file: &Path, format: Format, disk_bytes: u64) -> Report {
    let file = InputFile::open(file).unwrap();
    job.check().unwrap();
    job.run(&Disk { file: &file, format, disk_bytes }, NonZeroUsize::new(2).unwrap(), &Control::default()).unwrap()
}

/// What XPath finds in a file, as text.
fn xpath(tools: &Tools, file: &Path, path: &str) -> String {
    tools.run("xmllint", &["--xpath", path, text(file)]).trim().to_owned()
}

#[test]
fn an_ova_is_what_it_says() {
    let Some(tools) = Tools::find(&["qemu-img", "tar", "bsdtar", "sha256sum", "xmllint"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let raw = bios_disk(folder.path());
    let vmdk = by_qemu(&tools, &raw, "vmdk", "subformat=streamOptimized", "vmdk");
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ovf/virtualbox.xsd");
    for (target, firmware) in [
        ("virtualbox", Firmware::Bios),
        ("virtualbox", Firmware::Uefi),
        ("vmware", Firmware::Bios),
        ("vmware", Firmware::Uefi),
    ] {
        let out = folder.path().join("out");
        fs::create_dir(&out).unwrap();
        let ova = out.join("nano.ova");
        let made = job(Package::Ova, facts(target, firmware), ova.clone());
        let report = run(&made, &vmdk, Format::VmdkStream, 96 * MIB);

        // The order that DSP0243 wants, for two programs that read tar.
        let order = ["nano--1----2.ovf", "nano--1----2-disk1.vmdk", "nano--1----2.mf"];
        for tar in ["tar", "bsdtar"] {
            assert!(tools.run(tar, &["-tf", text(&ova)]).lines().eq(order), "{target}");
        }
        let long = tools.run("tar", &["--utc", "-tvf", text(&ova)]);
        assert!(
            long.lines().all(|line| line.starts_with("-rw-r--r-- 0/0") && line.contains("2000-01-01 00:00")),
            "{long}"
        );
        tools.run("tar", &["-C", text(&out), "-xf", text(&ova)]);

        // The manifest in the form that sha256sum knows.
        let manifest = fs::read_to_string(out.join(order[2])).unwrap();
        assert_eq!(manifest.lines().count(), 2);
        fs::write(out.join("sums"), manifest.replace("SHA256(", "SHA256 (").replace(")= ", ") = ")).unwrap();
        tools.run_in(&out, "sha256sum", &["--check", "--strict", "sums"]);

        // The descriptor is valid, and names what is in the archive.
        let ovf = out.join(order[0]);
        tools.run("xmllint", &["--noout", "--schema", schema, text(&ovf)]);
        let find = |path: &str| xpath(&tools, &ovf, path);
        assert_eq!(find("string(//*[local-name()='File']/@*[local-name()='href'])"), order[1]);
        let disk = out.join(order[1]);
        assert_eq!(
            find("string(//*[local-name()='File']/@*[local-name()='size'])"),
            fs::metadata(&disk).unwrap().len().to_string()
        );
        let info = tools.run("qemu-img", &["info", "--output=json", text(&disk)]);
        let info: serde_json::Value = serde_json::from_str(&info).unwrap();
        assert_eq!(
            find("string(//*[local-name()='Disk']/@*[local-name()='capacity'])"),
            info["virtual-size"].to_string()
        );
        tools.run("qemu-img", &["compare", "-f", "raw", "-F", "vmdk", text(&raw), text(&disk)]);
        assert_eq!(find("string(//*[local-name()='VirtualSystem']/*[local-name()='Name'])"), "nano <1> & 2");
        check_machine(target, firmware, find);

        assert_eq!(report.sha256, tools.run("sha256sum", &[text(&ova)])[..64]);
        assert!(!report.next_steps.is_empty());
        fs::remove_dir_all(&out).unwrap();
    }
}

/// What the hypervisor of an OVA reads beyond what OVF says.
fn check_machine(target: &str, firmware: Firmware, find: impl Fn(&str) -> String) {
    let uefi = firmware == Firmware::Uefi;
    if target == "virtualbox" {
        assert_eq!(find("string(//*[local-name()='Firmware']/@type)"), if uefi { "EFI" } else { "BIOS" });
        let disk = find("string(//*[local-name()='Disk']/@*[local-name()='uuid'])");
        assert_eq!(
            find("string(//*[local-name()='StorageController']//*[local-name()='Image']/@uuid)"),
            format!("{{{disk}}}")
        );
        assert_eq!(find("string(//*[local-name()='Machine']/@OSType)"), "Windows2016_64");
        assert_eq!(
            find("count(//*[local-name()='Adapter'][@slot='0' and @enabled='true']/*[local-name()='NAT'])"),
            "1"
        );
    } else {
        let setting = |key: &str| {
            find(&format!(
                "string(//*[local-name()='Config'][@*[local-name()='key']='{key}']/@*[local-name()='value'])"
            ))
        };
        assert_eq!(setting("firmware"), if uefi { "efi" } else { "bios" });
        assert_eq!(setting("bootOptions.efiSecureBootEnabled"), if uefi { "true" } else { "false" });
        assert_eq!(find("string(//*[local-name()='VirtualSystemType'])"), if uefi { "vmx-13" } else { "vmx-11" });
        assert_eq!(
            find("string(//*[local-name()='OperatingSystemSection']/@*[local-name()='osType'])"),
            "windows9Server64Guest"
        );
    }
}

#[test]
fn faults_in_a_descriptor_are_seen_by_the_schema() {
    let Some(tools) = Tools::find(&["xmllint"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("disk.vmdk");
    fs::write(&data, "a disk").unwrap();
    let ova = folder.path().join("x.ova");
    run(&job(Package::Ova, facts("virtualbox", Firmware::Bios), ova.clone()), &data, Format::VmdkStream, MIB);
    let bytes = fs::read(&ova).unwrap();
    let end = bytes.windows(11).position(|window| window == b"</Envelope>").unwrap();
    let good = String::from_utf8(bytes[512..end + 11].to_vec()).unwrap();
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ovf/virtualbox.xsd");
    let file = folder.path().join("bad.ovf");
    for (from, to) in [
        ("<vssd:InstanceID>0</vssd:InstanceID>", ""),
        ("ovf:capacity=\"1048576\"", ""),
        ("<rasd:InstanceID>5</rasd:InstanceID>", "<rasd:Address>5</rasd:Address>"),
        ("OperatingSystemSection ovf:id=\"116\"", "OperatingSystemSection ovf:id=\"Windows\""),
        ("</VirtualSystem>", "<Hardware/></VirtualSystem>"),
    ] {
        assert!(good.contains(from), "{from}");
        fs::write(&file, good.replace(from, to)).unwrap();
        let lint = std::process::Command::new("xmllint").args(["--noout", "--schema", schema, text(&file)]).output();
        assert_eq!(lint.unwrap().status.code(), Some(3), "{from}");
    }
    fs::write(&file, good).unwrap();
    tools.run("xmllint", &["--noout", "--schema", schema, text(&file)]);
}

#[test]
fn compressed_disks_come_back() {
    let Some(tools) = Tools::find(&["gzip", "xz", "zstd", "qemu-img", "sha256sum"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let raw = bios_disk(folder.path());
    let plain = folder.path().join("plain.vhd");
    let pack = |output: &Path, more: &[&str]| {
        let args = ["pack", text(&raw), "--target=hyperv-gen1", "--output", text(output)];
        succeed(args.iter().chain(more))
    };
    pack(&plain, &["--checksum"]);
    tools.run_in(folder.path(), "sha256sum", &["--check", "--strict", "plain.vhd.sha256"]);
    tools.run("qemu-img", &["compare", "-f", "raw", "-F", "vpc", text(&raw), text(&plain)]);
    for (name, end, program) in [("gzip", "gz", "gzip"), ("xz", "xz", "xz"), ("zstd", "zst", "zstd")] {
        let packed = folder.path().join(format!("packed.vhd.{end}"));
        let told = pack(&packed, &["--compress", name]);
        assert!(told.contains(&format!("next       {program} ")), "{told}");
        let [small, large] = [&packed, &plain].map(|file| fs::metadata(file).unwrap().len());
        assert!(small < large / 3, "{name}: {small} of {large}");
        tools.run(program, &["-t", text(&packed)]);
        let back = tools.run_for_bytes(program, &["-dc", text(&packed)]);
        assert!(back == fs::read(&plain).unwrap(), "{name}");
    }
}

#[test]
fn what_cannot_be_packed_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let raw = bios_disk(folder.path());
    let out = |name: &str| folder.path().join(name);
    let refused = |output: &str, more: &[&str], code: i32, words: &str| {
        let output = out(output);
        let args = ["pack", text(&raw), "--output", text(&output)];
        let (found, complaint) = fail(args.iter().chain(more));
        assert!(found == code && complaint.contains(words), "{complaint}");
        assert!(!output.exists());
    };
    refused("x.box", &["--target=azure-gen1"], 30, "no boxes");
    refused("x.box", &["--target=hyperv-gen2"], 30, "cannot start");
    refused("x.ova", &["--target=kvm"], 30, "takes no OVA");
    refused("x.vhd.gz", &["--target=azure-gen1", "--compress=gzip"], 30, "Azure");
    refused("x.qcow2", &["--target=hyperv-gen1"], 30, "does not say");
    refused("x.vhd", &["--target=hyperv-gen1", "--compress=xz"], 30, "*.vhd.xz");
    refused("x.box", &["--target=hyperv-gen9"], 30, "no such target");
    refused("x.box", &["--target=hyperv-gen1", "--memory=1000000"], 2, "MiB");
    refused("x.vhdx", &["--target=hyperv-gen1", "--catalog", text(&out("c.json"))], 30, "boxes only");
    refused("x.box", &["--target=hyperv-gen1", "--catalog", text(&raw)], 22, "catalog");
    fs::write(out("bad.json"), "[1]").unwrap();
    refused("x.box", &["--target=hyperv-gen1", "--catalog", text(&out("bad.json"))], 20, "catalog");
    fs::write(out("x.box.sha256"), "mine").unwrap();
    refused("x.box", &["--target=hyperv-gen1", "--checksum"], 12, "exists");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn the_program_packs_for_every_target() {
    let Some(tools) = Tools::find(&["qemu-img", "bsdtar"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let disks = [bios_disk(folder.path()), uefi_disk(folder.path())];
    for (disk, target, output, member, driver) in [
        (0, "hyperv-gen1", "one.box", "Virtual Hard Disks/one.vhdx", "vhdx"),
        (1, "hyperv-gen2", "two.box", "Virtual Hard Disks/two.vhdx", "vhdx"),
        (0, "virtualbox", "three.box", "three-disk1.vmdk", "vmdk"),
        (1, "kvm", "four.box", "box.img", "qcow2"),
        (1, "virtualbox", "five.ova", "five-disk1.vmdk", "vmdk"),
        (0, "vmware", "six.ova", "six-disk1.vmdk", "vmdk"),
        (0, "azure-gen1", "seven.vhd", "", "vpc"),
        (0, "raw", "eight.img", "", "raw"),
    ] {
        let [file, again] = ["a", "b"].map(|place| {
            let file = folder.path().join(place).join(output);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            let told = succeed(["pack", text(&disks[disk]), "--target", target, "--output", text(&file)]);
            assert!(told.contains("\nnext "), "{told}");
            file
        });
        assert!(fs::read(&file).unwrap() == fs::read(again).unwrap(), "{target}: other bytes");
        let unpacked = if member.is_empty() { file.clone() } else { folder.path().join("unpacked") };
        if !member.is_empty() {
            fs::write(&unpacked, tools.run_for_bytes("bsdtar", &["-xOf", text(&file), member])).unwrap();
        }
        tools.run("qemu-img", &["compare", "-f", "raw", "-F", driver, text(&disks[disk]), text(&unpacked)]);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "only the output is left");
        fs::remove_dir_all(folder.path().join("a")).unwrap();
        fs::remove_dir_all(folder.path().join("b")).unwrap();
    }
}
