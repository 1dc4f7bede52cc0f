//! What sources and destinations work with: columns, datasets, reads and chunks.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{Batch, Error, Result};

/// A column: its name, its Arrow type such as `int64` or `timestamp[us]`, and its metadata.
pub use crate::bindings::imports::dataflare::data::schemas::Field;
/// Columns, in order.
pub use crate::bindings::imports::dataflare::data::schemas::Schema;

impl Field {
    /// A column that may hold nulls.
    pub fn new(name: impl Into<String>, type_name: impl Into<String>) -> Self {
        Self { name: name.into(), type_name: type_name.into(), nullable: true, metadata: Vec::new() }
    }
}

impl Schema {
    /// Columns without further metadata.
    pub fn new(fields: impl IntoIterator<Item = Field>) -> Self {
        Self { fields: fields.into_iter().collect(), metadata: Vec::new() }
    }
}

/// Something that a source can read: `Dataset::new("people").column("id", "int64").key(["id"])`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Its name.
    pub name: String,
    /// One line that describes it.
    pub description: String,
    /// Its columns.
    pub fields: Vec<Field>,
    /// The columns that identify a row.
    pub key: Vec<String>,
    /// The column that rows are ordered by; with one, the dataset can be read incrementally.
    pub cursor: Option<String>,
    /// Whether [`crate::Source::split`] can cut it into parts.
    pub splittable: bool,
    /// How it can be read; empty for [`Mode::Full`] and, with a cursor, [`Mode::Incremental`].
    pub modes: Vec<Mode>,
}

impl Dataset {
    /// A dataset without columns.
    pub fn new(name: impl Into<String>) -> Self {
        let (name, fields, key) = (name.into(), Vec::new(), Vec::new());
        Self { name, description: String::new(), fields, key, cursor: None, splittable: false, modes: Vec::new() }
    }

    /// Add a column of an Arrow type.
    pub fn column(mut self, name: &str, type_name: &str) -> Self {
        self.fields.push(Field::new(name, type_name));
        self
    }

    /// Say what it is.
    pub fn description(mut self, text: &str) -> Self {
        self.description = text.into();
        self
    }

    /// Say which columns identify a row.
    pub fn key<'a>(mut self, columns: impl IntoIterator<Item = &'a str>) -> Self {
        self.key = columns.into_iter().map(str::to_string).collect();
        self
    }

    /// Say which column rows are ordered by.
    pub fn cursor(mut self, column: &str) -> Self {
        self.cursor = Some(column.into());
        self
    }

    /// Say that it can be cut into parts.
    pub fn splittable(mut self) -> Self {
        self.splittable = true;
        self
    }

    /// Say how it can be read, where that is not in full and by its cursor: a log of changes is `modes([Mode::Changes])`.
    pub fn modes(mut self, modes: impl IntoIterator<Item = Mode>) -> Self {
        self.modes = modes.into_iter().collect();
        self
    }

    pub(crate) fn has_mode(&self, mode: Mode) -> bool {
        match mode {
            Mode::Incremental if self.cursor.is_none() => false,
            Mode::Full | Mode::Incremental if self.modes.is_empty() => true,
            mode => self.modes.contains(&mode),
        }
    }

    /// The columns, with their roles in the metadata.
    pub fn schema(&self) -> Schema {
        self.with_roles(Schema::new(self.fields.clone()))
    }

    /// Columns of this dataset's rows, with the roles of its key and its cursor.
    pub(crate) fn with_roles(&self, mut schema: Schema) -> Schema {
        for field in &mut schema.fields {
            field.metadata.retain(|(key, _)| key != "dataflare.key" && key != "dataflare.role");
            if let Some(place) = self.key.iter().position(|name| *name == field.name) {
                field.metadata.push(("dataflare.key".into(), place.to_string()));
            }
            if self.cursor.as_ref() == Some(&field.name) {
                field.metadata.push(("dataflare.role".into(), "cursor".into()));
            }
            // A state keeps it without an order.
            field.metadata.sort();
        }
        schema
    }
}

/// How a dataset is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All rows.
    Full,
    /// The rows after the state's cursor.
    Incremental,
    /// Inserts, updates and deletes, in the order in which they happened: [`crate::Source::changes`].
    Changes,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Changes => "changes",
        }
    }
}

/// A read that a source is asked for.
#[derive(Clone, Debug)]
pub struct Request<S> {
    /// What to read.
    pub dataset: Dataset,
    /// How.
    pub mode: Mode,
    /// The columns that the host asks for; empty for all. Chunks may have more.
    pub columns: Vec<String>,
    /// The state of the last chunk before; `None`: read from the beginning.
    pub state: Option<S>,
    /// The columns that rows have after the state: the dataset's, or those that the last chunk with a schema had.
    pub schema: Schema,
    /// The most rows that the host takes at a time.
    pub max_rows: usize,
    pub(crate) part: Option<Value>,
}

impl<S> Request<S> {
    /// All of a dataset, from the beginning.
    pub fn new(dataset: Dataset) -> Self {
        let schema = dataset.schema();
        Self { dataset, mode: Mode::Full, columns: Vec::new(), state: None, schema, max_rows: 65_536, part: None }
    }

    /// The part to read, as [`crate::Source::split`] made it; `None` for all.
    pub fn part<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let wrong = |error| Error::InvalidState(format!("dataset {:?}: the part: {error}", self.dataset.name));
        self.part.clone().map(|part| serde_json::from_value(part).map_err(wrong)).transpose()
    }
}

/// Rows, and the state after them: `Chunk::new(rows, state)`.
#[derive(Debug)]
pub struct Chunk<S> {
    /// The rows.
    pub rows: Batch,
    /// Where a later read continues.
    pub state: S,
    /// The columns of these rows and of those that follow; `None`: as before.
    pub schema: Option<Schema>,
}

impl<S> Chunk<S> {
    /// Rows, and the state after them.
    pub fn new(rows: Batch, state: S) -> Self {
        Self { rows, state, schema: None }
    }

    /// Say which columns these rows and those that follow have. Where they are others than before, the host is told first; key and
    /// cursor stay those of the dataset. Reads that continue after the chunk know them.
    pub fn with_schema(self, schema: Schema) -> Self {
        Self { schema: Some(schema), ..self }
    }
}
