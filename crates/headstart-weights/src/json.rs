//! JSON whose size in memory is known before it is read.

use serde::de::DeserializeOwned;

/// Estimated bytes of memory for an object, and for each value after another.
const OF_OBJECT: u64 = 704;
const OF_VALUE: u64 = 64;

/// Memory that any JSON may take, in bytes, and how much more for each byte that its file has on disk. A plain file never
/// reaches it; one that was packed in a zip to be large does.
const LEAST: u64 = 64 << 20;
const BY_LENGTH: u64 = 64;

/// Reads JSON that comes from a file of `length` bytes.
///
/// # Errors
/// In words.
pub(crate) fn parse<T: DeserializeOwned>(json: &[u8], length: u64) -> Result<T, String> {
    // What stands in texts is counted too, which errs on the safe side.
    let needed = json.iter().fold(0u64, |sum, byte| {
        sum + match byte {
            b'{' => OF_OBJECT,
            b'[' | b',' => OF_VALUE,
            _ => 0,
        }
    });
    if needed > LEAST.saturating_add(BY_LENGTH.saturating_mul(length)) {
        return Err("it has more values than a file of its size is good for: it is made to be large".to_owned());
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}
