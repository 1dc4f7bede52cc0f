//! The values of columns, as plugins read and write them.

// What reads a column is this crate's own; plugins only name the types.
#![allow(private_interfaces)]

use crate::batch::Batch;
use crate::bindings::imports::dataflare::data::batches::{BinaryValues, TextValues};
use crate::expression::Expression;
use crate::host::batches;
use crate::{Bitmap, Error, Result};

/// A type of the values of a column: `i64`, `f64`, `bool`, `str` or `[u8]`.
///
/// Dates, times, timestamps and durations are `i64`, in the column's own unit. Decimals are `f64`.
pub trait Cell {
    /// How the values of a whole column are kept.
    type Values;
    /// A value of one row.
    type Value<'a>;

    #[doc(hidden)]
    fn read(batch: &batches::Batch, column: &str) -> Result<Self::Values>;
    #[doc(hidden)]
    fn value(values: &Self::Values, row: usize) -> Self::Value<'_>;
}

macro_rules! plain {
    ($($type:ty => $read:ident),*) => {
        $(impl Cell for $type {
            type Values = Vec<$type>;
            type Value<'a> = $type;

            fn read(batch: &batches::Batch, column: &str) -> Result<Self::Values> {
                Ok(batch.$read(column)?)
            }

            #[inline]
            fn value(values: &Self::Values, row: usize) -> Self::Value<'_> {
                values[row]
            }
        })*
    };
}

plain!(i64 => int64_column, f64 => float64_column, bool => boolean_column);

/// The texts or byte strings of a column, one after another.
#[derive(Debug)]
pub struct Texts<T> {
    offsets: Vec<u32>,
    all: T,
}

impl<T> Texts<T> {
    #[inline]
    fn range(&self, row: usize) -> std::ops::Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }
}

impl Cell for str {
    type Values = Texts<String>;
    type Value<'a> = &'a str;

    fn read(batch: &batches::Batch, column: &str) -> Result<Self::Values> {
        let TextValues { offsets, text } = batch.text_column(column)?;
        Ok(Texts { offsets, all: text })
    }

    #[inline]
    fn value(values: &Self::Values, row: usize) -> &str {
        &values.all[values.range(row)]
    }
}

impl Cell for [u8] {
    type Values = Texts<Vec<u8>>;
    type Value<'a> = &'a [u8];

    fn read(batch: &batches::Batch, column: &str) -> Result<Self::Values> {
        let BinaryValues { offsets, data } = batch.binary_column(column)?;
        Ok(Texts { offsets, all: data })
    }

    #[inline]
    fn value(values: &Self::Values, row: usize) -> &[u8] {
        &values.all[values.range(row)]
    }
}

/// A column, read: a value for each row, or none.
#[derive(Debug)]
pub struct Column<T: Cell + ?Sized> {
    values: T::Values,
    valid: Option<Bitmap>,
    rows: usize,
}

impl<T: Cell + ?Sized> Column<T> {
    pub(crate) fn read(batch: &batches::Batch, name: &str) -> Result<Self> {
        let rows = batch.num_rows() as usize;
        let valid = batch.validity(name)?.map(|words| Bitmap::from_words(Some(words), rows));
        Ok(Self { values: T::read(batch, name)?, valid, rows })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The value of a row; `None` for a null.
    ///
    /// # Panics
    ///
    /// There is no such row.
    #[inline]
    pub fn get(&self, row: usize) -> Option<T::Value<'_>> {
        self.is_valid(row).then(|| T::value(&self.values, row))
    }

    /// Whether a row holds a value.
    #[inline]
    pub fn is_valid(&self, row: usize) -> bool {
        self.valid.as_ref().is_none_or(|valid| valid.get(row))
    }

    /// Which rows hold a value; `None` where all do.
    pub fn validity(&self) -> Option<&Bitmap> {
        self.valid.as_ref()
    }

    /// The value of each row, `None` for a null.
    pub fn iter(&self) -> impl Iterator<Item = Option<T::Value<'_>>> {
        (0..self.rows).map(|row| self.get(row))
    }
}

impl<T: Cell<Values = Vec<T>>> Column<T> {
    /// The values alone, with 0 or false for a null: for loops that the compiler makes into vector instructions.
    pub fn values(&self) -> &[T] {
        &self.values
    }
}

/// What can become a column of a batch: an expression, or values, one a row.
pub trait IntoColumn {
    /// The batch with the column added, or in the place of the one of this name.
    fn put(self, batch: &Batch, name: &str) -> Result<Batch>;
}

impl IntoColumn for Expression {
    fn put(self, batch: &Batch, name: &str) -> Result<Batch> {
        batch.with_columns([(name, self)])
    }
}

impl IntoColumn for &Expression {
    fn put(self, batch: &Batch, name: &str) -> Result<Batch> {
        self.clone().put(batch, name)
    }
}

pub(crate) fn same_length(name: &str, values: usize, batch: &Batch) -> Result<()> {
    if values == batch.len() {
        return Ok(());
    }
    Err(Error::Internal(format!("column {name:?}: {values} values for {} rows", batch.len())))
}

macro_rules! numbers {
    ($($type:ty => $put:ident),*) => {
        $(impl IntoColumn for (&[$type], Option<&Bitmap>) {
            fn put(self, batch: &Batch, name: &str) -> Result<Batch> {
                same_length(name, self.0.len(), batch)?;
                Ok(Batch::from_raw(batch.raw().$put(name, self.0, self.1.and_then(Bitmap::words))?))
            }
        }

        impl IntoColumn for &[$type] {
            fn put(self, batch: &Batch, name: &str) -> Result<Batch> {
                (self, None).put(batch, name)
            }
        }

        impl IntoColumn for Vec<$type> {
            fn put(self, batch: &Batch, name: &str) -> Result<Batch> {
                self.as_slice().put(batch, name)
            }
        }

        impl IntoColumn for Vec<Option<$type>> {
            fn put(self, batch: &Batch, name: &str) -> Result<Batch> {
                let mut valid = Bitmap::with_capacity(self.len());
                let values: Vec<$type> = self.into_iter().map(|value| { valid.push(value.is_some()); value.unwrap_or_default() }).collect();
                (values.as_slice(), Some(&valid)).put(batch, name)
            }
        })*
    };
}

numbers!(i64 => with_int64_column, f64 => with_float64_column, bool => with_boolean_column);

macro_rules! strings {
    ($($type:ty),*) => {
        $(impl IntoColumn for Vec<$type> {
            fn put(self, batch: &Batch, name: &str) -> Result<Batch> {
                self.into_iter().map(Some).collect::<Vec<_>>().put(batch, name)
            }
        }

        impl IntoColumn for Vec<Option<$type>> {
            fn put(self, batch: &Batch, name: &str) -> Result<Batch> {
                let mut made = TextBuilder::default();
                self.iter().for_each(|value| made.push(value.as_deref()));
                made.put(batch, name)
            }
        })*
    };
}

strings!(&str, String);

/// A column of texts that is being made.
#[derive(Debug)]
pub(crate) struct TextBuilder {
    values: TextValues,
    valid: Bitmap,
}

impl Default for TextBuilder {
    fn default() -> Self {
        Self { values: TextValues { offsets: vec![0], text: String::new() }, valid: Bitmap::default() }
    }
}

impl TextBuilder {
    #[inline]
    pub(crate) fn push(&mut self, value: Option<&str>) {
        self.values.text.push_str(value.unwrap_or_default());
        // Offsets are 32 bits wide: the host refuses a column whose texts are longer, since they no longer ascend.
        self.values.offsets.push(self.values.text.len() as u32);
        self.valid.push(value.is_some());
    }
}

impl IntoColumn for TextBuilder {
    fn put(self, batch: &Batch, name: &str) -> Result<Batch> {
        same_length(name, self.values.offsets.len() - 1, batch)?;
        Ok(Batch::from_raw(batch.raw().with_text_column(name, &self.values, self.valid.words())?))
    }
}

impl IntoColumn for Vec<Option<Vec<u8>>> {
    fn put(self, batch: &Batch, name: &str) -> Result<Batch> {
        same_length(name, self.len(), batch)?;
        let mut values = BinaryValues { offsets: vec![0], data: Vec::new() };
        let mut valid = Bitmap::with_capacity(self.len());
        for value in self {
            valid.push(value.is_some());
            values.data.extend(value.unwrap_or_default());
            values.offsets.push(values.data.len() as u32);
        }
        Ok(Batch::from_raw(batch.raw().with_binary_column(name, &values, valid.words())?))
    }
}
