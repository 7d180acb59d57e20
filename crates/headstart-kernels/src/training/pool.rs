//! Buffers that go round from step to step: fresh memory costs a page fault every 4 KiB, more than many a layer.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// Shortest buffer that is kept, in floats.
const SHORTEST: usize = 1 << 14;

/// Buffers by capacity. Steps of one shape find again what the last step gave back; steps of many shapes, as texts of many
/// lengths make them, take what is up to half as long again, or the pool would keep a buffer of every length ever seen.
#[derive(Debug, Default)]
pub struct BufferPool {
    idle: Mutex<BTreeMap<usize, Vec<Vec<f32>>>>,
}

impl BufferPool {
    /// An empty pool.
    pub const fn new() -> Self {
        Self { idle: Mutex::new(BTreeMap::new()) }
    }

    /// `length` floats of any value.
    pub fn take(&self, length: usize) -> Vec<f32> {
        let mut idle = match self.idle.lock() {
            Ok(idle) => idle,
            Err(poisoned) => poisoned.into_inner(),
        };
        let fitting = idle.range_mut(length..=length + length / 2).find_map(|(_, buffers)| buffers.pop());
        match fitting {
            Some(mut buffer) => {
                buffer.resize(length, 0.0);
                buffer
            }
            None => vec![0.0; length],
        }
    }

    /// Takes a buffer back.
    pub fn give(&self, buffer: Vec<f32>) {
        if buffer.len() >= SHORTEST
            && let Ok(mut idle) = self.idle.lock()
        {
            idle.entry(buffer.capacity()).or_default().push(buffer);
        }
    }

    /// Frees everything.
    pub fn clear(&self) {
        if let Ok(mut idle) = self.idle.lock() {
            idle.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_for_lengths_that_it_holds_without_much_waste() {
        let pool = BufferPool::new();
        pool.give(vec![1.0; SHORTEST]);
        assert_eq!(pool.take(SHORTEST + 1)[0], 0.0);
        assert_eq!(pool.take(SHORTEST)[0], 1.0);
        assert_eq!(pool.take(SHORTEST)[0], 0.0);
        pool.give(vec![1.0; 2 * SHORTEST]);
        assert_eq!(pool.take(SHORTEST)[0], 0.0);
        let shorter = pool.take(2 * SHORTEST - 5);
        assert_eq!((shorter.len(), shorter[0]), (2 * SHORTEST - 5, 1.0));
        pool.give(shorter);
        assert_eq!(pool.take(2 * SHORTEST).len(), 2 * SHORTEST);
        pool.give(vec![1.0; 3]);
        assert_eq!(pool.take(3), [0.0; 3]);
        pool.give(vec![1.0; SHORTEST]);
        pool.clear();
        assert_eq!(pool.take(SHORTEST)[0], 0.0);
    }
}
