//! The backbones that travel in the binary, so that the first command works offline.
//!
//! For pictures MobileNetV2 0.35 at 128 pixels in f16, distilled as `examples/distil` documents; for texts a BERT of two
//! layers of width 128 in f16, made as `examples/tiny_bert` documents.

use std::path::Path;

use headstart_data::text::tokenizer::Tokenizer;

use crate::error::Result;
use crate::load::{Pretrained, PretrainedText, TextReader, load_checkpoint, transformer_of};

static BYTES: &[u8] = include_bytes!("../assets/mobilenet_v2_0.35_128.safetensors");
static TEXT_CONFIG: &str = include_str!("../assets/tiny_bert/config.json");
static TEXT_BYTES: &[u8] = include_bytes!("../assets/tiny_bert/model.safetensors");
static TEXT_TOKENIZER: &[u8] = include_bytes!("../assets/tiny_bert/tokenizer.json");

/// Name under which a recipe asks for it.
pub const NAME: &str = "embedded";

/// Licence of the text backbone: that of its teacher.
const TEXT_LICENCE: &str = "Apache-2.0";

/// Loads the embedded backbone of pictures.
///
/// # Errors
/// Never for an unmodified binary.
pub fn load() -> Result<Pretrained> {
    let checkpoint = headstart_weights::open_safetensors_bytes("embedded mobilenet_v2 0.35", BYTES)?;
    load_checkpoint(checkpoint.as_ref(), None, NAME.to_owned())
}

/// Loads the embedded backbone of texts, which reads `longest` tokens of a text at most.
///
/// # Errors
/// [`crate::Error::Recipe`] where `longest` is out of its reach; no other for an unmodified binary.
pub fn load_text(longest: Option<usize>) -> Result<PretrainedText> {
    let checkpoint = headstart_weights::open_safetensors_bytes("embedded bert", TEXT_BYTES)?;
    let config = serde_json::from_str(TEXT_CONFIG).unwrap_or_default();
    let transformer = transformer_of(Path::new("embedded config.json"), &config, checkpoint.as_ref(), NAME.to_owned())?;
    let reader = TextReader::new(Tokenizer::from_bytes(TEXT_TOKENIZER)?, &transformer.shape, longest)?;
    Ok(PretrainedText { transformer, reader, licence: Some(TEXT_LICENCE.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_travels_in_the_binary_is_whole_and_small() {
        load().unwrap();
        let text = load_text(None).unwrap();
        assert_eq!(text.transformer.shape.vocabulary, text.reader.tokenizer.vocabulary_size());
        assert!(TEXT_BYTES.len() + TEXT_TOKENIZER.len() < 3_000_000);
        assert!(load_text(Some(129)).is_err());
    }
}
