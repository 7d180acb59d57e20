//! Files to examples: decoding, preprocessing, augmentation, data set layouts and splits.

pub mod synthetic;
