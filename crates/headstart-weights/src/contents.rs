//! What every reader knows once a file is open: its arrays by place and by name, and what the file says beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::Checkpoint;
use crate::array::{Array, ArrayInfo};
use crate::error::WeightsError;

/// The list of an open file.
pub(crate) struct Contents {
    pub(crate) format: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) metadata: BTreeMap<String, String>,
    arrays: Vec<ArrayInfo>,
    index: BTreeMap<String, usize>,
}

impl Contents {
    /// Of a file in which nothing was found yet.
    pub(crate) fn new(format: &'static str, path: &Path) -> Self {
        Self { format, path: path.to_owned(), metadata: BTreeMap::new(), arrays: Vec::new(), index: BTreeMap::new() }
    }

    /// Adds the next array, unless one of its name is there.
    #[must_use]
    pub(crate) fn add(&mut self, info: ArrayInfo) -> bool {
        let is_new = self.index.insert(info.name.clone(), self.arrays.len()).is_none();
        if is_new {
            self.arrays.push(info);
        }
        is_new
    }
}

/// A reader whose arrays are all listed when it opens; it is a [`Checkpoint`].
pub(crate) trait Listed: Send + Sync {
    /// The list.
    fn contents(&self) -> &Contents;

    /// Bytes of the array `info`, the one at `index` of the list.
    ///
    /// # Errors
    /// [`WeightsError::Io`]; [`WeightsError::Malformed`].
    fn bytes(&self, index: usize, info: &ArrayInfo) -> Result<Vec<u8>, WeightsError>;
}

impl<R: Listed> Checkpoint for R {
    fn format(&self) -> &'static str {
        self.contents().format
    }

    fn path(&self) -> &Path {
        &self.contents().path
    }

    fn arrays(&self) -> &[ArrayInfo] {
        &self.contents().arrays
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.contents().metadata
    }

    fn read(&self, name: &str) -> Result<Array, WeightsError> {
        let Contents { path, arrays, index, .. } = self.contents();
        let missing = || WeightsError::MissingArray { path: path.clone(), name: name.to_owned() };
        let index = *index.get(name).ok_or_else(missing)?;
        let info = arrays[index].clone();
        Ok(Array { bytes: self.bytes(index, &info)?, info })
    }
}
