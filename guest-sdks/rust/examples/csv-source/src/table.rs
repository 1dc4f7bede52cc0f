//! What is known of the file after a look at its beginning, and reading batches of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::columns::{Column, Exactness, Inference, Reading};
use crate::records::{Failure, Fields, Part, Place, Records, MAX_RECORD_BYTES};

/// A batch ends early when its records have this many bytes.
const MAX_BATCH_BYTES: usize = 64 << 20;

const MISPLACED: &str = "something other than a delimiter follows the closing quote of a field";
const NOT_UTF_8: &str =
    "the header is not UTF-8: this plugin reads UTF-8 that is not compressed; the connector `csv` reads other encodings and compressed files";

/// The configuration.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub path: String,
    #[serde(default = "default_batch_rows")]
    pub batch_rows: usize,
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
    #[serde(default = "default_null_values")]
    pub null_values: Vec<String>,
    #[serde(default)]
    pub quoted_nulls: bool,
    /// A comma where it is not given.
    pub delimiter: Option<char>,
    #[serde(default = "default_max_record_bytes")]
    pub max_record_bytes: usize,
}

fn default_batch_rows() -> usize {
    65_536
}

fn default_null_values() -> Vec<String> {
    vec![String::new()]
}

fn default_max_record_bytes() -> usize {
    8 << 20
}

impl Config {
    /// Check what the types do not say. The error names the key.
    pub fn check(&self) -> Result<(), String> {
        if self.path.is_empty() {
            return Err("path: give a file or a folder in a granted directory, as `name/rest`".into());
        }
        if !(1..=1 << 20).contains(&self.batch_rows) {
            return Err(format!("batch_rows: {} is not within 1 and 1048576", self.batch_rows));
        }
        if !(1..=MAX_RECORD_BYTES).contains(&self.max_record_bytes) {
            return Err(format!("max_record_bytes: {} is not within 1 and {MAX_RECORD_BYTES}", self.max_record_bytes));
        }
        if let Some(delimiter) = self.delimiter.filter(|each| !each.is_ascii() || matches!(each, '"' | '\r' | '\n')) {
            return Err(format!("delimiter: {delimiter:?} is not an ASCII character other than a quote or a line end"));
        }
        Ok(())
    }

    /// The byte between fields.
    pub fn delimiter(&self) -> u8 {
        self.delimiter.map_or(b',', |delimiter| delimiter as u8)
    }

    /// What tells ways apart in which bytes become values. The types in `columns` are not among them: when a late value does not fit
    /// its column, they are what must be changed before the read goes on.
    pub fn form(&self) -> Fingerprint {
        let mut nulls: Vec<&str> = self.null_values.iter().map(String::as_str).collect();
        nulls.sort_unstable();
        nulls.dedup();
        Fingerprint::of(format!("{:?}", (self.delimiter(), nulls, self.quoted_nulls)).as_bytes())
    }

    fn is_null(&self, field: &[u8]) -> bool {
        self.null_values.iter().any(|text| text.as_bytes() == field)
    }
}

/// Where to go on: the source's state.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub path: String,
    pub offset_bytes: u64,
    pub line: u64,
    pub row: u64,
    /// The file's beginning, the header in it.
    pub head: Fingerprint,
    /// What comes right before `offset_bytes`.
    pub tail: Fingerprint,
    /// The options that the file is read with.
    pub form: Fingerprint,
    /// The files that are read, their columns, and the part; `None` for all columns of all of `path` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selected: Option<Fingerprint>,
}

/// So many bytes of the file, and their digest: another file, though a record begins at the same byte, has others.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    pub bytes: usize,
    pub digest: String,
}

impl Fingerprint {
    /// FNV-1a of 64 bits: it tells files apart, and is no proof against somebody who forges one.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        Self { bytes: bytes.len(), digest: format!("{digest:016x}") }
    }
}

/// What is wrong, seen from the file's beginning.
pub enum Misfit {
    /// `columns` names one that the header does not have.
    Column(String),
    /// The header is broken.
    Broken { line: u64, why: String },
}

/// A column of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnPlan {
    pub name: String,
    pub type_name: String,
    pub reading: Reading,
    pub exactness: Exactness,
    /// Whether the host has to convert what was read to the type.
    pub cast: bool,
}

/// Some rows of the file.
pub struct Rows {
    pub columns: Vec<Column>,
    /// The line that each row begins in.
    pub lines: Vec<u64>,
    /// Whether more rows follow.
    pub more: bool,
}

/// What is known of the file after a look at its beginning.
pub struct Table {
    pub columns: Vec<ColumnPlan>,
    /// Where the first row begins.
    pub first_row: Place,
    /// Bytes in a row, on average over the sample.
    pub row_bytes: f64,
}

impl Table {
    /// Find out columns and types from the file's first bytes; `whole` says whether these are all, `strict` whether the file must have
    /// each column that `columns` names.
    pub fn look_at(sample: Part, whole: bool, strict: bool, config: &Config) -> Result<Self, Misfit> {
        let mut sample = Some(sample);
        let read = || -> Result<Part, Never> { Ok(sample.take().unwrap_or_default()) };
        let mut records = Records::new(read, Place::START, config.delimiter(), config.max_record_bytes);
        let names = match records.next() {
            Ok(Some((line, fields))) => header(fields, config).map_err(|why| Misfit::Broken { line, why })?,
            Ok(None) => return Err(Misfit::Broken { line: 1, why: "the file is empty: it has no header".into() }),
            Err(Failure::Broken { line, why }) => return Err(Misfit::Broken { line, why }),
            Err(Failure::Read(never)) => match never {},
        };
        if let Some(name) = config.columns.keys().find(|name| strict && !names.contains(name)) {
            return Err(Misfit::Column(format!("columns.{name}: the file has no such column, only {}", names.join(", "))));
        }
        records.keep_empty_lines = names.len() == 1;
        let first_row = records.place();
        let (types, row_bytes) = infer(&mut records, names.len(), whole, config);
        let columns = names.into_iter().zip(types).map(|(name, inferred)| {
            let type_name = config.columns.get(&name).map_or(inferred, String::as_str).to_owned();
            let (reading, cast) = Reading::for_type(&type_name);
            let exactness = if config.columns.contains_key(&name) { Exactness::Given } else { Exactness::Inferred };
            ColumnPlan { name, type_name, reading, exactness, cast }
        });
        Ok(Self { columns: columns.collect(), first_row, row_bytes })
    }

    /// Read the next rows: at most `max_rows`, none that begins at byte `to` or after it.
    pub fn read<E, F>(&self, records: &mut Records<F>, max_rows: usize, to: u64, config: &Config) -> Result<Rows, Failure<E>>
    where
        F: FnMut() -> Result<Part, E>,
    {
        let mut columns: Vec<Column> = self.columns.iter().map(|plan| Column::new(plan.reading, plan.exactness, max_rows)).collect();
        let mut lines = Vec::with_capacity(max_rows);
        let mut bytes = 0;
        let mut quoted = Vec::new();
        while lines.len() < max_rows && bytes < MAX_BATCH_BYTES && records.place().offset < to {
            let Some((line, fields)) = records.next()? else { return Ok(Rows { columns, lines, more: false }) };
            if fields.len() != columns.len() {
                let why = format!("number of fields: {}, but the header has {}", fields.len(), columns.len());
                return Err(Failure::Broken { line, why });
            }
            quoted.clear();
            if fields.has_quotes() && !fields.quoted(config.delimiter(), &mut quoted) {
                return Err(Failure::Broken { line, why: MISPLACED.into() });
            }
            for (index, (column, field)) in columns.iter_mut().zip(fields.iter()).enumerate() {
                if config.is_null(field) && !in_quotes(&fields, index, config, &mut quoted) {
                    column.push_null();
                } else if let Err(expected) = column.push(field) {
                    return Err(Failure::Broken { line, why: self.misfit(index, field, expected) });
                }
            }
            lines.push(line);
            bytes += fields.total_bytes();
        }
        let more = records.place().offset < to && records.skip_empty_lines()? && records.place().offset < to;
        Ok(Rows { columns, lines, more })
    }

    fn misfit(&self, column: usize, field: &[u8], expected: &str) -> String {
        let plan = &self.columns[column];
        let text: String = String::from_utf8_lossy(field).chars().take(40).collect();
        let hint = if plan.reading == Reading::Text { "" } else { "; name its type in `columns`, such as \"string\"" };
        format!("column {:?} ({}): {text:?} is not {expected}{hint}", plan.name, plan.type_name)
    }
}

/// Whether a field is in quotes, and so what it says is meant, though it looks like a null. `quoted` is empty before the first call.
fn in_quotes(fields: &Fields<'_>, index: usize, config: &Config, quoted: &mut Vec<bool>) -> bool {
    if config.quoted_nulls {
        return false;
    }
    if quoted.is_empty() {
        fields.quoted(config.delimiter(), quoted);
    }
    quoted[index]
}

fn header(fields: Fields<'_>, config: &Config) -> Result<Vec<String>, String> {
    let mut quoted = Vec::new();
    if !fields.quoted(config.delimiter(), &mut quoted) {
        return Err(MISPLACED.into());
    }
    let mut names: Vec<String> = Vec::with_capacity(fields.len());
    for field in fields.iter() {
        let name = String::from_utf8(field.to_vec()).map_err(|_| NOT_UTF_8.to_owned())?;
        if names.contains(&name) {
            return Err(format!("the header has {name:?} twice"));
        }
        names.push(name);
    }
    if let ([name], None, [false]) = (names.as_slice(), config.delimiter, quoted.as_slice()) {
        if let Some(other) = name.chars().find(|each| matches!(each, ';' | '|' | '\t')) {
            return Err(format!("the header is one column, {name:?}: set `delimiter` to {other:?}, or to \",\" if it is one column"));
        }
    }
    Ok(names)
}

enum Never {}

fn infer<F>(records: &mut Records<F>, columns: usize, whole: bool, config: &Config) -> (Vec<&'static str>, f64)
where
    F: FnMut() -> Result<Part, Never>,
{
    let mut inferences = vec![Inference::default(); columns];
    let begin = records.place().offset;
    let mut rows = 0;
    let mut before: Vec<Option<Vec<u8>>> = Vec::new();
    let mut quoted = Vec::new();
    // Rows that are broken say nothing of the types: reading them will tell. The last row of a part of the file may be cut: it only
    // counts once another has begun.
    while let Ok(Some((_, fields))) = records.next() {
        add(&mut inferences, &before);
        quoted.clear();
        before.clear();
        if fields.len() == columns {
            before.extend(fields.iter().enumerate().map(|(index, field)| {
                let null = config.is_null(field) && !in_quotes(&fields, index, config, &mut quoted);
                (!null).then(|| field.to_vec())
            }));
        }
        rows += 1;
    }
    if whole {
        add(&mut inferences, &before);
    }
    let row_bytes = (records.place().offset - begin) as f64 / f64::from(rows.max(1));
    (inferences.iter().map(|inference| inference.type_name()).collect(), row_bytes)
}

fn add(inferences: &mut [Inference], fields: &[Option<Vec<u8>>]) {
    for (inference, field) in inferences.iter_mut().zip(fields) {
        if let Some(field) = field {
            inference.add(field);
        }
    }
}
