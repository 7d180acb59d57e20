//! TensorFlow.js: a folder with a layers model in `model.json`, shards of weights, and the labels in `metadata.json` as
//! Teachable Machine writes them.
//!
//! Source: `io/types.ts` of tfjs-core 4.22 and `models.ts` of tfjs-layers 4.22, which read the configuration of Keras 2.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::graph::Graph;
use super::keras_layers::{self, Layer, ReadLayer};
use super::{ExportFormat, Exported, Failure};

/// The registry row.
pub(super) const FORMAT: ExportFormat = ExportFormat {
    name: "tfjs",
    summary: "a folder for tf.loadLayersModel of TensorFlow.js, in browsers and Node",
    ending: "tfjs",
    is_folder: true,
    needs_ending: false,
    write,
    read,
};

/// The converter's size of a shard, which browsers cache well.
const SHARD: usize = 4 << 20;

/// Labels and sizes.
pub(super) const METADATA: &str = "metadata.json";

/// Whether a file of that name is part of an export, so that a folder of nothing else may be replaced.
pub(super) fn is_ours(name: &str) -> bool {
    let is_shard = name.starts_with("group1-shard") && name.ends_with(".bin");
    is_shard || [MODEL, METADATA, "README.txt"].contains(&name)
}

const MODEL: &str = "model.json";

fn write(exported: &Exported<'_>, folder: &Path) -> Result<(), Failure> {
    let layers = keras_layers::layers(&exported.graph)?;
    let variables = || layers.iter().flat_map(|layer| layer.variables.iter().map(move |variable| (layer, variable)));
    let weights: Vec<Value> = variables()
        .map(|(layer, (name, shape, _))| {
            json!({ "name": format!("{}/{name}", layer.name), "shape": shape, "dtype": "float32" })
        })
        .collect();
    let length: usize = variables().map(|(_, (.., values))| 4 * values.len()).sum();
    let count = length.div_ceil(SHARD);
    let shards: Vec<String> = (1..=count).map(|number| format!("group1-shard{number}of{count}.bin")).collect();

    let mut bytes = variables().flat_map(|(_, (.., values))| values.iter().flat_map(|value| value.to_le_bytes()));
    for shard in &shards {
        let mut file = BufWriter::new(File::create(folder.join(shard))?);
        let part: Vec<u8> = bytes.by_ref().take(SHARD).collect();
        file.write_all(&part)?;
        file.flush()?;
    }
    let ends = |layer: Option<&Layer<'_>>| json!([[layer.map_or("", |layer| layer.name.as_str()), 0, 0]]);
    let model = json!({
        "format": "layers-model",
        "generatedBy": exported.about.written_by,
        "convertedBy": null,
        "modelTopology": {
            "class_name": "Model",
            "config": {
                "name": "headstart",
                "layers": layers.iter().map(layer).collect::<Vec<_>>(),
                "input_layers": ends(layers.first()),
                "output_layers": ends(layers.last()),
            },
            "keras_version": "2.15.0",
            "backend": "tensorflow",
        },
        "weightsManifest": [{ "paths": shards, "weights": weights }],
    });
    let about = &exported.about;
    let metadata = json!({
        "packageName": "headstart",
        "modelName": exported.name,
        "labels": about.labels,
        "imageSize": about.input.width,
        "userMetadata": { "headstart": about },
    });
    let texts =
        [(MODEL, model.to_string()), (METADATA, metadata.to_string()), ("README.txt", about.readme(&usage(exported)))];
    for (name, text) in texts {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(())
}

fn usage(exported: &Exported<'_>) -> String {
    let (height, width) = (exported.about.input.height, exported.about.input.width);
    format!(
        "import * as tf from '@tensorflow/tfjs';\nconst model = await tf.loadLayersModel('model.json');\nconst photo = tf.browser.fromPixels(document.querySelector('img'));  // cut to the centre as said above\nconst x = tf.image.resizeBilinear(photo, [{height}, {width}]).expandDims();\nconsole.log(await model.predict(x).data());\n"
    )
}

/// A layer as Keras 2 writes it.
fn layer(layer: &Layer<'_>) -> Value {
    let mut config = layer.config.clone();
    config.insert("name".to_owned(), json!(layer.name));
    if let Some(shape) = config.remove("batch_shape") {
        config.insert("batch_input_shape".to_owned(), shape);
        config.insert("dtype".to_owned(), json!("float32"));
    } else {
        config.insert("trainable".to_owned(), json!(true));
    }
    // Drawing large kernels before they are read takes seconds in a browser.
    for (variable, ..) in layer.variables.iter().filter(|(name, ..)| *name != "bias") {
        config.insert(keras_layers::initializer(variable).to_owned(), json!({ "class_name": "Zeros", "config": {} }));
    }
    let tensors: Vec<Value> = layer.inputs.iter().map(|(name, _)| json!([name, 0, 0, {}])).collect();
    let inbound = if tensors.is_empty() { json!([]) } else { json!([tensors]) };
    json!({ "class_name": layer.class, "name": layer.name, "config": config, "inbound_nodes": inbound })
}

fn read(folder: &Path) -> Result<Graph, Failure> {
    let checkpoint = headstart_weights::open(folder)?;
    let model: Value = serde_json::from_slice(&std::fs::read(folder.join(MODEL))?)?;
    let layers = model.pointer("/modelTopology/config/layers").and_then(Value::as_array).ok_or("it has no layers")?;
    let layers: Option<Vec<ReadLayer<'_>>> = layers.iter().map(read_layer).collect();
    let layers = layers.ok_or("a layer is not described in full")?;
    Ok(keras_layers::graph(&layers, &super::find_array(checkpoint.as_ref()))?)
}

fn read_layer(layer: &Value) -> Option<ReadLayer<'_>> {
    let tensors = layer.pointer("/inbound_nodes/0").and_then(Value::as_array);
    let inputs = tensors.into_iter().flatten().map(|tensor| tensor.get(0)?.as_str());
    Some(ReadLayer {
        class: layer.get("class_name")?.as_str()?,
        name: layer.get("name")?.as_str()?,
        config: layer.get("config")?,
        inputs: inputs.collect::<Option<_>>()?,
    })
}
