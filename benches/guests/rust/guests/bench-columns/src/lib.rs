//! Doubles one column, or hands batches through.

use std::cell::RefCell;

use dataflare_plugin::{parse_config, report_panics};
use serde::Deserialize;

use dataflare::data::batches::Batch;
use dataflare::data::schemas::Schema;
use dataflare::host::logging::{log, Level};
use exports::dataflare::plugin::lifecycle::{Error, Guest as Lifecycle, Health, Metadata};
use exports::dataflare::plugin::transformer::Guest as Transformer;

wit_bindgen::generate!({
    path: ["../../../../../wit/data", "../../../../../wit/host", "../../../../../wit/plugin", "wit"],
    world: "bench:columns/bench-columns",
    generate_all,
});

struct Plugin;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The column to double; `None` hands each batch through as it is.
    column: Option<String>,
}

thread_local! {
    static COLUMN: RefCell<Option<String>> = const { RefCell::new(None) };
}

impl Lifecycle for Plugin {
    fn get_metadata() -> Metadata {
        Metadata {
            name: "bench-columns".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            kind: dataflare::plugin::types::Kind::Transformer,
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            config_schema: String::new(),
        }
    }

    fn configure(config: String) -> Result<(), Error> {
        report_panics(|message| log(Level::Error, message, &[]));
        let config: Config = parse_config(&config).map_err(Error::InvalidConfig)?;
        COLUMN.set(config.column);
        Ok(())
    }

    fn initialize() -> Result<(), Error> {
        Ok(())
    }

    fn shutdown() -> Result<(), Error> {
        Ok(())
    }

    fn health_check() -> Health {
        Health { status: dataflare::plugin::types::HealthStatus::Healthy, message: String::new() }
    }
}

impl Transformer for Plugin {
    fn output_schema(input: Schema) -> Result<Schema, Error> {
        Ok(input)
    }

    fn transform(input: Batch) -> Result<Batch, Error> {
        COLUMN.with_borrow(|column| {
            let Some(column) = column else { return Ok(input) };
            let mut values = input.float64_column(column).map_err(Error::Data)?;
            for value in &mut values {
                *value *= 2.0;
            }
            input.with_float64_column(column, &values, None).map_err(Error::Data)
        })
    }
}

export!(Plugin);
