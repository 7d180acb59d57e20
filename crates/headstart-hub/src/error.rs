//! Everything that can go wrong between a name and a verified file.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// What is wrong, with the nouns a reader needs; [`HubError::help`] says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Not the name of a repository, a revision or a file.
    #[error("`{text}` does not name a file of a repository: {reason}")]
    Reference {
        /// What was written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No folder is known for the cache.
    #[error("there is no home folder, so no place for the Hugging Face cache")]
    NoCacheFolder,
    /// An environment variable or the token cannot be used.
    #[error("{name} cannot be used: {reason}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The repository does not exist, or is hidden from us.
    #[error("{endpoint} has no repository `{repository}`, or it is private")]
    NoRepository {
        /// Who was asked.
        endpoint: String,
        /// The repository.
        repository: String,
    },
    /// The repository is not given to everybody.
    #[error("{endpoint} does not give `{repository}` {}: {status}", if *.with_token { "to the owner of this token" } else { "without a token" })]
    Refused {
        /// Who was asked.
        endpoint: String,
        /// The repository.
        repository: String,
        /// Status of the answer.
        status: u16,
        /// Whether a token was sent.
        with_token: bool,
    },
    /// The repository has no such branch, tag or commit.
    #[error("repository `{repository}` has no revision `{revision}`")]
    NoRevision {
        /// The repository.
        repository: String,
        /// What was asked for.
        revision: String,
    },
    /// The revision has no such file.
    #[error("repository `{repository}` has no file `{file}` at revision `{revision}`")]
    NoFile {
        /// The repository.
        repository: String,
        /// Branch, tag or commit.
        revision: String,
        /// What was asked for.
        file: String,
    },
    /// No file was named, and there is none or more than one that could be meant.
    #[error("which file of `{repository}` holds the weights cannot be told: {reason}")]
    NoWeights {
        /// The repository.
        repository: String,
        /// None or several.
        reason: String,
    },
    /// Offline mode is on and the file is not in the cache.
    #[error("`{reference}` is not in the cache `{cache}`, and offline mode is on")]
    Offline {
        /// What was asked for.
        reference: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// Nobody answers.
    #[error("{endpoint} cannot be reached: {reason}")]
    Unreachable {
        /// Who was asked.
        endpoint: String,
        /// What the network says.
        reason: String,
    },
    /// The server has trouble of its own.
    #[error("{url} answers {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// Status of the answer.
        status: u16,
    },
    /// An answer that makes no sense.
    #[error("{url} gives an answer that cannot be used: {reason}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// Something claims to be larger than it may be.
    #[error("`{what}` claims {claimed} bytes; more than {limit} are not fetched")]
    TooLarge {
        /// The file or answer.
        what: String,
        /// Its claim.
        claimed: u64,
        /// What we take.
        limit: u64,
    },
    /// The connection broke too often.
    #[error("`{file}` broke off after {received} of {size} bytes: {reason}")]
    Cut {
        /// The file.
        file: String,
        /// Bytes that are there and kept.
        received: u64,
        /// Bytes that it has.
        size: u64,
        /// What the network says.
        reason: String,
    },
    /// The server sends another number of bytes than it said.
    #[error("`{file}` has {expected} bytes by its description, but the server sends {found}")]
    Size {
        /// The file.
        file: String,
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that come.
        found: String,
    },
    /// The bytes are not those that the repository names.
    #[error("`{file}` is not what its repository says: expected {expected}, found {found}")]
    Digest {
        /// The file, or its place in the cache.
        file: String,
        /// What the repository says.
        expected: Digest,
        /// What the bytes are.
        found: Digest,
    },
    /// The disk is full.
    #[error("no room on the disk for `{path}`")]
    DiskFull {
        /// What was written.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The stop flag was set.
    #[error("stopped while fetching `{file}`")]
    Stopped {
        /// The file.
        file: String,
    },
}

impl HubError {
    /// Whether nobody could be asked: the answer may be another one tomorrow, and something else may serve today.
    pub fn is_out_of_reach(&self) -> bool {
        match self {
            Self::Offline { .. } | Self::Unreachable { .. } => true,
            Self::Status { status, .. } => *status >= 500 || *status == 429,
            _ => false,
        }
    }

    /// What the reader can do next.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Reference { .. } => {
                "write hf:ORGANIZATION/NAME, with @REVISION and :FILE if need be: hf:timm/resnet18.tv_in1k@main:model.safetensors"
                    .to_owned()
            }
            Self::NoCacheFolder => "set HF_HOME to a folder that can be written".to_owned(),
            Self::Setting { name, .. } => format!("correct or unset {name}"),
            Self::NoRepository { endpoint, repository } => format!(
                "compare the name with {endpoint}/{repository}; for a private repository set HF_TOKEN, or run `hf auth login`"
            ),
            Self::Refused { endpoint, repository, with_token: false, .. } => format!(
                "ask for access at {endpoint}/{repository}, make a token at {endpoint}/settings/tokens, then set HF_TOKEN or run `hf auth login`"
            ),
            Self::Refused { endpoint, repository, with_token: true, .. } => {
                format!("ask for access at {endpoint}/{repository}, or use a token of somebody who has it")
            }
            Self::NoRevision { repository, .. } => {
                format!("leave out @REVISION for the main branch of `{repository}`, or name a branch, tag or commit")
            }
            Self::NoFile { repository, .. } => {
                format!("leave out :FILE to let the weight file of `{repository}` be found")
            }
            Self::NoWeights { repository, .. } => format!("name it: hf:{repository}:FILE"),
            Self::Offline { .. } => {
                "unset HF_HUB_OFFLINE to fetch it, or give a weight file that is here with --weights FILE".to_owned()
            }
            Self::Unreachable { .. } | Self::Status { .. } => {
                "try again later, or give a weight file that is here with --weights FILE; HF_ENDPOINT names a mirror"
                    .to_owned()
            }
            Self::Answer { .. } | Self::Size { .. } => {
                "a proxy or mirror may be in between: look at HF_ENDPOINT and HTTPS_PROXY".to_owned()
            }
            Self::Cut { .. } => "run the command again: it goes on where it stopped".to_owned(),
            Self::Digest { .. } => {
                "it was fetched anew and was wrong again, or could not be fetched: do not use it, and try later or another endpoint"
                    .to_owned()
            }
            Self::DiskFull { .. } => {
                "make room, or set HF_HOME to a folder on another disk; what has arrived is kept and not fetched again"
                    .to_owned()
            }
            Self::Stopped { .. } => "run the command again: it goes on where it stopped".to_owned(),
            Self::TooLarge { .. } | Self::Io { .. } => return None,
        })
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { action, path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_from_other_refusals() {
        let path = Path::new("blobs/abc.incomplete");
        let full = HubError::io("write", path)(ErrorKind::StorageFull.into());
        assert!(matches!(full, HubError::DiskFull { .. }));
        assert!(full.help().is_some_and(|help| help.contains("HF_HOME")));
        assert!(matches!(HubError::io("write", path)(ErrorKind::PermissionDenied.into()), HubError::Io { .. }));
    }

    #[test]
    fn only_silence_counts_as_out_of_reach() {
        let status = |status| HubError::Status { url: String::new(), status };
        assert!(status(503).is_out_of_reach() && status(429).is_out_of_reach() && !status(410).is_out_of_reach());
        let refused =
            HubError::Refused { endpoint: String::new(), repository: String::new(), status: 403, with_token: true };
        assert!(!refused.is_out_of_reach());
    }
}
