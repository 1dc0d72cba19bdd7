//! Packages of a small disk that is none: what is around it.

use std::num::NonZeroUsize;

use super::*;
use crate::base::FileTime;
use crate::error::Kind;
use crate::image::layout::Firmware;
use crate::image::seed::Seed;

const DISK: &[u8] = b"not really a disk";

fn facts(target: &str, firmware: Firmware) -> MachineFacts {
    let seed = Seed::from_parts([&b"test"[..]]);
    MachineFacts::new("nano & <ü>", Target::named(target).unwrap(), firmware, seed, FileTime::from_vhd(0))
}

fn try_write(
    package: Package,
    format: Format,
    facts: &MachineFacts,
    compression: Compression,
) -> Result<(Vec<u8>, Written)> {
    let disk = Disk { file: &DISK, format, disk_bytes: (5 << 30) + 512 };
    let mut bytes = Vec::new();
    let threads = NonZeroUsize::new(2).unwrap();
    let written = write(package, &disk, facts, compression, threads, &mut bytes, &Control::default())?;
    assert_eq!(written.bytes, bytes.len() as u64);
    assert_eq!(written.sha256, hex(&Sha256::digest(&bytes)));
    Ok((bytes, written))
}

fn names(written: &Written) -> Vec<&str> {
    written.members.iter().map(|member| member.name.as_str()).collect()
}

/// The text of a member of an archive that is not compressed.
fn member(bytes: &[u8], name: &str) -> String {
    let mut archive = tar::Archive::new(bytes);
    let mut entries = archive.entries().unwrap().map(|entry| entry.unwrap());
    let mut entry = entries.find(|entry| entry.path().unwrap().to_str() == Some(name)).unwrap();
    let mut text = String::new();
    io::Read::read_to_string(&mut entry, &mut text).unwrap();
    text
}

#[test]
fn every_template_is_filled() {
    for (target, format, firmware) in [
        ("hyperv-gen1", Format::Vhd, Firmware::Bios),
        ("hyperv-gen2", Format::Vhdx, Firmware::Uefi),
        ("virtualbox", Format::VmdkStream, Firmware::Uefi),
        ("kvm", Format::Qcow2, Firmware::Bios),
        ("kvm", Format::Qcow2, Firmware::Uefi),
    ] {
        let (bytes, written) = try_write(Package::Box, format, &facts(target, firmware), Compression::None).unwrap();
        for name in names(&written).into_iter().filter(|name| !name.contains("Hard Disks") && !name.ends_with("vmdk")) {
            let text = member(&bytes, name);
            assert!(!text.contains("{{") && !text.contains("}}"), "{target}: {name}");
            if name.ends_with(".xml") || name.ends_with(".ovf") {
                let text = text.as_str();
                let tree = roxmltree::Document::parse(text).unwrap();
                assert!(
                    tree.descendants()
                        .any(|node| node.text() == Some("nano & <ü>") || node.attribute("name") == Some("nano & <ü>"))
                );
                assert!(text.is_ascii());
            }
        }
    }
    for target in ["virtualbox", "vmware"] {
        let (bytes, written) =
            try_write(Package::Ova, Format::VmdkStream, &facts(target, Firmware::Bios), Compression::None).unwrap();
        assert_eq!(names(&written), ["nano.ovf", "nano-disk1.vmdk", "nano.mf"]);
        let text = member(&bytes, "nano.ovf");
        assert!(!text.contains("{{") && !text.contains("}}"), "{text}");
        assert!(text.contains("ovf:capacity=\"5368709632\""), "{text}");
    }
}

#[test]
fn boxes_have_what_vagrant_looks_for() {
    let (bytes, written) =
        try_write(Package::Box, Format::Vhdx, &facts("hyperv-gen2", Firmware::Uefi), Compression::None).unwrap();
    assert_eq!(
        names(&written),
        ["metadata.json", "Vagrantfile", "Virtual Machines/nano.xml", "Virtual Hard Disks/nano.vhdx"]
    );
    let metadata: serde_json::Value = serde_json::from_str(&member(&bytes, "metadata.json")).unwrap();
    assert_eq!((&metadata["provider"], &metadata["architecture"]), (&"hyperv".into(), &"amd64".into()));
    assert_eq!(member(&bytes, "Virtual Hard Disks/nano.vhdx").as_bytes(), DISK);

    let (bytes, written) =
        try_write(Package::Box, Format::Qcow2, &facts("kvm", Firmware::Bios), Compression::None).unwrap();
    assert_eq!(names(&written), ["metadata.json", "Vagrantfile", "box.img"]);
    let metadata: serde_json::Value = serde_json::from_str(&member(&bytes, "metadata.json")).unwrap();
    assert_eq!((&metadata["format"], &metadata["virtual_size"]), (&"qcow2".into(), &6.into()));
}

#[test]
fn the_same_disk_gives_the_same_bytes() {
    let facts = facts("hyperv-gen1", Firmware::Bios);
    for compression in [Compression::Gzip, Compression::Xz, Compression::Zstd] {
        let [one, two] = [1, 2].map(|_| try_write(Package::Box, Format::Vhd, &facts, compression).unwrap().0);
        assert!(one == two, "{compression:?}");
    }
    let (bytes, _) = try_write(Package::Plain, Format::Vhd, &facts, Compression::None).unwrap();
    assert_eq!(bytes, DISK);
}

#[test]
fn what_no_receiver_takes_is_refused() {
    let refused = |package, format, facts: &MachineFacts, compression, words: &str| {
        let error = try_write(package, format, facts, compression).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    let none = Compression::None;
    let bios = |target| facts(target, Firmware::Bios);
    let uefi = |target| facts(target, Firmware::Uefi);
    refused(Package::Ova, Format::Qcow2, &bios("kvm"), none, "takes no OVA");
    refused(Package::Ova, Format::Vmdk, &bios("vmware"), none, "container");
    refused(Package::Ova, Format::VmdkStream, &bios("vmware"), Compression::Gzip, "never compressed");
    refused(Package::Box, Format::Vmdk, &bios("vmware"), none, "no boxes");
    refused(Package::Box, Format::Qcow2, &bios("hyperv-gen1"), none, "container");
    refused(Package::Box, Format::Vmdk, &bios("virtualbox"), none, "container");
    refused(Package::Plain, Format::VhdFixed, &bios("azure-gen1"), Compression::Zstd, "Azure");
    refused(Package::Plain, Format::Vhd, &bios("azure-gen1"), none, "container");
    refused(Package::Box, Format::Vhdx, &bios("hyperv-gen2"), none, "cannot start");
    refused(Package::Box, Format::Vhdx, &uefi("hyperv-gen1"), none, "cannot start");
    refused(Package::Plain, Format::Qcow2, &facts("kvm", Firmware::None), none, "no firmware");
    let with = |change: fn(&mut MachineFacts)| {
        let mut facts = bios("virtualbox");
        change(&mut facts);
        facts
    };
    for (change, words) in [
        ((|facts| facts.name = "a\nb".into()) as fn(&mut MachineFacts), "name"),
        (|facts| facts.name = String::new(), "name"),
        (|facts| facts.name = "x".repeat(81), "name"),
        (|facts| facts.memory_mib = 0, "memory"),
        (|facts| facts.cpus = 0, "processors"),
        (|facts| facts.nic = Nic::Vmxnet3, "network adapter"),
        (|facts| facts.controller = Controller::PvScsi, "disk controller"),
        (|facts| facts.secure_boot = true, "Secure Boot"),
    ] {
        refused(Package::Ova, Format::VmdkStream, &with(change), none, words);
    }
}

#[test]
fn file_names_are_plain() {
    for (name, file) in [("nano", "nano"), ("../../etc/x", "etc-x"), ("ü", "machine"), ("a b", "a-b"), ("v1.2", "v1.2")]
    {
        let mut facts = facts("kvm", Firmware::Bios);
        facts.name = name.into();
        assert_eq!(facts.file_name(), file);
    }
}

#[test]
fn systems_have_their_names() {
    let os = |build, client| Os {
        version: Some(crate::format::wim::Version { major: 10, minor: 0, build, revision: 0, service_pack: 0 }),
        client,
        ..Os::default()
    };
    assert_eq!(Os::default().names().virtualbox, "Windows2016_64");
    for (build, client, virtualbox, osinfo) in [
        (14393, false, "Windows2016_64", "win2k16"),
        (17763, false, "Windows2019_64", "win2k19"),
        (26100, false, "Windows2022_64", "win2k22"),
        (9600, false, "Windows2012_64", "win2k12r2"),
        (2600, false, "WindowsNT_64", "win2k8r2"),
        (19045, true, "Windows10_64", "win10"),
        (26100, true, "Windows11_64", "win11"),
    ] {
        let names = os(build, client).names();
        assert_eq!((names.virtualbox, names.osinfo), (virtualbox, osinfo), "{build}");
    }
}

#[test]
fn next_steps_are_commands() {
    let steps = |package, target, firmware, format, file: &str| {
        let facts = facts(target, firmware);
        let place = Place { file, bytes: 5, catalog: None, format, compression: Compression::None };
        next_steps(package, &facts, &place).join("\n")
    };
    let hyperv = steps(Package::Plain, "hyperv-gen2", Firmware::Uefi, Format::Vhdx, "it's.vhdx");
    assert!(
        hyperv.starts_with("New-VM -Name 'nano & <ü>' -Generation 2 -MemoryStartupBytes 1024MB -VHDPath 'it''s.vhdx'")
    );
    assert!(hyperv.contains("Set-VMFirmware -VMName 'nano & <ü>' -EnableSecureBoot On"));
    let azure = steps(Package::Plain, "azure-gen2", Firmware::Uefi, Format::VhdFixed, "nano.vhd");
    assert!(azure.contains("--hyper-v-generation V2") && azure.contains("--upload-size-bytes 5"), "{azure}");
    assert!(azure.contains("azcopy copy nano.vhd"), "{azure}");
    let kvm = steps(Package::Plain, "kvm", Firmware::Uefi, Format::Qcow2, "a,b.qcow2");
    assert!(kvm.contains("path=a,,b.qcow2,format=qcow2,bus=sata"), "{kvm}");
    let ova = steps(Package::Ova, "virtualbox", Firmware::Bios, Format::VmdkStream, "nano.ova");
    assert!(ova.starts_with("VBoxManage import nano.ova"), "{ova}");
    let compressed = Place {
        file: "nano.qcow2.zst",
        bytes: 5,
        catalog: None,
        format: Format::Qcow2,
        compression: Compression::Zstd,
    };
    let steps = next_steps(Package::Plain, &facts("kvm", Firmware::Bios), &compressed);
    assert_eq!(steps[0], "zstd -d nano.qcow2.zst");
    assert!(steps[1].contains("path=nano.qcow2,"), "{}", steps[1]);
    for target in Target::all().unwrap() {
        for package in [Package::Plain, Package::Ova, Package::Box] {
            let facts = facts(&target.name, target.firmware);
            if package.check(target, Compression::None).is_ok() {
                let place = Place {
                    file: "x",
                    bytes: 5,
                    catalog: Some(("x.json", "me/x")),
                    format: target.format,
                    compression: Compression::None,
                };
                assert!(!next_steps(package, &facts, &place).is_empty(), "{}", target.name);
            }
        }
    }
}
