//! Which file of a repository holds the weights, when nobody says.

/// The file that is meant, by the names that libraries give theirs, or why none can be told.
///
/// `model.safetensors`, else the only `.safetensors`; else `pytorch_model.bin`, else the only `.pth` or `.pt`; else the
/// only `.keras`; else the only `.h5`; else a TensorFlow.js `model.json`. Files in folders are taken when they are named.
pub(crate) fn choose(files: &[String]) -> Result<String, String> {
    let top: Vec<&str> = files.iter().map(String::as_str).filter(|file| !file.contains('/')).collect();
    let kinds: [(&str, &[&str]); 5] = [
        ("model.safetensors", &[".safetensors"]),
        ("pytorch_model.bin", &[".pth", ".pt"]),
        ("model.keras", &[".keras"]),
        ("model.weights.h5", &[".h5"]),
        ("model.json", &[]),
    ];
    for (usual, endings) in kinds {
        if top.contains(&usual) {
            return Ok(usual.to_owned());
        }
        let found: Vec<&str> =
            top.iter().copied().filter(|file| endings.iter().any(|ending| file.ends_with(ending))).collect();
        match found[..] {
            [] => {}
            [file] => return Ok(file.to_owned()),
            _ => return Err(format!("it could be {}", listed(&found))),
        }
    }
    Err(match &top[..] {
        [] => "there is no file beside those in folders".to_owned(),
        top => format!("there are {}", listed(top)),
    })
}

/// The first few names; a repository may have thousands, of any length.
fn listed(files: &[&str]) -> String {
    let shown: Vec<String> =
        files.iter().take(8).map(|file| format!("`{}`", file.escape_debug().take(60).collect::<String>())).collect();
    let more = files.len() - shown.len();
    shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(files: &[&str]) -> Result<String, String> {
        choose(&files.iter().map(|file| (*file).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn safe_formats_come_first_and_doubt_is_told() {
        let all = ["README.md", "config.json", "pytorch_model.bin", "model.safetensors", "tf_model.h5"];
        assert_eq!(chosen(&all).unwrap(), "model.safetensors");
        assert_eq!(chosen(&["pytorch_model.bin", "tf_model.h5"]).unwrap(), "pytorch_model.bin");
        assert_eq!(chosen(&["net.safetensors", "pytorch_model.bin"]).unwrap(), "net.safetensors");
        assert_eq!(chosen(&["saved.keras", "x.h5"]).unwrap(), "saved.keras");
        assert_eq!(chosen(&["vgg16_notop.h5", "README.md"]).unwrap(), "vgg16_notop.h5");
        assert_eq!(chosen(&["model.json", "group1-shard1of1.bin"]).unwrap(), "model.json");
        assert!(chosen(&["a.safetensors", "b.safetensors"]).unwrap_err().contains("`a.safetensors`, `b.safetensors`"));
        assert!(chosen(&["onnx/model.onnx"]).unwrap_err().contains("in folders"));
        assert!(chosen(&["README.md"]).unwrap_err().contains("`README.md`"));
        assert!(chosen(&[]).is_err());
    }
}
