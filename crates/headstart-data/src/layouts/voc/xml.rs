//! One XML file of Pascal VOC.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use roxmltree::{Document, Node, ParsingOptions};

/// Longest file in bytes; a picture of a thousand objects has 300 KiB.
const LONGEST: u64 = 16 << 20;

/// Most elements and texts of one file.
const MOST_NODES: u32 = 2_000_000;

/// What a file says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Annotation {
    /// Name of the picture.
    pub(super) filename: Option<String>,
    /// Width and height, if they are said.
    pub(super) size: Option<(u32, u32)>,
    /// The objects with their lines.
    pub(super) objects: Vec<(usize, Result<Named, String>)>,
}

/// An object with the name of its class.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Named {
    pub(super) class: String,
    /// `xmin`, `ymin`, `xmax`, `ymax` as they are written.
    pub(super) sides: [f64; 4],
    pub(super) is_difficult: bool,
    pub(super) is_truncated: bool,
}

/// Whether a file begins as an annotation.
pub(super) fn looks_like(path: &Path) -> bool {
    const HEAD: u64 = 4096;
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.is_ok() && String::from_utf8_lossy(&head).contains("<annotation")
}

/// Reads a file.
///
/// # Errors
/// The line, and what is wrong with the file as a whole.
pub(super) fn read(path: &Path) -> Result<Annotation, (usize, String)> {
    let whole = |error: std::io::Error| (1, format!("it cannot be read: {error}"));
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes)).map_err(whole)?;
    if bytes.len() as u64 > LONGEST {
        return Err((1, format!("it has more than {LONGEST} bytes")));
    }
    let read = crate::text::charset::to_utf8(path, bytes).map_err(|error| (1, error.to_string()))?;
    parse(&String::from_utf8_lossy(&read.bytes))
}

/// Reads the text of a file; references to other files and entities of its own are refused.
fn parse(text: &str) -> Result<Annotation, (usize, String)> {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MOST_NODES, ..ParsingOptions::default() };
    let text = text.trim_start();
    let document = Document::parse_with_options(text, options)
        .map_err(|error| (error.pos().row as usize, format!("it is no XML: {error}")))?;
    let mut lines = Lines { text, at: 0, line: 1 };
    let root = document.root_element();
    if !root.has_tag_name("annotation") {
        let name = root.tag_name().name().escape_debug().to_string();
        return Err((1, format!("its element is <{name}>; <annotation> was expected")));
    }
    let size = child(root, "size").and_then(|size| {
        let side = |name| number(child(size, name)?).filter(|side| (1.0..=1e9).contains(side));
        Some((side("width")?.round() as u32, side("height")?.round() as u32))
    });
    let filename = child(root, "filename").and_then(content);
    let objects = root
        .children()
        .filter(|node| node.has_tag_name("object"))
        .map(|node| (lines.line(node.range().start), object(node)))
        .collect();
    Ok(Annotation { filename, size, objects })
}

/// An object; its parts, which have boxes of their own, are passed over.
fn object(node: Node<'_, '_>) -> Result<Named, String> {
    let class = child(node, "name").and_then(content).ok_or("an object has no name")?;
    let place = child(node, "bndbox").ok_or_else(|| format!("`{}` has no <bndbox>", class.escape_debug()))?;
    let side = |name: &str| {
        let node =
            child(place, name).ok_or_else(|| format!("the box of `{}` has no <{name}>", class.escape_debug()))?;
        number(node).ok_or_else(|| {
            let found = content(node).unwrap_or_default().chars().take(40).collect::<String>();
            format!("<{name}> of `{}` is `{}`, no number", class.escape_debug(), found.escape_debug())
        })
    };
    let sides = [side("xmin")?, side("ymin")?, side("xmax")?, side("ymax")?];
    let is_set =
        |name| child(node, name).and_then(content).is_some_and(|text| !["0", "false"].contains(&text.as_str()));
    Ok(Named { sides, is_difficult: is_set("difficult"), is_truncated: is_set("truncated"), class })
}

fn child<'a, 'b>(node: Node<'a, 'b>, name: &str) -> Option<Node<'a, 'b>> {
    node.children().find(|child| child.has_tag_name(name))
}

/// The text of an element, without the space around it.
fn content(node: Node<'_, '_>) -> Option<String> {
    let text = node.text()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(node: Node<'_, '_>) -> Option<f64> {
    content(node)?.parse().ok()
}

/// Lines of places in a text, in rising order.
struct Lines<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Lines<'_> {
    fn line(&mut self, at: usize) -> usize {
        self.line += self.text.as_bytes()[self.at..at].iter().filter(|byte| **byte == b'\n').count();
        self.at = at;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_object_are_not_its_box() {
        let text = "<annotation><filename> a.jpg </filename>\n<size><width>8</width><height>0</height></size>\n<object>\
                    <part><name>head</name><bndbox><xmin>0</xmin></bndbox></part><name>dog</name>\n<difficult>1</difficult>\
                    <bndbox><ymin>2</ymin><xmin>1.5</xmin><xmax>3</xmax><ymax>4</ymax></bndbox></object></annotation>";
        let read = parse(text).unwrap();
        assert_eq!((read.filename.as_deref(), read.size), (Some("a.jpg"), None));
        let (line, object) = &read.objects[0];
        let object = object.as_ref().unwrap();
        assert_eq!((*line, object.class.as_str(), object.sides), (3, "dog", [1.5, 2.0, 3.0, 4.0]));
        assert!(object.is_difficult && !object.is_truncated);
    }

    #[test]
    fn entities_and_deep_elements_do_no_harm() {
        let bomb = "<!DOCTYPE a [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;\">]>\n<annotation>&b;</annotation>";
        assert!(parse(bomb).unwrap_err().1.contains("no XML"));
        let deep = format!("<annotation>{}", "<a>".repeat(300_000));
        assert!(parse(&deep).is_err());
        let whole = format!("<annotation>{}{}</annotation>", "<a>".repeat(300_000), "</a>".repeat(300_000));
        let _ = parse(&whole);
        assert!(parse("<labels/>").unwrap_err().1.contains("<labels>"));
    }
}
