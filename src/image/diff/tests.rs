//! Trees that differ in one thing, and what is told of it.

use std::sync::Arc;

use super::*;
use crate::base::security::{Descriptor, Sid, mask};
use crate::base::{FileTime, Name};
use crate::error::Error;
use crate::format::bcd::{self, Device, Element, Object, Store};
use crate::format::hive::{Hive, Value};
use crate::tree::{
    BlobError, BlobId, BlobSink, BlobStore, Content, ExtendedAttribute, Link, Node, NodeId, Reparse, Stream, Times,
};

/// Blobs in memory, in small pieces, without hashes; one of them may be broken.
#[derive(Default)]
struct Memory {
    blobs: Vec<Vec<u8>>,
    broken: Option<u32>,
}

impl BlobStore for Memory {
    fn position(&self, blob: BlobId) -> u64 {
        u64::from(u32::MAX - blob.0)
    }

    fn stream(&self, wanted: &[BlobId], _threads: NonZeroUsize, sink: &dyn BlobSink) -> Result<(), BlobError> {
        assert!(wanted.is_sorted_by_key(|blob| self.position(*blob)));
        for blob in wanted {
            for (index, piece) in self.blobs[blob.0 as usize].chunks(7).enumerate() {
                if index == 1 && self.broken == Some(blob.0) {
                    return Err(BlobError { blobs: vec![*blob], error: Error::corrupt("a broken blob") });
                }
                sink.write(*blob, 7 * index as u64, piece)?;
            }
        }
        Ok(())
    }

    fn read(&self, blob: BlobId) -> Result<Vec<u8>> {
        Ok(self.blobs[blob.0 as usize].clone())
    }
}

fn link(name: &str, node: NodeId) -> Link {
    Link { name: name.into(), short: None, node }
}

fn units(name: &str) -> Vec<u16> {
    name.encode_utf16().collect()
}

fn descriptor(mask: u32) -> Vec<u8> {
    let allow = [(Sid::USERS, mask, 0)];
    Descriptor { owner: Sid::ADMINISTRATORS, group: Sid::LOCAL_SYSTEM, protected: false, allow: &allow }.to_bytes()
}

fn hive(edit: impl FnOnce(&mut Hive)) -> Vec<u8> {
    let mut hive = Hive::new("ROOT", FileTime(1)).unwrap();
    let key = hive.create_key(r"Software\One").unwrap();
    hive.set_value(key, "text", Value::sz("a")).unwrap();
    hive.set_value(key, "number", Value::dword(1)).unwrap();
    hive.create_key(r"Software\Two").unwrap();
    edit(&mut hive);
    hive.to_bytes().unwrap()
}

fn boot_store(edit: impl FnOnce(&mut Object)) -> Vec<u8> {
    let mut store = Store::default();
    let mut object = Object::new(0x1010_0002);
    object.elements.insert(bcd::code::DEVICE, Element::Device(Device::Boot));
    object.elements.insert(bcd::code::DESCRIPTION, Element::String("Windows Boot Manager".into()));
    edit(&mut object);
    store.objects.insert(bcd::id_of_name("bootmgr").unwrap(), object);
    store.to_hive(FileTime(1)).unwrap().to_bytes().unwrap()
}

/// A tree with one of each kind of thing.
fn sample() -> Tree {
    let times = Times::all(FileTime(1 << 56));
    let mut tree = Tree::new(Node::directory(0, times));
    let plain = tree.add_descriptor(&descriptor(mask::FULL));
    let mut file = Node::file(0x20, times, vec![1, 2, 3].into());
    file.descriptor = Some(plain);
    file.object_id = Some([7; 16].into());
    file.extended = vec![ExtendedAttribute { flags: 0, name: (*b"EA").into(), value: (*b"v").into() }];
    file.streams.push(Stream { name: "stream".into(), content: vec![5; 9].into(), sparse: false });
    let file = tree.add_node(file).unwrap();
    let mut symbolic = Node::file(0, times, Content::empty());
    symbolic.reparse = Some(Reparse { tag: 0xA000_0003, data: vec![0; 20].into() });
    let symbolic = tree.add_node(symbolic).unwrap();
    let empty = tree.add_node(Node::directory(0, times)).unwrap();
    let registry = tree.add_node(Node::file(0, times, hive(|_| ()).into())).unwrap();
    let boot = tree.add_node(Node::file(0, times, boot_store(|_| ()).into())).unwrap();
    let root = tree.root();
    let long = Link { name: "long name.txt".into(), short: Some("LONGNA~1.TXT".into()), node: file };
    tree.set_children(
        root,
        vec![link("zlink", symbolic), long, link("hive", registry), link("BCD", boot), link("dir", empty)],
    )
    .unwrap();
    tree.add_link(empty, link("hard", file)).unwrap();
    tree
}

fn side(tree: Tree) -> Side {
    Side::of_volume("side", tree, None)
}

fn all(a: &Side, b: &Side, options: &Options) -> (Vec<Difference>, Summary) {
    let mut told = Vec::new();
    let control = Control::default();
    let comparison = Comparison::new(a, b, options, NonZeroUsize::new(3).unwrap(), &control).unwrap();
    let summary = comparison
        .tell(&control, &mut |difference| {
            told.push(difference.clone());
            Ok(())
        })
        .unwrap();
    (told, summary)
}

/// Each difference as `change path [key [value]]: aspects`.
fn told_with(a: &Side, b: &Side, options: &Options) -> Vec<String> {
    let word = |difference: &Difference| {
        let mut words = format!("{:?} {}", difference.change, difference.path);
        for part in [&difference.key, &difference.value].into_iter().flatten() {
            words += &format!(" [{part}]");
        }
        if difference.change == Change::Changed {
            let aspects: Vec<&str> = difference.details.iter().map(|detail| detail.aspect.name()).collect();
            words += &format!(": {}", aspects.join(" "));
        }
        words
    };
    all(a, b, options).0.iter().map(word).collect()
}

fn told(a: Tree, b: Tree) -> Vec<String> {
    told_with(&side(a), &side(b), &Options::default())
}

/// What is told after one edit; it has to be told the other way round, too.
fn after(edit: impl FnOnce(&mut Tree)) -> Vec<String> {
    let mut edited = sample();
    edit(&mut edited);
    let forth = told(sample(), edited.clone());
    let back = told(edited, sample());
    assert_eq!(forth.len(), back.len(), "{forth:?} {back:?}");
    forth
}

fn at(tree: &mut Tree, path: &str) -> NodeId {
    tree.find(path).unwrap()
}

fn set(path: &'static str, edit: impl FnOnce(&mut Node)) -> impl FnOnce(&mut Tree) {
    move |tree| {
        let id = at(tree, path);
        edit(tree.node_mut(id));
    }
}

fn set_main(path: &'static str, bytes: Vec<u8>) -> impl FnOnce(&mut Tree) {
    set(path, |node| node.streams[0].content = bytes.into())
}

const FILE: &str = r"\dir\hard"; // the name under which a file of two names is met first

#[test]
fn equal_trees_differ_in_nothing() {
    let (told, summary) = all(&side(sample()), &side(sample()), &Options::default());
    assert_eq!(told, []);
    assert!(summary.is_equal());
    assert_eq!(summary.compared, 7);
    assert_eq!(summary.not_compared, []);
}

#[test]
fn one_difference_of_each_kind_is_told_alone() {
    let changed = |what: &str| vec![format!(r"Changed \dir\hard: {what}")];
    assert_eq!(after(set_main(FILE, vec![1, 2, 4])), changed("contents"));
    assert_eq!(after(set_main(FILE, vec![1, 2, 3, 4])), changed("size contents"));
    assert_eq!(after(set(FILE, |node| node.attributes |= 1)), changed("attributes"));
    assert_eq!(after(set(FILE, |node| node.times.created.0 += 1)), changed("created"));
    assert_eq!(after(set(FILE, |node| node.times.modified.0 += 1)), changed("modified"));
    assert_eq!(after(set(FILE, |node| node.times.changed.0 += 1)), changed("changed"));
    assert_eq!(after(set(FILE, |node| node.times.accessed.0 += 1)), changed("accessed"));
    assert_eq!(after(set(FILE, |node| node.descriptor = None)), changed("security"));
    assert_eq!(after(set(FILE, |node| node.object_id = None)), changed("object-id"));
    assert_eq!(after(set(FILE, |node| node.extended[0].value = (*b"w").into())), changed("extended-attributes"));
    assert_eq!(after(set(FILE, |node| node.extended[0].flags = 0x80)), changed("extended-attributes"));
    assert_eq!(after(set(FILE, |node| node.extended.clear())), changed("extended-attributes"));
    assert_eq!(after(set(FILE, |node| node.streams[1].content = vec![6; 9].into())), changed("contents"));
    assert_eq!(after(set(FILE, |node| drop(node.streams.pop()))), changed("streams"));
    assert_eq!(after(set(FILE, |node| node.streams[1].sparse = true)), changed("sparse"));
    assert_eq!(after(set(FILE, |node| node.streams[0].sparse = true)), changed("sparse"));
    assert_eq!(after(set("dir", |node| node.case_sensitive = true)), [r"Changed \dir: case-sensitivity"]);
    assert_eq!(after(set("\\", |node| node.attributes |= 2)), ["Changed \\: attributes"]);
    let reparse = |edit: fn(&mut Reparse)| set("zlink", move |node| node.reparse.iter_mut().for_each(edit));
    assert_eq!(after(reparse(|reparse| reparse.tag = 0xA000_000C)), [r"Changed \zlink: reparse"]);
    assert_eq!(after(reparse(|reparse| reparse.data = vec![1; 20].into())), [r"Changed \zlink: reparse"]);
    assert_eq!(after(set("zlink", |node| node.reparse = None)), [r"Changed \zlink: reparse"]);
}

#[test]
fn descriptors_are_compared_by_what_they_mean() {
    let other = |bytes: Vec<u8>| {
        after(move |tree| {
            let id = tree.add_descriptor(&bytes);
            let file = at(tree, FILE);
            tree.node_mut(file).descriptor = Some(id);
        })
    };
    assert_eq!(other(descriptor(mask::READ)), [r"Changed \dir\hard: security"]);
    // The same parts, but four bytes apart.
    let mut moved = descriptor(mask::FULL);
    moved.splice(20..20, [0; 4]);
    for at in [4, 8, 16] {
        let offset = u32::from_le_bytes(moved[at..at + 4].try_into().unwrap()) + 4;
        moved[at..at + 4].copy_from_slice(&offset.to_le_bytes());
    }
    assert_eq!(other(moved), Vec::<String>::new());
    assert_eq!(other(vec![1, 2, 3]), [r"Changed \dir\hard: security"]);
}

#[test]
fn names_and_links() {
    let root = |edit: fn(&mut Tree, NodeId)| {
        after(move |tree| {
            let root = tree.root();
            edit(tree, root);
        })
    };
    let renamed = |tree: &mut Tree, root, name: &str, short: Option<&str>| {
        let node = tree.remove_link(root, &units("long name.txt")).unwrap();
        tree.add_link(root, Link { name: name.into(), short: short.map(Name::from), node }).unwrap();
    };
    let upper = after(|tree| renamed(tree, tree.root(), "Long Name.TXT", Some("LONGNA~1.TXT")));
    assert_eq!(upper, [r"Changed \long name.txt: name-case"].map(str::to_owned), "one way");
    assert_eq!(
        after(|tree| renamed(tree, tree.root(), "long name.txt", Some("OTHER~1.TXT"))),
        [r"Changed \long name.txt: short-name"]
    );
    assert_eq!(
        after(|tree| renamed(tree, tree.root(), "long name.txt", None)),
        [r"Changed \long name.txt: short-name"]
    );
    assert_eq!(
        root(|tree, root| {
            let node = tree.add_node(Node::file(0, Times::default(), Content::empty())).unwrap();
            tree.add_link(root, link("new", node)).unwrap();
        }),
        [r"Added \new"]
    );
    // One more name of a file is just that.
    assert_eq!(
        root(|tree, root| {
            let node = at(tree, FILE);
            tree.add_link(root, link("new", node)).unwrap();
        }),
        [r"Added \new"]
    );
    // A name that leads to a file of its own now, with the same contents and metadata.
    assert_eq!(
        root(|tree, root| {
            let old = tree.remove_link(root, &units("long name.txt")).unwrap();
            let mut copy = tree.node(old).copy();
            copy.object_id = tree.node(old).object_id.clone();
            let node = tree.add_node(copy).unwrap();
            let short = Some("LONGNA~1.TXT".into());
            tree.add_link(root, Link { name: "long name.txt".into(), short, node }).unwrap();
        }),
        [r"Changed \long name.txt: hard-links"]
    );
    assert_eq!(
        root(|tree, root| {
            let dir = at(tree, "dir");
            tree.remove_link(dir, &units("hard")).unwrap();
            tree.remove_link(root, &units("dir")).unwrap();
        }),
        [r"Removed \dir", r"Removed \dir\hard"]
    );
    // A directory in the place of a file.
    assert_eq!(
        root(|tree, root| {
            let old = tree.remove_link(root, &units("hive")).unwrap();
            let times = tree.node(old).times;
            let node = tree.add_node(Node::directory(0, times)).unwrap();
            tree.add_link(root, link("hive", node)).unwrap();
            let file = tree.add_node(Node::file(0, times, Content::empty())).unwrap();
            tree.add_link(node, link("below", file)).unwrap();
        }),
        [r"Changed \hive: kind", r"Added \hive\below"]
    );
}

#[test]
fn names_that_differ_in_case_only_find_their_partners() {
    let tree = |names: &[(&str, u8)]| {
        let mut tree = Tree::new(Node::directory(0, Times::default()));
        let links = names
            .iter()
            .map(|(name, byte)| link(name, tree.add_node(Node::file(0, Times::default(), vec![*byte].into())).unwrap()))
            .collect();
        let root = tree.root();
        tree.set_children(root, links).unwrap();
        tree.node_mut(root).case_sensitive = true;
        tree
    };
    let a = || tree(&[("a", 1), ("A", 2), ("b", 3)]);
    assert_eq!(told(a(), tree(&[("b", 3), ("A", 2), ("a", 1)])), Vec::<String>::new());
    assert_eq!(told(a(), tree(&[("b", 3), ("A", 2)])), [r"Removed \a"]);
    assert_eq!(told(a(), tree(&[("B", 3), ("A", 2), ("a", 1)])), [r"Changed \b: name-case"]);
    let three = || tree(&[("aaa", 1), ("AAA", 2), ("aAa", 3)]);
    assert_eq!(told(three(), tree(&[("aaA", 1), ("AAA", 2), ("aAa", 3)])), [r"Changed \aaa: name-case"]);
    let two_new = told(three(), tree(&[("aaA", 1), ("AaA", 2), ("aAa", 3)]));
    assert_eq!(two_new, [r"Removed \AAA", r"Added \AaA", r"Added \aaA", r"Removed \aaa"]);
}

#[test]
fn hives_are_compared_by_keys_and_values() {
    let edited = |edit: fn(&mut Hive)| after(set_main("hive", hive(edit)));
    let file = |lines: &[&str]| {
        let mut all = vec![r"Changed \hive: contents".to_owned()];
        all.extend(lines.iter().map(|line| (*line).to_owned()));
        all
    };
    let one = |hive: &Hive| hive.open(r"Software\One").unwrap();
    let number = edited(|hive| hive.set_value(hive.open(r"Software\One").unwrap(), "NUMBER", Value::dword(2)).unwrap());
    assert_eq!(number, file(&[r"Changed \hive [Software\One] [number]: registry"]));
    let kind = edited(|hive| {
        hive.set_value(hive.open(r"Software\One").unwrap(), "number", Value::binary([1, 0, 0, 0])).unwrap()
    });
    assert_eq!(kind, file(&[r"Changed \hive [Software\One] [number]: registry"]));
    let added = edited(|hive| {
        let key = hive.create_key(r"Software\New\Below").unwrap();
        hive.set_value(key, "", Value::sz("default")).unwrap();
    });
    assert_eq!(
        added,
        file(&[
            r"Added \hive [Software\New]",
            r"Added \hive [Software\New\Below]",
            r"Added \hive [Software\New\Below] []"
        ])
    );
    let removed = edited(|hive| hive.delete_key(hive.open(r"Software\Two").unwrap()).unwrap());
    assert_eq!(removed, file(&[r"Removed \hive [Software\Two]"]));
    let class = edited(|hive| hive.set_class(hive.open(r"Software\Two").unwrap(), Some("class")).unwrap());
    assert_eq!(class, file(&[r"Changed \hive [Software\Two]: registry"]));
    let security = edited(|hive| {
        let key = hive.open(r"Software\Two").unwrap();
        hive.set_descriptor(key, &descriptor(1)).unwrap();
    });
    assert_eq!(security, file(&[r"Changed \hive [Software\Two]: security"]));
    // Times of keys, and the order of values, are no difference; the bytes differ all the same.
    let times = |hive: &mut Hive| hive.set_last_written(hive.open("Software").unwrap(), FileTime(77)).unwrap();
    assert_eq!(edited(times), [r"Same \hive"]);
    let order = edited(|hive| {
        let key = hive.open(r"Software\One").unwrap();
        hive.delete_value(key, "text").unwrap();
        hive.set_value(key, "text", Value::sz("a")).unwrap();
    });
    assert_eq!(order, [r"Same \hive"]);
    let mut with_times = sample();
    set_main("hive", hive(times))(&mut with_times);
    let options = Options { key_times: true, ..Options::default() };
    assert_eq!(told_with(&side(sample()), &side(with_times), &options), file(&[r"Changed \hive [Software]: modified"]));
    assert_eq!(one(&Hive::read(hive(|_| ())).unwrap()), one(&Hive::read(hive(|_| ())).unwrap()));
}

#[test]
fn values_are_readable_and_long_ones_are_cut() {
    let mut b = sample();
    let long = |end: u8| {
        hive(|hive| {
            let key = hive.open("Software").unwrap();
            let mut data = vec![0x11; 100_000];
            data.push(end);
            hive.set_value(key, "long", Value::binary(data)).unwrap();
        })
    };
    set_main("hive", long(2))(&mut b);
    let mut a = sample();
    set_main("hive", long(1))(&mut a);
    let (told, _) = all(&side(a), &side(b), &Options::default());
    let detail = &told[1].details[0];
    assert_eq!(detail.of.as_deref(), Some("data from byte 100000 on"));
    let Some(Fact::Value { data, bytes, .. }) = &detail.a else { panic!("{detail:?}") };
    assert_eq!((data.len(), *bytes), (2 * 65536, 100_001));
}

#[test]
fn damaged_and_dirty_hives_are_said_to_be_such() {
    let mut damaged = hive(|_| ());
    damaged[4096] ^= 0xFF; // the signature of the first bin
    let mut b = sample();
    set_main("hive", damaged)(&mut b);
    let (told, summary) = all(&side(sample()), &side(b), &Options::default());
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].area, told[0].change), (Area::Files, Change::Changed));
    assert!(told[0].note.as_ref().unwrap().contains("compared as bytes"), "{told:?}");
    assert_eq!(summary.trouble, None);

    // The two sequence numbers differ, as in a hive that was not written to the end.
    let mut dirty = hive(|_| ());
    dirty[4] += 1;
    let sum = dirty[..508].chunks(4).fold(0, |sum, word| sum ^ u32::from_le_bytes(word.try_into().unwrap()));
    dirty[508..512].copy_from_slice(&sum.to_le_bytes());
    let mut b = sample();
    set_main("hive", dirty)(&mut b);
    let (told, _) = all(&side(sample()), &side(b), &Options::default());
    assert_eq!(told[0].change, Change::Same);
    assert!(told[0].note.as_ref().unwrap().contains("dirty"), "{told:?}");
}

#[test]
fn boot_stores_are_compared_by_objects_and_elements() {
    let edited = |edit: fn(&mut Object)| after(set_main("BCD", boot_store(edit)));
    let timeout = edited(|object| drop(object.elements.insert(0x2500_0004, Element::Integer(30))));
    assert_eq!(timeout, [r"Changed \BCD: contents", r"Added \BCD [{bootmgr}] [timeout]"]);
    let device = edited(|object| {
        let device = Device::MbrPartition { signature: 1, offset: 2 };
        object.elements.insert(bcd::code::DEVICE, Element::Device(device));
    });
    assert_eq!(device, [r"Changed \BCD: contents", r"Changed \BCD [{bootmgr}] [device]: bcd"]);
    let unknown = edited(|object| drop(object.elements.insert(0x2600_FFFF, Element::Boolean(true))));
    assert_eq!(unknown[1], r"Added \BCD [{bootmgr}] [custom:2600ffff]");
    // What a store's objects do not show is shown as a hive's keys.
    let mut hive = Hive::read(boot_store(|_| ())).unwrap();
    hive.create_key("Elsewhere").unwrap();
    let elsewhere = after(set_main("BCD", hive.to_bytes().unwrap()));
    assert_eq!(elsewhere[1..], [r"Added \BCD [Elsewhere]"]);
}

#[test]
fn what_one_side_cannot_carry_is_no_difference() {
    let mut b = sample();
    set(FILE, |node| {
        node.times.changed.0 += 1;
        node.streams[1].sparse = true;
    })(&mut b);
    set("dir", |node| node.case_sensitive = true)(&mut b);
    let wim = Side::of_wim("wim", sample());
    assert_eq!(told_with(&wim, &side(b), &Options::default()), Vec::<String>::new());
    let mut bare = sample();
    set(FILE, |node| node.descriptor = None)(&mut bare);
    let bare = Side::of_wim("wim", bare);
    let (told, summary) = all(&bare, &side(sample()), &Options::default());
    assert_eq!(told, []);
    assert!(summary.not_compared.contains(&Aspect::Security));
}

#[test]
fn what_is_not_asked_for_is_not_told() {
    let mut b = sample();
    set(FILE, |node| {
        node.times = Times::all(FileTime(9));
        node.attributes |= 2;
    })(&mut b);
    set_main(
        "hive",
        hive(|hive| {
            hive.create_key("New").unwrap();
        }),
    )(&mut b);
    let (a, b) = (side(sample()), side(b));
    let mut b_long = sample();
    let with = |ignore: &[Aspect], only: &[&str], exclude: &[&str]| {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let filter = Filter::new(&owned(only), &owned(exclude)).unwrap();
        told_with(&a, &b, &Options { ignore: Aspects::of(ignore), filter, key_times: false })
    };
    let hive_lines = [r"Changed \hive: contents", r"Added \hive [New]"];
    assert_eq!(with(&[], &["DIR"], &[]), [r"Changed \dir\hard: attributes created modified changed accessed"]);
    let times = [Aspect::Created, Aspect::Modified, Aspect::Changed, Aspect::Accessed];
    assert_eq!(with(&times, &["dir/hard"], &[]), [r"Changed \dir\hard: attributes"]);
    assert_eq!(with(&[], &["hive"], &[]), hive_lines);
    assert_eq!(with(&[], &[], &["dir", "long*"]), hive_lines);
    assert_eq!(with(&[Aspect::Registry], &["hive"], &[]), hive_lines[..1]);
    assert_eq!(with(&[Aspect::Contents], &["hive"], &[]), Vec::<String>::new());
    // By its short name, by a pattern, with a drive: the same file.
    set_main("long name.txt", vec![9])(&mut b_long);
    let (c, d) = (side(sample()), side(b_long));
    for only in ["longna~1.txt", "long*", r"C:\Long Name.txt"] {
        let filter = Filter::new(&[only.into()], &[]).unwrap();
        let told = told_with(&c, &d, &Options { filter, ..Options::default() });
        assert!(told.iter().any(|line| line.contains("long name.txt")), "{only}: {told:?}");
    }
    let nowhere = Options { filter: Filter::new(&["nowhere".into()], &[]).unwrap(), ..Options::default() };
    let control = Control::default();
    let failed = Comparison::new(&a, &b, &nowhere, NonZeroUsize::MIN, &control).err().unwrap();
    assert_eq!(failed.kind(), Kind::Invalid);
}

/// A tree of files whose contents are in a store.
fn stored(contents: &[&[u8]], broken: Option<u32>) -> Tree {
    let mut tree = Tree::new(Node::directory(0, Times::default()));
    let blobs = contents.iter().map(|bytes| bytes.to_vec()).collect();
    let store = tree.add_store(Arc::new(Memory { blobs, broken }));
    let links = contents.iter().enumerate().map(|(index, bytes)| {
        let content = Content::Blob { store, blob: BlobId(index as u32), len: bytes.len() as u64 };
        let node = tree.add_node(Node::file(0, Times::default(), content)).unwrap();
        link(&format!("f{index}"), node)
    });
    let links = links.collect();
    let root = tree.root();
    tree.set_children(root, links).unwrap();
    tree
}

#[test]
fn stored_contents_are_read_and_compared() {
    let a: Vec<Vec<u8>> = (0..40).map(|index| vec![index; 20 * usize::from(index)]).collect();
    let mut b = a.clone();
    b[7][139] ^= 1;
    b[30][0] ^= 1;
    let slices = |all: &'_ [Vec<u8>]| stored(&all.iter().map(Vec::as_slice).collect::<Vec<_>>(), None);
    assert_eq!(told(slices(&a), slices(&b)), [r"Changed \f30: contents", r"Changed \f7: contents"]);
    assert_eq!(told(slices(&a), slices(&a)), Vec::<String>::new());
}

#[test]
fn what_cannot_be_read_is_said_and_stops_nothing() {
    let contents: [&[u8]; 4] = [b"one and more", b"two and more", b"three and more", b"four and more"];
    let other: [&[u8]; 4] = [b"one and more", b"two and more", b"three and MORE", b"four and more"];
    let (a, b) = (side(stored(&contents, Some(1))), side(stored(&other, None)));
    let (told, summary) = all(&a, &b, &Options::default());
    let changes: Vec<_> = told.iter().map(|difference| (difference.change, difference.path.as_str())).collect();
    assert_eq!(changes, [(Change::Unknown, r"\f1"), (Change::Changed, r"\f2")]);
    assert!(told[0].note.as_ref().unwrap().contains("a broken blob"));
    assert_eq!((summary.unknown, summary.trouble), (1, Some(Kind::Corrupt)));
}

#[test]
fn what_is_lost_of_a_volume_makes_the_comparison_incomplete() {
    let damaged = Side { lost: 1, ..side(sample()) };
    let (told, summary) = all(&side(sample()), &damaged, &Options::default());
    assert_eq!((told.len(), summary.trouble), (0, Some(Kind::Corrupt)));
}

#[test]
fn birth_ids_that_say_nothing_are_no_difference() {
    let id =
        |birth: [u8; 48]| after(set(FILE, move |node| node.object_id = Some([&[7; 16][..], &birth].concat().into())));
    let mut repeated = [0; 48];
    assert_eq!(id(repeated), Vec::<String>::new());
    repeated[16..32].fill(7);
    assert_eq!(id(repeated), Vec::<String>::new());
    assert_eq!(id([7; 48]), [r"Changed \dir\hard: object-id"]);
}

#[test]
fn stops_when_asked_to() {
    let control = Control::default();
    control.interrupt();
    let (a, b) = (side(sample()), side(sample()));
    let stopped = Comparison::new(&a, &b, &Options::default(), NonZeroUsize::MIN, &control).err().unwrap();
    assert_eq!(stopped.kind(), Kind::Interrupted);
}
