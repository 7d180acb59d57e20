//! What a detector is taught of a picture, and what its outputs mean: anchors on a grid, boxes as differences from anchors,
//! which anchor is responsible for which object. Pure functions, no network.

pub mod anchor_grid;
pub mod box_coding;
pub mod matching;
pub mod yolo;
