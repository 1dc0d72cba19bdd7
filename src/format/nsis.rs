//! Installers made by NSIS, the Nullsoft Scriptable Install System: the files in them, without running them.
//!
//! | | read |
//! |---|---|
//! | NSIS 2 and 3, ANSI and Unicode | yes |
//! | LZMA, deflate, stored; all in one stream (solid) or each file by itself | yes |
//! | bzip2; LZMA behind a filter for x86 | refused by name |
//! | NSIS 1, builds of NSIS with other instructions | refused, or their files are not found |
//!
//! Behind the program lies a header with the script, 28 bytes for each instruction, and behind it the files. Where a file goes follows
//! from the instructions before it: one sets the folder (`SetOutPath`), one unpacks a file into it (`File`). The instructions are looked
//! at in their order, as other unpackers do: jumps do not matter. Variables stand in paths by their names, but for the folder of the
//! installation, which is the root here.
//!
//! # Limits
//! 1 GiB for an installer, and for what it unpacks to; 64 MiB for the dictionary of LZMA. What is solid is held in memory whole.
//!
//! # Sources
//! NSIS' own description of its file format (`fileform.h`), 7-Zip's list of formats; installers made by makensis 3, and what 7z finds in them.

use std::io::Read;

use flate2::read::DeflateDecoder;
use lzma_rust2::LzmaReader;

use crate::base::bytes::u32_at;
use crate::base::{FileTime, ReadAt};
use crate::error::{Context, Error, Result};

/// The longest installer, and the most that it unpacks to.
const MAX_LEN: u64 = 1 << 30;
const MAX_DICTIONARY: u32 = 64 << 20;
/// The header begins at a multiple of this.
const ALIGNMENT: usize = 512;
/// `FH_SIG` and `FH_INT1` to `FH_INT3`, behind the flags.
const SIGNATURE: &[u8; 16] = b"\xEF\xBE\xAD\xDENullsoftInst";
/// Flags, the signature, the length of the unpacked header, the length of all from here on.
const FIRST_HEADER: usize = 28;
/// Set in a length where the bytes behind it are packed.
const PACKED: u32 = 1 << 31;
/// What LZMA with the usual parameters and a dictionary of whole 64 KiB begins with.
const LZMA: [u8; 3] = [0x5D, 0, 0];

/// Of the header: flags, then where the blocks are and how much is in them. These two are read.
const ENTRIES: usize = 4 + 2 * 8;
const STRINGS: usize = 4 + 3 * 8;
/// An instruction: its number, and six parameters.
const ENTRY: usize = 28;
const SET_OUT_PATH: u32 = 11;
const EXTRACT_FILE: u32 = 20;
/// The longest text of the script that is read, in characters.
const MAX_TEXT: usize = 1024;

/// An installer whose script has been read.
pub struct Installer {
    data: Data,
    files: Vec<File>,
}

/// A file that an installer unpacks. One that it unpacks in two places is there twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where to, with `\`, from the folder of the installation. It may say anything.
    pub path: String,
    /// When it was last written; none if that is not kept.
    pub modified: Option<FileTime>,
    /// Where it is in the data.
    place: u32,
}

/// What is behind the header.
struct Data {
    bytes: Vec<u8>,
    /// How each file is packed by itself; none if all is unpacked already.
    method: Option<Method>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Lzma,
    Deflate,
}

impl Installer {
    /// Reads an installer; `None` if it is a program of another kind.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) and [`Truncated`](crate::error::Kind::Truncated) for damage;
    /// [`Unsupported`](crate::error::Kind::Unsupported) for bzip2, filters, and what is too large.
    pub fn open(reader: &dyn ReadAt) -> Result<Option<Self>> {
        let mut magic = [0; 2];
        if reader.len() < 2 || reader.len() > MAX_LEN {
            return Ok(None);
        }
        reader.read_at(0, &mut magic)?;
        if magic != *b"MZ" {
            return Ok(None);
        }
        let mut bytes = vec![0; reader.len() as usize]; // there, up to 1 GiB
        reader.read_at(0, &mut bytes)?;
        let is_start = |at: &usize| bytes.get(at + 4..at + 20) == Some(SIGNATURE);
        let Some(start) = (0..bytes.len()).step_by(ALIGNMENT).find(is_start) else { return Ok(None) };
        let field = |at: usize| u32_at(&bytes, start + at).ok_or_else(cut_short);
        let (header_len, all) = (field(20)?, field(24)?);
        let end = start.checked_add(all as usize).filter(|end| *end <= bytes.len()).ok_or_else(cut_short)?;
        bytes.truncate(end);
        let body = bytes.split_off((start + FIRST_HEADER).min(end));
        let (header, data) = unpack(body, header_len).context(|| "NSIS installer")?;
        let files =
            script_files(&header).ok_or_else(|| Error::corrupt("NSIS installer: a header that is cut short"))?;
        Ok(Some(Self { data, files }))
    }

    /// All files, in the order in which they are unpacked.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// What a file contains.
    pub fn read(&self, file: &File) -> Result<Vec<u8>> {
        let read = || {
            let (packed, bytes) = part(&self.data.bytes, file.place as usize)?;
            match self.data.method.filter(|_| packed) {
                Some(method) => inflate(method, bytes, MAX_LEN),
                None if packed => Err(Error::corrupt("a packed file within a packed stream")),
                None => Ok(bytes.to_vec()),
            }
        };
        read().context(|| file.path.clone())
    }
}

fn cut_short() -> Error {
    Error::truncated("an NSIS installer that is cut short")
}

/// The unpacked header, and the data behind it.
fn unpack(body: Vec<u8>, header_len: u32) -> Result<(Vec<u8>, Data)> {
    let first = u32_at(&body, 0).ok_or_else(cut_short)?;
    let by_itself = !begins_lzma(&body) && (first & PACKED != 0 || first == header_len);
    if !by_itself {
        // All is one stream: the length of the header, the header, the data.
        let method = method_of(&body)?;
        let stream = inflate(method, &body, MAX_LEN)?;
        let (_, header) = part(&stream, 0)?;
        let header = header.to_vec();
        let bytes = stream.get(4 + header.len()..).unwrap_or_default().to_vec();
        return Ok((header, Data { bytes, method: None }));
    }
    let (packed, header) = part(&body, 0)?;
    let method = if packed { Some(method_of(header)?) } else { None };
    let unpacked = match method {
        Some(method) => inflate(method, header, MAX_LEN)?,
        None => header.to_vec(),
    };
    let bytes = body.get(4 + header.len()..).unwrap_or_default().to_vec();
    Ok((unpacked, Data { bytes, method }))
}

/// Whether a stream of LZMA begins here: with a dictionary of 8 MiB, its head read as a length has the mark of what is packed, too.
/// The first byte of the coded data is always 0 (LZMA specification, "range decoder").
fn begins_lzma(bytes: &[u8]) -> bool {
    bytes.starts_with(&LZMA) && bytes.get(5) == Some(&0) && bytes.get(6).is_some_and(|byte| byte & 0x80 == 0)
}

/// A length and the bytes that it is for, and whether they are packed.
fn part(bytes: &[u8], at: usize) -> Result<(bool, &[u8])> {
    let len = u32_at(bytes, at).ok_or_else(cut_short)?;
    let start = at + 4; // in the bytes, as the length is
    let end = start.checked_add((len & !PACKED) as usize).ok_or_else(cut_short)?;
    Ok((len & PACKED != 0, bytes.get(start..end).ok_or_else(cut_short)?))
}

fn method_of(bytes: &[u8]) -> Result<Method> {
    match bytes {
        [0x31, second, ..] if *second < 14 => {
            Err(Error::unsupported("compression").found("bzip2").allowed("LZMA, deflate"))
        }
        [0 | 1, rest @ ..] if rest.starts_with(&LZMA) => {
            Err(Error::unsupported("compression").found("LZMA behind a filter").allowed("LZMA, deflate"))
        }
        _ if bytes.starts_with(&LZMA) => Ok(Method::Lzma),
        _ => Ok(Method::Deflate),
    }
}

/// Unpacks a stream to its end. One that breaks off gives what there is before: files that are missing then are noticed by their lengths.
fn inflate(method: Method, packed: &[u8], limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = match method {
        Method::Deflate => DeflateDecoder::new(packed).take(limit + 1).read_to_end(&mut bytes),
        Method::Lzma => {
            let (Some((props, rest)), Some(dictionary)) = (packed.split_first(), u32_at(packed, 1)) else {
                return Err(cut_short());
            };
            if dictionary > MAX_DICTIONARY {
                return Err(Error::unsupported("dictionary of LZMA").found(dictionary).allowed(MAX_DICTIONARY));
            }
            let stream = rest.get(4..).unwrap_or_default();
            let reader = LzmaReader::new_with_props(stream, u64::MAX, *props, dictionary, None);
            let reader = reader.map_err(|error| Error::corrupt("LZMA").found(error))?;
            reader.take(limit + 1).read_to_end(&mut bytes)
        }
    };
    if bytes.len() as u64 > limit {
        return Err(Error::unsupported("an installer that unpacks to more").allowed(limit));
    }
    match read {
        Err(error) if bytes.is_empty() => Err(Error::corrupt("packed data").found(error)),
        _ => Ok(bytes),
    }
}

/// The files that a script unpacks; `None` if the header ends before what it promises.
fn script_files(header: &[u8]) -> Option<Vec<File>> {
    let entries = header.get(u32_at(header, ENTRIES)? as usize..)?;
    let count = u32_at(header, ENTRIES + 4)? as usize;
    let strings = header.get(u32_at(header, STRINGS)? as usize..)?;
    let mut folder = String::new();
    let mut files = Vec::new();
    for entry in entries.chunks_exact(ENTRY).take(count) {
        let parameter = |index: usize| u32_at(entry, 4 + 4 * index);
        match u32_at(entry, 0)? {
            SET_OUT_PATH if parameter(1)? != 0 => folder = text(strings, parameter(0)?, &folder).unwrap_or_default(),
            EXTRACT_FILE => {
                let Some(name) = text(strings, parameter(1)?, &folder) else { continue };
                let ticks = u64::from(parameter(4)?) << 32 | u64::from(parameter(3)?);
                let path = if name.starts_with('$') || folder.is_empty() { name } else { format!(r"{folder}\{name}") };
                let modified = Some(FileTime(ticks)).filter(|_| ticks != 0 && ticks != u64::MAX);
                files.push(File { path, modified, place: parameter(2)? });
            }
            _ => {}
        }
    }
    Some(files)
}

/// A text of the script; `None` for one that depends on the language, or is not there.
fn text(strings: &[u8], index: u32, folder: &str) -> Option<String> {
    // The first text is empty: one NUL, or two where characters have two bytes.
    let wide = strings.starts_with(&[0, 0]);
    let index = usize::try_from(i32::try_from(index).ok()?).ok()?;
    let at = index.checked_mul(if wide { 2 } else { 1 })?;
    let mut units: Box<dyn Iterator<Item = u16> + '_> = match strings.get(at..)? {
        rest if wide => Box::new(rest.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair))),
        rest => Box::new(rest.iter().map(|byte| u16::from(*byte))),
    };
    let mut text: Vec<u16> = Vec::new();
    while let Some(unit) = units.next().filter(|unit| *unit != 0) {
        let code = match (wide, unit) {
            (_, 1..=4) => unit,
            (false, 252..=255) => 256 - unit, // NSIS 2
            (true, 0xE000..=0xE003) => [4, 3, 2, 1][usize::from(unit - 0xE000)], // an offspring of NSIS 2
            _ => 0,
        };
        match code {
            0 => text.push(unit),
            1 => return None, // a text of a language
            4 => text.push(units.next()?),
            _ => {
                let (low, high) = match units.next()? {
                    operand if wide => (operand & 0x7F, operand >> 8 & 0x7F),
                    operand => (operand & 0x7F, units.next()? & 0x7F),
                };
                let name = if code == 3 { variable(high << 7 | low, folder) } else { "$SHELL".to_owned() };
                text.extend(name.encode_utf16());
            }
        }
        if text.len() > MAX_TEXT {
            return None;
        }
    }
    let text = String::from_utf16_lossy(&text);
    Some(text.trim_matches('\\').to_owned())
}

/// What stands for a variable in a path.
fn variable(number: u16, folder: &str) -> String {
    match number {
        21 => String::new(),          // $INSTDIR
        22 | 31 => folder.to_owned(), // $OUTDIR
        25 => "$TEMP".into(),
        26 => "$PLUGINSDIR".into(),
        other => format!("$VARIABLE{other}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::error::Kind;
    use lzma_rust2::{LzmaOptions, LzmaWriter};

    /// How an installer is packed.
    #[derive(Clone, Copy, PartialEq)]
    enum Form {
        SolidLzma,
        SolidDeflate,
        EachLzma,
        EachDeflate,
        Stored,
    }
    const FORMS: [Form; 5] = [Form::SolidLzma, Form::SolidDeflate, Form::EachLzma, Form::EachDeflate, Form::Stored];

    fn pack(form: Form, bytes: &[u8]) -> Vec<u8> {
        if matches!(form, Form::SolidDeflate | Form::EachDeflate) {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            return encoder.finish().unwrap();
        }
        let mut options = LzmaOptions::with_preset(1);
        options.dict_size = 1 << 16;
        let mut packed = vec![0x5D, 0, 0, 1, 0];
        let mut writer = LzmaWriter::new_no_header(&mut packed, &options, true).unwrap();
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap();
        packed
    }

    /// Unicode texts, each with its place in characters.
    fn texts(texts: &[&[u16]]) -> (Vec<u8>, Vec<u32>) {
        let mut units = vec![0u16];
        let mut places = Vec::new();
        for text in texts {
            places.push(units.len() as u32);
            units.extend(*text);
            units.push(0);
        }
        (units.iter().flat_map(|unit| unit.to_le_bytes()).collect(), places)
    }

    fn units(text: &str) -> Vec<u16> {
        text.encode_utf16().collect()
    }

    /// An installer with `amd64\a.inf`, `b.sys` in the root and a file of a plug-in.
    fn installer(form: Form) -> Vec<u8> {
        let variable = |number: u16, rest: &str| [vec![3, number | 0x8080], units(rest)].concat();
        let all = [variable(21, r"\amd64"), units("a.inf"), variable(21, ""), units("b.sys"), variable(26, r"\x.dll")];
        let (strings, places) = texts(&all.each_ref().map(Vec::as_slice));
        let contents: [&[u8]; 3] = [b"[Version]", &[7; 3000], b"plug-in"];
        let solid = matches!(form, Form::SolidLzma | Form::SolidDeflate);
        let mut data = Vec::new();
        let mut offsets = Vec::new();
        for content in contents {
            offsets.push(data.len() as u32);
            if solid || form == Form::Stored {
                data.extend((content.len() as u32).to_le_bytes());
                data.extend(content);
            } else {
                let packed = pack(form, content);
                data.extend((packed.len() as u32 | PACKED).to_le_bytes());
                data.extend(packed);
            }
        }
        let entries: [[u32; 7]; 5] = [
            [SET_OUT_PATH, places[0], 1, 0, 0, 0, 0],
            [EXTRACT_FILE, 0, places[1], offsets[0], 0x1234, 0x01D0_0000, 0],
            [SET_OUT_PATH, places[2], 1, 0, 0, 0, 0],
            [EXTRACT_FILE, 0, places[3], offsets[1], 0, 0, 0],
            [EXTRACT_FILE, 0, places[4], offsets[2], 0, 0, 0],
        ];
        let mut header = vec![0; 4 + 8 * 8];
        let mut set = |at: usize, value: usize| header[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
        set(ENTRIES, 68);
        set(ENTRIES + 4, entries.len());
        set(STRINGS, 68 + ENTRY * entries.len());
        header.extend(entries.as_flattened().iter().flat_map(|value| value.to_le_bytes()));
        header.extend(strings);
        let mut body = Vec::new();
        if solid {
            let stream = [&(header.len() as u32).to_le_bytes()[..], &header, &data].concat();
            body = pack(form, &stream);
        } else if form == Form::Stored {
            body.extend((header.len() as u32).to_le_bytes());
            body.extend(&header);
            body.extend(&data);
        } else {
            let packed = pack(form, &header);
            body.extend((packed.len() as u32 | PACKED).to_le_bytes());
            body.extend(packed);
            body.extend(&data);
        }
        let mut bytes = vec![0; 2 * ALIGNMENT];
        bytes[..2].copy_from_slice(b"MZ");
        bytes.extend([0; 4]);
        bytes.extend(SIGNATURE);
        bytes.extend((header.len() as u32).to_le_bytes());
        bytes.extend(((FIRST_HEADER + body.len()) as u32).to_le_bytes());
        bytes.extend(body);
        bytes.extend([0xEE; 100]); // a signature
        bytes
    }

    #[test]
    fn finds_files_however_they_are_packed() {
        for form in FORMS {
            let installer = Installer::open(&installer(form)).unwrap().unwrap();
            let paths: Vec<&str> = installer.files().iter().map(|file| file.path.as_str()).collect();
            assert_eq!(paths, [r"amd64\a.inf", "b.sys", r"$PLUGINSDIR\x.dll"]);
            assert_eq!(installer.files()[0].modified, Some(FileTime(0x01D0_0000_0000_1234)));
            assert_eq!(installer.files()[1].modified, None);
            assert_eq!(installer.read(&installer.files()[0]).unwrap(), b"[Version]");
            assert_eq!(installer.read(&installer.files()[1]).unwrap(), [7; 3000]);
            assert_eq!(installer.read(&installer.files()[2]).unwrap(), b"plug-in");
        }
    }

    #[test]
    fn other_programs_are_none() {
        assert!(Installer::open(&b"MZ".to_vec()).unwrap().is_none());
        assert!(Installer::open(&vec![0; 4096]).unwrap().is_none());
        assert!(Installer::open(&Vec::new()).unwrap().is_none());
        let mut shifted = installer(Form::Stored);
        shifted.insert(10, 0);
        assert!(Installer::open(&shifted).unwrap().is_none());
    }

    #[test]
    fn texts_of_all_generations() {
        let ansi = |bytes: &[u8]| text(&[&[0, b'x'][..], bytes, &[0]].concat(), 2, "out");
        assert_eq!(ansi(b"a\x03\x95\x80\\b").as_deref(), Some(r"a\b"));
        assert_eq!(ansi(b"\xFD\x9A\x80\\b").as_deref(), Some(r"$PLUGINSDIR\b"));
        assert_eq!(ansi(b"\xFC\xFDb").as_deref(), Some("ýb"));
        assert_eq!(ansi(b"\x01\x80\x80"), None);
        assert_eq!(ansi(b"\x03\x96\x80\\b").as_deref(), Some(r"out\b"));
        assert_eq!(text(&[0, 0], u32::MAX, ""), None);
        assert_eq!(text(&[0; 4], 1 << 30, ""), None);
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        let refused = |bytes: &[u8]| method_of(bytes).unwrap_err();
        assert!(refused(&[0x31, 1, 0]).to_string().contains("bzip2"));
        assert!(refused(&[1, 0x5D, 0, 0]).to_string().contains("filter"));
        let huge = [0x5D, 0, 0, 0, 0x80, 1, 2, 3];
        assert_eq!(inflate(Method::Lzma, &huge, 10).unwrap_err().kind(), Kind::Unsupported);
        assert_eq!(
            inflate(Method::Deflate, &pack(Form::SolidDeflate, &[0; 5000]), 100).unwrap_err().kind(),
            Kind::Unsupported
        );
    }

    #[test]
    fn damage_does_no_harm() {
        let check = |bytes: &[u8]| {
            if let Ok(Some(installer)) = Installer::open(&bytes.to_vec()) {
                installer.files().iter().for_each(|file| drop(installer.read(file)));
            }
        };
        for form in FORMS {
            let bytes = installer(form);
            for at in 1024..bytes.len() - 100 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << (at % 8);
                check(&damaged);
                check(&bytes[..at]);
            }
            assert!(Installer::open(&bytes[..bytes.len() - 200].to_vec()).is_err());
        }
    }
}
