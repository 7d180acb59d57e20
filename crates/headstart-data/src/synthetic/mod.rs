//! Procedural data sets: pictures as pure functions of a seed, for demonstrations and tests.

mod leaf_scene;
mod leaf_shape;
pub mod leaves;
mod noise;
