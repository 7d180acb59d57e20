//! `headstart cache`

use std::time::SystemTime;

use comfy_table::{CellAlignment, Table, presets};
use headstart::cache::CacheFolder;

use crate::arguments::{Cache, CacheAction};
use crate::report::Result;
use crate::{tables, terminal};

pub(crate) fn run(options: &Cache) -> Result {
    let cache = CacheFolder::from_environment();
    match options.action {
        CacheAction::Ls => {
            let sets = cache.sets()?;
            let mut table = Table::new();
            table.load_preset(presets::NOTHING).set_header(["feature set", "shards", "size", "last used"]);
            for set in &sets {
                let age = SystemTime::now().duration_since(set.used).unwrap_or_default().as_secs();
                table.add_row([set.key.clone(), set.shards.to_string(), tables::bytes(set.bytes), ago(age)]);
            }
            for column in table.column_iter_mut().skip(1) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            let total: u64 = sets.iter().map(|set| set.bytes).sum();
            if !sets.is_empty() {
                terminal::line(&table.to_string());
            }
            terminal::line(&format!(
                "{} sets, {} of at most {} in {}",
                sets.len(),
                tables::bytes(total),
                tables::bytes(cache.limit),
                cache.path.display()
            ));
        }
        CacheAction::Clear => {
            let freed = cache.clear()?;
            terminal::line(&format!("freed {} in {}", tables::bytes(freed), cache.path.display()));
        }
    }
    Ok(())
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..86_400 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}
