//! Everything that can be wrong with data.

use std::path::PathBuf;

/// What is wrong, with the file and the reason; [`DataError::help`] says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("cannot read `{path}`: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The operating system refused to write.
    #[error("cannot write `{path}`: {source}")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file is not a picture that we can read.
    #[error("`{path}`: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why, in plain words.
        reason: String,
    },
    /// A file is not a recording that we can read.
    #[error("`{path}`: {reason}")]
    UnreadableAudio {
        /// The file.
        path: PathBuf,
        /// Why, in plain words.
        reason: String,
    },
    /// A picture is larger than we are willing to decode.
    #[error("`{path}`: {width} × {height} pixels is too large")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// A data set cannot be used as it is.
    #[error("data set `{path}`: {reason}")]
    Layout {
        /// The folder.
        path: PathBuf,
        /// What was found.
        reason: String,
        /// What to do.
        help: String,
    },
    /// A tokenizer cannot be used as it is.
    #[error("tokenizer `{path}`: {reason}")]
    Tokenizer {
        /// The file or folder.
        path: PathBuf,
        /// What was found.
        reason: String,
        /// What to do.
        help: String,
    },
    /// A language model cannot be used as it is.
    #[error("language model `{path}`: {reason}")]
    LanguageModel {
        /// The file.
        path: PathBuf,
        /// The line and what was found.
        reason: String,
        /// What to do.
        help: String,
    },
    /// Features of recordings cannot be computed with these numbers.
    #[error("features of recordings: {reason}")]
    Features {
        /// Which, and what was expected.
        reason: String,
    },
    /// Stopped on request.
    #[error("stopped")]
    Interrupted,
}

impl DataError {
    /// What the reader can do next.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Layout { help, .. } | Self::Tokenizer { help, .. } | Self::LanguageModel { help, .. } => {
                Some(help.clone())
            }
            Self::TooLarge { .. } => Some("pictures of up to 89 million pixels are read; make it smaller".to_owned()),
            Self::Unreadable { .. } => Some("JPEG, PNG, WebP, GIF, BMP and TIFF can be read".to_owned()),
            Self::UnreadableAudio { .. } => Some("WAV, FLAC, MP3 and OGG Vorbis can be read".to_owned()),
            Self::Features { .. } => Some("take the features that the network was trained on".to_owned()),
            Self::Io { .. } | Self::Write { .. } | Self::Interrupted => None,
        }
    }
}
