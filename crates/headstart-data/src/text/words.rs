//! The words of a text that nobody took apart, as corpora of tagged words take theirs.

use std::ops::Range;

/// Punctuation beside that of ASCII that stands apart from words.
const PUNCTUATION: [std::ops::RangeInclusive<char>; 6] = [
    '\u{2010}'..='\u{2027}', // dashes, quotes, bullets, ellipsis
    '\u{2030}'..='\u{205e}', // per mille, primes, guillemets with one angle
    '\u{3001}'..='\u{3003}', // the commas and stops of Chinese and Japanese
    '\u{3008}'..='\u{3011}', // their brackets
    '\u{ff01}'..='\u{ff0f}', // full-width punctuation
    '\u{ff1a}'..='\u{ff20}',
];

/// What comes after a name and is a word of its own, as the Penn Treebank splits it.
const CLITICS: [&str; 2] = ["'s", "\u{2019}s"];

/// The bytes of the words of `text`: what stands between white space, punctuation at its ends apart.
///
/// `@name` and `#topic` stay whole, and so does the stop of `U.S.`. No word crosses a byte of `cuts`, which are on character
/// boundaries: a stretch that somebody marked begins and ends with a word.
pub fn words(text: &str, cuts: &[usize]) -> Vec<Range<usize>> {
    let mut cuts: Vec<usize> = cuts.iter().copied().filter(|&cut| cut < text.len()).collect();
    cuts.sort_unstable();
    let mut found = Vec::new();
    let mut begin = None;
    let mut next_cut = cuts.iter().copied().peekable();
    for (at, letter) in text.char_indices().chain([(text.len(), ' ')]) {
        while next_cut.next_if(|&cut| cut < at).is_some() {}
        let is_cut = next_cut.next_if_eq(&at).is_some();
        if (letter.is_whitespace() || is_cut)
            && let Some(begin) = begin.take()
        {
            split(text, begin..at, &mut found);
        }
        if !letter.is_whitespace() && begin.is_none() {
            begin = Some(at);
        }
    }
    found
}

/// One stretch without white space into words.
fn split(text: &str, stretch: Range<usize>, found: &mut Vec<Range<usize>>) {
    let Range { mut start, mut end } = stretch;
    while let Some(letter) = text[start..end].chars().next() {
        let rest = &text[start + letter.len_utf8()..end];
        let names = matches!(letter, '@' | '#') && rest.starts_with(|next: char| next.is_alphanumeric() || next == '_');
        if !is_punctuation(letter) || names {
            break;
        }
        found.push(start..start + letter.len_utf8());
        start += letter.len_utf8();
    }
    let mut behind = Vec::new();
    while let Some(letter) = text[start..end].chars().next_back() {
        let before = &text[start..end - letter.len_utf8()];
        let shortens = letter == '.' && before.contains('.') && !before.ends_with('.');
        if !is_punctuation(letter) || shortens {
            break;
        }
        end -= letter.len_utf8();
        behind.push(end..end + letter.len_utf8());
    }
    let clitic =
        CLITICS.iter().find(|clitic| text[start..end].len() > clitic.len() && text[start..end].ends_with(**clitic));
    if let Some(clitic) = clitic {
        behind.push(end - clitic.len()..end);
        end -= clitic.len();
    }
    if start < end {
        found.push(start..end);
    }
    found.extend(behind.into_iter().rev());
}

fn is_punctuation(letter: char) -> bool {
    letter.is_ascii_punctuation()
        || matches!(letter, '¡' | '¿' | '«' | '»')
        || PUNCTUATION.iter().any(|range| range.contains(&letter))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken<'t>(text: &'t str, cuts: &[usize]) -> Vec<&'t str> {
        words(text, cuts).into_iter().map(|word| &text[word]).collect()
    }

    #[test]
    fn punctuation_stands_apart_and_names_stay_whole() {
        assert_eq!(
            taken("“Ann Lee”, of the U.S., left.", &[]),
            ["“", "Ann", "Lee", "”", ",", "of", "the", "U.S.", ",", "left", "."]
        );
        assert_eq!(
            taken("@ann_lee: #1 in Rome's e-mail!?", &[]),
            ["@ann_lee", ":", "#1", "in", "Rome", "'s", "e-mail", "!", "?"]
        );
        assert_eq!(taken("  \t\n", &[]), [""; 0]);
        assert_eq!(taken("… 'tis 北京。", &[]), ["…", "'", "tis", "北京", "。"]);
    }

    #[test]
    fn a_marked_stretch_begins_and_ends_with_a_word() {
        assert_eq!(taken("NewYork-based", &[0, 7]), ["NewYork", "-", "based"]);
        assert_eq!(taken("a b", &[1, 2, 3, 9]), ["a", "b"]);
    }

    proptest! {
        #[test]
        fn words_are_rising_apart_and_hold_all_that_is_no_white_space(text in "\\PC{0,40}", cut in 0..40usize) {
            let cut = (0..=cut.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let words = words(&text, &[cut]);
            let mut end = 0;
            for word in &words {
                prop_assert!(word.start >= end && word.end > word.start);
                prop_assert!(text[end..word.start].chars().all(char::is_whitespace));
                prop_assert!(word.end <= cut || word.start >= cut);
                end = word.end;
            }
            prop_assert!(text[end..].chars().all(char::is_whitespace));
        }
    }
}
