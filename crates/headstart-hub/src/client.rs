//! The requests: what a revision holds, what a file is, its bytes from some place on.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use ureq::http::{Response, Uri};
use ureq::{Agent, Body};

use crate::digest::Digest;
use crate::error::HubError;
use crate::reference::{check_file, is_commit};
use crate::settings::Settings;

/// Bytes of the longest listing that is read.
const LONGEST_LISTING: u64 = 16 << 20;
/// Redirects in a row.
const MOST_HOPS: usize = 5;
/// What stands for itself in an address.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What a revision holds.
pub(crate) struct Listing {
    pub(crate) commit: String,
    pub(crate) files: Vec<String>,
}

/// What the endpoint says of a file, before any byte of it comes.
pub(crate) struct Described {
    pub(crate) commit: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// A way to the endpoint.
pub(crate) struct Client<'a> {
    settings: &'a Settings,
    agent: Agent,
}

/// Which file is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) repository: &'a str,
    pub(crate) revision: &'a str,
    pub(crate) file: &'a str,
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl<'a> Client<'a> {
    pub(crate) fn new(settings: &'a Settings) -> Self {
        let mut config = Agent::config_builder()
            .user_agent(concat!("headstart/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding("identity")
            .timeout_connect(Some(settings.patience))
            .timeout_recv_response(Some(settings.patience))
            .timeout_per_read(Some(settings.patience));
        if is_this_machine(&settings.endpoint) {
            config = config.proxy(None);
        }
        Self { settings, agent: config.build().new_agent() }
    }

    /// The commit of a revision and the names of its files. Names that could not be files of ours are left out.
    pub(crate) fn list(&self, repository: &str, revision: &str) -> Result<Listing, HubError> {
        let url = format!("{}/api/models/{repository}/revision/{}", self.settings.endpoint, encode(revision));
        let response = self.patiently(|| self.ask(Method::Get, &url, None, true))?;
        let mut response = self.accept(response, &url, Wanted { repository, revision, file: "" })?;
        let broken = |reason: String| HubError::Answer { url: url.clone(), reason };
        let text =
            response.body_mut().with_config().limit(LONGEST_LISTING).read_to_vec().map_err(|error| match error {
                ureq::Error::BodyExceedsLimit(limit) => {
                    HubError::TooLarge { what: url.clone(), claimed: limit.saturating_add(1), limit: LONGEST_LISTING }
                }
                error => self.failed(&url, error),
            })?;
        let info: Info = serde_json::from_slice(&text).map_err(|error| broken(format!("no listing: {error}")))?;
        if !is_commit(&info.sha) {
            return Err(broken(format!("`{}` is no commit", shortened(&info.sha))));
        }
        let files = info.siblings.into_iter().map(|sibling| sibling.rfilename).filter(|file| check_file(file).is_ok());
        Ok(Listing { commit: info.sha.to_ascii_lowercase(), files: files.collect() })
    }

    /// Digest, size and commit of a file. Only the endpoint itself is believed, not whoever it redirects to.
    pub(crate) fn describe(&self, wanted: Wanted<'_>) -> Result<Described, HubError> {
        let url = self.address(wanted);
        let response = self.patiently(|| self.ask(Method::Head, &url, None, true))?;
        let response = self.accept(response, &url, wanted)?;
        let broken = |reason: &str| HubError::Answer { url: url.clone(), reason: reason.to_owned() };
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::trim);
        let commit = header("x-repo-commit").ok_or_else(|| broken("it names no commit"))?;
        if !is_commit(commit) {
            return Err(broken("its commit is none"));
        }
        let digest = header("x-linked-etag")
            .or_else(|| header("etag"))
            .and_then(Digest::from_etag)
            .ok_or_else(|| broken("it names no digest that the file could be checked with"))?;
        let size = header("x-linked-size")
            .or_else(|| header("content-length").filter(|_| !response.status().is_redirection()))
            .and_then(|text| text.parse::<u64>().ok())
            .ok_or_else(|| broken("it names no size"))?;
        if size > self.settings.largest {
            let what = wanted.file.to_owned();
            return Err(HubError::TooLarge { what, claimed: size, limit: self.settings.largest });
        }
        Ok(Described { commit: commit.to_ascii_lowercase(), digest, size })
    }

    /// The answer that brings the bytes from `start` on, from wherever the endpoint sends us.
    pub(crate) fn open(&self, wanted: Wanted<'_>, start: u64) -> Result<Response<Body>, HubError> {
        self.ask(Method::Get, &self.address(wanted), Some(start), false)
    }

    /// Address of a file.
    pub(crate) fn address(&self, wanted: Wanted<'_>) -> String {
        let file: Vec<String> = wanted.file.split('/').map(encode).collect();
        let (endpoint, repository) = (&self.settings.endpoint, wanted.repository);
        format!("{endpoint}/{repository}/resolve/{}/{}", encode(wanted.revision), file.join("/"))
    }

    /// Turns a refusal into what it means; `file` is empty where a whole revision was asked for.
    pub(crate) fn accept(
        &self,
        response: Response<Body>,
        url: &str,
        wanted: Wanted<'_>,
    ) -> Result<Response<Body>, HubError> {
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            return Ok(response);
        }
        let (endpoint, repository) = (self.settings.endpoint.clone(), wanted.repository.to_owned());
        let revision = wanted.revision.to_owned();
        let code = response.headers().get("x-error-code").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let refused = || HubError::Refused {
            endpoint: endpoint.clone(),
            repository: repository.clone(),
            status: status.as_u16(),
            with_token: self.settings.token.is_some(),
        };
        Err(match (code, status.as_u16()) {
            ("GatedRepo", _) => refused(),
            ("RevisionNotFound", _) => HubError::NoRevision { repository, revision },
            ("EntryNotFound", _) => HubError::NoFile { repository, revision, file: wanted.file.to_owned() },
            ("RepoNotFound", _) => HubError::NoRepository { endpoint, repository },
            (_, 401 | 403) => refused(),
            (_, 404) if wanted.file.is_empty() => HubError::NoRepository { endpoint, repository },
            (_, 404) => HubError::NoFile { repository, revision, file: wanted.file.to_owned() },
            (_, status) => HubError::Status { url: url.to_owned(), status },
        })
    }

    /// Asks again after a while where the server is busy.
    fn patiently(&self, ask: impl Fn() -> Result<Response<Body>, HubError>) -> Result<Response<Body>, HubError> {
        let mut pause = self.settings.pause;
        for _ in 1..3 {
            match ask()? {
                busy if matches!(busy.status().as_u16(), 429 | 500 | 502 | 503 | 504) => {}
                answer => return Ok(answer),
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        ask()
    }

    /// One request and the redirects that it meets: all of them, or only those that stay at the endpoint.
    fn ask(
        &self,
        method: Method,
        url: &str,
        start: Option<u64>,
        only_at_endpoint: bool,
    ) -> Result<Response<Body>, HubError> {
        let mut url = url.to_owned();
        for _ in 0..=MOST_HOPS {
            let mut request = match method {
                Method::Get => self.agent.get(&url),
                Method::Head => self.agent.head(&url),
            };
            let at_endpoint = origin(&url) == origin(&self.settings.endpoint);
            if let (Some(token), true) = (&self.settings.token, at_endpoint) {
                request = request.header("Authorization", token.header());
            }
            if let Some(start) = start.filter(|&start| start > 0) {
                request = request.header("Range", format!("bytes={start}-"));
            }
            let response = request.call().map_err(|error| self.failed(&url, error))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let broken = |reason: &str| HubError::Answer { url: url.clone(), reason: reason.to_owned() };
            let location = response.headers().get("location").and_then(|value| value.to_str().ok());
            let next = joined(&url, location.ok_or_else(|| broken("it redirects to nowhere"))?)
                .ok_or_else(|| broken("it redirects to something that is no address"))?;
            if only_at_endpoint && origin(&next) != origin(&self.settings.endpoint) {
                return Ok(response);
            }
            if url.starts_with("https:") && !next.starts_with("https:") {
                return Err(broken("it redirects from https to an address without"));
            }
            url = next;
        }
        Err(HubError::Answer { url, reason: "it redirects in circles".to_owned() })
    }

    /// What a failure of the network means.
    fn failed(&self, url: &str, error: ureq::Error) -> HubError {
        use ureq::Error as E;
        match error {
            E::Protocol(_) | E::LargeResponseHeader(..) | E::BadUri(_) | E::Http(_) | E::InvalidProxyUrl => {
                HubError::Answer { url: url.to_owned(), reason: error.to_string() }
            }
            E::Timeout(_) => HubError::Unreachable {
                endpoint: place(url),
                reason: format!("no answer for {:.0} s", self.settings.patience.as_secs_f64()),
            },
            E::Io(error) => HubError::Unreachable { endpoint: place(url), reason: error.to_string() },
            error => HubError::Unreachable { endpoint: place(url), reason: error.to_string() },
        }
    }
}

#[derive(Clone, Copy)]
enum Method {
    Get,
    Head,
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// Scheme, host and port: what a token may be shown to.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let port = uri.port_u16().or(match scheme.as_str() {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    })?;
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

/// Scheme and host of an address for messages; what follows may hold a signature.
fn place(url: &str) -> String {
    origin(url).map_or_else(|| shortened(url), |(scheme, host, _)| format!("{scheme}://{host}"))
}

/// The address that a `Location` means.
fn joined(url: &str, location: &str) -> Option<String> {
    let next = if location.starts_with("//") {
        format!("{}:{location}", url.split(':').next()?)
    } else if location.starts_with('/') {
        let authority = url.parse::<Uri>().ok()?.authority()?.to_string();
        format!("{}://{authority}{location}", url.split(':').next()?)
    } else {
        location.to_owned()
    };
    let (scheme, ..) = origin(&next)?;
    matches!(scheme.as_str(), "http" | "https").then_some(next)
}

fn is_this_machine(url: &str) -> bool {
    origin(url).is_some_and(|(_, host, _)| ["localhost", "127.0.0.1", "[::1]", "::1"].contains(&host.as_str()))
}

fn shortened(text: &str) -> String {
    text.escape_debug().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_joined_and_foreign_schemes_refused() {
        let url = "https://hub.example:8443/a/b/resolve/main/x";
        assert_eq!(joined(url, "/c/d?e").as_deref(), Some("https://hub.example:8443/c/d?e"));
        assert_eq!(joined(url, "//cdn.example/x").as_deref(), Some("https://cdn.example/x"));
        assert_eq!(joined(url, "http://cdn.example/x").as_deref(), Some("http://cdn.example/x"));
        for location in ["file:///etc/passwd", "x", "", "ftp://a/b", "https://"] {
            assert_eq!(joined(url, location), None, "{location}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        assert_eq!(origin("https://HUB.example/x"), origin("https://hub.example:443"));
        assert_ne!(origin("https://hub.example"), origin("http://hub.example"));
        assert_ne!(origin("https://hub.example"), origin("https://hub.example.evil"));
        assert_ne!(origin("https://hub.example"), origin("https://hub.example@evil"));
        assert_eq!(place("https://cdn.example/x?Signature=secret"), "https://cdn.example");
    }

    #[test]
    fn names_are_encoded_in_addresses() {
        assert_eq!(encode("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(encode("größe #1?.bin"), "gr%C3%B6%C3%9Fe%20%231%3F.bin");
    }
}
