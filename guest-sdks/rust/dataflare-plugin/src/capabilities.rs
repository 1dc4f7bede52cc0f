//! What the host offers in addition to batches. A plugin that uses one of these lists it in its `plugin.yaml` under `needs`.

/// The time.
pub mod clock {
    pub use crate::host::clock::{monotonic_now, now};
}

/// Directories that the operator granted; paths begin with a directory's name.
pub mod files {
    use crate::Result;

    pub use crate::bindings::imports::dataflare::host::files::{Directory, Entry, EntryKind, FileError, Position};
    pub use crate::host::files::{append, create, delete, granted, list_entries, open, stat, Reader, Writer};

    const AT_ONCE: u32 = 1 << 20;

    /// Read a whole file.
    pub fn read(path: &str) -> Result<Vec<u8>> {
        let reader = open(path)?;
        let mut data = Vec::new();
        loop {
            let more = reader.read(AT_ONCE)?;
            if more.is_empty() {
                return Ok(data);
            }
            data.extend(more);
        }
    }

    /// Write a whole file. Others see it only when it is complete.
    pub fn write(path: &str, data: &[u8]) -> Result<()> {
        let writer = create(path, true)?;
        writer.write(data)?;
        Ok(writer.publish()?)
    }
}

/// Requests to the origins that the operator granted.
pub mod http {
    use crate::Result;

    pub use crate::bindings::imports::dataflare::host::http::{HttpError, Request, Response};
    pub use crate::host::http::send;

    /// Send a `GET`. A response with any status is a response, not an error.
    pub fn get(url: &str) -> Result<Response> {
        Ok(send(&Request { method: "GET".into(), url: url.into(), headers: Vec::new(), body: None, timeout_ms: None })?)
    }
}

/// Metrics for the operator.
pub mod metrics {
    pub use crate::host::metrics::{add_to_counter, record_observation, set_gauge};
}

/// Other plugins.
pub mod plugins {
    use crate::{Batch, Result};

    pub use crate::bindings::imports::dataflare::host::plugins::CallError;

    /// Have another plugin transform a batch.
    pub fn call(plugin: &str, batch: Batch) -> Result<Batch> {
        Ok(Batch::from_raw(crate::host::plugins::call(plugin, batch.into_raw())?))
    }
}

/// Random bytes.
pub mod random {
    pub use crate::host::random::get_random_bytes;
}

/// Secrets, by the names that the operator granted.
pub mod secrets {
    pub use crate::bindings::imports::dataflare::host::secrets::SecretError;
    pub use crate::host::secrets::get;
}

/// Batches that instances and plugins share, by name.
pub mod shared {
    use crate::{Batch, Result};

    pub use crate::bindings::imports::dataflare::host::shared::SharedError;

    /// The batch with this name, if there is one.
    pub fn get(name: &str) -> Result<Option<Batch>> {
        Ok(crate::host::shared::get(name)?.map(Batch::from_raw))
    }

    /// Share a batch under a name; replaces a batch of that name.
    pub fn put(name: &str, batch: Batch) -> Result<()> {
        Ok(crate::host::shared::put(name, batch.into_raw())?)
    }
}

/// What the host keeps for the plugin between runs.
pub mod state {
    use serde::de::DeserializeOwned;
    use serde::Serialize;

    use crate::{Error, Result};

    pub use crate::bindings::imports::dataflare::host::state::{KeyPage, StateError};
    pub use crate::host::state::{compare_and_swap, delete, get, list_keys, set};

    /// A value that [`put`] kept.
    pub fn load<T: DeserializeOwned>(key: &str) -> Result<Option<T>> {
        let wrong = |error| Error::InvalidState(format!("the state of {key}: {error}"));
        get(key)?.map(|data| serde_json::from_slice(&data).map_err(wrong)).transpose()
    }

    /// Keep a value, as JSON, which operators can read.
    pub fn put<T: Serialize>(key: &str, value: &T) -> Result<()> {
        Ok(set(key, &serde_json::to_vec(value)?)?)
    }
}

/// Progress and cancellation of the current call.
pub mod tasks {
    pub use crate::host::tasks::{is_cancelled, report_progress};
}
