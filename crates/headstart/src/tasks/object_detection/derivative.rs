//! Numbers that carry their derivatives by the four values of a box: exact gradients of what is written as a formula.

use std::ops::{Add, Div, Mul, Sub};

/// A value and its partial derivatives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Derived {
    pub(super) value: f64,
    pub(super) partials: [f64; 4],
}

impl Derived {
    /// A number that depends on nothing.
    pub(super) fn constant(value: f64) -> Self {
        Self { value, partials: [0.0; 4] }
    }

    /// Value number `index` of the four.
    pub(super) fn variable(value: f64, index: usize) -> Self {
        let mut partials = [0.0; 4];
        partials[index] = 1.0;
        Self { value, partials }
    }

    fn chained(self, value: f64, slope: f64) -> Self {
        Self { value, partials: self.partials.map(|partial| partial * slope) }
    }

    /// A function of two, with its slopes by each.
    fn combined(self, other: Self, value: f64, [by_self, by_other]: [f64; 2]) -> Self {
        let partial = |index: usize| self.partials[index] * by_self + other.partials[index] * by_other;
        Self { value, partials: std::array::from_fn(partial) }
    }

    pub(super) fn sigmoid(self) -> Self {
        let value = 1.0 / (1.0 + (-self.value).exp());
        self.chained(value, value * (1.0 - value))
    }

    pub(super) fn exp(self) -> Self {
        let value = self.value.exp();
        self.chained(value, value)
    }

    pub(super) fn atan(self) -> Self {
        self.chained(self.value.atan(), 1.0 / (1.0 + self.value * self.value))
    }

    pub(super) fn scaled(self, factor: f64) -> Self {
        self.chained(self.value * factor, factor)
    }

    pub(super) fn larger(self, other: Self) -> Self {
        if other.value > self.value { other } else { self }
    }

    pub(super) fn smaller(self, other: Self) -> Self {
        if other.value < self.value { other } else { self }
    }
}

impl Add for Derived {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let partials = std::array::from_fn(|index| self.partials[index] + other.partials[index]);
        Self { value: self.value + other.value, partials }
    }
}

impl Sub for Derived {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + other.scaled(-1.0)
    }
}

impl Mul for Derived {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        self.combined(other, self.value * other.value, [other.value, self.value])
    }
}

impl Div for Derived {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        self.combined(other, value, [1.0 / other.value, -value / other.value])
    }
}
