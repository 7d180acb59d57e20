//! The bytes of a text file in UTF-8, whatever they were written in.

use std::borrow::Cow;
use std::path::Path;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use crate::error::DataError;

/// Larger files are refused: they are read whole.
const MOST_BYTES: u64 = 4 << 30;

/// A text file in UTF-8. Where a UTF-8 file is damaged in some places it stays so: whoever reads a line checks it.
#[derive(Debug)]
pub(crate) struct TextBytes {
    pub(crate) bytes: Vec<u8>,
    /// What a user should be told.
    pub(crate) note: Option<String>,
}

/// Reads a text file: by its byte order mark; else UTF-8, UTF-16 if every second byte is zero, or Windows-1252 where
/// hardly any byte above 127 belongs to a whole UTF-8 character.
///
/// # Errors
/// [`DataError::Io`]; [`DataError::Layout`] where the file is no text, or above 4 GiB.
pub(crate) fn read(path: &Path) -> Result<TextBytes, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let length = std::fs::metadata(path).map_err(io)?.len();
    if length > MOST_BYTES {
        let reason = format!("{length} bytes are more than the 4 GiB that are read of one file");
        return Err(DataError::Layout {
            path: path.to_owned(),
            reason,
            help: "split it into several files".to_owned(),
        });
    }
    to_utf8(path, std::fs::read(path).map_err(io)?)
}

/// Bytes of a text file in UTF-8; see [`read`].
pub(crate) fn to_utf8(path: &Path, mut bytes: Vec<u8>) -> Result<TextBytes, DataError> {
    let refuse = |reason: &str| {
        let help = "save it as UTF-8".to_owned();
        Err(DataError::Layout { path: path.to_owned(), reason: reason.to_owned(), help })
    };
    if bytes.starts_with(&[0xff, 0xfe, 0, 0]) || bytes.starts_with(&[0, 0, 0xfe, 0xff]) {
        return refuse("it is written in UTF-32, which is not read");
    }
    if let Some((encoding, mark)) = Encoding::for_bom(&bytes) {
        if encoding == UTF_8 {
            bytes.drain(..mark);
            return Ok(TextBytes { bytes, note: None });
        }
        return Ok(decoded(path, encoding, &bytes));
    }
    if let Some(encoding) = zeros_of_utf16(&bytes) {
        return Ok(decoded(path, encoding, &bytes));
    }
    let head = &bytes[..bytes.len().min(1 << 16)];
    if head.iter().filter(|byte| **byte == 0).count() * 50 > head.len() {
        return refuse("it is no text file");
    }
    let (whole, broken) = wide_characters(&bytes);
    if broken > whole {
        return Ok(decoded(path, WINDOWS_1252, &bytes));
    }
    let note = (broken > 0).then(|| format!("`{}` is UTF-8 with {broken} damaged places", path.display()));
    Ok(TextBytes { bytes, note })
}

fn decoded(path: &Path, encoding: &'static Encoding, bytes: &[u8]) -> TextBytes {
    let (text, _, _) = encoding.decode(bytes);
    let note = Some(format!("`{}` was read as {}", path.display(), encoding.name()));
    let bytes = match text {
        Cow::Borrowed(text) => text.as_bytes().to_vec(),
        Cow::Owned(text) => text.into_bytes(),
    };
    TextBytes { bytes, note }
}

/// UTF-16 of mostly Latin text without a mark has a zero in every second byte.
fn zeros_of_utf16(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = &bytes[..bytes.len().min(4096) & !1];
    let zeros = |first: usize| head.iter().skip(first).step_by(2).filter(|byte| **byte == 0).count();
    let pairs = head.len() / 2;
    let (even, odd) = (zeros(0), zeros(1));
    if pairs < 4 {
        None
    } else if odd * 10 > pairs * 7 && even * 20 < pairs {
        Some(UTF_16LE)
    } else if even * 10 > pairs * 7 && odd * 20 < pairs {
        Some(UTF_16BE)
    } else {
        None
    }
}

/// Characters beyond ASCII that are whole UTF-8, and places that are not UTF-8 at all.
fn wide_characters(bytes: &[u8]) -> (usize, usize) {
    let (mut whole, mut broken) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        whole += chunk.valid().bytes().filter(|byte| *byte >= 0xc0).count();
        broken += usize::from(!chunk.invalid().is_empty());
    }
    (whole, broken)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Grüße aus Köln, 5 €\nzweite Zeile: naïve café\n";

    fn read_back(bytes: &[u8]) -> String {
        String::from_utf8(to_utf8(Path::new("x.csv"), bytes.to_vec()).unwrap().bytes).unwrap()
    }

    #[test]
    fn every_usual_encoding_is_read_as_the_same_text() {
        assert_eq!(read_back(TEXT.as_bytes()), TEXT);
        assert_eq!(read_back(format!("\u{feff}{TEXT}").as_bytes()), TEXT);
        assert_eq!(read_back(&WINDOWS_1252.encode(TEXT).0), TEXT);
        for mark in [true, false] {
            let units = mark.then_some(0xfeff).into_iter().chain(TEXT.encode_utf16());
            let little: Vec<u8> = units.clone().flat_map(u16::to_le_bytes).collect();
            let big: Vec<u8> = units.flat_map(u16::to_be_bytes).collect();
            assert_eq!(read_back(&little), TEXT, "mark {mark}");
            assert_eq!(read_back(&big), TEXT, "mark {mark}");
        }
    }

    #[test]
    fn a_damaged_utf8_file_is_not_taken_for_latin() {
        let mut bytes = TEXT.as_bytes().to_vec();
        bytes.extend(b"broken \xff here\n");
        let read = to_utf8(Path::new("x.csv"), bytes.clone()).unwrap();
        assert_eq!(read.bytes, bytes);
        assert!(read.note.unwrap().contains("1 damaged"));
    }

    #[test]
    fn what_is_no_text_is_refused() {
        for bytes in [b"\xff\xfe\0\0a\0\0\0".to_vec(), vec![0; 100], [0, 0, 0, 1, 2, 3].repeat(100)] {
            assert!(matches!(to_utf8(Path::new("x.csv"), bytes), Err(DataError::Layout { .. })));
        }
    }
}
