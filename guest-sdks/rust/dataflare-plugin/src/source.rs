//! Sources: datasets, and reads of them that can continue where they stopped.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};

use crate::bindings::imports::dataflare::plugin::datasets::ReadingMode;
use crate::bindings::source::exports::dataflare::plugin::source::Selection;
use crate::export::common;
use crate::{Batch, Chunk, Dataset, Error, Field, Mode, Request, Result, Schema};

/// Reads datasets.
///
/// `read` is called until it returns `None`, each time with the state of the chunk before. A later read begins with the
/// state of the last chunk that the host kept; and when a call fails, the host may make it again. Where the columns change, the
/// first chunk with other ones has their schema: [`Chunk::with_schema`].
pub trait Source: Sized + 'static {
    common!();

    /// Where a read came to: anything that serde reads and writes.
    type State: Serialize + DeserializeOwned + Clone;

    /// The datasets that can be read.
    fn datasets(&self) -> Result<Vec<Dataset>>;

    /// The next rows, at most `request.max_rows`, and the state after them; `None` at the end.
    fn read(&mut self, request: &Request<Self::State>) -> Result<Option<Chunk<Self::State>>>;

    /// The columns of the rows after `request.state`: by default those of the last chunk with a schema before it, or else the
    /// dataset's. A source whose older rows had other columns than the dataset has now says it here.
    fn schema_at(&self, request: &Request<Self::State>) -> Result<Schema> {
        Ok(request.schema.clone())
    }

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
    /// The columns that are read, of those that rows have now.
    schema: Schema,
    rest: Option<(Batch, Vec<u8>)>,
}

/// What comes next in a read.
pub(crate) enum Progress {
    /// Rows, and the state after them; `None` where there is no safe point.
    Rows(Batch, Option<Vec<u8>>),
    /// The columns of the rows that follow.
    NewSchema(Schema),
}

impl<S: Serialize + DeserializeOwned + Clone> Reading<S> {
    pub(crate) fn begin<P: Source<State = S>>(source: &P, mut request: Request<S>) -> Result<Self> {
        request.schema = request.dataset.with_roles(source.schema_at(&request)?);
        Ok(Self { schema: chosen(&request), request, rest: None })
    }

    pub(crate) fn schema(&self) -> Schema {
        self.schema.clone()
    }

    /// What comes next; `None` at the end.
    pub(crate) fn next<P: Source<State = S>>(&mut self, source: &mut P, max_rows: usize) -> Result<Option<Progress>> {
        let (rows, state) = match self.rest.take() {
            Some(rest) => rest,
            None => {
                self.request.max_rows = max_rows;
                let Some(Chunk { rows, state, schema }) = source.read(&self.request)? else { return Ok(None) };
                let mut after = self.request.clone();
                after.schema = schema.map_or(after.schema, |schema| after.dataset.with_roles(schema));
                let schema = chosen(&after);
                let rows = fitting(&after, rows, &schema)?;
                let written = encoded(&after, "after", &state)?;
                after.state = Some(state);
                self.request = after;
                // A change of columns that are not read is not news.
                if schema.fields != self.schema.fields {
                    self.rest = Some((rows, written));
                    self.schema = schema;
                    return Ok(Some(Progress::NewSchema(self.schema())));
                }
                (rows, written)
            }
        };
        if rows.len() <= max_rows {
            return Ok(Some(Progress::Rows(rows, Some(state))));
        }
        // What is held back keeps the state: before it, there is no safe point.
        self.rest = Some((rows.slice(max_rows, rows.len() - max_rows)?, state));
        Ok(Some(Progress::Rows(rows.slice(0, max_rows)?, None)))
    }
}

/// Those of the columns that are read.
fn chosen<S>(request: &Request<S>) -> Schema {
    let mut schema = request.schema.clone();
    if !request.columns.is_empty() {
        let needed: Vec<&String> = request.columns.iter().chain(&request.dataset.key).chain(&request.dataset.cursor).collect();
        schema.fields.retain(|field| needed.contains(&&field.name));
    }
    schema
}

/// The rows with the columns, types and metadata that the read promised.
fn fitting<S>(request: &Request<S>, rows: Batch, promised: &Schema) -> Result<Batch> {
    let given = rows.schema();
    if given.fields == promised.fields {
        return Ok(rows);
    }
    if let Some(unknown) = given.fields.iter().find(|field| !request.schema.fields.iter().any(|known| known.name == field.name)) {
        let (name, column) = (&request.dataset.name, &unknown.name);
        return Err(Error::InvalidInput(format!(
            "dataset {name:?}: the rows have a column {column:?}, which its schema lacks: name it there, leave it out, or give the chunk a \
             schema"
        )));
    }
    let mut rows = rows.select(promised.fields.iter().map(|field| &field.name))?;
    for field in &promised.fields {
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

/// A column in a state.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedField {
    name: String,
    #[serde(rename = "type")]
    type_name: String,
    nullable: bool,
    metadata: BTreeMap<String, String>,
}

impl From<Field> for SavedField {
    fn from(Field { name, type_name, nullable, metadata }: Field) -> Self {
        Self { name, type_name, nullable, metadata: metadata.into_iter().collect() }
    }
}

impl From<SavedField> for Field {
    fn from(SavedField { name, type_name, nullable, metadata }: SavedField) -> Self {
        Self { name, type_name, nullable, metadata: metadata.into_iter().collect() }
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
        request.part = Some(decoded(&request, part, "part")?.0);
    }
    if let Some(state) = state {
        let (value, schema) = decoded(&request, state, "after")?;
        let wrong = |error| Error::InvalidState(format!("dataset {name:?}: the state does not come from this source: {error}"));
        request.state = Some(serde_json::from_value(value).map_err(wrong)?);
        if let Some(columns) = schema {
            let columns: Vec<SavedField> = serde_json::from_value(columns).map_err(wrong)?;
            request.schema = Schema::new(columns.into_iter().map(Field::from));
        }
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

/// Write a state (`after`, with the schema of the rows that follow where the dataset has another one) or a part (`part`), with the
/// read that it belongs to.
pub(crate) fn encoded<S, T: Serialize>(request: &Request<S>, key: &str, value: &T) -> Result<Vec<u8>> {
    let mut said = belonging(request);
    said[key] = serde_json::to_value(value)?;
    if key == "after" && request.schema.fields != request.dataset.schema().fields {
        said["schema"] = request.schema.fields.iter().cloned().map(|field| json!(SavedField::from(field))).collect();
    }
    Ok(serde_json::to_vec(&said)?)
}

fn belonging<S>(request: &Request<S>) -> Value {
    let mut said = json!({ "dataset": request.dataset.name, "mode": request.mode.name() });
    if !request.columns.is_empty() {
        let mut columns = request.columns.clone();
        columns.sort();
        said["columns"] = json!(columns);
    }
    if let Some(part) = &request.part {
        said["part"] = part.clone();
    }
    said
}

/// What [`encoded`] wrote: the value, and the schema if there is one.
fn decoded<S>(request: &Request<S>, data: &[u8], key: &str) -> Result<(Value, Option<Value>)> {
    let (name, what) = (&request.dataset.name, if key == "after" { "state" } else { "part" });
    let mut said: Value = serde_json::from_slice(data).unwrap_or_default();
    let Some((found, schema)) = said.as_object_mut().and_then(|said| Some((said.remove(key)?, said.remove("schema")))) else {
        return Err(Error::InvalidState(format!("dataset {name:?}: the {what} does not come from this source")));
    };
    if said != belonging(request) {
        let others = "of other columns, or of another dataset, mode or part";
        return Err(Error::InvalidState(format!("dataset {name:?}: the {what} is {others}")));
    }
    Ok((found, schema))
}

/// The state within what [`encoded`] wrote.
pub(crate) fn acknowledged<S: DeserializeOwned>(data: &[u8]) -> Result<S> {
    let wrong = || Error::InvalidState("the acknowledged state does not come from this source".into());
    let said: Value = serde_json::from_slice(data).map_err(|_| wrong())?;
    serde_json::from_value(said.get("after").cloned().unwrap_or_default()).map_err(|_| wrong())
}
