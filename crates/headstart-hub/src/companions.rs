//! Files that a weight file needs beside it: the shards of a TensorFlow.js manifest.

use std::path::Path;

use serde::Deserialize;

use crate::error::HubError;
use crate::reference::check_file;

/// Bytes of the longest manifest that is read; those of large models have some hundred kB.
const LONGEST: u64 = 64 << 20;
/// Shards have 4 MB each.
const MOST: usize = 16_384;

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "weightsManifest", default)]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    paths: Vec<String>,
}

/// Paths within the repository of what `file`, which lies at `path`, needs beside it.
///
/// # Errors
/// [`HubError::Answer`] for a manifest that is none or whose shards lie elsewhere; [`HubError::TooLarge`].
pub(crate) fn companions(path: &Path, file: &str) -> Result<Vec<String>, HubError> {
    let (folder, name) = file.rsplit_once('/').map_or(("", file), |(folder, name)| (folder, name));
    if !["model.json", "weights_manifest.json"].contains(&name) {
        return Ok(Vec::new());
    }
    let size = path.metadata().map_err(HubError::io("read", path))?.len();
    if size > LONGEST {
        return Err(HubError::TooLarge { what: file.to_owned(), claimed: size, limit: LONGEST });
    }
    let text = std::fs::read(path).map_err(HubError::io("read", path))?;
    let broken = |reason: String| HubError::Answer { url: file.to_owned(), reason };
    let groups: Vec<Group> = match name {
        "model.json" => serde_json::from_slice::<Model>(&text).map(|model| model.groups),
        _ => serde_json::from_slice(&text),
    }
    .map_err(|error| broken(format!("no manifest of TensorFlow.js: {error}")))?;
    let mut shards = Vec::new();
    for shard in groups.into_iter().flat_map(|group| group.paths) {
        let shard = shard.trim_start_matches("./");
        if check_file(shard).is_err() || shards.len() >= MOST {
            return Err(broken(format!(
                "shard `{}` cannot be fetched",
                shard.escape_debug().take(80).collect::<String>()
            )));
        }
        let shard = if folder.is_empty() { shard.to_owned() } else { format!("{folder}/{shard}") };
        if !shards.contains(&shard) {
            shards.push(shard);
        }
    }
    Ok(shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(file: &str, text: &str) -> Result<Vec<String>, HubError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, text).unwrap();
        companions(&path, file)
    }

    #[test]
    fn shards_lie_beside_their_manifest_and_nowhere_else() {
        let model =
            r#"{"modelTopology": {}, "weightsManifest": [{"paths": ["a.bin", "./b.bin", "a.bin"], "weights": []}]}"#;
        assert_eq!(shards("web/model.json", model).unwrap(), ["web/a.bin", "web/b.bin"]);
        assert_eq!(shards("weights_manifest.json", r#"[{"paths": ["x"]}]"#).unwrap(), ["x"]);
        assert!(shards("model.safetensors", "{").unwrap().is_empty());
        for path in ["../x", "/etc/passwd", "a\\b", "http://evil/x", ""] {
            let text = serde_json::json!([{ "paths": [path] }]).to_string();
            assert!(shards("weights_manifest.json", &text).is_err(), "{path}");
        }
        assert!(shards("model.json", "<html>").is_err());
    }
}
