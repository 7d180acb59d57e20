//! Procedural data sets.
