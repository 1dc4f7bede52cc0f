//! A processor that does what its input says, and tells what the host answered: `conformance/PROBE.md` lists the operations.

mod batches;
mod capabilities;
mod faults;
mod files;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use serde_json::{json, Map, Value};

use dataflare::data::batches::Batch;
use dataflare::host::{logging, state};
use exports::dataflare::plugin::lifecycle::{Error, Guest as Lifecycle, Health, Metadata};
use exports::dataflare::plugin::processor::Guest as Processor;

wit_bindgen::generate!({
    path: ["../../../wit/data", "../../../wit/host", "../../../wit/plugin", "wit"],
    world: "conformance:host-probe/host-probe",
    generate_all,
});

/// What came of an operation: a value, an error of the host as its case and its payload, or an error to answer the call with.
pub enum Outcome {
    Ok(Value),
    Err(&'static str, Value),
    Fail(Error),
}

pub type Batches = HashMap<String, Batch>;
pub type Arguments = Map<String, Value>;

thread_local! {
    /// The functions of the lifecycle that were called, in order.
    static LIFE: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    static CONFIG: RefCell<Value> = const { RefCell::new(Value::Null) };
    static RAW_CONFIG: RefCell<String> = const { RefCell::new(String::new()) };
    static DROPPED: Cell<bool> = const { Cell::new(false) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static BATCHES: RefCell<Batches> = RefCell::default();
}

struct Plugin;

/// A text among the arguments; repeated where `times` says so.
pub fn text(arguments: &Arguments, name: &str) -> String {
    let found = arguments.get(name).and_then(Value::as_str).unwrap_or_default();
    match arguments.get("times").and_then(Value::as_u64) {
        Some(times) if arguments.get("repeat").and_then(Value::as_str) == Some(name) => found.repeat(times as usize),
        _ => found.to_string(),
    }
}

pub fn number(arguments: &Arguments, name: &str) -> u64 {
    arguments.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// Do what the configuration says for this moment of the life.
fn moment(name: &'static str) -> Result<(), Error> {
    LIFE.with_borrow_mut(|life| life.push(name));
    let operations = CONFIG.with_borrow(|config| config.get(name).cloned());
    match operations {
        Some(Value::Array(list)) => run(&list).map(|_| ()),
        _ => Ok(()),
    }
}

impl Lifecycle for Plugin {
    fn get_metadata() -> Metadata {
        Metadata {
            name: "host-probe".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            kind: dataflare::plugin::types::Kind::Processor,
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            config_schema: "{\"type\": \"object\"}".into(),
        }
    }

    fn configure(config: String) -> Result<(), Error> {
        let parsed = serde_json::from_str(&config).map_err(|error| Error::InvalidConfig(error.to_string()))?;
        CONFIG.set(parsed);
        RAW_CONFIG.set(config);
        moment("configure")
    }

    fn initialize() -> Result<(), Error> {
        moment("initialize")
    }

    fn shutdown() -> Result<(), Error> {
        moment("shutdown")
    }

    fn health_check() -> Health {
        let said = CONFIG.with_borrow(|config| config.get("health").and_then(Value::as_str).unwrap_or("").to_string());
        let status = match said.as_str() {
            "degraded" => dataflare::plugin::types::HealthStatus::Degraded,
            "unhealthy" => dataflare::plugin::types::HealthStatus::Unhealthy,
            _ => dataflare::plugin::types::HealthStatus::Healthy,
        };
        Health { status, message: said }
    }
}

impl Processor for Plugin {
    fn process(input: String) -> Result<Option<String>, Error> {
        CALLS.set(CALLS.get() + 1);
        let value: Value = serde_json::from_str(&input).map_err(|error| Error::InvalidInput(error.to_string()))?;
        let Some(Value::Array(operations)) = value.get("do") else {
            return Ok(Some(input));
        };
        let results = run(operations)?;
        Ok((!DROPPED.take()).then(|| json!({ "came": results }).to_string()))
    }

    fn process_batch(input: Batch) -> Result<Batch, Error> {
        CALLS.set(CALLS.get() + 1);
        BATCHES.with_borrow_mut(|batches| batches.insert("in".into(), input));
        let (operations, tell) = CONFIG.with_borrow(|config| (config.get("batch").cloned(), config.get("tell").is_some()));
        if let Some(Value::Array(list)) = operations {
            let results = run(&list)?;
            if tell {
                logging::log(logging::Level::Info, &json!(results).to_string(), &[]);
            }
        }
        let found = BATCHES.with_borrow_mut(|batches| batches.remove("out").or_else(|| batches.remove("in")));
        found.ok_or_else(|| Error::Internal("there is no batch to return".into()))
    }
}

/// Do operations in order; what each gave is `{"ok": VALUE}` or `{"err": CASE, "with": PAYLOAD}`.
fn run(operations: &[Value]) -> Result<Vec<Value>, Error> {
    let mut results = Vec::new();
    let mut open = files::Open::default();
    for each in operations {
        let Some((name, arguments)) = each.as_object().and_then(|map| map.iter().next()) else {
            return Err(Error::InvalidInput(format!("no operation: {each}")));
        };
        let empty = Map::new();
        let arguments = arguments.as_object().unwrap_or(&empty);
        match one(name, arguments, &mut open) {
            Outcome::Ok(value) => results.push(json!({ "ok": value })),
            Outcome::Err(case, payload) => results.push(json!({ "err": case, "with": payload })),
            Outcome::Fail(error) => return Err(error),
        }
    }
    Ok(results)
}

fn one(name: &str, arguments: &Arguments, open: &mut files::Open) -> Outcome {
    let own = match name {
        "ping" => json!("pong"),
        "calls" => json!(CALLS.get()),
        "life" => LIFE.with_borrow(|life| json!(life)),
        "configured" => RAW_CONFIG.with_borrow(|config| serde_json::from_str(config).unwrap_or(Value::Null)),
        "drop-record" => {
            DROPPED.set(true);
            Value::Null
        }
        "remember" => return remember(&text(arguments, "key")),
        _ => {
            let found = capabilities::one(name, arguments)
                .or_else(|| faults::one(name, arguments))
                .or_else(|| files::one(name, arguments, open))
                .or_else(|| BATCHES.with_borrow_mut(|kept| capabilities::with_batches(name, arguments, kept)))
                .or_else(|| BATCHES.with_borrow_mut(|kept| batches::one(name, arguments, kept)));
            return found.unwrap_or_else(|| Outcome::Fail(Error::InvalidInput(format!("no operation {name:?}"))));
        }
    };
    Outcome::Ok(own)
}

/// Count in the host's state how often something happened.
fn remember(key: &str) -> Outcome {
    let before = state::get(key).ok().flatten().and_then(|bytes| String::from_utf8(bytes).ok());
    let count: u64 = before.and_then(|text| text.parse().ok()).unwrap_or(0) + 1;
    match state::set(key, count.to_string().as_bytes()) {
        Ok(()) => Outcome::Ok(json!(count)),
        Err(error) => capabilities::state_error(error),
    }
}

export!(Plugin);
