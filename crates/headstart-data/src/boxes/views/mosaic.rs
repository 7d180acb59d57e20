//! Four samples as one (Bochkovskiy et al. 2020, arXiv 2004.10934).

use ::image::RgbImage;

use super::{Placement, Sample, placed};
use crate::boxes::BoundingBox;
use crate::image::{Region, resize_region};

/// Four samples round a point: left above, right above, left below, right below.
///
/// Each keeps its shape, is as small as covers its quarter, and touches the point with its corner; what lies beyond the quarter
/// is cut off. Objects of whose area less than `visible`, a part from 0 to 1, is left go. A point on a side of the view leaves
/// two quarters empty.
pub fn mosaic(samples: [&Sample; 4], width: u32, height: u32, middle: (u32, u32), visible: f64) -> Sample {
    let (x, y) = (middle.0.min(width), middle.1.min(height));
    let mut view = Sample { picture: RgbImage::new(width, height), objects: Vec::new() };
    let quarters = [(0, 0, x, y), (x, 0, width - x, y), (0, y, x, height - y), (x, y, width - x, height - y)];
    for (index, (sample, (left, top, wide, high))) in samples.into_iter().zip(quarters).enumerate() {
        if wide == 0 || high == 0 {
            continue;
        }
        let (full_width, full_height) = (f64::from(sample.picture.width()), f64::from(sample.picture.height()));
        let (quarter_width, quarter_height) = (f64::from(wide), f64::from(high));
        let scale = (quarter_width / full_width).max(quarter_height / full_height);
        let (shown_width, shown_height) =
            ((quarter_width / scale).min(full_width), (quarter_height / scale).min(full_height));
        // The corner at the point: on the right of what lies left of it, and so on.
        let from_x = if index % 2 == 0 { full_width - shown_width } else { 0.0 };
        let from_y = if index < 2 { full_height - shown_height } else { 0.0 };
        let region = Region { left: from_x, top: from_y, right: from_x + shown_width, bottom: from_y + shown_height };
        let part = resize_region(&sample.picture, region, wide, high);
        ::image::imageops::replace(&mut view.picture, &part, i64::from(left), i64::from(top));
        let stretch = [quarter_width / shown_width, quarter_height / shown_height];
        let (left, top) = (f64::from(left), f64::from(top));
        let placement = Placement { scale: stretch, offset: [left - from_x * stretch[0], top - from_y * stretch[1]] };
        let window = BoundingBox::new(left, top, left + quarter_width, top + quarter_height);
        view.objects.extend(sample.objects.iter().filter_map(|object| placed(object, &placement, &window, visible)));
    }
    view
}
