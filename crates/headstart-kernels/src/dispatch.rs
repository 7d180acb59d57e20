//! Which instruction set is used, decided once.

use std::sync::LazyLock;

use crate::depthwise::Row;
use crate::pool2d::Pixel;
use crate::tile::Tile;
use crate::winograd::{InputTile, OutputTile};

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

// One door for each kernel: it takes the function of the instruction set.
macro_rules! doors {
    ($($(#[doc = $doc:literal])* $door:ident($($argument:ident: $type:ty),*) => $module:ident: $avx512:ident, $avx2:ident, $portable:ident;)*) => {
        $(
            $(#[doc = $doc])*
            pub(crate) unsafe fn $door(set: InstructionSet, $($argument: $type),*) {
                // SAFETY: passed on to the caller.
                unsafe {
                    match set {
                        #[cfg(target_arch = "x86_64")]
                        InstructionSet::Avx512 => crate::$module::$avx512($($argument),*),
                        #[cfg(target_arch = "x86_64")]
                        InstructionSet::Avx2 => crate::$module::$avx2($($argument),*),
                        _ => crate::$module::$portable($($argument),*),
                    }
                }
            }
        )*
    };
}

doors! {
    /// Runs a tile over `rows` rows and `columns` columns.
    ///
    /// # Safety
    /// See [`Tile`]; the machine must have `set`.
    run_tile(tile: &Tile, rows: usize, columns: usize) => tile: rows_avx512, rows_avx2, rows_portable;

    /// Runs one row of a depthwise convolution over one panel of channels.
    ///
    /// # Safety
    /// See [`Row`]; the machine must have `set`.
    run_row(row: &Row<'_>) => depthwise: row_avx512, row_avx2, row_portable;

    /// Pools one window.
    ///
    /// # Safety
    /// See [`Pixel`]; the machine must have `set`.
    run_pixel(pixel: &Pixel) => pool2d: pixel_avx512, pixel_avx2, pixel_portable;

    /// Transforms one tile of pixels for Winograd's products.
    ///
    /// # Safety
    /// See [`InputTile`]; the machine must have `set`.
    run_input_tile(tile: &InputTile<'_>) => winograd: input_tile_avx512, input_tile_avx2, input_tile_portable;

    /// Transforms one tile of Winograd's products back.
    ///
    /// # Safety
    /// See [`OutputTile`]; the machine must have `set`.
    run_output_tile(tile: &OutputTile) => winograd: output_tile_avx512, output_tile_avx2, output_tile_portable;
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
