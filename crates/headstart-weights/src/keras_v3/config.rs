//! What `config.json` says of the objects in the HDF5 file: names, classes, options.

use std::collections::BTreeMap;

use serde_json::Value;

/// The objects of a model by the path of their group.
#[derive(Debug, Default)]
pub(super) struct Config {
    layers: BTreeMap<String, Layer>,
    /// Saved by Keras 2, which called some variables otherwise.
    pub(super) is_keras_2: bool,
}

/// One object.
#[derive(Debug, PartialEq)]
pub(super) struct Layer {
    pub(super) name: String,
    /// Class in snake case.
    pub(super) class: String,
    pub(super) options: Options,
}

/// Options that leave a variable out of the middle.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Options {
    pub(super) scale: Option<bool>,
    pub(super) center: Option<bool>,
}

/// Models are not nested deeper than this; JSON is not either.
const MOST_LEVELS: usize = 64;

impl Config {
    /// Follows the configuration as `saving_lib.py` follows the model.
    pub(super) fn find(config: &Value, version: Option<&str>) -> Self {
        let is_keras_2 = version.is_some_and(|version| version.starts_with("2."));
        let mut found = Self { layers: BTreeMap::new(), is_keras_2 };
        found.layers_of("", config, 0);
        found
    }

    pub(super) fn layer(&self, path: &str) -> Option<&Layer> {
        self.layers.get(path)
    }

    /// Adds the layers of a model whose group is `at`.
    fn layers_of(&mut self, at: &str, model: &Value, level: usize) {
        let Some(layers) = model.pointer("/config/layers").and_then(Value::as_array) else { return };
        let mut used: BTreeMap<String, usize> = BTreeMap::new();
        for layer in layers {
            // A Functional model lists the operations between its layers, which have no variables and no group.
            let module = layer.get("module").and_then(Value::as_str).unwrap_or_default();
            let Some(class) = layer.get("class_name").and_then(Value::as_str) else { continue };
            if module.starts_with("keras.src.ops") || module.starts_with("keras.ops") {
                continue;
            }
            let class = snake_case(class);
            let count = used.entry(class.clone()).or_insert(0);
            let group = if *count == 0 { class.clone() } else { format!("{class}_{count}") };
            *count += 1;
            let holder = if at.is_empty() { "layers".to_owned() } else { format!("{at}/layers") };
            self.add(format!("{holder}/{group}"), layer, level);
        }
    }

    /// Adds an object and what it holds.
    fn add(&mut self, path: String, object: &Value, level: usize) {
        let Some(class) = object.get("class_name").and_then(Value::as_str) else { return };
        let options = object.get("config").unwrap_or(&Value::Null);
        let name = options.get("name").or_else(|| object.get("name")).and_then(Value::as_str);
        let class = snake_case(class);
        if level < MOST_LEVELS {
            self.layers_of(&path, object, level + 1);
            // Wrappers hold the layer that they wrap; Bidirectional makes two of it.
            if let Some(inner) = options.get("layer").filter(|inner| inner.is_object()) {
                let backward = options.get("backward_layer").filter(|inner| inner.is_object()).unwrap_or(inner);
                if class == "bidirectional" {
                    self.add_unnamed(&path, "forward_layer", inner, level);
                    self.add_unnamed(&path, "backward_layer", backward, level);
                } else {
                    self.add(format!("{path}/layer"), inner, level + 1);
                }
            }
            if matches!(class.as_str(), "lstm" | "gru" | "simple_rnn") {
                let cell = Layer {
                    name: format!("{class}_cell"),
                    class: format!("{class}_cell"),
                    options: Options::default(),
                };
                self.layers.insert(format!("{path}/cell"), cell);
            }
        }
        let Some(name) = name else { return };
        let option = |name: &str| options.get(name).and_then(Value::as_bool);
        let options = Options { scale: option("scale"), center: option("center") };
        self.layers.insert(path, Layer { name: name.to_owned(), class, options });
    }

    /// Adds what Bidirectional makes of its layer: the name gets a prefix if it has none.
    fn add_unnamed(&mut self, path: &str, attribute: &str, layer: &Value, level: usize) {
        let path = format!("{path}/{attribute}");
        self.add(path.clone(), layer, level + 1);
        let prefix = attribute.trim_end_matches("layer");
        if let Some(layer) = self.layers.get_mut(&path)
            && !layer.name.starts_with(prefix)
        {
            layer.name = format!("{prefix}{}", layer.name);
        }
    }
}

/// A class as Keras writes it in paths (`utils/naming.py`): `Conv2D` is `conv2d`, `PReLU` is `p_re_lu`.
pub(super) fn snake_case(class: &str) -> String {
    let letters: Vec<char> = class.chars().filter(|letter| letter.is_alphanumeric() || *letter == '_').collect();
    let mut snake = String::with_capacity(letters.len() + 4);
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).map(|index| letters[index]);
        let after = letters.get(index + 1);
        let starts_word = letter.is_ascii_uppercase() && after.is_some_and(char::is_ascii_lowercase);
        let ends_word = letter.is_ascii_uppercase() && before.is_some_and(|before| before.is_ascii_lowercase());
        if index > 0 && (starts_word || ends_word) {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// `conv2d` of `conv2d_3`.
pub(super) fn without_number(group: &str) -> &str {
    match group.rsplit_once('_') {
        Some((class, number)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => class,
        _ => group,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_numbered_by_class_in_order_of_appearance() {
        let model = serde_json::json!({"class_name": "Functional", "config": {"layers": [
            {"module": "keras.layers", "class_name": "Conv2D", "config": {"name": "stem"}},
            {"module": "keras.layers", "class_name": "Conv2D", "config": {"name": "second", "use_bias": false}},
            {"module": "keras.src.ops.numpy", "class_name": "Add", "config": {"name": "sum"}},
            {"module": "keras.layers", "class_name": "Add", "config": {"name": "residual"}},
            {"module": "keras.src.models.sequential", "class_name": "Sequential", "config": {"name": "top", "layers": [
                {"module": "keras.layers", "class_name": "Dense", "config": {"name": "logits"}},
            ]}},
            {"module": "keras.layers", "class_name": "Bidirectional", "config": {"name": "both", "layer":
                {"module": "keras.layers", "class_name": "LSTM", "config": {"name": "lstm"}}}},
        ]}});
        let config = Config::find(&model, Some("3.15.1"));
        let name = |path: &str| config.layer(path).map(|layer| layer.name.as_str());
        assert_eq!(name("layers/conv2d"), Some("stem"));
        assert_eq!(name("layers/conv2d_1"), Some("second"));
        assert_eq!(name("layers/add"), Some("residual"));
        assert_eq!(name("layers/sequential"), Some("top"));
        assert_eq!(name("layers/sequential/layers/dense"), Some("logits"));
        assert_eq!(name("layers/bidirectional/forward_layer"), Some("forward_lstm"));
        assert_eq!(name("layers/bidirectional/backward_layer"), Some("backward_lstm"));
        assert_eq!(name("layers/bidirectional/backward_layer/cell"), Some("lstm_cell"));
        assert_eq!(name("layers/add_1"), None);
        assert!(!config.is_keras_2);
        assert!(Config::find(&Value::Null, Some("2.15.0")).is_keras_2);
    }

    #[test]
    fn classes_are_written_as_keras_writes_them() {
        // From keras.src.utils.naming.to_snake_case of Keras 3.15.
        for (class, snake) in [
            ("Conv2D", "conv2d"),
            ("DepthwiseConv2D", "depthwise_conv2d"),
            ("BatchNormalization", "batch_normalization"),
            ("PReLU", "p_re_lu"),
            ("LSTMCell", "lstm_cell"),
            ("GRU", "gru"),
            ("SimpleRNN", "simple_rnn"),
            ("MyLayer_V2", "my_layer_v2"),
            ("My_Layer", "my__layer"),
            ("ABCDef", "abc_def"),
            ("Net2d3D", "net2d3d"),
            ("Conv2DTranspose", "conv2d_transpose"),
            ("InputLayer", "input_layer"),
            ("ReLU", "re_lu"),
            ("RMSNormalization", "rms_normalization"),
        ] {
            assert_eq!(snake_case(class), snake);
        }
        assert_eq!(without_number("conv2d_12"), "conv2d");
        assert_eq!(without_number("lstm_cell"), "lstm_cell");
    }
}
