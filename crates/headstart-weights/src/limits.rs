//! What a file may make us allocate. Every reader takes its limits from here, `tests/limits.rs` measures them with a
//! counting allocator, and the fuzzers in `fuzz/` hold every input to them.
//!
//! **Opening** a model of *n* bytes (all of its files together) takes no more memory than
//! [`opening`]`(n)` = 128 MiB + 128 · *n*. That is far above what honest files need, which is a few bytes a name; it is what
//! texts, numbers and compressed members can be made to grow to. Values are not read by opening, except those that lie
//! compressed in a zip, which count here.
//!
//! **Reading** an array of *b* bytes takes no more than [`reading`]`(b)` = 16 · *b* + 16 MiB above what is already held, and *b*
//! itself is bounded: by [`SMALL`] = 64 MiB, or by [`MOST_EXPANSION`] = 100 times the bytes that stand for it in the file.
//! Only an array that lies in the file as it is, number for number, may have any size.
//!
//! Beside these:
//!
//! | what | limit | why |
//! |---|---|---|
//! | a member of a zip | 4 GiB | as Keras 3.15 has it |
//! | a storage of PyTorch | 64 GiB | |
//! | the header of a safetensors file | 100 MB | as the reference implementation has it |
//! | a manifest of TensorFlow.js | 32 MiB | the topology is in it |
//! | `config.json` of Keras | 16 MiB | |
//! | the index of a TensorFlow checkpoint, a block of it | 1 GiB, 64 MiB | the writer cuts blocks at 256 KiB |
//! | a node of a TensorFlow graph | 2 GiB | protobuf's own |
//! | a description of Darknet, its layers | 1 MiB, 4096 | the largest published has 30 KiB and 162 |
//! | groups within groups of HDF5, models within models | 64 | |
//! | lists within lists of a pickle | 16 | |
//! | messages of protobuf within messages | 100 | as prost has it |
//! | JSON within JSON | 128 | as serde_json has it |
//! | axes of an array | 32 | as HDF5 has it; NumPy has 64, nobody uses them |
//!
//! **Time** is bounded as memory is: whatever refers to something (a chunk, a group, a storage, a member, a memo) is paid for
//! from a budget that is linear in the length of the file, so no circle and no web of references keeps a reader busy.

/// An array may be this large, in bytes, however few bytes of the file stand for it.
pub const SMALL: u64 = 64 << 20;

/// A larger one may be this many times as large as its bytes in the file.
pub const MOST_EXPANSION: u64 = 100;

/// Most memory in bytes for opening a model whose files have `length` bytes.
pub const fn opening(length: u64) -> u64 {
    (128 << 20) + 128 * length
}

/// Most memory in bytes for reading an array of `length` bytes, above what the open model holds.
pub const fn reading(length: u64) -> u64 {
    (16 << 20) + 16 * length
}

/// Most bytes of what `stored` bytes in a file stand for.
pub(crate) const fn unpacked(stored: u64) -> u64 {
    let expanded = stored.saturating_mul(MOST_EXPANSION);
    if expanded > SMALL { expanded } else { SMALL }
}

/// Largest member of a zip in bytes, as in Keras 3.15 (`saving_lib.py`).
pub(crate) const MEMBER: u64 = 4 << 30;

/// Largest block of a TensorFlow index in bytes.
pub(crate) const BLOCK: usize = 64 << 20;

/// Largest index of a TensorFlow checkpoint in bytes.
pub(crate) const INDEX: u64 = 1 << 30;

/// Axes of an array.
pub(crate) const AXES: usize = 32;
