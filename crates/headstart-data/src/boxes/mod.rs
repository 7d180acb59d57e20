//! Boxes round objects: what data sets say of them, how they are compared, cut and scored. No network is known here.

pub mod anchors;
pub mod average_precision;
pub mod bounding_box;
pub mod detection_set;
pub(crate) mod draft;
pub mod overlap;
pub mod scenes;
pub mod suppression;
pub mod targets;
pub mod tiles;
pub mod views;

pub use bounding_box::{BoundingBox, Coordinate};
pub use detection_set::{DetectionSet, Object, Picture};
