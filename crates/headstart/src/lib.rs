//! Transfer learning: a pretrained model and a little data in, one small trustworthy bundle out.
//!
//! The whole surface is five nouns: a [`Recipe`] is a run as data, a [`backbones`] entry is a pretrained network up to
//! where a head attaches, a head is what the task puts on it, a [`recipe::Phase`] says what is frozen for how long, and
//! a [`Bundle`] is the one-file result.

pub mod backbones;
pub mod bundle;
pub mod cache;
pub mod depth;
pub mod embedded;
mod error;
pub mod evaluation;
pub mod features;
mod hub;
pub mod labels;
pub mod load;
pub mod measure;
pub mod model;
pub mod name_map;
pub mod network;
pub mod nn;
mod opening;
pub mod parameters;
mod phase_runner;
pub mod pretrain;
mod publish;
pub mod random;
pub mod rate_finder;
pub mod recipe;
pub mod run;
mod run_folder;
mod sources;
pub mod tasks;
pub mod train;

pub use bundle::{Bundle, Prediction};
pub use error::{Error, Result};
pub use evaluation::{evaluate, evaluate_as};
pub use headstart_data as data;
pub use headstart_kernels as kernels;
pub use headstart_weights as weights;
pub use publish::publish as publish_file;
pub use recipe::{Freeze, HeadRecipe, Phase, Recipe};
pub use run::{Report, RunOptions, run};
pub use train::observer::{Control, Event, Observer, Silent};

/// The examples of the README are compiled, so that they stay true.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
