//! Records that serde writes, made into columns.

use std::borrow::Cow;
use std::fmt;

use serde::ser::{Error as _, Impossible, SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

use crate::column::{IntoColumn, TextBuilder};
use crate::{Batch, Bitmap, Error, Field, Result, Schema};

/// Writes records that come of a batch's. Columns that both have keep their types and metadata.
pub(super) struct Writer<'a> {
    from: &'a Batch,
    columns: Columns,
    /// All records as JSON Lines, from the first one on that plain columns cannot hold.
    lines: Option<Vec<u8>>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(from: &'a Batch) -> Self {
        Self { from, columns: Columns::default(), lines: None }
    }

    #[inline]
    pub(super) fn push<T: Serialize>(&mut self, record: &T) -> Result<()> {
        if self.lines.is_none() {
            if record.serialize(&mut self.columns).is_ok() {
                self.columns.end_row();
                return Ok(());
            }
            self.turn_to_json()?;
        }
        let lines = self.lines.get_or_insert_default();
        serde_json::to_writer(&mut *lines, record)?;
        lines.push(b'\n');
        Ok(())
    }

    /// Write out as JSON what the columns hold.
    fn turn_to_json(&mut self) -> Result<()> {
        let mut columns = std::mem::take(&mut self.columns);
        let rows = columns.rows;
        // The record that failed may have values there already: they are a row too many.
        columns.end_row();
        let mut made = Batch::of_rows(rows + 1);
        for column in columns.columns {
            made = column.values.put(&made, &column.name)?;
        }
        self.lines = Some(made.slice(0, rows)?.to_json_lines()?.into_bytes());
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Batch> {
        let rows = self.columns.rows;
        // A column without a value has no type of its own.
        let known = self.from.schema().fields;
        let is_known = |column: &Builder| known.iter().any(|field| field.name == column.name);
        if self.columns.columns.iter().any(|column| matches!(column.values, Values::Nulls(_)) && !is_known(column)) {
            self.turn_to_json()?;
        }
        if let Some(lines) = self.lines {
            return by_json(&known, lines);
        }
        let mut made = self.from.slice(0, rows)?;
        if rows == 0 {
            return Ok(made);
        }
        let names: Vec<String> = self.columns.columns.iter().map(|column| column.name.to_string()).collect();
        for column in self.columns.columns {
            made = column.values.put(&made, &column.name)?;
        }
        for field in made.schema().fields {
            if let Some(had) = known.iter().find(|had| had.name == field.name && had.type_name != field.type_name) {
                made = made.cast(&field.name, &had.type_name)?;
            }
        }
        made.select(names)
    }
}

/// A batch of JSON Lines; those columns that are known have their types.
fn by_json(known: &[Field], lines: Vec<u8>) -> Result<Batch> {
    let lines = String::from_utf8(lines).map_err(|error| Error::Internal(error.to_string()))?;
    let inferred = Batch::from_json_lines(&lines, None)?.schema();
    let of_name = |field: Field| known.iter().find(|known| known.name == field.name).cloned().unwrap_or(field);
    Batch::from_json_lines(&lines, Some(&Schema::new(inferred.fields.into_iter().map(of_name))))
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
    Whole(Plain<i64>),
    Real(Plain<f64>),
    Bool(Plain<bool>),
    Text(TextBuilder),
}

/// Values of one type; the bitmap begins with the first null.
#[derive(Default)]
struct Plain<T> {
    values: Vec<T>,
    valid: Option<Bitmap>,
}

impl<T: Copy + Default> Plain<T> {
    fn of_nulls(rows: usize) -> Self {
        let mut made = Self::default();
        (0..rows).for_each(|_| made.push_null());
        made
    }

    #[inline]
    fn push(&mut self, value: T) {
        self.values.push(value);
        if let Some(valid) = &mut self.valid {
            valid.push(true);
        }
    }

    fn push_null(&mut self) {
        let rows = self.values.len();
        self.values.push(T::default());
        self.valid.get_or_insert_with(|| Bitmap::from_words(None, rows)).push(false);
    }
}

impl IntoColumn for Values {
    fn put(self, batch: &Batch, name: &str) -> Result<Batch> {
        match self {
            Self::Nulls(rows) => vec![None::<i64>; rows].put(batch, name),
            Self::Whole(plain) => (plain.values.as_slice(), plain.valid.as_ref()).put(batch, name),
            Self::Real(plain) => (plain.values.as_slice(), plain.valid.as_ref()).put(batch, name),
            Self::Bool(plain) => (plain.values.as_slice(), plain.valid.as_ref()).put(batch, name),
            Self::Text(texts) => texts.put(batch, name),
        }
    }
}

impl Columns {
    /// Add a value to the column of a name: most often the one after the last.
    #[inline(always)]
    fn field<T: Serialize + ?Sized>(&mut self, name: &str, own: impl FnOnce() -> Cow<'static, str>, value: &T) -> Result<(), Unsuited> {
        let rows = self.rows;
        // The names of a struct's fields are always the same ones: looking at where they are is enough, most often.
        let is_it = |column: &Builder| std::ptr::eq(&*column.name, name) || column.name == name;
        if !self.columns.get(self.at).is_some_and(is_it) {
            self.find(name, own);
        }
        let column = &mut self.columns[self.at];
        if column.rows != rows {
            return Err(Unsuited);
        }
        value.serialize(&mut *column)?;
        column.rows += 1;
        self.at += 1;
        Ok(())
    }

    #[cold]
    fn find(&mut self, name: &str, own: impl FnOnce() -> Cow<'static, str>) {
        self.at = self.columns.iter().position(|column| column.name == name).unwrap_or_else(|| {
            self.columns.push(Builder { name: own(), values: Values::Nulls(self.rows), rows: self.rows });
            self.columns.len() - 1
        });
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
        if let Values::Nulls(rows) = $self.values {
            $self.values = Values::$case(Plain::of_nulls(rows));
        }
        let Values::$case(plain) = &mut $self.values else { return Err(Unsuited) };
        plain.push($value);
        Ok(())
    }};
}

impl Builder {
    fn push_null(&mut self) {
        match &mut self.values {
            Values::Nulls(rows) => *rows += 1,
            Values::Whole(plain) => plain.push_null(),
            Values::Real(plain) => plain.push_null(),
            Values::Bool(plain) => plain.push_null(),
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
        self.field(key, || Cow::Borrowed(key), value)
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
        let key = std::mem::take(&mut self.key);
        self.columns.field(&key, || Cow::Owned(key.clone()), value)
    }

    fn end(self) -> Result<(), Unsuited> {
        Ok(())
    }
}
