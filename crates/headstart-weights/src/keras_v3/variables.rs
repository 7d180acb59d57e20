//! What the variables of a layer are called, which the file only numbers.
//!
//! Source: the `build` methods of Keras 3.15 (`keras/src/layers`): trainable variables in order of creation, then the others.

use super::config::Options;

/// Names of the `count` variables of a layer, or nothing where its class is not known or has another number of them.
/// `class` is in snake case; the options matter where a variable is missing from the middle.
pub(super) fn of(class: &str, options: Option<Options>, is_keras_2: bool, count: usize) -> Option<Vec<&'static str>> {
    let (all, optional): (&[&str], _) = match class {
        "depthwise_conv1d" | "depthwise_conv2d" if is_keras_2 => (&["depthwise_kernel", "bias"], 1),
        "dense" | "einsum_dense" | "conv1d" | "conv2d" | "conv3d" | "conv1d_transpose" | "conv2d_transpose"
        | "conv3d_transpose" | "depthwise_conv1d" | "depthwise_conv2d" => (&["kernel", "bias"], 1),
        "separable_conv1d" | "separable_conv2d" => (&["depthwise_kernel", "pointwise_kernel", "bias"], 1),
        "lstm_cell" | "gru_cell" | "simple_rnn_cell" => (&["kernel", "recurrent_kernel", "bias"], 1),
        "embedding" => (&["embeddings"], 0),
        "p_re_lu" => (&["alpha"], 0),
        "normalization" => (&["mean", "variance", "count"], 0),
        "rms_normalization" => (&["scale"], 0),
        "layer_normalization" | "group_normalization" => {
            return scaled(options, count, &[]);
        }
        "batch_normalization" => return scaled(options, count, &["moving_mean", "moving_variance"]),
        _ => return None,
    };
    (count <= all.len() && count + optional >= all.len()).then(|| all[..count].to_vec())
}

/// Gamma and beta where the options have them, then what is always there. Without options the number must say it.
fn scaled(options: Option<Options>, count: usize, always: &[&'static str]) -> Option<Vec<&'static str>> {
    let (scale, center) = match options {
        Some(Options { scale: Some(scale), center: Some(center) }) => (scale, center),
        _ if count == always.len() => (false, false),
        _ if count == always.len() + 2 => (true, true),
        _ => return None,
    };
    let mut names = Vec::with_capacity(4);
    names.extend(scale.then_some("gamma"));
    names.extend(center.then_some("beta"));
    names.extend(always);
    (names.len() == count).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_which_variables_there_are() {
        let of = |class, options, count| super::of(class, Some(options), false, count);
        let without_scale = Options { scale: Some(false), center: Some(true) };
        let names = ["beta", "moving_mean", "moving_variance"];
        assert_eq!(of("batch_normalization", without_scale, 3).unwrap(), names);
        assert_eq!(of("batch_normalization", without_scale, 4), None);
        assert_eq!(
            of("layer_normalization", Options { scale: Some(true), center: Some(false) }, 1).unwrap(),
            ["gamma"]
        );
        assert_eq!(of("dense", Options::default(), 1).unwrap(), ["kernel"]);
        assert_eq!(of("dense", Options::default(), 3), None);
        assert_eq!(of("my_layer", Options::default(), 1), None);
    }

    #[test]
    fn without_options_a_number_that_says_too_little_names_nothing() {
        let names = ["gamma", "beta", "moving_mean", "moving_variance"];
        assert_eq!(of("batch_normalization", None, false, 4).unwrap(), names);
        assert_eq!(of("batch_normalization", None, false, 3), None);
        assert_eq!(of("depthwise_conv2d", None, true, 2).unwrap(), ["depthwise_kernel", "bias"]);
        assert_eq!(of("depthwise_conv2d", None, false, 2).unwrap(), ["kernel", "bias"]);
    }
}
