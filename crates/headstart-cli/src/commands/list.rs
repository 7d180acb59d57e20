//! `headstart list`

use comfy_table::{Table, presets};
use headstart::backbones::published::Published;
use headstart::backbones::{BACKBONES, SPEECH, TRANSFORMERS, darknet, retinanet};
use headstart::bundle::export::EXPORTS;
use headstart::data::layouts::LAYOUTS;
use headstart::tasks::TASKS;
use headstart::weights::FORMATS;

use crate::arguments::{List, Listed};
use crate::report::Result;
use crate::{tables, terminal};

/// Networks that find objects: name, what decides their size, names of their arrays, paper.
const DETECTORS: [(&str, &str, &str, &str); 2] = [
    (
        darknet::NAME,
        "of the .cfg",
        "darknet",
        "Redmon and Farhadi 2018, arXiv:1804.02767; Bochkovskiy et al. 2020, arXiv:2004.10934",
    ),
    (retinanet::NAME, "of its backbone", "torchvision", "Lin et al. 2017, arXiv:1708.02002"),
];

pub(crate) fn run(options: &List) -> Result {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    match options.what {
        Listed::Backbones if options.stages => {
            table.set_header(["backbone", "stage", ""]);
            for spec in BACKBONES {
                for stage in spec.stages {
                    table.add_row([spec.name, stage.name, stage.summary]);
                }
            }
            for spec in TRANSFORMERS {
                table.add_row([spec.name, "embeddings", "the tables of words, positions and kinds"]);
                table.add_row([
                    spec.name,
                    "layer0, layer1, …",
                    "attention and two dense layers, as many as config.json says",
                ]);
            }
            for spec in SPEECH {
                for (stage, summary) in spec.stages {
                    table.add_row([spec.name, stage, summary]);
                }
            }
        }
        Listed::Backbones => {
            table.set_header([
                "backbone",
                "variant",
                "values",
                "input",
                "families",
                "default repository",
                "licence",
                "paper",
            ]);
            for spec in BACKBONES {
                let families: Vec<&str> = spec.families.iter().map(|family| family.family).collect();
                for variant in spec.variants {
                    let values: usize =
                        (spec.parameters)(variant).iter().map(|spec| spec.shape.iter().product::<usize>()).sum();
                    let published = Published::find(spec, Some(variant));
                    table.add_row([
                        spec.name.to_owned(),
                        variant.name.to_owned(),
                        tables::count(values),
                        format!("{} px", spec.input_size),
                        families.join(", "),
                        published.map_or_else(String::new, |row| row.repository.to_owned()),
                        published.map_or_else(String::new, |row| row.licence.to_owned()),
                        spec.paper.to_owned(),
                    ]);
                }
            }
            for spec in TRANSFORMERS {
                let families: Vec<&str> = spec.families.iter().map(|family| family.family).collect();
                table.add_row([
                    spec.name.to_owned(),
                    "of config.json".to_owned(),
                    String::new(),
                    "texts".to_owned(),
                    families.join(", "),
                    String::new(),
                    spec.licence.to_owned(),
                    spec.paper.to_owned(),
                ]);
            }
            for spec in SPEECH {
                let families: Vec<&str> = spec.families.iter().map(|family| family.family).collect();
                table.add_row([
                    spec.name.to_owned(),
                    "units of its layers".to_owned(),
                    String::new(),
                    "recordings".to_owned(),
                    families.join(", "),
                    String::new(),
                    spec.licence.to_owned(),
                    spec.paper.to_owned(),
                ]);
            }
            for (name, variant, families, paper) in DETECTORS {
                table.add_row([name, variant, "", "pictures with boxes", families, "", "", paper]);
            }
        }
        Listed::Tasks => {
            table.set_header(["task", ""]);
            for task in TASKS {
                table.add_row([task.name, task.summary]);
            }
        }
        Listed::Formats => {
            table.set_header(["format", "extensions"]);
            for format in FORMATS {
                table.add_row([format.name.to_owned(), format.extensions.join(", ")]);
            }
        }
        Listed::Layouts => {
            table.set_header(["layout", ""]);
            for layout in LAYOUTS {
                table.add_row([layout.name, layout.describes]);
            }
        }
        Listed::Exports => {
            table.set_header(["format", "ending", ""]);
            for format in EXPORTS {
                table.add_row([format.name, format.ending, format.summary]);
            }
        }
    }
    terminal::line(&table.to_string());
    Ok(())
}
