//! Twins of the host's interfaces, in memory: what unit tests of plugins run against. Each thread, and so each test, has
//! a host of its own.

pub(crate) mod batches;
mod computing;
pub(crate) mod expressions;
pub(crate) mod files;

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::bindings::imports::dataflare::host as wit;
use crate::log::Level;

/// What the host of a thread holds.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) cancelled: bool,
    pub(crate) events: Vec<(Level, String)>,
    pub(crate) figures: Vec<(String, f64)>,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) requests: Vec<wit::http::Request>,
    pub(crate) responses: BTreeMap<String, wit::http::Response>,
    pub(crate) secrets: BTreeMap<String, String>,
    pub(crate) shared: BTreeMap<String, batches::Batch>,
    pub(crate) state: BTreeMap<String, Vec<u8>>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

pub(crate) fn memory<R>(use_it: impl FnOnce(&mut Memory) -> R) -> R {
    MEMORY.with_borrow_mut(use_it)
}

pub(crate) mod clock {
    use std::time::SystemTime;

    use super::wit::clock::{Instant, MonotonicReading};

    /// The time.
    pub fn now() -> Instant {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Instant { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() }
    }

    /// A time that never goes back.
    pub fn monotonic_now() -> MonotonicReading {
        let now = now();
        MonotonicReading { nanoseconds: now.seconds * 1_000_000_000 + u64::from(now.nanoseconds) }
    }
}

pub(crate) mod http {
    use super::wit::http::{HttpError, Request, Response};

    /// Send a request: the answer is the one that the test gave for its address.
    pub fn send(request: &Request) -> Result<Response, HttpError> {
        super::memory(|memory| {
            memory.requests.push(request.clone());
            memory.responses.get(&request.url).cloned().ok_or_else(|| HttpError::Denied(request.url.clone()))
        })
    }
}

pub(crate) mod logging {
    pub(crate) use super::wit::logging::Level;

    pub(crate) fn log(level: Level, message: &str, _fields: &[(String, String)]) {
        println!("{level:?}: {message}");
        super::memory(|memory| memory.events.push((level, message.into())));
    }

    pub(crate) fn is_enabled(_: Level) -> bool {
        true
    }
}

pub(crate) mod metrics {
    type Labels<'a> = &'a [(String, String)];

    fn keep(name: &str, value: f64) {
        super::memory(|memory| memory.figures.push((name.into(), value)));
    }

    /// Add to a counter.
    pub fn add_to_counter(name: &str, amount: f64, _: Labels) {
        keep(name, amount);
    }

    /// Set a gauge.
    pub fn set_gauge(name: &str, value: f64, _: Labels) {
        keep(name, value);
    }

    /// Record one of many values.
    pub fn record_observation(name: &str, value: f64, _: Labels) {
        keep(name, value);
    }
}

pub(crate) mod plugins {
    use super::batches::Batch;
    use super::wit::plugins::CallError;

    pub(crate) fn call(plugin: &str, _: Batch) -> Result<Batch, CallError> {
        Err(CallError::NotFound(plugin.into()))
    }
}

pub(crate) mod random {
    /// Bytes that are the same in each run of a test.
    pub fn get_random_bytes(length: u32) -> Vec<u8> {
        (0..length)
            .scan(1_u32, |seed, _| {
                *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                Some((*seed >> 24) as u8)
            })
            .collect()
    }
}

pub(crate) mod secrets {
    use super::wit::secrets::SecretError;

    /// A secret that the test gave.
    pub fn get(name: &str) -> Result<String, SecretError> {
        super::memory(|memory| memory.secrets.get(name).cloned()).ok_or_else(|| SecretError::NotGranted(name.into()))
    }
}

pub(crate) mod shared {
    use super::batches::Batch;
    use super::wit::shared::SharedError;

    pub(crate) fn get(name: &str) -> Result<Option<Batch>, SharedError> {
        Ok(super::memory(|memory| memory.shared.get(name).cloned()))
    }

    pub(crate) fn put(name: &str, data: Batch) -> Result<(), SharedError> {
        super::memory(|memory| memory.shared.insert(name.into(), data));
        Ok(())
    }
}

pub(crate) mod state {
    use super::wit::state::{KeyPage, StateError};

    /// The value of a key.
    pub fn get(key: &str) -> Result<Option<Vec<u8>>, StateError> {
        Ok(super::memory(|memory| memory.state.get(key).cloned()))
    }

    /// Keep a value.
    pub fn set(key: &str, value: &[u8]) -> Result<(), StateError> {
        super::memory(|memory| memory.state.insert(key.into(), value.into()));
        Ok(())
    }

    /// Delete a key.
    pub fn delete(key: &str) -> Result<(), StateError> {
        super::memory(|memory| memory.state.remove(key));
        Ok(())
    }

    /// The keys that begin with a prefix, in order, after one of them.
    pub fn list_keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<KeyPage, StateError> {
        let mut keys: Vec<String> = super::memory(|memory| memory.state.keys().cloned().collect());
        keys.retain(|key| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after));
        let more = keys.len() > limit as usize;
        keys.truncate(limit as usize);
        Ok(KeyPage { keys, more })
    }

    /// Replace a value where it is what is expected.
    pub fn compare_and_swap(key: &str, expected: Option<&[u8]>, replacement: Option<&[u8]>) -> Result<bool, StateError> {
        Ok(super::memory(|memory| {
            let same = memory.state.get(key).map(Vec::as_slice) == expected;
            if same {
                match replacement {
                    Some(value) => memory.state.insert(key.into(), value.into()),
                    None => memory.state.remove(key),
                };
            }
            same
        }))
    }
}

pub(crate) mod tasks {
    /// Whether the work is cancelled.
    pub fn is_cancelled() -> bool {
        super::memory(|memory| memory.cancelled)
    }

    /// Say how far the work is.
    pub fn report_progress(done: u32, total: u32, message: &str) {
        println!("{done} of {total}: {message}");
    }
}
