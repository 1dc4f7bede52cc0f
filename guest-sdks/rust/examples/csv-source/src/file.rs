//! One file: what is known of it, and reading it from a state on.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use crate::batch::{build, describe};
use crate::columns::Column;
use crate::dataflare::data::batches::Batch;
use crate::dataflare::data::schemas::Schema;
use crate::dataflare::host::files::{open, stat, FileError, Position, Reader};
use crate::exports::dataflare::plugin::lifecycle::Error;
use crate::records::{Failure, Part, Place, Records};
use crate::table::{Config, Fingerprint, Misfit, Rows, State, Table};

const READ_BYTES: u32 = 4 << 20;
const SAMPLE_BYTES: u32 = 1 << 20;
/// How much of the file's beginning tells it from others.
const HEAD_BYTES: u32 = 1 << 16;

type Read = Box<dyn FnMut() -> Result<Part, FileError>>;

/// The records of a file, and where the next one begins.
pub struct Cursor {
    pub at: State,
    /// What was read ahead; `None` after an error, which makes the next read begin anew from `at`.
    records: Option<Records<Read>>,
}

/// A file that was looked at. It is open only while it is read: a folder may have more files than may be open at a time.
pub struct File {
    pub path: String,
    pub table: Table,
    config: Rc<Config>,
    reader: RefCell<Weak<Reader>>,
    /// When the file had changed last when it was opened, its length then, and its beginning.
    modified_ms: u64,
    length: u64,
    head: Vec<u8>,
}

impl File {
    /// Open a file and look at its beginning; `strict` says whether it must have each column that the configuration names.
    pub fn open(path: &str, strict: bool, config: &Rc<Config>) -> Result<Self, Error> {
        let failed = |error| file_error(path, error);
        let modified_ms = stat(path).map_err(failed)?.modified_ms;
        let reader = open(path).map_err(failed)?;
        let length = reader.length().map_err(failed)?.offset_bytes;
        let sample = next_part(&reader, SAMPLE_BYTES).map_err(failed)?;
        let head = sample.bytes()[..sample.length.min(HEAD_BYTES as usize)].to_vec();
        let whole = sample.length as u64 >= length;
        let table = Table::look_at(sample, whole, strict, config).map_err(|misfit| match misfit {
            Misfit::Column(why) => Error::InvalidConfig(why),
            Misfit::Broken { line, why } => broken(path, line, &why),
        })?;
        Ok(Self { path: path.into(), table, config: Rc::clone(config), reader: RefCell::default(), modified_ms, length, head })
    }

    /// The open file; it is opened if nobody has it.
    fn reader(&self) -> Result<Rc<Reader>, Error> {
        if let Some(reader) = self.reader.borrow().upgrade() {
            return Ok(reader);
        }
        let reader = Rc::new(open(&self.path).map_err(|error| file_error(&self.path, error))?);
        self.reader.replace(Rc::downgrade(&reader));
        Ok(reader)
    }

    /// The schema of these columns.
    pub fn schema(&self, columns: &[usize]) -> Result<Schema, Error> {
        let plans = &self.table.columns;
        let none = plans.iter().map(|plan| Column::new(plan.reading, plan.exactness, 0)).collect();
        Ok(build(plans, columns, none, 0)
            .map_err(|failed| Error::InvalidConfig(format!("columns.{}: {}", failed.column, describe(&failed.error))))?
            .schema())
    }

    pub fn length(&self) -> Result<u64, Error> {
        Ok(self.reader()?.length().map_err(|error| file_error(&self.path, error))?.offset_bytes)
    }

    /// The state before the first row, of a read of all columns.
    pub fn beginning(&self) -> State {
        self.state_at(self.table.first_row, 0, Fingerprint::default())
    }

    fn state_at(&self, place: Place, row: u64, tail: Fingerprint) -> State {
        // The file may grow: a state vouches for no more of its beginning than was read.
        let bytes = usize::try_from(place.offset).unwrap_or(usize::MAX).min(self.head.len());
        let head = Fingerprint::of(&self.head[..bytes]);
        let (path, form) = (self.path.clone(), self.config.form());
        State { path, offset_bytes: place.offset, line: place.line, row, head, tail, form, selected: None }
    }

    /// The rows from a state on. `invalid-state` where it is of another file.
    pub fn go_to(&self, at: State) -> Result<Cursor, Error> {
        let records = Some(self.records(&at)?);
        Ok(Cursor { at, records })
    }

    /// The next rows of these columns, none that begins at byte `to` or after it, and whether more follow.
    pub fn read(&self, cursor: &mut Cursor, columns: &[usize], max_rows: usize, to: u64) -> Result<(Batch, usize, bool), Error> {
        // Taken out, so that an error leaves none.
        let mut records = match cursor.records.take() {
            Some(records) => records,
            None => self.records(&cursor.at)?,
        };
        let (path, config) = (&self.path, &self.config);
        // Where the file changed, that is what is wrong, not what was then found in it.
        let failed = |failure| self.check_unchanged().err().unwrap_or_else(|| self.failure(failure));
        let rows = self.table.read(&mut records, max_rows, to, config).map_err(failed)?;
        let Rows { columns: values, lines, more } = rows;
        let batch = build(&self.table.columns, columns, values, lines.len()).map_err(|failed| match failed.row {
            Some(row) => broken(path, lines[row], &describe(&failed.error)),
            None => Error::Data(failed.error),
        })?;
        if !more {
            self.check_unchanged()?;
        }
        let next = self.state_at(records.place(), cursor.at.row + lines.len() as u64, Fingerprint::of(records.before()));
        cursor.at = State { selected: cursor.at.selected.take(), ..next };
        cursor.records = Some(records);
        Ok((batch, lines.len(), more))
    }

    /// The states at the first record ends at or after these offsets, which ascend, of a read of all columns.
    pub fn cuts(&self, offsets: &[u64]) -> Result<Vec<State>, Error> {
        let mut records = self.records(&self.beginning())?;
        let (mut row, mut found) = (0, Vec::new());
        for &offset in offsets {
            while records.place().offset < offset {
                if records.next().map_err(|failure| self.failure(failure))?.is_none() {
                    return Ok(found);
                }
                row += 1;
            }
            found.push(self.state_at(records.place(), row, Fingerprint::of(records.before())));
        }
        Ok(found)
    }

    fn failure(&self, failure: Failure<FileError>) -> Error {
        match failure {
            Failure::Read(error) => file_error(&self.path, error),
            Failure::Broken { line, why } => broken(&self.path, line, &why),
        }
    }

    /// Make sure that the file was not shortened, written to or replaced before its end; it may have grown by whole lines.
    fn check_unchanged(&self) -> Result<(), Error> {
        let failed = |error| file_error(&self.path, error);
        let changed = |how: String| Err(Error::InvalidInput(format!("{} changed while it was read: {how}", self.path)));
        let reader = self.reader()?;
        let length = self.length()?;
        if length < self.length {
            return changed(format!("it had {} bytes, and has {length} now", self.length));
        }
        match stat(&self.path) {
            Err(FileError::NotFound(_)) => return changed("it was removed or renamed".into()),
            Err(error) => return Err(failed(error)),
            Ok(named) if named.size_bytes < length => return changed("another file has its name now".into()),
            Ok(named) if length == self.length && named.modified_ms != self.modified_ms => {
                return changed("it was written to, or another file has its name now".into());
            }
            Ok(_) => {}
        }
        reader.seek(Position { offset_bytes: 0 }).map_err(failed)?;
        if reader.read(self.head.len() as u32).map_err(failed)? != self.head {
            return changed("it begins in another way now".into());
        }
        if length > self.length {
            reader.seek(Position { offset_bytes: length - 1 }).map_err(failed)?;
            if !matches!(reader.read(1).map_err(failed)?.as_slice(), b"\n" | b"\r") {
                return changed("it grew, and its last line is not complete".into());
            }
        }
        Ok(())
    }

    /// The records from a state on.
    fn records(&self, state: &State) -> Result<Records<Read>, Error> {
        let (path, failed) = (&self.path, |error| file_error(&self.path, error));
        if state.form != self.config.form() {
            let why = "is read with another delimiter, null_values or quoted_nulls now than before the state";
            return Err(Error::InvalidState(format!("{path} {why}: set them as they were, or read from the beginning, without a state")));
        }
        if state.offset_bytes < self.table.first_row.offset {
            return Err(Error::InvalidState(format!("the state points into the header of {path}")));
        }
        if state.head.bytes > self.head.len() || Fingerprint::of(&self.head[..state.head.bytes]) != state.head {
            return Err(another(path, "begins in another way"));
        }
        let reader = self.reader()?;
        let length = self.length()?;
        if state.offset_bytes > length {
            let why = format!("{path} has {length} bytes, but the state points to byte {}", state.offset_bytes);
            return Err(Error::InvalidState(why));
        }
        let tail = Position { offset_bytes: state.offset_bytes.saturating_sub(state.tail.bytes as u64) };
        reader.seek(tail).map_err(failed)?;
        let bytes = u32::try_from(state.tail.bytes).ok().filter(|bytes| *bytes <= HEAD_BYTES);
        let Some(bytes) = bytes else { return Err(Error::InvalidState("these bytes are not a state of this source".into())) };
        if bytes > 0 && Fingerprint::of(&reader.read(bytes).map_err(failed)?) != state.tail {
            return Err(another(path, &format!("has other bytes before byte {}", state.offset_bytes)));
        }
        // A record begins after a line end, or, where the file has grown since, with the one that was missing at its end.
        reader.seek(Position { offset_bytes: state.offset_bytes.saturating_sub(1) }).map_err(failed)?;
        let around = reader.read(2).map_err(failed)?;
        if around.len() == 2 && !around.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
            let why = format!("no record of {path} begins at byte {}: has the file changed?", state.offset_bytes);
            return Err(Error::InvalidState(why));
        }
        reader.seek(Position { offset_bytes: state.offset_bytes }).map_err(failed)?;
        let read: Read = Box::new(move || next_part(&reader, READ_BYTES));
        let place = Place { offset: state.offset_bytes, line: state.line };
        let mut records = Records::new(read, place, self.config.delimiter(), self.config.max_record_bytes);
        records.keep_empty_lines = self.table.columns.len() == 1;
        Ok(records)
    }
}

fn next_part(reader: &Reader, bytes: u32) -> Result<Part, FileError> {
    let buffer = reader.read_words(bytes)?;
    Ok(Part { words: buffer.words, length: buffer.byte_length as usize })
}

fn another(path: &str, how: &str) -> Error {
    Error::InvalidState(format!("{path} is not the file that the state is of: it {how}; read it from its beginning, without a state"))
}

fn broken(path: &str, line: u64, why: &str) -> Error {
    Error::InvalidInput(format!("{path}, line {line}: {why}"))
}

pub fn file_error(path: &str, error: FileError) -> Error {
    match error {
        FileError::Denied(why) => Error::Denied(format!("{path}: {why}")),
        FileError::NotFound(why) => Error::InvalidConfig(format!("path: {path}: not found: {why}")),
        FileError::WrongKind(why) | FileError::InvalidPath(why) => Error::InvalidConfig(format!("path: {path}: {why}")),
        FileError::Busy(why) | FileError::InputOutput(why) => Error::Unavailable(format!("{path}: {why}")),
        FileError::AlreadyExists(why) | FileError::NoSpace(why) | FileError::Other(why) => Error::Other(format!("{path}: {why}")),
    }
}
