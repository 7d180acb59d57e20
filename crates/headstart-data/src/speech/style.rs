//! How transcripts are written before a network learns them.

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// A way to write transcripts; it travels with a network.
///
/// Characters are composed (NFC) and white space is one space, whatever is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TranscriptStyle {
    /// In lower case.
    pub lowercase: bool,
    /// Letters, digits and apostrophes alone; everything else parts words.
    pub letters_only: bool,
}

impl TranscriptStyle {
    /// Lower case and letters only, as DeepSpeech was trained.
    pub fn plain() -> Self {
        Self { lowercase: true, letters_only: true }
    }

    /// A transcript in this style; doing it again changes nothing.
    pub fn apply(&self, transcript: &str) -> String {
        let composed: String = if self.lowercase {
            // Lower case may come out decomposed (İ).
            transcript.nfc().flat_map(char::to_lowercase).nfc().collect()
        } else {
            transcript.nfc().collect()
        };
        let mut written = String::with_capacity(composed.len());
        let mut parted = false;
        for letter in composed.chars() {
            let letter =
                if self.letters_only && matches!(letter, '\u{2018}' | '\u{2019}' | '\u{02bc}') { '\'' } else { letter };
            let is_part = letter.is_alphanumeric() || is_combining_mark(letter) || letter == '\'';
            if letter.is_whitespace() || letter.is_control() || (self.letters_only && !is_part) {
                parted = !written.is_empty();
                continue;
            }
            if std::mem::take(&mut parted) {
                written.push(' ');
            }
            written.push(letter);
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn transcripts_are_written_as_chosen() {
        let text = "  Además,\tmala—táctica; DON\u{2019}T…  ";
        assert_eq!(TranscriptStyle::plain().apply(text), "además mala táctica don't");
        assert_eq!(TranscriptStyle::default().apply(text), "Además, mala—táctica; DON\u{2019}T…");
        assert_eq!(TranscriptStyle::default().apply("a\u{308}"), "ä");
        assert_eq!(TranscriptStyle::plain().apply("?!"), "");
    }

    proptest! {
        #[test]
        fn twice_is_once(text: String, lowercase: bool, letters_only: bool) {
            let style = TranscriptStyle { lowercase, letters_only };
            let once = style.apply(&text);
            prop_assert_eq!(style.apply(&once), once);
        }
    }
}
