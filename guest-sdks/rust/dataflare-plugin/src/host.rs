//! The interfaces of the host: in a component the imported ones, natively their twins in memory.

#[cfg(target_family = "wasm")]
pub(crate) use crate::bindings::imports::dataflare::data::{batches, expressions};
#[cfg(target_family = "wasm")]
pub(crate) use crate::bindings::imports::dataflare::host::{
    clock, files, http, logging, metrics, plugins, random, secrets, shared, state, tasks,
};

#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::twin::{batches, clock, expressions, files, http, logging, metrics, plugins, random, secrets, shared, state, tasks};
