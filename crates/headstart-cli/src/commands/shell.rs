//! `headstart completions` and `headstart man`, from the same definitions as the program itself.

use clap::CommandFactory;

use crate::arguments::{Arguments, Completions};
use crate::report::Result;
use crate::terminal;

pub(crate) fn completions(options: &Completions) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "headstart", &mut script);
    terminal::line(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}

/// One page for the program and a section for each command.
pub(crate) fn man() -> Result {
    let mut page = Vec::new();
    let mut command = Arguments::command();
    command.build();
    let failed = |source| headstart::Error::Io { action: "render", path: "headstart.1".into(), source };
    clap_mangen::Man::new(command.clone()).render(&mut page).map_err(failed)?;
    for part in command.get_subcommands().filter(|part| part.get_name() != "help") {
        let man = clap_mangen::Man::new(part.clone());
        page.extend(format!(".SH \"{}\"\n", part.get_name().to_uppercase()).bytes());
        man.render_description_section(&mut page).map_err(failed)?;
        man.render_synopsis_section(&mut page).map_err(failed)?;
        man.render_options_section(&mut page).map_err(failed)?;
    }
    terminal::line(String::from_utf8_lossy(&page).trim_end());
    Ok(())
}
