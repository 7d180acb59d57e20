//! Found objects drawn on their picture, and many pictures on one sheet.

use embedded_graphics::mono_font::ascii::{FONT_6X10, FONT_9X15};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle, MonoTextStyleBuilder};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::{Drawable, Point, Primitive, RgbColor, Size};
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use headstart::bundle::detect::FoundObject;
use image::imageops::FilterType;
use image::{Rgb, RgbImage};

use crate::plot::Canvas;

/// One a class, told apart by colour-blind readers too (Okabe and Ito 2008); the first again after the last.
const COLORS: [Rgb888; 7] = [
    Rgb888::new(230, 159, 0),
    Rgb888::new(86, 180, 233),
    Rgb888::new(0, 158, 115),
    Rgb888::new(240, 228, 66),
    Rgb888::new(0, 114, 178),
    Rgb888::new(213, 94, 0),
    Rgb888::new(204, 121, 167),
];

/// Side of a picture on a contact sheet, and most pictures in a row of it.
const TILE: u32 = 240;
const COLUMNS: u32 = 5;
/// Most pictures of a sheet.
pub(crate) const MOST_ON_SHEET: usize = 60;

/// The picture with a box and a label for each object, the surest on top.
pub(crate) fn draw(picture: RgbImage, objects: &[FoundObject]) -> RgbImage {
    let longest = picture.width().max(picture.height());
    let (stroke, font): (u32, &MonoFont<'_>) =
        if longest < 500 { (1, &FONT_6X10) } else { (1 + longest / 600, &FONT_9X15) };
    let mut canvas = Canvas(picture);
    for object in objects.iter().rev() {
        let color = COLORS[object.class % COLORS.len()];
        let [left, top, width, height] = object.place.map(|value| value.round() as i32);
        let corner = Point::new(left, top);
        let size = Size::new(width.max(1) as u32, height.max(1) as u32);
        let Ok(()) =
            Rectangle::new(corner, size).into_styled(PrimitiveStyle::with_stroke(color, stroke)).draw(&mut canvas);
        let text = format!("{} {:.0}", object.label, object.score * 100.0);
        let style: MonoTextStyle<'_, Rgb888> =
            MonoTextStyleBuilder::new().font(font).text_color(Rgb888::BLACK).background_color(color).build();
        let above = top - font.character_size.height as i32;
        let at = Point::new(left.max(0), if above >= 0 { above } else { top.max(0) });
        let Ok(_) = Text::with_baseline(&text, at, style, Baseline::Top).draw(&mut canvas);
    }
    canvas.0
}

/// Pictures side by side, each as large as fits into its place.
pub(crate) fn contact_sheet(pictures: &[RgbImage]) -> RgbImage {
    let columns = COLUMNS.min(pictures.len() as u32).max(1);
    let rows = (pictures.len() as u32).div_ceil(columns).max(1);
    let mut sheet = RgbImage::from_pixel(columns * TILE, rows * TILE, Rgb([32; 3]));
    for (index, picture) in pictures.iter().enumerate() {
        let small = thumbnail(picture);
        let (column, row) = (index as u32 % columns, index as u32 / columns);
        let (x, y) = (column * TILE + (TILE - small.width()) / 2, row * TILE + (TILE - small.height()) / 2);
        image::imageops::replace(&mut sheet, &small, i64::from(x), i64::from(y));
    }
    sheet
}

/// A picture as small as it is on a sheet.
pub(crate) fn thumbnail(picture: &RgbImage) -> RgbImage {
    let most = TILE - 8;
    let scale = (f64::from(most) / f64::from(picture.width().max(picture.height()))).min(1.0);
    let side = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
    image::imageops::resize(picture, side(picture.width()), side(picture.height()), FilterType::Triangle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_drawn_where_the_objects_are_and_a_box_beyond_the_picture_does_no_harm() {
        let object = |place| FoundObject { label: "cell".to_owned(), class: 0, score: 0.9, place };
        let drawn =
            draw(RgbImage::new(100, 80), &[object([20.0, 30.0, 40.0, 25.0]), object([-9.0, -9.0, 500.0, 500.0])]);
        assert_eq!(drawn.get_pixel(20, 50).0, [230, 159, 0]);
        assert_eq!(drawn.get_pixel(40, 42).0, [0, 0, 0]);
        assert_eq!(contact_sheet(&[]).dimensions(), (TILE, TILE));
        assert_eq!(contact_sheet(&vec![thumbnail(&drawn); 7]).dimensions(), (5 * TILE, 2 * TILE));
    }
}
