//! A record processor that renames, drops, sets and filters on JSON records.

mod columns;
mod condition;
mod mapping;
mod number;
mod record;

use std::cell::{Cell, RefCell};

use columns::Columns;
use example_support::{parse_config, report_panics};
use mapping::Mapping;

use dataflare::data::batches::{from_json_lines, Batch};
use dataflare::data::schemas::Schema;
use dataflare::host::logging::{log, Level};
use exports::dataflare::plugin::lifecycle::{Error, Guest as Lifecycle, Health, Metadata};
use exports::dataflare::plugin::processor::Guest as Processor;

wit_bindgen::generate!({
    path: ["../../../../wit/data", "../../../../wit/host", "../../../../wit/plugin", "wit"],
    world: "example:json-mapper/json-mapper",
    generate_all,
});

thread_local! {
    static MAPPING: RefCell<Mapping> = RefCell::default();
    static WARNED: Cell<bool> = const { Cell::new(false) };
}

struct Plugin;

impl Lifecycle for Plugin {
    fn get_metadata() -> Metadata {
        Metadata {
            name: "json-mapper".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            kind: dataflare::plugin::types::Kind::Processor,
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            config_schema: include_str!("../config.schema.json").into(),
        }
    }

    fn configure(config: String) -> Result<(), Error> {
        report_panics(|message| log(Level::Error, message, &[]));
        let mapping: Mapping = parse_config(&config).map_err(Error::InvalidConfig)?;
        MAPPING.set(mapping);
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

impl Processor for Plugin {
    fn process(input: String) -> Result<Option<String>, Error> {
        MAPPING.with_borrow(|mapping| {
            let mut output = String::with_capacity(input.len() + 64);
            let kept = mapping.apply(&input, &mut output).map_err(Error::InvalidInput)?;
            Ok(kept.then_some(output))
        })
    }

    fn process_batch(input: Batch) -> Result<Batch, Error> {
        MAPPING.with_borrow(|mapping| {
            let columns = Columns::plan(mapping, input.schema())?;
            if !WARNED.replace(true) {
                warn_of_absent(&columns.absent(mapping));
            }
            if columns.are_enough() {
                columns.map(input)
            } else {
                map_records(mapping, input, &columns.schema())
            }
        })
    }
}

/// Say that fields are not there: it may be that they are optional, or that a name is misspelt.
fn warn_of_absent(names: &[&str]) {
    if !names.is_empty() {
        let mut names = names.to_vec();
        names.sort_unstable();
        names.dedup();
        log(Level::Warn, &format!("no record has these fields of the configuration: {}", names.join(", ")), &[]);
    }
}

/// Map a batch record by record, as JSON.
fn map_records(mapping: &Mapping, input: Batch, schema: &Schema) -> Result<Batch, Error> {
    let lines = input.to_json_lines().map_err(Error::Data)?;
    drop(input);
    let mut output = String::with_capacity(lines.len() + lines.len() / 4);
    for (row, line) in lines.lines().enumerate() {
        if mapping.apply(line, &mut output).map_err(|message| Error::InvalidInput(format!("row {row}: {message}")))? {
            output.push('\n');
        }
    }
    drop(lines);
    from_json_lines(&output, Some(schema)).map_err(Error::Data)
}

export!(Plugin);
