//! Any picture file → 8-bit RGB, upright.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor};
use std::panic::AssertUnwindSafe;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use crate::error::DataError;

/// Extensions of the picture formats that we read, in lower case.
pub const EXTENSIONS: &[&str] = &["jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "dib", "tif", "tiff"];

/// Most pixels of a picture: what Pillow warns of as a decompression bomb.
const MOST_PIXELS: u64 = 89_478_485;

/// Longest side in pixels.
const LONGEST_SIDE: u32 = 65_535;

/// Most bytes that decoding one picture may take.
const MOST_BYTES: u64 = 1 << 30;

/// Whether a path has the extension of a picture, in any case.
pub fn has_image_extension(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| EXTENSIONS.contains(&extension.to_ascii_lowercase().as_str()))
}

/// Decodes a picture file.
///
/// The format is found by content, not by extension. EXIF orientation is applied; grey, palette, 16-bit and CMYK
/// pictures become 8-bit RGB; transparent pixels are laid over white, as a viewer shows them. Of an animation, the first
/// frame.
///
/// # Errors
/// [`DataError::Io`], [`DataError::Unreadable`] with the reason in plain words, [`DataError::TooLarge`].
pub fn decode(path: &Path) -> Result<RgbImage, DataError> {
    let bytes = std::fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    decode_bytes(path, &bytes)
}

/// [`decode`] for bytes in memory; `path` is for messages.
///
/// # Errors
/// See [`decode`].
pub fn decode_bytes(path: &Path, bytes: &[u8]) -> Result<RgbImage, DataError> {
    let unreadable = |reason: String| DataError::Unreadable { path: path.to_owned(), reason };
    let format = match image::guess_format(bytes) {
        Ok(format) if is_supported(format) => format,
        _ => return Err(unreadable(what_it_is(bytes).to_owned())),
    };
    if let Some(reason) = truncation(format, bytes) {
        return Err(unreadable(reason.to_owned()));
    }
    // Decoders are other people's code on other people's bytes: a panic of theirs is a bad file, not the end of a run.
    std::panic::catch_unwind(AssertUnwindSafe(|| decode_as(path, bytes, format)))
        .unwrap_or_else(|_| Err(unreadable("the decoder failed on it".to_owned())))
}

/// Width and height of a picture file as it is shown upright; nothing but its head is read.
///
/// # Errors
/// See [`decode`]; a file that is cut short behind its head is not noticed.
pub fn dimensions(path: &Path) -> Result<(u32, u32), DataError> {
    let failed = |source| DataError::Io { path: path.to_owned(), source };
    let unreadable = |reason: String| DataError::Unreadable { path: path.to_owned(), reason };
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let head = file.fill_buf().map_err(failed)?;
    let format = match image::guess_format(head) {
        Ok(format) if is_supported(format) => format,
        _ => return Err(unreadable(what_it_is(head).to_owned())),
    };
    let damaged = |error: image::ImageError| unreadable(format!("damaged {}: {error}", name(format)));
    let measured = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut decoder = ImageReader::with_format(file, format).into_decoder().map_err(damaged)?;
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        Ok((decoder.dimensions(), orientation))
    }));
    let ((width, height), orientation) =
        measured.unwrap_or_else(|_| Err(unreadable("the decoder failed on it".to_owned())))?;
    check_size(path, width, height)?;
    Ok(match orientation {
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH => {
            (height, width)
        }
        _ => (width, height),
    })
}

/// Refuses pictures that are too large or have no pixels.
fn check_size(path: &Path, width: u32, height: u32) -> Result<(), DataError> {
    if u64::from(width) * u64::from(height) > MOST_PIXELS || width.max(height) > LONGEST_SIDE {
        return Err(DataError::TooLarge { path: path.to_owned(), width, height });
    }
    if width == 0 || height == 0 {
        return Err(DataError::Unreadable { path: path.to_owned(), reason: "it has no pixels".to_owned() });
    }
    Ok(())
}

fn decode_as(path: &Path, bytes: &[u8], format: ImageFormat) -> Result<RgbImage, DataError> {
    let failed = |error: image::ImageError| DataError::Unreadable {
        path: path.to_owned(),
        reason: format!("damaged {}: {error}", name(format)),
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    check_size(path, width, height)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
    picture.apply_orientation(orientation);
    Ok(over_white(picture))
}

/// RGB, transparent pixels laid over white.
fn over_white(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    let (width, height) = rgba.dimensions();
    let mut rgb = Vec::with_capacity((width * height * 3) as usize);
    for [red, green, blue, alpha] in rgba.pixels().map(|pixel| pixel.0) {
        let alpha = u32::from(alpha);
        let blend = |channel: u8| ((u32::from(channel) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        rgb.extend([blend(red), blend(green), blend(blue)]);
    }
    RgbImage::from_raw(width, height, rgb).expect("three bytes a pixel")
}

fn is_supported(format: ImageFormat) -> bool {
    use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
    matches!(format, Jpeg | Png | WebP | Gif | Bmp | Tiff)
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        _ => "TIFF",
    }
}

/// What a file that is no picture is instead.
fn what_it_is(bytes: &[u8]) -> &'static str {
    let head = &bytes[..bytes.len().min(512)];
    if bytes.is_empty() {
        "zero bytes"
    } else if head.starts_with(b"%PDF") {
        "a PDF, not a picture"
    } else if head.get(4..8) == Some(b"ftyp") {
        "a HEIC, AVIF or video file, which we cannot read; convert it to JPEG"
    } else if head.starts_with(b"PK\x03\x04") {
        "a zip archive, not a picture"
    } else if head.starts_with(b"version https://git-lfs") {
        "a Git LFS pointer: the picture itself was not fetched"
    } else if std::str::from_utf8(head).is_ok() && !head.contains(&0) {
        "a text file, not a picture"
    } else {
        "not a picture format that we read"
    }
}

/// Decoders fill up what is missing of a JPEG with grey and say nothing; half a photo is not the photo.
fn truncation(format: ImageFormat, bytes: &[u8]) -> Option<&'static str> {
    match format {
        ImageFormat::Jpeg => {
            // Cameras and editors append bytes after the end marker, so it need not be the last two.
            let has_end = bytes.windows(2).rev().any(|pair| pair == [0xff, 0xd9]);
            (!has_end || !ends_after_last_scan(bytes)).then_some("truncated JPEG")
        }
        ImageFormat::Png => (!bytes.windows(4).rev().any(|four| four == b"IEND")).then_some("truncated PNG"),
        _ => None,
    }
}

/// Whether an end marker follows the last start-of-scan marker: an embedded thumbnail has an end marker of its own.
fn ends_after_last_scan(bytes: &[u8]) -> bool {
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    match (last(0xda), last(0xd9)) {
        (Some(scan), Some(end)) => end > scan,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::jpeg::JpegEncoder;

    fn gradient(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 5) as u8, (y * 7) as u8, ((x + y) * 3) as u8]))
    }

    fn encoded(format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        gradient(40, 30).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn reason(bytes: &[u8]) -> String {
        decode_bytes(Path::new("photo.jpg"), bytes).unwrap_err().to_string()
    }

    #[test]
    fn every_format_is_found_by_content_and_lossless_ones_are_exact() {
        use ImageFormat::{Bmp, Gif, Jpeg, Png, Tiff, WebP};
        for format in [Jpeg, Png, WebP, Bmp, Tiff, Gif] {
            let picture = decode_bytes(Path::new("wrong.extension"), &encoded(format)).unwrap();
            assert_eq!(picture.dimensions(), (40, 30));
            if !matches!(format, Jpeg | Gif) {
                assert_eq!(picture, gradient(40, 30), "{format:?}");
            }
        }
    }

    #[test]
    fn a_truncated_file_is_an_error_at_any_length() {
        for format in [ImageFormat::Jpeg, ImageFormat::Png] {
            let whole = encoded(format);
            for part in 1..20 {
                let cut = &whole[..whole.len() * part / 20];
                assert!(decode_bytes(Path::new("a"), cut).is_err(), "{format:?} {part}/20");
            }
        }
        let whole = encoded(ImageFormat::Jpeg);
        assert!(reason(&whole[..whole.len() - 2]).contains("truncated JPEG"));
    }

    #[test]
    fn bytes_after_the_end_of_a_jpeg_do_no_harm() {
        let mut bytes = encoded(ImageFormat::Jpeg);
        bytes.extend(b"camera maker's trailer");
        assert!(decode_bytes(Path::new("a"), &bytes).is_ok());
    }

    #[test]
    fn reasons_are_in_plain_words() {
        assert!(reason(b"").contains("zero bytes"));
        assert!(reason(b"hello, this is no photo\n").contains("text file"));
        assert!(reason(b"\0\x01\x02\x03\x04\x05random").contains("not a picture format"));
        assert!(reason(b"\0\0\0\x18ftypheic\0\0\0\0").contains("HEIC"));
    }

    #[test]
    fn a_decompression_bomb_is_refused_by_its_header() {
        // A PNG that claims 60 000 × 60 000 pixels.
        let mut bomb = encoded(ImageFormat::Png);
        bomb[16..20].copy_from_slice(&60_000u32.to_be_bytes());
        bomb[20..24].copy_from_slice(&60_000u32.to_be_bytes());
        let checksum = crc(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
        let error = decode_bytes(Path::new("bomb.png"), &bomb).unwrap_err();
        assert!(matches!(error, DataError::TooLarge { width: 60_000, .. }) || error.to_string().contains("bomb.png"));
    }

    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
        })
    }

    #[test]
    fn transparent_pixels_are_white() {
        let picture = image::RgbaImage::from_fn(2, 1, |x, _| image::Rgba([10, 20, 30, if x == 0 { 0 } else { 255 }]));
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        let rgb = decode_bytes(Path::new("a"), bytes.get_ref()).unwrap();
        assert_eq!(rgb.get_pixel(0, 0).0, [255, 255, 255]);
        assert_eq!(rgb.get_pixel(1, 0).0, [10, 20, 30]);
    }

    #[test]
    fn exif_orientation_is_applied() {
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, 95).encode_image(&gradient(40, 30)).unwrap();
        // EXIF with orientation 6: rotate by 90° clockwise to see it upright.
        let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec();
        let mut segment = vec![0xff, 0xe1];
        segment.extend((exif.len() as u16 + 2).to_be_bytes());
        segment.append(&mut exif);
        jpeg.splice(2..2, segment);
        let turned = decode_bytes(Path::new("a"), &jpeg).unwrap();
        assert_eq!(turned.dimensions(), (30, 40));
        let plain = gradient(40, 30);
        let (found, expected) = (turned.get_pixel(29, 0).0, plain.get_pixel(0, 0).0);
        assert!(found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) < 25), "{found:?} {expected:?}");
    }
}
