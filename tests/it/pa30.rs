//! Packed manifests by Windows against the catalogs that they came with; damage to them, and to made ones.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nanovhd::format::assembly::Element;
use nanovhd::format::cab::Cabinet;
use nanovhd::format::catalog::{Catalog, FileDigest};
use nanovhd::format::delta;
use nanovhd::windows::packages::base;

use crate::support::pa30::encode_dcm;
use crate::support::program_sample::with_resource;
use crate::support::random_tree::Random;
use crate::support::tools::testdata;

const CABINET: &str = "packages/OpenSSH-Client-Package~31bf3856ad364e35~amd64~~.cab";
const BASE: &str = "packages/servicing-stack-base-manifest.xml";
const LIMIT: usize = 1 << 20;
/// As in `corruptions`, for so many times as many.
const COUNT: &str = "NANOVHD_CORRUPTIONS";
const FIRST: &str = "NANOVHD_CORRUPTIONS_FIRST";
const USUAL: usize = 300;
const TIMES: usize = 4;

type Documents = BTreeMap<String, Vec<u8>>;

/// The base manifest, and the documents of a package by Windows.
fn real() -> Option<(Vec<u8>, Documents)> {
    let (base, cabinet) = (testdata(BASE)?, testdata(CABINET)?);
    let cabinet = Cabinet::open(Arc::new(fs::read(cabinet).unwrap())).unwrap();
    let mut files = BTreeMap::<String, Vec<u8>>::new();
    let is_document = |name: &str| [".manifest", ".cat"].iter().any(|end| name.ends_with(end));
    cabinet
        .unpack(
            |file| is_document(&file.name),
            |file, piece| {
                files.entry(file.name.clone()).or_default().extend_from_slice(piece);
                Ok(())
            },
        )
        .unwrap();
    Some((fs::read(base).unwrap(), files))
}

#[test]
fn manifests_by_windows_are_in_their_catalogs() {
    let Some((base, files)) = real() else { return };
    let catalogs: Vec<Catalog<'_>> = files
        .iter()
        .filter(|(name, _)| name.ends_with(".cat"))
        .map(|(_, bytes)| Catalog::read(bytes).unwrap())
        .collect();
    let mut packed = 0;
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".manifest")) {
        packed += usize::from(delta::is_packed(bytes));
        let manifest = delta::unpack(bytes, Some(&base), LIMIT).unwrap();
        let digest = FileDigest::of(&manifest);
        assert!(catalogs.iter().any(|catalog| catalog.members_of(&digest).next().is_some()), "{name}");
        assert!(Element::parse(&manifest).unwrap().is("assembly"), "{name}");
        // Against another base it is something else, or nothing.
        if delta::is_packed(bytes) {
            let other = delta::unpack(bytes, Some(&base[1..]), LIMIT);
            assert!(other.is_err() || other.is_ok_and(|other| other != manifest), "{name}");
        }
    }
    assert_eq!(packed, 3);
}

/// In a made program, at the place where Windows has it.
#[test]
fn the_base_manifest_comes_out_of_a_program() {
    let Some((document, files)) = real() else { return };
    let base = base::of_file(&with_resource(614, 1, &document)).unwrap();
    assert_eq!(*base, *document);
    let packed = files.values().find(|bytes| delta::is_packed(bytes)).unwrap();
    assert!(delta::unpack(packed, Some(&base), LIMIT).unwrap().starts_with(b"<?xml"));
}

#[test]
fn made_manifests_come_back() {
    let Some((base, files)) = real() else { return };
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".manifest")) {
        let manifest = delta::unpack(bytes, Some(&base), LIMIT).unwrap();
        let packed = encode_dcm(&base, &manifest);
        assert!(packed.len() < manifest.len());
        assert_eq!(delta::unpack(&packed, Some(&base), LIMIT).unwrap(), manifest, "{name}");
    }
}

/// Blocks of chunks by wimlib.
#[test]
fn blocks_of_lzms_follow_each_other() {
    let chunks = [
        &include_bytes!("../data/lzms/words.lzms")[..],
        include_bytes!("../data/lzms/records.lzms"),
        include_bytes!("../data/lzms/code.lzms"),
    ];
    let wanted = ["words", "records", "code"]
        .map(|name| crate::lzms::samples::all().into_iter().find(|(other, _)| *other == name).unwrap().1);
    let number = |number: usize| (number as u32).to_le_bytes();
    let mut file = [b"DCS\x01", &number(3)[..], &number(wanted.iter().map(Vec::len).sum())].concat();
    for (chunk, data) in chunks.iter().zip(&wanted) {
        file.extend([&number(chunk.len() + 4)[..], &number(data.len()), chunk].concat());
    }
    assert!(delta::unpack(&file, None, LIMIT).unwrap() == wanted.concat());
}

/// Damages a copy in one of some ways.
fn damage(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    // Not the signatures: what has none is no delta.
    let place = |random: &mut Random| 16 + random.below(bytes.len() as u64 - 16) as usize;
    let (at, other) = (place(random), place(random));
    match random.below(6) {
        0..3 => bytes[at] ^= 1 << random.below(8),
        3 => bytes[at.min(other)..at.max(other)].fill(random.next() as u8),
        4 => bytes.truncate(at),
        _ => {
            let noise = random.bytes(bytes.len() - at);
            bytes.splice(at.., noise);
        }
    }
    bytes
}

#[test]
fn corruptions_of_deltas_are_survived() {
    let number = |name: &str, usual: usize| env::var(name).map_or(usual, |text| text.parse().expect("a number"));
    let (count, first) = (TIMES * number(COUNT, USUAL), number(FIRST, 0));
    let base: Vec<u8> = (0..4000u32).flat_map(|n| (n.wrapping_mul(0x9E37_79B1) >> 9).to_le_bytes()).collect();
    let target = [&base[40..900], b"so it goes on, so it goes on", &[7; 400], &base[..2000]].concat();
    let mut samples = vec![(encode_dcm(&base, &target), base)];
    if let Some((base, files)) = real() {
        samples.extend(files.into_values().filter(|bytes| delta::is_packed(bytes)).map(|bytes| (bytes, base.clone())));
    }
    let (mut refused, mut longest) = (0, Duration::ZERO);
    for number in (0..count).map(|index| first.wrapping_add(index)) {
        let (sample, base) = &samples[number % samples.len()];
        let bytes = damage(sample, &mut Random::new(number as u64));
        let start = Instant::now();
        match delta::unpack(&bytes, Some(base), LIMIT) {
            Ok(target) => assert!(target.len() <= LIMIT, "{number}"),
            Err(_) => refused += 1,
        }
        longest = longest.max(start.elapsed());
    }
    println!("{refused} of {count} damaged deltas were refused; the longest took {longest:?}");
    assert!(longest < Duration::from_secs(2));
    // Without a hash, most of what is only another byte is not noticed.
    assert!(refused * 4 > count, "{refused} of {count}");
}
