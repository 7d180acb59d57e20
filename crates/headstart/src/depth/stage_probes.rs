//! What a head makes of each stage: do features this early carry the task already?

use rayon::prelude::*;

use super::{StageProbe, ridge};
use crate::error::Result;
use crate::features::{FeatureLayout, Rows};
use crate::model::Model;
use crate::parameters::Parameters;
use crate::phase_runner::PhaseRunner;
use crate::random::Stream;
use crate::recipe::Phase;
use crate::sources::Sources;
use crate::tasks::{Asked, Part, Task};
use crate::train::Source;
use crate::train::checkpoint::TrainingState;
use crate::train::fit::{Objective, PhaseContext};
use crate::train::hold_out::{HoldOut, Subset};
use crate::train::observer::{Observer, Silent};

/// Examples of the ridge classifiers, whose work grows with the third power of their number.
const RIDGE_EXAMPLES: usize = 512;
/// Epochs of the recipe's head on a stage.
const HEAD_EPOCHS: usize = 10;

/// Runs the frozen network once over the plain training pictures, and two heads over what every stage gave.
pub(super) fn probe<T: Task>(
    line: &PhaseRunner<'_, T>,
    hold_out: &HoldOut,
    observer: &mut dyn Observer,
) -> Result<Vec<StageProbe>> {
    let PhaseRunner { task, recipe, options, network, .. } = *line;
    let backbone = network.parameters();
    let frozen = network.frozen(backbone, recipe.arithmetic)?;
    let depth = frozen.stage_count();
    let sources = Sources { task, recipe, network, backbone, frozen: &frozen, depth, cache: &options.cache };
    let (taps, _) = sources.taps(&options.stop, observer)?;
    let mut end = 0;
    let stages: Vec<Tap<'_>> = frozen
        .pictures()?
        .stage_shapes()
        .iter()
        .map(|shape| {
            end += shape.channels;
            Tap { taps: &taps, begin: end - shape.channels, end }
        })
        .collect();

    let classes = task.classes(Part::Train);
    // Stages side by side, each alone in its thread: the order of every sum is the same with any number of them.
    let linear: Vec<Option<f64>> = stages
        .par_iter()
        .map(|stage| {
            let Some(classes) = &classes else { return Ok(None) };
            let mut some = Stream::new(recipe.seed, "ridge examples", &[]).permutation(classes.len());
            some.truncate(RIDGE_EXAMPLES);
            let own: Vec<usize> = some.iter().map(|&example| classes[example]).collect();
            Ok(Some(ridge::leave_one_out_accuracy(&stage.read(&some, 0)?.values, &own, task.labels().len())))
        })
        .collect::<Result<_>>()?;
    let mut probes = Vec::with_capacity(depth);
    for ((stage, linear), name) in stages.iter().zip(linear).zip(network.stages()) {
        let head = head_accuracy(line, stage, hold_out)?;
        probes.push(StageProbe { stage: name, linear, head });
    }
    Ok(probes)
}

/// Accuracy of the recipe's head on one stage, in its best epoch on the examples held out.
fn head_accuracy<T: Task>(line: &PhaseRunner<'_, T>, stage: &Tap<'_>, hold_out: &HoldOut) -> Result<f64> {
    let PhaseRunner { task, recipe, options, .. } = *line;
    let untrained = Parameters::initialize(&task.head_parameters(&recipe.head, stage.layout()), recipe.seed);
    let device = burn::tensor::Device::default().autodiff();
    let model = Model { backbone: None, head: task.load_head(&recipe.head, &untrained, &device)? };
    let phase = Phase { epochs: HEAD_EPOCHS, ..recipe.phases[0].clone() };
    let score = |examples: &[usize], rows: &[usize], outputs: &[f32]| {
        task.score(recipe, Part::Train, Asked { examples, rows, view: 0 }, outputs)
    };
    let context = PhaseContext {
        recipe,
        index: 0,
        phase: &phase,
        depth: line.network.stage_count(),
        relative_rate: &|_| 1.0,
        is_open: &|_| true,
        train: &Subset::new(stage, &hold_out.learned),
        validation: Some(&Subset::new(stage, &hold_out.held)),
        objective: Objective {
            loss: &|outputs, asked, _| {
                let examples = &hold_out.learned(asked.examples);
                task.loss(recipe, outputs, Asked { examples, ..asked })
            },
            train_score: &|asked, outputs, _| score(&hold_out.learned(asked.examples), asked.rows, outputs),
            validation_score: &|asked, outputs| score(&hold_out.held(asked.examples), asked.rows, outputs),
        },
        stop: &options.stop,
        // A probe takes less time than reading its state again would.
        save: &|_| Ok(()),
    };
    let mut state = TrainingState::new(untrained.with_prefix("head."));
    match context.fit(model, &mut state, &mut Silent) {
        // A head that diverges on an early stage says that the stage is of no use to it.
        Err(crate::Error::Diverged { .. }) => Ok(0.0),
        Err(crate::Error::Interrupted { .. }) => {
            Err(crate::Error::Interrupted { checkpoint: Some(line.run.folder.clone()) })
        }
        fitted => fitted.map(|_| state.best_score.map_or(0.0, |score| score.accuracy())),
    }
}

/// The averages after one stage.
struct Tap<'a> {
    taps: &'a dyn Source,
    begin: usize,
    end: usize,
}

impl Source for Tap<'_> {
    fn layout(&self) -> FeatureLayout {
        FeatureLayout::Vector { width: self.end - self.begin }
    }

    fn len(&self) -> usize {
        self.taps.len()
    }

    fn read(&self, examples: &[usize], epoch: usize) -> Result<Rows> {
        let width = self.taps.layout().value_count();
        let all = self.taps.read(examples, epoch)?.values;
        let values = all.chunks_exact(width).flat_map(|row| &row[self.begin..self.end]).copied().collect();
        Ok(Rows::even(values, examples.len()))
    }
}
