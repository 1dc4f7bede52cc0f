//! Sources: datasets, and reads of them that can continue where they stopped.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};

use crate::bindings::imports::dataflare::plugin::datasets::ReadingMode;
use crate::bindings::source::exports::dataflare::plugin::source::Selection;
use crate::changes::{ChangeReading, Events, RETRY_MS};
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
    fn read(&mut self, request: &Request<Self::State>) -> Result<Option<Chunk<Self::State>>> {
        Err(Error::Internal(format!("dataset {:?}: the source has no `read`", request.dataset.name)))
    }

    /// What happened after a position, in order, of datasets with [`Mode::Changes`]. `position` is that of an [`crate::Event::Commit`];
    /// `None` stands for the beginning: the rows that exist come first, as inserts.
    ///
    /// Every transaction ends with a commit, and so do rows and new schemas outside of one. Of a log of several datasets,
    /// `datasets` are those that are read; events of others may be left out. Where nothing more is there for now, it ends, or
    /// gives an [`crate::Event::Idle`] to go on from where it is. After an end and after an error, it is called anew with the position of
    /// the last commit; the events since then that were taken before have to come again, and do not count twice. If the changes
    /// after the position are gone, answer [`Error::InvalidState`].
    fn changes(&mut self, _position: Option<Self::State>, datasets: &[Dataset]) -> Result<Events<Self::State>> {
        Err(Error::Internal(format!("dataset {:?}: the source has no `changes`", datasets[0].name)))
    }

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
pub(crate) enum Read<S> {
    Dataset(Reading<S>),
    Log(ChangeReading<S>),
}

impl<S: Serialize + DeserializeOwned + Clone> Read<S> {
    pub(crate) fn begin<P: Source<State = S>>(source: &mut P, mut requests: Vec<Request<S>>) -> Result<Self> {
        Ok(match requests[0].mode {
            Mode::Changes => Self::Log(ChangeReading::begin(source, requests)?),
            _ => Self::Dataset(Reading::begin(source, requests.remove(0))?),
        })
    }

    pub(crate) fn schemas(&self) -> Vec<Schema> {
        match self {
            Self::Dataset(reading) => vec![reading.schema()],
            Self::Log(reading) => reading.schemas(),
        }
    }

    /// What comes next; `None` at the end.
    pub(crate) fn next<P: Source<State = S>>(&mut self, source: &mut P, max_rows: usize) -> Result<Option<Progress>> {
        match self {
            Self::Dataset(reading) => reading.next(source, max_rows),
            Self::Log(reading) => reading.next(source, max_rows).map(Some),
        }
    }
}

/// A read of one dataset.
pub(crate) struct Reading<S> {
    request: Request<S>,
    /// The columns that are read, of those that rows have now.
    schema: Schema,
    rest: Option<(Batch, Vec<u8>)>,
}

/// What comes next in a read.
pub(crate) enum Progress {
    /// Rows of a selection, and the state after them; `None` where there is no safe point.
    Rows(usize, Batch, Option<Vec<u8>>),
    /// The columns of a selection's rows that follow.
    NewSchema(usize, Schema),
    /// No rows for now: the state after those before, and when to ask again.
    Idle(Option<Vec<u8>>, u32),
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
                let Some(Chunk { rows, state, schema }) = source.read(&self.request)? else { return self.end() };
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
                    return Ok(Some(Progress::NewSchema(0, self.schema())));
                }
                (rows, written)
            }
        };
        if rows.len() <= max_rows {
            return Ok(Some(Progress::Rows(0, rows, Some(state))));
        }
        // What is held back keeps the state: before it, there is no safe point.
        self.rest = Some((rows.slice(max_rows, rows.len() - max_rows)?, state));
        Ok(Some(Progress::Rows(0, rows.slice(0, max_rows)?, None)))
    }

    /// Of a dataset that is unbounded, an incremental read has no end either.
    fn end(&self) -> Result<Option<Progress>> {
        let Request { dataset, mode, state, .. } = &self.request;
        if !dataset.has_mode(Mode::Changes) || *mode == Mode::Full {
            return Ok(None);
        }
        let state = state.as_ref().map(|state| encoded(&self.request, "after", state)).transpose()?;
        Ok(Some(Progress::Idle(state, RETRY_MS)))
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
    metadata: BTreeMap<String, String>,
    name: String,
    nullable: bool,
    #[serde(rename = "type")]
    type_name: String,
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
pub(crate) fn requests_of<P: Source>(
    source: &P,
    selections: &[Selection],
    part: Option<&[u8]>,
    state: Option<&[u8]>,
) -> Result<Vec<Request<P::State>>> {
    let datasets = source.datasets()?;
    let mut requests = selections.iter().map(|each| request_of(&datasets, each)).collect::<Result<Vec<Request<P::State>>>>()?;
    let of_log = !requests.is_empty() && requests.iter().all(|each| each.mode == Mode::Changes);
    match requests.as_mut_slice() {
        [first, ..] if of_log && part.is_some() => {
            return Err(Error::InvalidState(format!("dataset {:?}: changes have no parts", first.dataset.name)));
        }
        requests if of_log => state.map_or(Ok(()), |state| decode_changes(requests, state))?,
        [request] => {
            if let Some(part) = part {
                request.part = Some(decoded(request, part, "part")?.0);
            }
            if let Some(state) = state {
                let (value, schema) = decoded(request, state, "after")?;
                continue_from(request, value, schema)?;
            }
        }
        _ => {
            let why = "select one dataset: each has a state of its own, apart from those of a log of changes";
            return Err(Error::InvalidConfig(why.into()));
        }
    }
    Ok(requests)
}

/// Take the state that was written, and the schema with it.
fn continue_from<S: DeserializeOwned>(request: &mut Request<S>, value: Value, schema: Option<Value>) -> Result<()> {
    let name = request.dataset.name.clone();
    let wrong = |error| Error::InvalidState(format!("dataset {name:?}: the state does not come from this source: {error}"));
    request.state = Some(serde_json::from_value(value).map_err(wrong)?);
    if let Some(columns) = schema {
        let columns: Vec<SavedField> = serde_json::from_value(columns).map_err(wrong)?;
        request.schema = Schema::new(columns.into_iter().map(Field::from));
    }
    Ok(())
}

fn request_of<S>(datasets: &[Dataset], selection: &Selection) -> Result<Request<S>> {
    let name = &selection.dataset.name;
    let known: Vec<&str> = datasets.iter().map(|each| each.name.as_str()).collect();
    let Some(dataset) = datasets.iter().find(|each| each.name == *name && selection.dataset.namespace.is_empty()) else {
        return Err(Error::InvalidConfig(format!("there is no dataset {name:?}, only {}", known.join(", "))));
    };
    let mode = mode_of(dataset, &selection.mode)?;
    if let Some(column) = selection.columns.iter().find(|name| !dataset.fields.iter().any(|field| field.name == **name)) {
        return Err(Error::InvalidConfig(format!("dataset {name:?}: there is no column {column:?}")));
    }
    Ok(Request { mode, columns: selection.columns.clone(), ..Request::new(dataset.clone()) })
}

fn mode_of(dataset: &Dataset, mode: &ReadingMode) -> Result<Mode> {
    let (found, given) = match mode {
        ReadingMode::Full => (Mode::Full, None),
        ReadingMode::Incremental(cursor) => (Mode::Incremental, Some(cursor)),
        ReadingMode::Changes => (Mode::Changes, None),
    };
    let (name, cursor) = (&dataset.name, dataset.cursor.as_deref().unwrap_or_default());
    if !dataset.has_mode(found) {
        return Err(Error::InvalidConfig(format!("dataset {name:?}: it cannot be read in the mode {}", found.name())));
    }
    if given.is_some_and(|given| given != cursor) {
        return Err(Error::InvalidConfig(format!("dataset {name:?}: its cursor is {cursor:?}")));
    }
    Ok(found)
}

/// Write a state (`after`, with the schema of the rows that follow where the dataset has another one) or a part (`part`), with the
/// read that it belongs to.
pub(crate) fn encoded<S, T: Serialize>(request: &Request<S>, key: &str, value: &T) -> Result<Vec<u8>> {
    let mut said = belonging(request);
    said[key] = serde_json::to_value(value)?;
    if key == "after" && request.schema.fields != request.dataset.schema().fields {
        said["schema"] = saved(&request.schema);
    }
    written(said)
}

/// As the SDKs of all languages write it: without white space, and with keys in the order of the alphabet.
fn written(mut said: Value) -> Result<Vec<u8>> {
    if let Value::Object(said) = &mut said {
        said.sort_keys(); // a copy in a sorted map would add 27 KB to the component
    }
    Ok(serde_json::to_vec(&said)?)
}

/// Write a state of a log of changes, with the datasets that are read and the columns of their next rows: what the dataset has now
/// can come later in the log.
pub(crate) fn encoded_changes<S, T: Serialize>(requests: &[&Request<S>], position: Option<&T>) -> Result<Vec<u8>> {
    let dataset = |request: &&Request<S>| {
        let mut said = selected(request);
        said["schema"] = saved(&request.schema);
        said
    };
    let datasets: Vec<Value> = requests.iter().map(dataset).collect();
    written(json!({ "after": position, "datasets": datasets, "mode": "changes" }))
}

fn saved(schema: &Schema) -> Value {
    schema.fields.iter().cloned().map(|field| json!(SavedField::from(field))).collect()
}

fn belonging<S>(request: &Request<S>) -> Value {
    let mut said = selected(request);
    said["mode"] = json!(request.mode.name());
    if let Some(part) = &request.part {
        said["part"] = part.clone();
    }
    said
}

fn selected<S>(request: &Request<S>) -> Value {
    let mut said = json!({});
    if !request.columns.is_empty() {
        let mut columns = request.columns.clone();
        columns.sort();
        said["columns"] = json!(columns);
    }
    said["dataset"] = json!(request.dataset.name);
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

/// Take what [`encoded_changes`] wrote.
fn decode_changes<S: DeserializeOwned>(requests: &mut [Request<S>], data: &[u8]) -> Result<()> {
    let names: Vec<String> = requests.iter().map(|each| format!("{:?}", each.dataset.name)).collect();
    let wrong = |what: &str| Error::InvalidState(format!("dataset {}: the state {what}", names.join(", ")));
    let mut said: Value = serde_json::from_slice(data).unwrap_or_default();
    let parts = said.as_object_mut().and_then(|said| Some((said.remove("after")?, said.remove("datasets")?, said.remove("mode")?)));
    let Some((position, Value::Array(mut datasets), mode)) = parts else { return Err(wrong("does not come from this source")) };
    let schemas: Vec<Option<Value>> = datasets.iter_mut().map(|each| each.as_object_mut().and_then(|each| each.remove("schema"))).collect();
    if mode != "changes" || datasets != requests.iter().map(selected).collect::<Vec<_>>() {
        return Err(wrong("is of other columns, or of other datasets or another mode"));
    }
    requests.iter_mut().zip(schemas).try_for_each(|(request, schema)| continue_from(request, position.clone(), schema))
}

/// The state within what was written.
pub(crate) fn acknowledged<S: DeserializeOwned>(data: &[u8]) -> Result<S> {
    let wrong = || Error::InvalidState("the acknowledged state does not come from this source".into());
    let said: Value = serde_json::from_slice(data).map_err(|_| wrong())?;
    serde_json::from_value(said.get("after").cloned().unwrap_or_default()).map_err(|_| wrong())
}
