//! What `headstart train` does with pictures with boxes when little else is said.

use headstart::nn::NormStatistics;
use headstart::recipe::{Optimizer, Phase, Schedule};
use headstart::tasks::object_detection::DetectionRecipe;
use headstart::{Freeze, Recipe};

use crate::arguments::RecipeOptions;

/// Epochs of the head alone, and of everything.
const EPOCHS: (usize, usize) = (3, 60);
/// Highest rates of the two.
const RATES: (f64, f64) = (2e-3, 2e-3);
const BATCH: usize = 16;

/// Examples a step and highest rate of a RetinaNet, whose pictures are larger and whose backbone knows more.
const RETINANET: (usize, f64) = (8, 5e-4);

/// Whether the weights are of a backbone that will carry a RetinaNet, as far as their name tells.
fn is_retinanet(options: &RecipeOptions) -> bool {
    let Some(weights) = options.weights.as_deref() else { return true };
    let path = std::path::Path::new(weights.strip_prefix("random:").unwrap_or(weights));
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    weights == "embedded"
        || weights == "random"
        || ["pth", "pt", "safetensors", "h5", "keras", "json"].contains(&ending)
}

/// The recipe to begin with.
pub(super) fn preset(options: &RecipeOptions) -> Recipe {
    Recipe {
        batch: if is_retinanet(options) { RETINANET.0 } else { BATCH },
        optimizer: Optimizer::AdamW { weight_decay: 5e-4 },
        gradient_clip: Some(10.0),
        detection: Some(DetectionRecipe::default()),
        ..Recipe::default()
    }
}

/// Lays what was typed of boxes over a recipe.
pub(super) fn lay_over(recipe: &mut Recipe, options: &RecipeOptions) {
    let detection = recipe.detection.get_or_insert_default();
    let typed = &options.detection;
    detection.mosaic = typed.mosaic.unwrap_or(detection.mosaic);
    detection.augmentation.vertical_flip |= typed.vertical_flip;
    detection.fits_anchors |= typed.fit_anchors;
    detection.splits_by_scene |= typed.by_scene;
    detection.most_pictures = typed.most_pictures.or(detection.most_pictures);
}

/// The head on frozen features, then everything; what is untrained learns as a whole from the beginning.
pub(super) fn phases(options: &RecipeOptions, from_scratch: bool) -> Vec<Phase> {
    let (rates, norm) = match is_retinanet(options) && !from_scratch {
        true => ((RATES.0, RETINANET.1), NormStatistics::Fixed),
        false => (RATES, NormStatistics::Batch),
    };
    let typed = options.freeze.as_ref().map(|text| Freeze::from(text.clone()));
    let head = Phase { epochs: options.epochs.unwrap_or(EPOCHS.0), learning_rate: rates.0, ..Phase::default() };
    let open = Phase {
        freeze: typed.clone().unwrap_or(Freeze::Nothing),
        epochs: options.fine_tune.unwrap_or(EPOCHS.1),
        learning_rate: rates.1,
        schedule: Schedule::Cosine,
        norm,
        ..Phase::default()
    };
    match (from_scratch, options.epochs, options.fine_tune) {
        (true, epochs, _) => {
            vec![Phase { epochs: epochs.or(options.fine_tune).unwrap_or(EPOCHS.0 + EPOCHS.1), ..open }]
        }
        // A number of epochs alone asks for exactly that.
        (false, Some(epochs), None) => match typed {
            None | Some(Freeze::Backbone) => vec![head],
            Some(_) => vec![Phase { epochs, ..open }],
        },
        (false, ..) if typed == Some(Freeze::Backbone) => vec![Phase { epochs: open.epochs, ..head }],
        (false, ..) => vec![head, open],
    }
}
