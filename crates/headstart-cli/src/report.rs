//! Errors as a person reads them: what happened to which file, and what to do next.

use std::process::ExitCode;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};

use crate::terminal;

/// Exit status of a run that was stopped by Ctrl-C or SIGTERM, as shells expect it.
const INTERRUPTED: u8 = 130;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library refused.
    Library(headstart::Error),
    /// Told in full already; only the exit status is left.
    Told(u8),
}

impl From<headstart::Error> for Failure {
    fn from(error: headstart::Error) -> Self {
        Self::Library(error)
    }
}

/// Result of a command.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

/// Turns a panic into a short request for a report instead of a backtrace.
pub(crate) fn install() {
    std::panic::set_hook(Box::new(|panic| {
        terminal::error_line(&format!(
            "headstart stopped on an error of its own, not of yours: {panic}\nPlease report it together with the command."
        ));
    }));
}

/// Prints an error and gives the exit status.
pub(crate) fn show(failure: Failure) -> ExitCode {
    let error = match failure {
        Failure::Told(status) => return ExitCode::from(status),
        Failure::Library(error) => error,
    };
    let status = match error {
        headstart::Error::Interrupted { .. } => INTERRUPTED,
        _ => 1,
    };
    let theme = if terminal::has_colors() { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let mut text = String::new();
    let handler = GraphicalReportHandler::new_themed(theme).with_width(terminal::width()).with_links(false);
    if handler.render_report(&mut text, &Shown(error)).is_err() {
        text = "the error could not be rendered".to_owned();
    }
    terminal::error_line(text.trim_end());
    ExitCode::from(status)
}

/// A library error with its help, as miette wants it.
#[derive(Debug)]
struct Shown(headstart::Error);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shown {}

impl Diagnostic for Shown {
    fn help(&self) -> Option<Box<dyn std::fmt::Display + '_>> {
        self.0.help().map(|help| Box::new(help) as Box<dyn std::fmt::Display>)
    }
}
