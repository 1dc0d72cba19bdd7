//! NTFS volumes as other people's tools see them.
#![allow(clippy::unwrap_used)] // as in tests

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use nanovhd::base::{FileTime, MemoryDisk};
use nanovhd::format::ntfs::{Options, Plan};
use nanovhd::tree::{NodeId, Tree};
use ntfs::indexes::NtfsFileNameIndex;
use ntfs::{Ntfs, NtfsFile, NtfsReadSeek};
use sha1::{Digest, Sha1};

use crate::support::random_tree::{Maker, descriptor};
use crate::support::tools::{Tools, text, unavailable};

/// A tree that the tools can be expected to read whole.
fn tame_tree(seed: u64, cluster: u64) -> Tree {
    let mut maker = Maker::new(seed, cluster);
    maker.tame = true;
    let descriptor = maker.tree.add_descriptor(&descriptor(0x1F_01FF));
    let root = maker.tree.root();
    maker.tree.node_mut(root).descriptor = Some(descriptor);
    maker.fill(root, 100, 3);
    maker.many_links(40);
    maker.tree
}

fn build(tree: &Tree, options: &Options) -> Vec<u8> {
    let len = (Plan::needed(tree, options).unwrap() + (1 << 20)).next_multiple_of(4096);
    let disk = MemoryDisk::new(len as usize, 0xD1);
    let plan = Plan::new(tree, len, options).unwrap();
    plan.write(tree, &disk, std::thread::available_parallelism().unwrap(), &|_| {}).unwrap();
    disk.into_bytes()
}

/// A volume in a file, in a folder of its own.
struct Image {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Image {
    fn new(bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("volume.img");
        std::fs::write(&path, bytes).unwrap();
        Self { folder, path }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

const OPTIONS: [(u32, u32); 4] = [(512, 4096), (512, 512), (512, 65536), (4096, 4096)];

/// Trees and volumes of several cluster and sector sizes.
fn volumes() -> impl Iterator<Item = (Tree, Vec<u8>)> {
    OPTIONS.into_iter().zip(30..).map(|((sector_size, cluster_size), seed)| {
        let tree = tame_tree(seed, u64::from(cluster_size));
        let options = Options {
            sector_size,
            cluster_size,
            label: "Nano".into(),
            serial: 0x1234_5678_9ABC_DEF0,
            ..Options::default()
        };
        let bytes = build(&tree, &options);
        (tree, bytes)
    })
}

/// What a listing says about a name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Listed {
    short: String,
    attributes: u32,
    descriptor: String,
    times: [String; 3],
    links: u32,
    reparse: Option<u32>,
    object_id: Option<String>,
    /// Length and SHA-1 by name.
    streams: BTreeMap<String, (u64, String)>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn date(time: FileTime) -> String {
    jiff::Timestamp::from_second(time.to_unix()).unwrap().strftime("%a %b %d %H:%M:%S %Y UTC").to_string()
}

/// What wimlib should list for every path of the tree.
fn expected(tree: &Tree) -> BTreeMap<String, Listed> {
    fn add(tree: &Tree, path: String, short: String, id: NodeId, all: &mut BTreeMap<String, Listed>) {
        let node = tree.node(id);
        let mut listed = Listed { short, links: node.links().max(1), ..Listed::default() };
        listed.attributes = node.attributes | if node.is_directory() { 0x10 } else { 0 };
        listed.attributes |= if node.streams.iter().any(|stream| stream.sparse) { 0x200 } else { 0 };
        listed.attributes |= if node.reparse.is_some() { 0x400 } else { 0 };
        listed.attributes |= if listed.attributes == 0 { 0x80 } else { 0 };
        listed.descriptor = node.descriptor.map_or_else(String::new, |id| hex(&tree.descriptors()[id.index()]));
        listed.times = [node.times.created, node.times.modified, node.times.accessed].map(date);
        listed.reparse = node.reparse.as_ref().map(|reparse| reparse.tag);
        listed.object_id = node.object_id.as_ref().map(|id| hex(&id[..16]));
        for stream in &node.streams {
            let bytes = tree.read(&stream.content).unwrap();
            let hash = if bytes.is_empty() { "0".repeat(40) } else { hex(&Sha1::digest(&bytes)) };
            listed.streams.insert(stream.name.to_string(), (bytes.len() as u64, hash));
        }
        for link in node.children() {
            let short = link.short.as_ref().map_or_else(String::new, ToString::to_string);
            add(tree, format!("{}/{}", path.trim_end_matches('/'), link.name), short, link.node, all);
        }
        all.insert(path, listed);
    }
    let mut all = BTreeMap::new();
    add(tree, "/".to_owned(), String::new(), tree.root(), &mut all);
    all
}

/// Reads the output of `wimlib-imagex dir --detailed`.
fn listed(text: &str) -> BTreeMap<String, Listed> {
    let mut all = BTreeMap::new();
    for block in text.split("----------------------------------------------------------------------------\n").skip(1) {
        let mut path = String::new();
        let mut listed = Listed::default();
        let mut stream: Option<String> = None;
        for line in block.lines() {
            if let Some(name) = line.strip_prefix("\tNamed data stream \"") {
                stream = Some(name.trim_end_matches("\":").to_owned());
            } else if line.starts_with("\tUnnamed data stream") {
                stream = Some(String::new());
            } else if line.starts_with("\tReparse point stream") {
                stream = None;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = value.trim_start();
            let number = || u32::from_str_radix(value.trim_start_matches("0x"), 16).unwrap();
            match key.trim_end() {
                "Full Path" => path = value.trim_matches('"').to_owned(),
                "Short Name" => listed.short = value.trim_matches('"').to_owned(),
                "Attributes" => listed.attributes = number(),
                "Security Descriptor" => listed.descriptor = value.to_owned(),
                "Creation Time" => listed.times[0] = value.to_owned(),
                "Last Write Time" => listed.times[1] = value.to_owned(),
                "Last Access Time" => listed.times[2] = value.to_owned(),
                "Link Count" => listed.links = value.parse().unwrap(),
                "Reparse Tag" => listed.reparse = Some(number()),
                "Object ID" => listed.object_id = Some(value.trim_start_matches("0x").to_owned()),
                "Hash" => {
                    if let Some(stream) = &stream {
                        listed.streams.insert(stream.clone(), (0, value.trim_start_matches("0x").to_owned()));
                    }
                }
                "Uncompressed size" => {
                    if let Some(entry) = stream.as_ref().and_then(|stream| listed.streams.get_mut(stream)) {
                        entry.0 = value.trim_end_matches(" bytes").parse().unwrap();
                    }
                }
                _ => {}
            }
        }
        all.insert(path, listed);
    }
    all
}

#[test]
fn wimlib_captures_what_the_tree_holds() {
    let Some(tools) = Tools::find(&["wimlib-imagex"]) else { return };
    for (tree, bytes) in volumes() {
        let image = Image::new(&bytes);
        let wim = image.folder.path().join("x.wim");
        tools.run("wimlib-imagex", &["capture", image.path(), text(&wim), "--compress=none"]);
        let listing = tools.run("wimlib-imagex", &["dir", text(&wim), "1", "--detailed"]);
        let (mut found, expected) = (listed(&listing), expected(&tree));
        assert_eq!(found.len(), expected.len(), "names");
        for (path, expected) in expected {
            let mut found = found.remove(&path).unwrap_or_else(|| panic!("{path} is missing"));
            if expected.reparse.is_some() {
                found.links = expected.links; // it takes each link to a reparse point for a file of its own
            }
            if expected.descriptor.is_empty() {
                found.descriptor.clear(); // the writer's default
            }
            // wimlib lists an empty unnamed stream of directories, or leaves it out, as it likes.
            found.streams.retain(|name, (len, _)| !name.is_empty() || *len > 0);
            let mut expected = expected;
            expected.streams.retain(|name, (len, _)| !name.is_empty() || *len > 0);
            assert_eq!(found, expected, "{path}");
        }
    }
}

#[test]
fn ntfs_3g_finds_nothing_to_repair() {
    let Some(tools) = Tools::find(&["ntfsfix", "ntfsinfo"]) else { return };
    for (_, bytes) in volumes() {
        let image = Image::new(&bytes);
        let text = tools.run("ntfsfix", &["-n", image.path()]);
        for line in [
            "Mounting volume... OK",
            "$MFTMirr completed successfully",
            "alternate boot sector... OK",
            "processed successfully",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let text = tools.run("ntfsinfo", &["-m", image.path()]);
        assert!(text.contains("Volume Name: Nano") && text.contains("Volume Version: 3.1"), "{text}");
        let text = tools.run("ntfsinfo", &["-F", "/40 links", "-v", image.path()]);
        assert!(text.contains("Dumping attribute $INDEX_ROOT"), "{text}");
    }
}

/// Every name, short ones too, looked up in its directory's B+tree, and every stream read.
#[test]
fn the_ntfs_crate_finds_every_name() {
    for ((tree, bytes), (_, cluster)) in volumes().zip(OPTIONS) {
        if cluster > 4096 {
            continue; // it counts index blocks in clusters, also where clusters are longer than blocks
        }
        let mut disk = Cursor::new(&bytes);
        let mut volume = Ntfs::new(&mut disk).unwrap();
        volume.read_upcase_table(&mut disk).unwrap();
        let root = volume.root_directory(&mut disk).unwrap();
        look_up(&tree, tree.root(), &volume, &root, &mut disk);
    }
}

fn look_up(tree: &Tree, directory: NodeId, volume: &Ntfs, found: &NtfsFile<'_>, disk: &mut Cursor<&Vec<u8>>) {
    let index = found.directory_index(disk).unwrap();
    let case_sensitive = tree.node(directory).case_sensitive;
    for link in tree.node(directory).children() {
        let mut records = Vec::new();
        for name in std::iter::once(&link.name).chain(&link.short) {
            let text = String::from_utf16_lossy(name.units());
            let mut finder = index.finder();
            let Some(entry) = NtfsFileNameIndex::find(&mut finder, volume, disk, &text) else {
                assert!(case_sensitive, "{text} is not found");
                continue;
            };
            records.push(entry.unwrap().to_file(volume, disk).unwrap());
        }
        let Some(file) = records.first() else { continue };
        let same = |other: &NtfsFile<'_>| other.file_record_number() == file.file_record_number();
        assert!(case_sensitive || records.iter().all(same));
        if case_sensitive {
            continue; // the crate ignores case, and may find a namesake
        }
        for stream in tree.node(link.node).streams.iter().filter(|_| !file.is_directory()) {
            let name = stream.name.to_string();
            let data = file.data(disk, &name).expect("a stream").unwrap();
            let mut value = data.to_attribute().unwrap().value(disk).unwrap();
            let mut bytes = vec![0; value.len() as usize];
            value.read_exact(disk, &mut bytes).unwrap();
            assert!(bytes == tree.read(&stream.content).unwrap(), "{}:{name}", link.name);
        }
        if file.is_directory() {
            look_up(tree, link.node, volume, file, disk);
        }
    }
}

#[test]
fn sleuthkit_and_libfsntfs_list_every_name() {
    let Some(tools) = Tools::find(&["fls", "fsntfsinfo"]) else { return };
    for ((tree, bytes), (sector, cluster)) in volumes().zip(OPTIONS) {
        let image = Image::new(&bytes);
        let paths = expected(&tree);
        if sector == 512 {
            let text = tools.run("fls", &["-r", "-p", "-F", image.path()]);
            let found: std::collections::HashSet<&str> =
                text.lines().filter_map(|line| line.split_once('\t')).map(|(_, name)| name).collect();
            // Its buffers for a name and a path are short.
            let short = |path: &str| path.len() < 400 && path.split('/').all(|name| name.len() < 200);
            for path in paths
                .keys()
                .filter(|path| short(path) && tree.find(path).is_some_and(|id| !tree.node(id).is_directory()))
            {
                assert!(found.contains(path.trim_start_matches('/')), "fls does not list {path}");
            }
        }
        if cluster != 4096 {
            continue; // libfsntfs lists nothing where clusters are not as long as index blocks, on mkntfs's volumes neither
        }
        let text = tools.run("fsntfsinfo", &["-H", image.path()]);
        for path in paths.keys().filter(|path| *path != "/") {
            let listed = path.replace('/', "\\");
            assert!(text.contains(&listed), "fsntfsinfo does not list {path}");
        }
    }
}

#[test]
fn grub_reads_what_it_has_to_boot() {
    let Some(tools) = Tools::find(&["grub-fstest"]) else { return };
    for ((tree, bytes), (sector, _)) in volumes().zip(OPTIONS) {
        if sector != 512 {
            continue; // its loop devices have sectors of 512 bytes
        }
        let image = Image::new(&bytes);
        let mut read = 0;
        for link in tree.node(tree.root()).children() {
            let name = link.name.to_string();
            let node = tree.node(link.node);
            let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            // In an attribute list it takes the first $DATA for the main stream and the others for more of it.
            let simple = plain && !node.is_directory() && node.reparse.is_none() && node.streams.len() == 1;
            let Some(content) = node.main().filter(|_| simple) else {
                continue;
            };
            let output = tools.run_for_bytes("grub-fstest", &[image.path(), "cat", &format!("(loop0)/{name}")]);
            assert!(output == tree.read(content).unwrap(), "{name}");
            read += 1;
        }
        assert!(read > 5, "{read} files");
        let text = tools.run("grub-fstest", &[image.path(), "ls", "(loop0)/"]);
        assert!(text.contains("40 links/"), "{text}");
    }
}

#[test]
fn ntfs_3g_mounts_it() {
    let Some(tools) = Tools::find(&["ntfs-3g", "umount"]) else { return };
    if std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_err() {
        return unavailable("/dev/fuse cannot be opened");
    }
    for (tree, bytes) in volumes() {
        let image = Image::new(&bytes);
        let point = image.folder.path().join("mounted");
        std::fs::create_dir(&point).unwrap();
        tools.start("ntfs-3g", &["-o", "ro", image.path(), text(&point)]);
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| compare_mounted(&tree, tree.root(), &point)));
        tools.run("umount", &[text(&point)]);
        assert!(outcome.unwrap() > 200);
    }
}

fn compare_mounted(tree: &Tree, directory: NodeId, folder: &Path) -> usize {
    let mut read = 0;
    for link in tree.node(directory).children() {
        let path = folder.join(link.name.to_string());
        let node = tree.node(link.node);
        if node.is_directory() {
            read += compare_mounted(tree, link.node, &path);
        } else if std::fs::symlink_metadata(&path).unwrap().is_file() {
            // What is not: reparse points, and short system files, which ntfs-3g takes for pipes and sockets of Interix.
            let bytes = std::fs::read(&path).unwrap();
            assert!(bytes == node.main().map_or_else(Vec::new, |main| tree.read(main).unwrap()), "{}", path.display());
            read += 1;
        }
    }
    read
}
