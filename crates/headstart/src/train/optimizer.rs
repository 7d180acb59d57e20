//! Adam, AdamW and SGD over named parameters, with a learning rate for each stage.
//!
//! Ours and not the engine's because the state must be named by the parameter (to resume and to be read), the rate must
//! differ by stage, and the order of every sum must be fixed.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use headstart_kernels::training::AdamStep;

use super::cpu_adam;
use crate::nn::named::{Path, values};
use crate::parameters::{Parameter, Parameters};
use crate::recipe::Optimizer;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-7;

/// Optimizer and its state.
#[derive(Debug)]
pub(crate) struct Stepper {
    optimizer: Optimizer,
    clip: Option<f32>,
    /// Number of steps taken.
    steps: u64,
    /// Running averages by parameter: momentum, or first and second moment, flat.
    slots: BTreeMap<String, Vec<Tensor<1>>>,
}

impl Stepper {
    pub(crate) fn new(optimizer: Optimizer, clip: Option<f32>) -> Self {
        Self { optimizer, clip, steps: 0, slots: BTreeMap::new() }
    }

    /// Moves every parameter that has a gradient; `rate` gives the learning rate of a parameter by its name.
    pub(crate) fn step<M: Module>(&mut self, module: M, gradients: &Gradients, rate: &dyn Fn(&str) -> f64) -> M {
        self.take(module, Slopes::Of(gradients), 1.0, rate)
    }

    /// The same by gradients that were summed over `count` losses.
    pub(crate) fn step_by_sum<M: Module>(
        &mut self,
        module: M,
        sum: &GradientSum,
        count: usize,
        rate: &dyn Fn(&str) -> f64,
    ) -> M {
        self.take(module, Slopes::Sum(sum), 1.0 / count.max(1) as f64, rate)
    }

    fn take<M: Module>(&mut self, module: M, slopes: Slopes<'_>, share: f64, rate: &dyn Fn(&str) -> f64) -> M {
        self.steps += 1;
        let scale = self.clip.map_or(1.0, |limit| {
            let mut norm = SquaredNorm { slopes, sum: 0.0, path: Path::default() };
            module.visit(&mut norm);
            (f64::from(limit) / (norm.sum.sqrt() * share).max(f64::MIN_POSITIVE)).min(1.0)
        });
        module.map(&mut Mover { stepper: self, slopes, rate, scale: scale * share, path: Path::default() })
    }

    /// The state as named arrays (`<slot>.<parameter>`) and the number of steps.
    pub(crate) fn state(&self) -> (Parameters, u64) {
        let mut arrays = Parameters::default();
        for (name, slots) in &self.slots {
            for (index, slot) in slots.iter().enumerate() {
                let values = values(slot.clone());
                arrays.insert(format!("{index}.{name}"), Parameter { shape: vec![values.len()], values });
            }
        }
        (arrays, self.steps)
    }

    /// Puts back what [`Self::state`] gave.
    pub(crate) fn restore(&mut self, arrays: &Parameters, steps: u64, device: &Device) {
        self.steps = steps;
        self.slots.clear();
        // Names are ordered, so slot 0 of a parameter comes before its slot 1.
        for (name, array) in arrays.iter() {
            if let Some((_, parameter)) = name.split_once('.') {
                let tensor = Tensor::from_data(TensorData::new(array.values.clone(), [array.values.len()]), device);
                self.slots.entry(parameter.to_owned()).or_default().push(tensor);
            }
        }
    }

    /// One parameter after its step, flat; updates its slots. `scale` is on the gradient.
    fn moved(
        &mut self,
        name: &str,
        value: Tensor<1>,
        gradient: Tensor<1>,
        rate: f64,
        scale: f64,
        decays: bool,
    ) -> Tensor<1> {
        let zeros = || Tensor::zeros_like(&gradient);
        let slots = self.slots.entry(name.to_owned()).or_default();
        let scaled = |gradient: Tensor<1>| if scale == 1.0 { gradient } else { gradient.mul_scalar(scale) };
        match self.optimizer {
            Optimizer::Adam {} | Optimizer::AdamW { .. } => {
                let weight_decay = match self.optimizer {
                    Optimizer::AdamW { weight_decay } if decays => weight_decay,
                    _ => 0.0,
                };
                let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
                let correction = (1.0 - BETA2.powi(steps)).sqrt() / (1.0 - BETA1.powi(steps));
                let (first, second) = match <[Tensor<1>; 2]>::try_from(std::mem::take(slots)) {
                    Ok([first, second]) => (first, second),
                    Err(_) => (zeros(), zeros()),
                };
                let numbers = AdamStep {
                    rate: (rate * correction) as f32,
                    decay: (rate * weight_decay) as f32,
                    beta1: BETA1 as f32,
                    beta2: BETA2 as f32,
                    epsilon: EPSILON as f32,
                    scale: scale as f32,
                };
                if cpu_adam::applies([&value, &first, &second, &gradient]) {
                    let (value, first, second) = cpu_adam::step((value, first, second), gradient, &numbers);
                    *slots = vec![first, second];
                    return value;
                }
                let gradient = scaled(gradient);
                let first = first.mul_scalar(BETA1).add(gradient.clone().mul_scalar(1.0 - BETA1));
                let second = second.mul_scalar(BETA2).add(gradient.square().mul_scalar(1.0 - BETA2));
                *slots = vec![first.clone(), second.clone()];
                let step = first.div(second.sqrt().add_scalar(EPSILON)).mul_scalar(rate * correction);
                let kept = if weight_decay == 0.0 { value } else { value.mul_scalar(1.0 - rate * weight_decay) };
                kept.sub(step)
            }
            Optimizer::Sgd { momentum, weight_decay } => {
                let decay = if decays { weight_decay } else { 0.0 };
                let gradient = scaled(gradient);
                let gradient = if decay == 0.0 { gradient } else { gradient.add(value.clone().mul_scalar(decay)) };
                let velocity = match slots.as_slice() {
                    [velocity] => velocity.clone().mul_scalar(momentum).add(gradient),
                    _ => gradient,
                };
                *slots = vec![velocity.clone()];
                value.sub(velocity.mul_scalar(rate))
            }
        }
    }
}

/// Gradients summed over parts of a batch, by parameter, flat.
#[derive(Debug, Default)]
pub(crate) struct GradientSum {
    sums: BTreeMap<String, Tensor<1>>,
}

impl GradientSum {
    /// Adds the gradients of a part.
    pub(crate) fn add<M: Module>(&mut self, module: &M, gradients: &Gradients) {
        module.visit(&mut Adder { sum: self, gradients, path: Path::default() });
    }
}

/// Norm of the gradient of every parameter, by name.
#[cfg(test)]
pub(crate) fn norms<M: Module>(module: &M, gradients: &Gradients) -> Vec<(String, f64)> {
    let mut all = GradientSum::default();
    all.add(module, gradients);
    let norm = |sum: Tensor<1>| values(sum).iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    all.sums.into_iter().map(|(name, sum)| (name, norm(sum))).collect()
}

struct Adder<'a> {
    sum: &'a mut GradientSum,
    gradients: &'a Gradients,
    path: Path,
}

impl ModuleVisitor for Adder<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(gradient) = Slopes::Of(self.gradients).find(&param.val(), &self.path) else { return };
        let sum = match self.sum.sums.remove(&self.path.name()) {
            Some(sum) => sum.add(gradient),
            None => gradient,
        };
        self.sum.sums.insert(self.path.name(), sum);
    }
}

/// Where gradients are looked up.
#[derive(Clone, Copy)]
enum Slopes<'a> {
    Of(&'a Gradients),
    Sum(&'a GradientSum),
}

impl Slopes<'_> {
    /// The gradient of a parameter, flat.
    fn find<const D: usize>(&self, value: &Tensor<D>, path: &Path) -> Option<Tensor<1>> {
        match self {
            Self::Of(gradients) => {
                let gradient = value.grad(gradients)?;
                let count = gradient.dims().iter().product::<usize>();
                Some(gradient.reshape([count]))
            }
            Self::Sum(sum) => sum.sums.get(&path.name()).cloned(),
        }
    }
}

struct SquaredNorm<'a> {
    slopes: Slopes<'a>,
    sum: f64,
    path: Path,
}

impl ModuleVisitor for SquaredNorm<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.slopes.find(&param.val(), &self.path) {
            self.sum += values(gradient).iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
        }
    }
}

struct Mover<'a> {
    stepper: &'a mut Stepper,
    slopes: Slopes<'a>,
    rate: &'a dyn Fn(&str) -> f64,
    scale: f64,
    path: Path,
}

impl ModuleMapper for Mover<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.slopes.find(&param.val(), &self.path) else { return param };
        let name = self.path.name();
        let rate = (self.rate)(&name);
        param.map(|tensor| {
            let shape = tensor.dims();
            let count = shape.iter().product::<usize>();
            let value = tensor.inner().reshape([count]);
            // Biases and normalizations are vectors; decay is for matrices and kernels.
            let moved = self.stepper.moved(&name, value, gradient, rate, self.scale, D > 1);
            Tensor::from_inner(moved.reshape(shape)).require_grad()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[derive(Module, Debug)]
    struct Toy {
        weight: Param<Tensor<2>>,
        bias: Param<Tensor<1>>,
    }

    fn toy() -> Toy {
        let device = Device::default().autodiff();
        Toy {
            weight: Param::from_tensor(Tensor::from_floats([[1.0, -2.0], [0.5, 3.0]], &device)),
            bias: Param::from_tensor(Tensor::from_floats([0.1, -0.1], &device)),
        }
    }

    /// Three steps on Σ (w·x + b)², x = (1, 2).
    fn trained(optimizer: Optimizer, clip: Option<f32>) -> Vec<f32> {
        let device = Device::default().autodiff();
        let mut model = toy();
        let mut stepper = Stepper::new(optimizer, clip);
        for _ in 0..3 {
            let x = Tensor::<2>::from_floats([[1.0, 2.0]], &device);
            let y = x.matmul(model.weight.val()).add(model.bias.val().unsqueeze());
            let gradients = y.square().sum().backward();
            model = stepper.step(model, &gradients, &|_| 0.1);
        }
        let mut found = values(model.weight.val());
        found.extend(values(model.bias.val()));
        found
    }

    fn assert_close(found: &[f32], expected: [f32; 6]) {
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-5), "{found:?} {expected:?}");
    }

    // Expected values: torch 2.15 optimizers with eps 1e-7 on the same function.
    #[test]
    fn adam_equals_pytorch() {
        assert_close(&trained(Optimizer::Adam {}, None), ADAM);
    }

    #[test]
    fn adamw_equals_pytorch_with_decay_on_the_matrix_only() {
        assert_close(&trained(Optimizer::AdamW { weight_decay: 0.1 }, None), ADAMW);
    }

    #[test]
    fn momentum_with_decay_and_clipping_equals_pytorch() {
        assert_close(&trained(Optimizer::Sgd { momentum: 0.9, weight_decay: 0.01 }, Some(1.0)), SGD_CLIPPED);
    }

    #[test]
    fn gradients_summed_over_parts_are_those_of_the_whole() {
        let device = Device::default().autodiff();
        let rows = [[1.0f32, 2.0], [-0.5, 0.25], [3.0, -1.0]];
        let loss = |model: &Toy, rows: &[[f32; 2]]| {
            let x = Tensor::<2>::from_data(TensorData::new(rows.concat(), [rows.len(), 2]), &device);
            x.matmul(model.weight.val()).add(model.bias.val().unsqueeze()).square().sum()
        };
        let stepper = || Stepper::new(Optimizer::Sgd { momentum: 0.9, weight_decay: 0.0 }, Some(0.5));
        let model = toy();
        let whole = stepper().step(model.clone(), &loss(&model, &rows).div_scalar(3.0).backward(), &|_| 0.1);
        let mut sum = GradientSum::default();
        for part in rows.chunks(2) {
            sum.add(&model, &loss(&model, part).backward());
        }
        let parts = stepper().step_by_sum(model, &sum, 3, &|_| 0.1);
        let (whole, parts) = (values(whole.weight.val()), values(parts.weight.val()));
        assert!(whole.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-6), "{whole:?} {parts:?}");
    }

    #[test]
    fn a_restored_state_continues_to_the_same_bits() {
        let device = Device::default().autodiff();
        let mut whole = (toy(), Stepper::new(Optimizer::Adam {}, None));
        let step = |(model, stepper): &mut (Toy, Stepper)| {
            let x = Tensor::<2>::from_floats([[1.0, 2.0]], &device);
            let gradients = x.matmul(model.weight.val()).add(model.bias.val().unsqueeze()).square().sum().backward();
            *model = stepper.step(model.clone(), &gradients, &|_| 0.1);
        };
        step(&mut whole);
        let (arrays, steps) = whole.1.state();
        let mut resumed = (whole.0.clone(), Stepper::new(Optimizer::Adam {}, None));
        resumed.1.restore(&arrays, steps, &Device::default());
        step(&mut whole);
        step(&mut resumed);
        assert_eq!(values(whole.0.weight.val()), values(resumed.0.weight.val()));
        assert_eq!(whole.1.state().0, resumed.1.state().0);
    }

    const ADAM: [f32; 6] = [0.704465, -2.298354, 0.204465, 2.701646, -0.195535, -0.398354];
    const ADAMW: [f32; 6] = [0.678126, -2.235723, 0.192976, 2.615772, -0.195152, -0.398110];
    const SGD_CLIPPED: [f32; 6] = [0.885900, -2.190266, 0.280208, 2.580232, -0.008588, -0.301649];
}
