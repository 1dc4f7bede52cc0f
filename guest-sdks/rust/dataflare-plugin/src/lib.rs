//! DataFlare plugins in Rust: a trait for each kind of plugin, batches of rows, and what the host offers.
//!
//! A plugin is a crate of the type `cdylib` beside a `plugin.yaml`. It implements one of [`Source`], [`Destination`],
//! [`Processor`], [`Transformer`] and [`Validator`], and exports it with the macro of that kind:
//!
//! ```
//! use dataflare_plugin::prelude::*;
//!
//! /// The configuration. Its JSON Schema, and the checks of what the operator writes, come from it.
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! pub struct Config {
//!     /// The column to double.
//!     column: String,
//! }
//!
//! pub struct Double(Config);
//!
//! impl Transformer for Double {
//!     type Config = Config;
//!
//!     fn new(config: Config) -> Result<Self> {
//!         Ok(Self(config))
//!     }
//!
//!     fn transform(&mut self, batch: Batch) -> Result<Batch> {
//!         batch.with_column(&self.0.column, col(&self.0.column) * 2)
//!     }
//! }
//!
//! export_transformer!(Double);
//! # fn main() {}
//! ```
//!
//! Outside of a component, everything that the host offers has a twin in memory, so that `cargo test` runs a plugin's logic
//! natively: see [`testing`].

#![warn(missing_docs)]
// Natively nothing calls what only a component exports.
#![cfg_attr(not(target_family = "wasm"), allow(dead_code))]

pub mod batch;
#[doc(hidden)]
pub mod bindings;
mod bitmap;
pub mod capabilities;
mod changes;
mod column;
mod config;
pub mod datasets;
mod destination;
mod error;
mod export;
mod expression;
mod host;
pub mod log;
mod processor;
mod records;
mod source;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod transformer;
#[cfg(not(target_family = "wasm"))]
mod twin;
mod validator;

pub use batch::Batch;
pub use bitmap::Bitmap;
pub use capabilities::{clock, files, http, metrics, plugins, random, secrets, shared, state, tasks};
pub use changes::{Event, Events, Row};
pub use column::{Cell, Column, IntoColumn, Texts};
pub use config::{parse_config, Config, NoConfig};
pub use datasets::{Chunk, Dataset, Field, Mode, Request, Schema};
pub use destination::{Abilities, Change, Destination, PlannedChange, RejectedRow, Run, Target, WritingMode};
pub use error::{DataError, Error, Result};
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub use export::exports;
pub use export::report_panics;
#[doc(hidden)]
pub use export::Named;
pub use expression::{call, col, lit, Expression};
pub use processor::{Processor, Record};
pub use source::Source;
pub use transformer::Transformer;
pub use validator::{Rule, Severity, Validator, Violation};

// The digest of this crate: cargo, which goes by times, builds anew when it changes.
const _: Option<&str> = option_env!("DATAFLARE_SDK_DIGEST");

pub use {schemars, serde, serde_json};

/// What almost every plugin uses.
pub mod prelude {
    pub use crate::{
        call, col, export_destination, export_processor, export_source, export_transformer, export_validator, lit, log, Abilities, Batch,
        Chunk, Dataset, Destination, Error, Event, Events, Expression, Field, Mode, NoConfig, Processor, Record, RejectedRow, Request,
        Result, Rule, Run, Schema, Severity, Source, Target, Transformer, Validator, Violation,
    };
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::{json, Value};
}
