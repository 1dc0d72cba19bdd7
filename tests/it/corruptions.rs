//! Random damage: whatever it is, every check ends soon, and none panics.

use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nanovhd::base::ReadAt;
use nanovhd::format::{vhd::Vhd, vhdx::Vhdx};
use nanovhd::verify::container::{self, Layer};
use nanovhd::verify::{Findings, Level, image};

use crate::faults::volumes;
use crate::support::program::succeed;
use crate::support::random_tree::Random;
use crate::support::tools::{Tools, text};

/// Asks for more than the few hundred that every test run has.
const COUNT: &str = "NANOVHD_CORRUPTIONS";
/// The number of the first one; each number stands for one damage.
const FIRST: &str = "NANOVHD_CORRUPTIONS_FIRST";
const USUAL: usize = 300;
/// Longer than this, and it hangs.
const LONGEST: Duration = Duration::from_secs(2);
const SECTOR: usize = 512;

/// What is around a disk.
#[derive(Clone, Copy)]
enum Around {
    Nothing,
    Vhd,
    Vhdx,
}

/// A good image, and where in it something is that is worth damaging.
struct Sample {
    name: &'static str,
    around: Around,
    bytes: Vec<u8>,
    /// Sectors that are not all zero.
    sectors: Vec<usize>,
}

impl Sample {
    fn new(name: &'static str, around: Around, bytes: Vec<u8>) -> Self {
        let used = |(_, sector): &(usize, &[u8])| sector.iter().any(|byte| *byte != 0);
        let sectors = bytes.chunks(SECTOR).enumerate().filter(used).map(|(number, _)| number).collect();
        let sample = Self { name, around, bytes, sectors };
        let findings = sample.check(sample.bytes.clone());
        assert_eq!(findings.count(Level::Error), 0, "{name}: {:?}", findings.kept().first());
        sample
    }

    /// All checks, from the container to the installation.
    fn check(&self, bytes: Vec<u8>) -> Findings {
        let file: Arc<dyn ReadAt> = Arc::new(bytes);
        let mut findings = Findings::default();
        container::check(&[Layer { name: self.name.into(), file: &file }], &mut findings);
        let disk: Option<Arc<dyn ReadAt>> = match self.around {
            Around::Nothing => Some(file),
            Around::Vhd => Vhd::open(file).ok().map(|disk| Arc::new(disk) as _),
            Around::Vhdx => Vhdx::open(file).ok().map(|disk| Arc::new(disk) as _),
        };
        if let Some(disk) = disk {
            image::check(&disk, None, &mut findings);
        }
        findings
    }

    fn place(&self, random: &mut Random) -> usize {
        SECTOR * self.sectors[random.below(self.sectors.len() as u64) as usize]
    }

    /// Damages a copy, and says how.
    fn damage(&self, random: &mut Random) -> (Vec<u8>, String) {
        let mut bytes = self.bytes.clone();
        let at = self.place(random);
        let end = (at + SECTOR).min(bytes.len());
        let words = match random.below(10) {
            0..6 => {
                let at = at + random.below((end - at) as u64) as usize;
                let bit = random.below(8);
                bytes[at] ^= 1 << bit;
                format!("bit {bit} of byte {at:#x}")
            }
            6 => {
                bytes[at..end].copy_from_slice(&random.bytes(end - at));
                format!("noise in the sector at {at:#x}")
            }
            7 => {
                bytes[at..end].fill(0);
                format!("zeros in the sector at {at:#x}")
            }
            8 => {
                let other = self.place(random).min(bytes.len() - (end - at));
                let one = bytes[at..end].to_vec();
                bytes.copy_within(other..other + one.len(), at);
                bytes[other..other + one.len()].copy_from_slice(&one);
                format!("the sectors at {at:#x} and {other:#x} swapped")
            }
            _ => {
                bytes.truncate(at + random.below(SECTOR as u64) as usize);
                format!("cut off at {:#x}", bytes.len())
            }
        };
        (bytes, words)
    }
}

/// What there is to be damaged; those that this machine cannot make are left out, which is said.
fn samples() -> Vec<Sample> {
    let folder = tempfile::tempdir().unwrap();
    let demo = folder.path().join("demo.vhd");
    succeed(["demo", "--size=40M", "--output", text(&demo)]);
    let mut samples = vec![
        Sample::new("a volume", Around::Nothing, volumes::ours(4096, 512).bytes),
        Sample::new("a volume with small clusters", Around::Nothing, volumes::ours(512, 512).bytes),
        Sample::new("the demo", Around::Vhd, fs::read(&demo).unwrap()),
    ];
    samples.extend(volumes::foreign().map(|v| Sample::new("a volume by ntfs-3g", Around::Nothing, v.bytes)));
    if let Some(tools) = Tools::find(&["qemu-img"]) {
        let vhdx = folder.path().join("demo.vhdx");
        let options =
            ["convert", "-f", "vpc", "-O", "vhdx", "-o", "block_size=1M,subformat=dynamic", text(&demo), text(&vhdx)];
        tools.run("qemu-img", &options);
        samples.push(Sample::new("a VHDX", Around::Vhdx, fs::read(&vhdx).unwrap()));
    }
    samples
}

#[test]
fn no_damage_makes_a_check_panic_or_hang() {
    let number = |name: &str, usual: usize| env::var(name).map_or(usual, |text| text.parse().expect("a number"));
    let (count, first) = (number(COUNT, USUAL), number(FIRST, 0));
    let samples = samples();
    let (next, found) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        let (mut bad, mut longest) = (Vec::new(), Duration::ZERO);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                return (bad, longest);
            }
            let number = first.wrapping_add(index);
            let sample = &samples[number % samples.len()];
            let (bytes, words) = sample.damage(&mut Random::new(number as u64));
            let start = Instant::now();
            let findings = catch_unwind(AssertUnwindSafe(|| sample.check(bytes)));
            longest = longest.max(start.elapsed());
            match findings {
                Err(_) => bad.push(format!("{number}, {words}, of {}: a panic", sample.name)),
                Ok(_) if start.elapsed() > LONGEST => {
                    bad.push(format!("{number}, {words}, of {}: {:?}", sample.name, start.elapsed()));
                }
                Ok(findings) => {
                    found.fetch_add(usize::from(findings.worst() > Some(Level::Note)), Ordering::Relaxed);
                }
            }
        }
    };
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let longest = results.iter().map(|result| result.1).max().unwrap_or_default();
    let bad: Vec<_> = results.into_iter().flat_map(|result| result.0).collect();
    let found = found.into_inner();
    println!("{found} of {count} corruptions were found; the longest check took {longest:?}");
    assert!(bad.is_empty(), "{} of {count}\n{}", bad.len(), bad.join("\n"));
    // Contents of files, which nothing checks, are the rest.
    assert!(found * 4 > count, "{found} of {count} were found");
}
