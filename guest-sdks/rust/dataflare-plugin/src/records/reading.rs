//! Rows of columns, as serde reads them.

use std::cell::Cell;

use serde::de::value::{Error, StrDeserializer};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

use crate::{Batch, Column, Result};

type Fields = &'static [&'static str];

/// The fields of a struct; `None` for any other type.
pub(super) fn fields_of<T: DeserializeOwned>() -> Option<Fields> {
    let found = Cell::new(None);
    // It never gets a value: it is only asked what it wants.
    let _ = T::deserialize(Probe(&found));
    found.get()
}

struct Probe<'a>(&'a Cell<Option<Fields>>);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("a probe has no value"))
    }

    fn deserialize_struct<V: Visitor<'de>>(self, _: &'static str, fields: Fields, visitor: V) -> Result<V::Value, Error> {
        self.0.set(Some(fields));
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}

/// The values of a column, by what JSON would have for them.
enum Cells {
    Whole(Column<i64>),
    Real(Column<f64>),
    Bool(Column<bool>),
    Text(Column<str>),
    /// What JSON alone has values for: dates, decimals, lists and so on.
    Json(Vec<Value>),
}

impl Cells {
    fn read(batch: &Batch, name: &str, type_name: &str) -> Result<Self> {
        Ok(match type_name {
            "int8" | "int16" | "int32" | "int64" | "uint8" | "uint16" | "uint32" => Self::Whole(batch.column(name)?),
            "double" => Self::Real(batch.column(name)?),
            "bool" => Self::Bool(batch.column(name)?),
            "string" | "large_string" => Self::Text(batch.column(name)?),
            _ => {
                let lines = batch.select([name])?.to_json_lines()?;
                let values = lines.lines().map(|line| serde_json::from_str(line).map(|mut record: Value| record[name].take()));
                Self::Json(values.collect::<Result<_, _>>()?)
            }
        })
    }

    #[inline(always)]
    fn value(&self, row: usize) -> CellValue<'_> {
        let value = match self {
            Self::Whole(column) => column.get(row).map(CellValue::Whole),
            Self::Real(column) => column.get(row).map(CellValue::Real),
            Self::Bool(column) => column.get(row).map(CellValue::Bool),
            Self::Text(column) => column.get(row).map(CellValue::Text),
            Self::Json(values) => Some(CellValue::Json(&values[row])),
        };
        value.unwrap_or(CellValue::Null)
    }
}

/// The columns that a struct has fields for; `None` for a field without one.
pub(super) struct Table {
    fields: Fields,
    columns: Vec<Option<Cells>>,
}

impl Table {
    pub(super) fn new(batch: &Batch, fields: Fields) -> Result<Self> {
        let schema = batch.schema();
        let column = |name: &&str| {
            let field = schema.fields.iter().find(|field| field.name == *name)?;
            Some(Cells::read(batch, name, &field.type_name))
        };
        Ok(Self { fields, columns: fields.iter().map(|name| column(name).transpose()).collect::<Result<_>>()? })
    }

    /// Whether each field has a column.
    pub(super) fn is_complete(&self) -> bool {
        self.columns.iter().all(Option::is_some)
    }

    /// A row: by position, with the number of values that were taken, or by the names of the columns.
    pub(super) fn row<'a>(&'a self, row: usize, by_position: Option<&'a Cell<usize>>) -> Row<'a> {
        Row { table: self, row, at: 0, by_position }
    }
}

pub(super) struct Row<'a> {
    table: &'a Table,
    row: usize,
    at: usize,
    by_position: Option<&'a Cell<usize>>,
}

impl<'de> Deserializer<'de> for Row<'de> {
    type Error = Error;

    #[inline]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.by_position {
            Some(_) => visitor.visit_seq(self),
            None => visitor.visit_map(self),
        }
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> SeqAccess<'de> for Row<'de> {
    type Error = Error;

    #[inline(always)]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(Some(cells)) = self.table.columns.get(self.at) else { return Ok(None) };
        self.at += 1;
        if let Some(taken) = self.by_position {
            taken.set(self.at);
        }
        seed.deserialize(cells.value(self.row)).map(Some)
    }
}

impl<'de> MapAccess<'de> for Row<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        while self.table.columns.get(self.at).is_some_and(Option::is_none) {
            self.at += 1;
        }
        let Some(name) = self.table.fields.get(self.at) else { return Ok(None) };
        let name: StrDeserializer<Error> = (*name).into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (name, at) = (self.table.fields[self.at], self.at);
        self.at += 1;
        let Some(cells) = &self.table.columns[at] else { return Err(Error::missing_field(name)) };
        seed.deserialize(cells.value(self.row)).map_err(|error| Error::custom(format_args!("{name}: {error}")))
    }
}

#[derive(Clone, Copy)]
enum CellValue<'a> {
    Null,
    Whole(i64),
    Real(f64),
    Bool(bool),
    Text(&'a str),
    Json(&'a Value),
}

fn json_error(error: serde_json::Error) -> Error {
    Error::custom(error)
}

impl<'de> Deserializer<'de> for CellValue<'de> {
    type Error = Error;

    #[inline(always)]
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Whole(value) => visitor.visit_i64(value),
            Self::Real(value) => visitor.visit_f64(value),
            Self::Bool(value) => visitor.visit_bool(value),
            Self::Text(value) => visitor.visit_borrowed_str(value),
            Self::Json(value) => value.deserialize_any(visitor).map_err(json_error),
        }
    }

    #[inline(always)]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Null | Self::Json(Value::Null) => visitor.visit_none(),
            value => visitor.visit_some(value),
        }
    }

    #[inline(always)]
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Json(value) => value.deserialize_newtype_struct(name, visitor).map_err(json_error),
            value => visitor.visit_newtype_struct(value),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(self, name: &'static str, variants: Fields, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Text(value) => visitor.visit_enum(IntoDeserializer::<Error>::into_deserializer(value)),
            Self::Json(value) => value.deserialize_enum(name, variants, visitor).map_err(json_error),
            other => other.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}
