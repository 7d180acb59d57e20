//! The bytes of an HDF5 file, and a budget for what is read of its structure.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Hdf5Error;
use crate::source::Source;

/// Structure may be read this many times over: headers are visited when objects are listed and when they are opened.
const READS_OF_STRUCTURE: u64 = 8;

/// Allowance of structure for small files, in bytes.
const LEAST_BUDGET: u64 = 1 << 20;

/// An HDF5 file being read. Whatever structure is read is paid from a budget that is linear in the length, so that no
/// web of references in a hostile file costs more than its size is worth.
pub(super) struct Input {
    source: Source,
    budget: AtomicU64,
}

impl Input {
    pub(super) fn new(source: Source) -> Self {
        let input = Self { source, budget: AtomicU64::new(0) };
        input.refill();
        input
    }

    /// Begins with a full budget again: arrays may be read any number of times, each at its own cost.
    pub(super) fn refill(&self) {
        let full = self.source.length().saturating_mul(READS_OF_STRUCTURE).saturating_add(LEAST_BUDGET);
        self.budget.store(full, Ordering::Relaxed);
    }

    /// Number of bytes.
    pub(super) fn length(&self) -> u64 {
        self.source.length()
    }

    /// Takes an amount of work from the budget.
    pub(super) fn charge(&self, amount: u64) -> Result<(), Hdf5Error> {
        let left = |budget: u64| budget.checked_sub(amount);
        match self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left) {
            Ok(_) => Ok(()),
            Err(_) => Err(Hdf5Error::malformed("its structure refers to the same bytes again and again")),
        }
    }

    /// Bytes of structure; paid from the budget.
    pub(super) fn structure(&self, at: u64, length: u64) -> Result<Vec<u8>, Hdf5Error> {
        self.check(at, length)?;
        self.charge(length)?;
        self.values(at, length)
    }

    /// Bytes of values.
    pub(super) fn values(&self, at: u64, length: u64) -> Result<Vec<u8>, Hdf5Error> {
        self.check(at, length)?;
        Ok(self.source.read(at, length)?)
    }

    /// Refuses a range that does not lie in the file.
    pub(super) fn check(&self, at: u64, length: u64) -> Result<(), Hdf5Error> {
        match self.source.end(at, length) {
            Some(_) => Ok(()),
            None => Err(Hdf5Error::malformed(format!(
                "it refers to {length} bytes at {at} and has {} in all: it is cut short or changed",
                self.source.length()
            ))),
        }
    }
}
