//! Reports as text.

use comfy_table::{CellAlignment, Table, presets};
use headstart::Report;
use headstart::tasks::Metrics;
use headstart::tasks::image_classification::metrics::{ClassMetrics, ClassificationMetrics};
use headstart::tasks::object_detection::metrics::DetectionMetrics;
use headstart::tasks::speech_recognition::metrics::SpeechMetrics;
use headstart::tasks::text_classification::metrics::LabelMetrics;
use headstart::tasks::token_classification::metrics::EntityMetrics;

use crate::choice_table;

/// The final report of a run.
pub(crate) fn report(report: &Report) -> String {
    let mut text = String::from("\n");
    let parts = [("validation", &report.metrics), ("test", &report.test_metrics)];
    for (name, metrics) in parts.into_iter().filter_map(|(name, metrics)| Some((name, metrics.as_ref()?))) {
        text.push_str(&scores(name, metrics, &report.labels));
    }
    if let Some(choice) = &report.choice {
        text.push_str(&choice_table::outcome(choice, report.metrics.as_ref().map(Metrics::headline)));
    }
    let seconds = &report.seconds;
    text.push_str(&format!(
        "time     {:.1} s in all · reading {:.1} · decoding {:.1} · frozen stages {:.1} · training {:.1}\n",
        seconds.total, seconds.scan, seconds.decode, seconds.extract, seconds.fit
    ));
    text.push_str(&format!("bundle   {}", report.bundle.display()));
    text
}

/// All that is said of a model on a part of the data.
pub(crate) fn scores(name: &str, metrics: &Metrics, labels: &[String]) -> String {
    let rows = match metrics {
        Metrics::Classes(metrics) => classes(metrics, labels),
        Metrics::Labels(metrics) => several_labels(metrics, labels),
        Metrics::Entities(metrics) => entities(metrics),
        Metrics::Speech(_) => String::new(),
        Metrics::Detections(metrics) => detections(metrics, labels),
    };
    summary(name, metrics) + &rows
}

/// What matters most of a model on a part of the data, in one line.
pub(crate) fn summary(name: &str, metrics: &Metrics) -> String {
    match metrics {
        Metrics::Classes(metrics) => class_summary(name, metrics),
        Metrics::Labels(metrics) => label_summary(name, metrics),
        Metrics::Entities(metrics) => entity_summary(name, metrics),
        Metrics::Speech(metrics) => speech_summary(name, metrics),
        Metrics::Detections(metrics) => detection_summary(name, metrics),
    }
}

/// A table whose numbers stand under each other.
fn finished(mut table: Table) -> String {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\n")
}

fn label_summary(name: &str, metrics: &LabelMetrics) -> String {
    let auc = metrics.roc_auc.map(|auc| format!(" · ROC-AUC {auc:.3}")).unwrap_or_default();
    format!(
        "{name}: F1 {:.3} over all labels, {:.3} their mean · all labels right {:.1} %{auc}\n",
        metrics.micro_average.f1,
        metrics.macro_average.f1,
        metrics.exact_match * 100.0
    )
}

fn several_labels(metrics: &LabelMetrics, labels: &[String]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["label", "precision", "recall", "F1", "examples"]);
    for (label, ClassMetrics { precision, recall, f1, support, .. }) in labels.iter().zip(&metrics.per_label) {
        table.add_row([
            shorten(label, 24),
            format!("{precision:.3}"),
            format!("{recall:.3}"),
            format!("{f1:.3}"),
            support.to_string(),
        ]);
    }
    finished(table)
}

fn speech_summary(name: &str, metrics: &SpeechMetrics) -> String {
    format!(
        "{name}: character error rate {:.1} % · word error rate {:.1} % of {} words · {} of {} recordings without an error\n",
        metrics.character_error_rate * 100.0,
        metrics.word_error_rate * 100.0,
        count(metrics.words),
        metrics.exact,
        count(metrics.recordings)
    )
}

/// A number of [0, 1], or a dash where there is nothing to find.
fn or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"))
}

fn detection_summary(name: &str, metrics: &DetectionMetrics) -> String {
    format!(
        "{name}: mAP@0.5 {} (VOC) · COCO mAP {} (at 0.5 {}, at 0.75 {}) · {} objects in {} pictures\n",
        or_dash(metrics.voc_map),
        or_dash(metrics.coco.ap),
        or_dash(metrics.coco.ap50),
        or_dash(metrics.coco.ap75),
        count(metrics.objects),
        count(metrics.pictures)
    )
}

fn detections(metrics: &DetectionMetrics, labels: &[String]) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["class", "AP@0.5 (VOC)", "AP (COCO)", "objects"]);
    for ((label, voc), class) in labels.iter().zip(&metrics.voc_classes).zip(&metrics.coco.classes) {
        // Of a network that knows many classes, only those in the data.
        if class.objects > 0 || labels.len() <= 20 {
            table.add_row([shorten(label, 24), or_dash(*voc), or_dash(class.ap), class.objects.to_string()]);
        }
    }
    finished(table)
}

fn entity_summary(name: &str, metrics: &EntityMetrics) -> String {
    let all = &metrics.entities;
    format!(
        "{name}: entity F1 {:.3} (precision {:.3}, recall {:.3}; strict F1 {:.3}) · {:.1} % of {} words right\n",
        all.micro.f1,
        all.micro.precision,
        all.micro.recall,
        metrics.strict.micro.f1,
        all.tag_accuracy * 100.0,
        count(metrics.words)
    )
}

fn entities(metrics: &EntityMetrics) -> String {
    let all = &metrics.entities;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["entity", "precision", "recall", "F1", "entities"]);
    for (kind, score) in &all.kinds {
        table.add_row([
            shorten(kind, 24),
            format!("{:.3}", score.precision),
            format!("{:.3}", score.recall),
            format!("{:.3}", score.f1),
            score.support.to_string(),
        ]);
    }
    finished(table)
}

/// Accuracy with its interval in one line.
fn class_summary(name: &str, metrics: &ClassificationMetrics) -> String {
    let (low, high) = (metrics.accuracy_interval.low, metrics.accuracy_interval.high);
    let auc = metrics.roc_auc.map(|auc| format!(" · ROC-AUC {auc:.3}")).unwrap_or_default();
    let top = metrics.top5_accuracy.map(|top| format!(" · top-5 {:.1} %", top * 100.0)).unwrap_or_default();
    format!(
        "{name}: accuracy {:.1} % (95 % interval {:.1}–{:.1}){top} · macro F1 {:.3}{auc}\n",
        metrics.accuracy * 100.0,
        low * 100.0,
        high * 100.0,
        metrics.macro_average.f1
    )
}

/// Precision, recall and confusion of each class.
fn classes(metrics: &ClassificationMetrics, labels: &[String]) -> String {
    // Wider confusions do not fit a terminal; `--json` has them whole.
    let shows_confusion = metrics.per_class.len() <= 8;
    let name = |row: usize| labels[metrics.label_of(row)].as_str();
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let mut header: Vec<String> = ["class", "precision", "recall", "F1", "examples"].map(String::from).to_vec();
    if shows_confusion {
        header.extend((0..metrics.per_class.len()).map(|row| format!("→ {}", shorten(name(row), 10))));
    }
    table.set_header(header);
    for (index, class) in metrics.per_class.iter().enumerate() {
        // Of a network that knows many classes, only those in the data: the others are wrong answers, told by the recall.
        if metrics.classes.is_some() && class.support == 0 {
            continue;
        }
        let mut row = vec![
            shorten(name(index), 24),
            format!("{:.3}", class.precision),
            format!("{:.3}", class.recall),
            format!("{:.3}", class.f1),
            class.support.to_string(),
        ];
        if shows_confusion {
            row.extend(metrics.confusion[index].iter().map(usize::to_string));
        }
        table.add_row(row);
    }
    finished(table)
}

/// A number with thousands set apart.
pub(crate) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// The first few names, and how many more there are.
pub(crate) fn shortened(names: &[String], most: usize) -> String {
    let mut text = names.iter().take(most).map(|name| shorten(name, 24)).collect::<Vec<_>>().join(", ");
    if names.len() > most {
        text.push_str(&format!(" and {} more", names.len() - most));
    }
    text
}

/// A number of bytes as a person reads it.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

fn shorten(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    name.chars().take(most - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(3_504_872), "3 504 872");
    }

    #[test]
    fn long_names_are_cut_at_characters_not_bytes() {
        assert_eq!(shorten("żółw błotny 🐢🐢", 6), "żółw …");
    }
}
