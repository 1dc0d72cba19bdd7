//! Single flipped bits, anywhere in a WIM: refused with a cause, or without any effect on the image.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use nanovhd::base::FileTime;
use nanovhd::error::{Kind, Result};
use nanovhd::format::wim::Wim;
use nanovhd::image::{Control, ImagePlan, Recipe, Source, demo};

/// Flips that are tried; the bits are the same in every run.
const FLIPS: u64 = 1000;

fn build(wim: Vec<u8>, image: u64, output: &Path) -> Result<Vec<u8>> {
    let wim = Wim::open(vec![Arc::new(wim)])?;
    let recipe = Recipe {
        force: true,
        size: Some(64 << 20),
        seed: Some(1),
        timestamp: FileTime::from_unix(1_500_000_000),
        ..Recipe::new(output)
    };
    ImagePlan::new(Source::of_wim(&wim, "flipped", &image.to_string())?, &recipe)?
        .build(NonZeroUsize::MIN, &Control::default())?;
    Ok(std::fs::read(output).expect("the output was just made"))
}

#[test]
fn a_thousand_flipped_bits() {
    let wim = demo::wim(NonZeroUsize::MIN).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let sound = [1, 2].map(|image| build(wim.clone(), image, &folder.path().join("sound.vhd")).unwrap());
    assert!(sound[0] != sound[1], "the images differ, so that one taken for the other shows");
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64;
    let outcomes: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let work = |first: u64| {
            let (wim, sound) = (&wim, &sound);
            let output = folder.path().join(format!("{first}.vhd"));
            move || {
                (first..FLIPS).step_by(threads as usize).fold((0, 0), |(refused, same), flip| {
                    let mut damaged = wim.clone();
                    let bit = scramble(flip) % (wim.len() as u64 * 8);
                    damaged[(bit / 8) as usize] ^= 1 << (bit % 8);
                    match build(damaged, flip % 2 + 1, &output) {
                        Ok(image) => {
                            assert!(
                                image == sound[(flip % 2) as usize],
                                "bit {bit} changed the image, and nobody noticed"
                            );
                            (refused, same + 1)
                        }
                        Err(error) => {
                            let expected = [Kind::Corrupt, Kind::Truncated, Kind::Unsupported, Kind::NoSuchImage];
                            assert!(expected.contains(&error.kind()), "bit {bit}: {error:?}");
                            assert!(!error.to_string().is_empty());
                            (refused + 1, same)
                        }
                    }
                })
            }
        };
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(work(first))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let refused: u64 = outcomes.iter().map(|(refused, _)| refused).sum();
    let same: u64 = outcomes.iter().map(|(_, same)| same).sum();
    println!("{FLIPS} flipped bits: {refused} refused with a cause, {same} without effect on the image");
    assert_eq!(refused + same, FLIPS);
    assert!(refused > FLIPS / 2, "most of the file is in use");
}

/// SplitMix64: spreads the numbers of the flips over the file.
fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
