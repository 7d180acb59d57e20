//! Pictures: decoding and resizing.

mod decode;
mod resize;

pub use ::image::RgbImage;
pub use decode::{EXTENSIONS, decode, decode_bytes, dimensions, has_image_extension};
pub use resize::{Region, resize_bilinear, resize_region};
