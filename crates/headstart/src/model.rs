//! Model = backbone + head, and what of it is frozen.

use burn::module::{Module, ModuleDisplay};
use burn::tensor::{Device, Tensor};
use headstart_kernels::{Activation, Conv2d, Conv2dSpec, Layer, Network, Padding, PaddingRule, Precision, Shape};

use crate::backbones::{Backbone, map_layout};
use crate::error::{Error, Result};
use crate::features::{FeatureLayout, Features};
use crate::load::Pretrained;
use crate::name_map::Classifier;
use crate::nn::NormStatistics;
use crate::parameters::Parameters;
use crate::random::Stream;
use crate::recipe::{Arithmetic, Freeze, Pool};

/// What a task puts on a backbone.
pub trait Head: Module + ModuleDisplay {
    /// Features → outputs `[B, N]`; `noise` draws the dropout masks while training and is absent otherwise.
    fn forward(&self, features: Features, noise: Option<&mut Stream>) -> Tensor<2>;
}

/// The trainable form: the head, and the backbone where a stage of it learns.
#[derive(Module, Debug)]
pub struct Model<H: Head> {
    pub(crate) backbone: Option<Backbone>,
    pub(crate) head: H,
}

impl<H: Head> Model<H> {
    /// Features after `depth` stages (condensed, if those are all) → outputs `[B, N]`.
    pub(crate) fn forward(
        &self,
        depth: usize,
        features: Features,
        statistics: NormStatistics,
        mut noise: Option<&mut Stream>,
    ) -> Tensor<2> {
        let features = match &self.backbone {
            Some(Backbone::Transformer(network)) => network.resume_from(depth, features, noise.as_deref_mut()),
            Some(Backbone::DeepSpeech(network)) => network.resume_from(depth, features, noise.as_deref_mut()),
            Some(backbone) => backbone.resume_from(depth, features, statistics),
            None => features,
        };
        self.head.forward(features, noise)
    }
}

/// The frozen form of a whole backbone: every stage compiled to our kernels for one input size.
#[derive(Debug)]
pub struct FrozenBackbone {
    network: Network,
    /// Number of layers up to the end of each stage.
    ends: Vec<usize>,
    input: Shape,
    arithmetic: Arithmetic,
    /// The published classifier, where a head learns on its outputs.
    logits: Option<Logits>,
}

/// A published classifier as layers: a dense layer is a convolution that sees the whole map.
#[derive(Debug)]
struct Logits {
    network: Network,
    pool: Pool,
}

impl FrozenBackbone {
    /// Folds, packs and fuses all stages.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`] when the input is too small for the strides.
    pub fn new(pretrained: &Pretrained, parameters: &Parameters) -> Result<Self> {
        Self::with_arithmetic(pretrained, parameters, Arithmetic::F32)
    }

    /// [`FrozenBackbone::new`] in reduced precision.
    ///
    /// # Errors
    /// As there, and when this processor lacks the instructions.
    pub fn with_arithmetic(pretrained: &Pretrained, parameters: &Parameters, arithmetic: Arithmetic) -> Result<Self> {
        let preprocess = &pretrained.conventions.preprocess;
        let input = Shape { height: preprocess.height as usize, width: preprocess.width as usize, channels: 3 };
        let stages = (pretrained.spec.frozen)(pretrained.variant, parameters, &pretrained.conventions)?;
        let mut layers: Vec<Layer> = Vec::new();
        let mut ends = Vec::with_capacity(stages.len());
        for stage in stages {
            layers.extend(stage);
            ends.push(layers.len());
        }
        // One more than the stages need: the part of a pooling head that has no weights.
        layers.push(Layer::GlobalAveragePool);
        let precision = match arithmetic {
            Arithmetic::F32 => Precision::F32,
            Arithmetic::Bf16 => Precision::Bf16,
        };
        let network = Network::with_precision(input, layers, precision)?;
        let mut frozen = Self { network, ends, input, arithmetic, logits: None };
        if let Some(classifier) = &pretrained.classifier {
            let map = frozen.check_classifier(classifier, pretrained.spec.input_size)?;
            let network = Network::with_precision(map, dense_layers(classifier, map)?, precision)?;
            frozen.logits = Some(Logits { network, pool: classifier.pool });
        }
        Ok(frozen)
    }

    /// Number of stages.
    pub fn stage_count(&self) -> usize {
        self.ends.len()
    }

    /// Layout after `depth` stages, condensed by `pool` if those are all.
    pub fn layout(&self, depth: usize, pool: Pool) -> FeatureLayout {
        if let Some(logits) = self.logits(depth, pool) {
            return FeatureLayout::Vector { width: logits.network.shape_after(logits.network.layer_count()).channels };
        }
        let shape = self.network.shape_after(self.layer_end(depth, pool));
        if depth < self.stage_count() {
            return map_layout(shape);
        }
        FeatureLayout::Vector { width: shape.height * shape.width * shape.channels }
    }

    /// Runs `batch` preprocessed pictures `[B, H, W, 3]` through the first `depth` stages.
    ///
    /// Returns channels-last features, condensed by `pool` if `depth` is all stages. The result of a picture does not
    /// depend on the batch it is in or on `threads`.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`] when `input` has another length.
    pub fn forward(&self, input: &[f32], batch: usize, depth: usize, pool: Pool, threads: usize) -> Result<Vec<f32>> {
        if let Some(logits) = self.logits(depth, pool) {
            let features = self.forward(input, batch, depth, logits.pool, threads)?;
            let layers = logits.network.layer_count();
            let mut output = vec![0.0; batch * logits.network.shape_after(layers).channels];
            logits.network.forward(0..layers, &features, batch, &mut output, threads)?;
            return Ok(output);
        }
        let end = self.layer_end(depth, pool);
        if end == 0 {
            return Ok(input.to_vec());
        }
        let shape = self.network.shape_after(end);
        let mut output = vec![0.0; batch * shape.height * shape.width * shape.channels];
        self.network.forward(0..end, input, batch, &mut output, threads)?;
        Ok(output)
    }

    /// The output of every stage, averaged over its positions: one picture `[H, W, 3]` → the channels of all stages, one
    /// after the other.
    ///
    /// # Errors
    /// [`crate::Error::Kernel`] when `input` has another length.
    pub(crate) fn taps(&self, input: &[f32]) -> Result<Vec<f32>> {
        let (mut taps, mut map, mut begin) = (Vec::new(), input.to_vec(), 0);
        for &end in &self.ends {
            let shape = self.network.shape_after(end);
            let mut output = vec![0.0; shape.len()];
            self.network.forward(begin..end, &map, 1, &mut output, 1)?;
            let mut sums = vec![0.0f64; shape.channels];
            for pixel in output.chunks_exact(shape.channels) {
                sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            taps.extend(sums.iter().map(|sum| (sum / (shape.height * shape.width) as f64) as f32));
            (map, begin) = (output, end);
        }
        Ok(taps)
    }

    /// Shape after each stage.
    pub(crate) fn stage_shapes(&self) -> Vec<Shape> {
        self.ends.iter().map(|&end| self.network.shape_after(end)).collect()
    }

    /// Shape of one input picture.
    pub fn input(&self) -> Shape {
        self.input
    }

    pub(crate) fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
    }

    /// The map that a published classifier takes, if it does take what this input size gives.
    ///
    /// # Errors
    /// [`Error::Recipe`] naming the size that it was published for.
    pub(crate) fn check_classifier(&self, classifier: &Classifier, published: u32) -> Result<Shape> {
        let map = self.network.shape_after(self.layer_end(self.stage_count(), classifier.pool));
        let Shape { height, width, channels } = map;
        if classifier.inputs() == height * width * channels {
            return Ok(map);
        }
        let positions = classifier.inputs() / channels.max(1);
        Err(Error::Recipe {
            reason: format!(
                "the published classifier takes {positions} positions of {channels} channels, this input gives {height} × {width}"
            ),
            help: format!("leave out --size: the network was published for {published} pixels"),
        })
    }

    fn logits(&self, depth: usize, pool: Pool) -> Option<&Logits> {
        self.logits.as_ref().filter(|_| pool == Pool::Logits && depth == self.stage_count())
    }

    fn layer_end(&self, depth: usize, pool: Pool) -> usize {
        match depth {
            0 => 0,
            depth if depth == self.stage_count() && pool == Pool::Average => self.ends[depth - 1] + 1,
            depth => self.ends[depth - 1],
        }
    }
}

/// The layers of a classifier on maps of one shape: ReLU behind each but the last.
fn dense_layers(classifier: &Classifier, map: Shape) -> Result<Vec<Layer>> {
    let mut shape = map;
    let mut layers = Vec::new();
    for name in classifier.layers() {
        let weight = classifier.parameters.find(&format!("{name}.weight"))?;
        let bias = &classifier.parameters.find(&format!("{name}.bias"))?.values;
        let spec = Conv2dSpec {
            in_channels: shape.channels,
            out_channels: bias.len(),
            kernel: [shape.height, shape.width],
            stride: [1; 2],
            dilation: [1; 2],
            padding: PaddingRule::Explicit(Padding::default()),
            activation: if name == "output" { Activation::Identity } else { Activation::Relu },
        };
        layers.push(Conv2d::new(spec, &weight.values, bias)?.into());
        shape = Shape { height: 1, width: 1, channels: bias.len() };
    }
    Ok(layers)
}

/// How many stages are frozen.
///
/// # Errors
/// [`crate::Error::UnknownName`] for a stage that the backbone does not have.
pub(crate) fn frozen_depth(pretrained: &Pretrained, freeze: &Freeze) -> Result<usize> {
    let stages: Vec<&str> = pretrained.spec.stages.iter().map(|stage| stage.name).collect();
    depth_of(freeze, &stages)
}

/// How many of the stages called `stages` are frozen.
///
/// # Errors
/// [`crate::Error::UnknownName`] for a stage that is not among them.
pub(crate) fn depth_of(freeze: &Freeze, stages: &[impl AsRef<str>]) -> Result<usize> {
    match freeze {
        // Until it is decided, an automatic phase is one that opens nothing.
        Freeze::Backbone | Freeze::Auto => Ok(stages.len()),
        Freeze::Nothing => Ok(0),
        Freeze::AllBut(count) => Ok(stages.len().saturating_sub(*count)),
        Freeze::UpTo(name) => {
            stages.iter().position(|stage| stage.as_ref() == name).map(|index| index + 1).ok_or_else(|| {
                Error::UnknownName {
                    kind: "stage",
                    name: name.clone(),
                    known: stages.iter().map(|stage| stage.as_ref().to_owned()).collect(),
                }
            })
        }
    }
}

/// The parameters of the first `depth` stages.
pub(crate) fn frozen_parameters(
    network: &crate::network::Network,
    parameters: &Parameters,
    depth: usize,
) -> Parameters {
    let mut frozen = parameters.clone();
    frozen.retain(|name| network.stage_of(name).is_some_and(|stage| stage < depth));
    frozen
}

/// The trainable form of the backbone.
pub(crate) fn trainable(pretrained: &Pretrained, parameters: &Parameters, device: &Device) -> Result<Backbone> {
    (pretrained.spec.trainable)(pretrained.variant, parameters, &pretrained.conventions, device)
}
