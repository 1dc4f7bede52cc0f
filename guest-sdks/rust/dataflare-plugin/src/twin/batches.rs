//! The twin of `batches`: columns of JSON values.

use std::rc::Rc;

use serde_json::{json, Map, Value};

use crate::bindings::imports::dataflare::data::batches::{BinaryValues, DataError, TextValues, TypeMismatch};
use crate::bindings::imports::dataflare::data::schemas::{Field, Schema};

type Result<T> = std::result::Result<T, DataError>;

/// A column: its field, and a value for each row, as JSON has it; bytes are arrays of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) field: Field,
    pub(crate) values: Vec<Value>,
}

impl Column {
    pub(crate) fn new(name: &str, type_name: &str, values: Vec<Value>) -> Self {
        Self { field: Field::new(name, type_name), values }
    }

    pub(crate) fn wrong_type(&self, expected: &str) -> DataError {
        let (column, actual) = (self.field.name.clone(), self.field.type_name.clone());
        DataError::WrongType(TypeMismatch { column, function_name: String::new(), expected: expected.into(), actual })
    }

    /// Each value, converted; `other` for nulls.
    fn each<T>(&self, expected: &str, other: impl Fn() -> T, convert: impl Fn(&Value) -> Option<T>) -> Result<Vec<T>> {
        let value = |value: &Value| if value.is_null() { Some(other()) } else { convert(value) };
        self.values.iter().map(value).collect::<Option<_>>().ok_or_else(|| self.wrong_type(expected))
    }
}

/// A batch, in memory.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) rows: usize,
    pub(crate) columns: Rc<Vec<Column>>,
}

pub(crate) fn is_whole(type_name: &str) -> bool {
    type_name.starts_with("int") || type_name.starts_with("uint")
}

pub(crate) fn is_real(type_name: &str) -> bool {
    matches!(type_name, "double" | "float" | "halffloat")
}

impl Batch {
    pub(crate) fn of(rows: usize, columns: Vec<Column>) -> Self {
        Self { rows, columns: Rc::new(columns) }
    }

    pub(crate) fn num_rows(&self) -> u32 {
        self.rows as u32
    }

    pub(crate) fn column_names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.field.name.clone()).collect()
    }

    pub(crate) fn schema(&self) -> Schema {
        Schema::new(self.columns.iter().map(|column| column.field.clone()))
    }

    pub(crate) fn column(&self, name: &str) -> Result<&Column> {
        self.columns.iter().find(|column| column.field.name == name).ok_or_else(|| DataError::NoSuchColumn(name.into()))
    }

    pub(crate) fn validity(&self, name: &str) -> Result<Option<Vec<u64>>> {
        let column = self.column(name)?;
        if !column.values.iter().any(Value::is_null) {
            return Ok(None);
        }
        let mut words = vec![0; self.rows.div_ceil(64)];
        for (row, value) in column.values.iter().enumerate() {
            words[row / 64] |= u64::from(!value.is_null()) << (row % 64);
        }
        Ok(Some(words))
    }

    pub(crate) fn int64_column(&self, name: &str) -> Result<Vec<i64>> {
        self.column(name)?.each("a whole number", || 0, Value::as_i64)
    }

    pub(crate) fn float64_column(&self, name: &str) -> Result<Vec<f64>> {
        self.column(name)?.each("a number", || 0.0, Value::as_f64)
    }

    pub(crate) fn boolean_column(&self, name: &str) -> Result<Vec<bool>> {
        self.column(name)?.each("a boolean", || false, Value::as_bool)
    }

    pub(crate) fn text_column(&self, name: &str) -> Result<TextValues> {
        let texts = self.column(name)?.each("a text", String::new, |value| value.as_str().map(str::to_string))?;
        Ok(TextValues { offsets: offsets(texts.iter().map(String::len)), text: texts.concat() })
    }

    pub(crate) fn binary_column(&self, name: &str) -> Result<BinaryValues> {
        let bytes = |value: &Value| value.as_array()?.iter().map(|byte| byte.as_u64().map(|byte| byte as u8)).collect();
        let all = self.column(name)?.each("bytes", Vec::new, bytes)?;
        Ok(BinaryValues { offsets: offsets(all.iter().map(Vec::len)), data: all.concat() })
    }

    fn with(&self, name: &str, type_name: &str, values: impl Iterator<Item = Value>, valid: Option<&[u64]>) -> Result<Self> {
        let is_valid = |row: usize| valid.is_none_or(|words| words[row / 64] >> (row % 64) & 1 == 1);
        let values: Vec<Value> = values.enumerate().map(|(row, value)| if is_valid(row) { value } else { Value::Null }).collect();
        if values.len() != self.rows {
            return Err(DataError::OutOfRange(format!("column {name:?}: {} values for {} rows", values.len(), self.rows)));
        }
        Ok(self.with_column(Column::new(name, type_name, values)))
    }

    /// The batch with a column added, or replaced; a replaced one keeps its metadata, and its type where `kept` says so.
    pub(crate) fn with_column(&self, mut column: Column) -> Self {
        let mut columns = self.columns.to_vec();
        match columns.iter_mut().find(|other| other.field.name == column.field.name) {
            Some(other) => {
                let (old, new) = (&other.field.type_name, &column.field.type_name);
                if is_whole(old) && is_whole(new) || is_real(old) && is_real(new) {
                    column.field.type_name = old.clone();
                }
                column.field.metadata = other.field.metadata.clone();
                *other = column;
            }
            None => columns.push(column),
        }
        Self::of(self.rows, columns)
    }

    pub(crate) fn with_int64_column(&self, name: &str, values: &[i64], valid: Option<&[u64]>) -> Result<Self> {
        self.with(name, "int64", values.iter().map(|value| json!(value)), valid)
    }

    pub(crate) fn with_float64_column(&self, name: &str, values: &[f64], valid: Option<&[u64]>) -> Result<Self> {
        self.with(name, "double", values.iter().map(|value| json!(value)), valid)
    }

    pub(crate) fn with_boolean_column(&self, name: &str, values: &[bool], valid: Option<&[u64]>) -> Result<Self> {
        self.with(name, "bool", values.iter().map(|value| json!(value)), valid)
    }

    pub(crate) fn with_text_column(&self, name: &str, values: &TextValues, valid: Option<&[u64]>) -> Result<Self> {
        let texts = values.offsets.windows(2).map(|pair| json!(values.text[pair[0] as usize..pair[1] as usize]));
        self.with(name, "string", texts, valid)
    }

    pub(crate) fn with_binary_column(&self, name: &str, values: &BinaryValues, valid: Option<&[u64]>) -> Result<Self> {
        let all = values.offsets.windows(2).map(|pair| json!(values.data[pair[0] as usize..pair[1] as usize]));
        self.with(name, "binary", all, valid)
    }

    pub(crate) fn with_column_metadata(&self, name: &str, metadata: &[(String, String)]) -> Result<Self> {
        let mut column = self.column(name)?.clone();
        column.field.metadata = metadata.to_vec();
        let replaced = |other: &Column| if other.field.name == name { column.clone() } else { other.clone() };
        Ok(Self::of(self.rows, self.columns.iter().map(replaced).collect()))
    }

    pub(crate) fn cast_column(&self, name: &str, type_name: &str) -> Result<Self> {
        let column = self.column(name)?;
        let values = column.values.iter().map(|value| cast(value, type_name)).collect::<Result<_>>()?;
        let field = Field { type_name: type_name.into(), ..column.field.clone() };
        let columns = self.columns.iter().map(|other| {
            if other.field.name == name {
                Column { field: field.clone(), values: Vec::clone(&values) }
            } else {
                other.clone()
            }
        });
        Ok(Self::of(self.rows, columns.collect()))
    }

    pub(crate) fn select(&self, names: &[String]) -> Result<Self> {
        let columns = names.iter().map(|name| self.column(name).cloned()).collect::<Result<_>>()?;
        Ok(Self::of(self.rows, columns))
    }

    pub(crate) fn rename_column(&self, name: &str, to: &str) -> Result<Self> {
        self.column(name)?;
        if name != to && self.column(to).is_ok() {
            return Err(DataError::OutOfRange(format!("the name {to:?} is taken")));
        }
        let mut columns = self.columns.to_vec();
        columns.iter_mut().filter(|column| column.field.name == name).for_each(|column| column.field.name = to.into());
        Ok(Self::of(self.rows, columns))
    }

    pub(crate) fn filter(&self, mask: &[u64]) -> Result<Self> {
        if mask.len() < self.rows.div_ceil(64) {
            return Err(DataError::OutOfRange("the mask is too short".into()));
        }
        let rows: Vec<usize> = (0..self.rows).filter(|row| mask[row / 64] >> (row % 64) & 1 == 1).collect();
        Ok(self.take(&rows))
    }

    pub(crate) fn slice(&self, offset: u32, length: u32) -> Result<Self> {
        let (begin, end) = (offset as usize, offset as usize + length as usize);
        if end > self.rows {
            return Err(DataError::OutOfRange(format!("rows {begin} to {end} of {}", self.rows)));
        }
        Ok(self.take(&(begin..end).collect::<Vec<_>>()))
    }

    /// The rows of these numbers.
    pub(crate) fn take(&self, rows: &[usize]) -> Self {
        let taken =
            |column: &Column| Column { field: column.field.clone(), values: rows.iter().map(|row| column.values[*row].clone()).collect() };
        Self::of(rows.len(), self.columns.iter().map(taken).collect())
    }

    pub(crate) fn to_json_lines(&self) -> Result<String> {
        let record = |row: usize| -> Map<String, Value> {
            self.columns.iter().map(|column| (column.field.name.clone(), column.values[row].clone())).collect()
        };
        Ok((0..self.rows).map(|row| format!("{}\n", Value::Object(record(row)))).collect())
    }

    pub(crate) fn to_arrow(&self) -> Result<Vec<u8>> {
        Err(only_in_a_component("Arrow streams"))
    }
}

pub(crate) fn only_in_a_component(what: &str) -> DataError {
    DataError::Other(format!("{what}: the host in memory does not have it, test it in the sandbox with `dataflare test`"))
}

fn offsets(lengths: impl Iterator<Item = usize>) -> Vec<u32> {
    let ends = lengths.scan(0, |end, length| {
        *end += length as u32;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

pub(crate) fn cast(value: &Value, type_name: &str) -> Result<Value> {
    let malformed = || DataError::Malformed(format!("{value} cannot be converted to {type_name}"));
    if value.is_null() {
        return Ok(Value::Null);
    }
    Ok(match type_name {
        kind if is_whole(kind) => match value {
            Value::String(text) => json!(text.trim().parse::<i64>().map_err(|_| malformed())?),
            Value::Bool(value) => json!(i64::from(*value)),
            value if value.as_f64().is_some_and(|real| real.fract() == 0.0) => {
                json!(value.as_i64().or(value.as_f64().map(|real| real as i64)))
            }
            _ => return Err(malformed()),
        },
        kind if is_real(kind) => match value {
            Value::String(text) => json!(text.trim().parse::<f64>().map_err(|_| malformed())?),
            value => json!(value.as_f64().ok_or_else(malformed)?),
        },
        "bool" => json!(value.as_bool().ok_or_else(malformed)?),
        "string" | "large_string" => match value {
            Value::String(_) => value.clone(),
            Value::Number(_) | Value::Bool(_) => json!(value.to_string()),
            _ => return Err(malformed()),
        },
        // Of other types, a value is kept as JSON writes it.
        _ => value.clone(),
    })
}

pub(crate) fn new_batch(rows: u32) -> Batch {
    Batch::of(rows as usize, Vec::new())
}

pub(crate) fn from_arrow(_: &[u8]) -> Result<Batch> {
    Err(only_in_a_component("Arrow streams"))
}

pub(crate) fn from_json_lines(lines: &str, schema: Option<&Schema>) -> Result<Batch> {
    let read = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| DataError::Malformed(format!("line {}: {error}", number + 1)))
    };
    let records: Vec<Map<String, Value>> = lines.lines().enumerate().map(read).collect::<Result<_>>()?;
    let values = |name: &str| records.iter().map(|record| record.get(name).cloned().unwrap_or_default()).collect::<Vec<Value>>();
    let columns = match schema {
        Some(schema) => schema
            .fields
            .iter()
            .map(|field| {
                let values = values(&field.name).iter().map(|value| fitted(value, field)).collect::<Result<_>>()?;
                Ok(Column { field: field.clone(), values })
            })
            .collect::<Result<_>>()?,
        None => {
            let mut names: Vec<&String> = Vec::new();
            records.iter().flat_map(Map::keys).for_each(|name| {
                if !names.contains(&name) {
                    names.push(name)
                }
            });
            names.into_iter().map(|name| inferred(name, values(name))).collect()
        }
    };
    Ok(Batch::of(records.len(), columns))
}

/// A value that fits a field, without a conversion that JSON does not have.
fn fitted(value: &Value, field: &Field) -> Result<Value> {
    let fits = match field.type_name.as_str() {
        _ if value.is_null() => true,
        kind if is_whole(kind) => value.is_i64() || value.is_u64(),
        kind if is_real(kind) => value.is_number(),
        "bool" => value.is_boolean(),
        "string" | "large_string" => value.is_string(),
        _ => true,
    };
    if !fits {
        return Err(DataError::Malformed(format!("column {:?}: {value} is not {}", field.name, field.type_name)));
    }
    if is_real(&field.type_name) {
        cast(value, "double")
    } else {
        Ok(value.clone())
    }
}

fn inferred(name: &str, values: Vec<Value>) -> Column {
    let all = |fits: fn(&Value) -> bool| values.iter().all(|value| value.is_null() || fits(value));
    let type_name = match () {
        () if all(|_| false) => "null",
        () if all(Value::is_i64) => "int64",
        () if all(Value::is_number) => "double",
        () if all(Value::is_boolean) => "bool",
        () if all(Value::is_string) => "string",
        () => "json",
    };
    let values = if type_name == "double" { values.iter().map(|value| json!(value.as_f64())).collect() } else { values };
    Column::new(name, type_name, values)
}

pub(crate) fn concat(parts: &[&Batch]) -> Result<Batch> {
    let Some(first) = parts.first() else { return Err(DataError::OutOfRange("there are no parts".into())) };
    let mut columns = first.columns.to_vec();
    for part in &parts[1..] {
        for (column, more) in columns.iter_mut().zip(part.columns.iter()) {
            if column.field != more.field {
                return Err(more.wrong_type(&column.field.type_name));
            }
            column.values.extend(more.values.iter().cloned());
        }
    }
    Ok(Batch::of(parts.iter().map(|part| part.rows).sum(), columns))
}
