//! A destination that writes one JSON Lines file: all of it, or nothing.

use std::cell::RefCell;

use dataflare_plugin::{parse_config, report_panics};
use serde::Deserialize;

use dataflare::data::batches::Batch;
use dataflare::data::schemas::Schema;
use dataflare::host::files::{create, FileError, Writer};
use dataflare::host::logging::{log, Level};
use exports::dataflare::plugin::destination::{DurablePosition, Guest as Destination};
use exports::dataflare::plugin::lifecycle::{Error, Guest as Lifecycle, Health, Metadata};

wit_bindgen::generate!({
    path: ["../../../../wit/data", "../../../../wit/host", "../../../../wit/plugin", "wit"],
    world: "example:jsonl-destination/jsonl-destination",
    generate_all,
});

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    path: String,
    #[serde(default)]
    replace: bool,
}

/// Where a run is.
enum Run {
    /// None was begun, or the last was aborted.
    None,
    Writing {
        writer: Writer,
        records: u64,
    },
    /// A write failed half-way: nothing but `abort` makes sense.
    Broken(String),
    Finished {
        records: u64,
        offset_bytes: u64,
    },
}

thread_local! {
    static CONFIG: RefCell<Config> = RefCell::default();
    static RUN: RefCell<Run> = const { RefCell::new(Run::None) };
}

struct Plugin;

impl Lifecycle for Plugin {
    fn get_metadata() -> Metadata {
        Metadata {
            name: "jsonl-destination".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            kind: dataflare::plugin::types::Kind::Destination,
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            config_schema: include_str!("../config.schema.json").into(),
        }
    }

    fn configure(config: String) -> Result<(), Error> {
        report_panics(|message| log(Level::Error, message, &[]));
        let config: Config = parse_config(&config).map_err(Error::InvalidConfig)?;
        if config.path.is_empty() {
            return Err(Error::InvalidConfig("path: give a file in a granted directory, as `name/rest`".into()));
        }
        CONFIG.set(config);
        Ok(())
    }

    fn initialize() -> Result<(), Error> {
        Ok(())
    }

    fn shutdown() -> Result<(), Error> {
        // A writer that was not published goes, and leaves nothing.
        RUN.set(Run::None);
        Ok(())
    }

    fn health_check() -> Health {
        RUN.with_borrow(|run| match run {
            Run::Broken(why) => Health { status: dataflare::plugin::types::HealthStatus::Unhealthy, message: why.clone() },
            _ => Health { status: dataflare::plugin::types::HealthStatus::Healthy, message: String::new() },
        })
    }
}

impl Destination for Plugin {
    fn prepare(_schema: Schema) -> Result<(), Error> {
        RUN.with_borrow_mut(|run| {
            if matches!(run, Run::Writing { .. } | Run::Broken(_)) {
                return Err(Error::Unsupported("a run is under way: `finish` or `abort` it first".into()));
            }
            let config = CONFIG.with_borrow(Clone::clone);
            let writer = create(&config.path, config.replace).map_err(|error| file_error(&config.path, error))?;
            *run = Run::Writing { writer, records: 0 };
            Ok(())
        })
    }

    fn write(input: Batch) -> Result<(), Error> {
        let lines = input.to_json_lines().map_err(Error::Data)?;
        RUN.with_borrow_mut(|run| {
            let (writer, records) = writing(run)?;
            match writer.write_text(&lines) {
                Ok(()) => {
                    *records += u64::from(input.num_rows());
                    Ok(())
                }
                Err(error) => {
                    let error = CONFIG.with_borrow(|config| file_error(&config.path, error));
                    // How much of the text was written is not known, so nothing may follow it.
                    *run = Run::Broken("a write failed".into());
                    Err(error)
                }
            }
        })
    }

    fn flush() -> Result<DurablePosition, Error> {
        RUN.with_borrow_mut(|run| {
            if let Run::Finished { records, offset_bytes } = run {
                return Ok(position(*records, *offset_bytes, true));
            }
            let (writer, _) = writing(run)?;
            writer.sync().map_err(|error| CONFIG.with_borrow(|config| file_error(&config.path, error)))?;
            // The bytes are on the disk, but under no name yet: a crash takes them away.
            Ok(position(0, writer.tell().offset_bytes, false))
        })
    }

    fn finish() -> Result<DurablePosition, Error> {
        RUN.with_borrow_mut(|run| {
            if let Run::Finished { records, offset_bytes } = run {
                return Ok(position(*records, *offset_bytes, true));
            }
            let (writer, records) = writing(run)?;
            let (records, offset_bytes) = (*records, writer.tell().offset_bytes);
            writer.publish().map_err(|error| CONFIG.with_borrow(|config| file_error(&config.path, error)))?;
            *run = Run::Finished { records, offset_bytes };
            Ok(position(records, offset_bytes, true))
        })
    }

    fn abort() -> Result<(), Error> {
        RUN.with_borrow_mut(|run| {
            if !matches!(run, Run::Finished { .. }) {
                *run = Run::None;
            }
            Ok(())
        })
    }
}

fn writing(run: &mut Run) -> Result<(&mut Writer, &mut u64), Error> {
    match run {
        Run::Writing { writer, records } => Ok((writer, records)),
        Run::Broken(why) => Err(Error::Unsupported(format!("{why}: `abort` the run"))),
        Run::None | Run::Finished { .. } => Err(Error::Unsupported("no run is under way: `prepare` comes first".into())),
    }
}

fn position(records: u64, offset_bytes: u64, published: bool) -> DurablePosition {
    let token = CONFIG
        .with_borrow(|config| serde_json::json!({ "path": config.path, "offset_bytes": offset_bytes, "published": published }).to_string());
    DurablePosition { records, token: token.into_bytes() }
}

fn file_error(path: &str, error: FileError) -> Error {
    match error {
        FileError::Denied(why) => Error::Denied(format!("{path}: {why}")),
        FileError::NotFound(why) => Error::InvalidConfig(format!("path: {path}: not found: {why}")),
        FileError::AlreadyExists(why) => Error::InvalidConfig(format!("path: {path}: exists already, and `replace` is false: {why}")),
        FileError::WrongKind(why) | FileError::InvalidPath(why) => Error::InvalidConfig(format!("path: {path}: {why}")),
        FileError::NoSpace(why) => Error::Unavailable(format!("{path}: no space: {why}")),
        FileError::InputOutput(why) => Error::Unavailable(format!("{path}: {why}")),
        FileError::Other(why) => Error::Other(format!("{path}: {why}")),
    }
}

export!(Plugin);
