//! How much two boxes agree.
//!
//! Sources: GIoU, Rezatofighi et al. 2019 (arXiv 1902.09630); DIoU and CIoU, Zheng et al. 2020 (arXiv 1911.08287).

use super::{BoundingBox, Coordinate};

/// Area that two boxes share, in square pixels; 0 if they share nothing.
fn shared<T: Coordinate>(a: &BoundingBox<T>, b: &BoundingBox<T>) -> T {
    let both = a.intersection(b);
    both.width().larger(T::ZERO) * both.height().larger(T::ZERO)
}

/// A part of a whole; 0 of nothing.
fn part<T: Coordinate>(part: T, whole: T) -> T {
    if whole > T::ZERO { part / whole } else { T::ZERO }
}

/// Intersection over union, in [0, 1]; 0 for two boxes without area.
pub fn iou<T: Coordinate>(a: &BoundingBox<T>, b: &BoundingBox<T>) -> T {
    let both = shared(a, b);
    part(both, a.area() + b.area() - both)
}

/// The part of `a` that lies in `b`, in [0, 1]: what takes the place of the union where `b` is a crowd.
pub fn part_within<T: Coordinate>(a: &BoundingBox<T>, b: &BoundingBox<T>) -> T {
    part(shared(a, b), a.area())
}

/// Generalized IoU, in (−1, 1]: IoU less the part of the hull that belongs to neither.
pub fn giou<T: Coordinate>(a: &BoundingBox<T>, b: &BoundingBox<T>) -> T {
    let both = shared(a, b);
    let union = a.area() + b.area() - both;
    let hull = a.hull(b).area();
    part(both, union) - part(hull - union, hull)
}

/// Distance IoU, in (−1, 1]: IoU less the squared distance of the middles over that of the hull's corners.
pub fn diou<T: Coordinate>(a: &BoundingBox<T>, b: &BoundingBox<T>) -> T {
    let hull = a.hull(b);
    let squared = |x: T, y: T| x * x + y * y;
    let ((ax, ay), (bx, by)) = (a.middle(), b.middle());
    iou(a, b) - part(squared(ax - bx, ay - by), squared(hull.width(), hull.height()))
}

/// Complete IoU: DIoU less a term for the ratios of the sides, α · v with v = 4/π² · (atan(w/h) − atan(w′/h′))² and
/// α = v / (1 − IoU + v).
pub fn ciou<T: Coordinate>(a: &BoundingBox<T>, b: &BoundingBox<T>) -> f64 {
    let angle = |place: &BoundingBox<T>| -> f64 {
        let (width, height): (f64, f64) = (place.width().into(), place.height().into());
        width.atan2(height)
    };
    let v = 4.0 / (std::f64::consts::PI * std::f64::consts::PI) * (angle(a) - angle(b)).powi(2);
    let (iou, diou): (f64, f64) = (iou(a, b).into(), diou(a, b).into());
    let alpha = part(v, 1.0 - iou + v);
    diou - alpha * v
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Boxes with whole sides, which can be painted.
    fn painted() -> impl Strategy<Value = BoundingBox> {
        (0u8..20, 0u8..20, 1u8..12, 1u8..12).prop_map(|(x, y, w, h)| {
            let (x, y) = (f64::from(x), f64::from(y));
            BoundingBox::new(x, y, x + f64::from(w), y + f64::from(h))
        })
    }

    fn pixels(place: &BoundingBox) -> Vec<bool> {
        let within = |at: usize, low: f64, high: f64| (low..high).contains(&(at as f64 + 0.5));
        (0..32 * 32)
            .map(|at| within(at % 32, place.left, place.right) && within(at / 32, place.top, place.bottom))
            .collect()
    }

    proptest! {
        #[test]
        fn overlaps_are_those_of_painted_pixels(a in painted(), b in painted()) {
            let (of_a, of_b, of_hull) = (pixels(&a), pixels(&b), pixels(&a.hull(&b)));
            let count = |is: &dyn Fn(usize) -> bool| (0..of_a.len()).filter(|at| is(*at)).count() as f64;
            let (both, either) = (count(&|at| of_a[at] && of_b[at]), count(&|at| of_a[at] || of_b[at]));
            let hull = count(&|at| of_hull[at]);
            prop_assert!((iou(&a, &b) - both / either).abs() < 1e-12);
            prop_assert!((part_within(&a, &b) - both / count(&|at| of_a[at])).abs() < 1e-12);
            prop_assert!((giou(&a, &b) - (both / either - (hull - either) / hull)).abs() < 1e-12);
            prop_assert!((f64::from(iou(&a.cast::<f32>(), &b.cast::<f32>())) - iou(&a, &b)).abs() < 1e-6);
            prop_assert_eq!(iou(&a, &b), iou(&b, &a));
            prop_assert_eq!((giou(&a, &a), diou(&a, &a), ciou(&a, &a)), (1.0, 1.0, 1.0));
            prop_assert!(ciou(&a, &b) <= diou(&a, &b) && diou(&a, &b) <= iou(&a, &b) && giou(&a, &b) <= iou(&a, &b));
        }
    }

    #[test]
    fn boxes_without_area_agree_with_nothing_and_give_no_nan() {
        let (empty, whole) = (BoundingBox::new(1.0, 1.0, 1.0, 1.0), BoundingBox::new(0.0, 0.0, 2.0, 2.0));
        for (a, b) in [(&empty, &empty), (&empty, &whole), (&whole, &empty)] {
            assert_eq!(iou(a, b), 0.0);
            assert!([giou(a, b), diou(a, b), ciou(a, b), part_within(a, b)].iter().all(|value| value.is_finite()));
        }
    }
}
