//! Everything that can go wrong in the library, with what to do about it.

use std::path::PathBuf;

use headstart_data::error::DataError;
use headstart_kernels::KernelError;
use headstart_weights::WeightsError;

/// Result of the library's fallible operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, with the nouns a reader needs; [`Error::help`] says what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A weight file could not be read.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A data set could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A frozen network was asked for an impossible shape.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// Weights of a Hugging Face repository could not be had.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(headstart_hub::HubError),
    /// The operating system refused a file operation.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A name is not in a registry.
    #[error("there is no {kind} called `{name}`")]
    UnknownName {
        /// Kind of thing: backbone, stage, task…
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What exists.
        known: Vec<String>,
    },
    /// A checkpoint fits no backbone of the registry.
    #[error("checkpoint `{path}` fits no backbone that we have\n  {nearest}")]
    NoBackbone {
        /// The weight file.
        path: PathBuf,
        /// The closest candidate and where it stops to fit.
        nearest: String,
    },
    /// A checkpoint does not fit the backbone that was asked for.
    #[error("checkpoint `{path}` does not fit backbone `{backbone}`\n  {detail}")]
    Misfit {
        /// The weight file.
        path: PathBuf,
        /// The backbone asked for.
        backbone: String,
        /// First missing or misshapen array.
        detail: String,
    },
    /// A checkpoint was asked for its published classifier and holds none.
    #[error("checkpoint `{path}` holds no published classifier: {reason}")]
    NoClassifier {
        /// The weight file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A class is none of a published network's labels, or several.
    #[error("class `{name}` {}", match .candidates.len() {
        0 => format!("is none of the network's {labels} labels"),
        count => format!("is {count} of the network's {labels} labels"),
    })]
    Label {
        /// The class, as its folder is called.
        name: String,
        /// Number of labels.
        labels: usize,
        /// What each of several meanings would be called without doubt.
        candidates: Vec<String>,
        /// The closest label.
        nearest: Option<String>,
    },
    /// A recipe says something that cannot be done.
    #[error("recipe: {reason}")]
    Recipe {
        /// What is wrong.
        reason: String,
        /// What to write instead.
        help: String,
    },
    /// The loss stopped being a number.
    #[error(
        "training diverged: the loss became {loss} in phase {phase}, epoch {epoch}, step {step} (learning rate {learning_rate})"
    )]
    Diverged {
        /// The value seen.
        loss: f32,
        /// Phase, from 1.
        phase: usize,
        /// Epoch within the phase, from 1.
        epoch: usize,
        /// Step within the epoch, from 1.
        step: usize,
        /// Rate of that step.
        learning_rate: f64,
    },
    /// Stopped on request at a safe point.
    #[error("stopped at a safe point")]
    Interrupted {
        /// Where the state was saved, if there was any yet.
        checkpoint: Option<PathBuf>,
    },
    /// `--resume` found the state of another run.
    #[error("`{path}` belongs to another run: {difference}")]
    ResumeMismatch {
        /// The training checkpoint.
        path: PathBuf,
        /// What differs.
        difference: String,
    },
    /// A bundle is not one, or is damaged.
    #[error("`{path}` is not a usable bundle: {reason}")]
    Bundle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A bundle's own inputs do not give its recorded outputs on this machine.
    #[error("the self-test of `{path}` failed: output {index} is {found}, recorded {expected}")]
    SelfTest {
        /// The bundle.
        path: PathBuf,
        /// Index of the worst output.
        index: usize,
        /// Value computed here.
        found: f32,
        /// Value recorded when the bundle was written.
        expected: f32,
    },
    /// A bundle could not be exported.
    #[error("cannot export to `{path}` as {format}: {reason}")]
    Export {
        /// Name of the format.
        format: &'static str,
        /// The file or folder that was to be written.
        path: PathBuf,
        /// What is in the way.
        reason: String,
    },
    /// What was written does not compute what the bundle does.
    #[error("the {format} export to `{path}` was not kept: read again it gives {found}, the bundle {expected}")]
    ExportDiffers {
        /// Name of the format.
        format: &'static str,
        /// The file or folder that was to be written.
        path: PathBuf,
        /// The first probability that differs.
        found: f32,
        /// The bundle's.
        expected: f32,
    },
    /// A feature shard on disk is not what its name says.
    #[error("feature shard `{path}` is damaged: {reason}")]
    Shard {
        /// The shard.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

#[cfg(feature = "hub")]
impl From<headstart_hub::HubError> for Error {
    fn from(error: headstart_hub::HubError) -> Self {
        match error {
            headstart_hub::HubError::Stopped { .. } => Self::Interrupted { checkpoint: None },
            error => Self::Hub(error),
        }
    }
}

impl Error {
    /// What the reader can do next.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::UnknownName { known, name, .. } => match nearest(name, known) {
                Some(near) => format!("did you mean `{near}`? Known: {}", known.join(", ")),
                None => format!("known: {}", known.join(", ")),
            },
            Self::NoBackbone { path, .. } | Self::Misfit { path, .. } => {
                format!(
                    "`headstart inspect {}` lists its arrays; `headstart list backbones` says what fits",
                    path.display()
                )
            }
            Self::NoClassifier { .. } => {
                "it may have been saved without its top: take a file with it, or --head linear for a new \
                                          head; `headstart inspect` says whether a file has one"
                    .to_owned()
            }
            Self::Label { candidates, .. } if !candidates.is_empty() => {
                format!("call the folder {}", candidates.join(" or "))
            }
            Self::Label { nearest, .. } => {
                let near = nearest.as_ref().map(|near| format!("the nearest is `{near}`; ")).unwrap_or_default();
                format!("{near}a folder is called like a label, one of its synonyms or, for ImageNet, its WordNet id")
            }
            Self::Recipe { help, .. } => help.clone(),
            Self::Diverged { learning_rate, .. } => format!(
                "try a learning rate ten times smaller (--lr {}), or clip the gradients (gradient_clip = 1.0 in the recipe)",
                learning_rate / 10.0
            ),
            Self::Interrupted { checkpoint: Some(_) } => {
                "run the same command with --resume to go on from there".to_owned()
            }
            Self::Interrupted { checkpoint: None } => {
                "nothing was trained yet; finished feature shards are kept and will not be computed again".to_owned()
            }
            Self::ResumeMismatch { .. } => {
                "run without --resume to start afresh, or with the options of the earlier run".to_owned()
            }
            Self::SelfTest { .. } => {
                "the file may be damaged or written by another version; `--no-self-test` skips this check".to_owned()
            }
            Self::Bundle { .. } => {
                "a bundle is what `headstart train` writes; `headstart inspect` shows what a weight file holds"
                    .to_owned()
            }
            Self::Export { .. } => "name another place with -o, or another format with --format".to_owned(),
            Self::ExportDiffers { .. } => {
                "this is an error of the program: please report it; the bundle is as good as before".to_owned()
            }
            Self::Shard { .. } => "`headstart cache clear` removes cached features; they are computed again".to_owned(),
            Self::Weights(error) => return error.help(),
            Self::Data(error) => return error.help(),
            #[cfg(feature = "hub")]
            Self::Hub(error) => return error.help(),
            Self::Kernel(KernelError::Unavailable { .. }) => {
                "leave out --bf16 (arithmetic = \"bf16\" in the recipe): f32 runs everywhere".to_owned()
            }
            Self::Io { .. } | Self::Kernel(_) => return None,
        })
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// The known name closest to `name` by edit distance, if it is close at all.
pub(crate) fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (edit_distance(name, candidate), candidate.as_str()))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 3)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_suggests_the_nearest_known_one() {
        let known = vec!["mobilenet_v2".to_owned(), "vgg16".to_owned()];
        assert_eq!(nearest("mobilnet_v2", &known), Some("mobilenet_v2"));
        assert_eq!(nearest("resnet50_fpn", &known), None);
    }
}
