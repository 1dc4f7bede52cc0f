//! A source that reads the transactions of a change log.

mod log;
mod reading;

use std::cell::RefCell;

use example_support::{parse_config, report_panics};
use log::{file_error, summarize};
use reading::Reading;
use serde::Deserialize;

use dataflare::data::schemas::Schema;
use dataflare::host::files::create;
use dataflare::host::logging;
use dataflare::plugin::datasets::ReadingModes;
use dataflare::plugin::types::{HealthStatus, Kind};
use exports::dataflare::plugin::lifecycle::{Error, Guest as Lifecycle, Health, Metadata};
use exports::dataflare::plugin::source::{Dataset, DatasetName, Division, EstimatedRows, Guest as Source, Progress, Selection};

wit_bindgen::generate!({
    path: ["../../../../wit/data", "../../../../wit/host", "../../../../wit/plugin", "wit"],
    world: "example:change-source/change-source",
    generate_all,
});

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    log: String,
    slot: Option<String>,
}

thread_local! {
    static CONFIG: RefCell<Config> = RefCell::default();
    static READING: RefCell<Option<Reading>> = const { RefCell::new(None) };
}

struct Plugin;

impl Lifecycle for Plugin {
    fn get_metadata() -> Metadata {
        Metadata {
            name: "change-source".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            kind: Kind::Source,
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            config_schema: include_str!("../config.schema.json").into(),
        }
    }

    fn configure(config: String) -> Result<(), Error> {
        report_panics(|message| logging::log(logging::Level::Error, message, &[]));
        CONFIG.set(parse_config(&config).map_err(Error::InvalidConfig)?);
        Ok(())
    }

    fn initialize() -> Result<(), Error> {
        Ok(())
    }

    fn shutdown() -> Result<(), Error> {
        READING.set(None);
        Ok(())
    }

    fn health_check() -> Health {
        Health { status: HealthStatus::Healthy, message: String::new() }
    }
}

impl Source for Plugin {
    fn discover() -> Result<Vec<Dataset>, Error> {
        let tables = summarize(&path())?.tables;
        let datasets = tables.into_iter().map(|(name, table)| Dataset {
            name: DatasetName { namespace: String::new(), name },
            description: String::new(),
            schema: table.now.schema(&[], false),
            key: table.now.key,
            cursors: Vec::new(),
            modes: ReadingModes::CHANGES | ReadingModes::UNBOUNDED,
        });
        Ok(datasets.collect())
    }

    fn split(_selections: Vec<Selection>, _state: Option<Vec<u8>>, _at_most: u32) -> Result<Division, Error> {
        Err(Error::Unsupported("a log has one order".into()))
    }

    fn estimate(_: Vec<Selection>, _: Option<Vec<u8>>, _: Option<Vec<u8>>) -> Result<Option<EstimatedRows>, Error> {
        Ok(None)
    }

    fn open(selections: Vec<Selection>, part: Option<Vec<u8>>, state: Option<Vec<u8>>) -> Result<Vec<Schema>, Error> {
        READING.set(None);
        if part.is_some() {
            return Err(Error::InvalidState("a log has no parts".into()));
        }
        let reading = Reading::open(&path(), &selections, state.as_deref())?;
        let schemas = reading.schemas();
        READING.set(Some(reading));
        Ok(schemas)
    }

    fn read(max_rows: u32) -> Result<Progress, Error> {
        READING.with_borrow_mut(|reading| {
            reading.as_mut().ok_or_else(|| Error::Unsupported("no read is under way: `open` comes first".into()))?.read(max_rows)
        })
    }

    fn acknowledge(state: Vec<u8>) -> Result<(), Error> {
        let Some(slot) = CONFIG.with_borrow(|config| config.slot.clone()) else { return Ok(()) };
        let failed = |error| file_error(&slot, error);
        let writer = create(&slot, true).map_err(failed)?;
        writer.write(&state).and_then(|()| writer.publish()).map_err(failed)
    }

    fn close() -> Result<(), Error> {
        READING.set(None);
        Ok(())
    }
}

fn path() -> String {
    CONFIG.with_borrow(|config| config.log.clone())
}

export!(Plugin);
