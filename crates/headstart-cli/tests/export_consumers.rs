//! Exports read by the libraries that they are for: Keras, ONNX Runtime, TensorFlow.js under Node, torchvision.
//!
//! `fixtures/consumers/setup.sh` installs them into `.peers/`; other places are named by `HEADSTART_PEERS_PYTHON` and
//! `HEADSTART_PEERS_NODE_MODULES`. Tolerance: 1e-4 of a probability.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a helper of a test may panic, and says what it skips")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use headstart::Bundle;
use headstart::data::image;
use headstart::data::synthetic::leaves::{Species, leaf, write_data_set};
use serde_json::{Value, json};
use tempfile::TempDir;

const TOLERANCE: f64 = 1e-4;

/// A folder with pictures of leaves and room for bundles and exports.
struct Desk {
    folder: TempDir,
}

/// A bundle and the pictures that consumers are asked about.
struct Subject {
    name: String,
    photos: Vec<PathBuf>,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        write_data_set(&desk.path("leaves"), 4, 48, 3).unwrap();
        // Two of the six species, for heads of one unit.
        for species in [Species::Willow, Species::Maple] {
            let class = desk.path("pair").join(species.name());
            std::fs::create_dir_all(&class).unwrap();
            (0..4).for_each(|seed| leaf(species, seed, 48).save(class.join(format!("{seed}.png"))).unwrap());
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn headstart(&self, arguments: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_headstart"))
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HEADSTART_CACHE", self.path("cache"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}\n{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Photos of leaves in sizes that need resizing, drawn for this test.
    fn leaves(&self) -> Vec<PathBuf> {
        let draw = |(index, species): (usize, Species)| {
            let path = self.path(&format!("new {index}.png"));
            leaf(species, 900 + index as u64, 70 + 17 * index as u32).save(&path).unwrap();
            path
        };
        [Species::Willow, Species::Maple, Species::Willow].into_iter().enumerate().map(draw).collect()
    }

    /// Trains a backbone whose weights, scales and statistics are all drawn, so that none hides behind a one or a zero.
    fn train(&self, backbone: &str, size: &str, options: &[&str], padding: Option<&str>) -> Subject {
        let name = format!("{} {size} {}", backbone.replace(':', "_"), padding.unwrap_or("own padding"));
        let (bundle, weights) = (format!("{name}.headstart"), format!("{name}.safetensors"));
        let quiet = ["--epochs", "1", "--batch", "8", "-q"];
        let first =
            ["train", "leaves", "--backbone", backbone, "--weights", "random", "--size", size, "--out", &bundle];
        self.headstart(&[&first[..], &quiet].concat());
        self.headstart(&["export", &bundle, "--format", "safetensors"]);
        disturb(&self.path(&weights), padding);
        let second = ["train", options[0], "--weights", &weights, "--size", size, "--out", &bundle];
        self.headstart(&[&second[..], &quiet, &["--fine-tune", "1"], &options[1..]].concat());
        Subject { name: bundle, photos: self.leaves() }
    }

    /// Exports all subjects, has a program read them and compares its numbers with the bundles'.
    fn consume(&self, format: &str, program: &mut Command, subjects: &[Subject]) {
        let mut jobs = Vec::new();
        let mut expected = Vec::new();
        for (index, subject) in subjects.iter().enumerate() {
            let out = format!("model {index}.{format}");
            let line = self.headstart(&["export", &subject.name, "--format", format, "--out", &out, "--json"]);
            let report: Value = serde_json::from_str(&line).unwrap();
            assert!(report["export"]["largest_difference"].as_f64().unwrap() <= 2e-5, "{}: {report}", subject.name);
            let bundle = Bundle::open(self.path(&subject.name)).unwrap();
            let preprocess = &bundle.manifest().backbone.conventions.as_ref().unwrap().preprocess;
            let photos: Vec<_> = subject.photos.iter().map(|photo| image::decode(photo).unwrap()).collect();
            let pixels: Vec<u8> = photos.iter().flat_map(|photo| preprocess.pixels(photo).into_raw()).collect();
            let pictures = self.path(&format!("{format} {index}.pictures"));
            std::fs::write(&pictures, pixels).unwrap();
            let shape = [photos.len() as u32, preprocess.height, preprocess.width, 3];
            jobs.push(json!({ "model": self.path(&out), "pictures": pictures, "shape": shape }));
            let rows: Vec<Vec<f64>> = photos.iter().map(|photo| probabilities(&bundle, photo)).collect();
            expected.push(rows);
        }
        let list = self.path(&format!("{format}.json"));
        std::fs::write(&list, Value::from(jobs).to_string()).unwrap();
        let output = program.arg(&list).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
        let found: Vec<Vec<Vec<f64>>> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(found.len(), expected.len());
        for ((subject, found), expected) in subjects.iter().zip(found).zip(expected) {
            let (found, expected) = (found.concat(), expected.concat());
            assert_eq!(found.len(), expected.len(), "{format} {}", subject.name);
            let gap = found.iter().zip(&expected).fold(0f64, |most, (a, b)| most.max((a - b).abs()));
            eprintln!("{format}, {}: largest difference {gap:.1e}", subject.name);
            assert!(gap <= TOLERANCE, "{format} {}: {found:?} {expected:?}", subject.name);
            // Outputs that are all 0 or 1 would hide a difference.
            assert!(expected.iter().any(|value| (0.02..0.98).contains(value)), "{}: {expected:?}", subject.name);
        }
    }
}

/// The bundle's probabilities in the order of its labels; of one unit, that of the second label.
fn probabilities(bundle: &Bundle, photo: &image::RgbImage) -> Vec<f64> {
    let candidates = bundle.predict_picture(photo).unwrap();
    let of = |label: &String| candidates.iter().find(|found| found.label == *label).unwrap().probability;
    let all: Vec<f64> = bundle.manifest().labels.iter().map(|label| f64::from(of(label))).collect();
    let is_one_unit = bundle.manifest().recipe.head.output == headstart::recipe::Output::Sigmoid;
    if is_one_unit { all[1..].to_vec() } else { all }
}

/// Draws the vectors of a safetensors file anew, and changes the padding that it states.
fn disturb(path: &Path, padding: Option<&str>) {
    let bytes = std::fs::read(path).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Map<String, Value> = serde_json::from_slice(&bytes[8..start]).unwrap();
    let mut values = bytes[start..].to_vec();
    for (number, (name, array)) in header.iter().filter(|(name, _)| *name != "__metadata__").enumerate() {
        let offset = |place: usize| array["data_offsets"][place].as_u64().unwrap() as usize;
        if array["shape"].as_array().unwrap().len() != 1 || name.starts_with("head") {
            continue;
        }
        let is_scale =
            ["gamma", "variance", "running_var"].iter().any(|part| name.ends_with(part)) || name.ends_with(".weight");
        for (index, value) in values[offset(0)..offset(1)].chunks_exact_mut(4).enumerate() {
            let drawn = ((number * 7919 + index * 104_729) % 1000) as f32 / 1000.0;
            let drawn = if is_scale { 0.6 + 0.8 * drawn } else { 0.4 * (drawn - 0.5) };
            value.copy_from_slice(&drawn.to_le_bytes());
        }
    }
    if let Some(padding) = padding {
        header["__metadata__"]["padding"] = json!(padding);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header);
    out.extend(values);
    std::fs::write(path, out).unwrap();
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A place that the environment or `.peers/` gives; says loudly when there is none.
fn peer(variable: &str, default: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map_or_else(|| root().join(".peers").join(default), PathBuf::from);
    if !path.exists() {
        eprintln!("skipped: {} not found; fixtures/consumers/setup.sh installs it", path.display());
        return None;
    }
    Some(path)
}

fn python(script: &str) -> Option<Command> {
    let mut command = Command::new(peer("HEADSTART_PEERS_PYTHON", "venv/bin/python")?);
    command.arg(root().join("fixtures/consumers").join(script)).env("OMP_NUM_THREADS", "1");
    Some(command)
}

fn node(script: &str) -> Option<Command> {
    let modules = peer("HEADSTART_PEERS_NODE_MODULES", "node_modules")?.canonicalize().unwrap();
    let mut command = Command::new("node");
    command.arg(root().join("fixtures/consumers").join(script)).env("HEADSTART_PEERS_NODE_MODULES", modules);
    Some(command)
}

#[test]
fn the_libraries_that_exports_are_for_agree_with_the_bundle() {
    let programs =
        [("keras", python("read_keras.py")), ("onnx", python("read_onnx.py")), ("tfjs", node("read_tfjs.mjs"))];
    if programs.iter().all(|(_, program)| program.is_none()) {
        return;
    }
    let desk = Desk::new();
    let one_unit: &[&str] = &["pair", "--head", "flatten+mlp:8,4", "--output", "sigmoid"];
    let mut subjects = vec![
        desk.train("mobilenet_v1:tiny", "64", &["leaves", "--head", "linear"], None),
        desk.train("mobilenet_v2:tiny", "64", one_unit, None),
        desk.train("mobilenet_v2:tiny", "65", &["leaves"], Some("symmetric")),
        desk.train("vgg16:tiny", "48", &["leaves", "--head", "flatten+mlp:8"], None),
        desk.train("vgg16:tiny_bn", "48", one_unit, None),
        desk.train("inception_v3:tiny", "96", &["leaves"], None),
        desk.train("inception_v3:tiny", "96", &["leaves"], Some("tensorflow")),
        desk.train("resnet:tiny", "64", &["leaves"], None),
        desk.train("resnet:tiny_50", "64", &["leaves", "--head", "mlp:16,8"], None),
    ];
    subjects.push(real(&desk));
    for (format, program) in programs {
        if let Some(mut program) = program {
            desk.consume(format, &mut program, &subjects);
        }
    }
}

/// The backbone inside the program, on real photos where they are at hand.
fn real(desk: &Desk) -> Subject {
    let shared = std::env::var_os("HEADSTART_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let photos = shared.join("data/ants_bees");
    if !photos.exists() {
        eprintln!("skipped: {} not found; drawn leaves are used", photos.display());
        desk.headstart(&["train", "leaves", "--epochs", "2", "--out", "embedded.headstart", "-q"]);
        return Subject { name: "embedded.headstart".to_owned(), photos: desk.leaves() };
    }
    let data = photos.canonicalize().unwrap();
    desk.headstart(&["train", data.to_str().unwrap(), "--epochs", "3", "--out", "embedded.headstart", "-q"]);
    let mut photos = Vec::new();
    for class in ["ants", "bees"] {
        let mut found: Vec<PathBuf> =
            std::fs::read_dir(data.join("val").join(class)).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.sort();
        photos.extend(found.into_iter().take(8));
    }
    Subject { name: "embedded.headstart".to_owned(), photos }
}

#[test]
fn the_lines_of_usage_in_an_export_say_what_the_bundle_says() {
    if python("run_usage.py").is_none() {
        return;
    }
    let desk = Desk::new();
    desk.headstart(&["train", "leaves", "--epochs", "2", "--out", "a.headstart", "-q"]);
    let bundle = Bundle::open(desk.path("a.headstart")).unwrap();
    let photo = desk.path("long.png");
    // A leaf beside itself: no square, so that a crop must be found.
    let picture = leaf(Species::Maple, 77, 200);
    image::RgbImage::from_fn(333, 200, |x, y| *picture.get_pixel(x % 200, y)).save(&photo).unwrap();
    let expected = probabilities(&bundle, &image::decode(&photo).unwrap());
    for format in ["keras", "onnx"] {
        desk.headstart(&["export", "a.headstart", "--format", format]);
        let mut program = python("run_usage.py").unwrap();
        let output = program.arg(desk.path(&format!("a.{format}"))).arg(&photo).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
        let row = &text[text.rfind('[').unwrap()..];
        let numbers = row.split(|letter| "[] \n".contains(letter)).filter_map(|number| number.parse::<f64>().ok());
        let found: Vec<f64> = numbers.collect();
        assert_eq!(found.len(), expected.len(), "{text}");
        // Pillow rounds to 8 bits between its two passes.
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 0.01), "{format}: {found:?} {expected:?}");
    }
}

#[test]
fn torchvision_loads_the_weights_that_were_exported() {
    let Some(mut program) = python("read_safetensors.py") else { return };
    let has_torch =
        Command::new(program.get_program()).args(["-c", "import torchvision, safetensors"]).output().unwrap();
    if !has_torch.status.success() {
        eprintln!("skipped: torchvision and safetensors not found in that Python");
        return;
    }
    let desk = Desk::new();
    let subject = desk.train("resnet:18", "64", &["leaves", "--head", "mlp:16"], None);
    desk.consume("safetensors", &mut program, &[subject]);
}
