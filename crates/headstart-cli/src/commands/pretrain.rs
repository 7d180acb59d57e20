//! `headstart pretrain`

use std::path::{Path, PathBuf};

use headstart::pretrain::{Objective, PretrainEpoch, PretrainOptions, PretrainRecipe, PretrainReport, Size, pretrain};

use super::{threads, train};
use crate::arguments::{Pretrain, PretrainTask};
use crate::progress::Display;
use crate::report::Result;
use crate::{interrupt, tables};

/// Rate of a network that knows a language already: a tenth of a new one's keeps what it knows.
const GO_ON_RATE: f64 = 1e-4;

pub(crate) fn run(options: &Pretrain) -> Result {
    let recipe = recipe(options);
    let pretrain_options = PretrainOptions {
        out: options.folder.clone().unwrap_or_else(|| default_folder(&recipe)),
        threads: threads(options.threads),
        resume: options.resume,
        stop: interrupt::flag(),
    };
    pretrain(&recipe, &pretrain_options, &mut Display::new(train::style(options.output)))?;
    Ok(())
}

/// What the options mean.
fn recipe(options: &Pretrain) -> PretrainRecipe {
    let otherwise = PretrainRecipe::default();
    PretrainRecipe {
        objective: match options.task {
            PretrainTask::MaskedLm => Objective::MaskedLm,
            PretrainTask::CausalLm => Objective::CausalLm,
        },
        corpus: options.corpus.clone(),
        text_column: options.text_column.clone(),
        weights: options.weights.clone(),
        size: Size {
            width: options.width.unwrap_or(otherwise.size.width),
            layers: options.layers.unwrap_or(otherwise.size.layers),
            heads: options.heads.unwrap_or(otherwise.size.heads),
            hidden: options.hidden,
            vocabulary: options.vocabulary,
            cased: options.cased,
        },
        max_tokens: options.max_tokens,
        batch: options.batch.unwrap_or_else(|| otherwise.batch.max(options.max_tokens.unwrap_or(0))),
        epochs: options.epochs.unwrap_or(otherwise.epochs),
        steps: options.steps,
        learning_rate: options.lr.unwrap_or(match options.weights {
            Some(_) => GO_ON_RATE,
            None => otherwise.learning_rate,
        }),
        weight_decay: options.weight_decay.unwrap_or(otherwise.weight_decay),
        dropout: options.dropout,
        held_out: options.held_out.unwrap_or(otherwise.held_out),
        seed: options.seed.unwrap_or(otherwise.seed),
        half_precision: options.f16,
    }
}

/// `mails/` → `mails-bert` in the current folder.
fn default_folder(recipe: &PretrainRecipe) -> PathBuf {
    let first = recipe.corpus.first().map_or(Path::new("model"), PathBuf::as_path);
    let named = first.canonicalize().unwrap_or_else(|_| first.to_owned());
    let stem = if named.is_dir() { named.file_name() } else { named.file_stem() };
    let mut name = stem.unwrap_or("model".as_ref()).to_owned();
    name.push(match recipe.objective {
        Objective::MaskedLm => "-bert",
        Objective::CausalLm => "-gpt2",
    });
    name.into()
}

/// One round as a line.
pub(crate) fn epoch_line(epoch: &PretrainEpoch) -> String {
    let width = epoch.epochs.to_string().len();
    let held_out = match (epoch.held_out_loss, epoch.held_out_perplexity) {
        (Some(loss), Some(perplexity)) => format!("   held out {loss:.4}  perplexity {perplexity:.1}"),
        _ => String::new(),
    };
    format!("epoch    {:>width$}/{}   loss {:.4}{held_out}", epoch.epoch, epoch.epochs, epoch.loss)
}

/// The final report.
pub(crate) fn report(report: &PretrainReport) -> String {
    let mut text = String::from("\n");
    if let (Some(before), Some(after)) = (report.before, report.after) {
        text.push_str(&format!(
            "held out {} texts: loss {before:.4} before, {after:.4} after · perplexity {:.1} → {:.1}\n",
            tables::count(report.held_out),
            before.exp(),
            after.exp()
        ));
    }
    text.push_str(&format!(
        "time     {:.1} s · {} steps\nmodel    {} · {} values · {}\ntry      headstart train DATA --weights {}",
        report.seconds,
        tables::count(report.steps),
        report.backbone,
        tables::count(report.parameters),
        report.folder.display(),
        report.folder.display()
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_named_after_its_texts_and_its_architecture() {
        let named = |path: &str, objective| {
            default_folder(&PretrainRecipe { corpus: vec![path.into()], objective, ..PretrainRecipe::default() })
        };
        assert_eq!(named("some/where/mails.txt", Objective::MaskedLm), PathBuf::from("mails-bert"));
        assert_eq!(named("köche 👩‍🍳.csv", Objective::CausalLm), PathBuf::from("köche 👩‍🍳-gpt2"));
        let folder = tempfile::tempdir().unwrap();
        let dotted = folder.path().join("mails.2024");
        std::fs::create_dir(&dotted).unwrap();
        assert_eq!(named(dotted.to_str().unwrap(), Objective::MaskedLm), PathBuf::from("mails.2024-bert"));
    }
}
