//! Named arrays of numbers.

use half::{bf16, f16};

use crate::error::WeightsError;
use crate::limits;

/// Type of the numbers of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit float (IEEE 754 half).
    F16,
    /// 16-bit float with the exponent of f32.
    BF16,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
    /// 64-bit unsigned integer.
    U64,
    /// 32-bit unsigned integer.
    U32,
    /// 16-bit unsigned integer.
    U16,
    /// 16-bit integer.
    I16,
    /// 8-bit integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

impl DType {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::BF16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::U64 => "u64",
            Self::U32 => "u32",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::Bool => "bool",
        })
    }
}

/// An array without its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayInfo {
    /// Name in the file.
    pub name: String,
    /// Lengths of the axes, outermost first; none for a single number.
    pub shape: Vec<usize>,
    /// Type of the numbers.
    pub dtype: DType,
}

impl ArrayInfo {
    /// Number of numbers; readers have made sure that it does not overflow.
    pub fn element_count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of the numbers.
    pub fn byte_len(&self) -> usize {
        self.element_count() * self.dtype.size()
    }
}

/// Number of elements of a shape, if it has no more axes than arrays have and the bytes of it fit `usize`.
pub(crate) fn checked_count(shape: &[usize], dtype: DType) -> Option<usize> {
    if shape.len() > limits::AXES {
        return None;
    }
    let count = shape.iter().try_fold(1usize, |count, length| count.checked_mul(*length))?;
    count.checked_mul(dtype.size())?;
    Some(count)
}

/// An array with its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Array {
    /// Name, shape and type.
    pub info: ArrayInfo,
    /// Little-endian, row-major, without gaps.
    pub bytes: Vec<u8>,
}

impl Array {
    /// The values as f32; 64-bit numbers are rounded.
    ///
    /// # Errors
    /// [`WeightsError::Conversion`] for booleans.
    pub fn to_f32(&self) -> Result<Vec<f32>, WeightsError> {
        fn each<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks::<N>().0.iter().map(|chunk| convert(*chunk)).collect()
        }
        let bytes = &self.bytes;
        Ok(match self.info.dtype {
            DType::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
            DType::F32 => each(bytes, f32::from_le_bytes),
            DType::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
            DType::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            DType::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
            DType::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
            DType::U64 => each(bytes, |b| u64::from_le_bytes(b) as f32),
            DType::U32 => each(bytes, |b| u32::from_le_bytes(b) as f32),
            DType::U16 => each(bytes, |b| f32::from(u16::from_le_bytes(b))),
            DType::I16 => each(bytes, |b| f32::from(i16::from_le_bytes(b))),
            DType::I8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
            DType::U8 => each(bytes, |[b]| f32::from(b)),
            DType::Bool => {
                return Err(WeightsError::Conversion {
                    name: self.info.name.clone(),
                    dtype: self.info.dtype.to_string(),
                });
            }
        })
    }
}
