//! The backbone that travels in the binary, so that the first command works offline.
//!
//! MobileNetV2 0.35 at 128 pixels in f16, distilled as `examples/distil` documents.

use crate::error::Result;
use crate::load::{Pretrained, load_checkpoint};

static BYTES: &[u8] = include_bytes!("../assets/mobilenet_v2_0.35_128.safetensors");

/// Name under which a recipe asks for it.
pub const NAME: &str = "embedded";

/// Loads the embedded backbone.
///
/// # Errors
/// Never for an unmodified binary.
pub fn load() -> Result<Pretrained> {
    let checkpoint = headstart_weights::open_safetensors_bytes("embedded mobilenet_v2 0.35", BYTES)?;
    load_checkpoint(checkpoint.as_ref(), None, NAME.to_owned())
}
