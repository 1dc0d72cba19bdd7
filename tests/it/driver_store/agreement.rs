//! A real database against what follows from one part of it for another.

use std::collections::{BTreeMap, BTreeSet};

use nanovhd::windows::drivers::{Database, Installed};

use super::{DATABASE, keys, real_system};

/// The value `Version`, put together anew.
fn version(package: &Installed) -> Vec<u8> {
    let mut bytes = vec![if package.is_inbox { 0xFF } else { 0 }, 0xFF, 9, 0, 0, 0, 0, 0];
    bytes.extend(package.class_guid.unwrap().to_bytes_le());
    bytes.extend(package.date.0.to_le_bytes());
    bytes.extend(package.version.0.iter().rev().flat_map(|part| part.to_le_bytes()));
    bytes
}

/// What is derived, and how often it differs from what is there. The numbers are those of this hive:
/// * `Version`: the last eight bytes are flags in 5 packages, which no INF tells; the other 40 bytes are always as derived.
/// * `DriverInfFiles\...\Configurations`: always the names of the configurations' keys, in the order of the models (so that 32 of the
///   203 are not sorted); absent where there are none.
/// * `DeviceIds` and `Descriptors` name the same ids, but for one: a later model of vmusbmouse.inf, an INF of a third party, has an id
///   without a descriptor. Packages that were staged and never configured (3 of those 40 without descriptors) have ids alone.
/// * `DeviceIds\{class}` has each package, and no other.
/// * `Strings` has every token of descriptors, and 3 more.
/// * `OemInfMap` has the numbers of all packages of third parties here, and those of packages that are in DRIVERS.
#[test]
fn the_database_of_windows_agrees_with_itself() {
    let Some(hive) = real_system() else { return };
    let database = Database::of_hives(&hive, None);
    let packages = database.packages();
    assert_eq!((packages.len(), packages.iter().filter(|package| !package.is_inbox).count()), (238, 5));
    assert!(packages.iter().all(|package| package.is_active));
    // The hive was not left clean: that is the only note.
    assert_eq!(database.notes().len(), 1, "{:?}", database.notes());

    let text = |path: &str, name: &str| hive.value(hive.open(path)?, name)?.as_text();
    let texts = |path: &str, name: &str| hive.value(hive.open(path)?, name)?.as_texts();
    let (mut flagged, mut lists, mut unsorted, mut devices, mut undescribed) = (0, 0, 0, 0, Vec::new());
    let (mut unused, mut bare) = (0, 0);
    for package in packages {
        let own = format!(r"{DATABASE}\DriverPackages\{}", package.package_name);
        let stored = hive.value(hive.open(&own).unwrap(), "Version").unwrap().data.to_vec();
        assert_eq!(stored[..40], version(package), "{own}");
        flagged += usize::from(stored[40..] != [0; 8]);
        assert!(
            package.package_name.to_lowercase().starts_with(&format!("{}_amd64_", package.inf_name.to_lowercase()))
        );
        assert!(package.class.is_some(), "{own}");

        let inf = format!(r"{DATABASE}\DriverInfFiles\{}", package.published);
        assert_eq!(texts(&inf, "").unwrap(), [text(&inf, "Active").unwrap()]);
        let names: BTreeSet<String> = package.configurations.iter().map(|own| own.name.to_uppercase()).collect();
        match texts(&inf, "Configurations") {
            Some(list) => {
                lists += 1;
                unsorted += usize::from(!list.is_sorted_by_key(|name| name.to_uppercase()));
                assert_eq!(list.iter().map(|name| name.to_uppercase()).collect::<BTreeSet<_>>(), names, "{inf}");
            }
            None => assert!(names.is_empty(), "{inf}"),
        }

        let described = package.devices.iter().any(|device| device.configuration.is_some());
        bare += usize::from(!described);
        let mut tokens = BTreeSet::new();
        for device in &package.devices {
            devices += 1;
            assert!(device.kind.is_some(), "{own}: {} has a descriptor and no entry in DeviceIds", device.id);
            match &device.configuration {
                Some(name) => assert!(package.configuration(name).is_some(), "{own}: {name}"),
                None if described => undescribed.push(device.id.as_str()),
                None => {}
            }
            for text in [&device.description, &device.manufacturer].into_iter().flatten() {
                if let Some(token) = text.strip_prefix('%').and_then(|text| text.strip_suffix('%')) {
                    assert!(package.strings.contains_key(token), "{own}: {token}");
                    tokens.insert(token.to_owned());
                }
            }
        }
        unused += package.strings.keys().filter(|token| !tokens.contains(*token)).count();
        let class = format!(r"{DATABASE}\DeviceIds\{}", package.class_guid.unwrap().braced());
        let entry = hive.value(hive.open(&class).unwrap(), package.published.as_str());
        assert!(entry.is_some_and(|value| value.kind == 0 && value.data.is_empty()), "{class}: {}", package.published);
    }
    assert_eq!((flagged, lists, unsorted), (5, 203, 32));
    assert_eq!((devices, undescribed.as_slice(), bare), (4707, &[r"HID\VID_0E0F&PID_0003&MI_01"][..], 40));
    assert_eq!(unused, 3);

    let map = hive.value(hive.open(DATABASE).unwrap(), "OemInfMap").unwrap().data.to_vec();
    let taken: Vec<usize> = (0..map.len() * 8).filter(|number| map[number / 8] & 0x80 >> (number % 8) != 0).collect();
    assert_eq!(taken, (0..12).collect::<Vec<_>>());
    let numbers =
        packages.iter().filter_map(|own| own.published.strip_prefix("oem")?.strip_suffix(".inf")?.parse().ok());
    assert_eq!(numbers.collect::<BTreeSet<usize>>(), BTreeSet::from([0, 2, 4, 6, 11]));
}

/// The four bytes under a device id: kind, feature score, index. Every one of this hive is of these kinds; within one package, compatible
/// ids have a place among those of their model, so that the index never exceeds how many there are.
#[test]
fn device_ids_are_of_known_kinds() {
    let Some(hive) = real_system() else { return };
    let mut kinds: BTreeMap<(u8, u8), usize> = BTreeMap::new();
    let mut classes = 0;
    for key in keys(&hive, &format!(r"{DATABASE}\DeviceIds")).values() {
        for value in hive.values(*key) {
            if value.data.is_empty() {
                classes += 1;
                continue;
            }
            assert_eq!((value.kind, value.data.len()), (3, 4), "{}", hive.path(*key));
            *kinds.entry((value.data[0], value.data[1])).or_default() += 1;
            assert!(value.data[0] == 2 || value.data[2..] == [0, 0], "a hardware id has no index");
        }
    }
    assert_eq!(classes, 238);
    let expected = [
        ((1, 0x80), 7),
        ((1, 0xFB), 2),
        ((1, 0xFE), 1),
        ((1, 0xFF), 4264),
        ((2, 0x80), 1),
        ((2, 0xFE), 2),
        ((2, 0xFF), 429),
        ((3, 0xFF), 1),
    ];
    assert_eq!(kinds, BTreeMap::from(expected));
}
