//! Batches of rows. The host holds them; a plugin has a handle, and takes the columns that it looks at.

use serde::de::DeserializeOwned;
use serde::Serialize;

use crate::bindings::imports::dataflare::data::expressions as wit;
use crate::column::{Cell, Column, IntoColumn};
use crate::datasets::Schema;
use crate::expression::{nodes_of, Expression};
use crate::host::{batches, expressions};
use crate::{records, Bitmap, Error, Result};

/// Rows of named columns; never changes. Methods that "change" one return a new one, which shares the rest.
#[derive(Debug)]
pub struct Batch {
    raw: batches::Batch,
}

impl Batch {
    pub(crate) fn from_raw(raw: batches::Batch) -> Self {
        Self { raw }
    }

    pub(crate) fn raw(&self) -> &batches::Batch {
        &self.raw
    }

    pub(crate) fn into_raw(self) -> batches::Batch {
        self.raw
    }

    /// Make a batch of this many rows and no columns, to add columns to.
    pub fn of_rows(rows: usize) -> Self {
        Self::from_raw(batches::new_batch(rows as u32))
    }

    /// Make a batch of columns of equal length: `Batch::from_columns([("id", vec![1, 2])])`. Columns of other types are added
    /// with [`Batch::with_column`].
    pub fn from_columns<T: IntoColumn + AsRows>(columns: impl IntoIterator<Item = (impl AsRef<str>, T)>) -> Result<Self> {
        let mut columns = columns.into_iter();
        let Some((name, values)) = columns.next() else { return Ok(Self::of_rows(0)) };
        let empty = Self::of_rows(values.rows());
        let first = values.put(&empty, name.as_ref());
        columns.try_fold(first?, |batch, (name, values)| values.put(&batch, name.as_ref()))
    }

    /// Make a batch of records: anything that serde writes as objects. Without a schema, types are inferred.
    pub fn from_records<T: Serialize>(records: impl IntoIterator<Item = T>, schema: Option<&Schema>) -> Result<Self> {
        let mut lines = Vec::new();
        for record in records {
            serde_json::to_writer(&mut lines, &record)?;
            lines.push(b'\n');
        }
        let lines = String::from_utf8(lines).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Self::from_raw(batches::from_json_lines(&lines, schema)?))
    }

    /// Make a batch of JSON Lines. Without a schema, types are inferred.
    pub fn from_json_lines(lines: &str, schema: Option<&Schema>) -> Result<Self> {
        Ok(Self::from_raw(batches::from_json_lines(lines, schema)?))
    }

    /// Make a batch of an Arrow IPC stream.
    pub fn from_arrow(stream: &[u8]) -> Result<Self> {
        Ok(Self::from_raw(batches::from_arrow(stream)?))
    }

    /// Put batches of the same columns one after another.
    pub fn concat(parts: &[Batch]) -> Result<Self> {
        let parts: Vec<&batches::Batch> = parts.iter().map(|part| &part.raw).collect();
        Ok(Self::from_raw(batches::concat(&parts)?))
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.raw.num_rows() as usize
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the columns, in order.
    pub fn columns(&self) -> Vec<String> {
        self.raw.column_names()
    }

    /// The columns with their types.
    pub fn schema(&self) -> Schema {
        self.raw.schema()
    }

    /// Read a column: `batch.column::<i64>("id")?`, `batch.column::<str>("name")?`.
    pub fn column<T: Cell + ?Sized>(&self, name: &str) -> Result<Column<T>> {
        Column::read(&self.raw, name)
    }

    /// The rows as values of any type that serde reads. A struct is filled from the columns that it has fields for, which
    /// is several times faster than what needs all columns, such as a map.
    pub fn records<T: DeserializeOwned>(&self) -> Result<Vec<T>> {
        let mut found = Vec::with_capacity(self.len());
        records::read(self, |_, record| {
            found.push(record);
            Ok(())
        })?;
        Ok(found)
    }

    /// The rows as JSON Lines.
    pub fn to_json_lines(&self) -> Result<String> {
        Ok(self.raw.to_json_lines()?)
    }

    /// The batch as an Arrow IPC stream.
    pub fn to_arrow(&self) -> Result<Vec<u8>> {
        Ok(self.raw.to_arrow()?)
    }

    /// Add or replace a column, by an expression or by values, one a row: `Vec<i64>`, `Vec<Option<f64>>`, `Vec<&str>` and
    /// so on.
    pub fn with_column(&self, name: &str, values: impl IntoColumn) -> Result<Self> {
        values.put(self, name)
    }

    /// Add or replace columns by expressions, which the host computes.
    pub fn with_columns<'a>(&self, columns: impl IntoIterator<Item = (&'a str, Expression)>) -> Result<Self> {
        let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let (nodes, outputs) = outputs(&names, &values);
        Ok(Self::from_raw(expressions::with_columns(&self.raw, &nodes, &outputs)?))
    }

    /// Make a batch of expressions alone.
    pub fn select_expressions<'a>(&self, columns: impl IntoIterator<Item = (&'a str, Expression)>) -> Result<Self> {
        let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let (nodes, outputs) = outputs(&names, &values);
        Ok(Self::from_raw(expressions::select(&self.raw, &nodes, &outputs)?))
    }

    /// Convert a column to another Arrow type.
    pub fn cast(&self, name: &str, type_name: &str) -> Result<Self> {
        Ok(Self::from_raw(self.raw.cast_column(name, type_name)?))
    }

    /// Keep these columns, in this order.
    pub fn select<T: AsRef<str>>(&self, names: impl IntoIterator<Item = T>) -> Result<Self> {
        let names: Vec<String> = names.into_iter().map(|name| name.as_ref().to_string()).collect();
        Ok(Self::from_raw(self.raw.select(&names)?))
    }

    /// Give a column another name.
    pub fn rename(&self, name: &str, to: &str) -> Result<Self> {
        Ok(Self::from_raw(self.raw.rename_column(name, to)?))
    }

    /// Keep the rows for which an expression holds.
    pub fn filter(&self, condition: Expression) -> Result<Self> {
        Ok(Self::from_raw(expressions::filter(&self.raw, &nodes_of([&condition]).0)?))
    }

    /// Keep the rows whose bit is set.
    pub fn filter_rows(&self, rows: &Bitmap) -> Result<Self> {
        match rows.words() {
            None => self.slice(0, self.len()),
            Some(words) => Ok(Self::from_raw(self.raw.filter(words)?)),
        }
    }

    /// Keep `length` rows from an offset on.
    pub fn slice(&self, offset: usize, length: usize) -> Result<Self> {
        Ok(Self::from_raw(self.raw.slice(offset as u32, length as u32)?))
    }

    /// Order the rows by columns, ascending, nulls last.
    pub fn sort<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let keys: Vec<_> = names.into_iter().map(|name| wit::SortKey { column: name.into(), descending: false }).collect();
        Ok(Self::from_raw(expressions::sort(&self.raw, &keys, wit::NullOrder::Last)?))
    }
}

/// Values that say how many rows they are for.
pub trait AsRows {
    /// The number of rows.
    fn rows(&self) -> usize;
}

impl<T> AsRows for Vec<T> {
    fn rows(&self) -> usize {
        self.len()
    }
}

fn outputs(names: &[&str], values: &[Expression]) -> (Vec<wit::Node>, Vec<wit::Output>) {
    let (nodes, places) = nodes_of(values);
    let outputs = names.iter().zip(places).map(|(name, node)| wit::Output { name: name.to_string(), node }).collect();
    (nodes, outputs)
}
