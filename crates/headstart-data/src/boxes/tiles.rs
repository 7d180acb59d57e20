//! Large pictures in overlapping tiles, and the detections of all tiles as those of one picture.

use super::suppression::{Detection, suppress};
use super::{BoundingBox, Coordinate};

/// A grid of tiles of one size, each `tile` square or as large as the picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileGrid {
    /// Width and height of the picture.
    size: (u32, u32),
    /// Width and height of each tile.
    tile: (u32, u32),
    /// Left sides of the columns, and top sides of the rows.
    starts: (Vec<u32>, Vec<u32>),
    overlap: u32,
}

impl TileGrid {
    /// Tiles of `tile` pixels that overlap by at least `overlap` pixels and cover the picture; the last of a row ends where
    /// the picture does, the others lie evenly before it.
    ///
    /// An overlap of as much as a tile or more is one less than the tile.
    pub fn new(width: u32, height: u32, tile: u32, overlap: u32) -> Self {
        let tile = tile.max(1);
        let overlap = overlap.min(tile - 1);
        let starts = |length: u32| -> Vec<u32> {
            if length <= tile {
                return vec![0];
            }
            let last = length - tile;
            let count = last.div_ceil(tile - overlap);
            (0..=count).map(|index| (u64::from(last) * u64::from(index) / u64::from(count)) as u32).collect()
        };
        Self {
            size: (width, height),
            tile: (tile.min(width), tile.min(height)),
            starts: (starts(width), starts(height)),
            overlap,
        }
    }

    /// The tiles in pixels of the picture, row by row.
    pub fn tiles(&self) -> impl Iterator<Item = BoundingBox> + '_ {
        let (width, height) = (f64::from(self.tile.0), f64::from(self.tile.1));
        self.starts.1.iter().flat_map(move |top| {
            self.starts.0.iter().map(move |left| {
                let (left, top) = (f64::from(*left), f64::from(*top));
                BoundingBox::new(left, top, left + width, top + height)
            })
        })
    }

    /// Number of tiles.
    pub fn count(&self) -> usize {
        self.starts.0.len() * self.starts.1.len()
    }

    /// Detections of all tiles, in the order of [`tiles`](Self::tiles) and in pixels of each, as detections of the picture.
    ///
    /// Those that end at a side where the picture goes on are parts of objects: such a part goes if most of it lies in a
    /// better detection of its class that another tile saw whole; what is left is suppressed by `threshold` as usual.
    /// `edge` is how near to the side, in pixels, counts as at it.
    pub fn merge<T: Coordinate>(&self, of_tiles: &[Vec<Detection<T>>], threshold: f64, edge: f64) -> Vec<Detection<T>> {
        let (width, height) = (f64::from(self.size.0), f64::from(self.size.1));
        let mut whole: Vec<Detection<T>> = Vec::new();
        let mut parts: Vec<Detection<T>> = Vec::new();
        for (tile, detections) in self.tiles().zip(of_tiles) {
            for detection in detections {
                let place = detection.place.moved(T::rounded(tile.left), T::rounded(tile.top));
                let [left, top, right, bottom] = place.sides().map(Into::<f64>::into);
                let is_cut = tile.left > 0.0 && left - tile.left <= edge
                    || tile.top > 0.0 && top - tile.top <= edge
                    || tile.right < width && tile.right - right <= edge
                    || tile.bottom < height && tile.bottom - bottom <= edge;
                let moved = Detection { place, ..*detection };
                if is_cut { parts.push(moved) } else { whole.push(moved) }
            }
        }
        let is_part_of = |part: &Detection<T>, other: &Detection<T>| {
            let within: f64 = super::overlap::part_within(&part.place, &other.place).into();
            part.class == other.class && within > 0.5
        };
        parts.retain(|part| !whole.iter().any(|other| is_part_of(part, other)));
        // What was seen whole comes first, so that of equal scores it stays.
        whole.extend(parts);
        suppress(&whole, threshold).into_iter().map(|index| whole[index]).collect()
    }

    /// Least pixels that neighbours share.
    pub fn overlap(&self) -> u32 {
        self.overlap
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tiles_cover_the_picture_and_overlap_enough(width in 1u32..3000, height in 1u32..700, tile in 1u32..640, overlap in 0u32..700) {
            // A tile of a few pixels would make a grid of millions.
            let tile = tile.max(width.max(height) / 40);
            let grid = TileGrid::new(width, height, tile, overlap.min(tile / 2));
            prop_assert_eq!(grid.tiles().count(), grid.count());
            for (starts, size, length) in [(&grid.starts.0, grid.tile.0, width), (&grid.starts.1, grid.tile.1, height)] {
                prop_assert_eq!((starts[0], starts[starts.len() - 1] + size), (0, length));
                for pair in starts.windows(2) {
                    prop_assert!(pair[0] < pair[1] && pair[1] + grid.overlap() <= pair[0] + size);
                }
            }
        }

        #[test]
        fn objects_smaller_than_the_overlap_are_found_once_each(
            cells in prop::collection::btree_set((0u32..12, 0u32..8), 1..20), side in 4u32..30,
        ) {
            // Objects in cells of 50 × 50 never touch each other.
            let (width, height) = (600, 400);
            let grid = TileGrid::new(width, height, 160, 32);
            let objects: Vec<BoundingBox> = cells
                .iter()
                .map(|(x, y)| {
                    let (left, top) = (f64::from(x * 50 + 7), f64::from(y * 50 + 5));
                    BoundingBox::new(left, top, left + f64::from(side), top + f64::from(side))
                })
                .collect();
            // A perfect detector sees in each tile what of each object is there.
            let seen: Vec<Vec<Detection>> = grid
                .tiles()
                .map(|tile| {
                    let parts = objects.iter().map(|object| object.intersection(&tile)).filter(BoundingBox::has_area);
                    parts.map(|part| Detection { place: part.moved(-tile.left, -tile.top), class: 0, score: 0.9 }).collect()
                })
                .collect();
            let mut found: Vec<BoundingBox> = grid.merge(&seen, 0.5, 1.0).iter().map(|detection| detection.place).collect();
            found.sort_by(|a, b| a.sides().partial_cmp(&b.sides()).unwrap());
            let mut expected = objects;
            expected.sort_by(|a, b| a.sides().partial_cmp(&b.sides()).unwrap());
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_small_picture_is_one_tile() {
        let grid = TileGrid::new(300, 200, 512, 64);
        assert_eq!(grid.tiles().collect::<Vec<_>>(), [BoundingBox::of_picture(300, 200)]);
        assert_eq!(TileGrid::new(3, 3, 0, 9).count(), 9);
    }
}
