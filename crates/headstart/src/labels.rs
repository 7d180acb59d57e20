//! What the outputs of a published network stand for, and which of them a folder means.
//!
//! ImageNet's 1000 labels are a part of the binary: `assets/imagenet_1k.txt`, whose script states where they are from
//! (Apache-2.0). A label is a line of synonyms, `tench, Tinca tinca`.

use std::path::Path;

use crate::error::{Error, Result, nearest};

static IMAGENET: &str = include_str!("../assets/imagenet_1k.txt");

/// Labels of TensorFlow's networks begin with this one, in front of ImageNet's.
const BACKGROUND: &str = "background";

/// WordNet id and label of each of ImageNet's classes.
fn imagenet() -> impl Iterator<Item = (&'static str, &'static str)> {
    IMAGENET.lines().filter_map(|line| line.split_once('\t'))
}

/// The labels of `count` outputs: those of a file, a line each, or ImageNet's.
///
/// # Errors
/// [`Error::Io`]; [`Error::Recipe`] when the file has another number of lines, or there is none and the number is not
/// ImageNet's.
pub fn of_outputs(count: usize, file: Option<&Path>) -> Result<Vec<String>> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let labels: Vec<String> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        if labels.len() != count {
            return Err(Error::Recipe {
                reason: format!("`{}` has {} labels, the network has {count} outputs", path.display(), labels.len()),
                help: "write one label a line, in the order of the outputs".to_owned(),
            });
        }
        return Ok(labels);
    }
    let background = (count == 1001).then_some(BACKGROUND);
    if count != 1000 && background.is_none() {
        return Err(Error::Recipe {
            reason: format!("the published classifier has {count} outputs, which are not ImageNet's 1000"),
            help: "name them with --labels FILE, one label a line in the order of the outputs".to_owned(),
        });
    }
    Ok(background.into_iter().chain(imagenet().map(|(_, label)| label)).map(str::to_owned).collect())
}

/// Where each of some names stands among the known ones.
///
/// # Errors
/// [`Error::UnknownName`] of this kind for the first that does not.
pub(crate) fn positions(names: &[String], known: &[String], kind: &'static str) -> Result<Vec<usize>> {
    let position = |name: &String| {
        known.iter().position(|other| other == name).ok_or_else(|| Error::UnknownName {
            kind,
            name: name.clone(),
            known: known.to_vec(),
        })
    };
    names.iter().map(position).collect()
}

/// The names of the classes that none of the labels is of.
pub(crate) fn without_example<'n>(classes: &'n [String], labels: &[usize]) -> Vec<&'n str> {
    let mut counts = vec![0usize; classes.len()];
    labels.iter().for_each(|&label| counts[label] += 1);
    classes.iter().zip(&counts).filter(|(_, count)| **count == 0).map(|(class, _)| class.as_str()).collect()
}

/// Index of the label that a folder's name means: the label itself, its WordNet id, or one of its synonyms; capitals do not
/// count in synonyms, and `_` is a blank.
///
/// # Errors
/// [`Error::Label`] when it is none, or several.
pub fn find(labels: &[String], class: &str) -> Result<usize> {
    if let Some(index) = by_word_net_id(labels, class) {
        return Ok(index);
    }
    let plain = |text: &str| text.trim().replace('_', " ").to_lowercase();
    let name = plain(class);
    let whole = |label: &String| label == class;
    let synonym = |label: &String| plain(label) == name || label.split(',').any(|word| plain(word) == name);
    let mut found: Vec<usize> = Vec::new();
    for is_meant in [&whole as &dyn Fn(&String) -> bool, &synonym] {
        found = (0..labels.len()).filter(|&index| is_meant(&labels[index])).collect();
        if let [one] = found[..] {
            return Ok(one);
        }
        if !found.is_empty() {
            break;
        }
    }
    let clear = |index: &usize| match word_net_id(labels, *index) {
        Some(id) => format!("`{id}` ({})", labels[*index]),
        None => format!("`{}`", labels[*index]),
    };
    let words: Vec<String> =
        labels.iter().flat_map(|label| label.split(',')).map(|word| word.trim().to_owned()).collect();
    Err(Error::Label {
        name: class.to_owned(),
        labels: labels.len(),
        candidates: found.iter().map(clear).collect(),
        nearest: nearest(class, &words).map(str::to_owned),
    })
}

/// Where ImageNet's labels begin, if these are ImageNet's.
fn imagenet_offset(labels: &[String]) -> Option<usize> {
    let offset = labels.len().checked_sub(1000).filter(|offset| *offset <= 1)?;
    imagenet().zip(&labels[offset..]).all(|((_, ours), label)| ours == label).then_some(offset)
}

fn by_word_net_id(labels: &[String], class: &str) -> Option<usize> {
    let position = imagenet().position(|(id, _)| id == class)?;
    Some(imagenet_offset(labels)? + position)
}

fn word_net_id(labels: &[String], index: usize) -> Option<&'static str> {
    let position = index.checked_sub(imagenet_offset(labels)?)?;
    imagenet().nth(position).map(|(id, _)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_found_by_label_synonym_and_word_net_id() {
        for (count, shift) in [(1000, 0), (1001, 1)] {
            let labels = of_outputs(count, None).unwrap();
            assert_eq!(labels.len(), count);
            assert_eq!(labels[shift], "tench, Tinca tinca");
            for name in ["tench, Tinca tinca", "tench", "Tinca_tinca", "TENCH", "n01440764"] {
                assert_eq!(find(&labels, name).unwrap(), shift, "{name}");
            }
            assert_eq!(find(&labels, "n03126707").unwrap(), 517 + shift);
            assert_eq!(find(&labels, "n02012849").unwrap(), 134 + shift);
        }
    }

    #[test]
    fn what_is_no_label_or_several_is_told_with_what_is_near() {
        let labels = of_outputs(1000, None).unwrap();
        let error = find(&labels, "ants").unwrap_err();
        assert!(error.to_string().contains("`ants` is none of the network's 1000 labels"), "{error}");
        assert!(error.help().unwrap().contains("`ant`"), "{:?}", error.help());
        let error = find(&labels, "crane").unwrap_err();
        assert!(error.to_string().contains("2 of"), "{error}");
        assert!(error.help().unwrap().contains("`n02012849`"), "{:?}", error.help());
        assert!(find(&["crane".to_owned()], "n02012849").is_err());
    }

    #[test]
    fn other_networks_need_a_file_of_as_many_labels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.txt");
        std::fs::write(&path, "oak\nred maple\n\n").unwrap();
        assert_eq!(of_outputs(2, Some(&path)).unwrap(), ["oak", "red maple"]);
        assert!(of_outputs(3, Some(&path)).unwrap_err().to_string().contains("2 labels"));
        assert!(of_outputs(3, None).unwrap_err().help().unwrap().contains("--labels"));
    }
}
