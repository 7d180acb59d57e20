//! Writes a sheet of leaf pictures: `cargo run --release -p headstart-data --example leaf_contact_sheet SHEET.jpg`.

use headstart_data::synthetic::leaves::{Species, leaf};
use image::codecs::jpeg::JpegEncoder;

const SIDE: u32 = 112;
const COLUMNS: u32 = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("name the file to write")?;
    let mut sheet = image::RgbImage::new(COLUMNS * SIDE, Species::ALL.len() as u32 * SIDE);
    for (row, species) in Species::ALL.into_iter().enumerate() {
        for column in 0..COLUMNS {
            let picture = leaf(species, 500 + u64::from(column), SIDE);
            image::imageops::replace(&mut sheet, &picture, i64::from(column * SIDE), row as i64 * i64::from(SIDE));
        }
    }
    let mut bytes = Vec::new();
    sheet.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 82))?;
    std::fs::write(path, bytes)?;
    Ok(())
}
