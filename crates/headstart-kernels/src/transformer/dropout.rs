//! Dropout whose masks are a function of a seed and a position: nothing is kept for the way back.

/// How much is dropped, and which mask.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Probability that a value is dropped, in [0, 1).
    pub rate: f32,
    /// Another seed, another mask.
    pub seed: u64,
}

impl Dropout {
    /// What `count` values are multiplied by: the mask that the kernels draw, for code that multiplies by itself.
    pub fn factors(self, count: usize) -> Vec<f32> {
        (0..count).map(|index| self.factor(index)).collect()
    }

    /// The mask of one of several places that share a seed.
    pub fn at(self, place: u64) -> Self {
        // splitmix64: neighbouring places get unrelated seeds.
        let mut mixed =
            self.seed.wrapping_add(place.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self { seed: mixed ^ (mixed >> 31), ..self }
    }

    /// What the value at `index` is multiplied by: 0, or 1 / (1 − rate).
    #[inline(always)]
    pub(super) fn factor(self, index: usize) -> f32 {
        let mut mixed = (index as u32).wrapping_add(self.seed as u32);
        mixed = (mixed ^ (mixed >> 16)).wrapping_mul(0x7feb_352d);
        mixed ^= (self.seed >> 32) as u32;
        mixed = (mixed ^ (mixed >> 15)).wrapping_mul(0x846c_a68b);
        mixed ^= mixed >> 16;
        // 24 bits, which a float holds exactly.
        if (mixed >> 8) as f32 * (1.0 / 16_777_216.0) < self.rate { 0.0 } else { 1.0 / (1.0 - self.rate) }
    }
}

/// Dropout in the places of a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerDropout {
    /// Rate on the probabilities of attention.
    pub attention: f32,
    /// Rate on what attention and the dense layers add.
    pub hidden: f32,
    /// Another seed, other masks.
    pub seed: u64,
}

impl LayerDropout {
    /// The mask on the probabilities of one head of one sequence, `[length, length]`.
    pub fn probabilities(self, sequence: usize, head: usize, heads: usize) -> Option<Dropout> {
        Self::masked(self.attention, self.seed, 1).map(|dropout| dropout.at((sequence * heads + head) as u64))
    }

    /// The mask on what attention adds, `[tokens, width]`.
    pub fn attended(self) -> Option<Dropout> {
        Self::masked(self.hidden, self.seed, 2)
    }

    /// The mask on what the dense layers add, `[tokens, width]`.
    pub fn contracted(self) -> Option<Dropout> {
        Self::masked(self.hidden, self.seed, 3)
    }

    fn masked(rate: f32, seed: u64, place: u64) -> Option<Dropout> {
        (rate > 0.0).then(|| Dropout { rate, seed }.at(place))
    }

    pub(super) fn is_valid(self) -> bool {
        (0.0..1.0).contains(&self.attention) && (0.0..1.0).contains(&self.hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stated_part_is_dropped_and_the_mean_stays() {
        for rate in [0.1, 0.5] {
            let dropout = Dropout { rate, seed: 3 }.at(1);
            let factors: Vec<f32> = (0..200_000).map(|index| dropout.factor(index)).collect();
            let dropped = factors.iter().filter(|factor| **factor == 0.0).count() as f32 / factors.len() as f32;
            let mean = factors.iter().sum::<f32>() / factors.len() as f32;
            assert!((dropped - rate).abs() < 3e-3 && (mean - 1.0).abs() < 5e-3, "{dropped} {mean}");
        }
    }

    #[test]
    fn places_and_seeds_have_masks_of_their_own() {
        let mask = |seed, place| -> Vec<bool> {
            let dropout = Dropout { rate: 0.5, seed }.at(place);
            (0..4096).map(|index| dropout.factor(index) == 0.0).collect()
        };
        let same = |a: &[bool], b: &[bool]| a.iter().zip(b).filter(|(a, b)| a == b).count();
        assert_eq!(mask(1, 2), mask(1, 2));
        for (a, b) in [(mask(1, 2), mask(1, 3)), (mask(1, 2), mask(2, 2)), (mask(0, 0), mask(1 << 32, 0))] {
            assert!((1900..2200).contains(&same(&a, &b)), "{}", same(&a, &b));
        }
    }
}
