//! `hf:ORGANIZATION/NAME[@REVISION][:FILE]`: what a user writes, checked before it becomes a path or an address.

use std::fmt;
use std::str::FromStr;

use crate::error::HubError;

/// The branch that is meant when none is named.
const MAIN: &str = "main";

/// A file of a repository, or the weights of it when no file is named.
///
/// Written `hf:timm/resnet18.tv_in1k`, `hf:timm/resnet18.tv_in1k@main`, `hf:timm/resnet18.tv_in1k:model.safetensors` or with
/// both, the revision first. A revision is a branch, a tag or a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    repository: String,
    revision: Option<String>,
    file: Option<String>,
}

impl Reference {
    /// What a reference begins with.
    pub const PREFIX: &str = "hf:";

    /// Checks the parts.
    ///
    /// # Errors
    /// [`HubError::Reference`] for names that no repository can have, or that would lead out of the cache.
    pub fn new(repository: &str, revision: Option<&str>, file: Option<&str>) -> Result<Self, HubError> {
        let fail = |text: &str, reason: &str| {
            Err(HubError::Reference { text: text.escape_debug().to_string(), reason: reason.to_owned() })
        };
        if let Err(reason) = check_repository(repository) {
            return fail(repository, reason);
        }
        if let Some(Err(reason)) = revision.map(check_revision) {
            return fail(revision.unwrap_or_default(), reason);
        }
        if let Some(Err(reason)) = file.map(check_file) {
            return fail(file.unwrap_or_default(), reason);
        }
        Ok(Self {
            repository: repository.to_owned(),
            revision: revision.map(str::to_owned),
            file: file.map(str::to_owned),
        })
    }

    /// `organization/name`, or `name` alone for the oldest ones.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Branch, tag or commit; the main branch when none was named.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// Path within the repository, if one was named.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }
}

impl FromStr for Reference {
    type Err = HubError;

    /// With or without `hf:` before it.
    fn from_str(text: &str) -> Result<Self, HubError> {
        let text = text.strip_prefix(Self::PREFIX).unwrap_or(text);
        // Neither names of repositories nor git's revisions can hold a colon, so the first one begins the file.
        let (place, file) = text.split_once(':').map_or((text, None), |(place, file)| (place, Some(file)));
        let (repository, revision) =
            place.split_once('@').map_or((place, None), |(repository, revision)| (repository, Some(revision)));
        Self::new(repository, revision, file)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.repository)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        if let Some(file) = &self.file {
            write!(f, ":{file}")?;
        }
        Ok(())
    }
}

/// Whether this is a whole commit, which never changes its meaning.
pub(crate) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn check_repository(repository: &str) -> Result<(), &'static str> {
    let parts: Vec<&str> = repository.split('/').collect();
    if parts.len() > 2 || repository.len() > 192 {
        return Err("a repository is ORGANIZATION/NAME");
    }
    for part in parts {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if part.is_empty() || !part.bytes().all(is_name) {
            return Err("names of repositories are letters, digits and -_.");
        }
        // The cache joins the parts by `--`, and the hub allows neither there.
        if part.starts_with(['.', '-']) || part.ends_with(['.', '-']) || part.contains("--") || part.contains("..") {
            return Err("names of repositories neither begin nor end with . or -, nor hold two of them in a row");
        }
    }
    Ok(())
}

fn check_revision(revision: &str) -> Result<(), &'static str> {
    // What git forbids in names, as far as it could do harm here.
    if revision.is_empty() || revision.len() > 255 {
        return Err("a revision has 1 to 255 characters");
    }
    if revision.chars().any(|char| char.is_control() || char.is_whitespace() || "\\:?*[~^".contains(char)) {
        return Err("a revision holds neither spaces nor \\ : ? * [ ~ ^");
    }
    check_parts(revision)
}

pub(crate) fn check_file(file: &str) -> Result<(), &'static str> {
    if file.is_empty() || file.len() > 1024 {
        return Err("the path of a file has 1 to 1024 bytes");
    }
    if file.chars().any(|char| char.is_control() || "\\:".contains(char)) {
        return Err("the path of a file holds neither control characters nor \\ or :");
    }
    check_parts(file)
}

fn check_parts(path: &str) -> Result<(), &'static str> {
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err("it would lead out of the repository");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_as_it_is_written() {
        for text in [
            "hf:timm/mobilenetv2_100.ra_in1k",
            "hf:gpt2",
            "hf:a/b@refs/pr/3",
            "hf:a/b:sub folder/größe 🐝@2.safetensors",
            "hf:a/b@v1.0:model.safetensors",
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
        let reference: Reference = "a/b@v1.0:model.h5".parse().unwrap();
        assert_eq!((reference.repository(), reference.revision(), reference.file()), ("a/b", "v1.0", Some("model.h5")));
        assert_eq!("hf:a/b".parse::<Reference>().unwrap().revision(), "main");
    }

    #[test]
    fn names_that_would_leave_the_cache_or_the_address_are_refused() {
        for text in [
            "hf:",
            "hf:/etc",
            "hf:a/b/c",
            "hf:../b",
            "hf:a/..",
            "hf:a--b/c",
            "hf:a b/c",
            "hf:a/b?x",
            "hf:-a/b",
            "hf:a/b@",
            "hf:a/b@..",
            "hf:a/b@x/../../y",
            "hf:a/b@/etc",
            "hf:a/b@x\\y",
            "hf:a/b@a\r\nb",
            "hf:a/b:",
            "hf:a/b:../x",
            "hf:a/b:/etc/passwd",
            "hf:a/b:x//y",
            "hf:a/b:x\\..\\y",
            "hf:a/b:C:/x",
            "hf:a/b:x\0y",
        ] {
            assert!(matches!(text.parse::<Reference>(), Err(HubError::Reference { .. })), "{text:?}");
        }
    }
}
