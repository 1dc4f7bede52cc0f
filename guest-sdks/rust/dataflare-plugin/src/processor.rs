//! Processors: one record in, one record out, or none.

use serde::de::DeserializeOwned;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::export::common;
use crate::{records, Batch, Error, Result};

/// A record with any fields, in their order.
pub type Record = Map<String, Value>;

/// Changes records one by one.
///
/// `Input` is a type that serde reads: a struct gets the fields that it has, and fast; [`Record`] gets all.
pub trait Processor: Sized + 'static {
    common!();

    /// What a record is read as.
    type Input: DeserializeOwned;
    /// What a record is written from.
    type Output: Serialize;

    /// Return the record, changed or not; `None` drops it.
    fn process(&mut self, record: Self::Input) -> Result<Option<Self::Output>>;

    /// Do the same for a batch: by `process`, record by record. Columns keep their types; those of new ones are inferred.
    fn process_batch(&mut self, batch: Batch) -> Result<Batch> {
        records::map(&batch, |record| self.process(record))
    }
}

/// Process a record that is JSON.
pub(crate) fn process_text<P: Processor>(plugin: &mut P, text: &str) -> Result<Option<String>> {
    let record = serde_json::from_str(text).map_err(|error| Error::InvalidInput(format!("the record: {error}")))?;
    match plugin.process(record)? {
        None => Ok(None),
        Some(changed) => serde_json::to_string(&changed).map(Some).map_err(|error| Error::Internal(error.to_string())),
    }
}
