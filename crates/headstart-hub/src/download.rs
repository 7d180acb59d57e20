//! One file into the cache: described, locked, received in as many pieces as the network needs, verified, published.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ureq::Body;
use ureq::http::Response;

use crate::cache::{RepositoryFolder, digest_of, publish};
use crate::client::{Client, Described, Wanted};
use crate::digest::Hasher;
use crate::error::HubError;
use crate::fetch::Step;
use crate::settings::Settings;

/// What one file needs.
pub(crate) struct Download<'a> {
    pub(crate) client: &'a Client<'a>,
    pub(crate) settings: &'a Settings,
    pub(crate) folder: &'a RepositoryFolder,
    pub(crate) wanted: Wanted<'a>,
    pub(crate) stop: &'a AtomicBool,
}

/// A partial file and the digest of what is in it.
struct Partial {
    path: PathBuf,
    file: File,
    received: u64,
    hasher: Hasher,
}

/// Why a connection brought no more.
enum Ending {
    /// Another connection may bring the rest.
    Broken(String),
    /// No other connection will do better.
    Final(HubError),
}

impl From<HubError> for Ending {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

impl Download<'_> {
    /// The file's place in the cache, once its bytes are there and verified.
    ///
    /// A blob or a download that is not what it must be is told through `observe` and fetched anew, once.
    pub(crate) fn run(&self, observe: &mut dyn FnMut(Step<'_>)) -> Result<(PathBuf, Described), HubError> {
        let Wanted { file, .. } = self.wanted;
        let described = self.client.describe(self.wanted)?;
        self.folder.make_blobs()?;
        let lock = self.folder.lock(described.digest, self.stop, &mut || observe(Step::Waiting { file }))?;
        let Some(_lock) = lock else { return Err(self.stopped()) };
        let blob = self.folder.blob(described.digest);
        if !self.is_whole(&blob, &described, observe)? {
            self.receive(&described, &blob, observe)?;
        }
        Ok((self.folder.point(&described.commit, file, described.digest)?, described))
    }

    /// Whether the blob is there already, perhaps by somebody else's doing.
    fn is_whole(
        &self,
        blob: &Path,
        described: &Described,
        observe: &mut dyn FnMut(Step<'_>),
    ) -> Result<bool, HubError> {
        if !blob.is_file() {
            return Ok(false);
        }
        let found = digest_of(blob, described.digest)?;
        if found == described.digest {
            return Ok(true);
        }
        let error = HubError::Digest { file: blob.display().to_string(), expected: described.digest, found };
        observe(Step::Refused { error: &error });
        Ok(false)
    }

    fn receive(&self, described: &Described, blob: &Path, observe: &mut dyn FnMut(Step<'_>)) -> Result<(), HubError> {
        let mut partial = Partial::open(self.folder.partial(described.digest), described)?;
        let mut refused = false;
        loop {
            self.fill(&mut partial, described, observe)?;
            partial.file.sync_all().map_err(HubError::io("write", &partial.path))?;
            let found = std::mem::replace(&mut partial.hasher, Hasher::new(described.digest, described.size)).finish();
            if found == described.digest {
                drop(partial.file);
                return publish(&partial.path, blob);
            }
            let error = HubError::Digest { file: self.wanted.file.to_owned(), expected: described.digest, found };
            partial.empty(described)?;
            if refused {
                return Err(error);
            }
            observe(Step::Refused { error: &error });
            refused = true;
        }
    }

    /// Connections until all bytes are there.
    fn fill(
        &self,
        partial: &mut Partial,
        described: &Described,
        observe: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), HubError> {
        let mut in_vain = 0;
        while partial.received < described.size {
            let before = partial.received;
            let reason = match self.connection(partial, described, observe) {
                Ok(()) => "the server sends no more".to_owned(),
                Err(Ending::Broken(reason)) => reason,
                Err(Ending::Final(error)) => return Err(error),
            };
            in_vain = if partial.received > before { 0 } else { in_vain + 1 };
            if in_vain >= self.settings.attempts {
                let (received, size) = (partial.received, described.size);
                return Err(HubError::Cut { file: self.wanted.file.to_owned(), received, size, reason });
            }
            if partial.received < described.size {
                self.pause(in_vain)?;
            }
        }
        Ok(())
    }

    /// One connection, as far as it goes.
    fn connection(
        &self,
        partial: &mut Partial,
        described: &Described,
        observe: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), Ending> {
        let Wanted { file, .. } = self.wanted;
        // What was described is fetched, even if the branch moves on meanwhile.
        let wanted = Wanted { revision: &described.commit, ..self.wanted };
        let response = match self.client.open(wanted, partial.received) {
            Err(error) if error.is_out_of_reach() => return Err(Ending::Broken(error.to_string())),
            other => other?,
        };
        let response = self.check(response, wanted, partial, described)?;
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 1 << 17];
        let mut shown: Option<Instant> = None;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(self.stopped().into());
            }
            let length = match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Ending::Broken(error.to_string())),
            };
            if partial.received + length as u64 > described.size {
                return Err(self.size(described, "more").into());
            }
            partial.append(&buffer[..length])?;
            let is_done = partial.received == described.size;
            if is_done || shown.is_none_or(|shown| shown.elapsed() > Duration::from_millis(100)) {
                shown = Some(Instant::now());
                observe(Step::Received { file, done: partial.received, total: described.size });
            }
        }
    }

    /// Whether an answer continues what we have; where it begins anew, so do we.
    fn check(
        &self,
        response: Response<Body>,
        wanted: Wanted<'_>,
        partial: &mut Partial,
        described: &Described,
    ) -> Result<Response<Body>, Ending> {
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        match status {
            206 => {
                let range = header("content-range").and_then(range).ok_or_else(|| {
                    let reason = "it sends a part without saying which".to_owned();
                    HubError::Answer { url: self.client.address(wanted), reason }
                })?;
                if range.1.is_some_and(|total| total != described.size) {
                    return Err(self.size(described, &range.1.unwrap_or_default().to_string()).into());
                }
                if range.0 != partial.received {
                    partial.empty(described)?;
                    return Err(Ending::Broken("the server sends another part than it was asked for".to_owned()));
                }
            }
            200..=299 => {
                let length = header("content-length").and_then(|text| text.parse::<u64>().ok());
                if let Some(length) = length.filter(|&length| length != described.size) {
                    return Err(self.size(described, &length.to_string()).into());
                }
                if partial.received > 0 {
                    partial.empty(described)?;
                }
            }
            416 => {
                partial.empty(described)?;
                return Err(Ending::Broken("the server has no such part".to_owned()));
            }
            // 403: an address that the endpoint signed is good for some minutes only; the next one is fresh.
            403 | 408 | 429 | 500..=599 if partial.received > 0 || status != 403 => {
                return Err(Ending::Broken(format!("the server answers {status}")));
            }
            _ => return Ok(self.client.accept(response, &self.client.address(wanted), wanted)?),
        }
        Ok(response)
    }

    /// Waits longer each time, and no longer than the stop flag allows.
    fn pause(&self, in_vain: u32) -> Result<(), HubError> {
        let until = Instant::now() + self.settings.pause * (1 << in_vain.min(6));
        while Instant::now() < until {
            if self.stop.load(Ordering::Relaxed) {
                return Err(self.stopped());
            }
            std::thread::sleep(Duration::from_millis(20).min(self.settings.pause));
        }
        Ok(())
    }

    fn size(&self, described: &Described, found: &str) -> HubError {
        HubError::Size { file: self.wanted.file.to_owned(), expected: described.size, found: found.to_owned() }
    }

    fn stopped(&self) -> HubError {
        HubError::Stopped { file: self.wanted.file.to_owned() }
    }
}

impl Partial {
    /// What an earlier run left, or nothing.
    fn open(path: PathBuf, described: &Described) -> Result<Self, HubError> {
        let failed = HubError::io("write", &path);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(failed)?;
        let received = file.metadata().map_err(HubError::io("read", &path))?.len();
        let hasher = Hasher::new(described.digest, described.size);
        let mut partial = Self { path, file, received, hasher };
        if received > described.size {
            partial.empty(described)?;
        } else {
            partial.hasher.update_reader(&partial.file).map_err(HubError::io("read", &partial.path))?;
        }
        Ok(partial)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        self.file.write_all(bytes).map_err(HubError::io("write", &self.path))?;
        self.hasher.update(bytes);
        self.received += bytes.len() as u64;
        Ok(())
    }

    /// Throws away what cannot be continued.
    fn empty(&mut self, described: &Described) -> Result<(), HubError> {
        self.file.set_len(0).map_err(HubError::io("empty", &self.path))?;
        self.file.seek(SeekFrom::Start(0)).map_err(HubError::io("empty", &self.path))?;
        (self.received, self.hasher) = (0, Hasher::new(described.digest, described.size));
        Ok(())
    }
}

/// First byte and total of `bytes 5-9/10`; the total may be `*`.
fn range(text: &str) -> Option<(u64, Option<u64>)> {
    let (part, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let start = part.split_once('-')?.0.trim().parse().ok()?;
    match total.trim() {
        "*" => Some((start, None)),
        total => Some((start, Some(total.parse().ok()?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_or_refused() {
        assert_eq!(range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(range("bytes 0-0/*"), Some((0, None)));
        for text in ["", "bytes */10", "5-9/10", "bytes 5-9", "bytes -5-9/10", "bytes 5-9/99999999999999999999"] {
            assert_eq!(range(text), None, "{text}");
        }
    }
}
