//! A source that reads the transactions of a change log.

mod log;

use std::collections::{BTreeMap, VecDeque};

use dataflare_plugin::prelude::*;
use dataflare_plugin::{files, Row};
use log::{Line, Lines, Log};

const RETRY_MS: u32 = 1_000;

/// The configuration.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The log: a file in a granted directory, as `name/rest`.
    log: String,
    /// The file that keeps the last acknowledged position; without it, nothing is kept.
    slot: Option<String>,
}

/// Where to go on.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    log: String,
    offset: u64,
    /// Where the rows of the tables that are read begin: those before were removed before the read began.
    begins: BTreeMap<String, u64>,
}

pub struct ChangeSource(Config);

impl Source for ChangeSource {
    type Config = Config;
    type State = Position;

    fn new(config: Config) -> Result<Self> {
        Ok(Self(config))
    }

    fn datasets(&self) -> Result<Vec<Dataset>> {
        let tables = Log::read(&self.0.log)?.tables;
        Ok(tables.iter().map(|(name, table)| table.now.dataset(name)).collect())
    }

    /// A read of all begins with the columns of the first rows that still count.
    fn schema_at(&self, request: &Request<Position>) -> Result<Schema> {
        let name = &request.dataset.name;
        match &request.state {
            Some(_) => Ok(request.schema.clone()),
            None => Ok(Log::read(&self.0.log)?.tables[name].first.dataset(name).schema()),
        }
    }

    fn changes(&mut self, position: Option<Position>, datasets: &[Dataset]) -> Result<Events<Position>> {
        let Log { name, mut tables, begins } = Log::read(&self.0.log)?;
        tables.retain(|name, _| datasets.iter().any(|dataset| dataset.name == *name));
        let now = Position { log: name, offset: begins, begins: tables.into_iter().map(|(name, table)| (name, table.begins)).collect() };
        let position = position.unwrap_or_else(|| now.clone());
        if position.log != now.log {
            return Err(Error::InvalidState(format!("{}: the state is of another log", self.0.log)));
        }
        if let Some((name, _)) = now.begins.iter().find(|(name, begins)| position.begins.get(*name) != Some(begins)) {
            return Err(truncated(name));
        }
        let lines = Lines::open(&self.0.log, position.offset)?;
        Ok(Box::new(Changes { lines, position, in_transaction: false, next: VecDeque::new() }))
    }

    fn acknowledge(&mut self, position: Position) -> Result<()> {
        self.0.slot.as_ref().map_or(Ok(()), |slot| files::write(slot, json!(position).to_string().as_bytes()))
    }
}

fn truncated(name: &str) -> Error {
    Error::InvalidState(format!("dataset {name:?} was truncated after the state"))
}

/// What happened in a log from a position on.
struct Changes {
    lines: Lines,
    position: Position,
    in_transaction: bool,
    next: VecDeque<Event<Position>>,
}

impl Iterator for Changes {
    type Item = Result<Event<Position>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.next.is_empty() {
            let place = self.lines.offset;
            match self.lines.next() {
                Ok(Some(line)) => {
                    if let Err(error) = self.take(line, place) {
                        return Some(Err(error));
                    }
                }
                Ok(None) => self.next.push_back(Event::Idle(RETRY_MS)),
                Err(error) => return Some(Err(error)),
            }
        }
        self.next.pop_front().map(Ok)
    }
}

impl Changes {
    fn take(&mut self, line: Line, place: u64) -> Result<()> {
        if line.begin.is_some() {
            self.in_transaction = true;
            return Ok(());
        }
        if line.commit.is_some() {
            self.in_transaction = false;
        } else if let Some(name) = line.dataset() {
            if self.position.begins.get(name).is_none_or(|begins| place < *begins) {
                return Ok(());
            }
            self.next.push_back(event(line)?);
        }
        if !self.in_transaction {
            self.position.offset = self.lines.offset;
            self.next.push_back(Event::Commit(self.position.clone()));
        }
        Ok(())
    }
}

fn event(line: Line) -> Result<Event<Position>> {
    let row =
        |name: &str, row: Option<Row>| row.ok_or_else(|| Error::InvalidInput(format!("dataset {name:?}: a change needs `row`, an object")));
    Ok(match line {
        Line { insert: Some(name), row: found, .. } => Event::Insert(name.clone(), row(&name, found)?),
        Line { update: Some(name), row: found, was, .. } => Event::Update(name.clone(), row(&name, found)?, was),
        Line { delete: Some(name), row: found, .. } => Event::Delete(name.clone(), row(&name, found)?),
        Line { truncate: Some(name), .. } => return Err(truncated(&name)),
        line => {
            let (name, shape) = line.shape()?;
            let schema = shape.dataset(&name).schema();
            Event::NewSchema(name, schema)
        }
    })
}

export_source!(ChangeSource);
