//! Sources: datasets, and reads of them that can continue where they stopped.

use serde::de::DeserializeOwned;
use serde::Serialize;
use serde_json::{json, Value};

use crate::bindings::imports::dataflare::plugin::datasets::ReadingMode;
use crate::bindings::source::exports::dataflare::plugin::source::Selection;
use crate::export::common;
use crate::{Batch, Chunk, Dataset, Error, Mode, Request, Result, Schema};

/// Reads datasets.
///
/// `read` is called until it returns `None`, each time with the state of the chunk before. A later read begins with the
/// state of the last chunk that the host kept; and when a call fails, the host may make it again.
pub trait Source: Sized + 'static {
    common!();

    /// Where a read came to: anything that serde reads and writes.
    type State: Serialize + DeserializeOwned + Clone;

    /// The datasets that can be read.
    fn datasets(&self) -> Result<Vec<Dataset>>;

    /// The next rows, at most `request.max_rows`, and the state after them; `None` at the end.
    fn read(&mut self, request: &Request<Self::State>) -> Result<Option<Chunk<Self::State>>>;

    /// Divide the rest of a read into at most this many parts that can be read at the same time, each any JSON value.
    fn split(&mut self, request: &Request<Self::State>, _at_most: usize) -> Result<Vec<Value>> {
        Err(Error::Unsupported(format!("dataset {:?} cannot be split", request.dataset.name)))
    }

    /// How many rows a read has, exactly; `None` where it is not known.
    fn estimate(&mut self, _request: &Request<Self::State>) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Take note that all rows up to this state are safe.
    fn acknowledge(&mut self, _state: Self::State) -> Result<()> {
        Ok(())
    }
}

/// A read that is under way.
pub(crate) struct Reading<S> {
    request: Request<S>,
    schema: Schema,
    rest: Option<(Batch, Vec<u8>)>,
}

impl<S: Serialize + DeserializeOwned + Clone> Reading<S> {
    pub(crate) fn new(request: Request<S>) -> Self {
        let dataset = &request.dataset;
        let mut schema = dataset.schema();
        if !request.columns.is_empty() {
            let needed: Vec<&String> = request.columns.iter().chain(&dataset.key).chain(&dataset.cursor).collect();
            schema.fields.retain(|field| needed.contains(&&field.name));
        }
        Self { request, schema, rest: None }
    }

    pub(crate) fn schema(&self) -> Schema {
        self.schema.clone()
    }

    /// The next rows and the state after them; `None` at the end.
    pub(crate) fn next<P: Source<State = S>>(&mut self, source: &mut P, max_rows: usize) -> Result<Option<(Batch, Option<Vec<u8>>)>> {
        let (rows, state) = match self.rest.take() {
            Some(rest) => rest,
            None => {
                self.request.max_rows = max_rows;
                let Some(Chunk { rows, state }) = source.read(&self.request)? else { return Ok(None) };
                let rows = self.fitting(rows)?;
                let written = encoded(&self.request, "after", &state)?;
                self.request.state = Some(state);
                (rows, written)
            }
        };
        if rows.len() <= max_rows {
            return Ok(Some((rows, Some(state))));
        }
        // What is held back keeps the state: before it, there is no safe point.
        self.rest = Some((rows.slice(max_rows, rows.len() - max_rows)?, state));
        Ok(Some((rows.slice(0, max_rows)?, None)))
    }

    /// The rows with the columns, types and metadata that the read promised.
    fn fitting(&self, rows: Batch) -> Result<Batch> {
        let given = rows.schema();
        if given.fields == self.schema.fields {
            return Ok(rows);
        }
        let Dataset { name, fields, .. } = &self.request.dataset;
        if let Some(unknown) = given.fields.iter().find(|field| !fields.iter().any(|known| known.name == field.name)) {
            let what = format!("dataset {name:?}: the rows have a column {:?}, which its schema lacks", unknown.name);
            return Err(Error::InvalidInput(what));
        }
        let mut rows = rows.select(self.schema.fields.iter().map(|field| &field.name))?;
        for field in &self.schema.fields {
            let have = given.fields.iter().find(|other| other.name == field.name);
            if have.is_some_and(|have| have.type_name != field.type_name) {
                rows = rows.cast(&field.name, &field.type_name)?;
            }
            if have.is_some_and(|have| have.metadata != field.metadata) {
                rows = Batch::from_raw(rows.raw().with_column_metadata(&field.name, &field.metadata)?);
            }
        }
        Ok(rows)
    }
}

/// Check what the host selects, against what there is.
pub(crate) fn request_of<P: Source>(
    source: &P,
    selections: &[Selection],
    part: Option<&[u8]>,
    state: Option<&[u8]>,
) -> Result<Request<P::State>> {
    let [selection] = selections else {
        return Err(Error::InvalidConfig("select one dataset: each has a state of its own".into()));
    };
    let name = &selection.dataset.name;
    let datasets = source.datasets()?;
    let known: Vec<&str> = datasets.iter().map(|each| each.name.as_str()).collect();
    let Some(dataset) = datasets.iter().find(|each| each.name == *name && selection.dataset.namespace.is_empty()) else {
        return Err(Error::InvalidConfig(format!("there is no dataset {name:?}, only {}", known.join(", "))));
    };
    let mode = mode_of(dataset, &selection.mode)?;
    if let Some(column) = selection.columns.iter().find(|name| !dataset.fields.iter().any(|field| field.name == **name)) {
        return Err(Error::InvalidConfig(format!("dataset {name:?}: there is no column {column:?}")));
    }
    let mut request = Request { mode, columns: selection.columns.clone(), ..Request::new(dataset.clone()) };
    if let Some(part) = part {
        request.part = Some(decoded(&request, part, "part")?);
    }
    if let Some(state) = state {
        let value = decoded(&request, state, "after")?;
        let wrong = |error| Error::InvalidState(format!("the state does not come from this source: {error}"));
        request.state = Some(serde_json::from_value(value).map_err(wrong)?);
    }
    Ok(request)
}

fn mode_of(dataset: &Dataset, mode: &ReadingMode) -> Result<Mode> {
    let refuse = |mode: &str| Error::InvalidConfig(format!("dataset {:?}: it cannot be read in the mode {mode}", dataset.name));
    match (mode, &dataset.cursor) {
        (ReadingMode::Full, _) => Ok(Mode::Full),
        (ReadingMode::Incremental(given), Some(cursor)) if given == cursor => Ok(Mode::Incremental),
        (ReadingMode::Incremental(_), Some(cursor)) => {
            Err(Error::InvalidConfig(format!("dataset {:?}: its cursor is {cursor:?}", dataset.name)))
        }
        (ReadingMode::Incremental(_), None) => Err(refuse("incremental")),
        (ReadingMode::Changes, _) => Err(refuse("changes")),
    }
}

/// Write a state (`after`) or a part (`part`), with the read that it belongs to.
pub(crate) fn encoded<S, T: Serialize>(request: &Request<S>, key: &str, value: &T) -> Result<Vec<u8>> {
    let mut said = belonging(request);
    said[key] = serde_json::to_value(value)?;
    Ok(serde_json::to_vec(&said)?)
}

fn belonging<S>(request: &Request<S>) -> Value {
    let mut said = json!({ "dataset": request.dataset.name, "mode": request.mode.name() });
    if let Some(part) = &request.part {
        said["part"] = part.clone();
    }
    said
}

fn decoded<S>(request: &Request<S>, data: &[u8], key: &str) -> Result<Value> {
    let what = if key == "after" { "state" } else { "part" };
    let mut said: Value = serde_json::from_slice(data).unwrap_or_default();
    let Some(found) = said.as_object_mut().and_then(|said| said.remove(key)) else {
        return Err(Error::InvalidState(format!("the {what} does not come from this source")));
    };
    if said != belonging(request) {
        return Err(Error::InvalidState(format!("the {what} is of another dataset, mode or part")));
    }
    Ok(found)
}

/// The state within what [`encoded`] wrote.
pub(crate) fn acknowledged<S: DeserializeOwned>(data: &[u8]) -> Result<S> {
    let wrong = || Error::InvalidState("the state does not come from this source".into());
    let said: Value = serde_json::from_slice(data).map_err(|_| wrong())?;
    serde_json::from_value(said.get("after").cloned().unwrap_or_default()).map_err(|_| wrong())
}
