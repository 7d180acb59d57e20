//! Weights from Hugging Face repositories: those that a reference names, and those that a backbone's name alone means.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use crate::backbones::published::{PUBLISHED, Published};
use crate::backbones::{self, BackboneSpec, Variant};
use crate::embedded;
use crate::error::{Error, Result};
use crate::load::Pretrained;
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
    use headstart_hub::{Reference, Settings, Step, fetch};

    let reference: Reference = reference.parse()?;
    let fetched = fetch(&reference, &Settings::from_environment()?, stop, &mut |step| {
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
    })?;
    let mut pretrained = crate::load::load(&fetched.path, backbone)?;
    // Commit and digest, so that the bundle says which bytes it came from and not where they were kept.
    pretrained.source = format!("{} {}", fetched.pinned, fetched.digest);
    let row = Published::of_repository(reference.repository());
    pretrained.licence = pretrained.licence.or_else(|| row.map(|row| row.licence.to_owned()));
    Ok((pretrained, fetched.path))
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
    Err(Error::Recipe {
        reason: format!("`{reference}` cannot be fetched: this program was built without the feature `hub`"),
        help: "fetch the file yourself and give it with --weights FILE".to_owned(),
    })
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
