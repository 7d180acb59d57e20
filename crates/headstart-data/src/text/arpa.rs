//! N-gram language models in ARPA's text format, as SRILM and KenLM write them.
//!
//! Probabilities of words with back-off (Katz 1987): log₁₀ in the file, natural logarithms here.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::error::DataError;

/// A model of words.
#[derive(Debug, Clone)]
pub struct Arpa {
    order: usize,
    words: HashMap<String, u32>,
    /// Node of the n-grams that begin with a node and go on with a word; node 0 is the empty n-gram.
    next: HashMap<(u32, u32), u32>,
    nodes: Vec<Gram>,
    unknown: Option<u32>,
}

/// log₁₀ of a probability, and of what is paid where no longer n-gram is there.
#[derive(Debug, Clone, Copy)]
struct Gram {
    /// None where only longer n-grams are in the file.
    probability: Option<f32>,
    backoff: f32,
}

const EMPTY: Gram = Gram { probability: None, backoff: 0.0 };

/// Longest n-grams that are read.
const HIGHEST_ORDER: usize = 16;

/// Longest line in bytes.
const LONGEST_LINE: u64 = 1 << 16;

/// log₁₀ of the probability of a word that is not in a model without `<unk>`.
const UNKNOWN: f32 = -10.0;

/// Number of a word that no model has.
const NO_WORD: u32 = u32::MAX;

impl Arpa {
    /// Reads a file.
    ///
    /// # Errors
    /// [`DataError::Io`]; [`DataError::LanguageModel`] with the line and what was expected.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
        Self::read_from(path, BufReader::new(file))
    }

    /// [`Self::read`] for any source; `path` is for messages.
    ///
    /// # Errors
    /// See [`Self::read`].
    pub fn read_from(path: &Path, source: impl BufRead) -> Result<Self, DataError> {
        let mut reader = Reader { path, source, line: Vec::new(), number: 0 };
        reader.model()
    }

    /// Words of the longest n-grams.
    pub fn order(&self) -> usize {
        self.order
    }

    /// Number of different words.
    pub fn vocabulary(&self) -> usize {
        self.words.len()
    }

    /// Whether it knows a word.
    pub fn knows(&self, word: &str) -> bool {
        self.words.contains_key(word)
    }

    /// What stands before the first word of a sentence.
    pub fn begin(&self) -> Vec<u32> {
        let begin = self.words.get("<s>").copied();
        begin.into_iter().take(self.order.saturating_sub(1)).collect()
    }

    /// ln of the probability of a word after a context, and the context behind it: at most `order − 1` words.
    pub fn word(&self, context: &[u32], word: &str) -> (f64, Vec<u32>) {
        let number = self.words.get(word).copied().or(self.unknown).unwrap_or(NO_WORD);
        let probability = f64::from(self.log10(context, number)) * std::f64::consts::LN_10;
        let mut context: Vec<u32> = context.iter().copied().chain([number]).collect();
        context.drain(..context.len().saturating_sub(self.order - 1));
        (probability, context)
    }

    /// ln of the probability of a sentence, its end included.
    pub fn sentence<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> f64 {
        let (sum, _) = words.into_iter().chain(["</s>"]).fold((0.0, self.begin()), |(sum, context), word| {
            let (probability, context) = self.word(&context, word);
            (sum + probability, context)
        });
        sum
    }

    /// The longest n-gram that is there, and the back-off of those that are not.
    fn log10(&self, context: &[u32], word: u32) -> f32 {
        let mut paid = 0.0;
        for start in context.len().saturating_sub(self.order - 1)..=context.len() {
            let Some(node) = self.node(&context[start..]) else { continue };
            let longer = self.next.get(&(node, word)).and_then(|node| self.nodes[*node as usize].probability);
            match longer {
                Some(probability) => return paid + probability,
                None => paid += self.nodes[node as usize].backoff,
            }
        }
        paid + UNKNOWN
    }

    fn node(&self, words: &[u32]) -> Option<u32> {
        words.iter().try_fold(0, |node, word| self.next.get(&(node, *word)).copied())
    }

    /// The node of an n-gram, made where there is none.
    fn make(&mut self, words: &[u32]) -> u32 {
        words.iter().fold(0, |node, word| {
            let fresh = self.nodes.len() as u32;
            let node = *self.next.entry((node, *word)).or_insert(fresh);
            if node == fresh {
                self.nodes.push(EMPTY);
            }
            node
        })
    }
}

struct Reader<'a, R> {
    path: &'a Path,
    source: R,
    line: Vec<u8>,
    number: usize,
}

impl<R: BufRead> Reader<'_, R> {
    fn refuse(&self, reason: impl std::fmt::Display) -> DataError {
        DataError::LanguageModel {
            path: self.path.to_owned(),
            reason: format!("line {}: {reason}", self.number),
            help: "give a model as ARPA text, such as `lmplz -o 3 --text FILE --arpa FILE.arpa` of KenLM writes"
                .to_owned(),
        }
    }

    /// The next line that is not empty, without white space at its ends.
    fn next(&mut self) -> Result<Option<String>, DataError> {
        loop {
            self.line.clear();
            self.number += 1;
            let mut limited = std::io::Read::take(&mut self.source, LONGEST_LINE);
            let read = limited.read_until(b'\n', &mut self.line);
            let read = read.map_err(|source| DataError::Io { path: self.path.to_owned(), source })?;
            if read == 0 {
                return Ok(None);
            }
            if read as u64 == LONGEST_LINE {
                return Err(self.refuse("it is too long for an n-gram"));
            }
            let text = std::str::from_utf8(&self.line).map_err(|_| self.refuse("bytes that are no UTF-8"))?;
            if !text.trim().is_empty() {
                return Ok(Some(text.trim().to_owned()));
            }
        }
    }

    fn model(&mut self) -> Result<Arpa, DataError> {
        // Comments may stand before the data.
        loop {
            match self.next()? {
                Some(line) if line == "\\data\\" => break,
                Some(_) if self.number < 1_000 => {}
                _ => return Err(self.refuse("there is no `\\data\\`, with which an ARPA model begins")),
            }
        }
        let mut counts = Vec::new();
        let mut line = self.next()?;
        while let Some(rest) = line.as_deref().and_then(|line| line.strip_prefix("ngram ")) {
            let (order, count) = rest.split_once('=').ok_or_else(|| self.refuse("expected `ngram ORDER=COUNT`"))?;
            match (order.trim().parse::<usize>(), count.trim().parse::<u64>()) {
                (Ok(order), Ok(count)) if order == counts.len() + 1 && order <= HIGHEST_ORDER => counts.push(count),
                _ => return Err(self.refuse("expected `ngram ORDER=COUNT` for the orders 1, 2, …, at most 16")),
            }
            line = self.next()?;
        }
        if counts.is_empty() {
            return Err(self.refuse("expected `ngram 1=COUNT`"));
        }
        let mut model = Arpa {
            order: counts.len(),
            words: HashMap::new(),
            next: HashMap::new(),
            nodes: vec![EMPTY],
            unknown: None,
        };
        for (order, expected) in (1..).zip(counts) {
            if line.as_deref() != Some(&format!("\\{order}-grams:")) {
                return Err(self.refuse(format!("expected `\\{order}-grams:`")));
            }
            let mut found = 0;
            loop {
                line = self.next()?;
                match &line {
                    None => return Err(self.refuse("the file ends before `\\end\\`: it is cut off")),
                    Some(line) if line.starts_with('\\') && is_section(line) => break,
                    Some(line) => self.gram(&mut model, order, line)?,
                }
                found += 1;
            }
            if found != expected {
                return Err(self.refuse(format!("{found} n-grams of order {order}, the head says {expected}")));
            }
        }
        if line.as_deref() != Some("\\end\\") {
            return Err(self.refuse("expected `\\end\\`"));
        }
        model.unknown = ["<unk>", "<UNK>"].iter().find_map(|name| model.words.get(*name)).copied();
        Ok(model)
    }

    /// `PROBABILITY WORD … [BACKOFF]`
    fn gram(&self, model: &mut Arpa, order: usize, line: &str) -> Result<(), DataError> {
        let mut cells = line.split([' ', '\t']).filter(|cell| !cell.is_empty());
        let number =
            |cell: Option<&str>| cell.and_then(|cell| cell.parse::<f32>().ok()).filter(|number| !number.is_nan());
        // A probability of 1 may come out above it by rounding; one of 0 is written as -99, or as minus infinity.
        let probability = number(cells.next()).filter(|number| *number < 0.01);
        let Some(probability) = probability.map(|number| number.clamp(-99.0, 0.0)) else {
            return Err(self.refuse("it does not begin with the logarithm of a probability"));
        };
        let mut words = Vec::with_capacity(order);
        for _ in 0..order {
            let word = cells.next().ok_or_else(|| self.refuse(format!("fewer than {order} words")))?;
            match model.words.get(word) {
                Some(number) => words.push(*number),
                None if order == 1 => {
                    let number = model.words.len() as u32;
                    model.words.insert(word.to_owned(), number);
                    words.push(number);
                }
                None => return Err(self.refuse(format!("`{word}` is none of the 1-grams"))),
            }
        }
        let backoff = match cells.next() {
            None => 0.0,
            cell => match number(cell) {
                Some(backoff) => backoff.clamp(-99.0, 99.0),
                None => return Err(self.refuse(format!("more than {order} words, or a back-off that is no number"))),
            },
        };
        if cells.next().is_some() {
            return Err(self.refuse(format!("more than {order} words")));
        }
        let node = model.make(&words) as usize;
        if model.nodes[node].probability.is_some() {
            return Err(self.refuse("this n-gram came before"));
        }
        model.nodes[node] = Gram { probability: Some(probability), backoff };
        Ok(())
    }
}

/// Whether a line that begins with `\` ends a section: a word may begin so, but no line of an n-gram does.
fn is_section(line: &str) -> bool {
    line == "\\end\\" || line.ends_with("-grams:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MODEL: &str = "made by hand

\\data\\
ngram 1=5
ngram 2=4
ngram 3=1

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.5
-0.8\t</s>
-0.6\tthe\t-0.4
-0.9\tcat\t-0.3

\\2-grams:
-0.2\t<s> the\t-0.1
-0.3\tthe cat\t-0.2
-0.4 cat </s>
-0.7\tcat the

\\3-grams:
-0.05\t<s> the cat

\\end\\
";

    fn read(text: &str) -> Result<Arpa, DataError> {
        Arpa::read_from(Path::new("x.arpa"), text.as_bytes())
    }

    /// In log₁₀.
    fn sentence(model: &Arpa, text: &str) -> f64 {
        model.sentence(text.split_whitespace()) / std::f64::consts::LN_10
    }

    #[test]
    fn the_longest_n_gram_counts_and_back_off_is_paid() {
        let model = read(MODEL).unwrap();
        assert_eq!((model.order(), model.vocabulary()), (3, 5));
        assert!(model.knows("cat") && !model.knows("dog"));
        let near = |text: &str, expected: f64| {
            let found = sentence(&model, text);
            assert!((found - expected).abs() < 1e-5, "{text}: {found} instead of {expected}");
        };
        // <s> the: bigram; <s> the cat: trigram; the cat </s>: back-off of `the cat`, bigram `cat </s>`.
        near("the cat", -0.2 - 0.05 + (-0.2 - 0.4));
        // <s> cat: back-off of <s>, unigram; <s> cat is no context, so `cat the` is the bigram; `cat the` has no back-off.
        near("cat the", (-0.5 - 0.9) - 0.7 + (-0.4 - 0.8));
        // An unknown word pays the back-offs down to <unk>, which is no context of anything.
        near("the dog cat", -0.2 + (-0.1 - 0.4 - 1.0) - 0.9 + (-0.4));
        near("", -0.5 - 0.8);
        let plain = read(&MODEL.replace("ngram 1=5", "ngram 1=4").replace("-1.0\t<unk>\n", "")).unwrap();
        assert!((sentence(&plain, "dog") - (-0.5 + f64::from(UNKNOWN) - 0.8)).abs() < 1e-5);
    }

    #[test]
    fn a_context_is_no_longer_than_it_needs_to_be() {
        let model = read(MODEL).unwrap();
        let (_, one) = model.word(&model.begin(), "the");
        let (_, two) = model.word(&one, "cat");
        assert_eq!((model.begin().len(), one.len(), two.len()), (1, 2, 2));
        let unigrams = read("\\data\\\nngram 1=1\n\\1-grams:\n-0.5\ta\n\\end\\\n").unwrap();
        assert_eq!((unigrams.begin(), unigrams.word(&[], "a").1), (Vec::new(), Vec::new()));
    }

    #[test]
    fn files_that_are_no_model_are_refused_with_their_line() {
        for (text, what) in [
            ("", "no `\\data\\`"),
            ("hello\n", "no `\\data\\`"),
            ("\\data\\\n\\1-grams:\n", "line 2"),
            ("\\data\\\nngram 2=1\n", "line 2"),
            ("\\data\\\nngram 1=x\n", "line 2"),
            ("\\data\\\nngram 1=1\n\\2-grams:\n", "line 3"),
            ("\\data\\\nngram 1=1\n\\1-grams:\n", "cut off"),
            ("\\data\\\nngram 1=18446744073709551615\n\\1-grams:\n-1 a\n\\end\\\n", "1 n-grams"),
            ("\\data\\\nngram 1=2\n\\1-grams:\n-1 a\n-1 a\n\\end\\\n", "came before"),
            ("\\data\\\nngram 1=1\n\\1-grams:\n1.5 a\n\\end\\\n", "logarithm"),
            ("\\data\\\nngram 1=1\n\\1-grams:\nNaN a\n\\end\\\n", "logarithm"),
            ("\\data\\\nngram 1=1\n\\1-grams:\n-1 a b c\n\\end\\\n", "line 4"),
            ("\\data\\\nngram 1=1\nngram 2=1\n\\1-grams:\n-1 a\n\\2-grams:\n-1 a z\n\\end\\\n", "`z`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains(what) && error.help().is_some(), "{text:?}: {error}");
        }
        let long = format!("\\data\\\nngram 1=1\n\\1-grams:\n-1 {}\n\\end\\\n", "a".repeat(1 << 17));
        assert!(read(&long).unwrap_err().to_string().contains("too long"));
        for end in 0..MODEL.len() - 1 {
            assert!(read(&MODEL[..end]).is_err() || MODEL[..end].ends_with("\\end\\"), "{end}");
        }
    }

    proptest! {
        #[test]
        fn after_every_context_the_words_of_a_closed_model_add_up(weights in prop::collection::vec(1u32..20, 12)) {
            // A bigram model over a and b, estimated so that it adds up: unigrams, and bigrams for some pairs.
            let log = |weight: f64| weight.log10();
            let all: f64 = weights[..3].iter().map(|weight| f64::from(*weight)).sum();
            let unigram: Vec<f64> = weights[..3].iter().map(|weight| f64::from(*weight) / all).collect();
            // After `a` the bigram `a b` has probability p; the others share the rest.
            let p = f64::from(weights[3]) / 25.0;
            let backoff = (1.0 - p) / (1.0 - unigram[1]);
            let text = format!(
                "\\data\\\nngram 1=3\nngram 2=1\n\\1-grams:\n{} a {}\n{} b\n{} </s>\n\\2-grams:\n{} a b\n\\end\\\n",
                log(unigram[0]), log(backoff), log(unigram[1]), log(unigram[2]), log(p)
            );
            let model = read(&text).unwrap();
            for context in [Vec::new(), model.word(&[], "a").1, model.word(&[], "b").1] {
                let sum: f64 = ["a", "b", "</s>"].iter().map(|word| model.word(&context, word).0.exp()).sum();
                prop_assert!((sum - 1.0).abs() < 1e-4, "{sum}");
            }
        }

        #[test]
        fn any_bytes_are_a_model_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200), place in any::<prop::sample::Index>()) {
            let mut text = MODEL.as_bytes().to_vec();
            let start = place.index(text.len());
            let end = (start + bytes.len()).min(text.len());
            text[start..end].copy_from_slice(&bytes[..end - start]);
            if let Ok(model) = Arpa::read_from(Path::new("x.arpa"), text.as_slice()) {
                prop_assert!(model.sentence(["the", "cat", "sat"]).is_finite());
            }
        }
    }
}
