//! What the scripted probes share: each answers as its configuration says, and logs its calls.
//!
//! The configuration has a list of answers by function. Each call takes the next one: an object with `trap`, with `error`, or
//! with what the function returns. Without one, a call has the answer that the function always has.

use std::cell::RefCell;

use serde_json::{Map, Value};

use crate::dataflare::data::batches::{from_json_lines, Batch};
use crate::dataflare::data::schemas::{Field, Schema};
use crate::dataflare::host::logging::{log, Level};
use crate::dataflare::plugin::types::HealthStatus;
use crate::exports::dataflare::plugin::lifecycle::{Error, Guest as Lifecycle, Health, Metadata};

thread_local! {
    static ANSWERS: RefCell<Map<String, Value>> = RefCell::default();
}

/// Log a call with its arguments, and take the next answer for it; null is the usual one.
pub fn answer(function: &str, given: &[(&str, String)]) -> Result<Value, Error> {
    let fields: Vec<(String, String)> = given.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    log(Level::Info, function, &fields);
    let next = ANSWERS.with_borrow_mut(|answers| match answers.get_mut(function) {
        Some(Value::Array(list)) if !list.is_empty() => list.remove(0),
        _ => Value::Null,
    });
    if next.get("trap").is_some() {
        core::arch::wasm32::unreachable();
    }
    match next.get("error") {
        Some(error) => Err(error_of(error)),
        None => Ok(next),
    }
}

/// What the configuration has for a function, whatever the call; null where it has nothing.
pub fn usual(function: &str) -> Value {
    ANSWERS.with_borrow(|answers| answers.get(function).cloned().unwrap_or_default())
}

fn error_of(said: &Value) -> Error {
    let why = text(&said["text"]);
    match said["case"].as_str().unwrap_or_default() {
        "invalid-config" => Error::InvalidConfig(why),
        "invalid-state" => Error::InvalidState(why),
        "unavailable" => Error::Unavailable(why),
        "rate-limited" => Error::RateLimited(said["ms"].as_u64().unwrap_or_default() as u32),
        "superseded" => Error::Superseded(why),
        "unsupported" => Error::Unsupported(why),
        _ => Error::Other(why),
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

pub fn texts(value: &Value) -> Vec<String> {
    list(value).iter().map(text).collect()
}

pub fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

pub fn number(value: &Value) -> u32 {
    value.as_u64().unwrap_or_default() as u32
}

/// Bytes of which each is the character with its number.
pub fn bytes(value: &Value) -> Option<Vec<u8>> {
    value.as_str().map(|text| text.chars().map(|each| each as u8).collect())
}

/// The bytes for the log: those that are no visible characters of ASCII as `<HEX>`.
pub fn shown(bytes: &Option<Vec<u8>>) -> String {
    let one = |each: &u8| match each {
        0x21..=0x7e => char::from(*each).to_string(),
        other => format!("<{other:02x}>"),
    };
    bytes.as_ref().map_or("none".into(), |bytes| bytes.iter().map(one).collect())
}

/// Columns by name, each a type or `[type, "not null"]`; the usual ones are `id` and `name`.
pub fn schema(columns: &Value) -> Schema {
    let usual = serde_json::json!({ "id": "int64", "name": "string" });
    let columns = columns.as_object().or(usual.as_object());
    let field = |(name, kind): (&String, &Value)| Field {
        name: name.clone(),
        type_name: text(kind.get(0).unwrap_or(kind)),
        nullable: !kind.is_array(),
        metadata: Vec::new(),
    };
    Schema { fields: columns.into_iter().flatten().map(field).collect(), metadata: Vec::new() }
}

/// Names and types of columns, for the log.
pub fn columns(schema: &Schema) -> String {
    schema.fields.iter().map(|field| format!("{} {}", field.name, field.type_name)).collect::<Vec<_>>().join(", ")
}

/// A batch of rows with these columns.
pub fn batch(rows: &Value, columns: &Value) -> Result<Batch, Error> {
    let lines: String = list(rows).iter().map(|row| format!("{row}\n")).collect();
    from_json_lines(&lines, Some(&schema(columns))).map_err(Error::Data)
}

pub struct Plugin;

impl Lifecycle for Plugin {
    fn get_metadata() -> Metadata {
        Metadata {
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            kind: crate::KIND,
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            config_schema: "{\"type\": \"object\"}".into(),
        }
    }

    fn configure(config: String) -> Result<(), Error> {
        ANSWERS.set(serde_json::from_str(&config).map_err(|error| Error::InvalidConfig(error.to_string()))?);
        Ok(())
    }

    fn initialize() -> Result<(), Error> {
        Ok(())
    }

    fn shutdown() -> Result<(), Error> {
        Ok(())
    }

    fn health_check() -> Health {
        Health { status: HealthStatus::Healthy, message: String::new() }
    }
}

