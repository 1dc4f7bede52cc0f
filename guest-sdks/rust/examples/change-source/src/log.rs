//! The log: lines of JSON, and what they say of its tables.

use std::collections::BTreeMap;

use dataflare_plugin::files::{self, Position, Reader};
use dataflare_plugin::prelude::*;
use dataflare_plugin::Row;

const READ_BYTES: u32 = 256 << 10;

/// A line. It has one of the first eight, and what belongs to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub log: Option<String>,
    pub schema: Option<String>,
    pub begin: Option<u64>,
    pub commit: Option<u64>,
    pub insert: Option<String>,
    pub update: Option<String>,
    pub delete: Option<String>,
    pub truncate: Option<String>,
    pub columns: Option<Record>,
    pub key: Option<Vec<String>>,
    pub row: Option<Row>,
    /// The key before an update, where it can have changed.
    pub was: Option<Row>,
}

impl Line {
    /// The table that it is about.
    pub fn dataset(&self) -> Option<&str> {
        let names = [&self.schema, &self.insert, &self.update, &self.delete, &self.truncate];
        names.into_iter().find_map(|name| name.as_deref())
    }

    /// What a line with `schema` says: the table's name and its columns.
    pub fn shape(self) -> Result<(String, Shape)> {
        let name = self.schema.unwrap_or_default();
        let shape = self.columns.zip(self.key).and_then(|(columns, key)| {
            let columns = columns.into_iter().map(|(name, kind)| Some((name, kind.as_str()?.to_owned())));
            Some(Shape { columns: columns.collect::<Option<_>>()?, key })
        });
        let known = |shape: &Shape| !shape.key.is_empty() && shape.key.iter().all(|key| shape.columns.iter().any(|(name, _)| name == key));
        match shape.filter(known) {
            Some(shape) => Ok((name, shape)),
            None => Err(Error::InvalidInput(format!("dataset {name:?}: a schema event needs `columns` and `key`"))),
        }
    }
}

/// A table's columns at one place of the log.
#[derive(Clone)]
pub struct Shape {
    columns: Vec<(String, String)>,
    key: Vec<String>,
}

impl Shape {
    pub fn dataset(&self, name: &str) -> Dataset {
        let dataset = Dataset::new(name).key(self.key.iter().map(String::as_str)).modes([Mode::Changes]);
        self.columns.iter().fold(dataset, |dataset, (name, kind)| dataset.column(name, kind))
    }
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
pub struct Log {
    pub name: String,
    pub tables: BTreeMap<String, Table>,
    pub begins: u64,
}

impl Log {
    /// Read a log through.
    pub fn read(path: &str) -> Result<Self> {
        let mut lines = Lines::open(path, 0)?;
        let Some(Line { log: Some(name), .. }) = lines.next()? else {
            return Err(Error::InvalidConfig(format!("log: {path}: it does not begin with its name")));
        };
        let mut log = Self { name, tables: BTreeMap::new(), begins: lines.offset };
        while let Some(line) = lines.next()? {
            if let Some(table) = line.truncate.as_ref().and_then(|name| log.tables.get_mut(name)) {
                table.first = table.now.clone();
                table.begins = lines.offset;
            } else if line.schema.is_some() {
                let (name, now) = line.shape()?;
                let table = log.tables.entry(name).and_modify(|table| table.now = now.clone());
                table.or_insert_with(|| Table { first: now.clone(), now, begins: 0 });
            }
        }
        Ok(log)
    }
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
    pub fn open(path: &str, offset: u64) -> Result<Self> {
        let reader = files::open(path)?;
        reader.seek(Position { offset_bytes: offset })?;
        Ok(Self { path: path.into(), reader, buffer: Vec::new(), used: 0, offset })
    }

    /// The next line; `None` where no whole line follows.
    pub fn next(&mut self) -> Result<Option<Line>> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer[self.used + searched..].iter().position(|&byte| byte == b'\n') {
                let line = &self.buffer[self.used..self.used + searched + at];
                let wrong = |error| Error::InvalidInput(format!("{}, byte {}: {error}", self.path, self.offset));
                let event = serde_json::from_slice(line).map_err(wrong)?;
                self.offset += line.len() as u64 + 1;
                self.used += searched + at + 1;
                return Ok(Some(event));
            }
            searched = self.buffer.len() - self.used;
            self.buffer.drain(..self.used);
            self.used = 0;
            let more = self.reader.read(READ_BYTES)?;
            if more.is_empty() {
                return Ok(None);
            }
            self.buffer.extend(more);
        }
    }
}
