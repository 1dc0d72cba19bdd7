//! Damaged tables, sizes beyond all bounds, stores that break their word: noticed, and within bounds.

use super::*;
use crate::tree::{BlobError, BlobSink, BlobStore};

fn plain_options() -> Options {
    Options {
        compression: Compression::None,
        chunk_size: 0,
        guid: Uuid::nil(),
        boot_index: None,
        integrity: false,
        threads: NonZeroUsize::MIN,
    }
}

/// A WIM of two images with one file each, `first` and `second`; and where its blob table starts, whose last two entries are
/// the images'.
fn two_images() -> (Vec<u8>, usize) {
    let trees = ["first", "second"].map(|name| {
        let mut tree = Tree::new(Node::directory(0, Times::default()));
        let content = Content::from(name.as_bytes().to_vec());
        let file = tree.add_node(Node::file(0, Times::default(), content)).unwrap();
        tree.add_link(tree.root(), Link { name: name.into(), short: None, node: file }).unwrap();
        tree
    });
    let named = |name: &str| ImageInfo { name: Some(name.into()), ..ImageInfo::default() };
    let images = [(&trees[0], named("Core")), (&trees[1], named("Core Full"))];
    let mut out = Cursor::new(Vec::new());
    write(&mut out, &images, &plain_options()).unwrap();
    let bytes = out.into_inner();
    let table = u64::from_le_bytes(bytes[0x38..0x40].try_into().unwrap()) as usize;
    (bytes, table)
}

fn open(bytes: &[u8]) -> Result<Wim> {
    Wim::open(vec![Arc::new(bytes.to_vec())])
}

#[test]
fn an_image_never_answers_to_the_index_of_another() {
    let (sound, table) = two_images();
    let (file, first, second) = (table, table + 2 * 50, table + 3 * 50);
    assert!(open(&sound).unwrap().tree(1).unwrap().tree.find("first").is_some());
    let with = |changes: &[(usize, u8)]| {
        let mut bytes = sound.clone();
        changes.iter().for_each(|(at, value)| bytes[*at] = *value);
        open(&bytes)
    };
    let refused = |changes: &[(usize, u8)]| {
        let error = with(changes).err().expect("an error");
        assert_eq!(error.kind(), Kind::Corrupt, "{error}");
        assert!(error.to_string().contains("number of metadata resources"), "{error}");
    };
    for entry in [first, second] {
        refused(&[(entry + 7, 0)]); // no longer metadata
        refused(&[(entry + 24, 2)]); // of another part
        refused(&[(entry + 26, 0)]); // without references
        refused(&[(entry + 16, 0), (entry + 17, 0)]); // a place that was left empty
    }
    refused(&[(file + 7, 2)]); // metadata that is none
    refused(&[(0x2C, 1)]);
    refused(&[(0x2C, 3)]);
    // A leftover, as the header's count confirms.
    let wim = with(&[(first + 26, 0), (0x2C, 1)]).unwrap();
    assert!(wim.warnings().iter().any(|warning| warning.contains("1 metadata resources that no image uses")));
    assert!(wim.tree(1).unwrap().tree.find("second").is_some());
    assert_eq!((wim.images().len(), wim.summary().image_count), (1, 1));
}

#[test]
fn an_odd_index_makes_names_no_guide() {
    let (sound, _) = two_images();
    let wim = open(&sound).unwrap();
    assert_eq!(wim.select("core").unwrap(), 1);
    assert_eq!(wim.select("full").unwrap(), 2);
    let index: Vec<u8> = units("INDEX=\"2\"").into_iter().flat_map(u16::to_le_bytes).collect();
    let at = sound.windows(index.len()).position(|window| window == index).unwrap() + 14;
    for odd in [b'1', b'3', b'0', b'x'] {
        let mut bytes = sound.clone();
        bytes[at] = odd;
        let wim = open(&bytes).unwrap();
        assert_eq!(wim.warnings().len(), 1);
        let error = wim.select("core").unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.hint_text().unwrap().contains("index"), "{error}");
        assert_eq!(wim.select("2").unwrap(), 2);
    }
}

#[test]
fn a_reparse_point_has_a_tag_and_data() {
    const JUNCTION: u64 = 0xA000_0003;
    let name = units("link");
    let attributes = attributes::REPARSE_POINT;
    let item = |tag: u64, sha1: [u8; 20]| Item { name: &name, attributes, group: tag, sha1, ..Item::default() };
    let read = |tag, data: Option<&[u8]>| flat(&[item(tag, data.map_or([0; 20], sha1))]);
    let found = |volume: Volume| {
        let node = volume.tree.node(volume.tree.find("link").unwrap()).clone();
        (node.reparse.map(|reparse| (reparse.tag, reparse.data.len())), node.attributes, volume.notes)
    };
    let (reparse, bits, notes) = found(read(JUNCTION, Some(b"first")).unwrap());
    assert_eq!((reparse, bits, notes), (Some((0xA000_0003, 5)), attributes, Notes::default()));
    for (tag, data) in [(JUNCTION, None), (JUNCTION, Some(b"".as_slice())), (0, None)] {
        let (reparse, bits, notes) = found(read(tag, data).unwrap());
        assert_eq!((reparse, bits), (None, 0));
        assert_eq!(notes, Notes { empty_reparse_points: 1, ..Notes::default() });
        assert_eq!(notes.lines().len(), 1);
    }
    // A FIFO of the Windows Subsystem for Linux.
    assert_eq!(found(read(0x8000_0024, None).unwrap()).0, Some((0x8000_0024, 0)));
    assert!(refusal(read(0, Some(b"first"))).contains("tag"));
    assert!(refusal(read(0x2000_0003, Some(b"first"))).contains("GUID"));
}

#[test]
fn notes_tagged_items_that_end_outside() {
    let name = units("file");
    let mut tagged = TAGGED.to_vec();
    tagged[4] = 0xFF;
    let volume = flat(&[Item { name: &name, tagged: &tagged, ..Item::default() }]).unwrap();
    assert_eq!(volume.notes, Notes { broken_items: 1, ..Notes::default() });
    assert_eq!(volume.notes.lines().len(), 1);
    // Zeros are padding.
    let volume = flat(&[Item { name: &name, tagged: &[0; 24], ..Item::default() }]).unwrap();
    assert_eq!(volume.notes, Notes::default());
}

#[test]
fn missing_parts_are_named_in_few_words_and_none_twice() {
    let (mut bytes, _) = two_images();
    bytes[0x2A..0x2C].fill(0xFF);
    let error = open(&bytes).err().unwrap();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.to_string().contains("without part 2, 3, 4, 5, 6, 7, 8, 9, ... (65534 in all)"), "{error}");
    bytes[0x2A..0x2C].copy_from_slice(&[2, 0]);
    let mut other = bytes.clone();
    other[0x28] = 2;
    let mut different = other.clone();
    different.push(0);
    let parts = [bytes, other, different].map(|bytes| Arc::new(bytes) as Arc<dyn ReadAt>);
    assert!(Wim::open(parts.to_vec()).err().unwrap().to_string().contains("part 2 is given twice"));
}

/// Notes how much is read, and at once.
#[derive(Default)]
struct Meter {
    bytes: Vec<u8>,
    total: std::sync::atomic::AtomicU64,
    largest: std::sync::atomic::AtomicU64,
}

impl ReadAt for Meter {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, at: u64, buffer: &mut [u8]) -> Result<()> {
        use std::sync::atomic::Ordering::Relaxed;
        self.total.fetch_add(buffer.len() as u64, Relaxed);
        self.largest.fetch_max(buffer.len() as u64, Relaxed);
        self.bytes.read_at(at, buffer)
    }
}

#[test]
fn small_blobs_with_gaps_take_small_reads() {
    const STEP: u64 = 30 << 10;
    let mut store = store(&[]);
    let bytes: Vec<u8> = (0..200 * STEP).map(|at| (at / STEP) as u8).collect();
    for index in 0..200u32 {
        let offset = u64::from(index) * STEP;
        store.resources.push(resource::Resource {
            part: 0,
            coding: resource::Coding::Plain,
            offset,
            stored: 1,
            size: 1,
        });
        store.blobs.push(Blob { sha1: Sha1Hash::of(&[index as u8]), resource: index, at: 0, len: 1 });
    }
    let meter = Arc::new(Meter { bytes, ..Meter::default() });
    store.parts = vec![Arc::clone(&meter) as Arc<dyn ReadAt>];
    let all: Vec<BlobId> = (0..200).map(BlobId).collect();
    let count = Count(0.into());
    store.stream(&all, NonZeroUsize::MIN, &count).unwrap();
    assert_eq!(count.0.into_inner(), 200);
    assert!(meter.largest.load(std::sync::atomic::Ordering::Relaxed) <= 1 << 20);
}

/// A store of a solid resource of `chunks` chunks of 4 KiB, not compressed, and one blob for all of it and for each `step`.
fn solid(chunks: u32, step: u64) -> (Store, Arc<Meter>) {
    let size = u64::from(chunks) * 4096;
    let header = ondisk::SolidHeader { size: size.into(), chunk_size: 4096.into(), compression: 0.into() };
    let mut bytes = header.as_bytes().to_vec();
    (0..chunks).for_each(|_| bytes.extend_from_slice(&4096u32.to_le_bytes()));
    let data: Vec<u8> = (0..size).map(|at| (at / 4096 * 31 + at) as u8).collect();
    bytes.extend_from_slice(&data);
    let entry = ondisk::ResourceHeader::new(0x10, 0, bytes.len() as u64, ondisk::SOLID_RESOURCE);
    let mut store = store(&[]);
    store.resources.push(resource::Resource::solid(0, &entry, &bytes).unwrap());
    for (at, data) in (0..).step_by(step as usize).zip(data.chunks(step as usize)) {
        store.blobs.push(Blob { sha1: Sha1Hash::of(data), resource: 0, at, len: data.len() as u64 });
    }
    let meter = Arc::new(Meter { bytes, ..Meter::default() });
    store.parts = vec![Arc::clone(&meter) as Arc<dyn ReadAt>];
    (store, meter)
}

#[test]
fn the_table_of_a_solid_resource_is_not_read_for_every_chunk() {
    use std::sync::atomic::Ordering::Relaxed;
    let chunks = 3 * 4096 + 100;
    let (store, meter) = solid(chunks, 150_000);
    let all: Vec<BlobId> = (0..store.blobs.len() as u32).map(BlobId).collect();
    for threads in [1, 3].map(|threads| NonZeroUsize::new(threads).unwrap()) {
        let count = Count(0.into());
        store.stream(&all, threads, &count).unwrap();
        assert_eq!(count.0.into_inner(), u64::from(chunks) * 4096);
    }
    let overhead = meter.total.load(Relaxed) - 2 * u64::from(chunks) * 4096;
    let pieces = 2 * u64::from(chunks).div_ceil(64);
    assert!(overhead <= (pieces + 4) * 16384, "{overhead} bytes of tables for {pieces} pieces");
    for blob in [0, 111, 112, 113, 224, all.len() - 1] {
        assert_eq!(store.read(BlobId(blob as u32)).unwrap().len() as u64, store.blobs[blob].len);
    }
    // A chunk that ends outside, far before the one that is wanted.
    let mut bytes = meter.bytes.clone();
    bytes[16 + 3 * 4 + 3] = 0x7F;
    let damaged = Store { parts: vec![Arc::new(bytes)], landmarks: std::sync::Mutex::default(), ..store };
    assert_eq!(damaged.read(BlobId(200)).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn sizes_beyond_all_bounds_do_not_overflow() {
    let codec = resource::Codec::new(Compression::Lzms, 1 << 30).unwrap();
    let huge =
        resource::Resource { part: 0, coding: resource::Coding::Chunked(codec), offset: 3, stored: 7, size: u64::MAX };
    let last = huge.chunks() - 1;
    assert_eq!(huge.unpacked(&(last..last + 1)), last << 30..u64::MAX);
    let mut store = store(&[b"one", b"0123456"]);
    store.resources[1] = huge;
    store.blobs[1].len = u64::MAX;
    let failure = store.stream(&[BlobId(0), BlobId(1)], NonZeroUsize::MIN, &Count(0.into())).unwrap_err();
    assert_eq!(failure.blobs, [BlobId(1)]);
    let (bytes, table) = two_images();
    let wim = open(&bytes).unwrap();
    let Ok(mut shared) = Arc::try_unwrap(wim.store) else { panic!("the store is shared") };
    shared.blobs.iter_mut().for_each(|blob| blob.len = u64::MAX);
    let wim = Wim { store: Arc::new(shared), ..open(&bytes).unwrap() };
    assert_eq!(wim.summary().unpacked_bytes, u64::MAX, "{table}");
}

/// A store of one blob of 3,000,000 zeros that gives other pieces than it should.
struct Unruly {
    known: bool,
    pieces: &'static [(u64, usize)],
}

impl BlobStore for Unruly {
    fn position(&self, _: BlobId) -> u64 {
        0
    }

    fn sha1(&self, _: BlobId) -> Option<[u8; 20]> {
        self.known.then_some([1; 20])
    }

    fn stream(&self, wanted: &[BlobId], _: NonZeroUsize, sink: &dyn BlobSink) -> Result<(), BlobError> {
        for blob in wanted {
            self.pieces.iter().try_for_each(|(at, len)| sink.write(*blob, *at, &vec![0; *len]))?;
        }
        Ok(())
    }

    fn read(&self, _: BlobId) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

#[test]
fn a_store_that_gives_too_little_or_too_much_is_noticed() {
    let written = |known, pieces| {
        let mut tree = Tree::new(Node::directory(0, Times::default()));
        let store = tree.add_store(Arc::new(Unruly { known, pieces }));
        let content = Content::Blob { store, blob: BlobId(0), len: 3_000_000 };
        let file = tree.add_node(Node::file(0, Times::default(), content)).unwrap();
        tree.add_link(tree.root(), Link { name: "file".into(), short: None, node: file }).unwrap();
        write(&mut Cursor::new(Vec::new()), &[(&tree, ImageInfo::default())], &plain_options())
    };
    let sound: &[(u64, usize)] = &[(2_000_000, 1_000_000), (0, 2_000_000)];
    let unruly: [&'static [(u64, usize)]; 4] =
        [&[], &[(0, 1 << 20)], &[(0, 2_000_000), (2_500_000, 500_000)], &[(0, 3_000_000), (0, 1 << 20)]];
    for known in [true, false] {
        assert!(written(known, sound).is_ok());
        for pieces in unruly {
            assert_eq!(written(known, pieces).unwrap_err().kind(), Kind::Invalid, "{pieces:?}");
        }
        assert!(written(known, &[(0, 3_000_001)]).is_err());
    }
}
