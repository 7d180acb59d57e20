//! Arrays of f32 in groups → the bytes of an HDF5 file, in the newer structures that the reader reads too.
//!
//! Source: the HDF5 File Format Specification, version 3.0: superblock 2 (II.A), object headers 2 (IV.A.1.b), compact groups
//! of link messages (IV.A.2.g), contiguous data sets (IV.A.2.i). libhdf5 reads all of it since 1.8. There are no attributes,
//! no filters and no times, so the bytes are a function of names, shapes and values alone.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Write};

use super::UNDEFINED;
use super::cursor::checksum;
use super::header::kind;
use super::{MOST_LEVELS, SIGNATURE};

/// An array to be written.
#[derive(Debug, Clone, Copy)]
pub struct Hdf5Array<'a> {
    /// Names of its groups and its own, with slashes between.
    pub path: &'a str,
    /// Lengths of the axes, outermost first.
    pub shape: &'a [usize],
    /// Values, row-major, as many as the shape says.
    pub values: &'a [f32],
}

/// Writes an HDF5 file with these arrays; groups are made as their paths name them.
///
/// # Errors
/// Of `out`; [`ErrorKind::InvalidInput`] when a path is empty, used twice or both an array and a group, or when values and
/// shape disagree.
pub fn write_hdf5(arrays: &[Hdf5Array<'_>], out: &mut impl Write) -> Result<(), Error> {
    let mut root = BTreeMap::new();
    for (index, array) in arrays.iter().enumerate() {
        let count = array.shape.iter().try_fold(1usize, |count, axis| count.checked_mul(*axis));
        if count != Some(array.values.len()) || array.shape.len() > 32 {
            return Err(invalid(array.path, "has another number of values than its shape"));
        }
        insert(&mut root, array.path, index)?;
    }
    let mut plan = Plan { arrays, headers: Vec::new(), end: SUPERBLOCK };
    let root = plan.group(&root);
    let mut at = plan.end;
    let places: Vec<u64> = arrays
        .iter()
        .map(|array| {
            let place = at;
            at += 4 * array.values.len() as u64;
            place
        })
        .collect();
    out.write_all(&superblock(root, at))?;
    for header in &plan.headers {
        out.write_all(&header.bytes(arrays, Some(&places)))?;
    }
    let mut buffer = Vec::with_capacity(1 << 16);
    for array in arrays {
        for values in array.values.chunks(1 << 14) {
            buffer.clear();
            buffer.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            out.write_all(&buffer)?;
        }
    }
    Ok(())
}

/// Bytes of the superblock.
const SUPERBLOCK: u64 = 48;

/// A group's or an array's place in the tree of names.
enum Object {
    Group(BTreeMap<String, Object>),
    Array(usize),
}

fn invalid(path: &str, what: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("`{path}` {what}"))
}

fn insert(root: &mut BTreeMap<String, Object>, path: &str, index: usize) -> Result<(), Error> {
    let parts: Vec<&str> = path.split('/').collect();
    let is_name = |name: &&str| !name.is_empty() && name.len() <= 4096 && *name != "." && !name.contains('\0');
    let Some((name, groups)) = parts.split_last().filter(|_| parts.len() < MOST_LEVELS && parts.iter().all(is_name))
    else {
        return Err(invalid(path, "is no path of an array"));
    };
    let mut inside = root;
    for group in groups {
        let object = inside.entry((*group).to_owned()).or_insert_with(|| Object::Group(BTreeMap::new()));
        match object {
            Object::Group(children) => inside = children,
            Object::Array(_) => return Err(invalid(path, "lies in an array")),
        }
    }
    match inside.insert((*name).to_owned(), Object::Array(index)) {
        None => Ok(()),
        Some(_) => Err(invalid(path, "is there twice")),
    }
}

/// An object header whose address is known, before the places of the values are.
enum Header {
    /// Names and addresses of the links.
    Group(Vec<(String, u64)>),
    Array(usize),
}

struct Plan<'a> {
    arrays: &'a [Hdf5Array<'a>],
    /// One behind the other, from the superblock on.
    headers: Vec<Header>,
    end: u64,
}

impl Plan<'_> {
    /// Plans what a group holds, then the group; the answer is the address of its header.
    fn group(&mut self, children: &BTreeMap<String, Object>) -> u64 {
        let mut links = Vec::with_capacity(children.len());
        for (name, object) in children {
            let address = match object {
                Object::Group(children) => self.group(children),
                Object::Array(index) => self.add(Header::Array(*index)),
            };
            links.push((name.clone(), address));
        }
        self.add(Header::Group(links))
    }

    fn add(&mut self, header: Header) -> u64 {
        let address = self.end;
        // Addresses have a fixed width, so a header is as long before they are known as after.
        self.end += header.bytes(self.arrays, None).len() as u64;
        self.headers.push(header);
        address
    }
}

impl Header {
    /// The header, filled up with nothing to a multiple of eight bytes.
    fn bytes(&self, arrays: &[Hdf5Array<'_>], places: Option<&[u64]>) -> Vec<u8> {
        let mut messages = Vec::new();
        match self {
            Self::Group(links) => {
                let mut info = vec![0, 0];
                info.extend(UNDEFINED.to_le_bytes());
                info.extend(UNDEFINED.to_le_bytes());
                message(&mut messages, kind::LINK_INFO, 0, &info);
                message(&mut messages, kind::GROUP_INFO, 1, &[0, 0]);
                for (name, address) in links {
                    message(&mut messages, kind::LINK, 0, &link(name, *address));
                }
            }
            Self::Array(index) => {
                let array = &arrays[*index];
                let mut space = vec![2, array.shape.len() as u8, 0, u8::from(!array.shape.is_empty())];
                space.extend(array.shape.iter().flat_map(|axis| (*axis as u64).to_le_bytes()));
                message(&mut messages, kind::DATASPACE, 0, &space);
                message(&mut messages, kind::DATATYPE, 1, &F32);
                // Allocated late, filled where a value was set; none is.
                message(&mut messages, kind::FILL_VALUE, 1, &[3, 0x0a]);
                let place = places.filter(|_| !array.values.is_empty()).map_or(UNDEFINED, |places| places[*index]);
                let mut layout = vec![3, 1];
                layout.extend(place.to_le_bytes());
                layout.extend((4 * array.values.len() as u64).to_le_bytes());
                message(&mut messages, kind::LAYOUT, 0, &layout);
            }
        }
        // Signature, version, flags and length before; checksum behind.
        let unaligned = (10 + messages.len() + 4) % 8;
        if unaligned > 0 {
            // An empty message takes four bytes at least.
            let gap = if 8 - unaligned < 4 { 16 - unaligned } else { 8 - unaligned };
            message(&mut messages, kind::NOTHING, 0, &vec![0; gap - 4]);
        }
        let mut bytes = b"OHDR\x02\x02".to_vec();
        bytes.extend((messages.len() as u32).to_le_bytes());
        bytes.extend(messages);
        bytes.extend(checksum(&bytes).to_le_bytes());
        bytes
    }
}

/// Little-endian IEEE 754 of 32 bits: sign at 31, exponent of 8 bits from 23 with bias 127, mantissa of 23 bits.
const F32: [u8; 20] = [0x11, 0x20, 31, 0, 4, 0, 0, 0, 0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0];

fn message(messages: &mut Vec<u8>, kind: u16, flags: u8, body: &[u8]) {
    // Kinds are below 256 and bodies below 65 536: a name is 4 096 bytes at most.
    messages.push(kind as u8);
    messages.extend((body.len() as u16).to_le_bytes());
    messages.push(flags);
    messages.extend(body);
}

/// A hard link with a name in UTF-8.
fn link(name: &str, address: u64) -> Vec<u8> {
    let mut body = vec![1, 0x10 | 1, 1];
    body.extend((name.len() as u16).to_le_bytes());
    body.extend(name.as_bytes());
    body.extend(address.to_le_bytes());
    body
}

fn superblock(root: u64, end: u64) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([2, 8, 8, 0]);
    for address in [0, UNDEFINED, end, root] {
        bytes.extend(address.to_le_bytes());
    }
    bytes.extend(checksum(&bytes).to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Hdf5;
    use super::*;
    use crate::source::Source;

    fn written(arrays: &[(String, Vec<usize>, Vec<f32>)]) -> Result<Vec<u8>, Error> {
        let arrays: Vec<Hdf5Array<'_>> =
            arrays.iter().map(|(path, shape, values)| Hdf5Array { path, shape, values }).collect();
        let mut bytes = Vec::new();
        write_hdf5(&arrays, &mut bytes)?;
        Ok(bytes)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            found in prop::collection::btree_map(
                prop::collection::vec("[a-zäß0-9_ ]{1,12}", 1..4).prop_map(|parts| parts.join("/")),
                prop::collection::vec(0usize..5, 0..5),
                0..40,
            ),
            seed in any::<u32>(),
        ) {
            let mut arrays: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
            for (path, shape) in found {
                // A path may not lead through another array.
                if arrays.iter().any(|(other, ..)| path.starts_with(&format!("{other}/")) || other.starts_with(&format!("{path}/"))) {
                    continue;
                }
                let values = 0..shape.iter().product::<usize>() as u32;
                let values = values.map(|index| f32::from_bits(seed.wrapping_mul(index) & 0x7f7f_ffff)).collect();
                arrays.push((path, shape, values));
            }
            let bytes = written(&arrays).unwrap();
            let file = Hdf5::open(Source::memory(bytes)).unwrap();
            for (path, shape, values) in &arrays {
                let dataset = file.dataset(path).unwrap();
                prop_assert_eq!(&dataset.shape, shape);
                let found: Vec<u8> = file.read(&dataset).unwrap();
                let expected: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn paths_that_contradict_each_other_are_refused() {
        let array = |path: &str| (path.to_owned(), vec![1], vec![1.0]);
        for paths in [&["a", "a"][..], &["a", "a/b"], &["a/b", "a"], &[""], &["a//b"], &["a/."]] {
            let arrays: Vec<_> = paths.iter().map(|path| array(path)).collect();
            assert_eq!(written(&arrays).unwrap_err().kind(), ErrorKind::InvalidInput, "{paths:?}");
        }
        let short = ("a".to_owned(), vec![2, 2], vec![1.0; 3]);
        assert_eq!(written(&[short]).unwrap_err().kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_group_of_many_is_read_again() {
        let arrays: Vec<_> =
            (0..700).map(|index| (format!("layers/conv2d_{index}/vars/0"), vec![1], vec![index as f32])).collect();
        let file = Hdf5::open(Source::memory(written(&arrays).unwrap())).unwrap();
        assert_eq!(file.children("layers").unwrap().len(), 700);
        let dataset = file.dataset("layers/conv2d_699/vars/0").unwrap();
        assert_eq!(file.read(&dataset).unwrap(), 699f32.to_le_bytes());
    }
}
