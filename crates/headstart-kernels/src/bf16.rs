//! Reduced precision: 1×1 convolutions whose weights and inputs are rounded to bf16, with sums in f32.
//!
//! Two bf16 that follow each other along the inputs are one *word* of 32 bits: what the processor multiplies pair by pair
//! and adds to one sum. Words lie in slots of f32, so that buffers, strides and tiles are the ones of f32; nobody takes
//! such a slot for a number.

use crate::buffer::Buffer;
use crate::dispatch::{InstructionSet, chosen};
use crate::error::KernelError;
use crate::product::Operand;
use crate::tile::{PANEL, Taps, Tile};

/// What the products of 1×1 convolutions of stride 1 are made from; all else is f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Weights and inputs as they are.
    #[default]
    F32,
    /// Weights and inputs rounded to the nearest bf16, the even one of two; sums in f32.
    Bf16,
}

impl Precision {
    /// Whether a [`crate::Network`] can be built in this precision here.
    ///
    /// # Errors
    /// [`KernelError::Unavailable`] when the processor lacks the instructions, or when a lower instruction set was asked
    /// for.
    pub fn check(self) -> Result<(), KernelError> {
        self.check_on(chosen())
    }

    pub(crate) fn check_on(self, set: InstructionSet) -> Result<(), KernelError> {
        match self {
            Self::Bf16 if !has_pairs(set) => Err(KernelError::Unavailable { found: set.name() }),
            _ => Ok(()),
        }
    }

    /// Slots that `values` values of one row take.
    pub(crate) fn slots(self, values: usize) -> usize {
        match self {
            Self::F32 => values,
            Self::Bf16 => values.div_ceil(2),
        }
    }
}

fn has_pairs(set: InstructionSet) -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw");
    #[cfg(not(target_arch = "x86_64"))]
    let has = false;
    has && set == InstructionSet::Avx512
}

/// The nearest bf16, the even one of two; a NaN stays one.
fn rounded(value: f32) -> u32 {
    let bits = value.to_bits();
    if value.is_nan() { bits >> 16 | 0x40 } else { (bits + 0x7fff + (bits >> 16 & 1)) >> 16 }
}

/// Panels `[inputs][PANEL]` of floats → panels `[⌈inputs / 2⌉][PANEL]` of words, zero-filled.
pub(crate) fn pack_pairs(panels: &[f32], inputs: usize) -> Buffer {
    let slots = Precision::Bf16.slots(inputs);
    let mut packed = Buffer::zeroed(panels.len() / inputs * slots);
    for (panel, packed) in panels.chunks_exact(inputs * PANEL).zip(packed.chunks_exact_mut(slots * PANEL)) {
        for (rows, words) in panel.chunks(2 * PANEL).zip(packed.chunks_exact_mut(PANEL)) {
            for (column, word) in words.iter_mut().enumerate() {
                let odd = rows.get(PANEL + column).copied().unwrap_or(0.0);
                *word = f32::from_bits(rounded(rows[column]) | rounded(odd) << 16);
            }
        }
    }
    packed
}

/// Rows of floats as words: `count` values of each of `rows` rows, which begin `stride` floats apart in `values` and
/// `word_stride` words apart in `words`. An odd value is paired with zero.
///
/// # Panics
/// When something is read or written outside its slice.
pub(crate) fn narrow(
    (values, stride): (&[f32], usize),
    count: usize,
    (words, word_stride): (&mut [f32], usize),
    rows: usize,
) {
    let Some(last) = rows.checked_sub(1) else { return };
    assert!(values.len() >= last * stride + count && words.len() >= last * word_stride + count.div_ceil(2));
    let (values, words) = (values.as_ptr(), words.as_mut_ptr());
    let rows = Rows { values, stride, count, words, word_stride, rows };
    // Rows that touch are one long row, which has no remainders in between.
    let joined = stride == count && count.is_multiple_of(2) && word_stride == count / 2;
    let rows = if joined { Rows { count: count * rows.rows, rows: 1, ..rows } } else { rows };
    // SAFETY: the assert keeps every row in its slice; whoever has a layer in bf16 has checked the instructions.
    unsafe { narrow_rows(&rows) }
}

/// `rows` rows of pixels with `inputs` channels as the operand of a product; the words go to the front of `scratch`.
pub(crate) fn narrowed<'a>(pixels: &[f32], inputs: usize, rows: usize, scratch: &'a mut [f32]) -> Operand<'a> {
    let slots = Precision::Bf16.slots(inputs);
    narrow((pixels, inputs), inputs, (&mut *scratch, slots), rows);
    Operand { values: scratch, row_stride: slots, taps: Taps::single(slots) }
}

/// Rows for [`narrow_rows`].
///
/// # Safety
/// `values` must be valid for `count` floats and `words` for half as many words, rounded up, at every row.
struct Rows {
    values: *const f32,
    stride: usize,
    count: usize,
    words: *mut f32,
    word_stride: usize,
    rows: usize,
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::Pairs;
#[cfg(target_arch = "x86_64")]
use x86::narrow_rows;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Rows;
    use crate::simd::Vector;
    use crate::tile::Products;

    /// Two products a lane.
    pub(crate) struct Pairs;

    /// The 16 floats' bits as 32 words.
    ///
    /// # Safety
    /// The machine must have AVX-512F.
    #[inline(always)]
    unsafe fn pairs(floats: __m512) -> __m512bh {
        // SAFETY: both types are 512 bits, all of which are valid in either.
        unsafe { std::mem::transmute::<__m512, __m512bh>(floats) }
    }

    impl Products<__m512> for Pairs {
        #[inline(always)]
        unsafe fn add(value: __m512, weight: __m512, sum: __m512) -> __m512 {
            // SAFETY: the caller has AVX-512 BF16.
            unsafe { _mm512_dpbf16_ps(sum, pairs(weight), pairs(value)) }
        }
    }

    /// # Safety
    /// See [`Rows`]; the machine must have AVX-512 BF16.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn narrow_rows(rows: &Rows) {
        const LANES: usize = <__m512 as Vector>::LANES;
        for row in 0..rows.rows {
            // SAFETY: no value beyond the row is read and no word beyond it written: lanes that are not there are masked.
            unsafe {
                let (from, to) = (rows.values.add(row * rows.stride), rows.words.add(row * rows.word_stride));
                let mut at = 0;
                while at + 2 * LANES <= rows.count {
                    let (low, high) = (Vector::load(from.add(at)), Vector::load(from.add(at + LANES)));
                    let words: __m512 = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                    words.store(to.add(at / 2));
                    at += 2 * LANES;
                }
                let left = rows.count - at;
                if left > 0 {
                    let low = Vector::load_first(from.add(at), left.min(LANES));
                    let high = Vector::load_first(from.wrapping_add(at + LANES), left.saturating_sub(LANES));
                    let words: __m512 = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
                    words.store_first(to.add(at / 2), left.div_ceil(2));
                }
            }
        }
    }
}

/// Runs a tile of words over `rows` rows and `columns` columns.
///
/// # Safety
/// See [`Tile`]; the machine must have AVX-512 BF16.
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn run_word_tile(tile: &Tile, rows: usize, columns: usize) {
    // SAFETY: passed on to the caller.
    unsafe { crate::tile::rows_avx512bf16(tile, rows, columns) }
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) unsafe fn run_word_tile(_tile: &Tile, _rows: usize, _columns: usize) {
    unreachable!("no layer is packed in bf16 here")
}

#[cfg(not(target_arch = "x86_64"))]
unsafe fn narrow_rows(_rows: &Rows) {
    unreachable!("no layer is packed in bf16 here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_goes_to_the_nearest_and_to_the_even_one_of_two() {
        for (value, expected) in [
            (1.0, 0x3f80),
            (f32::from_bits(0x3f80_8000), 0x3f80),
            (f32::from_bits(0x3f81_8000), 0x3f82),
            (f32::from_bits(0x3f80_8001), 0x3f81),
            (-2.5, 0xc020),
            (f32::MAX, 0x7f80),
            (f32::NEG_INFINITY, 0xff80),
        ] {
            assert_eq!(rounded(value), expected, "{value}");
        }
        // A NaN whose payload is in the lower half must not become an infinity.
        assert!(f32::from_bits(rounded(f32::from_bits(0x7f80_0001)) << 16).is_nan());
    }

    #[test]
    fn the_processor_narrows_as_plain_code_does() {
        if Precision::Bf16.check_on(InstructionSet::Avx512).is_err() {
            println!("skipped: AVX-512 BF16 not found");
            return;
        }
        let values: Vec<f32> = (0..700).map(|index| (index as f32 * 0.37).sin() * 8.0 + 0.001).collect();
        for count in [1usize, 2, 3, 15, 16, 17, 31, 32, 33, 64, 95] {
            for (stride, word_stride) in [(count, count.div_ceil(2)), (count + 3, count.div_ceil(2) + 2)] {
                let mut words = vec![-1.0f32; 6 * word_stride];
                narrow((&values, stride), count, (&mut words, word_stride), 6);
                for (row, words) in words.chunks(word_stride).enumerate() {
                    let values = &values[row * stride..][..count];
                    for (word, pair) in words.iter().zip(values.chunks(2)) {
                        let odd = pair.get(1).copied().unwrap_or(0.0);
                        assert_eq!(word.to_bits(), rounded(pair[0]) | rounded(odd) << 16, "{count} values, row {row}");
                    }
                    assert!(words[count.div_ceil(2)..].iter().all(|word| *word == -1.0), "beyond {count} values");
                }
            }
        }
    }

    #[test]
    fn only_the_widest_instruction_set_can_have_it() {
        for set in [InstructionSet::Portable, InstructionSet::Avx2] {
            assert_eq!(Precision::Bf16.check_on(set), Err(KernelError::Unavailable { found: set.name() }));
            assert_eq!(Precision::F32.check_on(set), Ok(()));
        }
    }
}
