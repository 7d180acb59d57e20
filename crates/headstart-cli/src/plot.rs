//! Range tests as a picture.

use std::convert::Infallible;
use std::path::Path;

use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::{FONT_9X15, FONT_10X20};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::{DrawTarget, Drawable, OriginDimensions, Pixel, Point, Primitive, RgbColor, Size};
use embedded_graphics::primitives::{Circle, Line, PrimitiveStyle};
use embedded_graphics::text::{Alignment, Text};
use headstart::rate_finder::RateCurve;
use image::{Rgb, RgbImage};

use crate::curve;

const WIDTH: u32 = 900;
const HEIGHT: u32 = 560;
/// Of the axes: left, top, right, bottom.
const FRAME: [i32; 4] = [90, 60, 870, 480];
const GREY: Rgb888 = Rgb888::new(225, 225, 225);
/// One a phase: blue, orange, green, told apart by colour-blind readers too (Okabe and Ito 2008).
const COLORS: [Rgb888; 3] = [Rgb888::new(0, 114, 178), Rgb888::new(213, 94, 0), Rgb888::new(0, 158, 115)];

/// Draws all curves into one PNG, written atomically.
///
/// # Errors
/// [`headstart::Error::Io`] when the file cannot be written.
pub(crate) fn write(curves: &[RateCurve], path: &Path) -> headstart::Result<()> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let failed = |source| headstart::Error::Io { action: "write", path: path.to_owned(), source };
    draw(curves).write_to(&mut bytes, image::ImageFormat::Png).map_err(|error| failed(std::io::Error::other(error)))?;
    headstart::publish_file(path, &bytes.into_inner())
}

fn draw(curves: &[RateCurve]) -> RgbImage {
    let mut canvas = Canvas(RgbImage::from_pixel(WIDTH, HEIGHT, Rgb([255; 3])));
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let ranges: Vec<(f64, f64)> = curves.iter().filter_map(|curve| curve::range(&curve.points)).collect();
    let rates = (
        points().map(|point| point.rate.log10()).fold(f64::INFINITY, f64::min),
        points().map(|point| point.rate.log10()).fold(f64::NEG_INFINITY, f64::max),
    );
    let losses = (
        ranges.iter().map(|range| range.0).fold(f64::INFINITY, f64::min),
        ranges.iter().map(|range| range.1).fold(f64::NEG_INFINITY, f64::max),
    );
    canvas.text("loss (smoothed) over learning rate", Point::new(WIDTH as i32 / 2, 30), Alignment::Center, true);
    canvas.text("learning rate", Point::new(WIDTH as i32 / 2, 545), Alignment::Center, true);
    if !(rates.0.is_finite() && losses.0.is_finite()) {
        canvas.text("no loss was a number", Point::new(WIDTH as i32 / 2, 270), Alignment::Center, true);
        return canvas.0;
    }
    let axes =
        Axes { rates: (rates.0, rates.1.max(rates.0 + 1e-6)), losses: (losses.0, losses.1.max(losses.0 + 1e-9)) };
    canvas.grid(&axes);
    for (number, curve) in curves.iter().enumerate() {
        canvas.curve(&axes, number, curve);
    }
    canvas.0
}

/// What the frame shows: common logarithms of rates, and losses.
struct Axes {
    rates: (f64, f64),
    losses: (f64, f64),
}

impl Axes {
    fn x(&self, rate: f64) -> i32 {
        let part = (rate.log10() - self.rates.0) / (self.rates.1 - self.rates.0);
        FRAME[0] + (part.clamp(0.0, 1.0) * f64::from(FRAME[2] - FRAME[0])).round() as i32
    }

    fn y(&self, loss: f64) -> i32 {
        let part = (loss - self.losses.0) / (self.losses.1 - self.losses.0);
        FRAME[3] - (part.clamp(0.0, 1.0) * f64::from(FRAME[3] - FRAME[1])).round() as i32
    }
}

pub(crate) struct Canvas(pub(crate) RgbImage);

impl Canvas {
    /// Decades, five levels of loss, and the frame.
    fn grid(&mut self, axes: &Axes) {
        for decade in axes.rates.0.ceil() as i32..=axes.rates.1.floor() as i32 {
            let x = axes.x(10f64.powi(decade));
            self.line(Point::new(x, FRAME[1]), Point::new(x, FRAME[3]), GREY, 1);
            self.text(&format!("1e{decade}"), Point::new(x, FRAME[3] + 22), Alignment::Center, false);
        }
        for level in 0..=4 {
            let loss = axes.losses.0 + (axes.losses.1 - axes.losses.0) * f64::from(level) / 4.0;
            let y = axes.y(loss);
            self.line(Point::new(FRAME[0], y), Point::new(FRAME[2], y), GREY, 1);
            self.text(&format!("{loss:.3}"), Point::new(FRAME[0] - 8, y + 5), Alignment::Right, false);
        }
        let [left, top, right, bottom] = FRAME;
        self.line(Point::new(left, top), Point::new(left, bottom), Rgb888::BLACK, 1);
        self.line(Point::new(left, bottom), Point::new(right, bottom), Rgb888::BLACK, 1);
    }

    fn curve(&mut self, axes: &Axes, number: usize, curve: &RateCurve) {
        let color = COLORS[number % COLORS.len()];
        for pair in curve.points.windows(2) {
            let place = |index: usize| Point::new(axes.x(pair[index].rate), axes.y(pair[index].smoothed));
            self.line(place(0), place(1), color, 3);
        }
        let name = match curve.freeze.as_str() {
            "all" => "backbone frozen".to_owned(),
            "none" => "nothing frozen".to_owned(),
            stage => format!("frozen up to {stage}"),
        };
        let told = |rate: Option<f64>| rate.map_or_else(|| "none".to_owned(), |rate| format!("{rate:.1e}"));
        let legend =
            format!("phase {} ({name}): valley {}, steepest {}", curve.phase, told(curve.valley), told(curve.steepest));
        let y = FRAME[1] + 20 + 24 * number as i32;
        self.line(Point::new(FRAME[2] - 560, y - 5), Point::new(FRAME[2] - 530, y - 5), color, 3);
        self.text(&legend, Point::new(FRAME[2] - 520, y), Alignment::Left, false);
        for rate in curve.valley.iter().chain(&curve.steepest) {
            if let Some(point) = curve.points.iter().find(|point| point.rate == *rate) {
                let center = Point::new(axes.x(*rate), axes.y(point.smoothed));
                let Ok(()) = Circle::with_center(center, 13).into_styled(PrimitiveStyle::with_fill(color)).draw(self);
            }
        }
    }

    fn line(&mut self, from: Point, to: Point, color: Rgb888, width: u32) {
        let Ok(()) = Line::new(from, to).into_styled(PrimitiveStyle::with_stroke(color, width)).draw(self);
    }

    fn text(&mut self, text: &str, at: Point, alignment: Alignment, large: bool) {
        let style = MonoTextStyle::new(if large { &FONT_10X20 } else { &FONT_9X15 }, Rgb888::BLACK);
        let Ok(_) = Text::with_alignment(text, at, style, alignment).draw(self);
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(point, color) in pixels {
            if let (Ok(x), Ok(y)) = (u32::try_from(point.x), u32::try_from(point.y))
                && let Some(pixel) = self.0.get_pixel_mut_checked(x, y)
            {
                *pixel = Rgb([color.r(), color.g(), color.b()]);
            }
        }
        Ok(())
    }
}
