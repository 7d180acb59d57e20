//! The letters that a network can write: made from transcripts, read and written as DeepSpeech's `alphabet.txt`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::error::DataError;
use crate::text::charset;

/// Letters in the order of a network's outputs; the blank of CTC comes behind the last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alphabet {
    /// One output a symbol, mostly one character each.
    Symbols(Vec<String>),
    /// One output a byte of UTF-8 from 1 to 255: every language, without an alphabet (DeepSpeech's UTF-8 mode).
    Bytes,
}

/// Symbols of an alphabet; a mistaken file has more.
const MOST_SYMBOLS: usize = 65_536;

impl Alphabet {
    /// The characters of transcripts, the space first, the others by their code.
    pub fn of<'a>(transcripts: impl IntoIterator<Item = &'a str>) -> Self {
        let letters: BTreeSet<char> = transcripts.into_iter().flat_map(str::chars).collect();
        Self::Symbols(letters.into_iter().map(String::from).collect())
    }

    /// Reads `alphabet.txt`: one symbol a line; `#` begins a comment, `\#` is the symbol `#`, a line that is a space is the
    /// space; empty lines are passed over.
    ///
    /// # Errors
    /// [`DataError::Io`]; [`DataError::Layout`]: no symbol, one symbol twice, bytes that are no text.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let refuse = |reason: String| DataError::Layout {
            path: path.to_owned(),
            reason,
            help: "an alphabet has one symbol a line; `#` begins a comment, `\\#` is the symbol #".to_owned(),
        };
        let text = String::from_utf8(charset::read(path)?.bytes)
            .map_err(|_| refuse("it holds bytes that are no UTF-8".to_owned()))?;
        Self::parse(&text).map_err(refuse)
    }

    /// [`Self::read`] of a text; what is wrong with it comes in words.
    ///
    /// # Errors
    /// No symbol, one symbol twice, too many.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut symbols, mut lines) = (Vec::new(), HashMap::new());
        for (index, line) in text.split('\n').enumerate() {
            let line = line.trim_end_matches('\r');
            let symbol: String = match line.strip_prefix('\\') {
                Some(rest) if rest.starts_with('#') => rest.nfc().collect(),
                _ if line.is_empty() || line.starts_with('#') => continue,
                _ => line.nfc().collect(),
            };
            if let Some(first) = lines.insert(symbol.clone(), index + 1) {
                return Err(format!("line {} has the symbol `{symbol}` of line {first} again", index + 1));
            }
            symbols.push(symbol);
            if symbols.len() > MOST_SYMBOLS {
                return Err(format!("it has more than {MOST_SYMBOLS} symbols"));
            }
        }
        if symbols.is_empty() { Err("it has no symbol".to_owned()) } else { Ok(Self::Symbols(symbols)) }
    }

    /// The file that [`Self::read`] reads again.
    pub fn write(&self) -> String {
        match self {
            Self::Symbols(symbols) => {
                let line = |symbol: &String| {
                    if symbol.starts_with('#') { format!("\\{symbol}\n") } else { format!("{symbol}\n") }
                };
                symbols.iter().map(line).collect()
            }
            Self::Bytes => "# Bytes of UTF-8 from 1 to 255: no alphabet is needed.\n".to_owned(),
        }
    }

    /// Number of symbols, without the blank.
    pub fn len(&self) -> usize {
        match self {
            Self::Symbols(symbols) => symbols.len(),
            Self::Bytes => 255,
        }
    }

    /// Whether it has no symbol.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Output of the blank: the last.
    pub fn blank(&self) -> usize {
        self.len()
    }

    /// Output of the space, which parts words.
    pub fn space(&self) -> Option<usize> {
        match self {
            Self::Symbols(symbols) => symbols.iter().position(|symbol| symbol == " "),
            Self::Bytes => Some(usize::from(b' ') - 1),
        }
    }

    /// The outputs of a transcript; where symbols are of several characters, the longest that fits.
    ///
    /// # Errors
    /// The characters that it does not have, each once, in the order of the transcript.
    pub fn encode(&self, transcript: &str) -> Result<Vec<usize>, Vec<char>> {
        let Self::Symbols(symbols) = self else {
            let bytes = transcript.bytes().filter(|byte| *byte != 0);
            return Ok(bytes.map(|byte| usize::from(byte) - 1).collect());
        };
        let numbers: HashMap<&str, usize> =
            symbols.iter().enumerate().map(|(number, symbol)| (symbol.as_str(), number)).collect();
        let longest = symbols.iter().map(|symbol| symbol.chars().count()).max().unwrap_or(0);
        let (mut outputs, mut unknown) = (Vec::new(), Vec::new());
        let mut rest = transcript;
        while let Some(first) = rest.chars().next() {
            let ends = rest.char_indices().map(|(at, letter)| at + letter.len_utf8()).take(longest);
            let fitting = ends.filter_map(|end| numbers.get(&rest[..end]).map(|number| (end, *number))).last();
            match fitting {
                Some((end, number)) => {
                    outputs.push(number);
                    rest = &rest[end..];
                }
                None => {
                    if !unknown.contains(&first) {
                        unknown.push(first);
                    }
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        if unknown.is_empty() { Ok(outputs) } else { Err(unknown) }
    }

    /// The text of outputs; blanks and what is no output are passed over, bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, outputs: &[usize]) -> String {
        match self {
            Self::Symbols(symbols) => {
                outputs.iter().filter_map(|output| symbols.get(*output)).map(String::as_str).collect()
            }
            Self::Bytes => {
                let bytes: Vec<u8> = outputs.iter().filter_map(|output| u8::try_from(output + 1).ok()).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
        }
    }

    /// The characters of transcripts that it does not have, with how often each occurs.
    pub fn outside<'a>(&self, transcripts: impl IntoIterator<Item = &'a str>) -> BTreeMap<char, usize> {
        let mut counts = BTreeMap::new();
        for transcript in transcripts {
            if let Err(unknown) = self.encode(transcript) {
                for letter in transcript.chars().filter(|letter| unknown.contains(letter)) {
                    *counts.entry(letter).or_default() += 1;
                }
            }
        }
        counts
    }

    /// For each output of this alphabet, the blank last, the output of `old` that it can start from: the same symbol, else
    /// the same letter in the other case, else its letter without marks (`ä` from `a`, `ñ` from `n`).
    pub fn origins(&self, old: &Self) -> Vec<Option<usize>> {
        let blank = Some(old.blank());
        match (self, old) {
            (Self::Symbols(new), Self::Symbols(old)) => {
                let find = |wanted: &dyn Fn(&str) -> bool| old.iter().position(|symbol| wanted(symbol));
                let origin = |symbol: &String| {
                    let (folded, bare) = (folded(symbol), bare(symbol));
                    find(&|other| other == symbol)
                        .or_else(|| find(&|other| self::folded(other) == folded))
                        .or_else(|| find(&|other| other == bare))
                        .or_else(|| find(&|other| self::folded(other) == self::folded(&bare)))
                        .filter(|_| !bare.is_empty())
                };
                new.iter().map(origin).chain([blank]).collect()
            }
            (Self::Bytes, Self::Bytes) => (0..255).map(Some).chain([blank]).collect(),
            // An ASCII character is one byte.
            (Self::Symbols(new), Self::Bytes) => {
                let byte = |symbol: &String| match symbol.as_bytes() {
                    [byte @ 1..=127] => Some(usize::from(*byte) - 1),
                    _ => None,
                };
                new.iter().map(byte).chain([blank]).collect()
            }
            (Self::Bytes, Self::Symbols(old)) => {
                let symbol = |byte: u8| old.iter().position(|symbol| symbol.as_bytes() == [byte] && byte < 128);
                (1..=255).map(symbol).chain([blank]).collect()
            }
        }
    }
}

fn folded(symbol: &str) -> String {
    symbol.chars().flat_map(char::to_lowercase).nfc().collect()
}

/// A symbol without its marks.
fn bare(symbol: &str) -> String {
    symbol.nfd().filter(|letter| !is_combining_mark(*letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn symbols(text: &str) -> Alphabet {
        Alphabet::of([text])
    }

    #[test]
    fn the_file_of_deepspeech_is_read_with_comments_a_space_and_an_escape() {
        let text = "# Each line in this file represents the Unicode codepoint (UTF-8 encoded)\n# associated with a label.\n \r\na\nb\n\\#\n'\n# The last line must be a comment.\n";
        let alphabet = Alphabet::parse(text).unwrap();
        assert_eq!(alphabet, Alphabet::Symbols([" ", "a", "b", "#", "'"].map(str::to_owned).to_vec()));
        assert_eq!((alphabet.blank(), alphabet.space()), (5, Some(0)));
        assert_eq!(Alphabet::parse(&alphabet.write()).unwrap(), alphabet);
        assert!(Alphabet::parse("# nothing\n\n").is_err());
        assert!(Alphabet::parse("a\nb\na\n").unwrap_err().contains("line 3"));
    }

    #[test]
    fn transcripts_go_there_and_back() {
        let alphabet = symbols("ab c\u{e4}");
        let outputs = alphabet.encode("cab \u{e4}").unwrap();
        assert_eq!(alphabet.decode(&outputs), "cab \u{e4}");
        assert_eq!(alphabet.encode("a?b!?"), Err(vec!['?', '!']));
        assert_eq!(alphabet.outside(["a?b!?", "!"]), BTreeMap::from([('!', 2), ('?', 2)]));
        let digraphs = Alphabet::parse("s\nc\nh\nsch\n").unwrap();
        assert_eq!(digraphs.encode("schs").unwrap(), [3, 0]);
        assert_eq!(digraphs.encode("sh").unwrap(), [0, 2]);
    }

    #[test]
    fn new_letters_start_from_old_ones_where_they_agree() {
        let old = symbols(" abcdefghijklmnopqrstuvwxyz'");
        let new = symbols(" aäñßÉ?");
        let Alphabet::Symbols(letters) = &new else { panic!("symbols") };
        let Alphabet::Symbols(before) = &old else { panic!("symbols") };
        let origins = new.origins(&old);
        let named: Vec<(&str, Option<&str>)> = letters
            .iter()
            .zip(&origins)
            .map(|(letter, from)| (letter.as_str(), from.map(|at| before[at].as_str())))
            .collect();
        assert_eq!(
            named,
            [
                (" ", Some(" ")),
                ("?", None),
                ("a", Some("a")),
                ("É", Some("e")),
                ("ß", None),
                ("ä", Some("a")),
                ("ñ", Some("n"))
            ]
        );
        assert_eq!(origins.last(), Some(&Some(old.blank())));
        assert_eq!(new.origins(&new).into_iter().flatten().collect::<Vec<_>>(), (0..=new.len()).collect::<Vec<_>>());
        assert_eq!(new.origins(&Alphabet::Bytes)[2], Some(96));
        assert_eq!(Alphabet::Bytes.origins(&old)[96], Some(before.iter().position(|letter| letter == "a").unwrap()));
    }

    proptest! {
        #[test]
        fn every_text_can_be_written_in_its_own_alphabet_and_in_bytes(text in "[^\\x00]{0,40}") {
            let alphabet = symbols(&text);
            prop_assert_eq!(alphabet.decode(&alphabet.encode(&text).unwrap()), text.as_str());
            prop_assert_eq!(Alphabet::Bytes.decode(&Alphabet::Bytes.encode(&text).unwrap()), text.as_str());
        }

        #[test]
        fn any_file_is_an_alphabet_or_an_error(text: String) {
            if let Ok(alphabet) = Alphabet::parse(&text) {
                prop_assert_eq!(Alphabet::parse(&alphabet.write()).unwrap(), alphabet);
            }
        }
    }
}
