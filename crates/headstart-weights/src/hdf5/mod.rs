//! The part of HDF5 that Keras writes through h5py, and no more; and a writer of as little as Keras reads ([`write`]).
//!
//! Source: the HDF5 File Format Specification, version 3.0, with libhdf5 1.14 for what it leaves open. Read are
//! superblocks 0 to 3, object headers 1 and 2, groups of every kind, attributes of text, and numbers that lie together,
//! in the header or in chunks (deflate, shuffle). Soft and external links, external and virtual data sets are refused.
//!
//! The crates that read all of HDF5 are 20 to 120 thousand lines; these few hundred can be read in one sitting. Work is
//! bounded by a budget linear in the length of the file ([`input::Input`]).

mod attribute;
mod btree;
mod cursor;
mod dataset;
mod datatype;
mod fractal_heap;
mod group;
mod header;
mod input;
mod write;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use dataset::Dataset;
pub use write::{Hdf5Array, write_hdf5};

use crate::source::Source;
use cursor::{Cursor, checked};
use header::kind;
use input::Input;

/// The first bytes of every file.
pub(crate) const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// The address of what does not exist.
const UNDEFINED: u64 = u64::MAX;

/// Groups nested deeper than this are no model.
const MOST_LEVELS: usize = 64;

/// Paths of all objects may take this many bytes above the length of the file.
const PATHS_ALLOWANCE: u64 = 1 << 20;

/// Why a file cannot be read; the reader of the format around it adds the path.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Hdf5Error {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Malformed(String),
    #[error("{0}")]
    Unsupported(String),
    /// Values or objects that would come from another place.
    #[error("{0}")]
    Outside(String),
    #[error("{what} claims {claimed}, the limit is {limit}")]
    TooLarge { what: String, claimed: u64, limit: u64 },
}

impl Hdf5Error {
    fn malformed(reason: impl Into<String>) -> Self {
        Self::Malformed(reason.into())
    }

    fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported(what.into())
    }
}

/// An open file: all of its groups and data sets by path.
pub(crate) struct Hdf5 {
    input: Input,
    objects: BTreeMap<String, Object>,
}

/// A group or a data set.
struct Object {
    header: u64,
    /// Names of what a group holds, in the order of the file; nothing for a data set.
    children: Option<Vec<String>>,
}

impl Hdf5 {
    /// Lists every object of a file.
    pub(crate) fn open(source: Source) -> Result<Self, Hdf5Error> {
        let input = Input::new(source);
        let root = root_header(&input)?;
        let mut objects = BTreeMap::new();
        let mut groups = BTreeSet::new();
        let mut paths_left = input.length().saturating_add(PATHS_ALLOWANCE);
        let mut open = vec![(String::new(), root, 0)];
        while let Some((path, header, level)) = open.pop() {
            let messages = header::messages(&input, header)?;
            let is_group = messages.iter().any(|message| matches!(message.kind, kind::SYMBOL_TABLE | kind::LINK_INFO));
            if !is_group {
                insert(&mut objects, path, Object { header, children: None })?;
                continue;
            }
            if !groups.insert(header) {
                return Err(Hdf5Error::malformed(format!("group `{path}` is also another one: they form a circle")));
            }
            if level == MOST_LEVELS {
                let (claimed, limit) = (level as u64 + 1, MOST_LEVELS as u64);
                return Err(Hdf5Error::TooLarge { what: "the depth of its groups".to_owned(), claimed, limit });
            }
            let links = group::links(&input, &messages)?;
            let mut children = Vec::with_capacity(links.len());
            for (name, header) in links {
                let child = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                paths_left = paths_left.checked_sub(child.len() as u64).ok_or_else(|| {
                    Hdf5Error::malformed("the names of its groups are longer than the file: it is made to be large")
                })?;
                children.push(name);
                open.push((child, header, level + 1));
            }
            insert(&mut objects, path, Object { header, children: Some(children) })?;
        }
        Ok(Self { input, objects })
    }

    /// Names at the root of a file, without opening what they lead to.
    pub(crate) fn root_names(source: Source) -> Result<Vec<String>, Hdf5Error> {
        let input = Input::new(source);
        let messages = header::messages(&input, root_header(&input)?)?;
        Ok(group::links(&input, &messages)?.into_iter().map(|(name, _)| name).collect())
    }

    /// Names of what a group holds, if it is one; the root is `""`.
    pub(crate) fn children(&self, path: &str) -> Option<&[String]> {
        self.objects.get(path)?.children.as_deref()
    }

    /// Whether there is a data set of that path.
    pub(crate) fn is_dataset(&self, path: &str) -> bool {
        self.objects.get(path).is_some_and(|object| object.children.is_none())
    }

    /// Shape, type and place of a data set.
    pub(crate) fn dataset(&self, path: &str) -> Result<Dataset, Hdf5Error> {
        let object = self.objects.get(path).filter(|object| object.children.is_none());
        let object = object.ok_or_else(|| Hdf5Error::malformed(format!("it has no data set `{path}`")))?;
        Dataset::open(&self.input, object.header)
    }

    /// The values of a data set, little-endian and row-major.
    pub(crate) fn read(&self, dataset: &Dataset) -> Result<Vec<u8>, Hdf5Error> {
        dataset.read(&self.input)
    }

    /// Every attribute of a group or data set that is text or a list of texts.
    pub(crate) fn texts(&self, path: &str) -> Result<BTreeMap<String, Vec<String>>, Hdf5Error> {
        match self.objects.get(path) {
            Some(object) => attribute::texts(&self.input, object.header),
            None => Ok(BTreeMap::new()),
        }
    }
}

fn insert(objects: &mut BTreeMap<String, Object>, path: String, object: Object) -> Result<(), Hdf5Error> {
    if objects.contains_key(&path) {
        return Err(Hdf5Error::malformed(format!("two objects are called `{path}`")));
    }
    objects.insert(path, object);
    Ok(())
}

/// Address of the root group's object header, from the superblock.
fn root_header(input: &Input) -> Result<u64, Hdf5Error> {
    let start = input.structure(0, 9)?;
    if start[..8] != SIGNATURE {
        return Err(Hdf5Error::malformed("it does not begin as an HDF5 file"));
    }
    let (length, widths_at, addresses_at) = match start[8] {
        0 => (96, 13, 24),
        1 => (100, 13, 28),
        2 | 3 => (48, 9, 12),
        other => return Err(Hdf5Error::unsupported(format!("version {other} of the superblock"))),
    };
    let mut bytes = input.structure(0, length)?;
    if start[8] >= 2 {
        bytes.truncate(checked(&bytes, "superblock")?.len());
    }
    let mut cursor = Cursor::new(&bytes, "superblock");
    cursor.skip(widths_at)?;
    let widths = (cursor.u8()?, cursor.u8()?);
    if widths != (8, 8) {
        return Err(Hdf5Error::unsupported(format!("addresses and lengths of {} and {} bytes", widths.0, widths.1)));
    }
    let mut cursor = Cursor::new(&bytes, "superblock");
    cursor.skip(addresses_at)?;
    if cursor.u64()? != 0 {
        return Err(Hdf5Error::unsupported("a base address other than 0"));
    }
    cursor.skip(8)?;
    let end = cursor.u64()?;
    if end > input.length() {
        return Err(Hdf5Error::malformed(format!(
            "it should be {end} bytes long and is {}: it is cut short",
            input.length()
        )));
    }
    if start[8] < 2 {
        // The driver's block, then the offset of the root's name.
        cursor.skip(16)?;
    }
    cursor.u64()
}
