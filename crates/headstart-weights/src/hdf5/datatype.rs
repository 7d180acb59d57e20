//! Types of elements and shapes (specification IV.A.2.b and d).

use super::Hdf5Error;
use super::cursor::Cursor;
use super::header::Message;
use crate::array::DType;
use crate::limits;

/// What an element is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Datatype {
    Number(Number),
    /// Text of so many bytes, padded with zeros or spaces.
    Text(usize),
    /// Text in the global heap: length, address, index.
    TextInHeap,
    /// Bytes without a meaning; h5py writes bfloat16 this way.
    Opaque(usize),
    /// Something else, in words.
    Other(String, usize),
}

/// A type of numbers and the order of its bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number {
    pub(super) dtype: DType,
    pub(super) big_endian: bool,
}

impl Datatype {
    pub(super) fn parse(message: &Message) -> Result<Self, Hdf5Error> {
        if message.shared {
            return Err(Hdf5Error::unsupported("types that are committed to the file"));
        }
        Self::from_body(&message.body)
    }

    pub(super) fn from_body(body: &[u8]) -> Result<Self, Hdf5Error> {
        let mut cursor = Cursor::new(body, "type");
        let class = cursor.u8()? & 0x0F;
        let bits = cursor.uint(3)?;
        let size = cursor.u32()? as usize;
        let big_endian = bits & 1 != 0;
        let other = |what: &str| Self::Other(format!("{what} of {size} bytes"), size);
        let number = |dtype| Self::Number(Number { dtype, big_endian });
        Ok(match class {
            0 => {
                let (offset, precision) = (cursor.u16()?, usize::from(cursor.u16()?));
                match (size, bits & 0x08 != 0) {
                    _ if offset != 0 || precision != size.saturating_mul(8) => other("integers with padding"),
                    (1, true) => number(DType::I8),
                    (2, true) => number(DType::I16),
                    (4, true) => number(DType::I32),
                    (8, true) => number(DType::I64),
                    (1, false) => number(DType::U8),
                    (2, false) => number(DType::U16),
                    (4, false) => number(DType::U32),
                    (8, false) => number(DType::U64),
                    _ => other("integers"),
                }
            }
            1 => {
                let fields = cursor.take(12)?;
                // Offset, precision, place and length of the exponent, place and length of the mantissa, bias.
                let dtype = match (size, fields) {
                    (8, [0, 0, 64, 0, 52, 11, 0, 52, 0xFF, 3, 0, 0]) => DType::F64,
                    (4, [0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0]) => DType::F32,
                    (2, [0, 0, 16, 0, 10, 5, 0, 10, 15, 0, 0, 0]) => DType::F16,
                    (2, [0, 0, 16, 0, 7, 8, 0, 7, 127, 0, 0, 0]) => DType::BF16,
                    _ => return Ok(other("floats")),
                };
                match bits & 0x40 {
                    0 => number(dtype),
                    _ => other("floats in the order of a VAX"),
                }
            }
            3 => Self::Text(size),
            5 => Self::Opaque(size),
            8 => match Self::parse_enumeration(cursor.rest(), bits) {
                true if size == 1 => Self::Number(Number { dtype: DType::Bool, big_endian: false }),
                _ => other("an enumeration"),
            },
            9 if bits & 0x0F == 1 && size == 16 => Self::TextInHeap,
            2 => other("times"),
            4 => other("bit fields"),
            6 => other("compounds"),
            7 => other("references"),
            9 => other("sequences"),
            10 => other("arrays"),
            class => return Err(Hdf5Error::malformed(format!("a type of class {class}"))),
        })
    }

    /// Whether an enumeration is h5py's boolean: `FALSE` and `TRUE`.
    fn parse_enumeration(rest: &[u8], bits: u64) -> bool {
        let holds = |word: &[u8]| rest.windows(word.len()).any(|window| window == word);
        bits & 0xFFFF == 2 && holds(b"FALSE\0") && holds(b"TRUE\0")
    }

    /// Bytes of one element.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Number(number) => number.dtype.size(),
            Self::TextInHeap => 16,
            Self::Text(size) | Self::Opaque(size) | Self::Other(_, size) => *size,
        }
    }
}

impl std::fmt::Display for Datatype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.dtype.fmt(f),
            Self::Text(_) | Self::TextInHeap => f.write_str("text"),
            Self::Opaque(size) => write!(f, "opaque elements of {size} bytes"),
            Self::Other(what, _) => f.write_str(what),
        }
    }
}

/// Lengths of the axes; none for a single element, `None` for a space without elements.
pub(super) fn shape(message: &Message) -> Result<Option<Vec<usize>>, Hdf5Error> {
    match message.shared {
        true => Err(Hdf5Error::unsupported("shapes that are shared between objects")),
        false => shape_from(&message.body),
    }
}

pub(super) fn shape_from(body: &[u8]) -> Result<Option<Vec<usize>>, Hdf5Error> {
    let mut cursor = Cursor::new(body, "shape");
    let version = cursor.u8()?;
    let rank = usize::from(cursor.u8()?);
    let _flags = cursor.u8()?;
    let is_null = match version {
        1 => {
            cursor.skip(5)?;
            false
        }
        2 => cursor.u8()? == 2,
        other => return Err(Hdf5Error::unsupported(format!("version {other} of a shape"))),
    };
    if rank > limits::AXES {
        let (claimed, limit) = (rank as u64, limits::AXES as u64);
        return Err(Hdf5Error::TooLarge { what: "the number of axes of an array".to_owned(), claimed, limit });
    }
    if is_null {
        return Ok(None);
    }
    let axis = |length: u64| usize::try_from(length).map_err(|_| Hdf5Error::malformed("an axis is too long"));
    (0..rank).map(|_| axis(cursor.u64()?)).collect::<Result<_, _>>().map(Some)
}
