//! Files to examples: decoding, preprocessing, augmentation, data set layouts and splits.
//!
//! Knows samples; no engine, no backbone, no loss.

pub mod audio;
pub mod augmentation;
pub mod boxes;
pub mod error;
pub mod image;
pub mod layouts;
pub mod perceptual_hash;
pub mod preprocess;
pub mod scan;
pub mod speech;
pub mod split;
pub mod synthetic;
pub mod text;
