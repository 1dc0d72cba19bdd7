//! An answer file as a tree of elements that can be changed, and back.

use std::fmt::Write;

use quick_xml::escape::escape;
use roxmltree::{Document, NodeType};

use crate::error::{Error, Result};

/// The longest file that is read.
pub(super) const MAX_FILE: usize = 4 << 20;
/// The deepest element that is read; real ones go to ten or so.
const MAX_DEPTH: usize = 64;
const MAX_NODES: u32 = 1 << 18;

/// The namespace of answer files.
pub(super) const UNATTEND: &str = "urn:schemas-microsoft-com:unattend";

/// Namespaces and the prefixes that Windows' own tools give them.
const PREFIXES: [(&str, &str); 3] = [
    ("wcm", "http://schemas.microsoft.com/WMIConfig/2002/State"),
    ("xsi", "http://www.w3.org/2001/XMLSchema-instance"),
    ("cpi", "urn:schemas-microsoft-com:cpi"),
];

/// An element. Comments are dropped on the way in, except as children.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) attributes: Vec<Attribute>,
    pub(super) children: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attribute {
    /// Empty for none.
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) value: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Element(Element),
    Text(String),
    Comment(String),
}

impl Element {
    /// An empty one of the answer files' own namespace.
    pub(super) fn new(name: &str) -> Self {
        Self { namespace: UNATTEND.into(), name: name.into(), attributes: Vec::new(), children: Vec::new() }
    }

    /// Adds an attribute.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        let (namespace, name) = match name.split_once(':') {
            Some((prefix, name)) => {
                (PREFIXES.iter().find(|(known, _)| *known == prefix).map_or("", |(_, uri)| uri), name)
            }
            None => ("", name),
        };
        self.attributes.push(Attribute { namespace: namespace.into(), name: name.into(), value: value.into() });
        self
    }

    /// Whether it is one of the answer files' own, of that name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name == name && self.namespace == UNATTEND
    }

    /// The value of an attribute without a namespace.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|attribute| attribute.name == name && attribute.namespace.is_empty());
        found.map(|attribute| attribute.value.as_str())
    }

    pub(super) fn elements(&self) -> impl Iterator<Item = &Element> {
        self.children.iter().filter_map(|child| match child {
            Node::Element(element) => Some(element),
            _ => None,
        })
    }

    pub(super) fn elements_mut(&mut self) -> impl Iterator<Item = &mut Element> {
        self.children.iter_mut().filter_map(|child| match child {
            Node::Element(element) => Some(element),
            _ => None,
        })
    }

    /// Does something to the first child of which something holds; to a new one if there is none.
    pub(super) fn with_child(
        &mut self,
        wanted: impl Fn(&Element) -> bool,
        make: impl FnOnce() -> Element,
        change: impl FnOnce(&mut Element),
    ) {
        if let Some(child) = self.elements_mut().find(|child| wanted(child)) {
            return change(child);
        }
        let mut child = make();
        change(&mut child);
        self.children.push(Node::Element(child));
    }

    /// Does something to the element at a path of names below this one, made with all on the way to it if it is not there.
    pub(super) fn at(&mut self, path: &[&str], change: &mut dyn FnMut(&mut Element)) {
        match path.split_first() {
            None => change(self),
            Some((name, rest)) => {
                self.with_child(|child| child.is(name), || Element::new(name), |child| child.at(rest, change));
            }
        }
    }

    /// All text below it.
    pub(super) fn text(&self) -> String {
        let parts = self.children.iter().map(|child| match child {
            Node::Element(element) => element.text(),
            Node::Text(text) => text.clone(),
            Node::Comment(_) => String::new(),
        });
        parts.collect::<String>().trim().to_owned()
    }

    /// Makes a text all that is in it.
    pub(super) fn set_text(&mut self, text: &str) {
        self.children = vec![Node::Text(text.to_owned())];
    }
}

/// Reads a file: UTF-8, or UTF-16 with a byte order mark.
pub(super) fn parse(bytes: &[u8]) -> Result<Element> {
    if bytes.len() > MAX_FILE {
        return Err(Error::unsupported("size of an answer file").found(bytes.len()).allowed(MAX_FILE));
    }
    let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        String::from_utf16(&rest.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect::<Vec<_>>()).ok()
    };
    let text = match bytes {
        [0xFF, 0xFE, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => wide(rest, u16::from_be_bytes),
        _ => String::from_utf8(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).to_vec()).ok(),
    };
    let text = text.ok_or_else(|| {
        Error::corrupt("the answer file is no text").allowed("UTF-8, or UTF-16 with a byte order mark")
    })?;
    let options = roxmltree::ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..Default::default() };
    // The place, not the text: it may be in the middle of a password.
    let document = Document::parse_with_options(&text, options).map_err(|error| {
        let place = error.pos();
        Error::corrupt(format_args!(
            "the answer file is no XML that can be read, line {} column {}",
            place.row, place.col
        ))
    })?;
    element(document.root_element(), 0)
}

fn too_deep() -> Error {
    Error::unsupported("an answer file that nests this deep").allowed(format_args!("{MAX_DEPTH} levels"))
}

fn element(node: roxmltree::Node<'_, '_>, depth: usize) -> Result<Element> {
    if depth >= MAX_DEPTH {
        return Err(too_deep());
    }
    let attributes = node.attributes().map(|attribute| Attribute {
        namespace: attribute.namespace().unwrap_or_default().into(),
        name: attribute.name().into(),
        value: attribute.value().into(),
    });
    let mut children = Vec::new();
    for child in node.children() {
        match child.node_type() {
            NodeType::Element => children.push(Node::Element(element(child, depth + 1)?)),
            NodeType::Text => children.push(Node::Text(child.text().unwrap_or_default().into())),
            NodeType::Comment => children.push(Node::Comment(child.text().unwrap_or_default().into())),
            NodeType::Root | NodeType::PI => {}
        }
    }
    if children.iter().any(|child| matches!(child, Node::Element(_))) {
        children.retain(|child| !matches!(child, Node::Text(text) if text.trim().is_empty())); // the indentation is ours
    }
    Ok(Element {
        namespace: node.tag_name().namespace().unwrap_or_default().into(),
        name: node.tag_name().name().into(),
        attributes: attributes.collect(),
        children,
    })
}

/// Writes a file: UTF-8, all namespaces declared at the root, CRLF.
pub(super) fn write(root: &Element) -> String {
    let mut others = Vec::new();
    foreign_namespaces(root, &mut others);
    let numbered: Vec<(String, String)> = (1..).map(|n| format!("ns{n}")).zip(others).collect();
    let known = PREFIXES.iter().map(|(prefix, uri)| ((*prefix).to_owned(), (*uri).to_owned()));
    let prefixes: Vec<(String, String)> = known.chain(numbered).collect();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n");
    let mut declared = format!(" xmlns=\"{UNATTEND}\"");
    for (prefix, uri) in prefixes.iter().filter(|(_, uri)| is_used(root, uri)) {
        let _ = write!(declared, " xmlns:{prefix}=\"{}\"", escape(uri.as_str()));
    }
    write_element(root, &declared, &prefixes, 0, &mut out);
    out.replace('\n', "\r\n")
}

fn is_used(element: &Element, uri: &str) -> bool {
    element.namespace == uri
        || element.attributes.iter().any(|attribute| attribute.namespace == uri)
        || element.elements().any(|child| is_used(child, uri))
}

fn foreign_namespaces(element: &Element, found: &mut Vec<String>) {
    let names =
        std::iter::once(&element.namespace).chain(element.attributes.iter().map(|attribute| &attribute.namespace));
    for name in names.filter(|name| !name.is_empty() && *name != UNATTEND) {
        let is_known = PREFIXES.iter().any(|(_, uri)| uri == name) || found.contains(name);
        if !is_known && name != "http://www.w3.org/XML/1998/namespace" {
            found.push(name.clone());
        }
    }
    element.elements().for_each(|child| foreign_namespaces(child, found));
}

fn qualified(namespace: &str, name: &str, prefixes: &[(String, String)]) -> String {
    match prefixes.iter().find(|(_, uri)| uri == namespace) {
        Some((prefix, _)) => format!("{prefix}:{name}"),
        None if namespace == "http://www.w3.org/XML/1998/namespace" => format!("xml:{name}"),
        None => name.to_owned(),
    }
}

fn write_element(element: &Element, declared: &str, prefixes: &[(String, String)], depth: usize, out: &mut String) {
    let name = qualified(&element.namespace, &element.name, prefixes);
    let indent = "    ".repeat(depth);
    let _ = write!(out, "{indent}<{name}{declared}");
    for attribute in &element.attributes {
        let name = qualified(&attribute.namespace, &attribute.name, prefixes);
        // What is white space in an attribute comes back as a blank unless it is written by number.
        let value =
            escape(attribute.value.as_str()).replace('\n', "&#10;").replace('\r', "&#13;").replace('\t', "&#9;");
        let _ = write!(out, " {name}=\"{value}\"");
    }
    let is_text = element.children.iter().any(|child| matches!(child, Node::Text(_)));
    if element.children.is_empty() {
        out.push_str(" />\n");
        return;
    }
    out.push_str(if is_text { ">" } else { ">\n" });
    for child in &element.children {
        match child {
            Node::Text(text) => out.push_str(&escape(text.as_str()).replace('\r', "&#13;")),
            Node::Element(child) if is_text => {
                let mut inner = String::new();
                write_element(child, "", prefixes, 0, &mut inner);
                out.push_str(inner.trim_end_matches('\n'));
            }
            Node::Element(child) => write_element(child, "", prefixes, depth + 1, out),
            Node::Comment(text) => {
                let _ = write!(out, "{indent}    <!--{text}-->");
                out.push_str(if is_text { "" } else { "\n" });
            }
        }
    }
    let _ = writeln!(out, "{}</{name}>", if is_text { "" } else { &indent });
}
