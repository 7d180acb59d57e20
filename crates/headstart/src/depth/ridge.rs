//! Ridge classification, every example left out in turn, in closed form.

/// Strengths of the penalty that are tried, relative to the mean square of the features.
const PENALTIES: [f64; 3] = [0.01, 0.1, 1.0];

/// Part of the rows that a linear classifier gets right when it learned from all others; the best penalty's.
///
/// `features` is `[N, D]` row-major, `classes` holds N class indices below `count`. Features are standardized; the targets
/// are 1 for the class and 0 for others, centred. With A = (Z Zᵀ / D + λ I)⁻¹ and α = A Y, what is predicted for row i by
/// the others is y_i − α_i / A_ii (Rasmussen and Williams 2006, eq. 5.12). N³ steps, in one fixed order.
pub(super) fn leave_one_out_accuracy(features: &[f32], classes: &[usize], count: usize) -> f64 {
    let n = classes.len();
    if n < 2 || features.len() < n {
        return 0.0;
    }
    let kernel = kernel(features, n);
    let right = |penalty: &f64| {
        let Some(inverse) = inverse(&kernel, n, *penalty) else { return 0 };
        let mut prior = vec![0.0; count];
        classes.iter().for_each(|&class| prior[class] += 1.0 / n as f64);
        let predicted: Vec<Vec<f64>> = (0..count)
            .map(|class| {
                let target: Vec<f64> =
                    classes.iter().map(|&own| f64::from(u8::from(own == class)) - prior[class]).collect();
                (0..n)
                    .map(|i| {
                        let row = &inverse[i * n..(i + 1) * n];
                        let alpha: f64 = row.iter().zip(&target).map(|(a, y)| a * y).sum();
                        target[i] - alpha / row[i] + prior[class]
                    })
                    .collect()
            })
            .collect();
        (0..n)
            .filter(|&i| {
                let best = (0..count).fold(
                    0,
                    |best, class| {
                        if predicted[class][i] > predicted[best][i] { class } else { best }
                    },
                );
                best == classes[i]
            })
            .count()
    };
    PENALTIES.iter().map(right).max().unwrap_or(0) as f64 / n as f64
}

/// Inner products of the standardized rows, divided by the number of columns: `[N, N]`, lower triangle and diagonal.
fn kernel(features: &[f32], n: usize) -> Vec<f64> {
    let width = features.len() / n;
    let mut rows: Vec<f64> = features.iter().map(|&value| f64::from(value)).collect();
    for column in 0..width {
        let mean = (0..n).map(|row| rows[row * width + column]).sum::<f64>() / n as f64;
        let square = (0..n).map(|row| (rows[row * width + column] - mean).powi(2)).sum::<f64>() / n as f64;
        let scale = if square > 0.0 { 1.0 / square.sqrt() } else { 0.0 };
        (0..n).for_each(|row| rows[row * width + column] = (rows[row * width + column] - mean) * scale);
    }
    let mut kernel = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            kernel[i * n + j] =
                dot(&rows[i * width..(i + 1) * width], &rows[j * width..(j + 1) * width]) / width as f64;
        }
    }
    kernel
}

/// Four sums side by side: what the compiler can turn into vectors without changing any order.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f64 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a.zip(b) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f64>() + tail
}

/// (K + λ I)⁻¹ by Cholesky's decomposition; none when it is not positive definite, as with features that are no numbers.
fn inverse(kernel: &[f64], n: usize, penalty: f64) -> Option<Vec<f64>> {
    let mut lower = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let sum = kernel[i * n + j] - dot(&lower[i * n..i * n + j], &lower[j * n..j * n + j]);
            if i == j {
                let pivot = sum + penalty;
                if !(pivot > 0.0 && pivot.is_finite()) {
                    return None;
                }
                lower[i * n + i] = pivot.sqrt();
            } else {
                lower[i * n + j] = sum / lower[j * n + j];
            }
        }
    }
    // Columns of L⁻¹ as rows, so that both steps below walk along memory.
    let mut transposed = vec![0.0; n * n];
    for column in 0..n {
        transposed[column * n + column] = 1.0 / lower[column * n + column];
        for i in column + 1..n {
            let sum = dot(&lower[i * n + column..i * n + i], &transposed[column * n + column..column * n + i]);
            transposed[column * n + i] = -sum / lower[i * n + i];
        }
    }
    let mut inverse = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let value = dot(&transposed[i * n + i..(i + 1) * n], &transposed[j * n + i..(j + 1) * n]);
            (inverse[i * n + j], inverse[j * n + i]) = (value, value);
        }
    }
    Some(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn the_inverse_is_one() {
        let mut draw = Stream::new(0, "ridge", &[]);
        let n = 13;
        let features: Vec<f32> = (0..n * 7).map(|_| draw.normal()).collect();
        let kernel = kernel(&features, n);
        let inverse = inverse(&kernel, n, 0.3).unwrap();
        for i in 0..n {
            for j in 0..n {
                let full = |a: usize, b: usize| kernel[a.max(b) * n + a.min(b)] + if a == b { 0.3 } else { 0.0 };
                let product: f64 = (0..n).map(|k| full(i, k) * inverse[k * n + j]).sum();
                assert!((product - f64::from(u8::from(i == j))).abs() < 1e-9, "{i} {j} {product}");
            }
        }
    }

    #[test]
    fn classes_that_a_line_parts_are_told_apart_and_noise_is_not() {
        let mut draw = Stream::new(1, "ridge", &[]);
        let classes: Vec<usize> = (0..90).map(|row| row % 3).collect();
        let mut noise: Vec<f32> = (0..90 * 5).map(|_| draw.normal()).collect();
        let of_noise = leave_one_out_accuracy(&noise, &classes, 3);
        assert!((0.1..0.6).contains(&of_noise), "{of_noise}");
        for (row, &class) in classes.iter().enumerate() {
            noise[row * 5 + class] += 8.0;
        }
        assert_eq!(leave_one_out_accuracy(&noise, &classes, 3), 1.0);
    }

    #[test]
    fn features_that_are_constant_or_no_numbers_do_no_harm() {
        let classes = [0, 1, 0, 1];
        assert!(leave_one_out_accuracy(&[3.0; 8], &classes, 2) <= 1.0);
        assert_eq!(leave_one_out_accuracy(&[f32::NAN; 8], &classes, 2), 0.0);
        assert_eq!(leave_one_out_accuracy(&[], &[], 2), 0.0);
    }
}
