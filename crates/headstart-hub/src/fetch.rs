//! ★ The straight line: reference → cache, else listing → file → its companions → a path.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use crate::cache::RepositoryFolder;
use crate::client::{Client, Wanted};
use crate::companions::companions;
use crate::digest::Digest;
use crate::download::Download;
use crate::error::HubError;
use crate::reference::Reference;
use crate::settings::Settings;
use crate::weight_file::choose;

/// A file that is here and is what its repository says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where it lies. What it needs beside it lies beside it.
    pub path: PathBuf,
    /// The same file by its commit, which never changes its meaning.
    pub pinned: Reference,
    /// Digest of its bytes, verified just now.
    pub digest: Digest,
}

/// Something that happened while fetching.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// Another process fetches the same file; we wait for it.
    Waiting {
        /// Path within the repository.
        file: &'a str,
    },
    /// More bytes are there, not oftener than ten times a second.
    Received {
        /// Path within the repository.
        file: &'a str,
        /// Bytes that are there.
        done: u64,
        /// Bytes of the whole.
        total: u64,
    },
    /// Bytes are not what they must be; they are not used and fetched anew.
    Refused {
        /// Which, and how they differ.
        error: &'a HubError,
    },
}

/// Finds a file in the cache or fetches it into it.
///
/// What the cache has is used without asking the network, branches included: a branch is looked up once, and a commit in
/// the reference moves on from there. `stop` is looked at between pieces; what has arrived then is kept for the next time.
///
/// # Errors
/// [`HubError`]; [`HubError::is_out_of_reach`] tells those where nobody could be asked.
pub fn fetch(
    reference: &Reference,
    settings: &Settings,
    stop: &AtomicBool,
    observe: &mut dyn FnMut(Step<'_>),
) -> Result<Fetched, HubError> {
    let folder = RepositoryFolder::new(&settings.cache, reference.repository());
    let damaged = match cached(reference, &folder) {
        Ok(Some(fetched)) => return Ok(fetched),
        Ok(None) => None,
        Err(error) => Some(error),
    };
    if settings.offline {
        let (reference, cache) = (reference.to_string(), settings.cache.clone());
        return Err(damaged.unwrap_or(HubError::Offline { reference, cache }));
    }
    from_network(reference, settings, &folder, stop, observe).map_err(|error| match damaged {
        // What is here is damaged and what is there cannot be reached: the first is the trouble.
        Some(damaged) if error.is_out_of_reach() => damaged,
        _ => error,
    })
}

/// The file and its companions, if all of them are in the cache.
fn cached(reference: &Reference, folder: &RepositoryFolder) -> Result<Option<Fetched>, HubError> {
    let Some(commit) = folder.commit(reference.revision()) else { return Ok(None) };
    let file = match reference.file() {
        Some(file) => file.to_owned(),
        None => match choose(&folder.files(&commit)) {
            Ok(file) => file,
            Err(_) => return Ok(None),
        },
    };
    let Some(path) = folder.find(&commit, &file) else { return Ok(None) };
    let digest = folder.verify(&path)?;
    for companion in companions(&path, &file)? {
        match folder.find(&commit, &companion) {
            Some(path) => folder.verify(&path)?,
            None => return Ok(None),
        };
    }
    let pinned = Reference::new(reference.repository(), Some(&commit), Some(&file))?;
    Ok(Some(Fetched { path, pinned, digest }))
}

fn from_network(
    reference: &Reference,
    settings: &Settings,
    folder: &RepositoryFolder,
    stop: &AtomicBool,
    observe: &mut dyn FnMut(Step<'_>),
) -> Result<Fetched, HubError> {
    let repository = reference.repository();
    let client = Client::new(settings);
    let (revision, file) = match reference.file() {
        Some(file) => (reference.revision().to_owned(), file.to_owned()),
        None => {
            let listing = client.list(repository, reference.revision())?;
            let no_weights = |reason| HubError::NoWeights { repository: repository.to_owned(), reason };
            (listing.commit, choose(&listing.files).map_err(no_weights)?)
        }
    };
    let download = |revision: &str, file: &str, observe: &mut dyn FnMut(Step<'_>)| {
        let wanted = Wanted { repository, revision, file };
        Download { client: &client, settings, folder, wanted, stop }.run(observe)
    };
    let (path, described) = download(&revision, &file, observe)?;
    for companion in companions(&path, &file)? {
        download(&described.commit, &companion, observe)?;
    }
    folder.remember(reference.revision(), &described.commit)?;
    let pinned = Reference::new(repository, Some(&described.commit), Some(&file))?;
    Ok(Fetched { path, pinned, digest: described.digest })
}
