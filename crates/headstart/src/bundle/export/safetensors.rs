//! safetensors: the backbone under the names of the family that its weights came from, so that the libraries that published
//! it load it again, and `--weights` does too; the head beside it.
//!
//! Source: the format as the `safetensors` 0.7 README specifies it. The header is written here rather than by that crate,
//! which keeps metadata in a hash map: the bytes must not depend on chance.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::build::{Source, build};
use super::graph::Graph;
use super::{ExportFormat, Exported, Failure};
use crate::load::{self, PREPROCESSES};
use crate::name_map::{Layout, NameMap};
use crate::nn::Padding;
use crate::parameters::{Parameter, Parameters, little_endian};
use crate::recipe::{HeadRecipe, Output};

/// The registry row.
pub(super) const FORMAT: ExportFormat = ExportFormat {
    name: "safetensors",
    summary: "one file of weights under their published names, for torchvision, timm, or --weights",
    ending: "safetensors",
    is_folder: false,
    needs_ending: false,
    write,
    read,
};

/// Keys of the metadata that are read again.
const HEAD: &str = "head";
const OUTPUT: &str = "output";

fn write(exported: &Exported<'_>, path: &Path) -> Result<(), Failure> {
    let source = &exported.source;
    let family = family(source).ok_or("no published family has this variant of the backbone")?;
    let mut arrays = backbone(source, family)?;
    arrays.extend(head(source.head, family));
    let metadata = metadata(exported, family)?;
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!(metadata));
    let mut end = 0;
    for (name, array) in arrays.iter() {
        let start = end;
        end += 4 * array.values.len();
        header.insert(name.clone(), json!({ "dtype": "F32", "shape": array.shape, "data_offsets": [start, end] }));
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for (_, array) in arrays.iter() {
        file.write_all(&little_endian(&array.values))?;
    }
    Ok(file.flush()?)
}

/// The family of the weights, else the first that has the variant.
fn family(source: &Source<'_>) -> Option<&'static NameMap> {
    let mut published = source.spec.families.iter().filter(|family| !(family.entries)(source.variant).is_empty());
    let first = published.clone().next();
    published.find(|family| family.family == source.conventions.family).or(first)
}

/// The backbone under the family's names.
fn backbone(source: &Source<'_>, family: &NameMap) -> Result<Parameters, Failure> {
    let mut ours = source.backbone.clone();
    let entries = (family.entries)(source.variant);
    for entry in &entries {
        if let (Layout::Constant(1.0), Some(prefix)) = (&entry.layout, entry.ours.strip_suffix(".norm.gamma")) {
            absorb_scale(&mut ours, prefix)?;
        }
    }
    let mut theirs = Parameters::default();
    for entry in entries {
        let parameter = ours.find(&entry.ours)?;
        for (name, array) in entry.layout.write(&entry.theirs, parameter) {
            theirs.insert(name, array);
        }
    }
    Ok(theirs)
}

/// Moves the scale of a normalization into its convolution, for a family whose normalizations have none:
/// γ (w∗x − μ) / σ + β is (γw∗x − γμ) / σ + β.
fn absorb_scale(parameters: &mut Parameters, prefix: &str) -> Result<(), Failure> {
    let scales = parameters.find(&format!("{prefix}.norm.gamma"))?.values.clone();
    for name in [format!("{prefix}.weight"), format!("{prefix}.norm.mean")] {
        let mut array = parameters.find(&name)?.clone();
        let each = (array.values.len() / scales.len().max(1)).max(1);
        for (values, scale) in array.values.chunks_mut(each).zip(&scales) {
            values.iter_mut().for_each(|value| *value *= scale);
        }
        parameters.insert(name, array);
    }
    let ones = Parameter { shape: vec![scales.len()], values: vec![1.0; scales.len()] };
    parameters.insert(format!("{prefix}.norm.gamma"), ones);
    Ok(())
}

/// Names that have slashes belong to TensorFlow, whose matrices are `[in, out]` as ours; PyTorch's are `[out, in]`.
fn is_tensorflow(family: &NameMap) -> bool {
    family.family == "keras" || family.family == "slim"
}

/// `hidden.0.weight` → `head.hidden.0.weight` or `head_hidden_0/kernel`.
fn head_name(ours: &str, family: &NameMap) -> String {
    match ours.rsplit_once('.') {
        Some((layer, kind)) if is_tensorflow(family) => {
            format!("head_{}/{}", layer.replace('.', "_"), if kind == "weight" { "kernel" } else { kind })
        }
        _ => format!("head.{ours}"),
    }
}

fn head(head: &Parameters, family: &NameMap) -> Parameters {
    let turned = |parameter: &Parameter| match parameter.shape[..] {
        [rows, columns] if !is_tensorflow(family) => transposed(parameter, rows, columns),
        _ => parameter.clone(),
    };
    head.iter().map(|(name, parameter)| (head_name(name, family), turned(parameter))).collect()
}

fn transposed(parameter: &Parameter, rows: usize, columns: usize) -> Parameter {
    let values = (0..columns).flat_map(|column| (0..rows).map(move |row| parameter.values[row * columns + column]));
    Parameter { shape: vec![columns, rows], values: values.collect() }
}

fn metadata(exported: &Exported<'_>, family: &NameMap) -> Result<BTreeMap<&'static str, String>, Failure> {
    let (about, conventions) = (&exported.about, exported.source.conventions);
    let preprocess = &conventions.preprocess;
    let named = PREPROCESSES.iter().find(|(_, make)| make(preprocess.height) == *preprocess);
    let (preprocess, _) = named.ok_or("its preprocessing is none that a weight file can name")?;
    let padding = match conventions.padding {
        Padding::Symmetric => "symmetric",
        Padding::Tensorflow => "tensorflow",
        Padding::BottomRight => "bottom_right",
    };
    let output = match exported.source.recipe.output {
        Output::Softmax => "softmax",
        Output::Sigmoid | Output::Sigmoids => "sigmoid",
    };
    let mut metadata = BTreeMap::from([
        ("format", if is_tensorflow(family) { "tf" } else { "pt" }.to_owned()),
        ("task", about.task.clone()),
        ("labels", serde_json::to_string(&about.labels)?),
        ("input_size", about.input.height.to_string()),
        ("preprocess", (*preprocess).to_owned()),
        ("padding", padding.to_owned()),
        ("batch_norm_epsilon", conventions.batch_norm_epsilon.to_string()),
        (HEAD, exported.source.recipe.to_string()),
        (OUTPUT, output.to_owned()),
        ("usage", usage(exported, family)),
        ("about", about.json()),
    ]);
    if let Some(licence) = &about.licence {
        metadata.insert("license", licence.clone());
    }
    Ok(metadata)
}

fn usage(exported: &Exported<'_>, family: &NameMap) -> String {
    let (name, layout) = match is_tensorflow(family) {
        true => ("head_output/kernel", "[in, out]"),
        false => ("head.output.weight", "[out, in]"),
    };
    format!(
        "The backbone has the names of {}. The head takes its features, averaged over positions or flattened rows first, channels innermost, through head.hidden.* with ReLU to `{name}`, {layout}. `headstart train DATA --weights FILE` starts from it.\nfrom safetensors.torch import load_file\narrays = load_file(\"model.safetensors\")\nmodel.load_state_dict(arrays, strict=False)  # a model of that library without its classifier\nx = ...  # {}\n",
        family.origin, exported.about.input.resize,
    )
}

fn read(path: &Path) -> Result<Graph, Failure> {
    let pretrained = load::load(path, None)?;
    let checkpoint = headstart_weights::open(path)?;
    let said = |key: &str| checkpoint.metadata().get(key).map(String::as_str).unwrap_or_default();
    let mut recipe: HeadRecipe = said(HEAD).parse()?;
    recipe.output = match said(OUTPUT) {
        "softmax" => Output::Softmax,
        "sigmoid" => Output::Sigmoid,
        other => return Err(format!("its output is `{other}`").into()),
    };
    let is_tensorflow = said("format") == "tf";
    let mut head = Parameters::default();
    let layers = (0..recipe.hidden.len()).map(|index| format!("hidden.{index}")).chain(["output".to_owned()]);
    for layer in layers {
        for kind in ["weight", "bias"] {
            let ours = format!("{layer}.{kind}");
            let theirs = match (is_tensorflow, kind) {
                (false, _) => format!("head.{ours}"),
                (true, "weight") => format!("head_{}/kernel", layer.replace('.', "_")),
                (true, _) => format!("head_{}/bias", layer.replace('.', "_")),
            };
            let array = checkpoint.read(&theirs)?;
            let parameter = Parameter { shape: array.info.shape.clone(), values: array.to_f32()? };
            let parameter = match parameter.shape[..] {
                [rows, columns] if !is_tensorflow => transposed(&parameter, rows, columns),
                _ => parameter,
            };
            head.insert(ours, parameter);
        }
    }
    Ok(build(Source {
        spec: pretrained.spec,
        variant: pretrained.variant,
        conventions: &pretrained.conventions,
        recipe: &recipe,
        backbone: &pretrained.parameters,
        head: &head,
    })?)
}
