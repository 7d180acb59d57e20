//! A box round an object, and the numbers that its sides may be.

use std::ops::{Add, Div, Mul, Sub};

use serde::{Deserialize, Serialize};

/// Numbers that boxes are made of: what networks give is `f32`, what annotations say is `f64`.
///
/// Operations round as those of the type itself do, so `f32` boxes are compared as the reference libraries compare them.
pub trait Coordinate:
    Copy + PartialOrd + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + Div<Output = Self> + Into<f64>
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;

    /// The nearest number of this type.
    fn rounded(number: f64) -> Self;

    /// The larger of two; the other one if one is no number.
    fn larger(self, other: Self) -> Self;

    /// The smaller of two; the other one if one is no number.
    fn smaller(self, other: Self) -> Self;
}

impl Coordinate for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    fn rounded(number: f64) -> Self {
        number as Self
    }

    fn larger(self, other: Self) -> Self {
        self.max(other)
    }

    fn smaller(self, other: Self) -> Self {
        self.min(other)
    }
}

impl Coordinate for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;

    fn rounded(number: f64) -> Self {
        number
    }

    fn larger(self, other: Self) -> Self {
        self.max(other)
    }

    fn smaller(self, other: Self) -> Self {
        self.min(other)
    }
}

/// A box in pixels. Sides lie between pixels: the whole of a picture is from 0, 0 to its width and height.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BoundingBox<T = f64> {
    /// Left side.
    pub left: T,
    /// Top side.
    pub top: T,
    /// Right side.
    pub right: T,
    /// Bottom side.
    pub bottom: T,
}

impl<T: Coordinate> BoundingBox<T> {
    /// The box with these sides.
    pub const fn new(left: T, top: T, right: T, bottom: T) -> Self {
        Self { left, top, right, bottom }
    }

    /// The box about a middle.
    pub fn about(x: T, y: T, width: T, height: T) -> Self {
        let two = T::ONE + T::ONE;
        Self::new(x - width / two, y - height / two, x + width / two, y + height / two)
    }

    /// From left to right; below 0 if they are the wrong way round.
    pub fn width(&self) -> T {
        self.right - self.left
    }

    /// From top to bottom; below 0 if they are the wrong way round.
    pub fn height(&self) -> T {
        self.bottom - self.top
    }

    /// Width times height, in square pixels.
    pub fn area(&self) -> T {
        self.width() * self.height()
    }

    /// The middle: x, y.
    pub fn middle(&self) -> (T, T) {
        let two = T::ONE + T::ONE;
        ((self.left + self.right) / two, (self.top + self.bottom) / two)
    }

    /// Whether it has any area; one with a side that is no number has none.
    pub fn has_area(&self) -> bool {
        self.right > self.left && self.bottom > self.top
    }

    /// What two boxes share; it has no area if they share nothing.
    pub fn intersection(&self, other: &Self) -> Self {
        Self {
            left: self.left.larger(other.left),
            top: self.top.larger(other.top),
            right: self.right.smaller(other.right),
            bottom: self.bottom.smaller(other.bottom),
        }
    }

    /// The smallest box that holds both.
    pub fn hull(&self, other: &Self) -> Self {
        Self {
            left: self.left.smaller(other.left),
            top: self.top.smaller(other.top),
            right: self.right.larger(other.right),
            bottom: self.bottom.larger(other.bottom),
        }
    }

    /// Moved right and down.
    pub fn moved(&self, x: T, y: T) -> Self {
        Self::new(self.left + x, self.top + y, self.right + x, self.bottom + y)
    }

    /// Stretched from the corner 0, 0.
    pub fn scaled(&self, x: T, y: T) -> Self {
        Self::new(self.left * x, self.top * y, self.right * x, self.bottom * y)
    }

    /// The same box in other numbers.
    pub fn cast<U: Coordinate>(&self) -> BoundingBox<U> {
        let cast = |side: T| U::rounded(side.into());
        BoundingBox::new(cast(self.left), cast(self.top), cast(self.right), cast(self.bottom))
    }

    /// Left, top, right, bottom.
    pub fn sides(&self) -> [T; 4] {
        [self.left, self.top, self.right, self.bottom]
    }
}

impl BoundingBox {
    /// The whole of a picture.
    pub fn of_picture(width: u32, height: u32) -> Self {
        Self::new(0.0, 0.0, f64::from(width), f64::from(height))
    }

    /// Whether all sides are finite.
    pub fn is_finite(&self) -> bool {
        self.sides().iter().all(|side| side.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_that_share_nothing_have_an_intersection_without_area() {
        let a = BoundingBox::new(0.0, 0.0, 2.0, 2.0);
        assert!(!a.intersection(&a.moved(2.0, 0.0)).has_area());
        assert!(!a.intersection(&a.moved(0.0, -5.0)).has_area());
        assert_eq!(a.intersection(&a.moved(1.0, 1.0)).area(), 1.0);
        assert_eq!(a.hull(&a.moved(3.0, 1.0)), BoundingBox::new(0.0, 0.0, 5.0, 3.0));
        assert!(!BoundingBox::new(f64::NAN, 0.0, 1.0, 1.0).has_area());
    }

    #[test]
    fn a_box_is_the_one_about_its_middle() {
        let a = BoundingBox::new(1.0f32, 2.0, 4.0, 10.0);
        let (x, y) = a.middle();
        assert_eq!(BoundingBox::about(x, y, a.width(), a.height()), a);
        assert_eq!(a.cast::<f64>().cast::<f32>(), a);
    }
}
