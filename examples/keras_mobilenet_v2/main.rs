//! MobileNetV2 without its top, frozen → GlobalAveragePooling2D → Dense(256, relu) → Dropout(0.5) → Dense(1, sigmoid).
//!
//!     cargo run --release -p headstart --example keras_mobilenet_v2 -- DATA WEIGHTS [BUNDLE]
#![allow(clippy::print_stdout, reason = "the program of an example prints")]

use headstart::recipe::{Optimizer, Output};
use headstart::{Control, Error, Event, Freeze, HeadRecipe, Phase, Recipe, Report, RunOptions, run};

/// What is trained, and how: the same as `recipe.toml`.
pub(crate) fn recipe(data: &str, weights: &str) -> Recipe {
    Recipe {
        data: data.into(),
        weights: Some(weights.to_owned()),
        backbone: Some("mobilenet_v2:1.0".to_owned()), // include_top=False
        input_size: Some(224),
        batch: 32,
        keep_best: false,
        head: HeadRecipe { hidden: vec![256], dropout: 0.5, output: Output::Sigmoid, ..HeadRecipe::default() },
        optimizer: Optimizer::Adam {},
        phases: vec![Phase { freeze: Freeze::Backbone, epochs: 10, learning_rate: 1e-3, ..Phase::default() }],
        ..Recipe::default()
    }
}

/// `model.fit(…, epochs=10, validation_data=…, callbacks=[LambdaCallback(on_epoch_end=…)])`.
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
            help: "keras_mobilenet_v2 DATA WEIGHTS [BUNDLE]".to_owned(),
        });
    };
    let bundle = rest.first().map_or("ants_bees.headstart", String::as_str);
    let report = fit(&recipe(data, weights), &RunOptions::new(bundle))?;
    if let Some(metrics) = report.metrics {
        println!("{}: accuracy {:.3} on {} validation photos", bundle, metrics.headline(), report.examples.validation);
    }
    Ok(())
}
