//! Pictures of six kinds of leaves that a person tells apart by shape and veins, not by colour.

use std::path::{Path, PathBuf};

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;

use super::leaf_scene::photograph;
use super::noise::Draws;
use crate::error::DataError;

/// The six kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Species {
    /// Round lobes.
    Oak,
    /// Pointed lobes around one place.
    Maple,
    /// A triangle with small teeth.
    Birch,
    /// Long and narrow.
    Willow,
    /// A fan.
    Ginkgo,
    /// Spines and hollows.
    Holly,
}

impl Species {
    /// All six.
    pub const ALL: [Self; 6] = [Self::Oak, Self::Maple, Self::Birch, Self::Willow, Self::Ginkgo, Self::Holly];

    /// Name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Oak => "oak",
            Self::Maple => "maple",
            Self::Birch => "birch",
            Self::Willow => "willow",
            Self::Ginkgo => "ginkgo",
            Self::Holly => "holly",
        }
    }
}

/// The picture number `seed` of a species, `size` × `size` pixels; the same bytes on every machine.
pub fn leaf(species: Species, seed: u64, size: u32) -> RgbImage {
    let mut draws = Draws::new(seed.wrapping_mul(6).wrapping_add(species as u64));
    // The first draws of neighbouring seeds are alike; these are thrown away.
    for _ in 0..4 {
        draws.bits();
    }
    photograph(species, &mut draws, size)
}

/// Writes `per_class` JPEG pictures of each species to `folder/<species>/<species>_0001.jpg`…, the seeds from `seed` on.
///
/// # Errors
/// [`DataError::Io`] when a file cannot be written.
pub fn write_data_set(folder: &Path, per_class: usize, size: u32, seed: u64) -> Result<Vec<PathBuf>, DataError> {
    use rayon::prelude::*;
    let jobs: Vec<(Species, u64)> = Species::ALL
        .into_iter()
        .flat_map(|species| (0..per_class as u64).map(move |number| (species, number)))
        .collect();
    for species in Species::ALL {
        let path = folder.join(species.name());
        std::fs::create_dir_all(&path).map_err(|source| DataError::Io { path, source })?;
    }
    jobs.into_par_iter()
        .map(|(species, number)| {
            let path = folder.join(species.name()).join(format!("{}_{:04}.jpg", species.name(), number + 1));
            let failed = |source| DataError::Io { path: path.clone(), source };
            let mut bytes = Vec::new();
            leaf(species, seed + number, size)
                .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 90))
                .map_err(|error| failed(std::io::Error::other(error)))?;
            std::fs::write(&path, bytes).map_err(failed)?;
            Ok(path)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pictures_never_change() {
        let mut hasher = blake3::Hasher::new();
        for species in Species::ALL {
            hasher.update(leaf(species, 7, 48).as_raw());
        }
        assert_eq!(&hasher.finalize().to_hex()[..16], PINNED);
    }

    const PINNED: &str = "ad570d17a058606a";

    #[test]
    fn other_seeds_and_species_give_other_pictures() {
        assert_ne!(leaf(Species::Oak, 1, 32), leaf(Species::Oak, 2, 32));
        assert_ne!(leaf(Species::Oak, 1, 32), leaf(Species::Holly, 1, 32));
    }

    #[test]
    fn mean_colour_does_not_tell_the_species() {
        let mean = |species, seed| -> [f64; 3] {
            let picture = leaf(species, seed, 24);
            let mut sum = [0.0; 3];
            picture.pixels().for_each(|pixel| (0..3).for_each(|i| sum[i] += f64::from(pixel.0[i])));
            sum.map(|value| value / f64::from(24 * 24))
        };
        let centroids: Vec<[f64; 3]> = Species::ALL
            .iter()
            .map(|&species| {
                let mut sum = [0.0; 3];
                (0..30).for_each(|seed| (0..3).for_each(|i| sum[i] += mean(species, seed)[i] / 30.0));
                sum
            })
            .collect();
        let mut right = 0;
        for (index, &species) in Species::ALL.iter().enumerate() {
            for seed in 100..130 {
                let found = mean(species, seed);
                let distance = |c: &[f64; 3]| (0..3).map(|i| (c[i] - found[i]).powi(2)).sum::<f64>();
                let nearest = (0..6).min_by(|&a, &b| distance(&centroids[a]).total_cmp(&distance(&centroids[b])));
                right += usize::from(nearest == Some(index));
            }
        }
        assert!(right < 180 * 45 / 100, "{right} of 180 by colour alone");
    }

    #[test]
    fn a_data_set_is_written_as_stated_and_can_be_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let paths = write_data_set(folder.path(), 2, 16, 5).unwrap();
        assert_eq!(paths.len(), 12);
        assert!(folder.path().join("ginkgo/ginkgo_0002.jpg").exists());
        let first = std::fs::read(&paths[3]).unwrap();
        let again = tempfile::tempdir().unwrap();
        let paths = write_data_set(again.path(), 2, 16, 5).unwrap();
        assert_eq!(std::fs::read(&paths[3]).unwrap(), first);
    }
}
