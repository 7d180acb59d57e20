//! Recordings: decoding, resampling, what is wrong with them, features and augmentation.
//!
//! Whatever a file holds becomes mono `f32` between −1 and 1 at [`SAMPLE_RATE`], block by block, so that a recording of
//! any length takes the same memory.

pub mod augment;
pub mod decode;
pub mod features;
pub mod findings;
mod frames;
pub mod mel;
pub mod recording;
pub mod resample;

/// Samples a second of everything behind the decoder.
pub const SAMPLE_RATE: u32 = 16_000;

/// Extensions of the formats that we read, in lower case.
pub const EXTENSIONS: &[&str] = &["wav", "wave", "flac", "mp3", "ogg", "oga"];

/// Whether a path has the extension of a recording, in any case.
pub fn has_audio_extension(path: &std::path::Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()))
}
