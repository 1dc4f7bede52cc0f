//! A source that reads a CSV file.

mod columns;
mod records;
mod table;

use std::cell::RefCell;
use std::rc::Rc;

use columns::{Column, Values};
use dataflare_plugin::{parse_config, report_panics};
use records::{Failure, Part, Place, Records};
use table::{ColumnPlan, Config, Fingerprint, Misfit, Rows, State, Table};

use dataflare::data::batches::{new_batch, Batch, DataError, TextValues};
use dataflare::data::schemas::Schema;
use dataflare::host::files::{open, FileError, Position, Reader};
use dataflare::host::logging::{log, Level};
use exports::dataflare::plugin::lifecycle::{Error, Guest as Lifecycle, Health, Metadata};
use exports::dataflare::plugin::source::{Chunk, Dataset, Estimate, Guest as Source};

wit_bindgen::generate!({
    path: ["../../../../wit/data", "../../../../wit/host", "../../../../wit/plugin", "wit"],
    world: "example:csv-source/csv-source",
    generate_all,
});

const READ_BYTES: u32 = 4 << 20;
const SAMPLE_BYTES: u32 = 1 << 20;
/// How much of the file's beginning tells it from others.
const HEAD_BYTES: u32 = 1 << 16;

type Read = Box<dyn FnMut() -> Result<Part, FileError>>;

/// The file, while the plugin is initialized.
struct Opened {
    config: Config,
    reader: Rc<Reader>,
    table: Table,
    schema: Schema,
    /// The file's length when it was opened, and its beginning.
    length: u64,
    head: Vec<u8>,
    /// Where the last `read` ended: when the next one goes on there, what was read ahead is used.
    cursor: Option<(State, Records<Read>)>,
}

thread_local! {
    static CONFIG: RefCell<Option<Config>> = const { RefCell::new(None) };
    static OPENED: RefCell<Option<Opened>> = const { RefCell::new(None) };
}

struct Plugin;

impl Lifecycle for Plugin {
    fn get_metadata() -> Metadata {
        Metadata {
            name: "csv-source".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            kind: dataflare::plugin::types::Kind::Source,
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            config_schema: include_str!("../config.schema.json").into(),
        }
    }

    fn configure(config: String) -> Result<(), Error> {
        report_panics(|message| log(Level::Error, message, &[]));
        let config: Config = parse_config(&config).map_err(Error::InvalidConfig)?;
        config.check().map_err(Error::InvalidConfig)?;
        CONFIG.set(Some(config));
        Ok(())
    }

    fn initialize() -> Result<(), Error> {
        let config = CONFIG.with_borrow(Clone::clone).ok_or_else(|| Error::Unsupported("`configure` comes first".into()))?;
        OPENED.set(Some(Opened::new(config)?));
        Ok(())
    }

    fn shutdown() -> Result<(), Error> {
        OPENED.set(None);
        Ok(())
    }

    fn health_check() -> Health {
        let result = opened(|file| file.length());
        match result {
            Ok(_) => Health { status: dataflare::plugin::types::HealthStatus::Healthy, message: String::new() },
            Err(error) => Health { status: dataflare::plugin::types::HealthStatus::Unhealthy, message: format!("{error:?}") },
        }
    }
}

impl Source for Plugin {
    fn discover() -> Result<Vec<Dataset>, Error> {
        opened(|file| {
            let description = format!("CSV, {} bytes, {} columns", file.length()?, file.table.columns.len());
            Ok(vec![Dataset { name: file.config.path.clone(), description, resumable: true }])
        })
    }

    fn get_schema() -> Result<Schema, Error> {
        opened(|file| Ok(file.schema.clone()))
    }

    fn estimate_record_count(state: Option<Vec<u8>>) -> Result<Option<Estimate>, Error> {
        opened(|file| {
            let left = file.length()?.saturating_sub(file.state(state)?.offset_bytes);
            let records = (left as f64 / file.table.row_bytes.max(1.0)).round() as u64;
            Ok(Some(Estimate { records, exact: left == 0 }))
        })
    }

    fn read(state: Option<Vec<u8>>) -> Result<Chunk, Error> {
        opened(|file| {
            let state = file.state(state)?;
            file.read(state)
        })
    }
}

fn opened<T>(call: impl FnOnce(&mut Opened) -> Result<T, Error>) -> Result<T, Error> {
    OPENED.with_borrow_mut(|file| call(file.as_mut().ok_or_else(|| Error::Unsupported("`initialize` comes first".into()))?))
}

impl Opened {
    fn new(config: Config) -> Result<Self, Error> {
        let failed = |error| file_error(&config.path, error);
        let reader = open(&config.path).map_err(failed)?;
        let length = reader.length().map_err(failed)?.offset_bytes;
        let sample = next_part(&reader, SAMPLE_BYTES).map_err(failed)?;
        let head = sample.bytes()[..sample.length.min(HEAD_BYTES as usize)].to_vec();
        let whole = sample.length as u64 >= length;
        let table = Table::look_at(sample, whole, &config).map_err(|misfit| match misfit {
            Misfit::Column(why) => Error::InvalidConfig(why),
            Misfit::Broken { line, why } => broken(&config.path, line, &why),
        })?;
        let none = table.columns.iter().map(|plan| Column::new(plan.reading, plan.exactness, 0)).collect();
        let schema = build(&table.columns, none, 0)
            .map_err(|failed| Error::InvalidConfig(format!("columns.{}: {}", failed.column, describe(&failed.error))))?
            .schema();
        Ok(Self { config, reader: Rc::new(reader), table, schema, length, head, cursor: None })
    }

    fn length(&self) -> Result<u64, Error> {
        Ok(self.reader.length().map_err(|error| file_error(&self.config.path, error))?.offset_bytes)
    }

    /// The state that bytes from the host mean.
    fn state(&self, state: Option<Vec<u8>>) -> Result<State, Error> {
        let Place { offset, line } = self.table.first_row;
        let Some(state) = state else {
            let (path, head) = (self.config.path.clone(), self.head_before(offset));
            return Ok(State { path, offset_bytes: offset, line, row: 0, head, tail: Fingerprint::default() });
        };
        let state: State = serde_json::from_slice(&state)
            .map_err(|error| Error::InvalidInput(format!("these bytes are no state of this source: {error}")))?;
        if state.path != self.config.path {
            return Err(Error::InvalidInput(format!("the state is of {}, not of {}", state.path, self.config.path)));
        }
        if state.offset_bytes < offset {
            return Err(Error::InvalidInput(format!("the state points into the header of {}", state.path)));
        }
        if state.head.bytes > self.head.len() || Fingerprint::of(&self.head[..state.head.bytes]) != state.head {
            return Err(another(&state.path, "begins in another way"));
        }
        Ok(state)
    }

    /// The beginning of the file that a state vouches for: no more than was read, since the file may grow after it.
    fn head_before(&self, offset: u64) -> Fingerprint {
        let bytes = usize::try_from(offset).unwrap_or(usize::MAX).min(self.head.len());
        Fingerprint::of(&self.head[..bytes])
    }

    /// Make sure that the file was not shortened or written to before its end; it may have grown.
    fn check_unchanged(&self) -> Result<(), Error> {
        let failed = |error| file_error(&self.config.path, error);
        let length = self.length()?;
        let path = &self.config.path;
        if length < self.length {
            let why = format!("{path} changed while it was read: it had {} bytes, and has {length} now", self.length);
            return Err(Error::InvalidInput(why));
        }
        self.reader.seek(Position { offset_bytes: 0 }).map_err(failed)?;
        let head = self.reader.read(self.head.len() as u32).map_err(failed)?;
        if head != self.head {
            return Err(Error::InvalidInput(format!("{path} changed while it was read: it begins in another way now")));
        }
        Ok(())
    }

    fn read(&mut self, from: State) -> Result<Chunk, Error> {
        // Taken out, so that an error leaves none: the next call then begins anew from its state.
        let mut records = match self.cursor.take() {
            Some((state, records)) if state == from => records,
            _ => self.go_to(&from)?,
        };
        let path = &self.config.path;
        let Rows { columns, lines, more } = self.table.read(&mut records, &self.config).map_err(|failure| match failure {
            Failure::Read(error) => file_error(path, error),
            Failure::Broken { line, why } => broken(path, line, &why),
        })?;
        let Place { offset, line } = records.place();
        let batch = build(&self.table.columns, columns, lines.len()).map_err(|failed| match failed.row {
            Some(row) => broken(path, lines[row], &describe(&failed.error)),
            None => Error::Data(failed.error),
        })?;
        if !more {
            self.check_unchanged()?;
        }
        let (head, tail) = (self.head_before(offset), Fingerprint::of(records.before()));
        let to = State { path: from.path, offset_bytes: offset, line, row: from.row + lines.len() as u64, head, tail };
        let state = serde_json::to_vec(&to).map_err(|error| Error::Internal(error.to_string()))?;
        self.cursor = Some((to, records));
        Ok(Chunk { rows: batch, state, ended: !more })
    }

    /// The records from a state on.
    fn go_to(&self, state: &State) -> Result<Records<Read>, Error> {
        let failed = |error| file_error(&self.config.path, error);
        let length = self.length()?;
        if state.offset_bytes > length {
            let why = format!("{} has {length} bytes, but the state points to byte {}", state.path, state.offset_bytes);
            return Err(Error::InvalidInput(why));
        }
        let tail = Position { offset_bytes: state.offset_bytes.saturating_sub(state.tail.bytes as u64) };
        self.reader.seek(tail).map_err(failed)?;
        let bytes = u32::try_from(state.tail.bytes).ok().filter(|bytes| *bytes <= HEAD_BYTES);
        let Some(bytes) = bytes else { return Err(Error::InvalidInput("these bytes are no state of this source".into())) };
        if bytes > 0 && Fingerprint::of(&self.reader.read(bytes).map_err(failed)?) != state.tail {
            return Err(another(&state.path, &format!("has other bytes before byte {}", state.offset_bytes)));
        }
        // A record begins after a line end, or, where the file has grown since, with the one that was missing at its end.
        self.reader.seek(Position { offset_bytes: state.offset_bytes.saturating_sub(1) }).map_err(failed)?;
        let around = self.reader.read(2).map_err(failed)?;
        if around.len() == 2 && !around.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            let why = format!("no record of {} begins at byte {}: has the file changed?", state.path, state.offset_bytes);
            return Err(Error::InvalidInput(why));
        }
        self.reader.seek(Position { offset_bytes: state.offset_bytes }).map_err(failed)?;
        let reader = Rc::clone(&self.reader);
        let read: Read = Box::new(move || next_part(&reader, READ_BYTES));
        let place = Place { offset: state.offset_bytes, line: state.line };
        let mut records = Records::new(read, place, self.config.delimiter as u8, self.config.max_record_bytes);
        records.keep_empty_lines = self.table.columns.len() == 1;
        Ok(records)
    }
}

fn next_part(reader: &Reader, bytes: u32) -> Result<Part, FileError> {
    let buffer = reader.read_words(bytes)?;
    Ok(Part { words: buffer.words, length: buffer.byte_length as usize })
}

/// A column that does not make a batch; `row` is the first one whose value does not fit the column's type.
struct Unfit {
    column: String,
    row: Option<usize>,
    error: DataError,
}

/// Make a batch.
fn build(plans: &[ColumnPlan], columns: Vec<Column>, rows: usize) -> Result<Batch, Unfit> {
    plans.iter().zip(columns).try_fold(new_batch(rows as u32), |batch, (plan, column)| {
        let valid = column.valid.words();
        let batch = match column.values {
            Values::Whole(values) => batch.with_int64_column(&plan.name, &values, valid),
            Values::Real(values) => batch.with_float64_column(&plan.name, &values, valid),
            // Each text was checked when it was added.
            Values::Text { offsets, text } => String::from_utf8(text)
                .map_err(|error| DataError::Malformed(error.to_string()))
                .and_then(|text| batch.with_text_column(&plan.name, &TextValues { offsets, text }, valid)),
        }
        .map_err(|error| Unfit { column: plan.name.clone(), row: None, error })?;
        if !plan.cast {
            return Ok(batch);
        }
        batch.cast_column(&plan.name, &plan.type_name).map_err(|error| unfit(&batch, plan, rows, error))
    })
}

/// Find the first row that cannot be converted, by halves.
fn unfit(batch: &Batch, plan: &ColumnPlan, rows: usize, error: DataError) -> Unfit {
    let cast = |length: usize| batch.slice(0, length as u32).and_then(|rows| rows.cast_column(&plan.name, &plan.type_name));
    let column = plan.name.clone();
    if let Err(error) = cast(0) {
        return Unfit { column, row: None, error };
    }
    let (mut good, mut bad, mut error) = (0, rows, error);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        match cast(middle) {
            Ok(_) => good = middle,
            Err(earlier) => (bad, error) = (middle, earlier),
        }
    }
    Unfit { column, row: Some(good), error }
}

fn another(path: &str, how: &str) -> Error {
    Error::InvalidInput(format!("{path} is not the file that the state is of: it {how}; read it from its beginning, without a state"))
}

fn broken(path: &str, line: u64, why: &str) -> Error {
    Error::InvalidInput(format!("{path}, line {line}: {why}"))
}

fn describe(error: &DataError) -> String {
    match error {
        DataError::NoSuchColumn(column) => format!("there is no column {column:?}"),
        DataError::WrongType(types) => format!("column {:?} is {}, not {}", types.column, types.actual, types.expected),
        DataError::OutOfRange(why) | DataError::Malformed(why) | DataError::TooLarge(why) | DataError::Other(why) => why.clone(),
    }
}

fn file_error(path: &str, error: FileError) -> Error {
    match error {
        FileError::Denied(why) => Error::Denied(format!("{path}: {why}")),
        FileError::NotFound(why) => Error::InvalidConfig(format!("path: {path}: not found: {why}")),
        FileError::WrongKind(why) | FileError::InvalidPath(why) => Error::InvalidConfig(format!("path: {path}: {why}")),
        FileError::InputOutput(why) => Error::Unavailable(format!("{path}: {why}")),
        FileError::AlreadyExists(why) | FileError::NoSpace(why) | FileError::Other(why) => Error::Other(format!("{path}: {why}")),
    }
}

export!(Plugin);
