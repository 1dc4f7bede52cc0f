//! Destinations: runs that write rows to datasets, and end with all of them or none.

use crate::export::common;
use crate::{Batch, Error, Result, Schema};

use crate::bindings::destination::exports::dataflare::plugin::destination as wit;

/// What a destination can do.
pub use crate::bindings::destination::exports::dataflare::plugin::destination::Ability as Abilities;
/// A kind of change.
pub use crate::bindings::destination::exports::dataflare::plugin::destination::ChangeKind as Change;
/// What a run would change.
pub use crate::bindings::destination::exports::dataflare::plugin::destination::PlannedChange;
/// A row that was not written, and why.
pub use crate::bindings::destination::exports::dataflare::plugin::destination::RejectedRow;
/// The run that writes: the pipeline's name, the run's name, and a number that rises with every run.
pub use crate::bindings::destination::exports::dataflare::plugin::destination::RunName as Run;
/// How rows are written.
pub use crate::bindings::imports::dataflare::plugin::datasets::WritingMode;

impl RejectedRow {
    /// A row, with the reason.
    pub fn new(row: usize, reason: impl Into<String>) -> Self {
        Self { row: row as u32, column: None, reason: reason.into() }
    }

    /// Say which column is the reason.
    pub fn column(mut self, name: impl Into<String>) -> Self {
        self.column = Some(name.into());
        self
    }
}

/// A dataset that is written to. Name and namespace together identify it.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Where it lives, such as a database schema; empty if nowhere special.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The columns of its rows.
    pub schema: Schema,
    /// The columns that identify a row.
    pub key: Vec<String>,
    /// How rows are written.
    pub mode: WritingMode,
}

impl Target {
    /// A dataset without known columns, to append to.
    pub fn new(name: impl Into<String>) -> Self {
        let (namespace, name) = (String::new(), name.into());
        Self { namespace, name, schema: Schema::new([]), key: Vec::new(), mode: WritingMode::Append }
    }
}

impl From<wit::Target> for Target {
    fn from(target: wit::Target) -> Self {
        let wit::DatasetName { namespace, name } = target.dataset;
        Self { namespace, name, schema: target.schema, key: target.key, mode: target.mode }
    }
}

/// Writes rows. Implement `write`, `finish` and `abort`, and the others if the destination can do more.
pub trait Destination: Sized + 'static {
    common!();

    /// What it can do. A target of another mode is refused, and so is a change of columns without the ability for it.
    const ABILITIES: Abilities = Abilities::APPEND;

    /// What a run would change.
    fn plan(&mut self, _targets: &[Target]) -> Result<Vec<PlannedChange>> {
        Ok(Vec::new())
    }

    /// Begin a run; return the token that the last run kept, if the destination keeps tokens.
    fn open(&mut self, _run: &Run, _targets: &[Target]) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// Write rows; return those that are rejected.
    fn write(&mut self, target: &Target, rows: Batch) -> Result<Vec<RejectedRow>>;

    /// Take note that the next rows have other columns. The target has them from then on.
    fn change_schema(&mut self, _target: &Target, _schema: Schema) -> Result<()> {
        Ok(())
    }

    /// Make all written rows safe, with the token; `false`: they are safe only after `finish`.
    fn flush(&mut self, _token: &[u8]) -> Result<bool> {
        Ok(false)
    }

    /// End the run: make all rows visible. May be called again after an error.
    fn finish(&mut self, token: &[u8]) -> Result<()>;

    /// End the run: remove all rows that were not flushed.
    fn abort(&mut self) -> Result<()>;
}

pub(crate) fn can(abilities: Abilities, mode: WritingMode) -> bool {
    abilities.contains(match mode {
        WritingMode::Append => Abilities::APPEND,
        WritingMode::Replace => Abilities::REPLACE,
        WritingMode::Merge => Abilities::MERGE,
    })
}

/// Refuse a change of columns that is not among the abilities.
pub(crate) fn require_change(abilities: Abilities, target: &Target, schema: &Schema) -> Result<()> {
    for field in &schema.fields {
        let (ability, what) = match target.schema.fields.iter().find(|known| known.name == field.name) {
            Some(known) if known.type_name == field.type_name => continue,
            Some(_) => (Abilities::WIDEN_COLUMNS, field.type_name.as_str()),
            None => (Abilities::ADD_COLUMNS, "added"),
        };
        if !abilities.contains(ability) {
            let (dataset, column) = (&target.name, &field.name);
            return Err(Error::Unsupported(format!("dataset {dataset:?}: column {column:?} cannot be {what}")));
        }
    }
    Ok(())
}
