//! The log: lines of JSON, and what they say of its tables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::dataflare::host::files::{self, FileError, Position, Reader};
use crate::Error;

const READ_BYTES: u32 = 256 << 10;

/// A line. It has one of the first eight, and what belongs to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    pub log: Option<String>,
    pub schema: Option<String>,
    pub begin: Option<u64>,
    pub commit: Option<u64>,
    pub insert: Option<String>,
    pub update: Option<String>,
    pub delete: Option<String>,
    pub truncate: Option<String>,
    pub columns: Option<serde_json::Map<String, serde_json::Value>>,
    pub key: Option<Vec<String>>,
    pub row: Option<Box<RawValue>>,
}

/// A table's columns at one place of the log.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Shape {
    pub columns: Vec<(String, String)>,
    pub key: Vec<String>,
}

/// What a log says of a table.
pub struct Table {
    pub now: Shape,
    /// The columns of the first rows that still count.
    pub first: Shape,
    /// Where the rows that still count begin: after the last truncation.
    pub begins: u64,
}

/// A log's name, its tables, and where the first event is.
pub struct Summary {
    pub name: String,
    pub tables: BTreeMap<String, Table>,
    pub begins: u64,
}

/// The whole lines of a log from an offset on.
pub struct Lines {
    path: String,
    reader: Reader,
    buffer: Vec<u8>,
    used: usize,
    /// Where the next line begins.
    pub offset: u64,
}

impl Lines {
    pub fn open(path: &str, offset: u64) -> Result<Self, Error> {
        let reader = files::open(path).map_err(|error| file_error(path, error))?;
        reader.seek(Position { offset_bytes: offset }).map_err(|error| file_error(path, error))?;
        Ok(Self { path: path.into(), reader, buffer: Vec::new(), used: 0, offset })
    }

    /// The next line, and how long it is; `None` where no whole line follows.
    pub fn peek(&mut self) -> Result<Option<(Event, u64)>, Error> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[self.used + searched..].iter().position(|&byte| byte == b'\n') {
                let end = self.used + searched + at;
                let line = &self.buffer[self.used..end];
                let event = serde_json::from_slice(line)
                    .map_err(|error| Error::InvalidInput(format!("{}, byte {}: {error}", self.path, self.offset)))?;
                return Ok(Some((event, (end + 1 - self.used) as u64)));
            }
            searched = self.buffer.len() - self.used;
            self.buffer.drain(..self.used);
            self.used = 0;
            let more = self.reader.read(READ_BYTES).map_err(|error| file_error(&self.path, error))?;
            if more.is_empty() {
                return Ok(None);
            }
            self.buffer.extend(more);
        }
    }

    /// Go past the line that `peek` returned.
    pub fn skip(&mut self, length: u64) {
        self.used += length as usize;
        self.offset += length;
    }
}

/// Read a log through.
pub fn summarize(path: &str) -> Result<Summary, Error> {
    let mut lines = Lines::open(path, 0)?;
    let name = match lines.peek()? {
        Some((Event { log: Some(name), .. }, length)) => {
            lines.skip(length);
            name
        }
        _ => return Err(Error::InvalidConfig(format!("log: {path}: it does not begin with its name"))),
    };
    let mut summary = Summary { name, tables: BTreeMap::new(), begins: lines.offset };
    while let Some((event, length)) = lines.peek()? {
        lines.skip(length);
        if let Some(name) = &event.schema {
            let now = shape(&event)?;
            let table = summary.tables.entry(name.clone());
            table.and_modify(|table| table.now = now.clone()).or_insert_with(|| Table { first: now.clone(), now, begins: 0 });
        } else if let Some(name) = &event.truncate {
            if let Some(table) = summary.tables.get_mut(name) {
                table.first = table.now.clone();
                table.begins = lines.offset;
            }
        }
    }
    Ok(summary)
}

/// The columns of a schema event.
pub fn shape(event: &Event) -> Result<Shape, Error> {
    let name = event.schema.as_deref().unwrap_or_default();
    let wrong = || Error::InvalidInput(format!("dataset {name:?}: a schema event needs `columns` and `key`"));
    let columns = event.columns.as_ref().ok_or_else(wrong)?;
    let columns = columns.iter().map(|(name, kind)| Some((name.clone(), kind.as_str()?.to_owned())));
    let shape = Shape { columns: columns.collect::<Option<_>>().ok_or_else(wrong)?, key: event.key.clone().ok_or_else(wrong)? };
    let known = |key: &String| shape.columns.iter().any(|(name, _)| name == key);
    if shape.key.is_empty() || !shape.key.iter().all(known) {
        return Err(wrong());
    }
    Ok(shape)
}

pub fn file_error(path: &str, error: FileError) -> Error {
    match error {
        FileError::Denied(why) => Error::Denied(format!("{path}: {why}")),
        FileError::InputOutput(why) | FileError::NoSpace(why) | FileError::Busy(why) => Error::Unavailable(format!("{path}: {why}")),
        FileError::NotFound(why) | FileError::WrongKind(why) | FileError::InvalidPath(why) | FileError::AlreadyExists(why) => {
            Error::InvalidConfig(format!("log: {path}: {why}"))
        }
        FileError::Other(why) => Error::Other(format!("{path}: {why}")),
    }
}
