//! Where, from whom and on whose behalf: the environment variables of `huggingface_hub`.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::HubError;

const ENDPOINT: &str = "https://huggingface.co";

/// Plain HTTP stops there on the hub's side too.
const LARGEST: u64 = 50_000_000_000;

/// How files are fetched.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder with `models--…` in it.
    pub cache: PathBuf,
    /// Who is asked, without a slash at the end.
    pub endpoint: String,
    /// Sent to the endpoint, and to nobody it redirects to.
    pub token: Option<Token>,
    /// Whether the network is not used at all.
    pub offline: bool,
    /// Bytes of the largest file that is fetched.
    pub largest: u64,
    /// How long silence is waited for, when connecting and when reading.
    pub patience: Duration,
    /// Connections in a row that bring nothing before a download is given up.
    pub attempts: u32,
    /// Wait before the second attempt; it doubles with each.
    pub pause: Duration,
}

impl Settings {
    /// What the environment says: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN` or the file at `HF_TOKEN_PATH`,
    /// `HF_HUB_DISABLE_IMPLICIT_TOKEN`, `HF_HUB_OFFLINE`, and the defaults of `huggingface_hub` for the rest.
    ///
    /// # Errors
    /// [`HubError::NoCacheFolder`]; [`HubError::Setting`] for an endpoint or a token that cannot be used.
    pub fn from_environment() -> Result<Self, HubError> {
        Self::from_variables(&|name| std::env::var_os(name), std::env::home_dir())
    }

    fn from_variables(get: &dyn Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Result<Self, HubError> {
        let set = |name: &str| get(name).filter(|value| !value.is_empty());
        let folder = |name: &str| set(name).map(|value| without_tilde(Path::new(&value), home.as_deref()));
        let text = |name: &str| set(name).map(|value| value.to_string_lossy().trim().to_owned());
        let is_on = |name: &str| {
            text(name).is_some_and(|value| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str()))
        };
        let hugging_face = folder("HF_HOME")
            .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| home.as_ref().map(|home| home.join(".cache/huggingface")));
        let cache = folder("HF_HUB_CACHE")
            .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| hugging_face.as_ref().map(|folder| folder.join("hub")))
            .ok_or(HubError::NoCacheFolder)?;
        let token = match text("HF_TOKEN").or_else(|| text("HUGGING_FACE_HUB_TOKEN")) {
            _ if is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN") => None,
            Some(token) => Token::new(&token)?,
            None => folder("HF_TOKEN_PATH")
                .or_else(|| hugging_face.map(|folder| folder.join("token")))
                .and_then(|path| std::fs::read_to_string(path).ok())
                .map_or(Ok(None), |token| Token::new(&token))?,
        };
        Ok(Self {
            cache,
            endpoint: endpoint(text("HF_ENDPOINT"))?,
            token,
            offline: is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE"),
            largest: LARGEST,
            patience: Duration::from_secs(10),
            attempts: 5,
            pause: Duration::from_millis(500),
        })
    }
}

/// A secret that is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// `None` for an empty one.
    ///
    /// # Errors
    /// [`HubError::Setting`] when it holds what a header cannot.
    pub fn new(text: &str) -> Result<Option<Self>, HubError> {
        let text = text.trim();
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let reason = "it holds spaces or characters that are not ASCII".to_owned();
            return Err(HubError::Setting { name: "HF_TOKEN", reason });
        }
        Ok(if text.is_empty() { None } else { Some(Self(text.to_owned())) })
    }

    /// Value of the `Authorization` header.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

fn endpoint(said: Option<String>) -> Result<String, HubError> {
    let endpoint = said.unwrap_or_else(|| ENDPOINT.to_owned());
    let endpoint = endpoint.trim_end_matches('/');
    let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && endpoint.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(endpoint.to_owned())
        }
        _ => Err(HubError::Setting {
            name: "HF_ENDPOINT",
            reason: format!("`{}` is no address that begins with https:// or http://", endpoint.escape_debug()),
        }),
    }
}

fn without_tilde(path: &Path, home: Option<&Path>) -> PathBuf {
    match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, HubError> {
        let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
        Settings::from_variables(&get, Some("/home/bee".into()))
    }

    #[test]
    fn the_cache_is_where_other_tools_look() {
        let cache = |variables: &[(&str, &str)]| settings(variables).unwrap().cache;
        assert_eq!(cache(&[]), Path::new("/home/bee/.cache/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[("HF_HOME", "~/hf"), ("XDG_CACHE_HOME", "/x")]), Path::new("/home/bee/hf/hub"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]), Path::new("/c"));
        assert_eq!(cache(&[("HF_HOME", "")]), Path::new("/home/bee/.cache/huggingface/hub"));
        let homeless = Settings::from_variables(&|_| None, None);
        assert!(matches!(homeless, Err(HubError::NoCacheFolder)));
    }

    #[test]
    fn a_token_comes_from_the_variable_before_the_file_and_is_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "hf_from_file\n").unwrap();
        let home = folder.path().display().to_string();
        let token = |more: &[(&str, &str)]| settings(&[&[("HF_HOME", home.as_str())], more].concat()).unwrap().token;
        assert_eq!(token(&[]).unwrap().header(), "Bearer hf_from_file");
        assert_eq!(token(&[("HF_TOKEN", " hf_said ")]).unwrap().header(), "Bearer hf_said");
        assert_eq!(token(&[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]), None);
        assert!(!format!("{:?}", token(&[])).contains("hf_"));
        assert!(matches!(settings(&[("HF_TOKEN", "a\r\nHost: b")]), Err(HubError::Setting { name: "HF_TOKEN", .. })));
    }

    #[test]
    fn endpoints_and_offline_mode_are_read_as_others_read_them() {
        assert_eq!(settings(&[]).unwrap().endpoint, "https://huggingface.co");
        assert_eq!(settings(&[("HF_ENDPOINT", "http://mirror:8080/hub/")]).unwrap().endpoint, "http://mirror:8080/hub");
        assert!(settings(&[("HF_ENDPOINT", "ftp://mirror")]).is_err());
        for (value, offline) in [("1", true), ("true", true), ("ON", true), ("0", false), ("", false)] {
            assert_eq!(settings(&[("HF_HUB_OFFLINE", value)]).unwrap().offline, offline, "{value}");
        }
    }
}
