//! Every backbone, family, head and format: written, read again, compared.

use headstart_data::preprocess::Preprocess;

use super::*;
use crate::backbones::{BACKBONES, BackboneSpec, Conventions, Variant};
use crate::bundle::Manifest;
use crate::bundle::manifest::{BundledBackbone, Examples, FORMAT, Scores};
use crate::features::FeatureLayout;
use crate::model::FrozenBackbone;
use crate::name_map::NameMap;
use crate::parameters::Parameters;
use crate::random::Stream;
use crate::recipe::{HeadRecipe, Recipe};
use crate::tasks::image_classification::ClassificationHead;

/// A bundle's contents with weights that nothing hides behind: statistics and scales are all different.
struct Example {
    manifest: Manifest,
    spec: &'static BackboneSpec,
    variant: &'static Variant,
    backbone: Parameters,
    head: Parameters,
}

impl Example {
    fn new(
        spec: &'static BackboneSpec,
        variant: &'static Variant,
        family: &NameMap,
        head: &str,
        output: Output,
    ) -> Self {
        let size = spec.smallest_input.max(48);
        let conventions = Conventions {
            family: family.family.to_owned(),
            padding: family.padding,
            batch_norm_epsilon: family.batch_norm_epsilon,
            preprocess: (family.preprocess)(size),
        };
        let mut backbone = Parameters::initialize(&(spec.parameters)(variant), 7);
        let names: Vec<String> = backbone.iter().map(|(name, _)| name.clone()).collect();
        for name in names {
            let mut array = backbone.find(&name).unwrap().clone();
            let mut stream = Stream::new(3, &name, &[]);
            for value in &mut array.values {
                match name.rsplit('.').next().unwrap() {
                    "gamma" | "variance" => *value = stream.uniform(0.6, 1.4),
                    "beta" | "mean" | "bias" => *value = stream.uniform(-0.3, 0.3),
                    _ => {}
                }
            }
            backbone.insert(name, array);
        }
        let recipe = HeadRecipe { output, ..head.parse().unwrap() };
        let labels = labels(if output == Output::Sigmoid { 2 } else { 3 });
        let frozen = crate::load::Pretrained {
            conventions: conventions.clone(),
            ..crate::load::Pretrained::random(spec, variant, 0)
        };
        let frozen = FrozenBackbone::new(&frozen, &backbone).unwrap();
        let FeatureLayout::Vector { width } = frozen.layout(frozen.stage_count(), recipe.pool) else {
            panic!("a vector")
        };
        let specs = ClassificationHead::parameters(&recipe, FeatureLayout::Vector { width }, labels.len());
        let manifest = Manifest {
            format: FORMAT,
            written_by: "headstart test".to_owned(),
            task: "image_classification".to_owned(),
            labels,
            backbone: BundledBackbone {
                detector: None,
                name: spec.name.to_owned(),
                variant: variant.name.to_owned(),
                conventions: Some(conventions),
                text: None,
                speech: None,
                source: "random".to_owned(),
                pretrained_digest: String::new(),
                licence: Some("MIT".to_owned()),
                classifier: None,
            },
            recipe: Recipe { head: recipe, ..Recipe::default() },
            choice: None,
            data_digest: String::new(),
            examples: Examples { train: 0, validation: 0, test: 0, skipped: 0 },
            scores: Scores { validation: None, test: None },
            history: Vec::new(),
        };
        let mut example = Self { manifest, spec, variant, backbone, head: Parameters::initialize(&specs, 5) };
        example.temper();
        example
    }

    /// Scales the last layer so that probabilities lie where a difference shows.
    fn temper(&mut self) {
        let outputs = self.predictor().outputs(&self_test::pictures(), 1).unwrap();
        let largest = outputs.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        let mut weight = self.head.find("output.weight").unwrap().clone();
        weight.values.iter_mut().for_each(|value| *value /= largest);
        self.head.insert("output.weight", weight);
    }

    fn predictor(&self) -> Predictor {
        Predictor::new(&self.manifest, &self.backbone, &self.head, None).unwrap()
    }

    fn exported(&self) -> Exported<'_> {
        let source = Source {
            spec: self.spec,
            variant: self.variant,
            conventions: self.manifest.backbone.conventions.as_ref().unwrap(),
            recipe: &self.manifest.recipe.head,
            backbone: &self.backbone,
            head: &self.head,
        };
        let about = About::of(&self.manifest, &self.manifest.backbone.conventions.as_ref().unwrap().preprocess);
        Exported { name: "test".to_owned(), graph: build::build(source).unwrap(), about, source }
    }

    fn write(&self, format: &ExportFormat, path: &Path) -> Result<ExportReport> {
        export(&self.exported(), &self.predictor(), format, path)
    }
}

fn labels(count: usize) -> Vec<String> {
    ["Ameise 🐜", "bee", "\"moth\""].into_iter().take(count).map(str::to_owned).collect()
}

fn one() -> Example {
    let spec = backbones::find("resnet").unwrap().0;
    Example::new(spec, spec.find_variant("tiny").unwrap(), &spec.families[0], "mlp:8", Output::Softmax)
}

#[test]
fn every_backbone_head_and_padding_is_written_in_every_format_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    for spec in BACKBONES {
        for variant in spec.variants.iter().filter(|variant| variant.name.starts_with("tiny")) {
            let published = spec.families.iter().filter(|family| !(family.entries)(variant).is_empty());
            for (index, family) in published.enumerate() {
                let heads = [("linear", Output::Softmax), ("flatten+mlp:8,4", Output::Sigmoid)];
                let heads = if index == 0 { &heads[..] } else { &heads[..1] };
                for (head, output) in heads {
                    let example = Example::new(spec, variant, family, head, *output);
                    for format in EXPORTS {
                        let name = format!("{}:{} {} {head} {}", spec.name, variant.name, family.family, format.name);
                        let path = folder.path().join("out").with_extension(format.ending);
                        let report = example.write(format, &path).unwrap_or_else(|error| panic!("{name}: {error}"));
                        assert!(report.largest_difference <= 2e-5, "{name}: {}", report.largest_difference);
                        assert!(report.bytes > 4 * example.backbone.value_count() as u64 / 2, "{name}");
                    }
                }
            }
        }
    }
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, EXPORTS.len(), "temporaries are left behind");
}

#[test]
fn an_export_that_computes_something_else_is_not_published() {
    fn write(exported: &Exported<'_>, path: &Path) -> Result<(), Failure> {
        let mut graph = exported.graph.clone();
        for node in &mut graph.nodes {
            if let graph::Op::Conv(conv) = &mut node.op
                && node.name == "layer2_0_conv1"
            {
                conv.bias[0] += 1.0;
            }
        }
        let about = exported.about.clone();
        (onnx::FORMAT.write)(&Exported { name: String::new(), graph, about, source: exported.source }, path)
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.onnx");
    let error = one().write(&ExportFormat { write, ..onnx::FORMAT }, &path).unwrap_err();
    assert!(matches!(error, Error::ExportDiffers { format: "onnx", .. }), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_same_bundle_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = |path: &Path| -> Vec<Vec<u8>> {
        let files = match path.is_dir() {
            true => std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect(),
            false => vec![path.to_owned()],
        };
        let mut files: Vec<_> = files;
        files.sort();
        files.iter().map(|file| std::fs::read(file).unwrap()).collect()
    };
    for format in EXPORTS {
        let path = folder.path().join(format.name);
        one().write(format, &path).unwrap();
        let first = bytes(&path);
        one().write(format, &path).unwrap();
        assert!(first == bytes(&path), "{}", format.name);
    }
}

#[test]
fn a_folder_of_other_files_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.txt"), "years of work").unwrap();
    let error = one().write(&tfjs::FORMAT, folder.path()).unwrap_err();
    assert!(error.to_string().contains("thesis.txt"), "{error}");
    assert!(folder.path().join("thesis.txt").exists());
}

#[test]
fn a_scale_that_a_family_has_no_array_for_is_kept_in_the_convolution() {
    let spec = backbones::find("inception_v3").unwrap().0;
    let family = spec.families.iter().find(|family| family.family == "keras").unwrap();
    let example = Example::new(spec, spec.find_variant("tiny").unwrap(), family, "linear", Output::Softmax);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.safetensors");
    example.write(&safetensors::FORMAT, &path).unwrap();
    let pretrained = crate::load::load(&path, None).unwrap();
    assert_eq!(Some(pretrained.conventions), example.manifest.backbone.conventions);
    assert!(pretrained.parameters.find("stem1.conv1a.norm.gamma").unwrap().values.iter().all(|scale| *scale == 1.0));
    assert_eq!(pretrained.licence.as_deref(), Some("MIT"));
}

#[test]
fn preprocessing_without_a_name_is_refused_where_only_a_name_can_be_written() {
    let mut example = one();
    let preprocess = &mut example.manifest.backbone.conventions.as_mut().unwrap().preprocess;
    *preprocess = Preprocess { mean: [0.1, 0.2, 0.3], ..preprocess.clone() };
    let folder = tempfile::tempdir().unwrap();
    let error = example.write(&safetensors::FORMAT, &folder.path().join("a")).unwrap_err();
    assert!(matches!(error, Error::Export { .. }), "{error}");
    example.write(&onnx::FORMAT, &folder.path().join("b")).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
