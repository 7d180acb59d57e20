//! Darknet's networks: the published ones by their architecture and the size of their files, random ones, files that mean
//! harm.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests may panic, and say what they skip")]

use std::fmt::Write;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use headstart_weights::darknet::{Activation, LayerKind, MapShape, Network};
use headstart_weights::{WeightsError, digest, open};
use proptest::prelude::*;

/// A description under construction.
struct Description(String);

impl Description {
    fn of(side: usize) -> Self {
        Self(format!("[net]\nbatch=64\n# comment\nwidth = {side}\nheight={side}\nchannels=3\nlearning_rate=0.001\n"))
    }

    fn section(&mut self, text: &str) -> &mut Self {
        let mut parts = text.split_whitespace();
        write!(self.0, "\n[{}]\n", parts.next().unwrap()).unwrap();
        parts.for_each(|part| writeln!(self.0, "{part}").unwrap());
        self
    }

    /// Normalized convolutions: filters, size, stride.
    fn convolutions(&mut self, activation: &str, each: &[(usize, usize, usize)]) -> &mut Self {
        for (filters, size, stride) in each {
            self.section(&format!(
                "convolutional batch_normalize=1 filters={filters} size={size} stride={stride} pad=1 activation={activation}"
            ));
        }
        self
    }

    /// The last convolution of three anchors of COCO, and their detector.
    fn detector(&mut self, mask: &str) -> &mut Self {
        self.section("convolutional size=1 stride=1 pad=1 filters=255 activation=linear");
        let anchors = "10,13,16,30,33,23,30,61,62,45,59,119,116,90,156,198,373,326";
        self.section(&format!("yolo mask={mask} anchors={anchors} classes=80 num=9 jitter=.3 ignore_thresh=.7"))
    }

    fn parse(&self) -> Result<Network, WeightsError> {
        Network::parse(Path::new("test.cfg"), &self.0)
    }
}

fn yolo_v2() -> Description {
    let mut net = Description::of(608);
    net.convolutions("leaky", &[(32, 3, 1)]).section("maxpool size=2 stride=2");
    net.convolutions("leaky", &[(64, 3, 1)]).section("maxpool size=2 stride=2");
    for wide in [128, 256] {
        net.convolutions("leaky", &[(wide, 3, 1), (wide / 2, 1, 1), (wide, 3, 1)]).section("maxpool size=2 stride=2");
    }
    let five = |wide| [(wide, 3, 1), (wide / 2, 1, 1), (wide, 3, 1), (wide / 2, 1, 1), (wide, 3, 1)];
    net.convolutions("leaky", &five(512)).section("maxpool size=2 stride=2").convolutions("leaky", &five(1024));
    net.convolutions("leaky", &[(1024, 3, 1), (1024, 3, 1)]).section("route layers=-9");
    net.convolutions("leaky", &[(64, 1, 1)]).section("reorg stride=2").section("route layers=-1,-4");
    net.convolutions("leaky", &[(1024, 3, 1)]);
    net.section("convolutional size=1 stride=1 pad=1 filters=425 activation=linear");
    let anchors = "0.57273,0.677385,1.87446,2.06253,3.33843,5.47434,7.88282,3.52778,9.77052,9.16828";
    net.section(&format!(
        "region anchors={anchors} bias_match=1 classes=80 coords=4 num=5 softmax=1 jitter=.3 rescore=1"
    ));
    net
}

fn yolo_v3() -> Description {
    let mut net = Description::of(416);
    net.convolutions("leaky", &[(32, 3, 1)]);
    for (wide, count) in [(64, 1), (128, 2), (256, 8), (512, 8), (1024, 4)] {
        net.convolutions("leaky", &[(wide, 3, 2)]);
        for _ in 0..count {
            net.convolutions("leaky", &[(wide / 2, 1, 1), (wide, 3, 1)]).section("shortcut from=-3 activation=linear");
        }
    }
    let three = |wide| [(wide, 1, 1), (wide * 2, 3, 1)].repeat(3);
    net.convolutions("leaky", &three(512)).detector("6,7,8");
    for (wide, from, mask) in [(256, 61, "3,4,5"), (128, 36, "0,1,2")] {
        net.section("route layers=-4").convolutions("leaky", &[(wide, 1, 1)]).section("upsample stride=2");
        net.section(&format!("route layers=-1,{from}")).convolutions("leaky", &three(wide)).detector(mask);
    }
    net
}

fn yolo_v3_tiny() -> Description {
    let mut net = Description::of(416);
    for (wide, stride) in [(16, 2), (32, 2), (64, 2), (128, 2), (256, 2), (512, 1)] {
        net.convolutions("leaky", &[(wide, 3, 1)]).section(&format!("maxpool size=2 stride={stride}"));
    }
    net.convolutions("leaky", &[(1024, 3, 1), (256, 1, 1), (512, 3, 1)]).detector("3,4,5").section("route layers=-4");
    net.convolutions("leaky", &[(128, 1, 1)]).section("upsample stride=2").section("route layers=-1,8");
    net.convolutions("leaky", &[(256, 3, 1)]).detector("0,1,2");
    net
}

fn yolo_v4() -> Description {
    let mut net = Description::of(608);
    net.convolutions("mish", &[(32, 3, 1), (64, 3, 2), (64, 1, 1)]).section("route layers=-2");
    net.convolutions("mish", &[(64, 1, 1), (32, 1, 1), (64, 3, 1)]).section("shortcut from=-3 activation=linear");
    net.convolutions("mish", &[(64, 1, 1)]).section("route layers=-1,-7").convolutions("mish", &[(64, 1, 1)]);
    for (wide, count) in [(64, 2), (128, 8), (256, 8), (512, 4)] {
        net.convolutions("mish", &[(wide * 2, 3, 2), (wide, 1, 1)]).section("route layers=-2");
        net.convolutions("mish", &[(wide, 1, 1)]);
        for _ in 0..count {
            net.convolutions("mish", &[(wide, 1, 1), (wide, 3, 1)]).section("shortcut from=-3 activation=linear");
        }
        net.convolutions("mish", &[(wide, 1, 1)]).section(&format!("route layers=-1,-{}", 3 * count + 4));
        net.convolutions("mish", &[(wide * 2, 1, 1)]);
    }
    net.convolutions("leaky", &[(512, 1, 1), (1024, 3, 1), (512, 1, 1)]);
    net.section("maxpool stride=1 size=5").section("route layers=-2").section("maxpool stride=1 size=9");
    net.section("route layers=-4").section("maxpool stride=1 size=13").section("route layers=-1,-3,-5,-6");
    net.convolutions("leaky", &[(512, 1, 1), (1024, 3, 1), (512, 1, 1)]);
    let five = |wide| [(wide, 1, 1), (wide * 2, 3, 1), (wide, 1, 1), (wide * 2, 3, 1), (wide, 1, 1)];
    for (wide, from) in [(256, 85), (128, 54)] {
        net.convolutions("leaky", &[(wide, 1, 1)])
            .section("upsample stride=2")
            .section(&format!("route layers={from}"));
        net.convolutions("leaky", &[(wide, 1, 1)]).section("route layers=-1,-3").convolutions("leaky", &five(wide));
    }
    net.convolutions("leaky", &[(256, 3, 1)]).detector("0,1,2");
    for (wide, from, mask) in [(256, 16, "3,4,5"), (512, 37, "6,7,8")] {
        net.section("route layers=-4").convolutions("leaky", &[(wide, 3, 2)]);
        net.section(&format!("route layers=-1,-{from}")).convolutions("leaky", &five(wide));
        net.convolutions("leaky", &[(wide * 2, 3, 1)]).detector(mask);
    }
    net
}

fn yolo_v4_tiny() -> Description {
    let mut net = Description::of(416);
    net.convolutions("leaky", &[(32, 3, 2), (64, 3, 2)]);
    for wide in [64, 128, 256] {
        net.convolutions("leaky", &[(wide, 3, 1)]).section("route layers=-1 groups=2 group_id=1");
        net.convolutions("leaky", &[(wide / 2, 3, 1), (wide / 2, 3, 1)]).section("route layers=-1,-2");
        net.convolutions("leaky", &[(wide, 1, 1)]).section("route layers=-6,-1").section("maxpool size=2 stride=2");
    }
    net.convolutions("leaky", &[(512, 3, 1), (256, 1, 1), (512, 3, 1)]).detector("3,4,5").section("route layers=-4");
    net.convolutions("leaky", &[(128, 1, 1)]).section("upsample stride=2").section("route layers=-1,23");
    net.convolutions("leaky", &[(256, 3, 1)]).detector("1,2,3");
    net
}

fn folder_of(description: &str, values: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("net.cfg"), description).unwrap();
    fs::write(folder.path().join("net.weights"), values).unwrap();
    folder
}

fn header(minor: i32, revision: i32) -> Vec<u8> {
    let mut header: Vec<u8> = [0, minor, revision].iter().flat_map(|number: &i32| number.to_le_bytes()).collect();
    header.extend_from_slice(&7_u64.to_le_bytes()[..if minor >= 2 { 8 } else { 4 }]);
    header
}

#[test]
fn the_published_networks_have_as_many_values_as_their_files() {
    // Bytes of yolov2.weights, yolov3.weights, … as their authors publish them; the first has the shorter header.
    let published: [(&str, Description, i32, u64); 5] = [
        ("v2", yolo_v2(), 1, 203_934_260),
        ("v3", yolo_v3(), 2, 248_007_048),
        ("v3-tiny", yolo_v3_tiny(), 2, 35_434_956),
        ("v4", yolo_v4(), 2, 257_717_640),
        ("v4-tiny", yolo_v4_tiny(), 2, 24_251_276),
    ];
    for (name, description, minor, length) in published {
        let folder = folder_of(&description.0, &[]);
        let path = folder.path().join("net.weights");
        // Holes read as zeros and take no place.
        let sized = |length: u64| {
            let mut file = File::create(&path).unwrap();
            file.write_all(&header(minor, 5)).unwrap();
            file.set_len(length).unwrap();
            open(&path)
        };
        let checkpoint = sized(length).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(checkpoint.format(), "darknet");
        assert_eq!(checkpoint.metadata()["pictures_seen"], "7", "{name}");
        assert!(!checkpoint.metadata().contains_key("notes"), "{name}: {}", checkpoint.metadata()["notes"]);
        for wrong in [length - 1, length - 4, length + 1, length + 4] {
            assert!(matches!(sized(wrong).map(|_| ()), Err(WeightsError::Malformed { .. })), "{name} of {wrong}");
        }
    }
}

#[test]
fn the_shapes_of_the_published_networks_are_those_of_their_strides() {
    let shapes = |description: Description| -> Vec<[usize; 3]> {
        let network = description.parse().unwrap();
        let is_detector = |kind: &LayerKind| matches!(kind, LayerKind::Yolo(_) | LayerKind::Region(_));
        let found = network.layers.iter().filter(|layer| is_detector(&layer.kind)).map(|layer| layer.output);
        found.map(|MapShape { channels, height, width }| [channels, height, width]).collect()
    };
    assert_eq!(shapes(yolo_v2()), [[425, 19, 19]]);
    assert_eq!(shapes(yolo_v3()), [[255, 13, 13], [255, 26, 26], [255, 52, 52]]);
    assert_eq!(shapes(yolo_v3_tiny()), [[255, 13, 13], [255, 26, 26]]);
    assert_eq!(shapes(yolo_v4()), [[255, 76, 76], [255, 38, 38], [255, 19, 19]]);
    assert_eq!(shapes(yolo_v4_tiny()), [[255, 13, 13], [255, 26, 26]]);
    let LayerKind::Yolo(detector) = yolo_v4_tiny().parse().unwrap().layers.pop().unwrap().kind else { panic!() };
    assert_eq!((detector.mask, detector.anchors[0]), (vec![1, 2, 3], [16.0, 30.0]));
    assert_eq!((detector.ignore_threshold, detector.scale_x_y, detector.loss_weights[2]), (0.7, 1.0, 1.0));
}

fn shared(file: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("HEADSTART_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let path = shared.join("weights/yolo_fastest_1.1_darknet").join(file);
    let is_there = path.exists();
    if !is_there {
        println!("skipped: {} not found", path.display());
    }
    is_there.then_some(path)
}

#[test]
fn yolo_fastest_opens_by_either_file_and_every_value_is_sound() {
    for name in ["yolo-fastest-1.1", "yolo-fastest-1.1-xl"] {
        let Some(path) = shared(&format!("{name}.weights")) else { return };
        let checkpoint = open(&path).unwrap();
        let network = Network::open(&path).unwrap();
        assert_eq!(network.layers.len(), 131, "{name}");
        assert_eq!(network.notes, Vec::<String>::new(), "{name}");
        assert_eq!(network.training["policy"], "steps");
        let mut values = 0;
        for info in checkpoint.arrays() {
            let array = checkpoint.read(&info.name).unwrap().to_f32().unwrap();
            assert!(array.iter().all(|value| value.is_finite()), "{name} {}", info.name);
            if info.name.ends_with("rolling_variance") {
                assert!(array.iter().all(|value| *value >= 0.0), "{name} {}", info.name);
            }
            values += array.len() as u64;
        }
        assert_eq!(values * 4 + 20, fs::metadata(&path).unwrap().len(), "{name}");
        let other = path.with_extension("cfg");
        assert_eq!(open(&other).unwrap().arrays(), checkpoint.arrays());
        assert_eq!(digest(&other).unwrap(), digest(&path).unwrap());
        let error = open(path.parent().unwrap()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("several"), "{error}");
    }
}

#[test]
fn a_file_alone_or_beside_others_is_told_what_is_missing() {
    let net = "[net]\nwidth=8\nheight=8\n[conv]\nfilters=2\nactivation=leaky\n";
    let mut values = header(2, 5);
    values.resize(20 + 4 * (2 + 6), 0);
    let folder = folder_of(net, &values);
    let at = |name: &str| folder.path().join(name);
    assert_eq!(open(folder.path()).unwrap().arrays().len(), 2);
    fs::rename(at("net.cfg"), at("another.cfg")).unwrap();
    assert_eq!(open(&at("net.weights")).unwrap().arrays()[1].name, "layers.0.weights");
    fs::write(at("third.cfg"), "").unwrap();
    let message = |path: &Path| open(path).map(|_| ()).unwrap_err().to_string();
    assert!(message(&at("net.weights")).contains("`net.cfg` is not beside it, and 2 other"));
    assert!(message(&at("third.cfg")).contains("no section"));
    fs::write(at("net.cfg"), net).unwrap();
    assert_eq!(open(&at("net.weights")).unwrap().arrays().len(), 2);
    #[cfg(unix)]
    {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("net.cfg"), net).unwrap();
        fs::remove_file(at("net.cfg")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("net.cfg"), at("net.cfg")).unwrap();
        assert!(matches!(open(&at("net.weights")).map(|_| ()), Err(WeightsError::Outside { .. })));
    }
}

/// What is said of a description that consists of `[net]` and this.
fn refusal(rest: &str) -> String {
    let text = format!("[net]\nwidth=8\nheight=8\nchannels=4\n{rest}");
    match Network::parse(Path::new("test.cfg"), &text) {
        Err(error @ (WeightsError::Malformed { .. } | WeightsError::Unsupported { .. })) => error.to_string(),
        other => panic!("{rest}: {other:?}"),
    }
}

#[test]
fn what_we_would_compute_otherwise_is_refused_by_its_line() {
    for (rest, said) in [
        ("[lstm]\n", "line 5: section [lstm]"),
        ("[conv]\nsize=3\ndilation=2\n", "line 7: `dilation=2`"),
        ("[conv]\nactivation=selu\n", "line 6: `activation=selu`"),
        ("[conv]\nstride_x=2\n", "`stride_x=2`"),
        ("[conv]\nflipped=1\n", "`flipped=1`"),
        ("[conv]\nfilters=3\ngroups=3\n", "3 divides not both 4 channels"),
        ("[conv]\nfilters=many\n", "`many`; a whole number"),
        ("[conv]\nfilters=-1\n", "it is -1"),
        ("[conv]\nfilters=99999999999999999999\n", "a whole number"),
        ("[conv]\nsize=9\n", "would give"),
        ("[conv]\nfilters\n", "neither `[section]` nor `key=value`"),
        ("[conv\n", "has no end"),
        ("[maxpool]\nsize=2\nmaxpool_depth=1\n", "maxpool_depth"),
        ("[route]\n", "`layers` of [route]: it is missing"),
        ("[route]\nlayers=-1\n", "layer -1 does not lie before layer 0"),
        ("[conv]\n[route]\nlayers=-1,1\n", "layer 1 does not lie before"),
        ("[conv]\n[route]\nlayers=-9223372036854775808\n", "does not lie before"),
        ("[conv]\n[conv]\nstride=2\n[route]\nlayers=0,1\n", "do not join"),
        ("[conv]\nfilters=3\n[route]\nlayers=0\ngroups=2\n", "does not divide 3"),
        ("[conv]\n[route]\nlayers=0\ngroups=1\ngroup_id=1\n", "0 to 0"),
        ("[conv]\n[conv]\nfilters=2\n[shortcut]\nfrom=0\n", "layer 0 is 1 × 8 × 8, the layer before is 2"),
        ("[reorg]\nstride=3\n", "3 does not divide 8 × 8"),
        ("[yolo]\nanchors=1,2\nnum=1\nclasses=1\n", "has 4 filters; 6 were expected"),
        ("[conv]\nfilters=6\n[yolo]\nanchors=1,2\nnum=1\nclasses=1\nmask=1\n", "there are 1 anchors"),
        ("[conv]\nfilters=6\n[yolo]\nanchors=1,nan\nnum=1\nclasses=1\n", "numbers with commas"),
        ("[conv]\nfilters=6\n[yolo]\nanchors=1,2,3\nnum=1\nclasses=1\n", "3 numbers"),
        ("[conv]\nfilters=6\n[region]\nanchors=1,2\nnum=1\nclasses=1\ntree=x\n", "tree"),
    ] {
        let found = refusal(rest);
        assert!(found.contains(said), "{rest:?}: {found}");
    }
    let long = format!("[net]\n{}", "a=1\n".repeat(200_000));
    assert_eq!(Network::parse(Path::new("test.cfg"), &long).unwrap().notes.len(), 200_000);
    let many = "[dropout]\n".repeat(5000);
    let error = Network::parse(Path::new("test.cfg"), &format!("[net]\n{many}")).unwrap_err();
    assert!(matches!(error, WeightsError::TooLarge { .. }), "{error}");
    for (text, said) in [("", "no section"), ("a=1\n", "before any section"), ("[conv]\n", "[net] was expected")] {
        let error = Network::parse(Path::new("test.cfg"), text).unwrap_err().to_string();
        assert!(error.contains(said), "{text:?}: {error}");
    }
}

#[test]
fn unknown_and_doubled_settings_are_noted_and_comments_are_not() {
    let text = "\u{feff}; first\n[net] # the net\nwidth=8\nheight=8\nchannels=1\nfrobnicate=1\n\n[convolutional]\n\
                filters = 2 ; two\nfilters=3\nsize=3\npad=1\nstopbackward=1\nswing=1\nactivation=mish\n";
    let network = Network::parse(Path::new("test.cfg"), text).unwrap();
    assert_eq!(
        network.notes,
        [
            "line 6: `frobnicate` of [net] is not known: it was passed over",
            "line 10: `filters` stands twice in [convolutional]: the first counts",
            "line 14: `swing` of [convolutional] is not known: it was passed over",
        ]
    );
    let LayerKind::Convolution(convolution) = network.layers[0].kind else { panic!() };
    assert_eq!((convolution.filters, convolution.padding, convolution.activation), (2, 1, Activation::Mish));
}

/// Name, shape and values of an array.
type Written = (String, Vec<usize>, Vec<f32>);

/// A chain of convolutions with their values as Darknet writes them, and what each array must be read as.
fn chain() -> impl Strategy<Value = (String, Vec<u8>, Vec<Written>)> {
    let layer = (1usize..4, 0usize..2, 1usize..3, any::<bool>(), any::<bool>());
    (prop::collection::vec(layer, 1..6), any::<bool>(), any::<u32>()).prop_map(|(layers, is_new, seed)| {
        let mut text = "[net]\nwidth=16\nheight=16\nchannels=6\n".to_owned();
        let (mut values, mut arrays) = (header(if is_new { 2 } else { 1 }, 0), Vec::new());
        let (mut channels, mut next, mut index) = (6, seed, 0);
        for (thirds, half, groups, is_normalized, with_pool) in layers {
            let (filters, size) = (6 * thirds, 2 * half + 1);
            let normalized = u8::from(is_normalized);
            writeln!(text, "[convolutional]\nfilters={filters}\nsize={size}\npad=1\ngroups={groups}").unwrap();
            writeln!(text, "batch_normalize={normalized}\nactivation=leaky").unwrap();
            let vectors: &[&str] =
                if is_normalized { &["biases", "scales", "rolling_mean", "rolling_variance"] } else { &["biases"] };
            let shapes = vectors.iter().map(|field| (*field, vec![filters]));
            for (field, shape) in shapes.chain([("weights", vec![filters, channels / groups, size, size])]) {
                let count: usize = shape.iter().product();
                let written: Vec<f32> = (0..count)
                    .map(|_| {
                        next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (next >> 8) as f32 / 65536.0
                    })
                    .collect();
                values.extend(written.iter().flat_map(|value| value.to_le_bytes()));
                arrays.push((format!("layers.{index}.{field}"), shape, written));
            }
            channels = filters;
            index += 1;
            if with_pool {
                text.push_str("[maxpool]\nsize=2\nstride=1\n");
                index += 1;
            }
        }
        (text, values, arrays)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_darknet_would_write_is_read_and_no_other_length((text, values, arrays) in chain(), off in 1usize..40) {
        let folder = folder_of(&text, &values);
        let checkpoint = open(folder.path()).unwrap();
        prop_assert_eq!(checkpoint.arrays().len(), arrays.len());
        for (info, (name, shape, written)) in checkpoint.arrays().iter().zip(&arrays) {
            prop_assert_eq!((&info.name, &info.shape), (name, shape));
            prop_assert_eq!(&checkpoint.read(name).unwrap().to_f32().unwrap(), written);
        }
        let path = folder.path().join("net.weights");
        fs::write(&path, &values[..values.len() - off.min(values.len())]).unwrap();
        let cut = open(folder.path()).map(|_| ()).unwrap_err();
        prop_assert!(matches!(cut, WeightsError::Malformed { .. }), "{}", cut);
        fs::write(&path, [&values[..], &vec![0; off]].concat()).unwrap();
        let long = open(folder.path()).map(|_| ()).unwrap_err();
        prop_assert!(matches!(long, WeightsError::Malformed { .. }), "{}", long);
    }
}

/// Opens what is there and reads all of it.
fn read_all(folder: &Path) -> Result<(), WeightsError> {
    let checkpoint = open(&folder.join("net.weights"))?;
    checkpoint.arrays().iter().try_for_each(|info| checkpoint.read(&info.name).map(drop))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_descriptions_do_no_harm(
        which in 0usize..3, changes in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]=,;#a-z0-9.\\-\n ]{0,6}", 0usize..12), 1..5),
    ) {
        let mut text = vec![yolo_v2(), yolo_v3_tiny(), yolo_v4_tiny()].swap_remove(which).0;
        for (at, put, removed) in changes {
            let at = at.index(text.len());
            let end = (at + removed).min(text.len());
            text.replace_range(at..end, &put);
        }
        match Network::parse(Path::new("test.cfg"), &text) {
            Ok(network) => prop_assert!(network.layers.len() < 200),
            Err(error) => prop_assert!(error.help().is_some() && error.to_string().contains("test.cfg")),
        }
    }

    #[test]
    fn any_bytes_do_no_harm(description in prop::collection::vec(any::<u8>(), 0..200), values in prop::collection::vec(any::<u8>(), 0..60)) {
        let folder = tempfile::tempdir().unwrap();
        let net = [b"[net]\nwidth=8\nheight=8\n[conv]\n".as_slice(), &description].concat();
        fs::write(folder.path().join("net.cfg"), net).unwrap();
        fs::write(folder.path().join("net.weights"), [header(2, 5), values].concat()).unwrap();
        let _ = read_all(folder.path());
        fs::write(folder.path().join("net.cfg"), &description).unwrap();
        prop_assert!(read_all(folder.path()).is_err());
    }
}
