//! safetensors: 8 bytes of header length, a JSON header, then the values.
//!
//! Source: the format's own description, github.com/huggingface/safetensors (0.7). Header and offsets are checked by our
//! own reader, which does not need the values in memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Mutex;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::array::{ArrayInfo, DType, checked_count};
use crate::contents::{Contents, Listed};
use crate::error::WeightsError;
use crate::peek::Peek;
use crate::{Checkpoint, Format, json};

const NAME: &str = "safetensors";

/// The registry row.
pub(crate) const FORMAT: Format =
    Format { name: NAME, extensions: &["safetensors", "headstart"], recognizes, open: open_file };

/// Longest header in bytes, as in the reference implementation.
const LONGEST_HEADER: u64 = 100_000_000;

fn recognizes(peek: &Peek<'_>) -> bool {
    let first = peek.first;
    // The header is a JSON object, so its first byte is a brace.
    first.len() > 8 && first[8] == b'{' && !first.starts_with(b"{")
}

fn open_file(path: &Path) -> Result<Box<dyn Checkpoint>, WeightsError> {
    let failed = |source| WeightsError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let mut prefix = [0; 8];
    file.read_exact(&mut prefix).map_err(failed)?;
    let header_length = u64::from_le_bytes(prefix);
    check_header_length(path, header_length, length)?;
    let mut header = vec![0; header_length as usize];
    file.read_exact(&mut header).map_err(failed)?;
    let listing = Listing::parse(path, &header, length - 8 - header_length)?;
    Ok(Box::new(Safetensors { listing, values: Values::File(Mutex::new(file), 8 + header_length) }))
}

/// Opens a file that is already in memory.
pub(crate) fn open_bytes(path: &Path, bytes: &'static [u8]) -> Result<Box<dyn Checkpoint>, WeightsError> {
    let prefix = bytes.first_chunk::<8>().ok_or_else(|| malformed(path, "it is shorter than 8 bytes"))?;
    let header_length = u64::from_le_bytes(*prefix);
    check_header_length(path, header_length, bytes.len() as u64)?;
    let (header, values) = bytes[8..].split_at(header_length as usize);
    let listing = Listing::parse(path, header, values.len() as u64)?;
    Ok(Box::new(Safetensors { listing, values: Values::Memory(values) }))
}

fn check_header_length(path: &Path, header: u64, file: u64) -> Result<(), WeightsError> {
    if header > LONGEST_HEADER {
        return Err(WeightsError::TooLarge {
            path: path.to_owned(),
            what: "the header".to_owned(),
            claimed: header,
            limit: LONGEST_HEADER,
        });
    }
    if header > file.saturating_sub(8) {
        return Err(malformed(path, &format!("the header claims {header} bytes of a file of {file}")));
    }
    Ok(())
}

fn malformed(path: &Path, reason: &str) -> WeightsError {
    WeightsError::Malformed { format: NAME, path: path.to_owned(), reason: reason.to_owned() }
}

struct Safetensors {
    listing: Listing,
    values: Values,
}

enum Values {
    /// The file and where its values begin.
    File(Mutex<File>, u64),
    Memory(&'static [u8]),
}

struct Listing {
    contents: Contents,
    /// Where each array begins among the values.
    starts: Vec<u64>,
}

impl Listing {
    fn parse(path: &Path, header: &[u8], values: u64) -> Result<Self, WeightsError> {
        let wrong = |reason: String| malformed(path, &reason);
        let file = values.saturating_add(header.len() as u64);
        let Entries(entries) =
            json::parse(header, file).map_err(|error| wrong(format!("its header cannot be read: {error}")))?;
        let mut contents = Contents::new(NAME, path);
        let mut found: Vec<(u64, u64, ArrayInfo)> = Vec::new();
        for (name, entry) in entries {
            if name == "__metadata__" {
                let Value::Object(pairs) = entry else { return Err(wrong("its metadata is not an object".to_owned())) };
                for (key, value) in pairs {
                    let Value::String(value) = value else {
                        return Err(wrong(format!("metadata `{key}` is not a string")));
                    };
                    contents.metadata.insert(key, value);
                }
                continue;
            }
            let (start, end, info) = parse_entry(path, name, &entry)?;
            if start > end || end > values {
                return Err(wrong(format!("array `{}` lies at {start}–{end} of {values} bytes", info.name)));
            }
            if end - start != info.byte_len() as u64 {
                let bytes = info.byte_len();
                return Err(wrong(format!("array `{}` has {} bytes, its shape needs {bytes}", info.name, end - start)));
            }
            found.push((start, end, info));
        }
        found.sort_by_key(|(start, end, _)| (*start, *end));
        if let Some(pair) = found.windows(2).find(|pair| pair[0].1 > pair[1].0) {
            return Err(wrong(format!("arrays `{}` and `{}` overlap", pair[0].2.name, pair[1].2.name)));
        }
        let mut starts = Vec::with_capacity(found.len());
        for (start, _, info) in found {
            let name = info.name.clone();
            if !contents.add(info) {
                return Err(wrong(format!("two arrays are called `{name}`")));
            }
            starts.push(start);
        }
        Ok(Self { contents, starts })
    }
}

/// The entries of a JSON object in their order, names that come twice included.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

fn parse_entry(path: &Path, name: String, entry: &Value) -> Result<(u64, u64, ArrayInfo), WeightsError> {
    let wrong = |what: &str| malformed(path, &format!("array `{name}` has no usable {what}"));
    let label = entry.get("dtype").and_then(Value::as_str).ok_or_else(|| wrong("dtype"))?;
    let dtype = match label {
        "F64" => DType::F64,
        "F32" => DType::F32,
        "F16" => DType::F16,
        "BF16" => DType::BF16,
        "I64" => DType::I64,
        "I32" => DType::I32,
        "U64" => DType::U64,
        "U32" => DType::U32,
        "U16" => DType::U16,
        "I16" => DType::I16,
        "I8" => DType::I8,
        "U8" => DType::U8,
        "BOOL" => DType::Bool,
        other => return Err(WeightsError::Type { path: path.to_owned(), name, dtype: other.to_owned() }),
    };
    let numbers = |key: &str| -> Option<Vec<u64>> { entry.get(key)?.as_array()?.iter().map(Value::as_u64).collect() };
    let shape: Option<Vec<usize>> =
        numbers("shape").and_then(|shape| shape.into_iter().map(|length| usize::try_from(length).ok()).collect());
    let shape = shape.ok_or_else(|| wrong("shape"))?;
    checked_count(&shape, dtype).ok_or_else(|| wrong("shape"))?;
    let offsets = numbers("data_offsets").ok_or_else(|| wrong("offsets"))?;
    let [start, end] = offsets[..] else { return Err(wrong("offsets")) };
    Ok((start, end, ArrayInfo { name, shape, dtype }))
}

impl Listed for Safetensors {
    fn contents(&self) -> &Contents {
        &self.listing.contents
    }

    fn bytes(&self, index: usize, info: &ArrayInfo) -> Result<Vec<u8>, WeightsError> {
        let (start, length) = (self.listing.starts[index], info.byte_len());
        match &self.values {
            Values::Memory(values) => Ok(values[start as usize..start as usize + length].to_vec()),
            Values::File(file, base) => {
                let failed = |source| WeightsError::Io { path: self.contents().path.clone(), source };
                let mut file = file.lock().map_err(|_| failed(std::io::Error::other("another reader failed")))?;
                let mut bytes = vec![0; length];
                file.seek(SeekFrom::Start(base + start)).map_err(failed)?;
                file.read_exact(&mut bytes).map_err(failed)?;
                Ok(bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(header: &str, values: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(values);
        bytes
    }

    fn opened(bytes: &[u8]) -> Result<Box<dyn Checkpoint>, WeightsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        std::fs::write(&path, bytes).unwrap();
        crate::open(&path)
    }

    fn good() -> Vec<u8> {
        let header = r#"{"__metadata__":{"k":"v"},"b":{"dtype":"F16","shape":[2],"data_offsets":[8,12]},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
        let mut values = 1.5f32.to_le_bytes().to_vec();
        values.extend((-2.0f32).to_le_bytes());
        values.extend(half::f16::from_f32(0.25).to_le_bytes());
        values.extend(half::f16::from_f32(3.0).to_le_bytes());
        file(header, &values)
    }

    #[test]
    fn arrays_are_listed_and_read_by_name() {
        let checkpoint = opened(&good()).unwrap();
        let names: Vec<&str> = checkpoint.arrays().iter().map(|array| array.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(checkpoint.metadata()["k"], "v");
        assert_eq!(checkpoint.read("a").unwrap().to_f32().unwrap(), [1.5, -2.0]);
        assert_eq!(checkpoint.read("b").unwrap().to_f32().unwrap(), [0.25, 3.0]);
        assert!(matches!(checkpoint.read("c"), Err(WeightsError::MissingArray { .. })));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = good();
        for length in 0..whole.len() {
            assert!(opened(&whole[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn contradictions_are_named() {
        let entry =
            |entry: &str| opened(&file(&format!(r#"{{"a":{entry}}}"#), &[0; 8])).map(|_| ()).unwrap_err().to_string();
        assert!(entry(r#"{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#).contains("needs 12"));
        assert!(entry(r#"{"dtype":"F32","shape":[4],"data_offsets":[0,16]}"#).contains("of 8 bytes"));
        assert!(entry(r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}"#).contains("shape"));
        assert!(entry(r#"{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}"#).contains("shape"));
        assert!(entry(r#"{"dtype":"F4","shape":[2],"data_offsets":[0,8]}"#).contains("F4"));
        assert!(entry(r#"{"dtype":"F32","shape":[2],"data_offsets":[8,0]}"#).contains("8–0"));
        let overlap = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#;
        assert!(opened(&file(overlap, &[0; 8])).map(|_| ()).unwrap_err().to_string().contains("overlap"));
        let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
        assert!(matches!(opened(&huge), Err(WeightsError::TooLarge { .. })));
    }

    #[test]
    fn two_arrays_of_one_name_are_refused_and_none_is_lost() {
        let twice = r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}"#;
        let error = opened(&file(twice, &[0; 8])).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("two arrays are called `a`"), "{error}");
    }

    #[test]
    fn a_header_of_another_shape_is_refused() {
        for header in ["[1]", "{\"a\":1}", "{\"__metadata__\":[]}", "{\"__metadata__\":{\"a\":1}}", "{", "{}}"] {
            assert!(opened(&file(header, &[])).is_err(), "{header}");
        }
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(opened(&file(&deep, &[])).is_err());
    }

    proptest! {
        #[test]
        fn no_mutation_of_a_file_panics(at in 0usize..150, byte: u8, cut in 0usize..200) {
            let mut bytes = good();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut.max(1));
            if let Ok(checkpoint) = opened(&bytes) {
                for array in checkpoint.arrays() {
                    let _ = checkpoint.read(&array.name);
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0u64..200) {
            let mut whole = length.to_le_bytes().to_vec();
            whole.push(b'{');
            whole.extend(bytes);
            let _ = opened(&whole);
        }
    }
}
