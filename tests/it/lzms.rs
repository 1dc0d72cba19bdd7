//! LZMS chunks as wimlib writes them, in every chunk size and in solid resources, against the data that they were made of.

use std::fs;
use std::path::Path;

use nanovhd::codec::lzms::Decoder;

use crate::support::tools::{Tools, text};

#[path = "../../src/codec/lzms/samples.rs"]
pub(crate) mod samples;

const FLAG_COMPRESSED: u8 = 4;
const FLAG_SOLID: u8 = 0x10;

/// A WIM in memory, read just far enough to get at its compressed resources.
struct Wim(Vec<u8>);

/// Where a resource lies.
struct Resource {
    at: usize,
    stored: usize,
    flags: u8,
    size: usize,
}

impl Wim {
    fn number(&self, at: usize, bytes: usize) -> usize {
        self.0[at..at + bytes].iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte))
    }

    fn resource(&self, at: usize) -> Resource {
        Resource {
            at: self.number(at + 8, 8),
            stored: self.number(at, 7),
            flags: self.0[at + 7],
            size: self.number(at + 16, 8),
        }
    }

    /// The resources of the blob table, at offset 48 of the header, whose entries are 50 bytes long.
    fn resources(&self) -> Vec<Resource> {
        let table = self.resource(48);
        (table.at..table.at + table.size).step_by(50).map(|at| self.resource(at)).collect()
    }

    /// Decodes `count` chunks from `at` on.
    fn decode(&self, mut at: usize, sizes: &[usize], chunk_size: usize, size: usize) -> Vec<u8> {
        let mut decoder = Decoder::new();
        let mut data = vec![0; size];
        for (stored, output) in sizes.iter().zip(data.chunks_mut(chunk_size)) {
            let input = &self.0[at..at + stored];
            match *stored == output.len() {
                true => output.copy_from_slice(input),
                false => decoder.decode(input, output).expect("a sound chunk"),
            }
            at += stored;
        }
        data
    }

    /// A resource of its own: a table of where the chunks from the second on begin, then the chunks.
    fn plain(&self, resource: &Resource) -> Vec<u8> {
        let chunk_size = self.number(20, 4);
        let count = resource.size.div_ceil(chunk_size);
        let chunks = resource.at + 4 * (count - 1);
        let mut starts: Vec<usize> = (0..count - 1).map(|i| self.number(resource.at + 4 * i, 4)).collect();
        starts.insert(0, 0);
        starts.push(resource.stored - 4 * (count - 1));
        let sizes: Vec<usize> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        self.decode(chunks, &sizes, chunk_size, resource.size)
    }

    /// A solid resource: size, chunk size and format (3 is LZMS), the sizes of the chunks, then the chunks.
    fn solid(&self, at: usize) -> Vec<u8> {
        let (size, chunk_size) = (self.number(at, 8), self.number(at + 8, 4));
        assert_eq!(self.number(at + 12, 4), 3);
        let count = size.div_ceil(chunk_size);
        let sizes: Vec<usize> = (0..count).map(|i| self.number(at + 16 + 4 * i, 4)).collect();
        self.decode(at + 16 + 4 * count, &sizes, chunk_size, size)
    }
}

fn capture(tools: &Tools, options: &[&str]) -> Wim {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (source, wim) = (folder.path().join("source"), folder.path().join("captured.wim"));
    fs::create_dir(&source).expect("a folder");
    for (name, data) in samples::all() {
        fs::write(source.join(name), data).expect("a file");
    }
    let capture = ["capture", text(&source), text(&wim), "--threads=1", "--no-acls"];
    tools.run("wimlib-imagex", &[&capture[..], options].concat());
    Wim(fs::read(&wim).expect("the WIM"))
}

#[test]
fn chunks_of_every_size() {
    let Some(tools) = Tools::find(&["wimlib-imagex"]) else { return };
    for chunk_size in ["32K", "64K", "128K", "1M", "64M"] {
        let wim = capture(&tools, &["--compress=LZMS", &format!("--chunk-size={chunk_size}")]);
        let compressed = wim.resources().into_iter().filter(|resource| resource.flags & FLAG_COMPRESSED != 0);
        let decoded: Vec<Vec<u8>> = compressed.map(|resource| wim.plain(&resource)).collect();
        for (name, data) in samples::all() {
            assert!(decoded.contains(&data), "{name} in chunks of {chunk_size}");
        }
    }
}

#[test]
fn solid_resources() {
    let Some(tools) = Tools::find(&["wimlib-imagex"]) else { return };
    for chunk_size in ["32K", "1M", "64M"] {
        let wim = capture(&tools, &["--solid", &format!("--solid-chunk-size={chunk_size}")]);
        let resources = wim.resources();
        let group = resources.iter().find(|resource| resource.size == 1 << 32).expect("a solid resource");
        let decoded = wim.solid(group.at);
        // In a solid resource the offset of a blob is that in the resource.
        let blobs: Vec<&[u8]> = (resources.iter())
            .filter(|resource| resource.flags & FLAG_SOLID != 0 && resource.size != 1 << 32)
            .map(|resource| &decoded[resource.at..resource.at + resource.stored])
            .collect();
        for (name, data) in samples::all() {
            assert!(blobs.contains(&&data[..]), "{name} in chunks of {chunk_size}");
        }
    }
}

/// Makes `tests/data/lzms` anew: a resource of one chunk is that chunk and nothing else.
#[test]
#[ignore = "writes fixtures into the source tree"]
fn write_fixtures() {
    let tools = Tools::find(&["wimlib-imagex"]).expect("wimlib-imagex");
    let wim = capture(&tools, &["--compress=LZMS", "--chunk-size=4M"]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lzms");
    fs::create_dir_all(&folder).expect("a folder");
    let compressed = wim.resources().into_iter().filter(|resource| resource.flags & FLAG_COMPRESSED != 0);
    let chunks: Vec<_> = compressed.map(|resource| (wim.plain(&resource), resource)).collect();
    for (name, data) in samples::all() {
        let (_, resource) = chunks.iter().find(|(decoded, _)| *decoded == data).expect(name);
        let chunk = &wim.0[resource.at..resource.at + resource.stored];
        fs::write(folder.join(name).with_extension("lzms"), chunk).expect("a fixture");
    }
}
