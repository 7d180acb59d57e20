//! The most probable label of every frame.

use super::words::Emission;
use crate::error::KernelError;

/// Joins the most probable classes of the frames of `[T, C]` to labels, the first class among equals.
///
/// # Errors
/// [`KernelError::Length`] where the logits are no whole frames; [`KernelError::Invalid`] where the blank is no class.
pub fn greedy(logits: &[f32], classes: usize, blank: usize) -> Result<Vec<Emission>, KernelError> {
    super::words::check(logits, classes, blank)?;
    let mut emissions: Vec<Emission> = Vec::new();
    let mut before = blank;
    for (frame, row) in logits.chunks_exact(classes).enumerate() {
        let first = (0, row[0]);
        let (best, _) =
            row.iter().copied().enumerate().fold(first, |best, next| if next.1 > best.1 { next } else { best });
        if best != blank {
            match emissions.last_mut() {
                Some(last) if best == before => last.frames.end = frame + 1,
                _ => emissions.push(Emission { label: best, frames: frame..frame + 1 }),
            }
        }
        before = best;
    }
    Ok(emissions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_joined_and_blanks_dropped() {
        let path = [2, 0, 0, 2, 0, 1, 1, 2];
        let mut logits = vec![0.0; path.len() * 3];
        path.iter().enumerate().for_each(|(frame, class)| logits[frame * 3 + class] = 1.0);
        let found = greedy(&logits, 3, 2).unwrap();
        let found: Vec<_> = found.into_iter().map(|emission| (emission.label, emission.frames)).collect();
        assert_eq!(found, [(0, 1..3), (0, 4..5), (1, 5..7)]);
        assert_eq!(greedy(&[], 3, 2), Ok(Vec::new()));
        assert!(greedy(&[0.0; 4], 3, 2).is_err() && greedy(&[], 3, 3).is_err() && greedy(&[], 0, 0).is_err());
        assert_eq!(greedy(&[f32::NAN; 3], 3, 2).unwrap().len(), 1);
    }
}
