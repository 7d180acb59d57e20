//! MobileNet v1 0.25 as TensorFlow.js publishes it, frozen → Flatten → Dense(256, relu) → Dropout(0.5) → Dense(1, sigmoid).
//!
//!     cargo run --release -p headstart --example tfjs_mobilenet_v1 -- DATA WEIGHTS [BUNDLE]
#![allow(clippy::print_stdout, reason = "the program of an example prints")]

use headstart::recipe::{Optimizer, Output, Pool};
use headstart::{Control, Error, Event, Freeze, HeadRecipe, Phase, Recipe, Report, RunOptions, run};

/// What is trained, and how: the same as `recipe.toml`.
pub(crate) fn recipe(data: &str, weights: &str) -> Recipe {
    Recipe {
        data: data.into(),
        weights: Some(weights.to_owned()),
        backbone: Some("mobilenet_v1:0.25".to_owned()), // its last layer, the classifier, is left out
        input_size: Some(224),
        batch: 32,
        steps_per_epoch: Some(8),
        keep_best: false,
        head: HeadRecipe {
            pool: Pool::Flatten,
            hidden: vec![256],
            dropout: 0.5,
            output: Output::Sigmoid,
            ..HeadRecipe::default()
        },
        optimizer: Optimizer::Adam {},
        phases: vec![Phase { freeze: Freeze::Backbone, epochs: 10, learning_rate: 1e-3, ..Phase::default() }],
        ..Recipe::default()
    }
}

/// `model.fitDataset(…, { epochs, batchesPerEpoch, callbacks: { onEpochEnd } })`.
pub(crate) fn fit(recipe: &Recipe, options: &RunOptions) -> headstart::Result<Report> {
    let mut on_epoch_end = |event: &Event| {
        if let Event::Epoch(epoch) = event {
            println!(
                "epoch {:2}: loss {:.4}, accuracy {:.3}, validation accuracy {:.3}",
                epoch.epoch,
                epoch.loss,
                epoch.accuracy,
                epoch.validation_accuracy.unwrap_or(f64::NAN)
            );
        }
        Control::Continue // Control::Stop ends training after this epoch
    };
    run(recipe, options, &mut on_epoch_end)
}

fn main() -> headstart::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, weights, rest @ ..] = arguments.as_slice() else {
        return Err(Error::Recipe {
            reason: "data and weights are missing".to_owned(),
            help: "tfjs_mobilenet_v1 DATA WEIGHTS [BUNDLE]".to_owned(),
        });
    };
    let bundle = rest.first().map_or("ants_bees.headstart", String::as_str);
    let report = fit(&recipe(data, weights), &RunOptions::new(bundle))?;
    if let Some(metrics) = report.metrics {
        println!("{}: accuracy {:.3} on {} validation photos", bundle, metrics.headline(), report.examples.validation);
    }
    Ok(())
}
