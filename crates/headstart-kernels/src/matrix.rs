//! Products of matrices that lie in slices, any stride, either way round.

use gemm::Parallelism;

/// A matrix to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// A matrix to write, row by row.
#[derive(Debug)]
pub(crate) struct MatrixMut<'a> {
    values: &'a mut [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
}

/// What happens to the values that stand where a product goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// They are written over.
    Forgotten,
    /// The product is added to them.
    Kept,
}

/// Which threads work on a product. Rows and columns are split, sums never: the result does not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Threads {
    /// The caller is one of many.
    One,
    /// All of the pool that the caller runs in.
    All,
}

impl<'a> Matrix<'a> {
    /// `rows` × `columns` values without gaps.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Rows that are `row_stride` floats apart.
    pub(crate) fn strided(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(columns <= row_stride && values.len() >= reach(rows, columns, row_stride), "a matrix leaves its slice");
        Self { values, rows, columns, row_stride, column_stride: 1 }
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

impl<'a> MatrixMut<'a> {
    /// `rows` × `columns` values without gaps.
    pub(crate) fn new(values: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self::strided(values, rows, columns, columns)
    }

    /// Rows that are `row_stride` floats apart.
    pub(crate) fn strided(values: &'a mut [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(columns <= row_stride && values.len() >= reach(rows, columns, row_stride), "a matrix leaves its slice");
        Self { values, rows, columns, row_stride }
    }

    /// scale · `left` · `right`, written here or added to what is here.
    ///
    /// # Panics
    /// When the shapes do not fit.
    pub(crate) fn product(self, left: Matrix<'_>, right: Matrix<'_>, scale: f32, before: Before, threads: Threads) {
        assert!(left.rows == self.rows && right.columns == self.columns && left.columns == right.rows, "shapes differ");
        let parallelism = match threads {
            Threads::One => Parallelism::None,
            Threads::All => Parallelism::Rayon(rayon::current_num_threads()),
        };
        let keeps = before == Before::Kept;
        // SAFETY: constructors have checked that every row and column lies in its slice, and the target is borrowed alone.
        unsafe {
            gemm::gemm(
                self.rows,
                self.columns,
                left.columns,
                self.values.as_mut_ptr(),
                1,
                self.row_stride as isize,
                keeps,
                left.values.as_ptr(),
                left.column_stride as isize,
                left.row_stride as isize,
                right.values.as_ptr(),
                right.column_stride as isize,
                right.row_stride as isize,
                if keeps { 1.0 } else { 0.0 },
                scale,
                false,
                false,
                false,
                parallelism,
            );
        }
    }
}

/// Floats from the first value to behind the last one.
fn reach(rows: usize, columns: usize, row_stride: usize) -> usize {
    match rows.checked_sub(1) {
        Some(last) if columns > 0 => last * row_stride + columns,
        _ => 0,
    }
}
