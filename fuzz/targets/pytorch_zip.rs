//! A zip as torch writes it: whole, or a pickle and the bytes of every storage.
#![no_main]

use headstart_fuzz::{hold_to_limits, parts, stored};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((way, rest)) = input.split_first() else { return };
    let file = if way % 4 == 0 {
        rest.to_vec()
    } else {
        let [pickle, storage] = parts(rest);
        let keys: Vec<String> = (0..16).map(|key| format!("archive/data/{key}")).collect();
        let mut members = vec![("archive/data.pkl", pickle)];
        members.extend(keys.iter().map(|key| (key.as_str(), storage)));
        stored(&members)
    };
    hold_to_limits("pytorch", "model.pth", &[("model.pth", &file)]);
});
