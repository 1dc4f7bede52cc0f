//! Doubles one column, by its values or by an expression, or hands batches through.

use std::cell::RefCell;

use dataflare_plugin::{parse_config, report_panics};
use serde::Deserialize;

use dataflare::data::batches::Batch;
use dataflare::data::expressions::{with_columns, Call, Literal, Node, Output};
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
    /// Whether the host computes it.
    #[serde(default)]
    by: By,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    #[default]
    Values,
    Expressions,
}

thread_local! {
    static COLUMN: RefCell<Option<(String, By)>> = const { RefCell::new(None) };
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
        COLUMN.set(config.column.map(|column| (column, config.by)));
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
            let Some((column, by)) = column else { return Ok(input) };
            if matches!(by, By::Expressions) {
                let double = Call { name: "multiply".into(), arguments: vec![0, 1], options: Vec::new() };
                let nodes = [Node::Column(column.clone()), Node::Literal(Literal::Float64(2.0)), Node::Call(double)];
                return with_columns(&input, &nodes, &[Output { name: column.clone(), node: 2 }]).map_err(Error::Data);
            }
            let mut values = input.float64_column(column).map_err(Error::Data)?;
            for value in &mut values {
                *value *= 2.0;
            }
            input.with_float64_column(column, &values, None).map_err(Error::Data)
        })
    }
}

export!(Plugin);
