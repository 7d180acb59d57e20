//! `headstart convert-data`

use headstart::Error;
use headstart::data::layouts::{self, coco, voc, yolo};
use headstart::data::text::Outcome;
use serde_json::json;

use crate::detection_arguments::{BoxLayout, ConvertData};
use crate::report::Result;
use crate::terminal;

pub(crate) fn run(options: &ConvertData) -> Result {
    let set = layouts::open_boxes(&options.data).map_err(Error::from)?;
    let write = match options.to {
        BoxLayout::Coco => coco::write,
        BoxLayout::Voc => voc::write,
        BoxLayout::Yolo => yolo::write,
    };
    let written = write(&set, &options.out).map_err(Error::from)?;
    let skipped = set.problems.iter().filter(|problem| problem.outcome == Outcome::Skipped).count();
    if options.json {
        let problems: Vec<String> = set.problems.iter().map(ToString::to_string).collect();
        let line = json!({ "from": set.layout, "out": options.out.to_string_lossy(), "pictures": written.pictures,
            "boxes": written.boxes, "classes": set.classes, "notes": written.notes, "problems": problems });
        terminal::line(&line.to_string());
        return Ok(());
    }
    set.problems.iter().take(20).for_each(|problem| terminal::error_line(&format!("problem  {problem}")));
    set.notes.iter().chain(&written.notes).for_each(|note| terminal::error_line(&format!("note     {note}")));
    let left_out = if skipped > 0 { format!(", {skipped} problems left out") } else { String::new() };
    let (from, classes) = (set.layout, set.classes.len());
    terminal::line(&format!(
        "{}: {} pictures with {} boxes of {classes} classes, from {from}{left_out}",
        options.out.display(),
        written.pictures,
        written.boxes
    ));
    Ok(())
}
