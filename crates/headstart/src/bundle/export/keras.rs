//! Keras 3: `.keras`, a zip of `config.json`, `metadata.json` and `model.weights.h5`, with a page for the reader beside them.
//!
//! Source: `saving/saving_lib.py` and `models/functional.py` of Keras 3.15. Only layers of Keras itself are used, so
//! `keras.saving.load_model` needs no custom objects and no `safe_mode=False`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use headstart_weights::{Hdf5Array, write_hdf5};
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::graph::{Extent, Graph};
use super::keras_layers::{self, Layer, ReadLayer};
use super::{ExportFormat, Exported, Failure};

/// The registry row.
pub(super) const FORMAT: ExportFormat = ExportFormat {
    name: "keras",
    summary: "one .keras file for Keras 3 (TensorFlow, JAX, PyTorch)",
    ending: "keras",
    is_folder: false,
    needs_ending: true,
    write,
    read,
};

/// The version whose layout is written.
const KERAS: &str = "3.15.1";

/// Members larger than this need the wide form of a zip.
const WIDE_FROM: usize = 1 << 31;

fn write(exported: &Exported<'_>, path: &Path) -> Result<(), Failure> {
    let layers = keras_layers::layers(&exported.graph)?;
    let config: Vec<Value> = layers.iter().map(layer).collect();
    let ends = |layer: Option<&Layer<'_>>| json!([layer.map_or("", |layer| layer.name.as_str()), 0, 0]);
    let config = json!({
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": "headstart",
            "trainable": true,
            "layers": config,
            "input_layers": ends(layers.first()),
            "output_layers": ends(layers.last()),
        },
        "registered_name": "Functional",
        "build_config": { "input_shape": null },
        "compile_config": null,
    });
    let metadata = json!({ "keras_version": KERAS, "headstart": exported.about });
    let arrays = variables(&layers);
    let arrays: Vec<Hdf5Array<'_>> =
        arrays.iter().map(|(path, shape, values)| Hdf5Array { path, shape, values }).collect();
    let is_wide = arrays.iter().map(|array| 4 * array.values.len()).sum::<usize>() >= WIDE_FROM;

    let mut archive = ZipWriter::new(BufWriter::new(File::create(path)?));
    // Stored: numbers do not shrink. Without a date, so that the same bundle gives the same bytes.
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(is_wide);
    let texts = [
        ("metadata.json", metadata.to_string()),
        ("config.json", config.to_string()),
        ("README.txt", exported.about.readme(&usage(exported))),
    ];
    for (name, text) in texts {
        archive.start_file(name, stored)?;
        archive.write_all(text.as_bytes())?;
    }
    archive.start_file("model.weights.h5", stored)?;
    write_hdf5(&arrays, &mut archive)?;
    archive.finish()?.flush()?;
    Ok(())
}

fn usage(exported: &Exported<'_>) -> String {
    format!(
        "import keras, numpy as np\nfrom PIL import Image, ImageOps\nmodel = keras.saving.load_model(\"model.keras\")\n{}\nprint(model.predict(x)[0])\n",
        exported.about.python_input()
    )
}

/// A layer as `serialize_keras_object` writes it.
fn layer(layer: &Layer<'_>) -> Value {
    let mut config = layer.config.clone();
    config.insert("name".to_owned(), json!(layer.name));
    config.insert("dtype".to_owned(), json!("float32"));
    if layer.class != "InputLayer" {
        config.insert("trainable".to_owned(), json!(true));
    }
    // The weights are read right after the layer is made; drawing large ones first would only take time.
    let zeros = json!({ "module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": null });
    for (variable, ..) in layer.variables.iter().filter(|(name, ..)| *name != "bias") {
        config.insert(keras_layers::initializer(variable).to_owned(), zeros.clone());
    }
    let tensors: Vec<Value> = layer.inputs.iter().map(|(name, extent)| tensor(name, *extent)).collect();
    let inbound = match tensors.as_slice() {
        [] => json!([]),
        [tensor] if !keras_layers::takes_a_list(layer.class) => json!([{ "args": [tensor], "kwargs": {} }]),
        tensors => json!([{ "args": [tensors], "kwargs": {} }]),
    };
    json!({
        "module": "keras.layers",
        "class_name": layer.class,
        "config": config,
        "registered_name": null,
        "name": layer.name,
        "inbound_nodes": inbound,
    })
}

fn tensor(name: &str, extent: Extent) -> Value {
    let shape: Vec<Value> = std::iter::once(Value::Null).chain(extent.axes().into_iter().map(Value::from)).collect();
    json!({
        "class_name": "__keras_tensor__",
        "config": { "shape": shape, "dtype": "float32", "keras_history": [name, 0, 0] },
    })
}

/// The variables under the paths by which Keras looks for them.
fn variables<'a>(layers: &[Layer<'a>]) -> Vec<(String, Vec<usize>, &'a [f32])> {
    let mut used: BTreeMap<&str, usize> = BTreeMap::new();
    let mut variables = Vec::new();
    for layer in layers.iter().filter(|layer| !layer.variables.is_empty()) {
        let class = match layer.class {
            "Conv2D" => "conv2d",
            "DepthwiseConv2D" => "depthwise_conv2d",
            _ => "dense",
        };
        let number = used.entry(class).or_insert(0);
        let group = if *number == 0 { class.to_owned() } else { format!("{class}_{number}") };
        *number += 1;
        for (position, (_, shape, values)) in layer.variables.iter().enumerate() {
            variables.push((format!("layers/{group}/vars/{position}"), shape.clone(), *values));
        }
    }
    variables
}

fn read(path: &Path) -> Result<Graph, Failure> {
    let checkpoint = headstart_weights::open(path)?;
    let config = checkpoint.metadata().get("model_config").ok_or("it has no configuration of a readable length")?;
    let config: Value = serde_json::from_str(config)?;
    let layers = config.pointer("/config/layers").and_then(Value::as_array).ok_or("it has no layers")?;
    let layers: Option<Vec<ReadLayer<'_>>> = layers.iter().map(read_layer).collect();
    let layers = layers.ok_or("a layer is not described in full")?;
    let find = super::find_array(checkpoint.as_ref());
    // Keras 3 calls it as that of other convolutions, Keras 2 did not.
    Ok(keras_layers::graph(&layers, &|name| find(&name.replace("/depthwise_kernel", "/kernel")))?)
}

fn read_layer(layer: &Value) -> Option<ReadLayer<'_>> {
    let args = layer.pointer("/inbound_nodes/0/args/0");
    let tensors: Vec<&Value> = match args {
        Some(Value::Array(tensors)) => tensors.iter().collect(),
        Some(tensor) => vec![tensor],
        None => Vec::new(),
    };
    let inputs = tensors.into_iter().map(|tensor| tensor.pointer("/config/keras_history/0")?.as_str());
    Some(ReadLayer {
        class: layer.get("class_name")?.as_str()?,
        name: layer.get("name")?.as_str()?,
        config: layer.get("config")?,
        inputs: inputs.collect::<Option<_>>()?,
    })
}
