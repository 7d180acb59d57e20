//! The digest that a repository states of each file, and the bytes held against it.

use std::fmt;
use std::io::Read;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// What a repository says of a file's bytes. It is the file's ETag and the name of its blob in the cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// Of large files (Git LFS).
    Sha256([u8; 32]),
    /// Of small files: git's SHA-1 of `blob`, the length and the bytes.
    GitSha1([u8; 20]),
}

impl Digest {
    /// Reads 64 or 40 hexadecimal digits; nothing else is a digest, and nothing else becomes the name of a file.
    pub fn from_hex(text: &str) -> Option<Self> {
        fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
            let mut bytes = [0; N];
            for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                let digit = |digit: u8| char::from(digit).to_digit(16);
                *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
            }
            Some(bytes)
        }
        match text.len() {
            64 => bytes(text).map(Self::Sha256),
            40 => bytes(text).map(Self::GitSha1),
            _ => None,
        }
    }

    /// Reads the value of an ETag header: `"abc…"`, or weak as `W/"abc…"`.
    pub(crate) fn from_etag(value: &str) -> Option<Self> {
        Self::from_hex(value.strip_prefix("W/").unwrap_or(value).trim_matches('"'))
    }

    /// Lower-case hexadecimal.
    pub fn to_hex(&self) -> String {
        let bytes: &[u8] = match self {
            Self::Sha256(bytes) => bytes,
            Self::GitSha1(bytes) => bytes,
        };
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// `sha256:…` or `git-sha1:…`.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Sha256(_) => "sha256",
            Self::GitSha1(_) => "git-sha1",
        };
        write!(f, "{kind}:{}", self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A digest under way, of the kind that is expected.
pub(crate) enum Hasher {
    Sha256(Sha256),
    GitSha1(Sha1),
}

impl Hasher {
    /// For a file of `size` bytes that should have the digest `expected`.
    pub(crate) fn new(expected: Digest, size: u64) -> Self {
        match expected {
            Digest::Sha256(_) => Self::Sha256(Sha256::new()),
            Digest::GitSha1(_) => Self::GitSha1(Sha1::new_with_prefix(format!("blob {size}\0"))),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitSha1(hasher) => hasher.update(bytes),
        }
    }

    /// Everything that `reader` still has.
    pub(crate) fn update_reader(&mut self, mut reader: impl Read) -> std::io::Result<()> {
        let mut buffer = vec![0; 1 << 18];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => self.update(&buffer[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::Sha256(hasher.finalize().into()),
            Self::GitSha1(hasher) => Digest::GitSha1(hasher.finalize().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_and_sha256_digests_are_the_known_ones() {
        // `printf 'hello\n' | git hash-object --stdin`, and the same through sha256sum.
        let git = Digest::from_etag("\"ce013625030ba8dba906f756967f9e9ca394464a\"").unwrap();
        let sha = Digest::from_etag("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03").unwrap();
        for expected in [git, sha] {
            let mut hasher = Hasher::new(expected, 6);
            hasher.update_reader(&b"hello\n"[..]).unwrap();
            assert_eq!(hasher.finish(), expected);
        }
        assert_eq!(git.to_string(), "git-sha1:ce013625030ba8dba906f756967f9e9ca394464a");
    }

    #[test]
    fn nothing_but_hexadecimal_is_a_digest() {
        let forty = "../../../../../../../../../../etc/passwd.";
        for text in ["", "abc", forty, &"g".repeat(64), &"é".repeat(20), "d41d8cd98f00b204e9800998ecf8427e"] {
            assert_eq!(Digest::from_etag(text), None, "{text}");
        }
        assert!(Digest::from_etag(&format!("W/\"{}\"", "0A".repeat(32))).is_some());
    }
}
