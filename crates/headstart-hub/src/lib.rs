//! Files of Hugging Face repositories: repository + revision + file name → a local path whose bytes were verified.
//!
//! The cache is the one that `huggingface_hub` uses (its layout, locks and environment variables), so what either has
//! fetched serves both. Knows neither engine nor models.
//!
//! Why a client of our own: `hf-hub` 0.5 takes paths from a server's headers, ends in a panic on some redirects, appends
//! whatever answers a range and checks no digest; `hf-hub` 1.0 checks no digest either and brings an asynchronous
//! runtime, a C library for TLS and its storage protocol, 236 crates in all. What is needed here is three requests.

mod cache;
mod client;
mod companions;
mod digest;
mod download;
mod error;
mod fetch;
mod reference;
mod settings;
mod weight_file;

pub use digest::Digest;
pub use error::HubError;
pub use fetch::{Fetched, Step, fetch};
pub use reference::Reference;
pub use settings::{Settings, Token};
