//! Everything that can be wrong with a weight file.

use std::path::PathBuf;

/// What is wrong, with the file and the reason; [`WeightsError::help`] says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The operating system refused.
    #[error("cannot read `{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Not a format that we read.
    #[error("`{path}` is {found}, not a weight file that we read")]
    NotRecognized {
        /// The file.
        path: PathBuf,
        /// What it looks like.
        found: String,
        /// Names of the formats that we read.
        supported: String,
    },
    /// The file contradicts itself or is cut short.
    #[error("{format} file `{path}` is damaged: {reason}")]
    Malformed {
        /// Name of the format.
        format: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file asks for code to be run, or for something that no weights need.
    #[error("`{path}` asks for `{global}`, which is not part of plain weights: nothing was run")]
    Forbidden {
        /// The file.
        path: PathBuf,
        /// What it wants to load.
        global: String,
    },
    /// The file is whole and uses a part of its format that no weights need.
    #[error("{format} file `{path}` uses what we do not read: {what}")]
    Unsupported {
        /// Name of the format.
        format: &'static str,
        /// The file.
        path: PathBuf,
        /// What it uses.
        what: String,
    },
    /// Values would come from a place outside of the file or its folder.
    #[error("`{path}` points outside of itself: {what}")]
    Outside {
        /// The file.
        path: PathBuf,
        /// Where it points.
        what: String,
    },
    /// Something claims to be larger than it can be.
    #[error("`{path}`: {what} claims {claimed}, the limit is {limit}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: String,
        /// The claim.
        claimed: u64,
        /// The limit.
        limit: u64,
    },
    /// There is no array of that name.
    #[error("`{path}` has no array `{name}`")]
    MissingArray {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        name: String,
    },
    /// A type of numbers that we do not read.
    #[error("`{path}`: array `{name}` holds {dtype}, which cannot be read")]
    Type {
        /// The file.
        path: PathBuf,
        /// The array.
        name: String,
        /// What it holds.
        dtype: String,
    },
    /// An array that is no numbers was asked for as numbers.
    #[error("array `{name}` of {dtype} does not convert to f32")]
    Conversion {
        /// The array.
        name: String,
        /// What it holds.
        dtype: String,
    },
}

impl WeightsError {
    /// What the reader can do next.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::NotRecognized { supported, .. } => {
                format!("formats: {supported}; `headstart list formats` says more")
            }
            Self::Malformed { .. } | Self::TooLarge { .. } => {
                "the file may be cut short or changed: fetch it again and compare its checksum".to_owned()
            }
            Self::Forbidden { .. } => {
                "save the weights alone with torch.save(model.state_dict(), …), or better as safetensors".to_owned()
            }
            Self::Unsupported { .. } => {
                "save the weights again with a current version of the library, or as safetensors".to_owned()
            }
            Self::Outside { .. } => {
                "weights are read from the file and from beside it alone: put every part in one folder".to_owned()
            }
            Self::MissingArray { path, .. } => format!("`headstart inspect {}` lists its arrays", path.display()),
            Self::Io { .. } | Self::Type { .. } | Self::Conversion { .. } => return None,
        })
    }
}
