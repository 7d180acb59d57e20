//! Boxes are painted, views are made, and the paint must be where the boxes say.

use ::image::Rgb;
use proptest::prelude::*;

use super::*;

const PAINT: [u8; 3] = [255, 255, 255];

/// A black picture with one painted box at whole pixels.
fn painted(width: u32, height: u32, sides: [u32; 4]) -> Sample {
    let [left, top, right, bottom] = sides;
    let picture = RgbImage::from_fn(width, height, |x, y| {
        Rgb(if (left..right).contains(&x) && (top..bottom).contains(&y) { PAINT } else { [0; 3] })
    });
    let [a, b, c, d] = sides.map(f64::from);
    Sample { picture, objects: vec![Object::new(3, BoundingBox::new(a, b, c, d))] }
}

/// Pictures with a box of at least one pixel.
fn samples() -> impl Strategy<Value = Sample> {
    (8u32..60, 8u32..60).prop_flat_map(|(width, height)| {
        let side = |length: u32| (0..length - 1).prop_flat_map(move |low| (Just(low), low + 1..=length));
        (side(width), side(height))
            .prop_map(move |((left, right), (top, bottom))| painted(width, height, [left, top, right, bottom]))
    })
}

/// Pixels whose middle lies farther than `blur` within a box are painted, those farther outside of all are not.
fn assert_painted(sample: &Sample, blur: [f64; 2]) -> Result<(), TestCaseError> {
    assert_painted_within(sample, blur, 0.0)
}

/// As [`assert_painted`], for pixels whose middle is at least `margin` from the sides of the picture.
fn assert_painted_within(sample: &Sample, blur: [f64; 2], margin: f64) -> Result<(), TestCaseError> {
    let whole = BoundingBox::of_picture(sample.picture.width(), sample.picture.height());
    for (x, y, pixel) in sample.picture.enumerate_pixels() {
        let (x, y) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
        if x.min(whole.right - x).min(y).min(whole.bottom - y) < margin {
            continue;
        }
        let depth = |place: &BoundingBox| {
            let across = (x - place.left).min(place.right - x) / blur[0];
            let down = (y - place.top).min(place.bottom - y) / blur[1];
            across.min(down)
        };
        let deepest = sample.objects.iter().map(|object| depth(&object.place)).fold(f64::NEG_INFINITY, f64::max);
        let level = i32::from(pixel.0[0]);
        if deepest > 1.0 {
            prop_assert!(level >= 250, "{} at {}, {} within {:?}", level, x, y, sample.objects);
        } else if deepest < -1.0 {
            prop_assert!(level <= 5, "{} at {}, {} outside of {:?}", level, x, y, sample.objects);
        }
    }
    Ok(())
}

/// How far a triangle filter spreads an edge, in pixels of the view: one pixel of the picture or of the view, the larger.
fn spread(scale: f64) -> f64 {
    1.01 * scale.max(1.0) + 0.01
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn mirrors_carry_boxes_exactly_and_undo_themselves(sample in samples()) {
        for (once, twice) in [
            (sample.mirrored(), sample.mirrored().mirrored()),
            (sample.upside_down(), sample.upside_down().upside_down()),
        ] {
            // Middles of pixels are half a pixel from any side.
            assert_painted(&once, [0.25, 0.25])?;
            prop_assert_eq!(&twice, &sample);
        }
    }

    #[test]
    fn crops_carry_boxes_exactly(sample in samples(), x in 0.0f64..1.0, y in 0.0f64..1.0, w in 0.1f64..1.0, h in 0.1f64..1.0, visible in 0.0f64..1.0) {
        let (width, height) = sample.picture.dimensions();
        let at = |part: f64, length: u32| (part * f64::from(length - 1)) as u32;
        let (left, top) = (at(x, width), at(y, height));
        let (wide, high) = (1 + at(w, width - left), 1 + at(h, height - top));
        let whole = sample.cropped(left, top, wide, high, 0.0);
        assert_painted(&whole, [0.25, 0.25])?;
        // The part that is left, counted in painted pixels.
        let count = |picture: &RgbImage| picture.pixels().filter(|pixel| pixel.0 == PAINT).count() as f64;
        let part = count(&whole.picture) / count(&sample.picture);
        prop_assert_eq!(whole.objects.len(), usize::from(part > 0.0));
        if (part - visible).abs() > 1e-9 {
            prop_assert_eq!(sample.cropped(left, top, wide, high, visible).objects.len(), usize::from(part > 0.0 && part > visible));
        }
        if let Some(object) = whole.objects.first() {
            prop_assert_eq!((object.class, object.is_truncated), (3, part < 1.0));
        }
    }

    #[test]
    fn resizing_carries_boxes(sample in samples(), width in 4u32..90, height in 4u32..90) {
        let (from_width, from_height) = sample.picture.dimensions();
        let blur = [spread(f64::from(width) / f64::from(from_width)), spread(f64::from(height) / f64::from(from_height))];
        assert_painted(&sample.resized(width, height), blur)?;
        let boxed = sample.letterboxed(width, height, [0; 3]);
        prop_assert_eq!(boxed.picture.dimensions(), (width, height));
        let placement = Placement::letterbox(sample.picture.dimensions(), (width, height));
        assert_painted(&boxed, placement.scale.map(spread))?;
        let (place, original) = (boxed.objects[0].place, sample.objects[0].place);
        let near = |a: BoundingBox, b: BoundingBox| a.sides().iter().zip(b.sides()).all(|(a, b)| (a - b).abs() < 1e-9);
        prop_assert!(near(placement.forward(&original), place) && near(placement.back(&place), original));
        prop_assert!(BoundingBox::of_picture(width, height).hull(&place).area() <= f64::from(width) * f64::from(height) + 1e-6);
    }

    #[test]
    fn four_as_one_carry_their_boxes(four in [samples(), samples(), samples(), samples()], x in 0u32..=60, y in 0u32..=44) {
        let whole = mosaic(four.each_ref(), 60, 44, (x, y), 0.0);
        prop_assert_eq!(whole.picture.dimensions(), (60, 44));
        // The largest stretch of the four.
        let stretch = four.iter().zip([(x, y), (60 - x, y), (x, 44 - y), (60 - x, 44 - y)]).map(|(sample, (wide, high))| {
            (f64::from(wide) / f64::from(sample.picture.width())).max(f64::from(high) / f64::from(sample.picture.height()))
        }).fold(0.0, f64::max);
        assert_painted_in_quarters(&whole, (x, y), spread(stretch))?;
        let strict = mosaic(four.each_ref(), 60, 44, (x, y), 0.5);
        prop_assert!(strict.objects.len() <= whole.objects.len());
        prop_assert_eq!(&strict.picture, &whole.picture);
    }

    #[test]
    fn drawn_views_are_a_function_of_their_seed_and_hold_their_boxes(four in [samples(), samples(), samples(), samples()], seed: u64) {
        let augmentation = BoxAugmentation { vertical_flip: true, ..BoxAugmentation::photos() };
        let view = augmentation.view(&four[0], 48, 32, seed);
        prop_assert_eq!(&augmentation.view(&four[0], 48, 32, seed), &view);
        let whole = augmentation.mosaic_view(four.each_ref(), 48, 32, seed);
        prop_assert_eq!(&augmentation.mosaic_view(four.each_ref(), 48, 32, seed), &whole);
        for object in view.objects.iter().chain(&whole.objects) {
            let [left, top, right, bottom] = object.place.sides();
            prop_assert!(object.place.has_area() && left >= -1e-9 && top >= -1e-9 && right <= 48.0 + 1e-9 && bottom <= 32.0 + 1e-9);
        }
        prop_assert_eq!(BoxAugmentation::none().view(&four[0], 48, 32, seed), four[0].letterboxed(48, 32, [114; 3]));
    }
}

/// As [`assert_painted`], each quarter by its own boxes. Near its sides there may be paint of what is cut off: the filter sees a
/// little of what lies beyond.
fn assert_painted_in_quarters(sample: &Sample, (x, y): (u32, u32), blur: f64) -> Result<(), TestCaseError> {
    let (width, height) = sample.picture.dimensions();
    for (left, top, wide, high) in
        [(0, 0, x, y), (x, 0, width - x, y), (0, y, x, height - y), (x, y, width - x, height - y)]
    {
        if wide > 0 && high > 0 {
            let quarter =
                BoundingBox::new(f64::from(left), f64::from(top), f64::from(left + wide), f64::from(top + high));
            let inside = |object: &Object| {
                object.place.intersection(&quarter).area() > 0.99 * object.place.area()
                    && object.place.intersection(&quarter).has_area()
            };
            let picture = ::image::imageops::crop_imm(&sample.picture, left, top, wide, high).to_image();
            let own = sample.objects.iter().filter(|object| inside(object));
            let objects = own
                .map(|object| Object { place: object.place.moved(-quarter.left, -quarter.top), ..*object })
                .collect();
            assert_painted_within(&Sample { picture, objects }, [blur, blur], blur)?;
        }
    }
    Ok(())
}

#[test]
fn the_area_of_an_outline_shrinks_with_its_box() {
    let mut sample = painted(20, 20, [0, 0, 10, 10]);
    sample.objects[0].area = Some(50.0);
    assert_eq!(sample.resized(40, 20).objects[0].area, Some(100.0));
    assert_eq!(sample.cropped(5, 0, 15, 20, 0.5).objects[0].area, Some(25.0));
    assert!(sample.cropped(6, 0, 14, 20, 0.5).objects.is_empty());
}
