//! What a person or a program sees of a run: bars on a terminal, plain lines elsewhere, JSON on request.

use std::time::{Duration, Instant};

use headstart::train::observer::{Epoch, Work};
use headstart::{Control, Event, Observer};
use indicatif::{ProgressBar, ProgressStyle};

use crate::choice_table;
use crate::commands::pretrain;
use crate::tables;
use crate::terminal;

/// How events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Bars and lines, or lines alone when standard error is no terminal.
    Human,
    /// One JSON object a line on standard output.
    Json,
    /// Nothing but errors and the final report.
    Quiet,
}

/// Shows the events of a run.
pub(crate) struct Display {
    style: Style,
    bar: Option<(Work, ProgressBar)>,
    /// When the last plain progress line was written.
    spoken: Instant,
    skipped: usize,
    phase_start: Instant,
    /// What the share of right answers is called.
    measure: &'static str,
}

/// Skipped files that are listed one by one; the rest are counted.
const LISTED: usize = 20;

impl Display {
    pub(crate) fn new(style: Style) -> Self {
        Self { style, bar: None, spoken: Instant::now(), skipped: 0, phase_start: Instant::now(), measure: "accuracy" }
    }

    /// Draws or writes how far some work is.
    pub(crate) fn progress(&mut self, stage: Work, done: usize, total: usize) {
        if self.style != Style::Human {
            return;
        }
        if !terminal::is_interactive() {
            if self.spoken.elapsed() > Duration::from_secs(5) && done < total {
                self.spoken = Instant::now();
                let (done, total) = match stage {
                    Work::Download => (tables::bytes(done as u64), tables::bytes(total as u64)),
                    _ => (done.to_string(), total.to_string()),
                };
                terminal::error_line(&format!("{} {done} of {total}", verb(stage)));
            }
            return;
        }
        if self.bar.as_ref().is_none_or(|(current, bar)| *current != stage || bar.length() != Some(total as u64)) {
            self.clear();
            let bar = ProgressBar::new(total as u64);
            let template = match stage {
                Work::Download => "{msg:12} {bar:32} {bytes}/{total_bytes}  {bytes_per_sec}  ETA {eta}",
                _ => "{msg:12} {bar:32} {pos}/{len}  {per_sec}  ETA {eta}",
            };
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style);
            bar.set_message(verb(stage));
            self.bar = Some((stage, bar));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_position(done as u64);
            if done == total {
                self.clear();
            }
        }
    }

    fn clear(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn say(&mut self, text: &str) {
        match &self.bar {
            Some((_, bar)) => bar.suspend(|| terminal::error_line(text)),
            None => terminal::error_line(text),
        }
    }

    fn human(&mut self, event: &Event) {
        match event {
            Event::Progress { stage, done, total } => self.progress(*stage, *done, *total),
            Event::Skipped { path, reason } => {
                self.skipped += 1;
                if self.skipped <= LISTED {
                    self.say(&format!("skipped  {}: {reason}", path.display()));
                } else if self.skipped == LISTED + 1 {
                    self.say("skipped  … more; --json lists every one");
                }
            }
            Event::Note { message } => self.say(&format!("note     {message}")),
            Event::Data { layout, classes, train, validation, test, skipped } => {
                self.clear();
                if matches!(layout.as_str(), "coco" | "voc" | "yolo") {
                    self.measure = "mAP@0.5";
                }
                let test = if *test > 0 { format!(", {test} test") } else { String::new() };
                let skipped = if *skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
                let classes = tables::shortened(classes, 8);
                self.say(&format!("data     {train} training, {validation} validation{test}{skipped} · {classes}"));
            }
            Event::Backbone { name, variant, source, parameters, input_size, max_tokens, family } => {
                let size = tables::count(*parameters);
                let source = without_digest(source);
                let input = match (input_size, max_tokens) {
                    (Some(side), _) => format!("{side} px"),
                    (None, Some(tokens)) => format!("{tokens} tokens at most"),
                    (None, None) => "any input".to_owned(),
                };
                self.say(&format!("backbone {name}:{variant} · {size} values · {input} · {source} ({family})"));
            }
            Event::Phase { phase, phases, freeze, epochs, learning, cached } => {
                self.phase_start = Instant::now();
                let cached =
                    if *cached > 0 { format!(" · {cached} examples already in the cache") } else { String::new() };
                let frozen = match freeze.as_str() {
                    "all" => "backbone frozen".to_owned(),
                    "none" => "nothing frozen".to_owned(),
                    stage => format!("frozen up to {stage}"),
                };
                let learning = tables::count(*learning);
                self.say(&format!(
                    "phase    {phase} of {phases} · {frozen} · {learning} values learn · {epochs} epochs{cached}"
                ));
            }
            Event::Epoch(epoch) => {
                self.clear();
                self.say(&epoch_line(epoch, self.measure));
            }
            Event::Trial(trial) => {
                self.clear();
                self.say(&choice_table::trial_line(trial));
            }
            Event::Choice(choice) => {
                self.clear();
                self.say(choice_table::choice(choice).trim_end());
            }
            Event::Stopped { reason } => self.say(&format!("stopped  {reason}")),
            Event::Report(report) => {
                self.clear();
                terminal::line(&tables::report(report));
            }
            Event::Corpus { texts, held_out, skipped, tokens, vocabulary } => {
                let skipped = if *skipped > 0 { format!(", {skipped} skipped") } else { String::new() };
                let [texts, held_out, tokens, vocabulary] =
                    [texts, held_out, tokens, vocabulary].map(|number| tables::count(*number));
                self.say(&format!(
                    "data     {texts} texts, {held_out} held out{skipped} · {tokens} tokens a round · vocabulary {vocabulary}"
                ));
            }
            Event::PretrainEpoch(epoch) => {
                self.clear();
                self.say(&pretrain::epoch_line(epoch));
            }
            Event::Pretrained(report) => {
                self.clear();
                terminal::line(&pretrain::report(report));
            }
            _ => {}
        }
    }
}

impl Observer for Display {
    fn event(&mut self, event: &Event) -> Control {
        match (self.style, event) {
            (Style::Json, event) => {
                // Numbers, strings and paths; a path that is not UTF-8 is the one thing that cannot be written.
                let line = serde_json::to_string(event).unwrap_or_else(|error| {
                    serde_json::json!({ "event": "note", "message": error.to_string() }).to_string()
                });
                terminal::line(&line);
            }
            (Style::Human, event) => self.human(event),
            (Style::Quiet, Event::Report(report)) => terminal::line(&tables::report(report)),
            (Style::Quiet, Event::Pretrained(report)) => terminal::line(&pretrain::report(report)),
            (Style::Quiet, _) => {}
        }
        Control::Continue
    }
}

/// A fetched file by its commit is enough for a person; the digest is in the bundle and in `--json`.
fn without_digest(source: &str) -> &str {
    let digest =
        [" sha256:", " git-sha1:"].iter().filter(|_| source.starts_with("hf:")).find_map(|kind| source.find(kind));
    &source[..digest.unwrap_or(source.len())]
}

fn verb(stage: Work) -> &'static str {
    match stage {
        Work::Download => "fetching",
        Work::Scan => "reading",
        Work::Extract => "extracting",
        Work::Fit => "training",
        Work::Predict => "predicting",
    }
}

fn epoch_line(epoch: &Epoch, measure: &str) -> String {
    let width = epoch.epochs.to_string().len();
    let validation = match (epoch.validation_loss, epoch.validation_accuracy) {
        (Some(loss), Some(accuracy)) => {
            let f1 = epoch.validation_f1.map(|f1| format!("  F1 {f1:.3}")).unwrap_or_default();
            format!("   val loss {loss:.4}  {measure} {:5.1} %{f1}", accuracy * 100.0)
        }
        _ => String::new(),
    };
    // How many objects are found is not counted while they are learned.
    let accuracy = match measure {
        "accuracy" => format!("  accuracy {:5.1} %", epoch.accuracy * 100.0),
        _ => String::new(),
    };
    format!("epoch    {:>width$}/{}   loss {:.4}{accuracy}{validation}", epoch.epoch, epoch.epochs, epoch.loss)
}
