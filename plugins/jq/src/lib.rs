//! A record processor whose work is a script in its configuration, in jq's language.

mod columns;
mod log_sink;
mod script;
mod writing;

use std::cell::RefCell;
use std::collections::BTreeMap;

use columns::Columns;
use jaq_json::{read, Val};
use script::Script;
use serde::Deserialize;
use serde_json::value::RawValue;

use dataflare::data::batches::Batch;
use dataflare::host::logging::{log, Level};
use exports::dataflare::plugin::lifecycle::{Error, Guest as Lifecycle, Health, Metadata};
use exports::dataflare::plugin::processor::Guest as Processor;

wit_bindgen::generate!({
    path: ["../../wit/data", "../../wit/host", "../../wit/plugin", "wit"],
    world: "dataflare-plugins:jq/jq",
    generate_all,
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    script: String,
    #[serde(default)]
    variables: BTreeMap<String, Box<RawValue>>,
}

thread_local! {
    static SCRIPT: RefCell<Option<Script>> = const { RefCell::new(None) };
}

struct Plugin;

impl Lifecycle for Plugin {
    fn get_metadata() -> Metadata {
        Metadata {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            kind: dataflare::plugin::types::Kind::Processor,
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            config_schema: include_str!("../config.schema.json").into(),
        }
    }

    fn configure(config: String) -> Result<(), Error> {
        // WebAssembly without unwinding turns a panic into a bare trap: without this, nobody learns what went wrong.
        std::panic::set_hook(Box::new(|info| log(Level::Error, &info.to_string(), &[])));
        log_sink::install();
        let script = read_config(&config).map_err(Error::InvalidConfig)?;
        SCRIPT.set(Some(script));
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
        // The reader of the script's values takes more than JSON.
        let is_object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&input);
        is_object.map_err(|error| Error::InvalidInput(format!("the record: {error}")))?;
        let record = parse(&input).map_err(Error::InvalidInput)?;
        with_script(|script| {
            let Some(made) = script.run(record).map_err(Error::InvalidInput)? else { return Ok(None) };
            let mut output = String::with_capacity(input.len() + 64);
            writing::write_record(&made, &mut output).map_err(Error::InvalidInput)?;
            Ok(Some(output))
        })
    }

    fn process_batch(input: Batch) -> Result<Batch, Error> {
        let lines = input.to_json_lines().map_err(Error::Data)?;
        let mut columns = Columns::new(input.schema());
        with_script(|script| {
            for (row, line) in lines.lines().enumerate() {
                let wrong = |message: String| Error::InvalidInput(format!("row {row}: {message}"));
                let record = columns.typed(parse(line).map_err(wrong)?);
                if let Some(made) = script.run(record).map_err(wrong)? {
                    columns.push(&made).map_err(wrong)?;
                }
            }
            columns.finish(input)
        })
    }
}

fn read_config(text: &str) -> Result<Script, String> {
    let config: Config = serde_json::from_str(text).map_err(|error| format!("the configuration: {error}"))?;
    let mut variables = Vec::with_capacity(config.variables.len());
    for (name, value) in config.variables {
        variables.push((name, parse(value.get())?));
    }
    Script::compile(&config.script, variables)
}

fn parse(text: &str) -> Result<Val, String> {
    read::parse_single(text.as_bytes()).map_err(|error| format!("the record: {error}"))
}

fn with_script<T>(run: impl FnOnce(&Script) -> Result<T, Error>) -> Result<T, Error> {
    SCRIPT.with_borrow(|script| match script {
        Some(script) => run(script),
        None => Err(Error::InvalidConfig("script: it is missing".into())),
    })
}

export!(Plugin);
