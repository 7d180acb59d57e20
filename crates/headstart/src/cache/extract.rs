//! The frozen stages over a part of the data, shard by shard, into the cache.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::store::{self, Shard};
use super::{SHARD_EXAMPLES, touch};
use crate::error::{Error, Result};
use crate::features::{FeatureLayout, Rows};
use crate::publish::sweep;
use crate::recipe::Precision;
use crate::train::Source;
use crate::train::observer::{Event, Observer, Work};

/// Features of some examples, and how long decoding took of that.
pub(crate) type Compute<'a> = dyn Fn(Range<usize>) -> Result<(Vec<Vec<f32>>, Duration)> + Sync + 'a;

/// One feature set: where it lies and how it is computed.
pub(crate) struct FeatureSet<'a> {
    pub(crate) folder: PathBuf,
    pub(crate) examples: usize,
    pub(crate) layout: FeatureLayout,
    pub(crate) precision: Precision,
    /// Examples that are computed together.
    pub(crate) group: usize,
    /// Channels-last features of each of some examples.
    pub(crate) compute: Box<Compute<'a>>,
}

/// Seconds of work on all threads together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Times {
    pub(crate) decode: Duration,
    pub(crate) extract: Duration,
}

impl FeatureSet<'_> {
    pub(crate) fn shard_count(&self) -> usize {
        self.examples.div_ceil(SHARD_EXAMPLES)
    }

    fn shard_len(&self, shard: usize) -> usize {
        SHARD_EXAMPLES.min(self.examples - shard * SHARD_EXAMPLES)
    }

    fn path(&self, shard: usize) -> PathBuf {
        self.folder.join(store::shard_name(shard, self.shard_count()))
    }

    fn open(&self, shard: usize) -> Result<Shard> {
        Shard::open(&self.path(shard), self.shard_len(shard), self.layout, self.precision)
    }

    /// Whether a shard is finished and whole.
    pub(crate) fn is_finished(&self, shard: usize) -> bool {
        self.path(shard).exists() && self.open(shard).is_ok()
    }

    /// Computes one shard and publishes it: a pure function of its name.
    fn extract_shard(&self, shard: usize, done: &AtomicUsize, stop: &AtomicBool, times: &Mutex<Times>) -> Result<()> {
        let first = shard * SHARD_EXAMPLES;
        let end = first + self.shard_len(shard);
        let groups: Vec<Range<usize>> =
            (first..end).step_by(self.group).map(|start| start..end.min(start + self.group)).collect();
        // Threads take whole groups; no example's values depend on which thread took it.
        let rows: Vec<Vec<Vec<f32>>> = groups
            .into_par_iter()
            .map(|group| {
                if stop.load(Ordering::Relaxed) {
                    return Err(Error::Interrupted { checkpoint: None });
                }
                let start = Instant::now();
                let count = group.len();
                let (values, decode) = (self.compute)(group)?;
                let total = start.elapsed();
                if let Ok(mut times) = times.lock() {
                    times.decode += decode;
                    times.extract += total.saturating_sub(decode);
                }
                done.fetch_add(count, Ordering::Relaxed);
                Ok(values)
            })
            .collect::<Result<_>>()?;
        let rows: Vec<Vec<f32>> = rows.into_iter().flatten().collect();
        store::write(&self.path(shard), &rows, self.layout, self.precision)
    }
}

/// Computes the shards `(set, shard)` that are not finished yet; returns the time spent.
///
/// # Errors
/// [`Error::Interrupted`] when `stop` is set: finished shards stay.
pub(crate) fn extract(
    sets: &[FeatureSet<'_>],
    shards: &[(usize, usize)],
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Times> {
    let missing: Vec<(usize, usize)> =
        shards.iter().copied().filter(|&(set, shard)| !sets[set].is_finished(shard)).collect();
    let total: usize = missing.iter().map(|&(set, shard)| sets[set].shard_len(shard)).sum();
    for set in sets {
        sweep(&set.folder);
    }
    let done = AtomicUsize::new(0);
    let times = Mutex::new(Times::default());
    for (set, shard) in missing {
        observer.event(&Event::Progress { stage: Work::Extract, done: done.load(Ordering::Relaxed), total });
        sets[set].extract_shard(shard, &done, stop, &times)?;
    }
    if total > 0 {
        observer.event(&Event::Progress { stage: Work::Extract, done: total, total });
    }
    for set in sets {
        touch(&set.folder);
    }
    Ok(times.into_inner().unwrap_or_default())
}

/// Every shard of every set.
pub(crate) fn all_shards(sets: &[FeatureSet<'_>]) -> Vec<(usize, usize)> {
    sets.iter().enumerate().flat_map(|(set, features)| (0..features.shard_count()).map(move |s| (set, s))).collect()
}

/// Cached features as a source of batches: epoch e reads view e mod K.
pub(crate) struct CachedSource {
    layout: FeatureLayout,
    examples: usize,
    /// Shards of each view.
    views: Vec<Vec<Shard>>,
}

impl CachedSource {
    /// Opens the finished sets of all views of one part.
    ///
    /// # Errors
    /// [`Error::Shard`] when a shard was removed or damaged since it was extracted.
    pub(crate) fn open(views: &[FeatureSet<'_>]) -> Result<Self> {
        let first = &views[0];
        let open_view = |set: &FeatureSet<'_>| (0..set.shard_count()).map(|shard| set.open(shard)).collect();
        Ok(Self {
            layout: first.layout,
            examples: first.examples,
            views: views.iter().map(open_view).collect::<Result<_>>()?,
        })
    }
}

impl Source for CachedSource {
    fn layout(&self) -> FeatureLayout {
        self.layout
    }

    fn len(&self) -> usize {
        self.examples
    }

    fn read(&self, examples: &[usize], epoch: usize) -> Result<Rows> {
        let shards = &self.views[epoch % self.views.len()];
        let mut values = Vec::with_capacity(examples.len() * self.layout.value_count());
        let mut lengths = Vec::with_capacity(examples.len());
        for &example in examples {
            let before = values.len();
            shards[example / SHARD_EXAMPLES].read_into(example % SHARD_EXAMPLES, &mut values);
            lengths.push(values.len() - before);
        }
        Ok(Rows { values, lengths })
    }
}

/// Values of some examples in the view of an epoch.
pub(crate) type Recompute<'a> = dyn Fn(&[usize], usize) -> Result<Vec<Vec<f32>>> + Sync + 'a;

/// Features that are computed anew at every reading: what is used when nothing is frozen.
pub(crate) struct ComputedSource<'a> {
    pub(crate) layout: FeatureLayout,
    pub(crate) examples: usize,
    /// Examples that are computed together.
    pub(crate) group: usize,
    /// Channels-last values of some examples in the view of an epoch.
    pub(crate) compute: Box<Recompute<'a>>,
}

impl Source for ComputedSource<'_> {
    fn layout(&self) -> FeatureLayout {
        self.layout
    }

    fn len(&self) -> usize {
        self.examples
    }

    fn read(&self, examples: &[usize], epoch: usize) -> Result<Rows> {
        let groups = examples.par_chunks(self.group);
        let rows: Vec<Vec<Vec<f32>>> = groups.map(|group| (self.compute)(group, epoch)).collect::<Result<_>>()?;
        let rows: Vec<Vec<f32>> = rows.into_iter().flatten().collect();
        Ok(Rows { lengths: rows.iter().map(Vec::len).collect(), values: rows.concat() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::observer::Silent;

    fn set<'a>(folder: &std::path::Path, calls: &'a AtomicUsize) -> FeatureSet<'a> {
        FeatureSet {
            folder: folder.to_owned(),
            examples: 150,
            layout: FeatureLayout::Vector { width: 2 },
            precision: Precision::F32,
            group: 3,
            compute: Box::new(move |examples| {
                calls.fetch_add(examples.len(), Ordering::Relaxed);
                Ok((examples.map(|example| vec![example as f32, -(example as f32)]).collect(), Duration::ZERO))
            }),
        }
    }

    #[test]
    fn shards_are_computed_once_in_any_order_and_read_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let calls = AtomicUsize::new(0);
        let sets = [set(folder.path(), &calls)];
        let stop = AtomicBool::new(false);
        extract(&sets, &[(0, 2)], &stop, &mut Silent).unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 150 - 128);
        extract(&sets, &all_shards(&sets), &stop, &mut Silent).unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 150);
        extract(&sets, &all_shards(&sets), &stop, &mut Silent).unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 150);
        let source = CachedSource::open(&sets).unwrap();
        assert_eq!(source.read(&[149, 0, 64], 3).unwrap().values, [149.0, -149.0, 0.0, 0.0, 64.0, -64.0]);
    }

    #[test]
    fn a_damaged_shard_is_computed_again() {
        let folder = tempfile::tempdir().unwrap();
        let calls = AtomicUsize::new(0);
        let sets = [set(folder.path(), &calls)];
        let stop = AtomicBool::new(false);
        extract(&sets, &all_shards(&sets), &stop, &mut Silent).unwrap();
        let path = sets[0].path(1);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..100]).unwrap();
        extract(&sets, &all_shards(&sets), &stop, &mut Silent).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn stopping_keeps_finished_shards_and_publishes_no_half_one() {
        let folder = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(false);
        let mut features = set(folder.path(), Box::leak(Box::new(AtomicUsize::new(0))));
        let stop_in_second = &stop;
        features.group = 1;
        features.compute = Box::new(move |examples| {
            stop_in_second.fetch_or(examples.contains(&70), Ordering::Relaxed);
            Ok((vec![vec![1.0, 2.0]; examples.len()], Duration::ZERO))
        });
        let sets = [features];
        let result = extract(&sets, &all_shards(&sets), &stop, &mut Silent);
        // The example that sets the flag may be the last of its shard to start; the one after it never runs.
        assert!(matches!(result, Err(Error::Interrupted { .. })));
        assert!(sets[0].is_finished(0) && !sets[0].is_finished(2));
    }
}
