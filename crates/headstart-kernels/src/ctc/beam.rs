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
    /// Labels, each at the frame of its highest probability while it was the last of its prefix.
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
    beam: Vec<Entry>,
    frame: usize,
    /// Number of nodes from which those that no prefix needs are dropped.
    tidy_at: usize,
    logs: Vec<f64>,
}

/// A prefix: the one before it and a label.
#[derive(Debug, Clone)]
struct Node {
    parent: u32,
    label: u32,
    /// Frame of the label, and ln of its probability there.
    frame: usize,
    heard: f64,
    /// Weighed words so far.
    words: f64,
    /// Of the language model, behind the last whole word.
    context: Vec<u32>,
}

/// A prefix in the beam: ln of the probability of its paths that end in a blank, and of those that end in its label.
#[derive(Debug, Clone, Copy)]
struct Entry {
    node: u32,
    blank: f64,
    label: f64,
}

impl Entry {
    fn all(&self) -> f64 {
        log_add(self.blank, self.label)
    }
}

/// A prefix of the next frame, of which there may be no node yet.
struct Candidate {
    parent: u32,
    /// None for a prefix that stays as it is.
    added: Option<u32>,
    node: Option<u32>,
    blank: f64,
    label: f64,
    words: f64,
    context: Vec<u32>,
    /// ln of the probability of the label in this frame.
    heard: f64,
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
        let root = Node { parent: ROOT, label: NO_LABEL, frame: 0, heard: NEVER, words: 0.0, context };
        Ok(Self {
            options,
            classes,
            blank,
            space,
            language,
            nodes: vec![root],
            children: HashMap::new(),
            beam: vec![Entry { node: ROOT, blank: 0.0, label: NEVER }],
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
            if self.nodes.len() > self.tidy_at {
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
            .map(|(score, entry)| Transcription { emissions: self.emissions(entry.node), acoustic: entry.all(), score })
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
            let repeated = if node.label == NO_LABEL { NEVER } else { logs[node.label as usize] };
            places.insert(entry.node, candidates.len());
            candidates.push(Candidate {
                parent: node.parent,
                added: None,
                node: Some(entry.node),
                blank: entry.all() + logs[self.blank],
                label: entry.label + repeated,
                words: node.words,
                context: Vec::new(),
                // While a blank is heard, the same label again would be another one.
                heard: if entry.label >= entry.blank { repeated } else { NEVER },
            });
        }
        for entry in &self.beam {
            let node = &self.nodes[entry.node as usize];
            let mut word = None;
            for &class in &classes {
                // Only a blank between parts two equal labels.
                let from = if node.label == class { entry.blank } else { entry.all() };
                let reached = from + logs[class as usize];
                if reached == NEVER {
                    continue;
                }
                let child = self.children.get(&(entry.node, class)).copied();
                if let Some(place) = child.and_then(|child| places.get(&child)) {
                    let there = &mut candidates[*place];
                    there.label = log_add(there.label, reached);
                    continue;
                }
                let (words, context) = if Some(class as usize) == self.space {
                    word.get_or_insert_with(|| self.with_word(entry.node)).clone()
                } else {
                    (node.words, node.context.clone())
                };
                let (blank, heard) = (NEVER, logs[class as usize]);
                let (parent, added) = (entry.node, Some(class));
                candidates.push(Candidate { parent, added, node: child, blank, label: reached, words, context, heard });
            }
        }
        self.keep(candidates);
    }

    /// The best candidates become the beam; those that are new become nodes.
    fn keep(&mut self, mut candidates: Vec<Candidate>) {
        let score = |candidate: &Candidate| log_add(candidate.blank, candidate.label) + candidate.words;
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
            let candidate = &mut candidates[index];
            let node = match (candidate.node, candidate.added) {
                (Some(node), added) => {
                    let there = &mut self.nodes[node as usize];
                    // A prefix that comes back begins anew.
                    if candidate.heard > there.heard || added.is_some() {
                        (there.heard, there.frame) = (candidate.heard, self.frame);
                    }
                    node
                }
                (None, Some(label)) => {
                    let node = self.nodes.len() as u32;
                    let Candidate { parent, heard, words, .. } = *candidate;
                    let context = std::mem::take(&mut candidate.context);
                    self.nodes.push(Node { parent, label, frame: self.frame, heard, words, context });
                    self.children.insert((parent, label), node);
                    node
                }
                (None, None) => continue,
            };
            self.beam.push(Entry { node, blank: candidate.blank, label: candidate.label });
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

    fn emissions(&self, node: u32) -> Vec<Emission> {
        let emission = |at: u32| {
            let Node { label, frame, .. } = self.nodes[at as usize];
            Emission { label: label as usize, frames: frame..frame + 1 }
        };
        let mut emissions: Vec<Emission> = self.path(node).map(emission).collect();
        emissions.reverse();
        // A label that was heard again louder, while a longer prefix already lived, would stand behind its successor.
        for index in (1..emissions.len()).rev() {
            let next = emissions[index].frames.start;
            let frames = &mut emissions[index - 1].frames;
            if frames.start >= next {
                *frames = next.saturating_sub(1)..next.max(1);
            }
        }
        emissions
    }

    /// Drops the nodes that no prefix of the beam is made of, so that a long recording does not fill the memory.
    fn tidy(&mut self) {
        let mut moved: Vec<u32> = vec![NO_LABEL; self.nodes.len()];
        moved[ROOT as usize] = ROOT;
        for entry in &self.beam {
            let mut at = entry.node;
            while moved[at as usize] == NO_LABEL {
                // Marked; numbered below, in their order, in which parents come first.
                moved[at as usize] = ROOT;
                at = self.nodes[at as usize].parent;
            }
        }
        let mut kept = Vec::new();
        for (index, node) in std::mem::take(&mut self.nodes).into_iter().enumerate() {
            if moved[index] != NO_LABEL {
                moved[index] = kept.len() as u32;
                kept.push(Node { parent: moved[node.parent as usize], ..node });
            }
        }
        self.nodes = kept;
        self.beam.iter_mut().for_each(|entry| entry.node = moved[entry.node as usize]);
        let numbered = self.nodes.iter().enumerate().skip(1);
        self.children = numbered.map(|(index, node)| ((node.parent, node.label), index as u32)).collect();
        self.tidy_at = (self.nodes.len() * 4).max(1 << 14);
    }
}
