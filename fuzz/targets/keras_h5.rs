//! An HDF5 file of Keras.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    headstart_fuzz::hold_to_limits("keras h5", "model.h5", &[("model.h5", input)]);
});
