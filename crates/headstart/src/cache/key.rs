//! The digest of everything that features depend on, and of nothing else.

use headstart_data::augmentation::Augmentation;
use serde::Serialize;

use crate::network::Reading;
use crate::recipe::{Arithmetic, Pool, Precision};

/// Raised whenever the same key would give other bytes: a change of the kernels' order of sums, of decoding, of resizing.
const VERSION: u32 = 2;

/// What the features of a set are a function of.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CacheKey<'a> {
    pub(crate) backbone: &'a str,
    pub(crate) variant: &'a str,
    /// Of the frozen stages alone: what learns above the cut does not matter.
    pub(crate) weights: &'a str,
    pub(crate) conventions: Reading<'a>,
    /// Number of frozen stages.
    pub(crate) depth: usize,
    /// The part of the head without weights, if all stages are frozen.
    pub(crate) pool: Option<Pool>,
    /// The averages after every stage instead of what the last one gives.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) taps: bool,
    /// Of the published classifier, where its outputs are the features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) classifier: Option<&'a str>,
    pub(crate) view: ViewKey<'a>,
    /// What else decides the views beside the plain one, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) views: Option<&'a str>,
    pub(crate) precision: Precision,
    pub(crate) arithmetic: Arithmetic,
    /// Digest of the digests of the examples, in order.
    pub(crate) examples: &'a str,
    /// Kernels for another instruction set round differently.
    pub(crate) instruction_set: &'a str,
}

/// The view of every example of a set.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ViewKey<'a> {
    /// The plain picture: the seed and the augmentation do not matter.
    Plain,
    /// View `number` under a seed.
    Augmented {
        /// From 1.
        number: u32,
        seed: u64,
        augmentation: &'a Augmentation,
    },
}

impl CacheKey<'_> {
    /// The digest as a folder name.
    pub(crate) fn digest(&self) -> String {
        let text = serde_json::to_vec(self).expect("plain numbers, strings and enums");
        let mut hasher = blake3::Hasher::new();
        hasher.update(&VERSION.to_le_bytes());
        hasher.update(&text);
        hasher.finalize().to_hex()[..32].to_owned()
    }
}

/// Digest of the examples of a set, in order.
pub(crate) fn examples_digest(digests: &[[u8; 32]]) -> String {
    let mut hasher = blake3::Hasher::new();
    digests.iter().for_each(|digest| {
        hasher.update(digest);
    });
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbones::Conventions;
    use crate::nn::Padding;
    use headstart_data::preprocess::Preprocess;

    #[test]
    fn every_field_changes_the_key_and_nothing_else_does() {
        let conventions = |size| Conventions {
            family: "torchvision".into(),
            padding: Padding::Symmetric,
            batch_norm_epsilon: 1e-5,
            preprocess: Preprocess::torchvision(size),
        };
        let (at_224, at_96) = (conventions(224), conventions(96));
        let augmentation = Augmentation::photos();
        let key = CacheKey {
            backbone: "mobilenet_v2",
            variant: "1.0",
            weights: "w",
            conventions: Reading::Pictures(&at_224),
            depth: 9,
            pool: Some(Pool::Average),
            taps: false,
            classifier: None,
            view: ViewKey::Plain,
            views: None,
            precision: Precision::F32,
            arithmetic: Arithmetic::F32,
            examples: "e",
            instruction_set: "avx2",
        };
        let augmented = |number, seed| ViewKey::Augmented { number, seed, augmentation: &augmentation };
        let keys = [
            key.clone(),
            CacheKey { backbone: "vgg16", ..key.clone() },
            CacheKey { variant: "0.35", ..key.clone() },
            CacheKey { weights: "v", ..key.clone() },
            CacheKey { conventions: Reading::Pictures(&at_96), ..key.clone() },
            CacheKey { depth: 8, ..key.clone() },
            CacheKey { pool: Some(Pool::Flatten), ..key.clone() },
            CacheKey { taps: true, ..key.clone() },
            CacheKey { classifier: Some("c"), ..key.clone() },
            CacheKey { view: augmented(1, 0), ..key.clone() },
            CacheKey { view: augmented(2, 0), ..key.clone() },
            CacheKey { view: augmented(1, 1), ..key.clone() },
            CacheKey { precision: Precision::F16, ..key.clone() },
            CacheKey { arithmetic: Arithmetic::Bf16, ..key.clone() },
            CacheKey { examples: "f", ..key.clone() },
            CacheKey { instruction_set: "portable", ..key.clone() },
        ];
        let digests: std::collections::BTreeSet<String> = keys.iter().map(CacheKey::digest).collect();
        assert_eq!(digests.len(), keys.len());
        assert_eq!(key.digest(), key.clone().digest());
    }
}
