//! Which instruction set is used, decided once.

use std::sync::LazyLock;

use crate::depthwise::Row;
use crate::tile::Tile;

/// A family of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstructionSet {
    /// Plain code for the baseline of the target.
    Portable,
    /// AVX2 and FMA: 8 floats.
    Avx2,
    /// AVX-512F: 16 floats, 32 registers.
    Avx512,
}

impl InstructionSet {
    /// Every one that this machine has, the widest last.
    pub fn available() -> Vec<Self> {
        let mut sets = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                sets.push(Self::Avx2);
            }
            if is_x86_feature_detected!("avx512f") {
                sets.push(Self::Avx512);
            }
        }
        sets
    }

    /// Short name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

static CHOSEN: LazyLock<InstructionSet> =
    LazyLock::new(|| choose(std::env::var("HEADSTART_ISA").ok().as_deref(), &InstructionSet::available()));

/// The one that is asked for if there is one of that name, else the widest.
fn choose(asked: Option<&str>, available: &[InstructionSet]) -> InstructionSet {
    let named = available.iter().find(|set| Some(set.name()) == asked);
    named.or(available.last()).copied().unwrap_or(InstructionSet::Portable)
}

/// Name of the instruction set in use: the widest there is, or a lower one that the variable `HEADSTART_ISA` names
/// (`portable`, `avx2`, `avx512`).
pub fn instruction_set() -> &'static str {
    chosen().name()
}

pub(crate) fn chosen() -> InstructionSet {
    *CHOSEN
}

/// Runs a tile over `rows` rows and `columns` columns.
///
/// # Safety
/// See [`Tile`]; the machine must have `set`.
pub(crate) unsafe fn run_tile(set: InstructionSet, tile: &Tile, rows: usize, columns: usize) {
    // SAFETY: passed on to the caller.
    unsafe {
        match set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => crate::tile::rows_avx512(tile, rows, columns),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => crate::tile::rows_avx2(tile, rows, columns),
            _ => crate::tile::rows_portable(tile, rows, columns),
        }
    }
}

/// Runs one row of a depthwise convolution over one panel of channels.
///
/// # Safety
/// See [`Row`]; the machine must have `set`.
pub(crate) unsafe fn run_row(set: InstructionSet, row: &Row<'_>) {
    // SAFETY: passed on to the caller.
    unsafe {
        match set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => crate::depthwise::row_avx512(row),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => crate::depthwise::row_avx2(row),
            _ => crate::depthwise::row_portable(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_lowers_the_instruction_set_but_never_raises_it() {
        let narrow = [InstructionSet::Portable, InstructionSet::Avx2];
        assert_eq!(choose(None, &narrow), InstructionSet::Avx2);
        assert_eq!(choose(Some("portable"), &narrow), InstructionSet::Portable);
        assert_eq!(choose(Some("avx512"), &narrow), InstructionSet::Avx2);
        assert_eq!(choose(Some("neon"), &narrow), InstructionSet::Avx2);
    }
}
