//! TensorFlow's frozen graphs, `.pb`, and DeepSpeech's `.pbmm`: the constants of a graph whose variables were frozen.
//!
//! Source: `framework/graph.proto` of TensorFlow 2.21. A constant of numbers is an array, called by its node, in the order of
//! the graph; constants of strings, complex numbers and quantized integers are left out and listed in the metadata under
//! `skipped`. Of the rest of the graph only the numbers of nodes and functions are told (`nodes`, `functions`): constants in
//! functions are not read.
//!
//! A constant may say its last number for all that follow, so a few bytes can stand for a large array; [`limits`] bounds it.

mod message;
mod package;

use std::fs::File;
use std::path::Path;

use prost::Message;

use crate::array::{ArrayInfo, checked_count};
use crate::contents::{Contents, Listed};
use crate::error::WeightsError;
use crate::peek::{Kind, Peek};
use crate::source::Source;
use crate::{Checkpoint, Format, limits, tensorflow};
use message::{Node, Place};
use package::Package;

const NAME: &str = "tensorflow graph";

/// The registry row.
pub(crate) const FORMAT: Format = Format { name: NAME, extensions: &["pb", "pbmm"], recognizes, open };

fn recognizes(peek: &Peek<'_>) -> bool {
    peek.kind == Kind::Plain && (begins_as_graph(peek.first) || is_package(peek))
}

/// Whether the first bytes are those of a node: its length, the length of its name, the name, and then the operation.
fn begins_as_graph(first: &[u8]) -> bool {
    let mut rest = first;
    let mut field = || -> Option<u64> {
        let (tag, after) = rest.split_first()?;
        rest = after;
        let length = prost::encoding::decode_varint(&mut rest).ok()?;
        (*tag == 0x0A).then_some(length)
    };
    let (Some(node), Some(name)) = (field(), field()) else { return false };
    // Names of operations; what lies beyond the first bytes is not looked at.
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.\\/-^>".contains(byte);
    let shown = rest.len().min(usize::try_from(name).unwrap_or(usize::MAX));
    let after = rest.get(shown).is_none_or(|tag| *tag == 0x12);
    name > 0 && name < node && rest[..shown].iter().all(is_of_name) && after
}

fn is_package(peek: &Peek<'_>) -> bool {
    let extension = peek.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("pbmm"));
    extension && package::directory(peek.last, peek.length).is_some()
}

fn malformed(path: &Path, reason: impl Into<String>) -> WeightsError {
    WeightsError::Malformed { format: NAME, path: path.to_owned(), reason: reason.into() }
}

/// Where the values of an array are.
#[derive(Debug, Clone, Copy)]
enum Values {
    /// In a node of the graph.
    Node(Place),
    /// In a region of the package, as they are.
    Region(u64),
}

struct Graph {
    contents: Contents,
    file: Source,
    /// Where the graph begins.
    start: u64,
    values: Vec<Values>,
    /// Arrays of several elements with values, and those with not one.
    full: usize,
    hollow: usize,
}

fn open(path: &Path) -> Result<Box<dyn Checkpoint>, WeightsError> {
    let failed = |source| WeightsError::Io { path: path.to_owned(), source };
    let wrong = |reason: String| malformed(path, reason);
    let opened = || -> Result<(File, u64), std::io::Error> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    let (file, length) = opened().map_err(failed)?;
    let file = Source::file(file, 0, length);
    let is_graph = Peek::at(path, |peek| begins_as_graph(peek.first) && !is_package(peek))?;
    let package = if is_graph { None } else { Some(Package::open(&file).map_err(wrong)?) };
    let (start, length) = package.as_ref().map_or(Ok((0, length)), Package::graph).map_err(wrong)?;
    let graph = Source::file(opened().map_err(failed)?.0, start, length);
    let mut found = Graph { contents: Contents::new(NAME, path), file, start, values: Vec::new(), full: 0, hollow: 0 };
    let (mut nodes, mut skipped) = (0u64, Vec::new());
    let functions = message::nodes(&graph, |place, bytes| {
        nodes += 1;
        found.add(place, &bytes, package.as_ref(), &mut skipped)
    });
    let functions = functions.map_err(wrong)?;
    if found.full == 0 && found.hollow > 0 {
        // TensorFlow takes these for zeros, which a few constants may well be.
        let what = "constants without values. TensorFlow.js leaves them so where the weights lie in the shards of a \
            `weights_manifest.json`: name that instead";
        return Err(WeightsError::Unsupported { format: NAME, path: path.to_owned(), what: what.to_owned() });
    }
    found.contents.metadata.insert("nodes".to_owned(), nodes.to_string());
    if functions > 0 {
        found.contents.metadata.insert("functions".to_owned(), functions.to_string());
    }
    if !skipped.is_empty() {
        found.contents.metadata.insert("skipped".to_owned(), skipped.join(", "));
    }
    Ok(Box::new(found))
}

impl Graph {
    /// Adds a node if it is a constant.
    fn add(
        &mut self,
        place: Place,
        bytes: &[u8],
        package: Option<&Package>,
        skipped: &mut Vec<String>,
    ) -> Result<(), String> {
        let mut node = Node::decode(bytes).map_err(|error| format!("a node cannot be read: {error}"))?;
        let (dtype, shape, values) = match node.op.as_str() {
            "Const" => {
                let value = node.take("value")?.tensor;
                let tensor = value.ok_or_else(|| format!("constant `{}` has no value", node.name))?;
                (tensor.dtype, tensor.shape.clone(), Some(tensor))
            }
            "ImmutableConst" => {
                let dtype = node.take("dtype")?.dtype.unwrap_or(0);
                (dtype, node.take("shape")?.shape, None)
            }
            _ => return Ok(()),
        };
        let name = node.name.clone();
        let dtype = match tensorflow::dtype(dtype) {
            Ok(dtype) => dtype,
            Err(what) => {
                skipped.push(format!("{name} ({what})"));
                return Ok(());
            }
        };
        let shape = shape.map_or(Some(Vec::new()), |shape| shape.lengths());
        let shape = shape.filter(|shape| checked_count(shape, dtype).is_some());
        let shape = shape.ok_or_else(|| format!("`{name}` has no usable shape"))?;
        let info = ArrayInfo { name, shape, dtype };
        let (needed, name) = (info.byte_len() as u64, &info.name);
        let values = match values {
            Some(tensor) => {
                let stored = tensor.stored(dtype);
                if info.element_count() > 1 {
                    *(if stored > 0 { &mut self.full } else { &mut self.hollow }) += 1;
                }
                let limit = limits::unpacked(stored);
                if needed > limit {
                    return Err(format!("`{name}` claims {needed} bytes, the limit is {limit}"));
                }
                Values::Node(place)
            }
            None => {
                let region = node.take("memory_region_name")?.text.unwrap_or_default();
                let package = package.ok_or_else(|| format!("`{name}` lies in a file of its own"))?;
                let (at, length) = package.region(&String::from_utf8_lossy(&region))?;
                // Regions are followed by what makes the next one begin at a round place.
                if length < needed {
                    return Err(format!("`{name}` has {length} bytes, its shape needs {needed}"));
                }
                self.full += 1;
                Values::Region(at)
            }
        };
        let name = name.clone();
        if !self.contents.add(info) {
            return Err(format!("two nodes are called `{name}`"));
        }
        self.values.push(values);
        Ok(())
    }
}

impl Listed for Graph {
    fn contents(&self) -> &Contents {
        &self.contents
    }

    fn bytes(&self, index: usize, info: &ArrayInfo) -> Result<Vec<u8>, WeightsError> {
        let (path, name) = (&self.contents.path, &info.name);
        let failed = |source| WeightsError::Io { path: path.clone(), source };
        let wrong = |reason: String| malformed(path, format!("`{name}` {reason}"));
        match self.values[index] {
            Values::Region(at) => self.file.read(at, info.byte_len() as u64).map_err(failed),
            Values::Node(place) => {
                let node = self.file.read(self.start + place.at, place.length).map_err(failed)?;
                let node = Node::decode(node.as_slice());
                let mut node = node.map_err(|error| wrong(format!("cannot be read: {error}")))?;
                let tensor = node.take("value").map_err(wrong)?.tensor;
                tensor.ok_or_else(|| wrong("has no value".to_owned()))?.into_bytes(info).map_err(wrong)
            }
        }
    }
}
