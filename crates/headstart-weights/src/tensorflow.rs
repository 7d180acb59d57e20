//! What TensorFlow's checkpoints and graphs share: types of numbers and shapes.
//!
//! Source: `framework/types.proto` and `framework/tensor_shape.proto` of TensorFlow 2.21.

use crate::array::DType;

/// A shape as written; names of axes are passed over.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Shape {
    #[prost(message, repeated, tag = "2")]
    axes: Vec<Axis>,
    #[prost(bool, tag = "3")]
    unknown_rank: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Axis {
    #[prost(int64, tag = "1")]
    length: i64,
}

impl Shape {
    /// Lengths of the axes, where all are known.
    pub(crate) fn lengths(&self) -> Option<Vec<usize>> {
        let known = |axis: &Axis| usize::try_from(axis.length).ok();
        if self.unknown_rank { None } else { self.axes.iter().map(known).collect() }
    }
}

/// What an array of a `DataType` holds: numbers, or what else in words.
pub(crate) fn dtype(number: i32) -> Result<DType, String> {
    Ok(match number {
        1 => DType::F32,
        2 => DType::F64,
        3 => DType::I32,
        4 => DType::U8,
        5 => DType::I16,
        6 => DType::I8,
        9 => DType::I64,
        10 => DType::Bool,
        14 => DType::BF16,
        17 => DType::U16,
        19 => DType::F16,
        22 => DType::U32,
        23 => DType::U64,
        7 => return Err("string".to_owned()),
        8 => return Err("complex64".to_owned()),
        18 => return Err("complex128".to_owned()),
        11..=13 | 15 | 16 => return Err("quantized integers".to_owned()),
        20 => return Err("a resource".to_owned()),
        21 => return Err("a variant".to_owned()),
        other => return Err(format!("type {other}")),
    })
}
