//! A destination that writes JSON Lines, one file a dataset: all of it, or nothing.

use std::cell::RefCell;

use example_support::{parse_config, report_panics};
use serde::Deserialize;

use dataflare::data::batches::Batch;
use dataflare::data::schemas::Schema;
use dataflare::host::files::{append, create, open, stat, FileError, Position, Writer};
use dataflare::host::logging::{log, Level};
use exports::dataflare::plugin::destination::{
    Ability, ChangeKind, DatasetName, Guest as Destination, PlannedChange, RejectedRow, RunName, Target, WritingMode,
};
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
}

/// A file that is being written.
struct Output {
    path: String,
    writer: Writer,
}

/// Where a run is.
enum Run {
    /// None was begun, or the last was aborted.
    None,
    Writing(Vec<Output>),
    /// A write failed half-way: nothing but `abort` makes sense.
    Broken(String),
    Finished,
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
            return Err(Error::InvalidConfig("path: give a file or a folder in a granted directory, as `name/rest`".into()));
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
    fn abilities() -> Result<Ability, Error> {
        Ok(Ability::APPEND | Ability::REPLACE | Ability::ADD_COLUMNS | Ability::WIDEN_COLUMNS)
    }

    fn plan(targets: Vec<Target>) -> Result<Vec<PlannedChange>, Error> {
        let mut changes = Vec::new();
        for (index, (path, target)) in paths(&targets)?.into_iter().zip(&targets).enumerate() {
            let kind = match (length(&path)?, target.mode) {
                (None, _) => ChangeKind::Create,
                (Some(_), WritingMode::Replace) => ChangeKind::ReplaceRows,
                (Some(_), _) => continue,
            };
            changes.push(PlannedChange { target: index as u32, kind, detail: path });
        }
        Ok(changes)
    }

    fn open(_run: RunName, targets: Vec<Target>) -> Result<Option<Vec<u8>>, Error> {
        RUN.with_borrow_mut(|run| {
            if matches!(run, Run::Writing(_) | Run::Broken(_)) {
                return Err(Error::Unsupported("a run is under way: `finish` or `abort` it first".into()));
            }
            let outputs = paths(&targets)?.into_iter().zip(&targets).map(|(path, target)| {
                let appends = matches!(target.mode, WritingMode::Append);
                let writer = if appends { append(&path) } else { create(&path, true) }.map_err(|error| file_error(&path, error))?;
                if appends {
                    require_whole_records(&path)?;
                }
                Ok(Output { path, writer })
            });
            *run = Run::Writing(outputs.collect::<Result<_, Error>>()?);
            Ok(None)
        })
    }

    fn write(target: u32, rows: Batch) -> Result<Vec<RejectedRow>, Error> {
        let lines = rows.to_json_lines().map_err(Error::Data)?;
        RUN.with_borrow_mut(|run| {
            let output = output(writing(run)?, target)?;
            match output.writer.write_text(&lines) {
                Ok(()) => Ok(Vec::new()),
                Err(error) => {
                    let error = file_error(&output.path, error);
                    // How much of the text was written is not known, so nothing may follow it.
                    *run = Run::Broken("a write failed".into());
                    Err(error)
                }
            }
        })
    }

    fn change_schema(target: u32, _schema: Schema) -> Result<(), Error> {
        // Each line names its columns: any schema will do.
        RUN.with_borrow_mut(|run| output(writing(run)?, target).map(|_| ()))
    }

    fn flush(_token: Vec<u8>) -> Result<bool, Error> {
        RUN.with_borrow_mut(|run| {
            if matches!(run, Run::Finished) {
                return Ok(true);
            }
            for Output { path, writer } in writing(run)? {
                writer.sync().map_err(|error| file_error(path, error))?;
            }
            // The bytes are on the disk, but do not count yet: after a crash the host takes them away.
            Ok(false)
        })
    }

    fn finish(_token: Vec<u8>) -> Result<(), Error> {
        RUN.with_borrow_mut(|run| {
            if matches!(run, Run::Finished) {
                return Ok(());
            }
            for Output { path, writer } in writing(run)? {
                // A second call does nothing, so that `finish` can be repeated after an error.
                writer.publish().map_err(|error| file_error(path, error))?;
            }
            *run = Run::Finished;
            Ok(())
        })
    }

    fn abort() -> Result<(), Error> {
        RUN.with_borrow_mut(|run| {
            if !matches!(run, Run::Finished) {
                *run = Run::None;
            }
            Ok(())
        })
    }
}

fn writing(run: &mut Run) -> Result<&mut Vec<Output>, Error> {
    match run {
        Run::Writing(outputs) => Ok(outputs),
        Run::Broken(why) => Err(Error::Unsupported(format!("{why}: `abort` the run"))),
        Run::None | Run::Finished => Err(Error::Unsupported("no run is under way: `open` comes first".into())),
    }
}

fn output(outputs: &mut [Output], target: u32) -> Result<&mut Output, Error> {
    let count = outputs.len();
    outputs.get_mut(target as usize).ok_or_else(|| Error::InvalidInput(format!("there is no target {target}, only {count}")))
}

/// The file of each target.
fn paths(targets: &[Target]) -> Result<Vec<String>, Error> {
    let base = CONFIG.with_borrow(|config| config.path.clone());
    if targets.len() > 1 && !base.ends_with('/') {
        let why = format!("path: {base}: several datasets need a folder, whose path ends in `/`");
        return Err(Error::InvalidConfig(why));
    }
    let mut found: Vec<String> = Vec::with_capacity(targets.len());
    for target in targets {
        let DatasetName { namespace, name } = &target.dataset;
        if matches!(target.mode, WritingMode::Merge) {
            return Err(Error::Unsupported(format!("dataset {name:?}: JSON Lines cannot be merged by key")));
        }
        let path = if base.ends_with('/') {
            let file = if namespace.is_empty() { format!("{name}.jsonl") } else { format!("{namespace}.{name}.jsonl") };
            if file.contains(['/', '\\']) || file.starts_with('.') {
                return Err(Error::InvalidConfig(format!("dataset {name:?}: this cannot be the name of a file")));
            }
            format!("{base}{file}")
        } else {
            base.clone()
        };
        if found.contains(&path) {
            return Err(Error::InvalidConfig(format!("dataset {name:?}: {path} is written twice")));
        }
        found.push(path);
    }
    Ok(found)
}

/// A file's length; `None` where there is no such file.
fn length(path: &str) -> Result<Option<u64>, Error> {
    match stat(path) {
        Ok(entry) => Ok(Some(entry.size_bytes)),
        Err(FileError::NotFound(_)) => Ok(None),
        Err(error) => Err(file_error(path, error)),
    }
}

/// Refuse to append to a file whose last record is cut.
fn require_whole_records(path: &str) -> Result<(), Error> {
    let failed = |error| file_error(path, error);
    let reader = open(path).map_err(failed)?;
    let Some(last) = reader.length().map_err(failed)?.offset_bytes.checked_sub(1) else { return Ok(()) };
    reader.seek(Position { offset_bytes: last }).map_err(failed)?;
    if reader.read(1).map_err(failed)? != b"\n" {
        return Err(Error::InvalidConfig(format!("path: {path}: it cannot be appended to: its last line is not whole")));
    }
    Ok(())
}

fn file_error(path: &str, error: FileError) -> Error {
    match error {
        FileError::Denied(why) => Error::Denied(format!("{path}: {why}")),
        FileError::NotFound(why) => Error::InvalidConfig(format!("path: {path}: not found: {why}")),
        FileError::AlreadyExists(why) => Error::InvalidConfig(format!("path: {path}: exists already: {why}")),
        FileError::WrongKind(why) | FileError::InvalidPath(why) => Error::InvalidConfig(format!("path: {path}: {why}")),
        FileError::NoSpace(why) => Error::Unavailable(format!("{path}: no space: {why}")),
        FileError::Busy(why) | FileError::InputOutput(why) => Error::Unavailable(format!("{path}: {why}")),
        FileError::Other(why) => Error::Other(format!("{path}: {why}")),
    }
}

export!(Plugin);
