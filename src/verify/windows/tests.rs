//! Installations with one thing wrong in each.

use super::*;
use crate::base::FileTime;
use crate::format::hive::Value;
use crate::tree::{Content, Node, Times};
use crate::verify::Level;
use crate::windows::tests::{executable, tree_of};

const CONFIG: &str = r"\Windows\System32\config";

fn hive(name: &str) -> Vec<u8> {
    Hive::new(name, FileTime(5)).unwrap().to_bytes().unwrap()
}

use crate::format::hive::Hive;

fn system(services: &[(&str, &[(&str, Value)])]) -> Vec<u8> {
    let mut hive = Hive::new("SYSTEM", FileTime(5)).unwrap();
    let select = hive.create_key("Select").unwrap();
    hive.set_value(select, "Current", Value::dword(1)).unwrap();
    hive.create_key(r"ControlSet001\Services").unwrap();
    for (name, values) in services {
        for (value, data) in *values {
            let (key, value) = value.rsplit_once('\\').map_or((String::new(), *value), |(k, v)| (format!(r"\{k}"), v));
            let key = hive.create_key(&format!(r"ControlSet001\Services\{name}{key}")).unwrap();
            hive.set_value(key, value, data.clone()).unwrap();
        }
    }
    hive.to_bytes().unwrap()
}

fn start(start: u32, kind: u32) -> [(&'static str, Value); 3] {
    [("Start", Value::dword(start)), ("Type", Value::dword(kind)), ("ErrorControl", Value::dword(3))]
}

/// An installation with these services and further files.
fn tree(services: &[(&str, &[(&str, Value)])], files: &[&str]) -> Tree {
    let amd64 = executable(0x8664);
    let system = system(services);
    let hives = ["SOFTWARE", "SAM", "SECURITY", "DEFAULT"].map(|name| (format!(r"{CONFIG}\{name}"), hive(name)));
    let system_path = format!(r"{CONFIG}\SYSTEM");
    let mut all: Vec<(&str, &[u8])> = hives.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    all.push((&system_path, &system));
    all.push((r"\Windows\System32\ntoskrnl.exe", &amd64));
    all.extend(files.iter().map(|path| (*path, amd64.as_slice())));
    tree_of(&all)
}

fn found(tree: &Tree) -> Vec<(Rule, Level)> {
    let mut findings = Findings::default();
    assert!(check(tree, &mut findings).is_some());
    let kept = findings.kept().iter().filter(|finding| finding.rule != Rule::Installation);
    kept.map(|finding| (finding.rule, finding.level)).collect()
}

fn replace(tree: &mut Tree, path: &str, bytes: Vec<u8>) {
    let id = tree.find(path).unwrap();
    *tree.node_mut(id) = Node::file(0, Times::default(), Content::from(bytes));
}

#[test]
fn a_sound_installation_is_clean() {
    let driver = start(0, 1);
    let program = [&start(2, 0x10)[..], &[("ImagePath", Value::expand_sz(r#""%SystemRoot%\a b\c.exe" -x"#))]].concat();
    let shared = [
        &start(2, 0x20)[..],
        &[
            ("ImagePath", Value::expand_sz(r"%systemroot%\system32\svchost.exe -k netsvcs")),
            (r"Parameters\ServiceDll", Value::expand_sz(r"%SystemRoot%\System32\lib.dll")),
        ],
    ]
    .concat();
    let spaces = [&start(1, 0x10)[..], &[("ImagePath", Value::sz(r"C:\Program Files\my tool\run it -now"))]].concat();
    let on_demand = start(3, 1);
    let tree = tree(
        &[
            ("disk", &driver),
            ("tool", &program),
            ("netsvc", &shared),
            ("spaces", &spaces),
            ("absent", &on_demand),
            ("counters", &[("Linkage", Value::dword(1))]),
        ],
        &[
            r"\Windows\System32\DRIVERS\DISK.SYS",
            r"\Windows\a b\c.exe",
            r"\Windows\System32\svchost.exe",
            r"\Windows\System32\lib.dll",
            r"\Program Files\my tool\run it.exe",
        ],
    );
    assert_eq!(found(&tree), []);
    assert_eq!(check(&tree_of(&[(r"\a", b"")]), &mut Findings::default()), None);
}

#[test]
fn missing_files_count_by_who_starts_them() {
    let mild = [start(0, 1)[0].clone(), start(0, 1)[1].clone(), ("ErrorControl", Value::dword(1))];
    let kept_off = [&start(0, 1)[..], &[(r"StartOverride\0", Value::dword(3))]].concat();
    let image = ("ImagePath", Value::sz(r"System32\x.exe"));
    let program = [&start(2, 0x10)[..], std::slice::from_ref(&image)].concat();
    type Values<'v> = &'v [(&'v str, Value)];
    let cases: [(Values<'_>, &[(Rule, Level)]); 7] = [
        (&start(0, 1), &[(Rule::BootDriver, Level::Error)]),
        (&mild, &[(Rule::BootDriver, Level::Warning)]),
        (&kept_off, &[(Rule::StartOverride, Level::Note), (Rule::BootDriver, Level::Note)]),
        (&start(1, 1), &[(Rule::ServiceImage, Level::Warning)]),
        (&program, &[(Rule::ServiceImage, Level::Warning)]),
        (&start(2, 0x10), &[(Rule::ServiceImage, Level::Warning)]),
        (&start(4, 1), &[]),
    ];
    for (values, expected) in cases {
        assert_eq!(found(&tree(&[("some", values)], &[])), expected, "{values:?}");
    }
}

#[test]
fn wrong_processors_are_named() {
    let mut wrong =
        tree(&[("disk", &start(0, 1))], &[r"\Windows\System32\drivers\disk.sys", r"\Windows\System32\hal.dll"]);
    replace(&mut wrong, r"\Windows\System32\drivers\disk.sys", executable(0x014C));
    assert_eq!(found(&wrong), [(Rule::BootDriver, Level::Error)]);
    replace(&mut wrong, r"\Windows\System32\drivers\disk.sys", b"text".to_vec());
    assert_eq!(found(&wrong), [(Rule::BootDriver, Level::Error)]);
    replace(&mut wrong, r"\Windows\System32\drivers\disk.sys", executable(0x8664));
    replace(&mut wrong, r"\Windows\System32\hal.dll", executable(0xAA64));
    assert_eq!(found(&wrong), [(Rule::MachineMismatch, Level::Error)]);
    replace(&mut wrong, r"\Windows\System32\hal.dll", executable(0x8664));
    replace(&mut wrong, r"\Windows\System32\ntoskrnl.exe", executable(0x014C));
    assert_eq!(found(&wrong), [(Rule::MachineMismatch, Level::Error)], "one against two");
}

#[test]
fn hives_are_there_sound_and_clean() {
    let with = |name: &str, bytes: Vec<u8>| {
        let mut tree = tree(&[], &[]);
        replace(&mut tree, &format!(r"{CONFIG}\{name}"), bytes);
        found(&tree)
    };
    let mut dirty = hive("SAM");
    dirty[4] += 1;
    let sum = (0..127).fold(0, |sum, word| sum ^ crate::base::bytes::u32_at(&dirty, word * 4).unwrap());
    dirty[508..512].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(with("SAM", dirty), [(Rule::HiveDirty, Level::Error)]);
    assert_eq!(with("SOFTWARE", b"regf".to_vec()), [(Rule::HiveDamaged, Level::Error)]);
    assert_eq!(with("SYSTEM", hive("SYSTEM")), [(Rule::HiveDamaged, Level::Error)]);
    let mut tree = tree(&[], &[]);
    let config = tree.find(CONFIG).unwrap();
    tree.remove_link(config, &"SECURITY".encode_utf16().collect::<Vec<_>>()).unwrap();
    assert_eq!(found(&tree), [(Rule::HiveMissing, Level::Error)]);
}
