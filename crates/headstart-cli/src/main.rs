//! The command line of Headstart. It never holds a tensor: it speaks recipes, events, reports and predictions.

mod annotate;
mod arguments;
mod choice_table;
mod commands;
mod curve;
mod detection_arguments;
mod interrupt;
mod marked_text;
mod plot;
mod progress;
mod report;
mod tables;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};

fn main() -> ExitCode {
    report::install();
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Train(options) => commands::train::run(&options),
        Command::Pretrain(options) => commands::pretrain::run(&options),
        Command::Predict(options) => commands::predict::run(&options),
        Command::Evaluate(options) => commands::evaluate::run(&options),
        Command::ConvertData(options) => commands::convert_data::run(&options),
        Command::Export(options) => commands::export::run(&options),
        Command::Extract(options) => commands::extract::run(&options),
        Command::LrFind(options) => commands::lr_find::run(&options),
        Command::Inspect(options) => commands::inspect::run(&options),
        Command::List(options) => commands::list::run(&options),
        Command::Cache(options) => commands::cache::run(&options),
        Command::Demo(options) => commands::demo::run(&options),
        Command::Completions(options) => commands::shell::completions(&options),
        Command::Man => commands::shell::man(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report::show(failure),
    }
}
