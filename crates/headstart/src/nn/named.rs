//! The bridge between a module's tensors and our named arrays.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};

use crate::error::{Error, Result};
use crate::parameters::{Parameter, Parameters};

/// The tensor that holds the array called `name`.
pub(crate) fn read<const D: usize>(parameters: &Parameters, name: &str, device: &Device) -> Result<Tensor<D>> {
    let parameter = parameters.find(name)?;
    let shape: [usize; D] = parameter.shape.as_slice().try_into().map_err(|_| Error::Recipe {
        reason: format!("parameter `{name}` has {} axes, expected {D}", parameter.shape.len()),
        help: "the weights belong to another architecture".to_owned(),
    })?;
    Ok(Tensor::from_data(TensorData::new(parameter.values.clone(), shape), device))
}

/// Every float array of a module under its path, running statistics included.
pub(crate) fn collect<M: Module>(module: &M) -> Parameters {
    let mut collector = Collector { path: Path::default(), found: Parameters::default() };
    module.visit(&mut collector);
    collector.found
}

/// Names of the modules from the root to here; variants of the backbone registry do not count.
#[derive(Debug, Default)]
pub(crate) struct Path(Vec<Option<String>>);

impl Path {
    pub(crate) fn enter(&mut self, name: &str, container: &str) {
        // The name of an enum's variant is ours, not the network's.
        self.0.push((!container.starts_with("Enum:")).then(|| name.to_owned()));
    }

    pub(crate) fn exit(&mut self) {
        self.0.pop();
    }

    pub(crate) fn name(&self) -> String {
        self.0.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(".")
    }
}

struct Collector {
    path: Path,
    found: Parameters,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let shape = tensor.dims().to_vec();
        self.found.insert(self.path.name(), Parameter { shape, values: values(tensor) });
    }
}

/// The values of a float tensor, row-major.
pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_into_vec().expect("converted to f32 above")
}
