//! Which features a phase trains on: cached ones below the cut, or decoded pictures when nothing is frozen.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use headstart_kernels::instruction_set;

use crate::cache::extract::{self, CachedSource, ComputedSource, FeatureSet, Times};
use crate::cache::key::{CacheKey, ViewKey, examples_digest};
use crate::cache::{CacheFolder, SHARD_EXAMPLES};
use crate::error::Result;
use crate::features::FeatureLayout;
use crate::model::{Head, Model, frozen_parameters};
use crate::network::{FrozenNetwork, Network};
use crate::nn::named::collect;
use crate::parameters::Parameters;
use crate::recipe::{Pool, Recipe};
use crate::tasks::{Part, Task, View};
use crate::train::Source;
use crate::train::observer::Observer;

/// Everything that decides the features of a phase.
pub(crate) struct Sources<'a, T: Task> {
    pub(crate) task: &'a T,
    pub(crate) recipe: &'a Recipe,
    pub(crate) network: &'a Network,
    /// Weights as they are now, which earlier phases may have moved.
    pub(crate) backbone: &'a Parameters,
    pub(crate) frozen: &'a FrozenNetwork,
    /// Stages below the cut.
    pub(crate) depth: usize,
    pub(crate) cache: &'a CacheFolder,
}

type Opened<'a> = (Box<dyn Source + 'a>, Option<Box<dyn Source + 'a>>, Times);

impl<'a, T: Task> Sources<'a, T> {
    /// Training and validation features, extracted where they are not cached yet.
    pub(crate) fn open(&self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<Opened<'a>> {
        let has_validation = !self.task.digests(Part::Validation).is_empty();
        if self.depth == 0 {
            let validation: Option<Box<dyn Source + 'a>> =
                if has_validation { Some(Box::new(self.inputs(Part::Validation, 1))) } else { None };
            return Ok((Box::new(self.inputs(Part::Train, self.recipe.views)), validation, Times::default()));
        }
        let sets = self.all_sets();
        let times = extract::extract(&sets, &extract::all_shards(&sets), stop, observer)?;
        let keys: Vec<String> =
            sets.iter().filter_map(|set| Some(set.folder.file_name()?.to_string_lossy().into_owned())).collect();
        self.cache.prune(&keys)?;
        let (train, validation) = sets.split_at(self.recipe.views as usize);
        let validation: Option<Box<dyn Source + 'a>> =
            if has_validation { Some(Box::new(CachedSource::open(validation)?)) } else { None };
        Ok((Box::new(CachedSource::open(train)?), validation, times))
    }

    /// Which view of the training examples a pass over them shows.
    pub(crate) fn view_number(&self, pass: usize) -> u32 {
        view_number(pass, self.recipe.views, self.depth == 0 && T::HAS_FRESH_VIEWS)
    }

    /// Features of a whole backbone for the final scores: cached where the weights are as published.
    pub(crate) fn for_scoring(&self, part: Part, published: bool, stop: &AtomicBool) -> Result<Box<dyn Source + 'a>> {
        if published {
            let sets = [self.set(part, 0)];
            extract::extract(&sets, &extract::all_shards(&sets), stop, &mut crate::train::observer::Silent)?;
            return Ok(Box::new(CachedSource::open(&sets)?));
        }
        let (task, frozen, depth, pool) = (self.task, self.frozen, self.depth, self.recipe.head.pool);
        let (recipe, network) = (self.recipe, self.network);
        let compute = move |examples: &[usize], _epoch: usize| {
            let input = |&example: &usize| task.input(part, example, network, plain(recipe));
            let inputs: Vec<Vec<f32>> = examples.iter().map(input).collect::<Result<_>>()?;
            frozen.forward_group(&inputs, depth, pool)
        };
        Ok(Box::new(ComputedSource {
            layout: self.layout(),
            examples: task.digests(part).len(),
            group: frozen.group(),
            compute: Box::new(compute),
        }))
    }

    /// Feature sets of every view of the training part, then that of the validation part if it has examples.
    pub(crate) fn all_sets(&self) -> Vec<FeatureSet<'a>> {
        if self.depth == 0 {
            return Vec::new();
        }
        let mut sets: Vec<FeatureSet<'a>> = (0..self.recipe.views).map(|view| self.set(Part::Train, view)).collect();
        if !self.task.digests(Part::Validation).is_empty() {
            sets.push(self.set(Part::Validation, 0));
        }
        sets
    }

    /// How many training examples have their plain features already.
    pub(crate) fn finished_examples(&self) -> usize {
        if self.depth == 0 {
            return 0;
        }
        let set = self.set(Part::Train, 0);
        let finished = (0..set.shard_count()).filter(|&shard| set.is_finished(shard)).count();
        (finished * SHARD_EXAMPLES).min(set.examples)
    }

    /// Number of values that learn.
    pub(crate) fn learning<H: Head>(&self, model: &Model<H>, is_open: &dyn Fn(&str) -> bool) -> usize {
        collect(model)
            .iter()
            .filter(|(name, _)| is_open(name) && !name.ends_with(".mean") && !name.ends_with(".variance"))
            .map(|(_, parameter)| parameter.values.len())
            .sum()
    }

    fn layout(&self) -> FeatureLayout {
        self.frozen.layout(self.depth, self.recipe.head.pool)
    }

    fn set(&self, part: Part, view: u32) -> FeatureSet<'a> {
        let (task, recipe, frozen, depth) = (self.task, self.recipe, self.frozen, self.depth);
        let (network, pool) = (self.network, recipe.head.pool);
        FeatureSet {
            folder: self.folder(part, view, false),
            examples: task.digests(part).len(),
            layout: self.layout(),
            precision: recipe.feature_precision,
            group: frozen.group(),
            compute: Box::new(move |examples| {
                let start = Instant::now();
                let input = |example| task.input(part, example, network, View { number: view, ..plain(recipe) });
                let inputs: Vec<Vec<f32>> = examples.map(input).collect::<Result<_>>()?;
                let decode = start.elapsed();
                Ok((frozen.forward_group(&inputs, depth, pool)?, decode))
            }),
        }
    }

    /// Averages after every stage of the plain training pictures, side by side, from one pass over them.
    pub(crate) fn taps(&self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<(CachedSource, Times)> {
        let (task, recipe, network, frozen) = (self.task, self.recipe, self.network, self.frozen.pictures()?);
        let width = frozen.stage_shapes().iter().map(|shape| shape.channels).sum();
        let sets = [FeatureSet {
            folder: self.folder(Part::Train, 0, true),
            examples: task.digests(Part::Train).len(),
            layout: FeatureLayout::Vector { width },
            precision: recipe.feature_precision,
            group: 1,
            compute: Box::new(move |examples| {
                let start = Instant::now();
                let input = |example| task.input(Part::Train, example, network, plain(recipe));
                let inputs: Vec<Vec<f32>> = examples.map(input).collect::<Result<_>>()?;
                let decode = start.elapsed();
                Ok((inputs.iter().map(|input| frozen.taps(input)).collect::<Result<_>>()?, decode))
            }),
        }];
        let times = extract::extract(&sets, &extract::all_shards(&sets), stop, observer)?;
        Ok((CachedSource::open(&sets)?, times))
    }

    /// Where the features of a part in a view lie.
    fn folder(&self, part: Part, view: u32, taps: bool) -> std::path::PathBuf {
        let (task, recipe, frozen, depth) = (self.task, self.recipe, self.frozen, self.depth);
        let all_stages = depth == frozen.stage_count();
        let view_key = match view {
            0 => ViewKey::Plain,
            number => ViewKey::Augmented { number, seed: recipe.seed, augmentation: &recipe.augmentation },
        };
        let published = match self.network {
            Network::Pictures(pretrained) => pretrained.classifier.as_ref(),
            Network::Text(_) | Network::Speech(_) | Network::Detector(_) => None,
        };
        let classifier = published.filter(|_| all_stages && !taps && recipe.head.pool == Pool::Logits);
        let classifier = classifier.map(|classifier| classifier.parameters.digest());
        let boxes = recipe.detection.as_ref().filter(|_| view > 0);
        let views = boxes.map(|boxes| serde_json::to_string(boxes).expect("plain numbers"));
        let key = CacheKey {
            backbone: self.network.name(),
            variant: &self.network.variant(),
            weights: &frozen_parameters(self.network, self.backbone, depth).digest(),
            conventions: self.network.reading(),
            depth,
            pool: (all_stages && !taps).then_some(recipe.head.pool),
            taps,
            classifier: classifier.as_deref(),
            view: view_key,
            views: views.as_deref(),
            precision: recipe.feature_precision,
            arithmetic: frozen.arithmetic(),
            examples: &examples_digest(&task.digests(part)),
            instruction_set: instruction_set(),
        };
        self.cache.features().join(key.digest())
    }

    /// Preprocessed pictures, decoded at every reading, or tokens.
    fn inputs(&self, part: Part, views: u32) -> ComputedSource<'a> {
        let (task, recipe, network) = (self.task, self.recipe, self.network);
        let is_fresh = part == Part::Train && T::HAS_FRESH_VIEWS;
        ComputedSource {
            layout: self.frozen.layout(0, recipe.head.pool),
            examples: task.digests(part).len(),
            group: 1,
            compute: Box::new(move |examples, epoch| {
                let number = view_number(epoch, views, is_fresh);
                let input = |&example: &usize| task.input(part, example, network, View { number, ..plain(recipe) });
                examples.iter().map(input).collect()
            }),
        }
    }
}

/// The plain picture and its other views in turn, or a new view each time.
fn view_number(pass: usize, views: u32, is_fresh: bool) -> u32 {
    if is_fresh { pass as u32 + 1 } else { (pass % views as usize) as u32 }
}

fn plain(recipe: &Recipe) -> View<'_> {
    View { number: 0, augmentation: &recipe.augmentation, seed: recipe.seed }
}
