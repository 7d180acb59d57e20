//! Headstart
