//! A read of some tables of a log.

use serde::{Deserialize, Serialize};

use crate::dataflare::data::batches::from_json_lines;
use crate::dataflare::data::schemas::{Field, Schema};
use crate::exports::dataflare::plugin::source::{Chunk, Pause, Progress, ReadingMode, SchemaChange, Selection};
use crate::log::{shape, summarize, Event, Lines, Shape};
use crate::Error;

const OPERATION: &str = "_operation";
const RETRY_MS: u32 = 1_000;

/// Where to go on. The tables are those of the read, in its order.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
struct State {
    log: String,
    offset: u64,
    tables: Vec<Selected>,
}

/// A table that is read.
#[derive(Clone, Deserialize, PartialEq, Serialize)]
struct Selected {
    name: String,
    columns: Vec<String>,
    shape: Shape,
    /// Rows before this place were removed before the read began.
    begins: u64,
}

/// Rows of one table that were read and not returned yet.
struct Rows {
    selection: usize,
    lines: String,
    count: u32,
}

pub struct Reading {
    state: State,
    lines: Lines,
    in_transaction: bool,
    /// The selection of what was returned since the last state; `None` for nothing.
    loose: Option<usize>,
}

impl Reading {
    pub fn open(path: &str, selections: &[Selection], state: Option<&[u8]>) -> Result<Self, Error> {
        let log = summarize(path)?;
        let mut tables = Vec::with_capacity(selections.len());
        for Selection { dataset, mode, columns } in selections {
            let name = &dataset.name;
            let table = log.tables.get(name).filter(|_| dataset.namespace.is_empty());
            let table = table.ok_or_else(|| Error::InvalidConfig(format!("there is no dataset {name:?}")))?;
            if !matches!(mode, ReadingMode::Changes) {
                return Err(Error::InvalidConfig(format!("dataset {name:?}: a log is read in the mode changes")));
            }
            // A column may have come or gone within the log: any that it has at the beginning or at the end will do.
            let known = |column: &str| [&table.first, &table.now].iter().any(|shape| shape.has(column));
            if let Some(column) = columns.iter().find(|column| !known(column)) {
                return Err(Error::InvalidConfig(format!("dataset {name:?}: there is no column {column:?}")));
            }
            tables.push(Selected { name: name.clone(), columns: columns.clone(), shape: table.first.clone(), begins: table.begins });
        }
        let state = match state {
            None => State { log: log.name, offset: log.begins, tables },
            Some(state) => {
                let invalid = |why: &str| Error::InvalidState(format!("{path}: {why}"));
                let state: State = serde_json::from_slice(state).map_err(|_| invalid("this is not a state of a log"))?;
                let same = |(one, other): (&Selected, &Selected)| (&one.name, &one.columns) == (&other.name, &other.columns);
                if state.log != log.name {
                    return Err(invalid("the state is of another log"));
                }
                if state.tables.len() != tables.len() || !state.tables.iter().zip(&tables).all(same) {
                    return Err(invalid("the state is of other datasets or columns"));
                }
                if let Some((table, _)) = state.tables.iter().zip(&tables).find(|(then, now)| then.begins != now.begins) {
                    return Err(invalid(&format!("dataset {:?} was truncated after the state", table.name)));
                }
                state
            }
        };
        let lines = Lines::open(path, state.offset)?;
        Ok(Self { state, lines, in_transaction: false, loose: None })
    }

    pub fn schemas(&self) -> Vec<Schema> {
        self.state.tables.iter().map(Selected::schema).collect()
    }

    pub fn read(&mut self, max_rows: u32) -> Result<Progress, Error> {
        let mut rows: Option<Rows> = None;
        while let Some((event, length)) = self.lines.peek()? {
            let place = self.lines.offset;
            if let Some(name) = &event.schema {
                if let Some(at) = self.selected(name) {
                    if rows.is_some() {
                        break;
                    }
                    let before = self.state.tables[at].schema();
                    self.state.tables[at].shape = shape(&event)?;
                    self.lines.skip(length);
                    let schema = self.state.tables[at].schema();
                    // One that the read began with, or that changes only columns that are not read, is not news.
                    if place >= self.state.tables[at].begins && !same_fields(&before, &schema) {
                        self.loose = Some(at);
                        return Ok(Progress::NewSchema(SchemaChange { selection: at as u32, schema }));
                    }
                    continue;
                }
            } else if event.begin.is_some() {
                if rows.is_some() {
                    break;
                }
                self.in_transaction = true;
            } else if event.commit.is_some() {
                self.lines.skip(length);
                self.in_transaction = false;
                if let Some(selection) = rows.as_ref().map(|rows| rows.selection).or(self.loose) {
                    return self.chunk(rows.unwrap_or(Rows { selection, lines: String::new(), count: 0 }));
                }
                continue;
            } else if let Some(name) = &event.truncate {
                if let Some(at) = self.selected(name).filter(|&at| place >= self.state.tables[at].begins) {
                    let name = &self.state.tables[at].name;
                    return Err(Error::InvalidState(format!("dataset {name:?} was truncated after the read began")));
                }
            } else if let Some((operation, name)) = operation(&event) {
                if let Some(at) = self.selected(name).filter(|&at| place >= self.state.tables[at].begins) {
                    if rows.as_ref().is_some_and(|rows| rows.selection != at) {
                        break;
                    }
                    let rows = rows.get_or_insert_with(|| Rows { selection: at, lines: String::new(), count: 0 });
                    rows.add(operation, &event, name)?;
                    if rows.count >= max_rows {
                        self.lines.skip(length);
                        break;
                    }
                }
            }
            self.lines.skip(length);
        }
        match rows {
            Some(rows) => self.chunk(rows),
            None => Ok(Progress::Idle(Pause { state: self.safe_state(), retry_after_ms: RETRY_MS })),
        }
    }

    fn chunk(&mut self, rows: Rows) -> Result<Progress, Error> {
        let batch = from_json_lines(&rows.lines, Some(&self.state.tables[rows.selection].schema())).map_err(Error::Data)?;
        let state = self.safe_state();
        self.loose = if state.is_none() { Some(rows.selection) } else { None };
        Ok(Progress::Rows(Chunk { selection: rows.selection as u32, rows: batch, state }))
    }

    /// Where to go on; `None` within a transaction.
    fn safe_state(&mut self) -> Option<Vec<u8>> {
        self.state.offset = self.lines.offset;
        (!self.in_transaction).then(|| serde_json::to_vec(&self.state).expect("a state is plain JSON"))
    }

    fn selected(&self, name: &str) -> Option<usize> {
        self.state.tables.iter().position(|table| table.name == name)
    }
}

impl Shape {
    fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|(name, _)| name == column)
    }

    /// The columns of rows, of which some are read: the key's and, where any are named, those that are.
    pub fn schema(&self, chosen: &[String], operation: bool) -> Schema {
        let mut fields = Vec::with_capacity(self.columns.len() + 1);
        for (name, kind) in &self.columns {
            let at = self.key.iter().position(|key| key == name);
            if at.is_none() && !chosen.is_empty() && !chosen.contains(name) {
                continue;
            }
            let metadata = at.map(|at| ("dataflare.key".into(), at.to_string())).into_iter().collect();
            fields.push(Field { name: name.clone(), type_name: kind.clone(), nullable: at.is_none(), metadata });
        }
        if operation {
            let metadata = vec![("dataflare.role".into(), "operation".into())];
            fields.push(Field { name: OPERATION.into(), type_name: "int8".into(), nullable: false, metadata });
        }
        Schema { fields, metadata: Vec::new() }
    }
}

impl Selected {
    fn schema(&self) -> Schema {
        self.shape.schema(&self.columns, true)
    }
}

impl Rows {
    fn add(&mut self, operation: u8, event: &Event, name: &str) -> Result<(), Error> {
        let row = event.row.as_ref().map(|row| row.get()).and_then(|row| row.strip_prefix('{'));
        let row = row.ok_or_else(|| Error::InvalidInput(format!("dataset {name:?}: a change needs `row`, an object")))?;
        let comma = if row.trim_start().starts_with('}') { "" } else { "," };
        self.lines += &format!("{{\"{OPERATION}\":{operation}{comma}{row}\n");
        self.count += 1;
        Ok(())
    }
}

fn operation(event: &Event) -> Option<(u8, &str)> {
    let names = [&event.insert, &event.update, &event.delete];
    (0u8..).zip(names).find_map(|(operation, name)| Some((operation, name.as_deref()?)))
}

fn same_fields(one: &Schema, other: &Schema) -> bool {
    let texts = |schema: &Schema| schema.fields.iter().map(|field| (field.name.clone(), field.type_name.clone())).collect::<Vec<_>>();
    texts(one) == texts(other)
}
