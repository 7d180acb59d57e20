//! Keras's names for arrays, as one version of it would write them.
//!
//! Keras 3 and 2 write `layer/kernel`; Keras 1, whose files are still published, wrote `layer/layer_W_1`, and
//! `running_std` for what is a variance. What Keras 2 called `depthwise_kernel` is a `kernel` in Keras 3. Layers without a name of their own are numbered by class over the whole process
//! (`conv2d_94`), so that the same network has other names when it is built twice: only their order counts.

use std::collections::{BTreeMap, BTreeSet};

use headstart_weights::ArrayInfo;

/// Classes whose layers Keras numbers where they have no name.
const NUMBERED: [&str; 2] = ["conv2d", "batch_normalization"];

/// The names of a listing: `layer/variable`, numbered layers from 0 on in the order of their numbers.
pub(super) fn canonical(arrays: &[ArrayInfo]) -> Vec<String> {
    let names: Vec<String> = arrays.iter().map(|array| modern(&array.name)).collect();
    let mut numbers: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (class, number, _) in names.iter().filter_map(|name| numbered(name)) {
        numbers.entry(class).or_default().insert(number);
    }
    let order = |class: &str, number: usize| numbers[class].range(..number).count();
    let renumbered = |name: &String| match numbered(name) {
        Some((class, number, rest)) => format!("{class}_{}/{rest}", order(class, number)),
        None => name.clone(),
    };
    names.iter().map(renumbered).collect()
}

/// `conv2d_7/kernel` → (`conv2d`, 7, `kernel`); a layer without a number was the first of its class.
fn numbered(name: &str) -> Option<(&'static str, usize, &str)> {
    let (layer, variable) = name.rsplit_once('/')?;
    let class = NUMBERED.into_iter().find(|class| layer.starts_with(class))?;
    let number = match layer[class.len()..].strip_prefix('_') {
        Some(digits) => digits.parse().ok()?,
        None if layer.len() == class.len() => 0,
        None => return None,
    };
    Some((class, number, variable))
}

/// `block1_conv1/block1_conv1_W_1:0` → `block1_conv1/kernel`.
fn modern(name: &str) -> String {
    let Some((layer, variable)) = name.rsplit_once('/') else { return name.to_owned() };
    let variable = variable.split(':').next().unwrap_or(variable);
    if variable == "depthwise_kernel" {
        return format!("{layer}/kernel");
    }
    let own = layer.rsplit('/').next().unwrap_or(layer);
    let Some(rest) = variable.strip_prefix(own).and_then(|rest| rest.strip_prefix('_')) else {
        return format!("{layer}/{variable}");
    };
    let bare = rest.trim_end_matches(|letter: char| letter.is_ascii_digit()).trim_end_matches('_');
    let modern = match bare {
        "W" => "kernel",
        "b" => "bias",
        "running_mean" => "moving_mean",
        // Keras 1 called the variance so.
        "running_std" => "moving_variance",
        other => other,
    };
    format!("{layer}/{modern}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use headstart_weights::DType;

    fn names(listing: &[&str]) -> Vec<String> {
        let arrays: Vec<ArrayInfo> = listing
            .iter()
            .map(|name| ArrayInfo { name: (*name).to_owned(), shape: vec![1], dtype: DType::F32 })
            .collect();
        canonical(&arrays)
    }

    #[test]
    fn names_of_old_versions_become_those_of_new_ones() {
        assert_eq!(
            names(&[
                "block1_conv1/block1_conv1_W_1:0",
                "bn/bn_running_std_3",
                "fc1/kernel:0",
                "plain",
                "dw/depthwise_kernel"
            ]),
            ["block1_conv1/kernel", "bn/moving_variance", "fc1/kernel", "plain", "dw/kernel"]
        );
    }

    #[test]
    fn numbered_layers_count_from_zero_in_the_order_of_their_numbers() {
        let listing = ["conv2d_94/kernel", "conv2d_9/kernel", "conv2d_10/bias", "conv2d_transpose_1/kernel"];
        assert_eq!(
            names(&listing),
            ["conv2d_2/kernel", "conv2d_0/kernel", "conv2d_1/bias", "conv2d_transpose_1/kernel"]
        );
        assert_eq!(names(&["conv2d/kernel", "conv2d_1/kernel"]), ["conv2d_0/kernel", "conv2d_1/kernel"]);
    }
}
