//! One file a command.

pub(crate) mod cache;
pub(crate) mod convert_data;
pub(crate) mod demo;
pub(crate) mod detect;
mod detection_recipe;
pub(crate) mod evaluate;
pub(crate) mod export;
pub(crate) mod extract;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod lr_find;
pub(crate) mod predict;
pub(crate) mod pretrain;
pub(crate) mod recipe;
pub(crate) mod shell;
pub(crate) mod train;
pub(crate) mod transcribe;

/// Worker threads: as asked, else all cores.
fn threads(asked: Option<usize>) -> usize {
    asked.filter(|&threads| threads > 0).unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}
