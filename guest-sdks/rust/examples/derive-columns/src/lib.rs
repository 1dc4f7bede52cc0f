//! A transformer that adds columns, which the host computes from others.

mod formula;

use std::cell::RefCell;

use example_support::{parse_config, report_panics};
use formula::{nodes, Op, Operand};
use serde::Deserialize;

use dataflare::data::batches::{from_json_lines, Batch};
use dataflare::data::expressions::{with_columns, Output};
use dataflare::data::schemas::Schema;
use dataflare::host::logging::{log, Level};
use exports::dataflare::plugin::lifecycle::{Error, Guest as Lifecycle, Health, Metadata};
use exports::dataflare::plugin::transformer::Guest as Transformer;

wit_bindgen::generate!({
    path: ["../../../../wit/data", "../../../../wit/host", "../../../../wit/plugin", "wit"],
    world: "example:derive-columns/derive-columns",
    generate_all,
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    columns: Vec<Derived>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Derived {
    name: String,
    op: Op,
    left: Operand,
    right: Operand,
}

thread_local! {
    static COLUMNS: RefCell<Vec<Derived>> = const { RefCell::new(Vec::new()) };
}

struct Plugin;

impl Lifecycle for Plugin {
    fn get_metadata() -> Metadata {
        Metadata {
            name: "derive-columns".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            kind: dataflare::plugin::types::Kind::Transformer,
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            config_schema: include_str!("../config.schema.json").into(),
        }
    }

    fn configure(config: String) -> Result<(), Error> {
        report_panics(|message| log(Level::Error, message, &[]));
        let config: Config = parse_config(&config).map_err(Error::InvalidConfig)?;
        if config.columns.is_empty() {
            return Err(Error::InvalidConfig("columns: give at least one column".into()));
        }
        if let Some(position) = config.columns.iter().position(|column| column.name.is_empty()) {
            return Err(Error::InvalidConfig(format!("columns[{position}].name: give the column a name")));
        }
        COLUMNS.set(config.columns);
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
        // A batch without rows takes the same way as every other, so that the schema cannot differ from what `transform` makes.
        let empty = from_json_lines("", Some(&input)).map_err(Error::Data)?;
        Ok(derive(empty)?.schema())
    }

    fn transform(input: Batch) -> Result<Batch, Error> {
        derive(input)
    }
}

fn derive(input: Batch) -> Result<Batch, Error> {
    COLUMNS.with_borrow(|columns| {
        columns.iter().try_fold(input, |batch, column| {
            let nodes = nodes(column.op, &column.left, &column.right, &batch.schema())
                .map_err(|why| Error::InvalidInput(format!("column {:?}: {why}", column.name)))?;
            let output = Output { name: column.name.clone(), node: nodes.len() as u32 - 1 };
            with_columns(&batch, &nodes, &[output]).map_err(Error::Data)
        })
    })
}

export!(Plugin);
