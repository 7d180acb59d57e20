//! Outline and veins of six kinds of leaves, each leaf a little different.
//!
//! In the leaf's own plane: the base of the blade at (0, 0), its tip near (0, 1), the stalk below.

use super::leaves::Species;
use super::noise::{Draws, angle, cosine, sine, smooth_step, value_noise};

/// One leaf.
#[derive(Debug, Clone)]
pub(super) struct LeafShape {
    species: Species,
    seed: u64,
    /// Width relative to the species' mean.
    breadth: f32,
    /// How far the midrib bends sideways.
    bend: f32,
    /// Left half wider than the right.
    asymmetry: f32,
    /// Teeth, lobes or spines: number and depth.
    count: f32,
    depth: f32,
    /// Where the widest part lies.
    belly: f32,
    /// Holes that insects ate: place and radius.
    holes: Vec<[f32; 3]>,
    stalk: f32,
}

/// What lies at a point of the leaf's plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LeafPoint {
    /// Distance inside the outline, about; negative outside.
    pub(super) inside: f32,
    /// 0 between the veins … 1 on one.
    pub(super) vein: f32,
    /// Along the midrib, 0 … 1.
    pub(super) along: f32,
    /// Sideways of the midrib.
    pub(super) across: f32,
    pub(super) is_stalk: bool,
}

impl LeafShape {
    pub(super) fn new(species: Species, draws: &mut Draws) -> Self {
        let (count, depth, belly) = match species {
            Species::Oak => (draws.between(3.2, 4.6), draws.between(0.30, 0.46), 0.60),
            Species::Maple => (5.0, draws.between(0.36, 0.50), 0.5),
            Species::Birch => (draws.between(15.0, 24.0), draws.between(0.05, 0.10), draws.between(0.28, 0.36)),
            Species::Willow => (draws.between(24.0, 34.0), draws.between(0.0, 0.05), draws.between(0.38, 0.5)),
            Species::Ginkgo => (draws.between(2.0, 4.0), draws.between(0.02, 0.06), 0.5),
            Species::Holly => (draws.between(4.0, 6.0), draws.between(0.26, 0.40), 0.5),
        };
        let hole_count = if draws.chance(0.35) { 1 + draws.below(3) } else { 0 };
        let holes = (0..hole_count)
            .map(|_| [draws.between(-0.2, 0.2), draws.between(0.25, 0.8), draws.between(0.012, 0.035)])
            .collect();
        Self {
            species,
            seed: draws.bits(),
            breadth: draws.between(0.86, 1.16),
            bend: draws.between(-0.10, 0.10),
            asymmetry: draws.between(-0.08, 0.08),
            count,
            depth,
            belly,
            holes,
            stalk: draws.between(0.16, 0.34),
        }
    }

    /// What lies at (x, y).
    pub(super) fn at(&self, x: f32, y: f32) -> LeafPoint {
        // The midrib is a parabola: straighten it.
        let across = x - self.bend * y * (1.0 - y) * 1.6;
        let side = if across < 0.0 { 1.0 + self.asymmetry } else { 1.0 - self.asymmetry };
        let lateral = across.abs() / (self.breadth * side);
        // Edges wander a little.
        let wander = (value_noise(self.seed, y * 7.0 + if across < 0.0 { 40.0 } else { 0.0 }, 0.5) - 0.5) * 0.03;
        let mut point = match self.species {
            Species::Maple => self.palmate(across / self.breadth, y),
            Species::Ginkgo => self.fan(across / self.breadth, y),
            _ => self.pinnate(lateral, y),
        };
        point.inside += wander;
        point.along = y;
        point.across = across;
        for [hx, hy, radius] in &self.holes {
            let (dx, dy) = (across - hx, y - hy);
            let ragged = radius * (0.7 + 0.6 * value_noise(self.seed ^ 9, dx * 60.0, dy * 60.0));
            point.inside = point.inside.min((dx * dx + dy * dy).sqrt() - ragged);
        }
        let blade = if matches!(self.species, Species::Ginkgo | Species::Maple) { 0.06 } else { 0.02 };
        if y < blade && y > -self.stalk {
            let thick = 0.014 - across.abs();
            if thick > point.inside {
                point = LeafPoint { inside: thick, vein: 0.6, is_stalk: true, ..point };
            }
        }
        point
    }

    /// Oak, birch, willow, holly: a half-width along a midrib, secondary veins to both sides.
    fn pinnate(&self, lateral: f32, y: f32) -> LeafPoint {
        let t = y.clamp(0.0, 1.0);
        // Rises to the belly, falls to the tip.
        let bulge = if t < self.belly { t / self.belly } else { (1.0 - t) / (1.0 - self.belly) };
        let (half, slope, veins) = match self.species {
            Species::Oak => {
                let body = 0.30 * (bulge * (2.0 - bulge)).sqrt();
                let lobes = 0.5 + 0.5 * cosine(self.count * (t - 0.12) - lateral * 0.5);
                (body * (1.0 - self.depth * 1.5 * (1.0 - lobes) * smooth_step(0.0, 0.2, t)), 0.55, self.count)
            }
            Species::Birch => {
                let body = 0.30 * bulge * (1.5 - 0.5 * bulge);
                let tooth = self.count * (t - lateral * 0.25);
                let large = tooth * 0.5 - (tooth * 0.5).floor();
                let small = tooth - tooth.floor();
                (body * (1.0 - self.depth * (small + 1.4 * large)), 0.75, 7.0)
            }
            Species::Willow => {
                let tooth = self.count * t;
                (0.085 * (bulge * (2.0 - bulge)).sqrt() * (1.0 - self.depth * (tooth - tooth.floor())), 1.4, 13.0)
            }
            _ => {
                // Holly: hollows between sharp spines.
                let phase = self.count * t;
                let place = (phase - phase.floor() - 0.5).abs() * 2.0; // 1 on a spine, 0 in a hollow
                let body = 0.27 * (bulge * (2.0 - bulge)).sqrt();
                (body * (1.0 - self.depth * 1.3 * (1.0 - place * place * place)), 0.6, self.count)
            }
        };
        let inside = if (0.0..=1.0).contains(&y) { half - lateral } else { -(y - t).abs() - lateral };
        let phase = veins * (y - lateral * slope) + 0.35;
        let near = (phase - phase.floor() - 0.5).abs() / veins;
        let thin = (0.010 - 0.02 * lateral).max(0.003);
        let secondary = 0.75 * (1.0 - smooth_step(thin * 0.4, thin * 1.6, near));
        let midrib = 1.0 - smooth_step(0.3, 1.0, lateral / (0.014 * (1.25 - t)));
        LeafPoint { inside, vein: midrib.max(secondary), along: 0.0, across: 0.0, is_stalk: false }
    }

    /// Maple: five pointed lobes around the base, a vein to the tip of each.
    fn palmate(&self, x: f32, y: f32) -> LeafPoint {
        let (dx, dy) = (x, y - 0.12);
        let radius = (dx * dx + dy * dy).sqrt();
        let turn = angle(dx, dy); // 0 towards the tip, ±0.5 towards the stalk
        let centers = [0.0, 0.145, -0.145, 0.31, -0.31];
        let lengths = [0.86, 0.74, 0.74, 0.44, 0.44];
        let (mut outline, mut vein) = (0.10f32, 0.0f32);
        for (center, length) in centers.iter().zip(lengths) {
            let off = (turn - center).abs();
            let open = 0.088;
            // Pointed at its tip, with a tooth on each flank.
            let tooth = 0.10 * (0.5 + 0.5 * cosine(off / open * 1.6));
            let lobe = length * (1.0 - (off / open).min(1.6) * (0.55 + self.depth * 0.5)) + tooth * length * 0.5;
            outline = outline.max(lobe);
            let reach = smooth_step(length * 0.98, length * 0.7, radius);
            let distance = off * std::f32::consts::TAU * radius;
            vein = vein.max(reach * (1.0 - smooth_step(0.004, 0.014, distance)));
            let side = (radius * 9.0 - off * 14.0).fract().abs();
            let branch = (1.0 - smooth_step(0.03, 0.09, (side - 0.5).abs())) * smooth_step(open, 0.0, off);
            vein = vein.max(0.45 * branch * reach);
        }
        let notch = if turn.abs() > 0.43 { (turn.abs() - 0.43) * 3.0 } else { 0.0 };
        LeafPoint { inside: (outline - notch).max(0.02) - radius, vein, along: 0.0, across: 0.0, is_stalk: false }
    }

    /// Ginkgo: a fan from the base with a wavy edge and a cleft, veins that fork outwards.
    fn fan(&self, x: f32, y: f32) -> LeafPoint {
        let (dx, dy) = (x * 1.15, y - 0.08);
        let radius = (dx * dx + dy * dy).sqrt();
        let turn = angle(dx, dy);
        let waves = self.depth * (sine(turn * 9.0 * self.count) + 0.5 * sine(turn * 23.0));
        let cleft = 0.34 * smooth_step(0.022, 0.0, (turn - self.asymmetry * 0.2).abs());
        let rim = (0.78 + waves - cleft) * (1.0 - 1.2 * turn * turn);
        let flank = (0.19 - turn.abs()) * std::f32::consts::TAU * radius;
        let inside = (rim - radius).min(flank);
        // The number of veins doubles with the distance from the base.
        let fork = |count: f32| {
            let phase = turn * count;
            (1.0 - smooth_step(0.08, 0.3, (phase - phase.floor() - 0.5).abs())) * 0.7
        };
        let far = smooth_step(0.3, 0.45, radius);
        let vein = fork(70.0) * (1.0 - far) + fork(140.0) * far;
        LeafPoint { inside, vein, along: 0.0, across: 0.0, is_stalk: false }
    }
}
