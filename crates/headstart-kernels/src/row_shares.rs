//! One map that several threads write, each its own rows, and the gate at which they wait for each other.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A slice of which threads write parts that do not overlap.
pub(crate) struct RowShares<'a> {
    start: *mut f32,
    length: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: what is shared is a pointer into a slice that is borrowed mutably for 'a; its users promise not to overlap.
unsafe impl Sync for RowShares<'_> {}

impl<'a> RowShares<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), slice: PhantomData }
    }

    /// A part to write.
    ///
    /// # Safety
    /// Nobody else reads or writes the part as long as it is used.
    #[expect(clippy::mut_from_ref, reason = "the caller vouches that parts do not overlap")]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.length);
        // SAFETY: the part lies in the slice; the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// The first `length` values to read.
    ///
    /// # Safety
    /// Nobody writes to them as long as they are used.
    pub(crate) unsafe fn read(&self, length: usize) -> &[f32] {
        assert!(length <= self.length);
        // SAFETY: as in `part`.
        unsafe { std::slice::from_raw_parts(self.start, length) }
    }
}

/// All threads arrive before one goes on. A layer takes a fraction of a millisecond, so they wait awake.
pub(crate) struct Gate {
    threads: usize,
    arrived: AtomicUsize,
    round: AtomicUsize,
    broken: AtomicBool,
}

/// Breaks the gate when its thread ends in a panic, so that the others do not wait for ever.
pub(crate) struct Guard<'a>(pub(crate) &'a Gate);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::Release);
        }
    }
}

/// Turns of the loop before a waiting thread offers its core to others.
const PATIENCE: u32 = 2000;

impl Gate {
    pub(crate) fn new(threads: usize) -> Self {
        Self { threads, arrived: AtomicUsize::new(0), round: AtomicUsize::new(0), broken: AtomicBool::new(false) }
    }

    pub(crate) fn pass(&self) {
        let round = self.round.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.round.store(round + 1, Ordering::Release);
            return;
        }
        let mut turns = 0;
        while self.round.load(Ordering::Acquire) == round {
            assert!(!self.broken.load(Ordering::Acquire), "another thread of this picture has failed");
            turns += 1;
            if turns > PATIENCE { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }
}
