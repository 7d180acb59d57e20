//! Which cuts are worth trying, and how much work each is.

use headstart_kernels::Shape;

use super::StageProbe;
use crate::load::Pretrained;
use crate::model::FrozenBackbone;
use crate::recipe::Freeze;

/// A cut stands behind the first stage that carries this much of what the best stage adds to guessing.
const CARRIED: [f64; 3] = [0.9, 0.75, 0.6];

/// Cuts as numbers of frozen stages, the one that opens least first, each once; never all stages.
///
/// Early stages hold what most pictures have in common; the cut goes behind them, where what is specific to the pretraining
/// begins (Yosinski et al. 2014, arXiv:1411.1792), and the probes say where that is for these pictures. A cut whose maps
/// would be larger than the pictures, or than `most_values` a picture, moves up to the next that is not; the cut below all
/// stages needs no maps.
pub(super) fn cuts(probes: &[StageProbe], chance: f64, input: Shape, maps: &[Shape], most_values: usize) -> Vec<usize> {
    let stages = probes.len();
    let score = |probe: &StageProbe| probe.linear.unwrap_or(probe.head).max(probe.head);
    let best = probes.iter().map(score).fold(chance, f64::max);
    let mut cuts: Vec<usize> = CARRIED
        .iter()
        .map(|part| {
            let needed = chance + part * (best - chance);
            let first = probes.iter().position(|probe| score(probe) >= needed).unwrap_or(0);
            let cut = (first + 1).min(stages.saturating_sub(1));
            // One stage at a time towards the head until the maps can be kept.
            (cut..stages).find(|&cut| cut == 0 || maps[cut - 1].len() <= input.len().min(most_values)).unwrap_or(0)
        })
        .collect();
    cuts.sort_unstable_by(|a, b| b.cmp(a));
    cuts.dedup();
    cuts
}

/// The cut as a recipe says it.
pub(super) fn freeze(pretrained: &Pretrained, cut: usize) -> Freeze {
    match cut.checked_sub(1) {
        Some(last) => Freeze::UpTo(pretrained.spec.stages[last].name.to_owned()),
        None => Freeze::Nothing,
    }
}

/// The part of a whole network's multiplications that the stages above `cut` do: kernels times the positions after them.
pub(super) fn open_share(pretrained: &Pretrained, frozen: &FrozenBackbone, cut: usize) -> f64 {
    let mut work = vec![0.0; pretrained.spec.stages.len()];
    let maps = frozen.stage_shapes();
    for (name, parameter) in pretrained.parameters.iter() {
        if let Some(stage) = pretrained.spec.stage_of(name).filter(|_| parameter.shape.len() > 1) {
            work[stage] += (parameter.values.len() * maps[stage].height * maps[stage].width) as f64;
        }
    }
    let all: f64 = work.iter().sum();
    work[cut..].iter().sum::<f64>() / all.max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probes(scores: &[f64]) -> Vec<StageProbe> {
        scores.iter().map(|&score| StageProbe { stage: String::new(), linear: Some(score), head: 0.0 }).collect()
    }

    fn shape(side: usize, channels: usize) -> Shape {
        Shape { height: side, width: side, channels }
    }

    #[test]
    fn cuts_follow_what_the_stages_carry() {
        let (input, maps) = (shape(64, 3), [shape(16, 8); 5]);
        let of = |scores: &[f64]| cuts(&probes(scores), 0.2, input, &maps[..scores.len()], usize::MAX);
        assert_eq!(of(&[0.3, 0.5, 0.7, 0.8, 1.0]), [4, 3]);
        assert_eq!(of(&[0.3, 0.7, 0.9, 0.95, 1.0]), [4, 3, 2]);
        assert_eq!(of(&[0.9, 0.9, 0.9, 0.9, 0.9]), [1], "what the first stage gives is as good as the last");
        assert_eq!(of(&[0.1, 0.1, 0.1, 0.1, 0.1]), [1], "nothing is carried by an untrained network");
        assert_eq!(of(&[0.9]), [0], "one stage is opened or not");
    }

    #[test]
    fn maps_that_cannot_be_kept_move_the_cut_up() {
        let (input, maps) = (shape(8, 3), [shape(8, 8), shape(8, 4), shape(4, 8)]);
        let found = cuts(&probes(&[1.0, 1.0, 1.0]), 0.5, input, &maps, usize::MAX);
        assert_eq!(found, [0], "no map in reach is smaller than the picture");
        assert_eq!(cuts(&probes(&[1.0, 1.0, 1.0]), 0.5, shape(32, 3), &maps, 256), [2]);
    }
}
