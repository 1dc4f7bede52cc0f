//! Records that serde writes, made into columns.

use std::borrow::Cow;
use std::fmt;

use serde::ser::{Error as _, Impossible, SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

use crate::column::{IntoColumn, TextBuilder};
use crate::{Batch, Bitmap, Field, Result, Schema};

/// Make a batch of records that came of another batch's. Columns that both have keep their types and metadata.
pub(super) fn write<T: Serialize>(from: &Batch, records: &[T]) -> Result<Batch> {
    if records.is_empty() {
        return from.slice(0, 0);
    }
    let mut columns = Columns::default();
    for record in records {
        if record.serialize(&mut columns).is_err() {
            return by_json(from, records);
        }
        columns.end_row();
    }
    let known = from.schema().fields;
    let mut made = from.slice(0, records.len())?;
    let names: Vec<_> = columns.columns.iter().map(|column| column.name.to_string()).collect();
    for Builder { name, values, .. } in columns.columns {
        let had = known.iter().find(|field| field.name == name);
        let put = match values {
            Values::Nulls(rows) => match had {
                Some(_) => vec![None::<i64>; rows].put(&made, &name),
                None => return by_json(from, records),
            },
            Values::Whole(values, valid) => (values.as_slice(), Some(&valid)).put(&made, &name),
            Values::Real(values, valid) => (values.as_slice(), Some(&valid)).put(&made, &name),
            Values::Bool(values, valid) => (values.as_slice(), Some(&valid)).put(&made, &name),
            Values::Text(texts) => texts.put(&made, &name),
        };
        made = put?;
        if let Some(had) = had {
            if made.schema().fields.iter().any(|field| field.name == name && field.type_name != had.type_name) {
                match made.cast(&name, &had.type_name) {
                    Ok(cast) => made = cast,
                    Err(_) => return by_json(from, records),
                }
            }
        }
    }
    made.select(names)
}

/// The way of what columns of plain values cannot hold: the host reads JSON.
fn by_json<T: Serialize>(from: &Batch, records: &[T]) -> Result<Batch> {
    let made = Batch::from_records(records, None)?;
    let known = from.schema().fields;
    let of_name = |field: Field| known.iter().find(|known| known.name == field.name).cloned().unwrap_or(field);
    let schema = Schema::new(made.schema().fields.into_iter().map(of_name));
    Batch::from_records(records, Some(&schema))
}

/// A record has something that plain columns cannot hold.
#[derive(Debug)]
struct Unsuited;

impl fmt::Display for Unsuited {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("columns of plain values cannot hold it")
    }
}

impl std::error::Error for Unsuited {}

impl serde::ser::Error for Unsuited {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

#[derive(Default)]
struct Columns {
    columns: Vec<Builder>,
    rows: usize,
    at: usize,
}

struct Builder {
    name: Cow<'static, str>,
    values: Values,
    rows: usize,
}

enum Values {
    Nulls(usize),
    Whole(Vec<i64>, Bitmap),
    Real(Vec<f64>, Bitmap),
    Bool(Vec<bool>, Bitmap),
    Text(TextBuilder),
}

impl Columns {
    /// The column of a name: most often the one after the last.
    #[inline]
    fn field<T: Serialize + ?Sized>(&mut self, name: Cow<'static, str>, value: &T) -> Result<(), Unsuited> {
        let rows = self.rows;
        if self.columns.get(self.at).is_none_or(|column| column.name != name) {
            self.at = self.columns.iter().position(|column| column.name == name).unwrap_or_else(|| {
                self.columns.push(Builder { name, values: Values::Nulls(rows), rows });
                self.columns.len() - 1
            });
        }
        let column = &mut self.columns[self.at];
        if column.rows != rows {
            return Err(Unsuited);
        }
        self.at += 1;
        column.rows += 1;
        value.serialize(&mut *column)
    }

    fn end_row(&mut self) {
        self.rows += 1;
        self.at = 0;
        for column in &mut self.columns {
            if column.rows < self.rows {
                column.rows += 1;
                column.push_null();
            }
        }
    }
}

macro_rules! push {
    ($self:ident, $case:ident, $value:expr) => {{
        loop {
            match &mut $self.values {
                Values::$case(values, valid) => {
                    values.push($value);
                    valid.push(true);
                    return Ok(());
                }
                Values::Nulls(rows) => {
                    let (rows, mut valid) = (*rows, Bitmap::default());
                    (0..rows).for_each(|_| valid.push(false));
                    $self.values = Values::$case(vec![Default::default(); rows], valid);
                }
                _ => return Err(Unsuited),
            }
        }
    }};
}

impl Builder {
    fn push_null(&mut self) {
        match &mut self.values {
            Values::Nulls(rows) => *rows += 1,
            Values::Whole(values, valid) => {
                values.push(0);
                valid.push(false);
            }
            Values::Real(values, valid) => {
                values.push(0.0);
                valid.push(false);
            }
            Values::Bool(values, valid) => {
                values.push(false);
                valid.push(false);
            }
            Values::Text(texts) => texts.push(None),
        }
    }
}

/// What no column of plain values holds.
macro_rules! unsuited {
    ($($name:ident($($argument:ty),*) -> $result:ty;)*) => {
        $(fn $name(self, $(_: $argument),*) -> Result<$result, Unsuited> {
            Err(Unsuited)
        })*
    };
}

impl Serializer for &mut Builder {
    type Ok = ();
    type Error = Unsuited;
    type SerializeSeq = Impossible<(), Unsuited>;
    type SerializeTuple = Impossible<(), Unsuited>;
    type SerializeTupleStruct = Impossible<(), Unsuited>;
    type SerializeTupleVariant = Impossible<(), Unsuited>;
    type SerializeMap = Impossible<(), Unsuited>;
    type SerializeStruct = Impossible<(), Unsuited>;
    type SerializeStructVariant = Impossible<(), Unsuited>;

    #[inline]
    fn serialize_bool(self, value: bool) -> Result<(), Unsuited> {
        push!(self, Bool, value)
    }

    #[inline]
    fn serialize_i64(self, value: i64) -> Result<(), Unsuited> {
        push!(self, Whole, value)
    }

    #[inline]
    fn serialize_f64(self, value: f64) -> Result<(), Unsuited> {
        push!(self, Real, value)
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Unsuited> {
        if let Values::Nulls(rows) = self.values {
            let mut texts = TextBuilder::default();
            (0..rows).for_each(|_| texts.push(None));
            self.values = Values::Text(texts);
        }
        let Values::Text(texts) = &mut self.values else { return Err(Unsuited) };
        texts.push(Some(value));
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Unsuited> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Unsuited> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Unsuited> {
        self.serialize_i64(value.into())
    }

    fn serialize_u8(self, value: u8) -> Result<(), Unsuited> {
        self.serialize_i64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Unsuited> {
        self.serialize_i64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), Unsuited> {
        self.serialize_i64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Unsuited> {
        self.serialize_i64(value.try_into().map_err(Unsuited::custom)?)
    }

    fn serialize_char(self, value: char) -> Result<(), Unsuited> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_none(self) -> Result<(), Unsuited> {
        self.push_null();
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unsuited> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Unsuited> {
        self.serialize_none()
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Unsuited> {
        self.serialize_none()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Unsuited> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Unsuited> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(self, _: &'static str, _: u32, _: &'static str, _: &T) -> Result<(), Unsuited> {
        Err(Unsuited)
    }

    // JSON has the shortest text of a 32-bit float, whose nearest double is another.
    unsuited! {
        serialize_f32(f32) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }
}

impl<'a> Serializer for &'a mut Columns {
    type Ok = ();
    type Error = Unsuited;
    type SerializeSeq = Impossible<(), Unsuited>;
    type SerializeTuple = Impossible<(), Unsuited>;
    type SerializeTupleStruct = Impossible<(), Unsuited>;
    type SerializeTupleVariant = Impossible<(), Unsuited>;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Impossible<(), Unsuited>;

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Unsuited> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries<'a>, Unsuited> {
        Ok(Entries { columns: self, key: String::new() })
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Unsuited> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Unsuited> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(self, _: &'static str, _: u32, _: &'static str, _: &T) -> Result<(), Unsuited> {
        Err(Unsuited)
    }

    // A record is an object: what is not one is refused where it is read as JSON.
    unsuited! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_u8(u8) -> ();
        serialize_u16(u16) -> ();
        serialize_u32(u32) -> ();
        serialize_u64(u64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_bytes(&[u8]) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant;
    }
}

impl SerializeStruct for &mut Columns {
    type Ok = ();
    type Error = Unsuited;

    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<(), Unsuited> {
        self.field(Cow::Borrowed(key), value)
    }

    fn end(self) -> Result<(), Unsuited> {
        Ok(())
    }
}

struct Entries<'a> {
    columns: &'a mut Columns,
    key: String,
}

impl SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = Unsuited;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unsuited> {
        match serde_json::to_value(key).map_err(Unsuited::custom)? {
            serde_json::Value::String(key) => self.key = key,
            _ => return Err(Unsuited),
        }
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsuited> {
        self.columns.field(Cow::Owned(std::mem::take(&mut self.key)), value)
    }

    fn end(self) -> Result<(), Unsuited> {
        Ok(())
    }
}
