//! Logs of changes: what [`crate::Source::changes`] gives, in chunks whose rows have their operation.

use std::collections::{BTreeMap, VecDeque};

use serde::de::DeserializeOwned;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::source::{encoded_changes, Progress};
use crate::{Batch, Dataset, Error, Field, Request, Result, Schema, Source};

// A quiet dataset in a busy log: without rows, the host keeps the position after so many events all the same.
const MOST_PASSED: u32 = 65_536;
/// When the host asks again, where the source does not say.
pub(crate) const RETRY_MS: u32 = 1_000;

/// A row, by the names of its columns, each value as JSON.
pub type Row = BTreeMap<String, Box<RawValue>>;

/// What [`crate::Source::changes`] returns.
pub type Events<S> = Box<dyn Iterator<Item = Result<Event<S>>>>;

/// Something that happened in a log.
#[derive(Debug)]
pub enum Event<S> {
    /// A row of a dataset is new.
    Insert(String, Row),
    /// A row as it is now, with the values of all columns; and the key that it had before, where it can have changed: if it did, it
    /// becomes a delete of the old key and an insert of the new one.
    Update(String, Row, Option<Row>),
    /// A row is gone: the values of the key's columns. Those of others do not count.
    Delete(String, Row),
    /// The columns of a dataset's rows that follow.
    NewSchema(String, Schema),
    /// The end of a transaction, and the position after it. Rows count only with it.
    Commit(S),
    /// Nothing to read for now; the log goes on from here when the host asks again, after so many milliseconds.
    Idle(u32),
}

impl<S> Event<S> {
    /// A row of a dataset is new: anything that serde writes as an object.
    pub fn insert(dataset: &str, row: &impl Serialize) -> Result<Self> {
        Ok(Self::Insert(dataset.into(), row_of(row)?))
    }

    /// A row as it is now.
    pub fn update(dataset: &str, row: &impl Serialize) -> Result<Self> {
        Ok(Self::Update(dataset.into(), row_of(row)?, None))
    }

    /// A row as it is now, and the values of its key's columns before.
    pub fn update_of(dataset: &str, old_key: &impl Serialize, row: &impl Serialize) -> Result<Self> {
        Ok(Self::Update(dataset.into(), row_of(row)?, Some(row_of(old_key)?)))
    }

    /// The row with this key is gone.
    pub fn delete(dataset: &str, key: &impl Serialize) -> Result<Self> {
        Ok(Self::Delete(dataset.into(), row_of(key)?))
    }

    fn dataset(&self) -> Option<&str> {
        match self {
            Self::Insert(name, _) | Self::Update(name, ..) | Self::Delete(name, _) | Self::NewSchema(name, _) => Some(name),
            Self::Commit(_) | Self::Idle(_) => None,
        }
    }
}

fn row_of(row: &impl Serialize) -> Result<Row> {
    Ok(serde_json::from_str(&serde_json::to_string(row)?)?)
}

#[derive(Clone, Copy, PartialEq)]
enum Operation {
    Insert,
    Update,
    Delete,
}

/// A dataset that is read, and the columns that its rows have now.
struct Table<S> {
    request: Request<S>,
    operation: String,
    schema: Schema,
}

impl<S> Table<S> {
    fn begin(&mut self, schema: Schema) {
        let Request { dataset, columns, .. } = &self.request;
        let known = dataset.with_roles(schema);
        self.operation = "_operation".into();
        while known.fields.iter().any(|field| field.name == self.operation) {
            self.operation.push('_');
        }
        let is_key = |field: &Field| dataset.key.contains(&field.name);
        let chosen = known.fields.iter().filter(|field| columns.is_empty() || is_key(field) || columns.contains(&field.name));
        // Rows that are deleted have the key alone.
        let mut schema = Schema::new(chosen.map(|field| Field { nullable: field.nullable || !is_key(field), ..field.clone() }));
        let metadata = vec![("dataflare.role".into(), "operation".into())];
        schema.fields.push(Field { nullable: false, metadata, ..Field::new(self.operation.clone(), "int8") });
        (self.request.schema, self.schema) = (known, schema);
    }

    /// The rows that say what happened, as JSON Lines.
    fn lines(&self, event: Event<S>) -> Result<Vec<String>> {
        let (row, operation, old_key) = match event {
            Event::Insert(_, row) => (row, Operation::Insert, None),
            Event::Update(_, row, old_key) => (row, Operation::Update, old_key),
            Event::Delete(_, row) => return Ok(vec![self.line(self.key(&row)?, Operation::Delete)]),
            Event::NewSchema(..) | Event::Commit(_) | Event::Idle(_) => return Ok(Vec::new()),
        };
        if let Some(name) = row.keys().find(|name| !self.request.schema.fields.iter().any(|field| field.name == **name)) {
            let why = "which its schema lacks: name it there, leave it out, or give a new schema first";
            return Err(self.wrong(format!("the rows have a column {name:?}, {why}")));
        }
        let key = self.key(&row)?;
        let missing = self.schema.fields.iter().find(|field| field.name != self.operation && !row.contains_key(&field.name));
        if let Some(Field { name, .. }) = missing.filter(|_| operation == Operation::Update) {
            return Err(self.wrong(format!("an update lacks the column {name:?}: it has the values of all columns")));
        }
        let before = old_key.map(|old_key| self.key(&old_key)).transpose()?;
        Ok(match before.filter(|before| key.iter().any(|(name, value)| before[name].get() != value.get())) {
            None => vec![self.line(row, operation)],
            Some(before) => vec![self.line(before, Operation::Delete), self.line(row, Operation::Insert)],
        })
    }

    /// The columns of the key, each with a value.
    fn key(&self, row: &Row) -> Result<Row> {
        let of = |name: &String| match row.get(name).filter(|value| value.get() != "null") {
            Some(value) => Ok((name.clone(), value.clone())),
            None => Err(self.wrong(format!("a change lacks the key column {name:?}"))),
        };
        self.request.dataset.key.iter().map(of).collect()
    }

    fn line(&self, mut row: Row, operation: Operation) -> String {
        let number = RawValue::from_string((operation as u8).to_string()).expect("a number is JSON");
        row.insert(self.operation.clone(), number);
        serde_json::to_string(&row).expect("JSON is JSON")
    }

    fn wrong(&self, what: String) -> Error {
        Error::InvalidInput(format!("dataset {:?}: {what}", self.request.dataset.name))
    }
}

/// A read of one log that is under way, of some of its datasets.
pub(crate) struct ChangeReading<S> {
    tables: Vec<Table<S>>,
    /// Where each dataset is among the selections; `None` for one that is not read.
    places: BTreeMap<String, Option<usize>>,
    position: Option<S>,
    events: Option<Events<S>>,
    /// Events after the last commit: how many were taken, and how many of them come again.
    since: u64,
    again: u64,
    /// Rows of one table that were not given yet, and how many of them the position covers.
    place: usize,
    rows: VecDeque<String>,
    safe: usize,
    /// What waits until these rows are given.
    held: Option<Event<S>>,
    given_since_state: bool,
    passed: u32,
}

impl<S: Serialize + DeserializeOwned + Clone> ChangeReading<S> {
    pub(crate) fn begin<P: Source<State = S>>(source: &mut P, requests: Vec<Request<S>>) -> Result<Self> {
        let mut tables = Vec::with_capacity(requests.len());
        for request in requests {
            let schema = source.schema_at(&request)?;
            let mut table = Table { request, operation: String::new(), schema: Schema::new([]) };
            table.begin(schema);
            tables.push(table);
        }
        let names = tables.iter().map(|table| table.request.dataset.name.clone());
        let places = names.enumerate().map(|(place, name)| (name, Some(place))).collect();
        let position = tables[0].request.state.clone();
        let mut reading = Self {
            tables,
            places,
            position,
            events: None,
            since: 0,
            again: 0,
            place: 0,
            rows: VecDeque::new(),
            safe: 0,
            held: None,
            given_since_state: false,
            passed: 0,
        };
        reading.follow(source)?;
        Ok(reading)
    }

    pub(crate) fn schemas(&self) -> Vec<Schema> {
        self.tables.iter().map(|table| table.schema.clone()).collect()
    }

    /// What comes next: the log has no end.
    pub(crate) fn next<P: Source<State = S>>(&mut self, source: &mut P, max_rows: usize) -> Result<Progress> {
        loop {
            let is_full = self.rows.len() >= max_rows;
            let event = match self.held.take() {
                Some(event) => event,
                None => self.pull(source)?,
            };
            let place = match event.dataset() {
                Some(name) => self.place_of(source, name)?,
                None => None,
            };
            let is_of_others = place.is_some_and(|place| place != self.place || matches!(event, Event::NewSchema(..)));
            // The commit of the last row that fits belongs to the chunk.
            let is_over = is_full && !matches!(event, Event::Commit(_));
            if !self.rows.is_empty() && (is_over || is_of_others || matches!(event, Event::Idle(_))) {
                self.held = Some(event);
                break;
            }
            match (event, place) {
                (Event::Idle(retry_after_ms), _) => {
                    let known = self.position.is_some() && !self.given_since_state;
                    return Ok(Progress::Idle(if known { Some(self.state()?) } else { None }, retry_after_ms));
                }
                (Event::Commit(position), _) => {
                    (self.position, self.safe) = (Some(position), self.rows.len());
                    if is_full || self.rows.is_empty() && (self.given_since_state || self.passed >= MOST_PASSED) {
                        break;
                    }
                }
                (_, None) => self.passed += 1,
                (Event::NewSchema(_, schema), Some(place)) => {
                    let table = &mut self.tables[place];
                    let before = table.schema.clone();
                    table.begin(schema);
                    // Otherwise it is about columns that are not read.
                    if table.schema.fields != before.fields {
                        self.given_since_state = true;
                        return Ok(Progress::NewSchema(place, table.schema.clone()));
                    }
                }
                (event, Some(place)) => {
                    self.rows.extend(self.tables[place].lines(event)?);
                    self.place = place;
                }
            }
        }
        self.give(max_rows)
    }

    /// Rows, up to the last commit if there is one among them.
    fn give(&mut self, max_rows: usize) -> Result<Progress> {
        let all = if self.safe > 0 { self.safe } else { self.rows.len() };
        let count = all.min(max_rows);
        let is_safe = count == self.safe;
        let lines: String = self.rows.drain(..count).flat_map(|line| [line, "\n".into()]).collect();
        self.safe = self.safe.saturating_sub(count);
        (self.given_since_state, self.passed) = (!is_safe, 0);
        let batch = Batch::from_json_lines(&lines, Some(&self.tables[self.place].schema))?;
        Ok(Progress::Rows(self.place, batch, if is_safe { Some(self.state()?) } else { None }))
    }

    /// The next event that was not taken yet. After an error or an end, the log begins anew from its last commit.
    fn pull<P: Source<State = S>>(&mut self, source: &mut P) -> Result<Event<S>> {
        if self.events.is_none() {
            self.again = self.since;
            self.follow(source)?;
        }
        while let Some(event) = self.events.as_mut().and_then(Iterator::next) {
            match event {
                Ok(Event::Idle(retry_after_ms)) => return Ok(Event::Idle(retry_after_ms)),
                Ok(_) if self.again > 0 => self.again -= 1,
                Ok(event) => {
                    self.since = if matches!(event, Event::Commit(_)) { 0 } else { self.since + 1 };
                    return Ok(event);
                }
                Err(error) => {
                    self.events = None;
                    return Err(error);
                }
            }
        }
        self.events = None;
        if self.again > 0 {
            return Err(Error::InvalidState("the changes after the last commit are not those that were read before".into()));
        }
        Ok(Event::Idle(RETRY_MS))
    }

    fn follow<P: Source<State = S>>(&mut self, source: &mut P) -> Result<()> {
        let datasets: Vec<Dataset> = self.tables.iter().map(|table| table.request.dataset.clone()).collect();
        self.events = Some(source.changes(self.position.clone(), &datasets)?);
        Ok(())
    }

    /// Which selection a dataset is; `None` if it is not read.
    fn place_of<P: Source<State = S>>(&mut self, source: &P, name: &str) -> Result<Option<usize>> {
        if let Some(place) = self.places.get(name) {
            return Ok(*place);
        }
        let known: Vec<String> = source.datasets()?.into_iter().map(|each| each.name).collect();
        if !known.iter().any(|each| each == name) {
            return Err(Error::InvalidInput(format!("there is no dataset {name:?}, only {}", known.join(", "))));
        }
        self.places.insert(name.into(), None);
        Ok(None)
    }

    fn state(&self) -> Result<Vec<u8>> {
        let requests: Vec<&Request<S>> = self.tables.iter().map(|table| &table.request).collect();
        encoded_changes(&requests, self.position.as_ref())
    }
}
