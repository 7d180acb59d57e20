//! A buffer of f32 that begins on a cache line, so that vector loads of packed weights never straddle two.

use std::collections::TryReserveError;
use std::ops::{Deref, DerefMut};

/// 16 floats on a 64-byte boundary.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Zeroed, aligned floats.
#[derive(Clone, Default)]
pub(crate) struct Buffer {
    lines: Vec<Line>,
    length: usize,
}

impl Buffer {
    pub(crate) fn zeroed(length: usize) -> Self {
        Self { lines: vec![Line([0.0; 16]); length.div_ceil(16)], length }
    }

    /// Makes room for `length` floats; what was there is kept, the rest is zero.
    ///
    /// # Errors
    /// When there is no memory.
    pub(crate) fn grow(&mut self, length: usize) -> Result<(), TryReserveError> {
        if length > self.length {
            let lines = length.div_ceil(16);
            self.lines.try_reserve_exact(lines - self.lines.len())?;
            self.lines.resize(lines, Line([0.0; 16]));
            self.length = length;
        }
        Ok(())
    }

    /// The first `length` floats, after making room for them; aborts as the standard library does when there is no memory.
    pub(crate) fn room(&mut self, length: usize) -> &mut [f32] {
        if self.grow(length).is_err() {
            std::alloc::handle_alloc_error(std::alloc::Layout::new::<Line>());
        }
        &mut self[..length]
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: the lines are `length.div_ceil(16) * 16` floats one after the other, all initialized.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({})", self.length)
    }
}
