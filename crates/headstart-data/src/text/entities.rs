//! Entity tags (IOB1, IOB2, BIOES, BILOU) to spans of words.
//!
//! Two readings are in use. The lenient one is that of `conlleval` (CoNLL-2000) and of seqeval's default mode: a tag that
//! should not be where it is begins an entity. The strict one, seqeval's `mode="strict"`, drops whatever breaks its scheme.

/// How tags mark entities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `I` everywhere, `B` only where two entities of one kind touch (Ramshaw and Marcus 1995).
    Iob1,
    /// `B` begins every entity, `I` goes on.
    Iob2,
    /// `B`, `I`, `E` from begin to end, `S` alone.
    Bioes,
    /// `B`, `I`, `L` from begin to end, `U` alone.
    Bilou,
}

impl Scheme {
    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Iob1 => "IOB1",
            Self::Iob2 => "IOB2",
            Self::Bioes => "BIOES",
            Self::Bilou => "BILOU",
        }
    }

    /// The scheme that the fewest tags of `sentences` break; IOB2 among equals.
    pub fn find<'a>(sentences: impl Iterator<Item = &'a [&'a str]> + Clone) -> Self {
        let broken = |scheme: Self| -> usize { sentences.clone().map(|tags| violations(tags, scheme).len()).sum() };
        let all = [Self::Iob2, Self::Iob1, Self::Bioes, Self::Bilou];
        all.into_iter().min_by_key(|scheme| broken(*scheme)).unwrap_or(Self::Iob2)
    }
}

/// A named run of words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entity {
    /// First word of the sentence, and the one after the last.
    pub words: (usize, usize),
    /// Its kind; `_` where the tag has none.
    pub kind: String,
}

/// A tag taken apart: its letter and its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag<'a> {
    pub(crate) letter: char,
    pub(crate) kind: &'a str,
}

impl<'a> Tag<'a> {
    const OUTSIDE: Self = Tag { letter: 'O', kind: "_" };

    /// As seqeval takes tags apart: the first letter, then what follows the first hyphen.
    fn lenient(tag: &'a str) -> Self {
        let mut letters = tag.chars();
        let letter = letters.next().unwrap_or('O');
        let rest = letters.as_str();
        let kind = rest.split_once('-').map_or(rest, |(_, kind)| kind);
        Tag { letter, kind: if kind.is_empty() { "_" } else { kind } }
    }

    /// As strict seqeval does: the first letter, then the rest without hyphens around it.
    fn strict(tag: &'a str) -> Self {
        let mut letters = tag.chars();
        let letter = letters.next().unwrap_or('O');
        let kind = letters.as_str().trim_matches('-');
        Tag { letter, kind: if kind.is_empty() { "_" } else { kind } }
    }

    /// `O`, or one of the letters, a hyphen and a kind.
    pub(crate) fn well_formed(tag: &'a str) -> Option<Self> {
        if tag == "O" {
            return Some(Self::OUTSIDE);
        }
        let (letter, kind) = tag.split_once('-')?;
        let letter = letter.chars().next().filter(|first| first.len_utf8() == letter.len())?;
        (matches!(letter, 'B' | 'I' | 'E' | 'S' | 'L' | 'U') && !kind.is_empty()).then_some(Tag { letter, kind })
    }
}

/// The entities that `tags` mark, read leniently: `B` and `S` begin, `E` and `S` end, and so does a change of kind; `I` and
/// `E` go on with what is open and else begin. `L` and `U` are read as `E` and `S`.
///
/// For tags without `L` and `U` this is seqeval's `get_entities`.
pub fn entities(tags: &[&str]) -> Vec<Entity> {
    let mut found = Vec::new();
    let mut previous = Tag::OUTSIDE;
    let mut begin = 0;
    for (index, tag) in tags.iter().map(|tag| canonical(Tag::lenient(tag))).chain([Tag::OUTSIDE]).enumerate() {
        if ends(previous, tag) {
            found.push(Entity { words: (begin, index), kind: previous.kind.to_owned() });
        }
        if begins(previous, tag) {
            begin = index;
        }
        previous = tag;
    }
    found
}

/// `L` and `U` of BILOU as `E` and `S`.
fn canonical(tag: Tag<'_>) -> Tag<'_> {
    let letter = match tag.letter {
        'L' => 'E',
        'U' => 'S',
        letter => letter,
    };
    Tag { letter, ..tag }
}

/// Whether an entity ends between two tags.
fn ends(previous: Tag<'_>, tag: Tag<'_>) -> bool {
    match (previous.letter, tag.letter) {
        ('E' | 'S', _) | ('B' | 'I', 'B' | 'S' | 'O') => true,
        ('O' | '.', _) => false,
        _ => previous.kind != tag.kind,
    }
}

/// Whether an entity begins at the second of two tags.
fn begins(previous: Tag<'_>, tag: Tag<'_>) -> bool {
    match (previous.letter, tag.letter) {
        (_, 'B' | 'S') | ('E' | 'S' | 'O', 'E' | 'I') => true,
        (_, 'O' | '.') => false,
        _ => previous.kind != tag.kind,
    }
}

/// The entities of `tags` that keep to `scheme` all through; a tag with a letter that the scheme lacks breaks what it is in.
///
/// For the letters of the scheme this is seqeval's strict mode, which refuses all others.
pub fn strict_entities(tags: &[&str], scheme: Scheme) -> Vec<Entity> {
    let tags: Vec<Tag<'_>> = tags.iter().map(|tag| Tag::strict(tag)).chain([Tag::OUTSIDE]).collect();
    let (mut found, mut index, mut previous) = (Vec::new(), 0, Tag::OUTSIDE);
    while index < tags.len() {
        let tag = tags[index];
        let mut next = index + 1;
        if scheme.begins(previous, tag) {
            while next < tags.len() && scheme.goes_on(tags[next - 1], tags[next]) {
                next += 1;
            }
            // The last tag is outside, so no run reaches beyond it.
            if next < tags.len() && scheme.ends(tags[next - 1], tags[next]) {
                found.push(Entity { words: (index, next), kind: tag.kind.to_owned() });
            }
        }
        previous = tags[next - 1];
        index = next;
    }
    found
}

/// The three relations by which seqeval defines each scheme.
impl Scheme {
    fn begins(self, previous: Tag<'_>, tag: Tag<'_>) -> bool {
        let same = previous.kind == tag.kind;
        match self {
            Self::Iob1 => match (previous.letter, tag.letter) {
                ('O' | 'B', 'I') => true,
                ('I', 'I') => !same,
                ('I' | 'B', 'B') => same,
                _ => false,
            },
            Self::Iob2 => tag.letter == 'B',
            Self::Bioes => matches!(tag.letter, 'B' | 'S'),
            Self::Bilou => matches!(tag.letter, 'B' | 'U'),
        }
    }

    fn goes_on(self, previous: Tag<'_>, tag: Tag<'_>) -> bool {
        let inner = match self {
            Self::Iob1 | Self::Iob2 => tag.letter == 'I',
            Self::Bioes => matches!(tag.letter, 'I' | 'E'),
            Self::Bilou => matches!(tag.letter, 'I' | 'L'),
        };
        inner && matches!(previous.letter, 'B' | 'I') && previous.kind == tag.kind
    }

    fn ends(self, previous: Tag<'_>, tag: Tag<'_>) -> bool {
        let same = previous.kind == tag.kind;
        match self {
            Self::Iob1 | Self::Iob2 => match (previous.letter, tag.letter) {
                ('I' | 'B', 'O') | ('I', 'B') => true,
                ('I' | 'B', 'I') => !same,
                ('B', 'B') => same || self == Self::Iob2,
                _ => false,
            },
            Self::Bioes => matches!(previous.letter, 'S' | 'E'),
            Self::Bilou => matches!(previous.letter, 'U' | 'L'),
        }
    }
}

/// The words whose tag breaks `scheme`, with what is wrong.
pub fn violations(tags: &[&str], scheme: Scheme) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut previous = Tag::OUTSIDE;
    let closed = |letter: char| matches!(letter, 'O' | 'E' | 'S' | 'L' | 'U');
    for index in 0..=tags.len() {
        let shown = tags.get(index).copied().unwrap_or("the end");
        let tag = tags.get(index).map_or(Tag::OUTSIDE, |tag| Tag::lenient(tag));
        let open = !closed(previous.letter);
        let continues = open && previous.kind == tag.kind;
        let (before, letter) = (previous.letter, tag.letter);
        let wrong = match scheme {
            Scheme::Iob1 => match letter {
                'B' => (!continues).then(|| format!("`{shown}` does not follow an entity of its kind")),
                'I' | 'O' => None,
                _ => Some(format!("`{shown}` is no tag of IOB1")),
            },
            Scheme::Iob2 => match letter {
                'I' => (!continues).then(|| format!("`{shown}` goes on with no entity of its kind")),
                'B' | 'O' => None,
                _ => Some(format!("`{shown}` is no tag of IOB2")),
            },
            Scheme::Bioes | Scheme::Bilou => {
                let (end, single) = if scheme == Scheme::Bioes { ('E', 'S') } else { ('L', 'U') };
                match letter {
                    'I' => (!continues).then(|| format!("`{shown}` goes on with no entity of its kind")),
                    _ if letter == end => (!continues).then(|| format!("`{shown}` ends no entity of its kind")),
                    'B' | 'O' => {
                        open.then(|| format!("`{shown}` comes before the entity `{before}-{}` is ended", previous.kind))
                    }
                    _ if letter == single => {
                        open.then(|| format!("`{shown}` comes before the entity `{before}-{}` is ended", previous.kind))
                    }
                    _ => Some(format!("`{shown}` is no tag of {}", scheme.name())),
                }
            }
        };
        // What is wrong at the end belongs to the last word.
        found.extend(wrong.map(|wrong| (index.min(tags.len().saturating_sub(1)), wrong)));
        previous = tag;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(found: &[Entity]) -> Vec<(usize, usize, &str)> {
        found.iter().map(|entity| (entity.words.0, entity.words.1, entity.kind.as_str())).collect()
    }

    #[test]
    fn four_schemes_say_the_same_of_the_same_entities() {
        let written: [(Scheme, &[&str]); 4] = [
            (Scheme::Iob1, &["I-PER", "I-PER", "B-PER", "O", "I-LOC", "I-ORG"]),
            (Scheme::Iob2, &["B-PER", "I-PER", "B-PER", "O", "B-LOC", "B-ORG"]),
            (Scheme::Bioes, &["B-PER", "E-PER", "S-PER", "O", "S-LOC", "S-ORG"]),
            (Scheme::Bilou, &["B-PER", "L-PER", "U-PER", "O", "U-LOC", "U-ORG"]),
        ];
        for (scheme, tags) in written {
            let expected = [(0, 2, "PER"), (2, 3, "PER"), (4, 5, "LOC"), (5, 6, "ORG")];
            assert_eq!(spans(&entities(tags)), expected, "{scheme:?}");
            assert_eq!(violations(tags, scheme), [], "{scheme:?}");
            assert_eq!(Scheme::find([tags].into_iter()), scheme);
        }
    }

    #[test]
    fn what_breaks_a_scheme_is_named_by_its_word() {
        let broken =
            |tags: &[&str], scheme| violations(tags, scheme).into_iter().map(|(word, _)| word).collect::<Vec<_>>();
        assert_eq!(broken(&["O", "I-PER", "I-LOC"], Scheme::Iob2), [1, 2]);
        assert_eq!(broken(&["B-PER", "I-PER"], Scheme::Iob1), [0]);
        assert_eq!(broken(&["B-PER", "O", "E-PER", "B-LOC"], Scheme::Bioes), [1, 2, 3]);
        assert_eq!(broken(&["S-PER"], Scheme::Iob2), [0]);
        assert_eq!(broken(&[], Scheme::Bioes), [0; 0]);
    }

    #[test]
    fn tags_are_well_formed_or_not() {
        for tag in ["O", "B-PER", "I-some-thing", "U-x"] {
            assert!(Tag::well_formed(tag).is_some(), "{tag}");
        }
        for tag in ["", "PER", "B-", "-PER", "BB-PER", "0", "B", "X-PER", "é-x"] {
            assert!(Tag::well_formed(tag).is_none(), "{tag}");
        }
    }
}
