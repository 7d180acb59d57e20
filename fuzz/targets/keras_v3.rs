//! A `.keras` archive, whole or as configuration and HDF5 file, or a `.weights.h5` alone.
#![no_main]

use headstart_fuzz::{hold_to_limits, parts, stored};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((way, rest)) = input.split_first() else { return };
    let file = match way % 4 {
        0 | 1 => rest.to_vec(),
        _ => {
            let [config, metadata, weights] = parts(rest);
            stored(&[("metadata.json", metadata), ("config.json", config), ("model.weights.h5", weights)])
        }
    };
    hold_to_limits("keras v3", "model.keras", &[("model.keras", &file)]);
});
