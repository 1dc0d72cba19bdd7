//! The XML document of a WIM: what it says about the images.

use std::fmt::Write;

use quick_xml::escape::escape;
use roxmltree::{Document, Node, ParsingOptions};
use serde::Serialize;

use crate::base::FileTime;
use crate::error::{Error, Result};

/// A Windows version: `major.minor.build.spbuild`, and the service pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
pub struct Version {
    /// 10 since Windows 10.
    pub major: u32,
    /// 0 since Windows 10.
    pub minor: u32,
    /// The build: 14393 is Server 2016.
    pub build: u32,
    /// The update revision.
    pub revision: u32,
    /// The service pack.
    pub service_pack: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}.{}", self.major, self.minor, self.build, self.revision)
    }
}

/// What the XML says about one image. Any part of it may be missing, and nothing but people rely on it.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ImageInfo {
    /// From 1.
    pub index: usize,
    /// NAME.
    pub name: Option<String>,
    /// DESCRIPTION.
    pub description: Option<String>,
    /// DISPLAYNAME.
    pub display_name: Option<String>,
    /// DISPLAYDESCRIPTION.
    pub display_description: Option<String>,
    /// FLAGS: by custom the edition id.
    pub flags: Option<String>,
    /// WINDOWS/EDITIONID.
    pub edition: Option<String>,
    /// WINDOWS/INSTALLATIONTYPE: Client, Server, Server Core, Nano Server, WindowsPE.
    pub installation_type: Option<String>,
    /// WINDOWS/PRODUCTNAME.
    pub product_name: Option<String>,
    /// WINDOWS/PRODUCTTYPE: WinNT, ServerNT, LanmanNT.
    pub product_type: Option<String>,
    /// WINDOWS/PRODUCTSUITE.
    pub product_suite: Option<String>,
    /// WINDOWS/SYSTEMROOT: the name of the Windows folder.
    pub system_root: Option<String>,
    /// WINDOWS/ARCH: a PROCESSOR_ARCHITECTURE number; see [`architecture_name`](ImageInfo::architecture_name).
    pub architecture: Option<u32>,
    /// WINDOWS/VERSION.
    pub version: Option<Version>,
    /// WINDOWS/LANGUAGES/LANGUAGE.
    pub languages: Vec<String>,
    /// WINDOWS/LANGUAGES/DEFAULT.
    pub default_language: Option<String>,
    /// DIRCOUNT.
    pub directories: Option<u64>,
    /// FILECOUNT.
    pub files: Option<u64>,
    /// TOTALBYTES: every file counted, hard links too.
    pub total_bytes: Option<u64>,
    /// HARDLINKBYTES: how many of them are not there because of hard links.
    pub hard_link_bytes: Option<u64>,
    /// CREATIONTIME.
    pub created: Option<FileTime>,
    /// LASTMODIFICATIONTIME.
    pub modified: Option<FileTime>,
    /// Whether WIMBOOT is set: the image's files are meant to stay in the WIM.
    pub wim_boot: bool,
}

impl ImageInfo {
    /// The usual name of the architecture.
    pub fn architecture_name(&self) -> Option<&'static str> {
        Some(match self.architecture? {
            0 => "x86",
            5 => "arm",
            6 => "ia64",
            9 => "amd64",
            12 => "arm64",
            _ => "unknown",
        })
    }

    /// All that an image can be called by.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        [&self.name, &self.display_name, &self.edition, &self.flags].into_iter().flatten().map(String::as_str)
    }
}

/// The XML of a WIM, parsed.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// One for each IMAGE element.
    pub(super) images: Vec<ImageInfo>,
    /// Whether ESD/ENCRYPTED is there: ranges of the file are encrypted.
    pub(super) encrypted: bool,
}

/// Parses the document: UTF-16LE, by custom with a byte order mark.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed> {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let text = String::from_utf16(&units.collect::<Vec<_>>()).map_err(|_| Error::corrupt("XML: not UTF-16"))?;
    let text = text.trim_start_matches('\u{FEFF}').trim_end_matches('\0');
    let options = ParsingOptions { nodes_limit: 1 << 20, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options)
        .map_err(|e| Error::corrupt(format_args!("XML: {}", printable(&e.to_string()))))?;
    let root = document.root_element();
    if !root.has_tag_name("WIM") {
        return Err(Error::corrupt("XML: root element").found(root.tag_name().name()).allowed("WIM"));
    }
    let images = root.children().filter(|node| node.has_tag_name("IMAGE")).map(image).collect();
    Ok(Parsed { images, encrypted: child(root, &["ESD", "ENCRYPTED"]).is_some() })
}

fn child<'a, 'i>(node: Node<'a, 'i>, path: &[&str]) -> Option<Node<'a, 'i>> {
    path.iter().try_fold(node, |node, name| node.children().find(|child| child.has_tag_name(*name)))
}

fn text(node: Node<'_, '_>, path: &[&str]) -> Option<String> {
    let text = printable(child(node, path)?.text()?);
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// With a space for each control character (C0, DEL, C1): texts are for people, and reach their terminals.
fn printable(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn number<T: std::str::FromStr>(node: Node<'_, '_>, path: &[&str]) -> Option<T> {
    text(node, path)?.parse().ok()
}

/// HIGHPART and LOWPART are hexadecimal with "0x".
fn file_time(node: Node<'_, '_>, name: &str) -> Option<FileTime> {
    let part = |half| u32::from_str_radix(text(node, &[name, half])?.trim_start_matches("0x"), 16).ok();
    Some(FileTime(u64::from(part("HIGHPART")?) << 32 | u64::from(part("LOWPART")?)))
}

fn image(node: Node<'_, '_>) -> ImageInfo {
    let windows = |name| text(node, &["WINDOWS", name]);
    let version = |name| number(node, &["WINDOWS", "VERSION", name]);
    let languages = child(node, &["WINDOWS", "LANGUAGES"]);
    ImageInfo {
        index: node.attribute("INDEX").and_then(|index| index.trim().parse().ok()).unwrap_or(0),
        name: text(node, &["NAME"]),
        description: text(node, &["DESCRIPTION"]),
        display_name: text(node, &["DISPLAYNAME"]),
        display_description: text(node, &["DISPLAYDESCRIPTION"]),
        flags: text(node, &["FLAGS"]),
        edition: windows("EDITIONID"),
        installation_type: windows("INSTALLATIONTYPE"),
        product_name: windows("PRODUCTNAME"),
        product_type: windows("PRODUCTTYPE"),
        product_suite: windows("PRODUCTSUITE"),
        system_root: windows("SYSTEMROOT"),
        architecture: number(node, &["WINDOWS", "ARCH"]),
        version: version("MAJOR").map(|major| Version {
            major,
            minor: version("MINOR").unwrap_or(0),
            build: version("BUILD").unwrap_or(0),
            revision: version("SPBUILD").unwrap_or(0),
            service_pack: version("SPLEVEL").unwrap_or(0),
        }),
        languages: languages.map_or_else(Vec::new, |languages| {
            let languages = languages.children().filter(|child| child.has_tag_name("LANGUAGE"));
            languages.filter_map(|language| text(language, &[])).collect()
        }),
        default_language: text(node, &["WINDOWS", "LANGUAGES", "DEFAULT"]),
        directories: number(node, &["DIRCOUNT"]),
        files: number(node, &["FILECOUNT"]),
        total_bytes: number(node, &["TOTALBYTES"]),
        hard_link_bytes: number(node, &["HARDLINKBYTES"]),
        created: file_time(node, "CREATIONTIME"),
        modified: file_time(node, "LASTMODIFICATIONTIME"),
        wim_boot: text(node, &["WIMBOOT"]).is_some_and(|value| value == "1"),
    }
}

/// The document for `images`, which come in order; `total_bytes` is the length of the WIM up to the XML.
pub(super) fn render(images: &[ImageInfo], total_bytes: u64) -> Vec<u8> {
    let mut xml = Xml(String::from("\u{FEFF}<WIM>"));
    xml.leaf("TOTALBYTES", Some(total_bytes));
    for (index, info) in images.iter().enumerate() {
        xml.image(index + 1, info);
    }
    xml.0.push_str("</WIM>");
    xml.0.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

struct Xml(String);

impl Xml {
    fn leaf(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            let value = value.to_string();
            let _ = write!(self.0, "<{name}>{}</{name}>", escape(clean(&value)));
        }
    }

    fn open(&mut self, name: &str) {
        let _ = write!(self.0, "<{name}>");
    }

    fn close(&mut self, name: &str) {
        let _ = write!(self.0, "</{name}>");
    }

    fn image(&mut self, index: usize, info: &ImageInfo) {
        let _ = write!(self.0, "<IMAGE INDEX=\"{index}\">");
        self.leaf("DIRCOUNT", info.directories);
        self.leaf("FILECOUNT", info.files);
        self.leaf("TOTALBYTES", info.total_bytes);
        self.leaf("HARDLINKBYTES", info.hard_link_bytes);
        self.time("CREATIONTIME", info.created);
        self.time("LASTMODIFICATIONTIME", info.modified);
        self.leaf("WIMBOOT", Some(u8::from(info.wim_boot)));
        self.windows(info);
        self.leaf("NAME", info.name.as_ref());
        self.leaf("DESCRIPTION", info.description.as_ref());
        self.leaf("FLAGS", info.flags.as_ref());
        self.leaf("DISPLAYNAME", info.display_name.as_ref());
        self.leaf("DISPLAYDESCRIPTION", info.display_description.as_ref());
        self.close("IMAGE");
    }

    fn windows(&mut self, info: &ImageInfo) {
        let (Some(architecture), Some(version)) = (info.architecture, info.version) else { return };
        self.open("WINDOWS");
        self.leaf("ARCH", Some(architecture));
        self.leaf("PRODUCTNAME", info.product_name.as_ref());
        self.leaf("EDITIONID", info.edition.as_ref());
        self.leaf("INSTALLATIONTYPE", info.installation_type.as_ref());
        self.leaf("PRODUCTTYPE", info.product_type.as_ref());
        self.leaf("PRODUCTSUITE", info.product_suite.as_ref());
        self.open("LANGUAGES");
        for language in &info.languages {
            self.leaf("LANGUAGE", Some(language));
        }
        self.leaf("DEFAULT", info.default_language.as_ref());
        self.close("LANGUAGES");
        self.open("VERSION");
        self.leaf("MAJOR", Some(version.major));
        self.leaf("MINOR", Some(version.minor));
        self.leaf("BUILD", Some(version.build));
        self.leaf("SPBUILD", Some(version.revision));
        self.leaf("SPLEVEL", Some(version.service_pack));
        self.close("VERSION");
        self.leaf("SYSTEMROOT", info.system_root.as_ref());
        self.close("WINDOWS");
    }

    fn time(&mut self, name: &str, time: Option<FileTime>) {
        let Some(FileTime(ticks)) = time else { return };
        self.open(name);
        self.leaf("HIGHPART", Some(format!("0x{:08X}", ticks >> 32)));
        self.leaf("LOWPART", Some(format!("0x{:08X}", ticks as u32)));
        self.close(name);
    }
}

/// Without the characters that XML 1.0 cannot hold even escaped.
fn clean(text: &str) -> String {
    let allowed = |c: &char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{FFFD}' | '\u{10000}'..);
    text.chars().filter(allowed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn what_is_rendered_is_parsed() {
        let info = ImageInfo {
            index: 1,
            name: Some("Nano & <Server>".into()),
            description: Some("ä\u{1F600}".into()),
            flags: Some("ServerDatacenterNano".into()),
            edition: Some("ServerDatacenterNano".into()),
            architecture: Some(9),
            version: Some(Version { major: 10, minor: 0, build: 14393, revision: 1066, service_pack: 0 }),
            languages: vec!["en-US".into(), "de-DE".into()],
            default_language: Some("en-US".into()),
            directories: Some(3),
            files: Some(7),
            total_bytes: Some(1 << 40),
            hard_link_bytes: Some(0),
            created: Some(FileTime(0x01D2_3456_89AB_CDEF)),
            modified: Some(FileTime(1)),
            ..ImageInfo::default()
        };
        let parsed = parse(&render(std::slice::from_ref(&info), 5)).unwrap();
        assert_eq!(parsed.images, [info]);
        assert!(!parsed.encrypted);
        assert_eq!(parsed.images[0].architecture_name(), Some("amd64"));
        assert_eq!(parsed.images[0].version.unwrap().to_string(), "10.0.14393.1066");
    }

    #[test]
    fn characters_that_xml_cannot_hold_are_left_out() {
        let info = ImageInfo { index: 1, name: Some("a\u{1}b\0".into()), ..ImageInfo::default() };
        assert_eq!(parse(&render(&[info], 0)).unwrap().images[0].name.as_deref(), Some("ab"));
    }

    #[test]
    fn control_characters_do_not_reach_terminals() {
        let xml = "<WIM><IMAGE INDEX=\"1\"><NAME>&#9;a\u{9b}31m\u{7f}b\n</NAME><WINDOWS><LANGUAGES><LANGUAGE>\u{85}e\
                   \u{9d}</LANGUAGE></LANGUAGES></WINDOWS></IMAGE></WIM>";
        let parsed = parse(&utf16(xml)).unwrap();
        assert_eq!(parsed.images[0].name.as_deref(), Some("a 31m b"));
        assert_eq!(parsed.images[0].languages, ["e"]);
        let error = parse(&utf16("<WIM>&\u{9b}31m;</WIM>")).unwrap_err();
        assert!(!error.to_string().contains(char::is_control), "{error:?}");
    }

    #[test]
    fn an_encrypted_esd_is_recognised() {
        let xml = "<WIM><ESD><ENCRYPTED Count=\"1\"><RANGE Offset=\"1\" Bytes=\"2\"/></ENCRYPTED></ESD></WIM>";
        assert!(parse(&utf16(xml)).unwrap().encrypted);
    }

    #[test]
    fn odd_documents_are_errors() {
        for odd in ["", "<", "<VIM/>", "<!DOCTYPE a [<!ENTITY b \"c\">]><WIM>&b;</WIM>", "garbage"] {
            assert!(parse(&utf16(odd)).is_err(), "{odd}");
        }
        assert!(parse(&[0, 0xD8]).is_err());
    }
}
