//! A checkpoint of TensorFlow: an index and two shards.
#![no_main]

use headstart_fuzz::{hold_to_limits, parts};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let [first, second, index] = parts(input);
    let files =
        [("model.data-00000-of-00002", first), ("model.data-00001-of-00002", second), ("model.index", index)];
    hold_to_limits("tensorflow checkpoint", "model.index", &files);
    hold_to_limits("tensorflow checkpoint", "one.index", &[("one.data-00000-of-00001", first), ("one.index", index)]);
});
