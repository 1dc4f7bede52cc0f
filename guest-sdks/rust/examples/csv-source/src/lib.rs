//! A source that reads a CSV file, or each CSV file of a folder.

mod batch;
mod columns;
mod datasets;
mod file;
mod records;
mod table;

use std::cell::RefCell;

use datasets::Files;
use example_support::{parse_config, report_panics};
use table::Config;

use dataflare::data::schemas::Schema;
use dataflare::host::files::stat;
use dataflare::host::logging::{log, Level};
use dataflare::plugin::types::{HealthStatus, Kind};
use exports::dataflare::plugin::lifecycle::{Error, Guest as Lifecycle, Health, Metadata};
use exports::dataflare::plugin::source::{Dataset, Division, EstimatedRows, Guest as Source, Progress, Selection};

wit_bindgen::generate!({
    path: ["../../../../wit/data", "../../../../wit/host", "../../../../wit/plugin", "wit"],
    world: "example:csv-source/csv-source",
    generate_all,
});

thread_local! {
    static CONFIG: RefCell<Option<Config>> = const { RefCell::new(None) };
    static FILES: RefCell<Option<Files>> = const { RefCell::new(None) };
}

struct Plugin;

impl Lifecycle for Plugin {
    fn get_metadata() -> Metadata {
        Metadata {
            name: "csv-source".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            kind: Kind::Source,
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            config_schema: include_str!("../config.schema.json").into(),
        }
    }

    fn configure(config: String) -> Result<(), Error> {
        report_panics(|message| log(Level::Error, message, &[]));
        let config: Config = parse_config(&config).map_err(Error::InvalidConfig)?;
        config.check().map_err(Error::InvalidConfig)?;
        CONFIG.set(Some(config));
        Ok(())
    }

    fn initialize() -> Result<(), Error> {
        let config = CONFIG.with_borrow(Clone::clone).ok_or_else(|| Error::Unsupported("`configure` comes first".into()))?;
        FILES.set(Some(Files::new(config)?));
        Ok(())
    }

    fn shutdown() -> Result<(), Error> {
        FILES.set(None);
        Ok(())
    }

    fn health_check() -> Health {
        let path = CONFIG.with_borrow(|config| config.as_ref().map(|config| config.path.clone())).unwrap_or_default();
        match stat(&path) {
            Ok(_) => Health { status: HealthStatus::Healthy, message: String::new() },
            Err(error) => Health { status: HealthStatus::Unhealthy, message: format!("{error:?}") },
        }
    }
}

impl Source for Plugin {
    fn discover() -> Result<Vec<Dataset>, Error> {
        files(Files::discover)
    }

    fn split(selections: Vec<Selection>, state: Option<Vec<u8>>, at_most: u32) -> Result<Division, Error> {
        files(|files| files.split(&selections, state.as_deref(), at_most))
    }

    fn estimate(selections: Vec<Selection>, part: Option<Vec<u8>>, state: Option<Vec<u8>>) -> Result<Option<EstimatedRows>, Error> {
        files(|files| files.estimate(&selections, part.as_deref(), state.as_deref()).map(Some))
    }

    fn open(selections: Vec<Selection>, part: Option<Vec<u8>>, state: Option<Vec<u8>>) -> Result<Vec<Schema>, Error> {
        files(|files| files.open(&selections, part.as_deref(), state.as_deref()))
    }

    fn read(max_rows: u32) -> Result<Progress, Error> {
        files(|files| files.read(max_rows))
    }

    fn acknowledge(_state: Vec<u8>) -> Result<(), Error> {
        // Files keep their rows.
        Ok(())
    }

    fn close() -> Result<(), Error> {
        files(|files| {
            files.close();
            Ok(())
        })
    }
}

fn files<T>(call: impl FnOnce(&mut Files) -> Result<T, Error>) -> Result<T, Error> {
    FILES.with_borrow_mut(|files| call(files.as_mut().ok_or_else(|| Error::Unsupported("`initialize` comes first".into()))?))
}

export!(Plugin);
