//! What the host offers apart from batches. Errors are told by the names of their cases.

use serde_json::{json, Value};

use crate::dataflare::host::{clock, config, http, logging, metrics, plugins, random, secrets, shared, state, tasks};
use crate::{number, text, Arguments, Batches, Outcome};

pub fn one(name: &str, arguments: &Arguments) -> Option<Outcome> {
    let key = || text(arguments, "key");
    Some(match name {
        "config-get" => Outcome::Ok(json!(config::get(&key()))),
        "config-get-all" => Outcome::Ok(serde_json::from_str(&config::get_all()).unwrap_or(Value::Null)),
        "log" => {
            let pairs = texts(arguments, "fields");
            for _ in 0..number(arguments, "count").max(1) {
                logging::log(level(&text(arguments, "level")), &text(arguments, "message"), &pairs);
            }
            Outcome::Ok(Value::Null)
        }
        "count" => {
            metrics::add_to_counter(&text(arguments, "name"), float(arguments), &texts(arguments, "labels"));
            Outcome::Ok(Value::Null)
        }
        "gauge" => {
            metrics::set_gauge(&text(arguments, "name"), float(arguments), &texts(arguments, "labels"));
            Outcome::Ok(Value::Null)
        }
        "observe" => {
            metrics::record_observation(&text(arguments, "name"), float(arguments), &texts(arguments, "labels"));
            Outcome::Ok(Value::Null)
        }
        "progress" => {
            tasks::report_progress(number(arguments, "done") as u32, number(arguments, "total") as u32, &text(arguments, "message"));
            Outcome::Ok(Value::Null)
        }
        "is-cancelled" => Outcome::Ok(json!(tasks::is_cancelled())),
        "clock" => {
            let now = clock::now();
            let (one, other) = (clock::monotonic_now().nanoseconds, clock::monotonic_now().nanoseconds);
            Outcome::Ok(json!({
                "after-2020": now.seconds > 1_577_836_800, "below-a-second": now.nanoseconds < 1_000_000_000, "ascends": other >= one
            }))
        }
        "random" => {
            let bytes = random::get_random_bytes(number(arguments, "length") as u32);
            let again = random::get_random_bytes(number(arguments, "length") as u32);
            Outcome::Ok(json!({ "length": bytes.len(), "differs": bytes != again }))
        }
        "state-get" => state_outcome(state::get(&key()), |found| json!(found.map(shown))),
        "state-set" => state_outcome(state::set(&key(), text(arguments, "value").as_bytes()), |()| Value::Null),
        "state-delete" => state_outcome(state::delete(&key()), |()| Value::Null),
        "state-list" => {
            let after = arguments.get("after").and_then(Value::as_str);
            let found = state::list_keys(&text(arguments, "prefix"), after, number(arguments, "limit") as u32);
            state_outcome(found, |page| json!({ "keys": page.keys, "more": page.more }))
        }
        "state-swap" => {
            let bytes = |name| arguments.get(name).and_then(Value::as_str).map(str::as_bytes);
            state_outcome(state::compare_and_swap(&key(), bytes("expected"), bytes("replacement")), |done| json!(done))
        }
        "secret" => match secrets::get(&text(arguments, "name")) {
            Ok(found) => Outcome::Ok(json!(found)),
            Err(secrets::SecretError::NotGranted(_)) => Outcome::Err("not-granted", Value::Null),
            Err(secrets::SecretError::Unavailable(_)) => Outcome::Err("unavailable", Value::Null),
            Err(secrets::SecretError::Other(_)) => Outcome::Err("other", Value::Null),
        },
        "http" => {
            let request = http::Request {
                method: text(arguments, "method"),
                url: text(arguments, "url"),
                headers: pairs(arguments, "headers"),
                body: arguments.get("body").and_then(Value::as_str).map(|body| body.as_bytes().to_vec()),
                timeout_ms: Some(arguments.get("timeout-ms").and_then(Value::as_u64).unwrap_or(5_000) as u32),
            };
            match http::send(&request) {
                Ok(found) => Outcome::Ok(json!({ "status": found.status, "headers": found.headers, "body": shown(found.body) })),
                Err(error) => http_error(error),
            }
        }
        _ => return None,
    })
}

/// Operations that pass batches to others.
pub fn with_batches(name: &str, arguments: &Arguments, kept: &mut Batches) -> Option<Outcome> {
    let called = text(arguments, "as");
    if name == "shared" {
        return Some(shared_outcome(shared::get(&text(arguments, "name")).map(|found| match found {
            Some(batch) => {
                kept.insert(called, batch);
                json!("there")
            }
            None => Value::Null,
        })));
    }
    if !matches!(name, "share" | "call") {
        return None;
    }
    let Some(batch) = kept.remove(&text(arguments, "of")) else {
        return Some(Outcome::Err("no-batch", Value::Null));
    };
    if name == "share" {
        return Some(shared_outcome(shared::put(&text(arguments, "name"), batch).map(|()| Value::Null)));
    }
    Some(match plugins::call(&text(arguments, "plugin"), batch) {
        Ok(found) => {
            kept.insert(called, found);
            Outcome::Ok(json!("called"))
        }
        Err(error) => call_error(error),
    })
}

pub fn shown(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|bad| format!("{} bytes that are not UTF-8", bad.into_bytes().len()))
}

fn float(arguments: &Arguments) -> f64 {
    match arguments.get("value") {
        Some(Value::String(word)) => word.parse().unwrap_or(f64::NAN),
        found => found.and_then(Value::as_f64).unwrap_or_default(),
    }
}

/// Pairs of texts, from an object.
pub fn texts(arguments: &Arguments, name: &str) -> Vec<(String, String)> {
    let pairs = arguments.get(name).and_then(Value::as_object);
    pairs.map(|map| map.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap_or("").to_string())).collect()).unwrap_or_default()
}

/// Pairs of texts, from a list: a name may be there several times.
fn pairs(arguments: &Arguments, name: &str) -> Vec<(String, String)> {
    let list = arguments.get(name).cloned().unwrap_or(Value::Array(Vec::new()));
    serde_json::from_value(list).unwrap_or_default()
}

fn level(name: &str) -> logging::Level {
    match name {
        "trace" => logging::Level::Trace,
        "debug" => logging::Level::Debug,
        "warn" => logging::Level::Warn,
        "error" => logging::Level::Error,
        _ => logging::Level::Info,
    }
}

fn state_outcome<T>(found: Result<T, state::StateError>, value: impl FnOnce(T) -> Value) -> Outcome {
    match found {
        Ok(found) => Outcome::Ok(value(found)),
        Err(error) => state_error(error),
    }
}

pub fn state_error(error: state::StateError) -> Outcome {
    use state::StateError::*;
    match error {
        InvalidKey(_) => Outcome::Err("invalid-key", Value::Null),
        ValueTooLarge(most) => Outcome::Err("value-too-large", json!(most)),
        QuotaExceeded(most) => Outcome::Err("quota-exceeded", json!(most)),
        Unavailable(_) => Outcome::Err("unavailable", Value::Null),
        Other(_) => Outcome::Err("other", Value::Null),
    }
}

fn http_error(error: http::HttpError) -> Outcome {
    use http::HttpError::*;
    match error {
        Denied(_) => Outcome::Err("denied", Value::Null),
        InvalidRequest(_) => Outcome::Err("invalid-request", Value::Null),
        ConnectionFailed(_) => Outcome::Err("connection-failed", Value::Null),
        TimedOut(ms) => Outcome::Err("timed-out", json!(ms)),
        TooLarge(most) => Outcome::Err("too-large", json!(most)),
        RateLimited(ms) => Outcome::Err("rate-limited", json!(ms)),
        Other(_) => Outcome::Err("other", Value::Null),
    }
}

fn shared_outcome(found: Result<Value, shared::SharedError>) -> Outcome {
    use shared::SharedError::*;
    match found {
        Ok(found) => Outcome::Ok(found),
        Err(Denied(_)) => Outcome::Err("denied", Value::Null),
        Err(QuotaExceeded(most)) => Outcome::Err("quota-exceeded", json!(most)),
        Err(Other(_)) => Outcome::Err("other", Value::Null),
    }
}

fn call_error(error: plugins::CallError) -> Outcome {
    use plugins::CallError::*;
    let case = match error {
        Denied(_) => "denied",
        NotFound(_) => "not-found",
        TooDeep(_) => "too-deep",
        Failed(_) => "failed",
        Faulted(_) => "faulted",
        Other(_) => "other",
    };
    Outcome::Err(case, Value::Null)
}
