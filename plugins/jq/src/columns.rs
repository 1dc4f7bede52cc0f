//! The columns of what a script makes of a batch: those that it leaves as they are keep their types.

use std::collections::HashMap;

use jaq_json::{read, Map, Num, Rc, Val};

use crate::dataflare::data::batches::{from_json_lines, Batch, DataError};
use crate::dataflare::data::schemas::{Field, Schema};
use crate::exports::dataflare::plugin::lifecycle::Error;
use crate::writing::{field_name, fields, text, write_field};

/// Kinds of values, a bit each.
const BOOL: u8 = 1;
const WHOLE: u8 = 2;
const REAL: u8 = 4;
const TEXT: u8 = 8;
const NESTED: u8 = 16;

/// What is made of a batch's records.
pub struct Columns {
    before: Schema,
    /// Columns whose values JSON Lines have as texts, though a script takes them for numbers.
    numbers: Vec<(Val, bool)>,
    lines: String,
    cells: Vec<Cell>,
    /// How many cells there are up to the end of each row.
    row_ends: Vec<usize>,
    made: Vec<Made>,
    places: HashMap<String, usize>,
}

/// A column of the result: which kinds of values it has, and in how many rows it has one.
struct Made {
    name: String,
    kinds: u8,
    values: usize,
    /// Whether it is a column of the batch that has NaN and infinities as texts.
    floating: bool,
}

/// Where a field with its name stands in the lines.
struct Cell {
    column: usize,
    start: usize,
    end: usize,
}

impl Columns {
    pub fn new(before: Schema) -> Self {
        let numbers = before.fields.iter().filter_map(|field| match field.type_name.as_str() {
            other if is_floating(other) => Some((Val::utf8_str(field.name.clone().into_bytes()), false)),
            other if other.starts_with("decimal") => Some((Val::utf8_str(field.name.clone().into_bytes()), true)),
            _ => None,
        });
        let numbers = numbers.collect();
        Self { before, numbers, lines: String::new(), cells: Vec::new(), row_ends: Vec::new(), made: Vec::new(), places: HashMap::new() }
    }

    /// A record as the script gets it: decimals, NaN and infinities are numbers.
    pub fn typed(&self, mut record: Val) -> Val {
        if let Val::Obj(fields) = &mut record {
            if let Some(fields) = Rc::get_mut(fields) {
                self.numbers.iter().for_each(|(name, decimal)| to_number(fields, name, *decimal));
            }
        }
        record
    }

    /// Add a record that the script made.
    pub fn push(&mut self, record: &Val) -> Result<(), String> {
        self.lines.push('{');
        for (place, (name, value)) in fields(record)?.iter().enumerate() {
            let name = field_name(name)?;
            let at = self.column(name);
            let made = &mut self.made[at];
            made.kinds |= kind(value);
            made.values += usize::from(!matches!(value, Val::Null));
            if place > 0 {
                self.lines.push(',');
            }
            let start = self.lines.len();
            write_field(name, value, &mut self.lines, made.floating)?;
            self.cells.push(Cell { column: at, start, end: self.lines.len() });
        }
        self.lines.push_str("}\n");
        self.row_ends.push(self.cells.len());
        Ok(())
    }

    /// The place of a column among those that are made.
    fn column(&mut self, name: &str) -> usize {
        if let Some(at) = self.places.get(name) {
            return *at;
        }
        let floating = self.before.fields.iter().any(|field| field.name == name && is_floating(&field.type_name));
        self.made.push(Made { name: name.into(), kinds: 0, values: 0, floating });
        self.places.insert(name.into(), self.made.len() - 1);
        self.made.len() - 1
    }

    /// The batch.
    pub fn finish(self, input: Batch) -> Result<Batch, Error> {
        if self.row_ends.is_empty() {
            return input.slice(0, 0).map_err(Error::Data);
        }
        let schema = self.schema().map_err(Error::Data)?;
        drop(input);
        from_json_lines(&self.lines, Some(&schema)).map_err(Error::Data)
    }

    fn schema(&self) -> Result<Schema, DataError> {
        let known: Vec<Option<Field>> = self.made.iter().map(|made| self.kept(made)).collect();
        let new = match known.iter().any(Option::is_none) {
            true => from_json_lines(&self.lines_of(|column| known[column].is_none()), None)?.schema().fields,
            false => Vec::new(),
        };
        let inferred = |made: &Made| new.iter().find(|field| field.name == made.name).cloned();
        let fields = self.made.iter().zip(&known).filter_map(|(made, known)| known.clone().or_else(|| inferred(made))).collect();
        Ok(Schema { fields, metadata: self.before.metadata.clone() })
    }

    /// The records with some of their columns alone.
    fn lines_of(&self, wanted: impl Fn(usize) -> bool) -> String {
        let mut lines = String::new();
        let mut begin = 0;
        for end in &self.row_ends {
            let cells = self.cells[begin..*end].iter().filter(|cell| wanted(cell.column));
            let texts: Vec<&str> = cells.map(|cell| &self.lines[cell.start..cell.end]).collect();
            lines.push('{');
            lines.push_str(&texts.join(","));
            lines.push_str("}\n");
            begin = *end;
        }
        lines
    }

    /// The field of the batch that this column still is; `None` if the script made something else of it.
    fn kept(&self, made: &Made) -> Option<Field> {
        let field = self.before.fields.iter().find(|field| field.name == made.name)?;
        let fits = made.kinds & !kinds_of(&field.type_name) == 0;
        fits.then(|| Field { nullable: field.nullable || made.values < self.row_ends.len(), ..field.clone() })
    }
}

fn to_number(fields: &mut Map, name: &Val, decimal: bool) {
    if let Some(value) = fields.get_mut(name) {
        let number = match text(value) {
            Ok("NaN") => Num::Float(f64::NAN),
            Ok("Infinity") => Num::Float(f64::INFINITY),
            Ok("-Infinity") => Num::Float(f64::NEG_INFINITY),
            Ok(digits) if decimal => match read::parse_single(digits.as_bytes()) {
                Ok(Val::Num(number)) => number,
                _ => return,
            },
            _ => return,
        };
        *value = Val::Num(number);
    }
}

fn kind(value: &Val) -> u8 {
    match value {
        Val::Null => 0,
        Val::Bool(_) => BOOL,
        Val::Num(Num::Int(_) | Num::BigInt(_)) => WHOLE,
        Val::Num(_) => REAL,
        Val::BStr(_) | Val::TStr(_) => TEXT,
        Val::Arr(_) | Val::Obj(_) => NESTED,
    }
}

fn is_floating(type_name: &str) -> bool {
    matches!(type_name, "double" | "float" | "halffloat")
}

/// The kinds of values that JSON Lines have of a type.
fn kinds_of(type_name: &str) -> u8 {
    match type_name.split(['<', '(', '[']).next().unwrap_or_default() {
        "null" => 0,
        "bool" => BOOL,
        "int8" | "int16" | "int32" | "int64" | "uint8" | "uint16" | "uint32" | "uint64" | "duration" => WHOLE,
        "double" | "float" | "halffloat" => WHOLE | REAL,
        decimal if decimal.starts_with("decimal") => WHOLE | REAL,
        "list" | "large_list" | "fixed_size_list" | "struct" | "map" => NESTED,
        _ => TEXT,
    }
}
