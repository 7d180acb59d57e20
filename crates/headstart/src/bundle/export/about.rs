//! What an export says of itself beside the weights: classes, preprocessing, origin, and how to use it.

use headstart_data::preprocess::{Preprocess, ResizeRule};
use serde::Serialize;

use crate::bundle::Manifest;
use crate::recipe::Output;

/// Plain data for the metadata of every format.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct About {
    pub(crate) written_by: String,
    pub(crate) task: String,
    /// Class names in the order of the outputs.
    pub(crate) labels: Vec<String>,
    /// What the numbers are that come out.
    pub(crate) output: String,
    /// Architecture and size.
    pub(crate) backbone: String,
    /// Where the pretrained weights came from.
    pub(crate) source: String,
    pub(crate) licence: Option<String>,
    pub(crate) input: Input,
}

/// What goes in.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Input {
    pub(crate) height: u32,
    pub(crate) width: u32,
    /// Layout and range of the numbers.
    pub(crate) values: &'static str,
    /// How a photo is brought to that size.
    pub(crate) resize: String,
    /// What the model does to the values itself.
    pub(crate) preprocess: Preprocess,
}

impl About {
    pub(crate) fn of(manifest: &Manifest, preprocess: &Preprocess) -> Self {
        let labels = &manifest.labels;
        let output = match (manifest.recipe.head.output, labels.as_slice()) {
            (Output::Softmax, _) => "the probability of each label".to_owned(),
            (Output::Sigmoid, [first, second]) => {
                format!("one number, the probability of `{second}`; that of `{first}` is the rest to 1")
            }
            (Output::Sigmoid, _) => "one probability".to_owned(),
            (Output::Sigmoids, _) => "the probability of each label by itself".to_owned(),
        };
        Self {
            written_by: manifest.written_by.clone(),
            task: manifest.task.clone(),
            labels: labels.clone(),
            output,
            backbone: format!("{}:{}", manifest.backbone.name, manifest.backbone.variant),
            source: manifest.backbone.source.clone(),
            licence: manifest.backbone.licence.clone(),
            input: Input {
                height: preprocess.height,
                width: preprocess.width,
                values: "[batch, height, width, 3], RGB, 0 to 255; the model normalizes them itself",
                resize: resize(preprocess),
                preprocess: preprocess.clone(),
            },
        }
    }

    /// One JSON object.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }

    /// Lines of Python that turn a photo into `x`, `[1, H, W, 3]`, with Pillow and NumPy as `np`: to the pixel what the bundle
    /// does, but for the rounding of 8-bit values.
    pub(crate) fn python_input(&self) -> String {
        let (width, height) = (self.input.width, self.input.height);
        let photo = "im = ImageOps.exif_transpose(Image.open(\"photo.jpg\")).convert(\"RGB\")";
        let resized = match self.input.preprocess.resize {
            ResizeRule::Squash => format!("im = im.resize(({width}, {height}), Image.BILINEAR)"),
            ResizeRule::CenterCrop { fraction } => {
                let short = short_side(width, height, fraction);
                format!(
                    "w, h = ({short} * side // min(im.size) for side in im.size)\nleft, top = round((w - {width}) / 2), round((h - {height}) / 2)\nim = im.resize((w, h), Image.BILINEAR).crop((left, top, left + {width}, top + {height}))"
                )
            }
        };
        format!("{photo}\n{resized}\nx = np.asarray(im, np.float32)[None]")
    }

    /// A page for whoever finds the export: what goes in, what comes out, how to run it.
    pub(crate) fn readme(&self, usage: &str) -> String {
        format!(
            "{}, {} with weights from {} (licence: {}), written by {}\n\nIn: {}, {} × {} pixels.\nResize: {}.\nOut: {}.\nLabels: {}\n\n{usage}",
            self.task,
            self.backbone,
            self.source,
            self.licence.as_deref().unwrap_or("not stated"),
            self.written_by,
            self.input.values,
            self.input.width,
            self.input.height,
            self.input.resize,
            self.output,
            self.labels.join(", "),
        )
    }
}

fn resize(preprocess: &Preprocess) -> String {
    let (width, height) = (preprocess.width, preprocess.height);
    match preprocess.resize {
        ResizeRule::Squash => {
            format!("the whole photo to {width} × {height}, bilinear with antialiasing, its shape changed if need be")
        }
        ResizeRule::CenterCrop { fraction } => {
            let short = short_side(width, height, fraction);
            format!("the short side to {short}, bilinear with antialiasing, then the centre of {width} × {height}")
        }
    }
}

/// Length of the short side before the centre is cut out.
fn short_side(width: u32, height: u32, fraction: f32) -> f32 {
    (width.min(height) as f32 / fraction).round()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_of_resizing_is_told_in_numbers() {
        assert!(resize(&Preprocess::torchvision(224)).contains("short side to 256"));
        let squashed = Preprocess { resize: ResizeRule::Squash, ..Preprocess::tensorflow(96) };
        assert!(resize(&squashed).contains("96 × 96"));
    }
}
