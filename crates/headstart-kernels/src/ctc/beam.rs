//! Prefix beam search (Hannun et al. 2014): the most probable labels, perhaps weighed with how probable their words are.

use std::collections::HashMap;

use super::words::{Emission, check};
use super::{log_add, log_softmax};
use crate::error::KernelError;

/// A language model over words, whatever it is; words come as their labels.
pub trait Language: Sync {
    /// What stands before the first word.
    fn begin(&self) -> Vec<u32>;

    /// ln of the probability of a word after `context`, finite, and the context behind it.
    fn word(&self, context: &[u32], word: &[usize]) -> (f64, Vec<u32>);
}

/// How a beam is searched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BeamOptions {
    /// Prefixes that are kept from frame to frame.
    pub width: usize,
    /// Classes of a frame that extend prefixes: the most probable ones, at most so many.
    pub most_classes: usize,
    /// And no more than make up this probability together, in (0, 1].
    pub class_probability: f64,
    /// Prefixes whose score lies further below the best are dropped, in nats.
    pub score_range: f64,
    /// Weight of the language model's ln probability (DeepSpeech: 0.93).
    pub alpha: f64,
    /// Added for each word (DeepSpeech: 1.18).
    pub beta: f64,
}

impl Default for BeamOptions {
    /// DeepSpeech's, with a narrower beam.
    fn default() -> Self {
        Self { width: 100, most_classes: 40, class_probability: 1.0, score_range: 40.0, alpha: 0.93, beta: 1.18 }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcription {
    /// Labels, each at the frame in which it begins on the most probable path.
    pub emissions: Vec<Emission>,
    /// ln of the probability of the labels by the network alone, over the paths that were kept.
    pub acoustic: f64,
    /// What the search orders by: that, and the weighed words.
    pub score: f64,
}

/// A search that takes frames as they come.
pub struct BeamSearch<'a> {
    options: BeamOptions,
    classes: usize,
    blank: usize,
    space: Option<usize>,
    language: Option<&'a dyn Language>,
    nodes: Vec<Node>,
    /// Node of a prefix and a label.
    children: HashMap<(u32, u32), u32>,
    marks: Vec<Mark>,
    beam: Vec<Entry>,
    frame: usize,
    /// Number of nodes and marks from which those that no prefix needs are dropped.
    tidy_at: usize,
    logs: Vec<f64>,
}

/// A prefix: the one before it and a label.
#[derive(Debug, Clone)]
struct Node {
    parent: u32,
    label: u32,
    /// Weighed words so far.
    words: f64,
    /// Of the language model, behind the last whole word.
    context: Vec<u32>,
}

/// Where a label begins on a path, and where the one before it does.
#[derive(Debug, Clone, Copy)]
struct Mark {
    parent: u32,
    frame: usize,
}

/// The most probable path to a prefix: ln of its probability, and the mark of its last label.
#[derive(Debug, Clone, Copy)]
struct Way {
    log: f64,
    mark: u32,
}

impl Way {
    const NONE: Self = Self { log: NEVER, mark: ROOT };

    fn then(self, log: f64) -> Self {
        Self { log: self.log + log, ..self }
    }

    /// The better one, this one among equals.
    fn or(self, other: Self) -> Self {
        if other.log > self.log { other } else { self }
    }
}

/// A prefix in the beam: ln of the probability of its paths that end in a blank and of those that end in its label, and the
/// most probable path of each kind.
#[derive(Debug, Clone, Copy)]
struct Entry {
    node: u32,
    blank: f64,
    label: f64,
    blank_way: Way,
    label_way: Way,
}

impl Entry {
    fn all(&self) -> f64 {
        log_add(self.blank, self.label)
    }

    fn way(&self) -> Way {
        self.label_way.or(self.blank_way)
    }
}

/// A prefix of the next frame, of which there may be no node yet.
struct Candidate {
    entry: Entry,
    /// The prefix that it extends and by which label, where it has no node yet.
    fresh: Option<(u32, u32)>,
    /// Whether its label begins in this frame: `label_way` still has the mark of the label before.
    begins: bool,
    words: f64,
    context: Vec<u32>,
}

const ROOT: u32 = 0;
const NO_LABEL: u32 = u32::MAX;
const NEVER: f64 = f64::NEG_INFINITY;

impl<'a> BeamSearch<'a> {
    /// A search over `classes` classes; words are what lies between `space`s, and matter with a language model alone.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] where the blank is no class, there are too many classes, or an option is out of range.
    pub fn new(
        classes: usize,
        blank: usize,
        space: Option<usize>,
        options: BeamOptions,
        language: Option<&'a dyn Language>,
    ) -> Result<Self, KernelError> {
        check(&[], classes, blank)?;
        let BeamOptions { width, most_classes, class_probability, score_range, alpha, beta } = options;
        let is_range = class_probability > 0.0 && class_probability <= 1.0 && score_range > 0.0;
        if width == 0 || most_classes == 0 || !is_range || !alpha.is_finite() || !beta.is_finite() {
            return Err(KernelError::Invalid("an option of the beam search is out of range"));
        }
        if classes >= NO_LABEL as usize {
            return Err(KernelError::Invalid("there are too many classes for a beam search"));
        }
        let context = language.map_or_else(Vec::new, Language::begin);
        let root = Node { parent: ROOT, label: NO_LABEL, words: 0.0, context };
        let begin = Way { log: 0.0, mark: ROOT };
        let empty = Entry { node: ROOT, blank: 0.0, label: NEVER, blank_way: begin, label_way: Way::NONE };
        Ok(Self {
            options,
            classes,
            blank,
            space,
            language,
            nodes: vec![root],
            children: HashMap::new(),
            marks: vec![Mark { parent: ROOT, frame: 0 }],
            beam: vec![empty],
            frame: 0,
            tidy_at: 1 << 14,
            logs: Vec::new(),
        })
    }

    /// Adds frames: logits `[T, C]`, before softmax. A frame with a number that is none counts as silence.
    ///
    /// # Errors
    /// [`KernelError::Length`] where they are no whole frames.
    pub fn push(&mut self, logits: &[f32]) -> Result<(), KernelError> {
        check(logits, self.classes, self.blank)?;
        let mut logs = std::mem::take(&mut self.logs);
        for frame in logits.chunks_exact(self.classes) {
            log_softmax(frame, &mut logs);
            if logs.iter().any(|log| log.is_nan()) {
                logs.fill(NEVER);
                logs[self.blank] = 0.0;
            }
            self.step(&logs);
            self.frame += 1;
            if self.nodes.len().max(self.marks.len()) > self.tidy_at {
                self.tidy();
            }
        }
        self.logs = logs;
        Ok(())
    }

    /// What was written so far, the best first, at most `count`; a last word counts as whole.
    pub fn best(&self, count: usize) -> Vec<Transcription> {
        let mut found: Vec<(f64, &Entry)> = self
            .beam
            .iter()
            .map(|entry| {
                let (words, _) = self.with_word(entry.node);
                (entry.all() + words, entry)
            })
            .collect();
        found.sort_by(|(a, x), (b, y)| b.total_cmp(a).then(x.node.cmp(&y.node)));
        found
            .into_iter()
            .take(count)
            .map(|(score, entry)| Transcription { emissions: self.emissions(entry), acoustic: entry.all(), score })
            .collect()
    }

    /// One frame: every prefix stays, or is extended by a class.
    fn step(&mut self, logs: &[f64]) {
        let classes = self.likely(logs);
        let mut candidates: Vec<Candidate> = Vec::with_capacity(self.beam.len() * (classes.len() + 1));
        // Prefixes of the beam come first; an extension may be one of them.
        let mut places: HashMap<u32, usize> = HashMap::with_capacity(self.beam.len());
        for entry in &self.beam {
            let node = &self.nodes[entry.node as usize];
            let (blank, repeated) =
                (logs[self.blank], if node.label == NO_LABEL { NEVER } else { logs[node.label as usize] });
            places.insert(entry.node, candidates.len());
            let entry = Entry {
                node: entry.node,
                blank: entry.all() + blank,
                label: entry.label + repeated,
                blank_way: entry.way().then(blank),
                label_way: entry.label_way.then(repeated),
            };
            candidates.push(Candidate { entry, fresh: None, begins: false, words: node.words, context: Vec::new() });
        }
        for entry in &self.beam {
            let node = &self.nodes[entry.node as usize];
            let mut word = None;
            for &class in &classes {
                // Only a blank between parts two equal labels.
                let (from, way) =
                    if node.label == class { (entry.blank, entry.blank_way) } else { (entry.all(), entry.way()) };
                let log = logs[class as usize];
                let (label, label_way) = (from + log, way.then(log));
                if label == NEVER {
                    continue;
                }
                let child = self.children.get(&(entry.node, class)).copied();
                if let Some(place) = child.and_then(|child| places.get(&child)) {
                    let there = &mut candidates[*place];
                    there.entry.label = log_add(there.entry.label, label);
                    if label_way.log > there.entry.label_way.log {
                        (there.entry.label_way, there.begins) = (label_way, true);
                    }
                    continue;
                }
                let (words, context) = if Some(class as usize) == self.space {
                    word.get_or_insert_with(|| self.with_word(entry.node)).clone()
                } else {
                    (node.words, node.context.clone())
                };
                let fresh = if child.is_none() { Some((entry.node, class)) } else { None };
                let node = child.unwrap_or(NO_LABEL);
                let entry = Entry { node, blank: NEVER, label, blank_way: Way::NONE, label_way };
                candidates.push(Candidate { entry, fresh, begins: true, words, context });
            }
        }
        self.keep(candidates);
    }

    /// The best candidates become the beam; those that are new become nodes.
    fn keep(&mut self, mut candidates: Vec<Candidate>) {
        let score = |candidate: &Candidate| candidate.entry.all() + candidate.words;
        let mut order: Vec<(f64, usize)> =
            candidates.iter().enumerate().map(|(index, candidate)| (score(candidate), index)).collect();
        // Equal scores in the order in which they came, so that the result is one and the same.
        order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        order.truncate(self.options.width);
        // The best stays, whatever it is worth: there is always a prefix.
        let least = order[0].0 - self.options.score_range;
        let kept = order.iter().skip(1).take_while(|(score, _)| *score >= least && *score > NEVER).count() + 1;
        order.truncate(kept);
        self.beam.clear();
        for (_, index) in order {
            let Candidate { mut entry, fresh, begins, words, ref mut context } = candidates[index];
            if let Some((parent, label)) = fresh {
                entry.node = self.nodes.len() as u32;
                self.nodes.push(Node { parent, label, words, context: std::mem::take(context) });
                self.children.insert((parent, label), entry.node);
            }
            if begins {
                self.marks.push(Mark { parent: entry.label_way.mark, frame: self.frame });
                entry.label_way.mark = self.marks.len() as u32 - 1;
            }
            self.beam.push(entry);
        }
    }

    /// Classes that extend prefixes, the most probable first.
    fn likely(&self, logs: &[f64]) -> Vec<u32> {
        let mut classes: Vec<u32> = (0..self.classes as u32).collect();
        classes.sort_by(|a, b| logs[*b as usize].total_cmp(&logs[*a as usize]).then(a.cmp(b)));
        classes.truncate(self.options.most_classes);
        if self.options.class_probability < 1.0 {
            let mut sum = 0.0;
            let enough = classes.iter().position(|class| {
                sum += logs[*class as usize].exp();
                sum >= self.options.class_probability
            });
            classes.truncate(enough.map_or(classes.len(), |last| last + 1));
        }
        classes.retain(|class| *class as usize != self.blank);
        classes
    }

    /// Weighed words of a prefix with its last word as a whole one, and the context behind it.
    fn with_word(&self, node: u32) -> (f64, Vec<u32>) {
        let (words, context) = (self.nodes[node as usize].words, &self.nodes[node as usize].context);
        let Some(language) = self.language else { return (words, Vec::new()) };
        let mut word: Vec<usize> = self
            .path(node)
            .map(|at| self.nodes[at as usize].label as usize)
            .take_while(|label| Some(*label) != self.space)
            .collect();
        if word.is_empty() {
            return (words, context.clone());
        }
        word.reverse();
        let (probability, context) = language.word(context, &word);
        (words + self.options.alpha * probability + self.options.beta, context)
    }

    /// Nodes from a prefix back to its first label.
    fn path(&self, node: u32) -> impl Iterator<Item = u32> {
        let next = |at: &u32| Some(self.nodes[*at as usize].parent);
        std::iter::successors(Some(node), next).take_while(|at| *at != ROOT)
    }

    /// Labels of a prefix with their frames: a path has a mark for each.
    fn emissions(&self, entry: &Entry) -> Vec<Emission> {
        let next = |at: &u32| Some(self.marks[*at as usize].parent);
        let marks = std::iter::successors(Some(entry.way().mark), next);
        let emission = |(node, mark): (u32, u32)| {
            let (label, frame) = (self.nodes[node as usize].label as usize, self.marks[mark as usize].frame);
            Emission { label, frames: frame..frame + 1 }
        };
        let mut emissions: Vec<Emission> = self.path(entry.node).zip(marks).map(emission).collect();
        emissions.reverse();
        emissions
    }

    /// Drops the nodes and marks that no prefix of the beam is made of, so that a long recording does not fill the memory.
    fn tidy(&mut self) {
        let moved =
            survivors(self.nodes.iter().map(|node| node.parent).collect(), self.beam.iter().map(|entry| entry.node));
        let parent = |node: &Node| moved[node.parent as usize];
        let kept = self.nodes.iter().zip(&moved).filter(|(_, place)| **place != NO_LABEL);
        self.nodes = kept.map(|(node, _)| Node { parent: parent(node), ..node.clone() }).collect();
        self.beam.iter_mut().for_each(|entry| entry.node = moved[entry.node as usize]);
        let numbered = self.nodes.iter().enumerate().skip(1);
        self.children = numbered.map(|(index, node)| ((node.parent, node.label), index as u32)).collect();

        let ends = self.beam.iter().flat_map(|entry| [entry.blank_way.mark, entry.label_way.mark]);
        let moved = survivors(self.marks.iter().map(|mark| mark.parent).collect(), ends);
        let kept = self.marks.iter().zip(&moved).filter(|(_, place)| **place != NO_LABEL);
        self.marks = kept.map(|(mark, _)| Mark { parent: moved[mark.parent as usize], ..*mark }).collect();
        for entry in &mut self.beam {
            entry.blank_way.mark = moved[entry.blank_way.mark as usize];
            entry.label_way.mark = moved[entry.label_way.mark as usize];
        }
        self.tidy_at = (self.nodes.len().max(self.marks.len()) * 4).max(1 << 14);
    }
}

/// New numbers of the items of a tree that lead to one of `ends`, in their order, in which parents come first;
/// [`NO_LABEL`] for the others.
fn survivors(parents: Vec<u32>, ends: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut moved = vec![NO_LABEL; parents.len()];
    moved[ROOT as usize] = ROOT;
    for mut at in ends {
        while moved[at as usize] == NO_LABEL {
            moved[at as usize] = ROOT;
            at = parents[at as usize];
        }
    }
    let kept = moved.iter_mut().filter(|place| **place != NO_LABEL);
    (0..).zip(kept).for_each(|(number, place)| *place = number);
    moved
}
