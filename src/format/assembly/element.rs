//! An XML document of which is known what of it was read.

use std::cell::Cell;

use roxmltree::{Document, NodeType, ParsingOptions};

use crate::error::{Error, Result};

/// The longest document; the largest manifests of Windows have some megabytes.
const MAX_BYTES: usize = 64 << 20;
/// Elements, attributes and texts of a document.
const MAX_NODES: u32 = 1 << 20;
/// The deepest element. The parser counts levels without calling itself; what works on elements here does call itself for each.
const MAX_DEPTH: usize = 128;

/// An element. Names are without their namespaces: the documents use three versions of one schema, and prefixes at will.
#[derive(Debug, Clone, Default)]
pub struct Element {
    name: String,
    line: u32,
    attributes: Vec<Attribute>,
    children: Vec<Element>,
    text: String,
    read: Cell<bool>,
}

#[derive(Debug, Clone)]
struct Attribute {
    name: String,
    value: String,
    read: Cell<bool>,
}

/// What of a document nobody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// `registryKeys/registryKey@newAttribute`: elements below the root, and an attribute.
    pub path: String,
    /// Its line.
    pub line: u32,
    /// The value of an attribute; nothing for an element.
    pub value: Option<String>,
}

impl Element {
    /// Reads a document: UTF-8 with or without its mark, or UTF-16 with its mark.
    ///
    /// # Errors
    /// [`Corrupt`](crate::error::Kind::Corrupt) for what is no well-formed XML, [`Unsupported`](crate::error::Kind::Unsupported) for a document
    /// beyond the limits: 64 MiB, 2^20 nodes, 128 elements deep.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_BYTES {
            return Err(Error::unsupported("length of an XML document").found(bytes.len()).allowed(MAX_BYTES));
        }
        let text = text_of(bytes)?;
        let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
        let document = Document::parse_with_options(&text, options)
            .map_err(|error| Error::corrupt("the document is no well-formed XML").found(error))?;
        let lines: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        Self::of(document.root_element(), &lines, 1)
    }

    fn of(node: roxmltree::Node<'_, '_>, lines: &[usize], depth: usize) -> Result<Self> {
        if depth > MAX_DEPTH {
            return Err(Error::unsupported("depth of an XML document").allowed(MAX_DEPTH));
        }
        let attribute = |attribute: roxmltree::Attribute<'_, '_>| Attribute {
            name: attribute.name().to_owned(),
            value: attribute.value().to_owned(),
            read: Cell::new(false),
        };
        let texts = node.children().filter(|child| child.node_type() == NodeType::Text);
        let children = node.children().filter(|child| child.is_element());
        Ok(Self {
            name: node.tag_name().name().to_owned(),
            line: lines.partition_point(|at| *at < node.range().start) as u32 + 1,
            attributes: node.attributes().map(attribute).collect(),
            children: children.map(|child| Self::of(child, lines, depth + 1)).collect::<Result<_>>()?,
            text: texts.filter_map(|text| text.text()).collect::<String>().trim().to_owned(),
            read: Cell::new(false),
        })
    }

    /// Its name without the namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The line that it begins in.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The text in it, without that of its children and the white space around it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it has that name. Elements of the schema are told apart by case; tools are not always.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// An attribute's value; it counts as read.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let attribute = self.attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))?;
        attribute.read.set(true);
        Some(&attribute.value)
    }

    /// An attribute's value, if it is not empty; it counts as read.
    pub fn filled(&self, name: &str) -> Option<&str> {
        self.attribute(name).filter(|value| !value.is_empty())
    }

    /// Children of a name; they count as read, what is in them does not.
    pub fn children<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Self> {
        self.children.iter().filter(move |child| child.is(name)).inspect(|child| child.read.set(true))
    }

    /// The first child of a name; it counts as read.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.is(name)).inspect(|child| child.read.set(true))
    }

    /// All children, whatever they are called; none counts as read by that.
    pub fn all_children(&self) -> &[Self] {
        &self.children
    }

    /// Counts as read, without what is in it.
    pub fn mark(&self) {
        self.read.set(true);
    }

    /// Counts as read, with all that is in it.
    pub fn mark_all(&self) {
        self.mark();
        self.mark_attributes(|_| true);
        self.children.iter().for_each(Self::mark_all);
    }

    /// Attributes that count as read: those that say nothing to carry out.
    pub fn mark_attributes(&self, which: impl Fn(&str) -> bool) {
        self.attributes
            .iter()
            .filter(|attribute| which(&attribute.name))
            .for_each(|attribute| attribute.read.set(true));
    }

    /// What of it nobody asked for. An element that nobody asked for stands for all that is in it.
    pub fn unread(&self) -> Vec<Unread> {
        let mut found = Vec::new();
        self.find_unread("", &mut found);
        found
    }

    fn find_unread(&self, path: &str, found: &mut Vec<Unread>) {
        for attribute in self.attributes.iter().filter(|attribute| !attribute.read.get()) {
            let path = format!("{path}@{}", attribute.name);
            found.push(Unread { path, line: self.line, value: Some(attribute.value.clone()) });
        }
        for child in &self.children {
            let path = if path.is_empty() { child.name.clone() } else { format!("{path}/{}", child.name) };
            if child.read.get() {
                child.find_unread(&path, found);
            } else {
                found.push(Unread { path, line: child.line, value: None });
            }
        }
    }
}

fn text_of(bytes: &[u8]) -> Result<String> {
    let units = |pair: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes[2..].as_chunks::<2>();
        let text = String::from_utf16(&pairs.iter().map(|units| pair(*units)).collect::<Vec<_>>());
        text.ok().filter(|_| rest.is_empty())
    };
    let text = match bytes {
        [0xFF, 0xFE, ..] => units(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => units(u16::from_be_bytes),
        _ => str::from_utf8(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)).ok().map(str::to_owned),
    };
    text.ok_or_else(|| Error::corrupt("the document is no text").allowed("UTF-8 or UTF-16"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    const DOCUMENT: &str = "<?xml version=\"1.0\"?>\n<a:assembly xmlns:a=\"urn:schemas-microsoft-com:asm.v3\" x=\"1\">\n <!-- <b> -->\n\
        <b c=\"d\" e=\"\"/><b c=\"f\">text</b>\n<g><h/></g></a:assembly>";

    #[test]
    fn tells_what_was_not_read() {
        let document = Element::parse(DOCUMENT.as_bytes()).unwrap();
        assert_eq!(document.name(), "assembly");
        assert_eq!(document.children("B").map(|b| b.attribute("c").unwrap()).collect::<Vec<_>>(), ["d", "f"]);
        assert_eq!((document.children("b").last().unwrap().text(), document.line()), ("text", 2));
        let unread: Vec<_> = document.unread().into_iter().map(|left| (left.path, left.line)).collect();
        let expected = [("@x", 2), ("b@e", 4), ("g", 5)].map(|(path, line)| (path.to_owned(), line));
        assert_eq!(unread, expected);
        document.mark_all();
        assert!(document.unread().is_empty());
    }

    #[test]
    fn reads_utf_16() {
        let bytes: Vec<u8> = "\u{feff}<a b='\u{e4}'/>".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(Element::parse(&bytes).unwrap().attribute("b"), Some("\u{e4}"));
        assert!(Element::parse(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn depth_is_counted_in_elements_whatever_else_looks_like_tags() {
        let nested = |depth: usize, open: &str| format!("{}{}", open.repeat(depth), "</a>".repeat(depth));
        for open in ["<a b=\"/>\">", "<a><?x > </a></a> ?>", "<a><!--> </a> -->", "<a><![CDATA[</a>]]>", "<a>"] {
            assert_eq!(
                Element::parse(nested(100_000, open).as_bytes()).unwrap_err().kind(),
                Kind::Unsupported,
                "{open}"
            );
            assert_eq!(Element::parse(nested(129, open).as_bytes()).unwrap_err().kind(), Kind::Unsupported, "{open}");
            Element::parse(nested(128, open).as_bytes()).unwrap();
        }
        let flat = format!("<a>{}</a>", "<a b=\"1 > 0\" />".repeat(1000));
        assert_eq!(Element::parse(flat.as_bytes()).unwrap().all_children().len(), 1000);
    }

    #[test]
    fn hostile_documents_are_refused() {
        let deep = "<a>".repeat(100_000);
        assert_eq!(Element::parse(deep.as_bytes()).unwrap_err().kind(), Kind::Corrupt, "nothing is closed");
        let bomb = "<!DOCTYPE a [<!ENTITY b \"cc\">]><a>&b;</a>";
        for text in ["", "<a", "<a></b>", "<a/><a/>", "\u{0}", bomb] {
            assert_eq!(Element::parse(text.as_bytes()).unwrap_err().kind(), Kind::Corrupt, "{text}");
        }
        for end in 0..DOCUMENT.len() {
            let _ = Element::parse(&DOCUMENT.as_bytes()[..end]);
        }
    }
}
