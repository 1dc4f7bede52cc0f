//! What is done to each record.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::condition::Condition;
use crate::record::Record;

/// What is done to each record, in the order of the fields.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mapping {
    pub keep_if: Option<Condition>,
    drop: Vec<String>,
    rename: Map<String, Value>,
    lowercase: Vec<String>,
    uppercase: Vec<String>,
    set: Map<String, Value>,
}

impl Mapping {
    /// Check what the types do not say. The error names the key.
    pub fn check(&self) -> Result<(), String> {
        if let Some((name, _)) = self.rename.iter().find(|(_, to)| !to.is_string()) {
            return Err(format!("rename.{name}: give the new name as a string"));
        }
        if let Some((name, _)) = self.set.iter().find(|(_, value)| type_name(value).is_none()) {
            return Err(format!("set.{name}: give a string, a number or a boolean"));
        }
        Ok(())
    }

    /// Append to `output` what becomes of a record. Returns whether the record is kept; if not, nothing was appended.
    ///
    /// The error says why the record cannot be mapped; `output` may then have a part of it.
    pub fn apply(&self, input: &str, output: &mut String) -> Result<bool, String> {
        let record: Record = serde_json::from_str(input).map_err(|error| format!("not a JSON object: {error}"))?;
        if let Some(condition) = &self.keep_if {
            if !condition.holds(&record)? {
                return Ok(false);
            }
        }
        let mut names: Vec<&str> = Vec::with_capacity(record.0.len() + self.set.len());
        output.push('{');
        for (name, value) in &record.0 {
            let Some(name) = self.new_name(&name.0) else { continue };
            // Names are unique in a record, so only a new name can be there already.
            if self.is_new(name) && names.contains(&name) {
                return Err(format!("two fields would be named {name:?}"));
            }
            begin_field(output, &mut names, name)?;
            match self.set.get(name) {
                Some(value) => push_json(output, value)?,
                None => self.push_cased(output, name, value)?,
            }
        }
        for (name, value) in &self.set {
            if !names.contains(&name.as_str()) {
                begin_field(output, &mut names, name)?;
                push_json(output, value)?;
            }
        }
        output.push('}');
        Ok(true)
    }

    /// The name that a field has afterwards; `None` when it is dropped.
    pub fn new_name<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        if self.drop.iter().any(|dropped| dropped == name) {
            return None;
        }
        Some(self.rename.get(name).and_then(Value::as_str).unwrap_or(name))
    }

    fn is_new(&self, name: &str) -> bool {
        self.rename.values().any(|to| to == name)
    }

    /// The fields that are set, with their values.
    pub fn set_values(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.set.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The value that a field is set to.
    pub fn set_value(&self, name: &str) -> Option<&Value> {
        self.set.get(name)
    }

    /// What becomes of the text of a field, by its new name; `None` where it stays.
    pub fn case_of(&self, name: &str) -> Option<fn(&str) -> String> {
        if self.lowercase.iter().any(|field| field == name) {
            Some(str::to_lowercase)
        } else if self.uppercase.iter().any(|field| field == name) {
            Some(str::to_uppercase)
        } else {
            None
        }
    }

    fn push_cased(&self, output: &mut String, name: &str, value: &RawValue) -> Result<(), String> {
        match self.case_of(name) {
            Some(recase) if value.get().starts_with('"') => {
                let text: String = serde_json::from_str(value.get()).map_err(|error| error.to_string())?;
                push_json(output, &recase(&text))
            }
            _ => {
                output.push_str(value.get());
                Ok(())
            }
        }
    }
}

/// The Arrow type of a value that a field is set to; `None` for what a field cannot be set to.
pub fn type_name(value: &Value) -> Option<&'static str> {
    match value {
        Value::String(_) => Some("string"),
        Value::Bool(_) => Some("bool"),
        Value::Number(number) if number.is_i64() => Some("int64"),
        Value::Number(number) if number.is_u64() => Some("uint64"),
        Value::Number(_) => Some("double"),
        _ => None,
    }
}

fn begin_field<'a>(output: &mut String, names: &mut Vec<&'a str>, name: &'a str) -> Result<(), String> {
    if !names.is_empty() {
        output.push(',');
    }
    names.push(name);
    if name.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        output.push('"');
        output.push_str(name);
        output.push('"');
    } else {
        push_json(output, name)?;
    }
    output.push(':');
    Ok(())
}

fn push_json<T: serde::Serialize + ?Sized>(output: &mut String, value: &T) -> Result<(), String> {
    let text = serde_json::to_string(value).map_err(|error| error.to_string())?;
    output.push_str(&text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(config: &str, record: &str) -> Result<Option<String>, String> {
        let mapping: Mapping = serde_json::from_str(config).unwrap();
        let mut output = String::new();
        Ok(mapping.apply(record, &mut output)?.then_some(output))
    }

    #[test]
    fn untouched_values_keep_their_text() {
        let record = r#"{"a":1.50,"b":123456789012345678901,"c":"\u0041","d":[1, 2]}"#;
        assert_eq!(map("{}", record).unwrap().unwrap(), record);
    }

    #[test]
    fn fields_are_dropped_renamed_cased_and_set_in_place() {
        let config = r#"{"drop":["a"],"rename":{"b":"x"},"uppercase":["x"],"set":{"c":true,"n":7}}"#;
        assert_eq!(map(config, r#"{"a":1,"b":"é","c":2,"d":3}"#).unwrap().unwrap(), r#"{"x":"É","c":true,"d":3,"n":7}"#);
    }

    #[test]
    fn a_record_that_does_not_fulfil_the_condition_is_dropped() {
        let config = r#"{"keep_if":{"field":"a","op":">=","value":10}}"#;
        assert_eq!(map(config, r#"{"a":9.5}"#).unwrap(), None);
        assert_eq!(map(config, r#"{"a":10}"#).unwrap().unwrap(), r#"{"a":10}"#);
    }

    #[test]
    fn an_absent_field_is_like_null() {
        let config = r#"{"keep_if":{"field":"a","op":"!=","value":null}}"#;
        assert_eq!(map(config, r#"{"b":1}"#).unwrap(), None);
    }

    #[test]
    fn decimals_that_are_texts_compare_as_numbers() {
        let config = r#"{"keep_if":{"field":"a","op":">=","value":10}}"#;
        assert_eq!(map(config, r#"{"a":"9.50"}"#).unwrap(), None);
        assert!(map(config, r#"{"a":"100.00"}"#).unwrap().is_some());
        assert!(map(config, r#"{"a":"Infinity"}"#).unwrap().is_some());
        assert_eq!(map(config, r#"{"a":"NaN"}"#).unwrap(), None);
    }

    #[test]
    fn every_digit_of_a_number_counts() {
        let config = r#"{"keep_if":{"field":"a","op":">","value":9007199254740992}}"#;
        assert!(map(config, r#"{"a":9007199254740993}"#).unwrap().is_some());
        let config = r#"{"keep_if":{"field":"a","op":"==","value":18446744073709551616}}"#;
        assert_eq!(map(config, r#"{"a":18446744073709551615}"#).unwrap(), None);
    }

    #[test]
    fn values_of_different_kinds_are_an_error() {
        for (value, record) in [("10", r#"{"a":"x"}"#), ("10", r#"{"a":true}"#), (r#""10""#, r#"{"a":10}"#), ("true", r#"{"a":[1]}"#)] {
            let config = format!(r#"{{"keep_if":{{"field":"a","op":"!=","value":{value}}}}}"#);
            assert!(map(&config, record).unwrap_err().contains("\"a\""), "{value} {record}");
        }
        assert!(map(r#"{"keep_if":{"field":"a","op":"!=","value":10}}"#, r#"{"a":null}"#).unwrap().is_some());
    }

    #[test]
    fn a_condition_compares_with_plain_values_only() {
        assert!(serde_json::from_str::<Mapping>(r#"{"keep_if":{"field":"a","op":"==","value":[1]}}"#).is_err());
    }

    #[test]
    fn two_fields_of_one_name_are_an_error() {
        assert!(map(r#"{"rename":{"a":"b"}}"#, r#"{"a":1,"b":2}"#).unwrap_err().contains("\"b\""));
    }

    #[test]
    fn a_record_that_is_no_object_is_an_error() {
        assert!(map("{}", "[1]").is_err());
    }

    #[test]
    fn a_repeated_name_has_its_last_value() {
        assert_eq!(map("{}", r#"{"a":1,"b":2,"a":3}"#).unwrap().unwrap(), r#"{"a":3,"b":2}"#);
    }
}
