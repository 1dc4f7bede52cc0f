//! Unit tests of plugins, run natively by `cargo test`, against a host in memory.
//!
//! ```
//! # use dataflare_plugin::prelude::*;
//! # struct Trim;
//! # impl Processor for Trim {
//! #     type Config = NoConfig;
//! #     type Input = Record;
//! #     type Output = Record;
//! #     fn new(_: NoConfig) -> Result<Self> { Ok(Self) }
//! #     fn process(&mut self, record: Record) -> Result<Option<Record>> { Ok(Some(record)) }
//! # }
//! use dataflare_plugin::testing;
//!
//! let mut plugin = Trim::new(testing::config(json!({}))?)?;
//! let rows = testing::rows(json!([{ "name": "Ada" }]))?;
//! assert_eq!(testing::records(&plugin.process_batch(rows)?)?, json!([{ "name": "Ada" }]));
//! # Ok::<(), Error>(())
//! ```
//!
//! Each thread has a host of its own, and `cargo test` runs each test in a thread. The host has expressions' most used
//! functions, and no Arrow streams: what it does not have says so, and is tested in the sandbox by `dataflare test`.

use serde_json::Value;

use crate::bindings::imports::dataflare::host::http::{Request as HttpRequest, Response};
use crate::log::Level;
use crate::source::{Progress, Read};
use crate::twin::{memory, Memory};
use crate::{Batch, Config, Dataset, Error, Mode, Request, Result, Source};

/// Read a configuration, as `configure` does.
pub fn config<T: Config>(value: Value) -> Result<T> {
    crate::config::configured(&value.to_string())
}

/// Make a batch of a JSON array of objects.
pub fn rows(records: Value) -> Result<Batch> {
    let Value::Array(records) = records else { return Err(Error::InvalidInput("give an array of objects".into())) };
    Batch::from_records(records, None)
}

/// The rows of a batch, as a JSON array of objects.
pub fn records(batch: &Batch) -> Result<Value> {
    Ok(Value::Array(batch.records()?))
}

/// Process a record that is JSON, as the host does.
pub fn process<P: crate::Processor>(plugin: &mut P, record: Value) -> Result<Option<Value>> {
    let changed = crate::processor::process_text(plugin, &record.to_string())?;
    Ok(changed.map(|text| serde_json::from_str(&text)).transpose()?)
}

/// Read all of a dataset, or of a log of changes all there is, in chunks of at most so many rows, as the host does.
pub fn read_all<S: Source>(source: &mut S, dataset: &Dataset, max_rows: usize) -> Result<Value> {
    let mode = if dataset.has_mode(Mode::Full) { Mode::Full } else { Mode::Changes };
    let mut reading = Read::begin(source, vec![Request { mode, ..Request::new(dataset.clone()) }])?;
    let mut found = Vec::new();
    loop {
        match reading.next(source, max_rows)? {
            Some(Progress::Rows(_, rows, _)) => found.extend(rows.records::<Value>()?),
            Some(Progress::NewSchema(..)) => {}
            Some(Progress::Idle(..)) | None => return Ok(Value::Array(found)),
        }
    }
}

/// Reset the host of this thread.
pub fn reset() {
    memory(|memory| *memory = Memory::default());
}

/// What was logged.
pub fn logged() -> Vec<(Level, String)> {
    memory(|memory| memory.events.clone())
}

/// The metrics that were counted, set or recorded.
pub fn figures() -> Vec<(String, f64)> {
    memory(|memory| memory.figures.clone())
}

/// Give the plugin a secret.
pub fn put_secret(name: &str, value: &str) {
    memory(|memory| memory.secrets.insert(name.into(), value.into()));
}

/// Give the plugin a file; the path's first part is the directory that is granted.
pub fn put_file(path: &str, data: impl Into<Vec<u8>>) {
    memory(|memory| memory.files.insert(path.into(), data.into()));
}

/// A file that the plugin wrote, or was given.
pub fn file(path: &str) -> Option<Vec<u8>> {
    memory(|memory| memory.files.get(path).cloned())
}

/// Answer requests to an address; others are denied.
pub fn answer(url: &str, status: u16, body: impl Into<Vec<u8>>) {
    let response = Response { status, headers: Vec::new(), body: body.into() };
    memory(|memory| memory.responses.insert(url.into(), response));
}

/// The requests that the plugin sent.
pub fn requests() -> Vec<HttpRequest> {
    memory(|memory| memory.requests.clone())
}

/// Cancel the work.
pub fn cancel() {
    memory(|memory| memory.cancelled = true);
}
