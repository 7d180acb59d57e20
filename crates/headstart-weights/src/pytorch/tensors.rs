//! The tensors among the values of a pickle: their names, and where in which storage they lie.

use std::collections::BTreeMap;
use std::path::Path;

use super::malformed;
use super::pickle::{Id, Pickle, Value};
use crate::array::{ArrayInfo, DType, checked_count};
use crate::contents::Contents;
use crate::error::WeightsError;
use crate::limits;

/// Every tensor of a pickle by its dotted name.
pub(super) struct Tensors {
    pub(super) contents: Contents,
    pub(super) views: Vec<View>,
    pub(super) storages: BTreeMap<String, Storage>,
}

/// One block of numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Storage {
    pub(super) dtype: DType,
    pub(super) elements: u64,
}

impl Storage {
    pub(super) fn byte_len(&self) -> u64 {
        self.elements.saturating_mul(self.dtype.size() as u64)
    }
}

/// A tensor's place in its storage, in elements.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct View {
    pub(super) storage: String,
    offset: u64,
    strides: Vec<u64>,
}

/// Nesting deeper than this is a cycle.
const MOST_LEVELS: usize = 16;

/// Bytes of names and texts that any pickle may give, besides the length of its file.
const LEAST_NAMES: u64 = 16 << 20;

/// What is paid for each value on the way, besides its name.
const OF_VALUE: u64 = 160;

/// A walk through values that may be shared, and so be met any number of times.
struct Walk<'a> {
    path: &'a Path,
    pickle: &'a Pickle,
    found: Tensors,
    /// Bytes of names and texts that may still be made.
    left: u64,
}

impl Tensors {
    /// Every tensor of a pickle from a file of `length` bytes.
    pub(super) fn find(format: &'static str, path: &Path, pickle: &Pickle, length: u64) -> Result<Self, WeightsError> {
        let found = Self { contents: Contents::new(format, path), views: Vec::new(), storages: BTreeMap::new() };
        let left = length.saturating_mul(16).saturating_add(LEAST_NAMES);
        let mut walk = Walk { path, pickle, found, left };
        walk.value(pickle.root, &mut String::new(), 0)?;
        Ok(walk.found)
    }
}

impl Walk<'_> {
    fn value(&mut self, id: Id, name: &mut String, level: usize) -> Result<(), WeightsError> {
        let (path, pickle) = (self.path, self.pickle);
        let left = self.left.checked_sub(OF_VALUE + name.len() as u64);
        self.left = left.ok_or_else(|| malformed(path, "its values refer to the same values again and again"))?;
        if level > MOST_LEVELS {
            return Err(malformed(path, format!("`{name}` is nested deeper than {MOST_LEVELS} levels")));
        }
        let length = name.len();
        match pickle.value(id) {
            Value::Dict(pairs) => {
                for (key, value) in pairs {
                    let part = match pickle.value(*key) {
                        Value::Text(text) => text.clone(),
                        Value::Int(number) => number.to_string(),
                        _ => continue,
                    };
                    join(name, &part);
                    self.value(*value, name, level + 1)?;
                    name.truncate(length);
                }
            }
            Value::List(items) | Value::Tuple(items) => {
                for (index, item) in items.iter().enumerate() {
                    join(name, &index.to_string());
                    self.value(*item, name, level + 1)?;
                    name.truncate(length);
                }
            }
            Value::Tensor { storage, offset, shape, strides } => {
                self.add(name, *storage, *offset, *shape, *strides)?;
            }
            Value::Text(text) if text.len() <= 1024 => {
                self.left = self.left.saturating_sub(text.len() as u64);
                self.tell(name, text.clone());
            }
            Value::Int(number) => self.tell(name, number.to_string()),
            Value::Float(number) => self.tell(name, number.to_string()),
            Value::Bool(truth) => self.tell(name, truth.to_string()),
            _ => {}
        }
        Ok(())
    }

    fn tell(&mut self, name: &str, text: String) {
        self.found.contents.metadata.insert(name.to_owned(), text);
    }

    fn add(&mut self, name: &str, storage: Id, offset: Id, shape: Id, strides: Id) -> Result<(), WeightsError> {
        let (path, pickle) = (self.path, self.pickle);
        let wrong = |what: &str| malformed(path, format!("tensor `{name}` has no usable {what}"));
        let (key, storage) = storage_of(path, pickle, storage)?.ok_or_else(|| wrong("storage"))?;
        let numbers = |id: Id| -> Option<Vec<u64>> {
            pickle.items(id)?.iter().map(|item| u64::try_from(pickle.int(*item)?).ok()).collect()
        };
        let shape: Vec<usize> = numbers(shape)
            .and_then(|shape| shape.into_iter().map(|length| usize::try_from(length).ok()).collect())
            .ok_or_else(|| wrong("shape"))?;
        let strides =
            numbers(strides).filter(|strides| strides.len() == shape.len()).ok_or_else(|| wrong("strides"))?;
        let offset = pickle.int(offset).and_then(|offset| u64::try_from(offset).ok()).ok_or_else(|| wrong("offset"))?;
        let count = checked_count(&shape, storage.dtype).ok_or_else(|| wrong("shape"))? as u64;
        let limit = storage.byte_len().max(limits::SMALL);
        let claimed = count * storage.dtype.size() as u64;
        if claimed > limit {
            let what = format!("tensor `{name}`");
            return Err(WeightsError::TooLarge { path: path.to_owned(), what, claimed, limit });
        }
        let last = shape.iter().zip(&strides).try_fold(offset, |at, (length, stride)| {
            at.checked_add((length.saturating_sub(1) as u64).checked_mul(*stride)?)
        });
        if count > 0 && last.is_none_or(|last| last >= storage.elements) {
            return Err(malformed(
                path,
                format!("tensor `{name}` reaches beyond its storage of {} values", storage.elements),
            ));
        }
        let dtype = storage.dtype;
        if !self.found.contents.add(ArrayInfo { name: name.to_owned(), shape, dtype }) {
            return Err(malformed(path, format!("two tensors are called `{name}`")));
        }
        match self.found.storages.get_mut(&key) {
            Some(known) if known.dtype != storage.dtype => {
                return Err(malformed(path, format!("storage `{key}` has two types")));
            }
            Some(known) => known.elements = known.elements.max(storage.elements),
            None => drop(self.found.storages.insert(key.clone(), storage)),
        }
        self.found.views.push(View { storage: key, offset, strides });
        Ok(())
    }
}

fn join(name: &mut String, part: &str) {
    if !name.is_empty() {
        name.push('.');
    }
    name.push_str(part);
}

/// Key and size of the storage that a persistent id names: `("storage", type, key, location, elements[, view])`.
fn storage_of(path: &Path, pickle: &Pickle, id: Id) -> Result<Option<(String, Storage)>, WeightsError> {
    let Value::Persistent(id) = pickle.value(id) else { return Ok(None) };
    let Some([tag, kind, key, _location, elements, rest @ ..]) = pickle.items(*id) else { return Ok(None) };
    if pickle.text(*tag) != Some("storage") {
        return Ok(None);
    }
    if rest.iter().any(|view| pickle.value(*view) != &Value::Nothing) {
        return Err(malformed(path, "it holds views of storages, which torch stopped writing in version 0.4"));
    }
    let dtype = match pickle.value(*kind) {
        Value::Global(name) => match *name {
            "torch.DoubleStorage" => DType::F64,
            "torch.FloatStorage" => DType::F32,
            "torch.HalfStorage" => DType::F16,
            "torch.BFloat16Storage" => DType::BF16,
            "torch.LongStorage" => DType::I64,
            "torch.IntStorage" => DType::I32,
            "torch.ShortStorage" => DType::I16,
            "torch.CharStorage" => DType::I8,
            "torch.ByteStorage" => DType::U8,
            "torch.BoolStorage" => DType::Bool,
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let elements = pickle.int(*elements).and_then(|elements| u64::try_from(elements).ok());
    let (Some(key), Some(elements)) = (pickle.text(*key), elements) else { return Ok(None) };
    if key.is_empty() || key.len() > 256 || key.contains(['/', '\\']) {
        return Err(malformed(path, format!("`{key}` is no key of a storage")));
    }
    Ok(Some((key.to_owned(), Storage { dtype, elements })))
}

impl View {
    /// First element and number of elements that the view touches; the shape has no length 0.
    pub(super) fn span(&self, shape: &[usize]) -> (u64, u64) {
        let reach: u64 = shape.iter().zip(&self.strides).map(|(length, stride)| (*length as u64 - 1) * stride).sum();
        (self.offset, reach + 1)
    }

    /// Row-major bytes from the bytes of the span.
    pub(super) fn gather(&self, info: &ArrayInfo, span: &[u8]) -> Vec<u8> {
        let size = info.dtype.size();
        let mut contiguous = vec![0u64; info.shape.len()];
        let mut step = 1u64;
        for (axis, length) in info.shape.iter().enumerate().rev() {
            contiguous[axis] = step;
            step *= *length as u64;
        }
        let matters = |axis: usize| info.shape[axis] > 1;
        if (0..info.shape.len()).all(|axis| !matters(axis) || self.strides[axis] == contiguous[axis]) {
            return span.to_vec();
        }
        let mut bytes = Vec::with_capacity(info.byte_len());
        let mut index = vec![0usize; info.shape.len()];
        for _ in 0..info.element_count() {
            let at: u64 = index.iter().zip(&self.strides).map(|(i, stride)| *i as u64 * stride).sum();
            let at = at as usize * size;
            bytes.extend_from_slice(&span[at..at + size]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                if index[axis] < info.shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        bytes
    }
}
