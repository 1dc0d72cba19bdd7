use zerocopy::FromBytes;

use super::ondisk::*;
use super::*;
use crate::base::{FileTime, Name};
use crate::error::{Error, Kind};

const NOW: FileTime = FileTime(131_000_000_000_000_000);
const LATER: FileTime = FileTime(131_000_000_000_000_001);

/// A hive with a bit of everything, of that minor version.
fn sample(minor: u32) -> Hive {
    let mut hive = Hive::new("ROOT", NOW).unwrap();
    hive.set_minor_version(minor).unwrap();
    let key = hive.create_key(r"Software\Vendor\Product").unwrap();
    hive.set_value(key, "", Value::sz("default")).unwrap();
    hive.set_value(key, "Big", Value::binary(vec![7; 40_000])).unwrap();
    hive.set_value(key, "Number", Value::dword(5)).unwrap();
    hive.set_value(key, "\u{3a9}", Value::multi_sz(["a", "b"])).unwrap();
    hive.set_class(key, Some("Class")).unwrap();
    let many = hive.create_key("Many").unwrap();
    for i in 0..600 {
        hive.create_subkey(many, format!("k{i}").as_str()).unwrap();
    }
    let mut descriptor = ADMIN_DESCRIPTOR.to_vec();
    descriptor[2] ^= 0x10;
    hive.set_descriptor(many, &descriptor).unwrap();
    hive
}

/// Everything in a hive, to compare by.
fn dump(hive: &Hive) -> Vec<String> {
    let mut out = Vec::new();
    let mut pending = vec![hive.root()];
    while let Some(key) = pending.pop() {
        out.push(format!(
            "{} {} {:?} {:?} {:?}",
            hive.path(key),
            hive.flags(key),
            hive.last_written(key),
            hive.class(key),
            hive.descriptor(key)
        ));
        out.extend(hive.values(key).map(|value| format!("{value:?}")));
        pending.extend(hive.subkeys(key));
    }
    out
}

fn reread(hive: &Hive) -> Hive {
    Hive::read(hive.to_bytes().unwrap()).unwrap()
}

#[test]
fn a_written_hive_reads_the_same() {
    for minor in 3..=6 {
        let hive = sample(minor);
        let again = reread(&hive);
        assert_eq!(dump(&hive), dump(&again));
        assert_eq!(again.minor_version(), minor);
        assert_eq!(again.to_bytes().unwrap(), hive.to_bytes().unwrap());
    }
}

#[test]
fn the_file_is_laid_out_as_windows_wants_it() {
    let bytes = sample(5).to_bytes().unwrap();
    let (base, _) = BaseBlock::ref_from_prefix(&bytes).unwrap();
    assert_eq!(base.primary_sequence, base.secondary_sequence);
    assert_eq!(base.checksum.get(), base.expected_checksum());
    assert_eq!(base.bins_size.get() as usize, bytes.len() - BLOCK);
    let cells = super::store::Cells(&bytes);
    let (root, name) = cells.key(base.root.get()).unwrap();
    assert!(name.is("root"));
    assert_eq!(root.flags.get(), KEY_HIVE_ENTRY | KEY_NO_DELETE | KEY_COMP_NAME);
    assert_eq!((root.subkeys.get(), root.largest_subkey_name.get()), (2, 16));
    // The first subkey is "Many": 600 subkeys take two leaves, sorted as a whole.
    let list = cells.payload(root.subkey_list.get()).unwrap();
    assert_eq!(list[..4], *b"lh\x02\0");
    let many = u32::from_le_bytes(list[4..8].try_into().unwrap());
    assert_eq!(list[8..12], 0x003C_EAB1_u32.to_le_bytes(), "37-based hash of MANY");
    let (many, _) = cells.key(many).unwrap();
    let index = cells.payload(many.subkey_list.get()).unwrap();
    assert_eq!(index[..4], *b"ri\x02\0");
    let first = cells.payload(u32::from_le_bytes(index[4..8].try_into().unwrap())).unwrap();
    assert_eq!(first[..4], [b'l', b'h', 0xFB, 0x01]);
    // Two descriptors in a ring: "Many" has one of its own, its subkeys still the root's.
    let other = cells.payload(many.security.get()).unwrap();
    let (other, _) = KeySecurity::ref_from_prefix(other).unwrap();
    let (shared, _) = KeySecurity::ref_from_prefix(cells.payload(root.security.get()).unwrap()).unwrap();
    assert_eq!((other.references.get(), shared.references.get()), (1, 604));
    assert_eq!((other.forward, other.backward), (root.security, root.security));
    assert_eq!((shared.forward, shared.backward), (many.security, many.security));
}

#[test]
fn old_versions_have_hints_and_whole_data() {
    let bytes = sample(3).to_bytes().unwrap();
    let hive = Hive::read(bytes.clone()).unwrap();
    let root = BaseBlock::ref_from_prefix(&bytes).unwrap().0.root.get();
    let cells = hive.cells();
    let list = cells.payload(cells.key(root).unwrap().0.subkey_list.get()).unwrap();
    assert_eq!((&list[..4], &list[8..12]), (&b"lf\x02\0"[..], &b"Many"[..]));
    let key = hive.open(r"Software\Vendor\Product").unwrap();
    assert!(matches!(hive.value(key, "Big").unwrap().data, std::borrow::Cow::Borrowed(_)), "one cell");
    let mut large = sample(3);
    large.set_value(large.root(), "large", Value::binary(vec![0; (1 << 20) + 1])).unwrap();
    assert_eq!(large.to_bytes().unwrap_err().kind(), Kind::Unsupported);
}

#[test]
fn names_ignore_case_and_keep_it() {
    let mut hive = sample(5);
    let key = hive.open(r"SOFTWARE\vendor\PRODUCT").unwrap();
    assert_eq!(hive.path(key), r"Software\Vendor\Product");
    assert_eq!(hive.create_key(r"software\VENDOR\product").unwrap(), key);
    hive.set_value(key, "NUMBER", Value::dword(6)).unwrap();
    let number = hive.value(key, "number").unwrap();
    assert_eq!((number.name.to_string().as_str(), number.as_dword()), ("Number", Some(6)));
    assert!(hive.value(key, "\u{3c9}").is_some());
    assert_eq!(hive.values(key).count(), 4);
    assert_eq!(hive.open(r"Software\\Vendor"), None);
    assert_eq!(hive.open(""), Some(hive.root()));
}

#[test]
fn subkeys_stay_sorted() {
    let mut hive = Hive::new("ROOT", NOW).unwrap();
    for name in ["b", "_", "A", "z", "\u{3b1}", "ab", "{", "\u{e4}"] {
        hive.create_key(name).unwrap();
    }
    let names = |hive: &Hive| hive.subkeys(hive.root()).map(|key| hive.name(key).to_string()).collect::<Vec<_>>();
    assert_eq!(names(&hive), ["A", "ab", "b", "z", "_", "{", "\u{e4}", "\u{3b1}"]);
    let mut hive = reread(&hive);
    hive.create_key("C").unwrap();
    assert_eq!(names(&hive)[2..5], ["b", "C", "z"]);
}

#[test]
fn edits_reach_only_what_they_are_meant_for() {
    let before = reread(&sample(5));
    let mut hive = reread(&before);
    hive.set_now(LATER);
    let key = hive.open(r"Software\Vendor").unwrap();
    hive.set_value(key, "New", Value::qword(1)).unwrap();
    assert_eq!(hive.last_written(key), LATER);
    assert_eq!(hive.last_written(hive.root()), NOW);
    assert_eq!(reread(&hive).hive_last_written(), LATER);
    assert!(hive.delete_value(key, "new").unwrap());
    assert!(!hive.delete_value(key, "new").unwrap());
    hive.set_last_written(key, NOW).unwrap();
    assert_eq!(dump(&reread(&hive)), dump(&before));
    let made = hive.create_key(r"Many\new").unwrap();
    assert_eq!(hive.descriptor(made), hive.descriptor(hive.open("Many").unwrap()));
    assert_eq!(hive.last_written(hive.open("Many").unwrap()), LATER);
    assert_eq!(hive.last_written(hive.open(r"Many\k1").unwrap()), NOW);
}

#[test]
fn deleted_keys_are_gone_with_all_below_them() {
    let mut hive = reread(&sample(5));
    let key = hive.open("Software").unwrap();
    let below = hive.open(r"Software\Vendor\Product").unwrap();
    hive.delete_key(key).unwrap();
    assert_eq!(hive.open("Software"), None);
    assert_eq!((hive.values(below).count(), hive.subkey_count(key), hive.name(below).len()), (0, 0, 0));
    for error in [
        hive.delete_key(key),
        hive.set_value(below, "x", Value::dword(1)),
        hive.create_subkey(below, "x").map(|_| ()),
        hive.delete_value(below, "x").map(|_| ()),
        hive.set_class(below, None),
        hive.delete_key(hive.root()),
    ] {
        assert_eq!(error.unwrap_err().kind(), Kind::Invalid);
    }
    let small = hive.to_bytes().unwrap().len();
    assert!(small + 40_000 < sample(5).to_bytes().unwrap().len(), "the space is given back");
    hive.create_key("Software").unwrap();
    assert_eq!(reread(&hive).subkey_count(hive.root()), 2);
}

#[test]
fn types_go_in_and_out() {
    let mut hive = Hive::new("ROOT", NOW).unwrap();
    let root = hive.root();
    for (name, value) in [
        ("sz", Value::sz("t\u{e4}xt")),
        ("expand", Value::expand_sz("%x%")),
        ("multi", Value::multi_sz(["a", "b c"])),
        ("none", Value::multi_sz::<&str>([])),
        ("dword", Value::dword(1)),
        ("big-endian", Value::new(kind::DWORD_BIG_ENDIAN, [0, 0, 1, 0])),
        ("qword", Value::qword(u64::MAX)),
        ("binary", Value::binary(*b"12345")),
        ("odd", Value::new(0xFFFF_1003, [1, 2, 3])),
        ("short", Value::new(kind::DWORD, [1])),
    ] {
        hive.set_value(root, name, value).unwrap();
    }
    let hive = reread(&hive);
    let value = |name: &str| hive.value(root, name).unwrap();
    assert_eq!(value("sz").as_text().unwrap(), "t\u{e4}xt");
    assert_eq!(value("expand").as_text().unwrap(), "%x%");
    assert_eq!(value("multi").as_texts().unwrap(), ["a", "b c"]);
    assert!(value("none").as_texts().unwrap().is_empty());
    assert_eq!((value("dword").as_dword(), value("big-endian").as_dword()), (Some(1), Some(256)));
    assert_eq!((value("qword").as_qword(), value("dword").as_qword()), (Some(u64::MAX), None));
    assert_eq!(value("binary").as_binary(), Some(&b"12345"[..]));
    assert_eq!(value("odd").to_value(), Value::new(0xFFFF_1003, [1, 2, 3]));
    assert_eq!((value("short").as_dword(), value("sz").as_dword()), (None, None));
}

#[test]
fn impossible_requests_are_refused() {
    let mut hive = Hive::new("ROOT", NOW).unwrap();
    let root = hive.root();
    let long = "x".repeat(257);
    let refused = |result: crate::error::Result<KeyId>| assert_eq!(result.unwrap_err().kind(), Kind::Invalid);
    refused(hive.create_key(&long));
    refused(hive.create_key(r"a\\b"));
    refused(hive.create_subkey(root, r"a\b"));
    refused(hive.create_subkey(root, ""));
    let name = "x".repeat(16384);
    assert_eq!(hive.set_value(root, name.as_str(), Value::dword(1)).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(hive.set_descriptor(root, &[1; 19]).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(hive.set_minor_version(2).unwrap_err().kind(), Kind::Invalid);
    assert_eq!(Hive::new("", NOW).unwrap_err().kind(), Kind::Invalid);
    let deep = ["d"; 512].join(r"\");
    hive.create_key(&deep).unwrap();
    refused(hive.create_key(&format!(r"{deep}\d")));
    assert!(reread(&hive).open(&deep).is_some());
}

#[test]
fn names_that_are_no_text_survive() {
    let mut hive = Hive::new("ROOT", NOW).unwrap();
    let name = Name::new([0xD800, 0x41]);
    let key = hive.create_subkey(hive.root(), name.clone()).unwrap();
    hive.set_value(key, name.clone(), Value::dword(1)).unwrap();
    let hive = reread(&hive);
    let key = hive.subkey(hive.root(), name.clone()).unwrap();
    assert_eq!(hive.name(key).to_name(), name);
    assert!(hive.value(key, name).is_some());
}

/// The base block of `bytes` with a change, and the checksum that it then needs.
fn with_base(bytes: &[u8], change: impl FnOnce(&mut BaseBlock)) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let (base, _) = BaseBlock::mut_from_prefix(&mut bytes).unwrap();
    change(base);
    base.checksum.set(base.expected_checksum());
    bytes
}

fn refusal(bytes: Vec<u8>) -> Error {
    Hive::read(bytes).unwrap_err()
}

#[test]
fn base_blocks_that_lie_are_refused() {
    let good = sample(5).to_bytes().unwrap();
    let bad = |change: fn(&mut BaseBlock)| refusal(with_base(&good, change)).kind();
    assert_eq!(bad(|base| base.minor.set(2)), Kind::Unsupported);
    assert_eq!(bad(|base| base.major.set(2)), Kind::Unsupported);
    assert_eq!(bad(|base| base.file_type.set(6)), Kind::Corrupt);
    assert_eq!(bad(|base| base.bins_size.set(0)), Kind::Corrupt);
    assert_eq!(bad(|base| base.bins_size.set(1)), Kind::Corrupt);
    assert_eq!(bad(|base| base.bins_size.set(0xFFFF_F000)), Kind::Truncated);
    assert_eq!(bad(|base| base.root.set(NOWHERE)), Kind::Corrupt);
    assert_eq!(bad(|base| base.root.set(4)), Kind::Corrupt);
    assert_eq!(bad(|base| base.secondary_sequence.set(0)), Kind::Corrupt);
    assert_eq!(
        refusal(vec![0; 8192]).to_string(),
        r#"hive: signature: found "\x00\x00\x00\x00", allowed: regf (at offset 0x0)"#
    );
    assert_eq!(refusal(good[..4095].to_vec()).kind(), Kind::Truncated);
    assert_eq!(refusal(Vec::new()).kind(), Kind::Truncated);
    let mut checksum = good.clone();
    checksum[60] ^= 1;
    let error = refusal(checksum.clone());
    assert!(error.to_string().contains("dirty") && error.hint_text().unwrap().contains(".LOG1"));
    let options = ReadOptions { logs: &[], accept_dirty: true };
    assert_eq!(Hive::read_with(checksum, options).unwrap().recovery(), Recovery::Ignored);
}

/// A small hive, and where its cells are in the file: root, its subkey "a", and their lists and value.
fn small() -> (Vec<u8>, [usize; 5]) {
    let mut hive = Hive::new("ROOT", NOW).unwrap();
    let a = hive.create_key("a").unwrap();
    hive.set_value(a, "v", Value::binary(*b"12345678")).unwrap();
    let bytes = hive.to_bytes().unwrap();
    let root = BaseBlock::ref_from_prefix(&bytes).unwrap().0.root.get();
    let cells = super::store::Cells(&bytes);
    let head = cells.key(root).unwrap().0;
    let list = head.subkey_list.get();
    let a = u32::from_le_bytes(cells.payload(list).unwrap()[4..8].try_into().unwrap());
    let values = cells.key(a).unwrap().0.value_list.get();
    let value = u32::from_le_bytes(cells.payload(values).unwrap()[..4].try_into().unwrap());
    let at = [root, list, a, values, value].map(|cell| BLOCK + cell as usize + CELL_HEADER);
    (bytes, at)
}

fn poke(bytes: &[u8], at: usize, word: u32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    bytes
}

#[test]
fn cells_that_lead_in_circles_are_refused() {
    let (bytes, [root, list, a, values, value]) = small();
    let offset = |at: usize| (at - BLOCK - CELL_HEADER) as u32;
    for (what, at, word) in [
        ("a key as its own subkey", list + 4, offset(root)),
        ("a subkey that has its parent's list", a + 28, offset(list)),
        ("a value that is its key", values, offset(a)),
        ("data that is the value", value + 8, offset(value)),
        ("a list of values that is a list of subkeys", a + 40, offset(list)),
        ("a class that is the root", a + 48, offset(root)),
        ("a security cell that is a key", a + 44, offset(root)),
        ("an offset outside", list + 4, 0x7FFF_FFF8),
        ("an offset between cells", list + 4, offset(a) + 8),
        ("an offset that is not aligned", list + 4, offset(a) + 4),
    ] {
        let mut evil = poke(&bytes, at, word);
        if at == a + 28 {
            evil = poke(&evil, a + 20, 1);
        }
        if at == a + 48 {
            evil[a + 74] = 2;
        }
        let error = refusal(evil);
        assert_eq!(error.kind(), Kind::Corrupt, "{what}: {error}");
    }
}

#[test]
fn counts_and_sizes_that_lie_are_refused() {
    let (bytes, [root, list, a, values, value]) = small();
    for (what, at, word) in [
        ("number of subkeys", root + 20, 2),
        ("number of subkeys", root + 20, u32::MAX),
        ("number in the list", list, u32::from_le_bytes(*b"lh\xFF\xFF")),
        ("kind of list", list, u32::from_le_bytes(*b"xx\x01\0")),
        ("an index root of keys", list, u32::from_le_bytes(*b"ri\x01\0")),
        ("number of values", a + 36, u32::MAX),
        ("number of values", a + 36, 100),
        ("length of the name", a + 72, 0),
        ("length of the name", a + 72, 0xFFFF),
        ("size of the data", value + 4, 1 << 20),
        ("size of the data", value + 4, INLINE | 5),
        ("size of a cell", values - 4, 8),
        ("size of a cell", values - 4, 0),
        ("size of a cell", values - 4, 0x8000_0000),
        ("size of a cell", values - 4, 0xFFFF_FFF9),
        ("offset of a bin", BLOCK + 4, 4096),
        ("size of a bin", BLOCK + 8, 4095),
        ("size of a bin", BLOCK + 8, 0),
        ("size of a bin", BLOCK + 8, 0xFFFF_F000),
    ] {
        let error = refusal(poke(&bytes, at, word));
        assert_eq!(error.kind(), Kind::Corrupt, "{what}: {error}");
    }
}

#[test]
fn a_tree_that_is_too_deep_is_refused() {
    let mut hive = Hive::new("ROOT", NOW).unwrap();
    hive.create_key(&["d"; 512].join(r"\")).unwrap();
    let mut bytes = hive.to_bytes().unwrap();
    // Hang the 512 levels below one more: a new root whose list names the old one.
    let mut more = Hive::new("ROOT", NOW).unwrap();
    more.create_key(r"x").unwrap();
    let (root, end) = (BaseBlock::ref_from_prefix(&bytes).unwrap().0.root.get(), bytes.len() - BLOCK);
    let tail = more.to_bytes().unwrap();
    let head = BaseBlock::ref_from_prefix(&tail).unwrap().0;
    let top = super::store::Cells(&tail).key(head.root.get()).unwrap().0;
    let (list, new_root) = (top.subkey_list.get() as usize, head.root.get());
    let security = top.security.get() as usize;
    bytes.extend_from_slice(&tail[BLOCK..]);
    let end32 = end as u32;
    let mut bytes = poke(&bytes, BLOCK + end + 4, end32);
    let at = BLOCK + end + CELL_HEADER;
    bytes = poke(&bytes, at + list + 4, root);
    bytes = poke(&bytes, at + new_root as usize + 28, list as u32 + end32);
    bytes = poke(&bytes, at + new_root as usize + 44, security as u32 + end32);
    let size = (bytes.len() - BLOCK) as u32;
    let bytes = with_base(&bytes, |base| {
        base.root.set(new_root + end32);
        base.bins_size.set(size);
    });
    assert!(refusal(bytes).to_string().contains("depth"));
}

#[test]
fn lists_out_of_order_are_sorted_and_double_names_refused() {
    let mut hive = Hive::new("ROOT", NOW).unwrap();
    for name in ["aa", "ab", "ac"] {
        hive.create_key(name).unwrap();
    }
    let bytes = hive.to_bytes().unwrap();
    let root = BaseBlock::ref_from_prefix(&bytes).unwrap().0.root.get();
    let list = BLOCK + CELL_HEADER + super::store::Cells(&bytes).key(root).unwrap().0.subkey_list.get() as usize;
    let mut swapped = bytes.clone();
    let (first, last) = (list + 4, list + 20);
    swapped.copy_within(last..last + 8, first);
    swapped[last..last + 8].copy_from_slice(&bytes[first..first + 8]);
    assert_eq!(Hive::read(swapped).unwrap().to_bytes().unwrap(), bytes);
    let second = u32::from_le_bytes(bytes[list + 12..list + 16].try_into().unwrap()) as usize;
    let mut double = bytes;
    double[BLOCK + CELL_HEADER + second + KEY_NODE_SIZE + 1] = b'C';
    assert!(refusal(double).to_string().contains("two subkeys"));
}

#[test]
fn no_truncation_and_no_flipped_bit_does_harm() {
    let good = {
        let mut hive = sample(5);
        hive.delete_key(hive.open("Many").unwrap()).unwrap();
        hive.create_key(r"Many\one").unwrap();
        hive.to_bytes().unwrap()
    };
    for len in (0..good.len()).step_by(61) {
        refusal(good[..len].to_vec());
    }
    let mut read = 0;
    for at in (0..512).chain((BLOCK..good.len()).step_by(11)) {
        let mut flipped = good.clone();
        flipped[at] ^= 1 << (at % 8);
        let options = ReadOptions { logs: &[], accept_dirty: true };
        if let Ok(hive) = Hive::read_with(flipped, options) {
            dump(&hive);
            Hive::read(hive.to_bytes().unwrap()).unwrap();
            read += 1;
        }
    }
    assert!(read > 500, "most bits are data");
}
