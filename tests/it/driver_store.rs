//! The driver store: what a real hive has compared with what is derived from it, and with what is written into it; the hives that are
//! written, as hivex, reglookup and libregf read them.

mod agreement;
mod big;
mod cli;
mod packages;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use nanovhd::base::{FileTime, Name};
use nanovhd::format::hive::{Hive, KeyId, ReadOptions, Value, words};
use nanovhd::tree::{Content, Link, Node, NodeId, Times, Tree};
use nanovhd::windows::drivers::{Driver, Package, Signature, Store, compile};
use sha1::{Digest, Sha1};

use crate::support::tools::windows_file;

const NOW: FileTime = FileTime(132_000_000_000_000_000);
const CONFIG: &str = r"\Windows\System32\config";
const DATABASE: &str = "DriverDatabase";

/// The SYSTEM hive of a Windows 10 1709, which was not left clean and has lost its logs.
fn real_system() -> Option<Hive> {
    let bytes = windows_file("hives/SYSTEM-win10-1709.xz")?;
    Some(Hive::read_with(bytes, ReadOptions { logs: &[], accept_dirty: true }).unwrap())
}

fn put(tree: &mut Tree, path: &str, bytes: Vec<u8>) -> NodeId {
    let times = Times::all(FileTime(131_000_000_000_000_000));
    let (folder, name) = path.rsplit_once('\\').unwrap();
    let folder = folder.split('\\').filter(|part| !part.is_empty()).fold(tree.root(), |parent, part| {
        let name = Name::from(part);
        if let Some(link) = tree.child(parent, name.units()) {
            return link.node;
        }
        let node = tree.add_node(Node::directory(0, times)).unwrap();
        tree.add_link(parent, Link { name, short: None, node }).unwrap();
        node
    });
    let node = tree.add_node(Node::file(0, times, Content::from(bytes))).unwrap();
    tree.add_link(folder, Link { name: Name::from(name), short: None, node }).unwrap();
    node
}

/// The least that counts as a program for AMD64.
fn program() -> Vec<u8> {
    let mut image = vec![0; 0x60];
    image[..2].copy_from_slice(b"MZ");
    image[0x3C] = 0x40;
    image[0x40..0x46].copy_from_slice(b"PE\0\0\x64\x86");
    image
}

/// A Windows 10 around a SYSTEM hive.
fn image(system: &Hive) -> Tree {
    let mut tree = Tree::new(Node::directory(0, Times::all(NOW)));
    let mut software = Hive::new("SOFTWARE", NOW).unwrap();
    let version = software.create_key(r"Microsoft\Windows NT\CurrentVersion").unwrap();
    software.set_value(version, "CurrentMajorVersionNumber", Value::dword(10)).unwrap();
    software.set_value(version, "CurrentBuildNumber", Value::sz("16299")).unwrap();
    software.create_key(r"Microsoft\Windows\CurrentVersion\Setup\PnpLockdownFiles").unwrap();
    let mut drivers = Hive::new("DRIVERS", NOW).unwrap();
    for name in ["DeviceIds", "DriverInfFiles", "DriverPackages"] {
        drivers.create_key(&format!(r"{DATABASE}\{name}")).unwrap();
    }
    for (name, hive) in [("SYSTEM", system), ("SOFTWARE", &software), ("DRIVERS", &drivers)] {
        put(&mut tree, &format!(r"{CONFIG}\{name}"), hive.to_bytes().unwrap());
    }
    put(&mut tree, r"\Windows\System32\ntoskrnl.exe", program());
    put(&mut tree, r"\Windows\INF\disk.inf", b"; disk".to_vec());
    tree
}

/// A hive of an image.
fn hive(tree: &Tree, name: &str) -> Hive {
    Hive::read(tree.read_file(&format!(r"{CONFIG}\{name}")).unwrap().unwrap()).unwrap()
}

/// A package of files in memory.
fn package(inf: &str, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Package {
    let mut tree = Tree::new(Node::directory(0, Times::all(NOW)));
    for (name, bytes) in files {
        put(&mut tree, &format!(r"\{name}"), bytes);
    }
    let root = tree.root();
    Package::new(Arc::new(tree), root, inf, r"C:\virtio").unwrap()
}

/// A package of virtio-win as it is.
fn virtio(folder: &str, inf: &str) -> Option<Package> {
    let inf_path = crate::support::tools::testdata(format!("drivers/virtio-win-0.1.240/{folder}/2k16/amd64/{inf}"))?;
    let files = std::fs::read_dir(inf_path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    Some(package(inf, files.map(|path| (name(&path), std::fs::read(&path).unwrap())).collect::<Vec<_>>()))
}

fn signature() -> Signature {
    Signature { signer: Some("Microsoft Windows Hardware Compatibility Publisher".into()), score: 0x0D00_0005 }
}

fn compiled(store: &Store<'_>, package: &Package) -> Driver {
    compile(package, store.target(), &|_| Ok(None)).unwrap()
}

/// Keys below `top`, by path.
fn keys(hive: &Hive, top: &str) -> BTreeMap<String, KeyId> {
    let mut all = BTreeMap::new();
    if let Some(key) = hive.open(top) {
        words::walk(hive, key, top, |key, path| {
            all.insert(path.to_owned(), key);
            Ok::<(), ()>(())
        })
        .unwrap();
    }
    all
}

/// All that a hive says, key by key; of times nothing.
fn dump(hive: &Hive) -> BTreeMap<String, String> {
    keys(hive, "").into_iter().map(|(path, key)| (path, described(hive, key))).collect()
}

fn described(hive: &Hive, key: KeyId) -> String {
    let mut text =
        format!("{:?} {:x} {:?} {:?}", hive.name(key), hive.flags(key), hive.class(key), hive.descriptor(key));
    let mut values: Vec<_> = hive.values(key).filter(|value| !value.name.is("UpdateDate")).collect();
    values.sort_by_key(|value| value.name.to_string());
    for value in values {
        let _ = write!(text, " {:?}={:x}:{}:", value.name, value.kind, value.data.len());
        // Long ones are told apart by their hash, which is sooner made than text.
        match value.data.get(..64) {
            None => text.extend(value.data.iter().map(|byte| char::from(*byte))),
            Some(_) => {
                let _ = write!(text, "{:x?}", Sha1::digest(&value.data));
            }
        }
    }
    text
}
