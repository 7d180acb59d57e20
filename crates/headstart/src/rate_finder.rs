//! Which learning rate: the range test of every phase of a recipe, one after the other. Writes nothing.

use std::path::Path;

use crate::error::{Error, Result};
use crate::opening::Opened;
use crate::phase_runner::{Opening, PhaseRunner};
use crate::recipe::{Freeze, Recipe};
use crate::run::{self, RunOptions, Seconds};
use crate::run_folder::RunFolder;
use crate::tasks::{self, Task};
use crate::train::checkpoint::TrainingState;
use crate::train::observer::Observer;

pub use crate::train::rate_finder::{RangeTest, RateCurve, RatePoint};

/// Tests every phase of a recipe; before the test of a phase, those before it are trained as the recipe says.
///
/// The same recipe gives the same curves with any number of threads. `options.out` and `options.resume` are not used.
///
/// # Errors
/// Anything from [`Error`]; [`Error::Recipe`] for a test that is no ladder, or a phase that is still to be decided.
pub fn find_rates(
    recipe: &Recipe,
    options: &RunOptions,
    test: &RangeTest,
    observer: &mut dyn Observer,
) -> Result<Vec<RateCurve>> {
    let task = tasks::find(recipe.task.as_deref(), &recipe.data)?;
    (task.find_rates)(recipe, options, test, observer)
}

pub(crate) fn find_rates_task<T: Task>(
    recipe: &Recipe,
    options: &RunOptions,
    test: &RangeTest,
    observer: &mut dyn Observer,
) -> Result<Vec<RateCurve>> {
    recipe.check()?;
    test.check()?;
    if recipe.phases.iter().any(|phase| phase.freeze == Freeze::Auto) {
        return Err(Error::Recipe {
            reason: "a range test needs to know which stages learn, and freeze = \"auto\" leaves that open".to_owned(),
            help: "name a cut: --fine-tune 3 --freeze all-but-4; `headstart list backbones --stages` lists them"
                .to_owned(),
        });
    }
    run::thread_pool(options.threads)?.install(|| {
        let opened = Opened::<T>::open(recipe, options, observer)?;
        let Opened { recipe, network, task, untrained, .. } = &opened;
        let run = RunFolder::new(Path::new(""), &[]);
        let line = PhaseRunner { task, recipe, options, network, run: &run, untrained };
        let mut state = TrainingState::new(untrained.clone());
        let mut seconds = Seconds::default();
        let mut curves = Vec::with_capacity(recipe.phases.len());
        for (index, phase) in recipe.phases.iter().enumerate() {
            let opening = Opening { index, phase, hold_out: None, save: &|_| Ok(()) };
            curves.push(line.open(
                &opening,
                &mut state,
                &mut seconds,
                observer,
                &mut |context, model, _, observer| context.find_rate(model, test, observer),
            )?);
            if index + 1 < recipe.phases.len() {
                match line.fit(&opening, &mut state, &mut seconds, observer) {
                    Err(Error::Interrupted { .. }) => return Err(Error::Interrupted { checkpoint: None }),
                    fitted => fitted?,
                }
            }
        }
        Ok(curves)
    })
}
