//! `headstart export`

use std::path::{Path, PathBuf};

use headstart::bundle::export::{self, ExportFormat};

use super::predict;
use crate::arguments::Export;
use crate::report::Result;
use crate::{tables, terminal};

pub(crate) fn run(options: &Export) -> Result {
    let format = export::find(&options.format)?;
    let bundle = predict::open(&options.bundle, None, options.no_self_test)?;
    let path = options.out.clone().unwrap_or_else(|| default_path(&options.bundle, format));
    let report = bundle.export(format, &path)?;
    if options.json {
        terminal::line(&serde_json::json!({ "event": "export", "export": report }).to_string());
        return Ok(());
    }
    terminal::line(&format!(
        "{}  {} · {} · read again, {} pictures agree with the bundle within {:.0e}",
        report.path.display(),
        report.format,
        tables::bytes(report.bytes),
        report.pictures,
        report.largest_difference.max(f32::EPSILON),
    ));
    Ok(())
}

/// `some/photos.headstart` → `photos.onnx` in the current folder.
fn default_path(bundle: &Path, format: &ExportFormat) -> PathBuf {
    let mut name = bundle.file_stem().unwrap_or("model".as_ref()).to_owned();
    name.push(".");
    name.push(format.ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_is_named_after_its_bundle() {
        let format = export::find("tfjs").unwrap();
        assert_eq!(default_path(Path::new("some/where/köche 👩‍🍳.headstart"), format), PathBuf::from("köche 👩‍🍳.tfjs"));
    }
}
