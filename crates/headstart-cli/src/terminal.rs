//! Standard output and error, without a panic when a reader like `head` has gone.

use std::io::{IsTerminal, Write};

/// Writes a line to standard output; ends the program quietly when nobody reads it any more.
pub(crate) fn line(text: &str) {
    let mut output = std::io::stdout().lock();
    if writeln!(output, "{text}").and_then(|()| output.flush()).is_err() {
        std::process::exit(0);
    }
}

/// Writes a line to standard error.
pub(crate) fn error_line(text: &str) {
    // If standard error is gone there is nobody left to tell.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether progress can be drawn over itself.
pub(crate) fn is_interactive() -> bool {
    std::io::stderr().is_terminal()
}

/// Whether standard error takes colours: a terminal, and `NO_COLOR` not set.
pub(crate) fn has_colors() -> bool {
    is_interactive() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether standard output takes colours.
pub(crate) fn output_has_colors() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Width of error reports in columns.
pub(crate) fn width() -> usize {
    std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(100).clamp(40, 200)
}

/// Whether the locale says that characters beyond ASCII can be shown.
pub(crate) fn writes_unicode() -> bool {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    // The first that is set decides, as POSIX has it; none set is the C locale, except where locales are not told this way.
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG"));
    locale.map_or(cfg!(windows), |locale| locale.to_lowercase().replace('-', "").contains("utf8"))
}
