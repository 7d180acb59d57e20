//! Ctrl-C and SIGTERM ask for a stop at the next safe point; a second one stops at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::terminal;

/// A flag that the first signal sets.
pub(crate) fn flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    let installed = ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        terminal::error_line("stopping at the next safe point; once more to stop at once");
    });
    if installed.is_err() {
        terminal::error_line("note: signals cannot be caught here; Ctrl-C will stop at once");
    }
    flag
}
