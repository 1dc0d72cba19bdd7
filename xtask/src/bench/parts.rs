//! Parts of the way from WIM to VHD, each alone, on one thread: `cargo xtask bench` runs them as programs of their own, to measure
//! them as it measures others.

use std::fs;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use nanovhd::format::wim::Wim;
use nanovhd::tree::{BlobId, BlobSink, Content};
use sha1::{Digest, Sha1};

use crate::shell::Result;

/// How many bytes the parts hash and write.
pub(super) const SAMPLE: u64 = 512 << 20;

const PIECE: usize = 1 << 20;

/// A part.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Part {
    /// Decode and hash all blobs of a WIM's first image.
    Decode {
        /// The WIM.
        wim: PathBuf,
    },
    /// Hash some bytes.
    Hash,
    /// Write some bytes.
    Write {
        /// Into this file.
        file: PathBuf,
    },
}

pub(crate) fn run(part: &Part) -> Result<()> {
    match part {
        Part::Decode { wim } => decode(wim.clone()),
        Part::Hash => hash(),
        Part::Write { file } => write(file.clone()),
    }
}

struct Nowhere;

impl BlobSink for Nowhere {
    fn write(&self, _: BlobId, _: u64, _: &[u8]) -> nanovhd::error::Result<()> {
        Ok(())
    }
}

fn decode(wim: PathBuf) -> Result<()> {
    let wim = Wim::open(vec![Arc::new(fs::read(wim)?)])?;
    let tree = wim.tree(1)?.tree;
    let mut blobs: Vec<_> = tree.contents().filter_map(|(_, content)| blob(content)).collect();
    blobs.sort_unstable();
    blobs.dedup();
    for (index, store) in tree.stores().iter().enumerate() {
        let wanted: Vec<_> = blobs.iter().filter(|(store, _)| *store == index).map(|(_, blob)| *blob).collect();
        store.stream(&wanted, NonZeroUsize::MIN, &Nowhere).map_err(|failure| failure.error)?;
    }
    Ok(())
}

fn blob(content: &Content) -> Option<(usize, BlobId)> {
    match content {
        Content::Bytes(_) => None,
        Content::Blob { store, blob, .. } => Some((store.index(), *blob)),
    }
}

fn hash() -> Result<()> {
    let piece = vec![0x5A; PIECE];
    let mut hash = Sha1::new();
    for _ in 0..SAMPLE / PIECE as u64 {
        hash.update(&piece);
    }
    println!("{:02x?}", hash.finalize());
    Ok(())
}

fn write(file: PathBuf) -> Result<()> {
    let piece = vec![0x5A; PIECE];
    let mut file = fs::File::create(file)?;
    for _ in 0..SAMPLE / PIECE as u64 {
        file.write_all(&piece)?;
    }
    Ok(())
}
