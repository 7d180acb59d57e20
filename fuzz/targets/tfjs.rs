//! A model of TensorFlow.js: a manifest and two shards in a folder or a zip, or a zip of any kind.
#![no_main]

use headstart_fuzz::{hold_to_limits, parts, stored};

const NAME: &str = "tensorflow.js";

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((way, rest)) = input.split_first() else { return };
    if way % 4 == 0 {
        hold_to_limits(NAME, "model.zip", &[("model.zip", rest)]);
        return;
    }
    let [manifest, first, second] = parts(rest);
    let files = [("model.json", manifest), ("a", first), ("b", second)];
    if way % 4 == 1 {
        hold_to_limits(NAME, "model.zip", &[("model.zip", &stored(&files))]);
    } else {
        hold_to_limits(NAME, "model.json", &files);
    }
});
