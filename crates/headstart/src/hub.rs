//! Weights from Hugging Face repositories: those that a reference names, and those that a backbone's name alone means.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

#[cfg(feature = "hub")]
use headstart_hub::{Fetched, HubError, Reference, Settings, Step, fetch};

use crate::backbones::published::{PUBLISHED, Published};
use crate::backbones::{self, BackboneSpec, Variant};
use crate::embedded;
use crate::error::{Error, Result};
use crate::load::{Pretrained, PretrainedText};
#[cfg(feature = "hub")]
use crate::train::observer::Work;
use crate::train::observer::{Event, Observer};

/// What a reference to a repository begins with.
pub(crate) const PREFIX: &str = "hf:";

/// The weights that `reference` names and the file that they lie in; `stop` ends a download between two pieces.
///
/// # Errors
/// [`Error::Hub`] when they cannot be had; of [`crate::load::load`].
#[cfg(feature = "hub")]
pub(crate) fn open(
    reference: &str,
    backbone: Option<&str>,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<(Pretrained, PathBuf)> {
    let reference: Reference = reference.parse()?;
    let fetched = fetched(&reference, stop, observer)?;
    let mut pretrained = crate::load::load(&fetched.path, backbone)?;
    // Commit and digest, so that the bundle says which bytes it came from and not where they were kept.
    pretrained.source = format!("{} {}", fetched.pinned, fetched.digest);
    let row = Published::of_repository(reference.repository());
    pretrained.licence = pretrained.licence.or_else(|| row.map(|row| row.licence.to_owned()));
    Ok((pretrained, fetched.path))
}

/// A file from the cache or the network; `observer` is told how it comes.
#[cfg(feature = "hub")]
fn fetched(reference: &Reference, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<Fetched, HubError> {
    fetch(reference, &Settings::from_environment()?, stop, &mut |step| {
        let event = match step {
            Step::Received { done, total, .. } => {
                Event::Progress { stage: Work::Download, done: done as usize, total: total as usize }
            }
            Step::Waiting { file } => {
                Event::Note { message: format!("another process fetches `{file}`; waiting for it") }
            }
            Step::Refused { error } => Event::Note { message: format!("{error}; fetching it anew") },
            _ => return,
        };
        observer.event(&event);
    })
}

/// What makes a tokenizer, the best first; the first that a repository has whole is taken.
#[cfg(feature = "hub")]
const TOKENIZERS: [&[&str]; 3] = [&["tokenizer.json"], &["vocab.txt"], &["vocab.json", "merges.txt"]];

/// The transformer that `reference` names, with its configuration and tokenizer from the same commit.
///
/// # Errors
/// [`Error::Hub`] when one of them cannot be had; of [`crate::load::load_text`].
#[cfg(feature = "hub")]
pub(crate) fn open_text(
    reference: &str,
    longest: Option<usize>,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<PretrainedText> {
    let reference: Reference = reference.parse()?;
    let weights = fetched(&reference, stop, observer)?;
    let commit = weights.pinned.revision().to_owned();
    let mut beside = |file: &str| {
        let reference = Reference::new(reference.repository(), Some(&commit), Some(file))?;
        fetched(&reference, stop, observer)
    };
    beside("config.json")?;
    let mut missing = None;
    let found = TOKENIZERS.iter().find(|files| match files.iter().try_for_each(|file| beside(file).map(drop)) {
        Ok(()) => true,
        Err(error) => {
            // What an earlier run found is what counts when nobody can be asked now.
            missing.get_or_insert(error);
            false
        }
    });
    match (found, missing) {
        (None, Some(error)) => return Err(error.into()),
        // A vocabulary alone does not say whether capitals count.
        (Some(files), _) if files[0] != "tokenizer.json" => match beside("tokenizer_config.json") {
            Ok(_) | Err(HubError::NoFile { .. }) => {}
            Err(error) => return Err(error.into()),
        },
        _ => {}
    }
    let mut text = crate::load::load_text(&weights.path, longest)?;
    text.transformer.source = format!("{} {}", weights.pinned, weights.digest);
    Ok(text)
}

/// This build has no network.
///
/// # Errors
/// [`Error::Recipe`], always.
#[cfg(not(feature = "hub"))]
pub(crate) fn open_text(
    reference: &str,
    _longest: Option<usize>,
    _stop: &AtomicBool,
    _observer: &mut dyn Observer,
) -> Result<PretrainedText> {
    Err(without_network(reference))
}

/// This build has no network.
///
/// # Errors
/// [`Error::Recipe`], always.
#[cfg(not(feature = "hub"))]
pub(crate) fn open(
    reference: &str,
    _backbone: Option<&str>,
    _stop: &AtomicBool,
    _observer: &mut dyn Observer,
) -> Result<(Pretrained, PathBuf)> {
    Err(without_network(reference))
}

#[cfg(not(feature = "hub"))]
fn without_network(reference: &str) -> Error {
    Error::Recipe {
        reason: format!("`{reference}` cannot be fetched: this program was built without the feature `hub`"),
        help: "fetch the files yourself and give them with --weights".to_owned(),
    }
}

/// The weights that a backbone's name alone means: its default repository, from the cache or the network.
///
/// Where neither has them the embedded backbone serves, and a note says so.
///
/// # Errors
/// [`Error::Recipe`] for variants that nobody publishes; [`Error::Hub`] when the repository answers, but not with weights.
pub(crate) fn open_by_name(
    name: &str,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<(Pretrained, Option<PathBuf>)> {
    let (spec, variant) = backbones::find(name)?;
    let row = Published::find(spec, variant).filter(|_| cfg!(feature = "hub"));
    let Some(row) = row else {
        let pretrained = embedded::load()?;
        check_embedded(&pretrained, spec, variant)?;
        return Ok((pretrained, None));
    };
    let revision = row.revision.map(|revision| format!("@{revision}")).unwrap_or_default();
    let reference = format!("{PREFIX}{}{revision}:{}", row.repository, row.file);
    match open(&reference, Some(&row.name()), stop, observer) {
        Err(error) if is_out_of_reach(&error) => {
            let embedded = embedded::load()?;
            let (spec, variant) = (embedded.spec.name, embedded.variant.name);
            let message = format!("{error}; the embedded {spec}:{variant} serves instead of {}", row.name());
            observer.event(&Event::Note { message });
            Ok((embedded, None))
        }
        other => other.map(|(pretrained, file)| (pretrained, Some(file))),
    }
}

/// A backbone whose weights nobody gave must be the embedded one.
pub(crate) fn check_embedded(pretrained: &Pretrained, spec: &BackboneSpec, variant: Option<&Variant>) -> Result<()> {
    if spec.name == pretrained.spec.name && variant.is_none_or(|variant| variant == pretrained.variant) {
        return Ok(());
    }
    let wanted = variant.map_or_else(|| spec.name.to_owned(), |variant| format!("{}:{}", spec.name, variant.name));
    let known: Vec<String> = PUBLISHED.iter().filter(|row| row.backbone == spec.name).map(Published::name).collect();
    let published = if known.is_empty() { String::new() } else { format!("; published are {}", known.join(", ")) };
    Err(Error::Recipe {
        reason: format!(
            "no weights were given for `{wanted}`; the embedded ones are {}:{}",
            pretrained.spec.name, pretrained.variant.name
        ),
        help: format!("give a weight file with --weights FILE, or --weights random to train from scratch{published}"),
    })
}

#[cfg(feature = "hub")]
fn is_out_of_reach(error: &Error) -> bool {
    matches!(error, Error::Hub(error) if error.is_out_of_reach())
}

#[cfg(not(feature = "hub"))]
fn is_out_of_reach(_error: &Error) -> bool {
    false
}
