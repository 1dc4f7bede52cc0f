//! A validator that answers as its configuration says: `conformance/PROBE.md`.

mod scripted;

use dataflare::data::batches::Batch;
use dataflare::plugin::types::Kind;
use exports::dataflare::plugin::validator::{Error, Guest as Validator, Report, Rule, RuleCount, Severity, Violation};
use scripted::{answer, list, number, text, texts, Plugin};
use serde_json::{json, Value};

wit_bindgen::generate!({
    path: ["../../../wit/data", "../../../wit/host", "../../../wit/plugin", "wit"],
    world: "conformance:validator-probe/validator-probe",
    generate_all,
});

pub const KIND: Kind = Kind::Validator;

fn violation(said: &Value) -> Violation {
    Violation {
        row: said["row"].as_u64().map(|row| row as u32),
        column: said["column"].as_str().map(String::from),
        rule: text(&said["rule"]),
        severity: Severity::Error,
        message: text(&said["message"]),
    }
}

impl Validator for Plugin {
    fn rules() -> Result<Vec<Rule>, Error> {
        // Not a list of answers: hosts may ask as often as they like.
        let names = texts(&scripted::usual("rules"));
        let rule = |name: &String| Rule { name: name.clone(), description: "a rule".into(), severity: Severity::Error };
        Ok(if names.is_empty() { vec![rule(&"rule".to_string())] } else { names.iter().map(rule).collect() })
    }

    fn validate(input: Batch) -> Result<Report, Error> {
        let said = answer("validate", &[])?;
        let usual = json!({ "rule": 0 });
        let counts = said.get("counts").unwrap_or(&usual).as_object().cloned().unwrap_or_default();
        Ok(Report {
            rows_checked: said["rows"].as_u64().map_or(input.num_rows(), |rows| rows as u32),
            counts: counts.into_iter().map(|(rule, count)| RuleCount { rule, violations: number(&count) }).collect(),
            violations: list(&said["violations"]).iter().map(violation).collect(),
        })
    }
}

export!(Plugin);
