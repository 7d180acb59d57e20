//! DeepSpeech as data: a shape, from which parameters, frozen form and trainable form follow.

mod frozen;
#[cfg(test)]
mod parity;
mod shape;
mod trainable;

pub use frozen::{DeepSpeechStream, FrozenDeepSpeech};
pub use shape::DeepSpeechShape;
pub use trainable::DeepSpeech;
