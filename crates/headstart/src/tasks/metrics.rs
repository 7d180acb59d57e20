//! What is said of a model on a part of the data, by the kind of its task.

use serde::{Deserialize, Serialize};

use super::image_classification::metrics::ClassificationMetrics;
use super::object_detection::metrics::DetectionMetrics;
use super::speech_recognition::metrics::SpeechMetrics;
use super::text_classification::metrics::LabelMetrics;
use super::token_classification::metrics::EntityMetrics;

/// Metrics of whichever kind a task has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Metrics {
    /// Of one class an example.
    Classes(ClassificationMetrics),
    /// Of any number of labels an example.
    Labels(LabelMetrics),
    /// Of named stretches of texts.
    Entities(EntityMetrics),
    /// Of transcripts.
    Speech(SpeechMetrics),
    /// Of objects in pictures.
    Detections(Box<DetectionMetrics>),
}

impl Metrics {
    /// Those of one class an example.
    pub fn classes(&self) -> Option<&ClassificationMetrics> {
        match self {
            Self::Classes(metrics) => Some(metrics),
            _ => None,
        }
    }

    /// Those of several labels an example.
    pub fn labels(&self) -> Option<&LabelMetrics> {
        match self {
            Self::Labels(metrics) => Some(metrics),
            _ => None,
        }
    }

    /// Those of entities.
    pub fn entities(&self) -> Option<&EntityMetrics> {
        match self {
            Self::Entities(metrics) => Some(metrics),
            _ => None,
        }
    }

    /// Those of transcripts.
    pub fn speech(&self) -> Option<&SpeechMetrics> {
        match self {
            Self::Speech(metrics) => Some(metrics),
            _ => None,
        }
    }

    /// Those of objects.
    pub fn detections(&self) -> Option<&DetectionMetrics> {
        match self {
            Self::Detections(metrics) => Some(metrics),
            _ => None,
        }
    }

    /// The one number that a model is compared by, in [0, 1]: accuracy, F1 over all labels or entities, the
    /// part of the characters that needs no correction, or mAP at IoU 0.5.
    pub fn headline(&self) -> f64 {
        match self {
            Self::Classes(metrics) => metrics.accuracy,
            Self::Labels(metrics) => metrics.micro_average.f1,
            Self::Entities(metrics) => metrics.entities.micro.f1,
            Self::Speech(metrics) => (1.0 - metrics.character_error_rate).max(0.0),
            Self::Detections(metrics) => metrics.voc_map.unwrap_or(0.0),
        }
    }
}
