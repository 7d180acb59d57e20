//! DeepSpeech as data: a shape, from which parameters, frozen form and trainable form follow.

mod frozen;
mod shape;
mod trainable;

pub use frozen::{DeepSpeechStream, FrozenDeepSpeech};
pub use shape::DeepSpeechShape;
pub use trainable::DeepSpeech;
