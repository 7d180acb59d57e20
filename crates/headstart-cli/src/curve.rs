//! A range test as a few lines of text.

use headstart::rate_finder::{RateCurve, RatePoint};

const ROWS: usize = 10;
const COLUMNS: usize = 64;

/// The smoothed loss over the rate, with both axes named; `unicode` draws in eighths of a character.
pub(crate) fn text(curve: &RateCurve, unicode: bool) -> String {
    let Some((low, high)) = range(&curve.points) else { return String::from("no loss was a number\n") };
    let mut text = String::new();
    let columns = columns(&curve.points);
    for row in (0..ROWS).rev() {
        let edge = low + (high - low) * (row as f64 + 1.0) / ROWS as f64;
        text.push_str(&if row + 1 == ROWS || row == 0 || row == ROWS / 2 {
            format!("{:>9.3} ", if row == 0 { low } else { edge })
        } else {
            " ".repeat(10)
        });
        text.push(if unicode { '│' } else { '|' });
        for value in &columns {
            text.push(match value {
                // Losses far above the start would press everything else flat; they touch the top.
                Some(value) => mark((value.clamp(low, high) - low) / (high - low), row, unicode),
                None => ' ',
            });
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    let rule = if unicode { "─" } else { "-" };
    text.push_str(&format!("{:10}{}{}\n", "loss", if unicode { '└' } else { '+' }, rule.repeat(COLUMNS)));
    let (first, last) = (curve.points[0].rate, curve.points[curve.points.len() - 1].rate);
    let middle = (first * last).sqrt();
    let (first, middle, last) = (format!("{first:.0e}"), format!("{middle:.0e}"), format!("{last:.0e}"));
    let width = COLUMNS / 2 - middle.len() / 2;
    text.push_str(&format!("{:11}{first:<width$}{middle:<width$}{last}  learning rate\n", ""));
    text
}

/// The part of the losses that is worth showing: from the lowest to a little above the start.
pub(crate) fn range(points: &[RatePoint]) -> Option<(f64, f64)> {
    let low = points.iter().map(|point| point.smoothed).min_by(f64::total_cmp)?;
    let start = points[..points.len().div_ceil(4)].iter().map(|point| point.smoothed).fold(low, f64::max);
    let high = start + 0.25 * (start - low);
    Some((low, if high > low { high } else { low + 1.0 }))
}

/// The mean smoothed loss of each column; none where no step falls.
fn columns(points: &[RatePoint]) -> Vec<Option<f64>> {
    let at = |column: usize| column * points.len() / COLUMNS;
    (0..COLUMNS)
        .map(|column| {
            let part = &points[at(column)..at(column + 1).max(at(column) + 1).min(points.len())];
            Some(part.iter().map(|point| point.smoothed).sum::<f64>() / part.len() as f64)
                .filter(|mean| mean.is_finite())
        })
        .collect()
}

fn mark(height: f64, row: usize, unicode: bool) -> char {
    const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let within = height * ROWS as f64 - row as f64;
    let is_here = (0.0..1.0).contains(&within) || (row + 1 == ROWS && within >= 1.0);
    match (is_here, unicode) {
        (false, _) => ' ',
        (true, false) => '*',
        (true, true) => EIGHTHS[((within * 8.0) as usize).min(7)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(count: usize) -> RateCurve {
        let points = (0..count)
            .map(|step| {
                let x = step as f64 / 99.0;
                let smoothed = 2.0 - 1.5 / (1.0 + (-(x - 0.6) * 20.0).exp()) + (x - 0.85).max(0.0) * 40.0;
                RatePoint { rate: 1e-6 * 10f64.powf(6.0 * x), loss: smoothed, smoothed }
            })
            .collect();
        let (steepest, valley) = (Some(4e-3), Some(1e-3));
        RateCurve { phase: 1, freeze: "all".into(), recipe_rate: 1e-3, points, steepest, valley, diverged: None }
    }

    #[test]
    fn curves_look_as_recorded_in_both_alphabets() {
        insta::assert_snapshot!("curve", format!("{}\n{}", text(&curve(100), true), text(&curve(100), false)));
    }

    #[test]
    fn short_and_flat_curves_are_drawn_too() {
        assert!(text(&curve(0), true).contains("no loss"));
        for count in [1, 2, 5] {
            assert_eq!(text(&curve(count), false).lines().count(), ROWS + 2);
        }
        let mut flat = curve(20);
        flat.points.iter_mut().for_each(|point| point.smoothed = 1.0);
        assert!(text(&flat, false).contains('*'));
    }
}
