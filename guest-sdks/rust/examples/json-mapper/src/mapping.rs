//! What is done to each record.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::condition::Condition;
use crate::number::Number;
use crate::record::Record;

/// What is done to each record, in the order of the fields.
#[derive(Default, Deserialize)]
#[serde(try_from = "Settings")]
pub struct Mapping {
    pub keep_if: Option<Condition>,
    drop: HashSet<String>,
    rename: HashMap<String, String>,
    /// The new names: only one of these can be there already.
    renamed: HashSet<String>,
    lowercase: HashSet<String>,
    uppercase: HashSet<String>,
    set: Map<String, Value>,
}

/// The configuration as it is written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    keep_if: Option<Condition>,
    drop: HashSet<String>,
    rename: Map<String, Value>,
    lowercase: HashSet<String>,
    uppercase: HashSet<String>,
    set: Option<Box<RawValue>>,
}

impl TryFrom<Settings> for Mapping {
    type Error = String;

    /// Check what the types do not say. The error names the key.
    fn try_from(settings: Settings) -> Result<Self, String> {
        let mut rename = HashMap::new();
        for (name, to) in settings.rename {
            let Value::String(to) = to else {
                return Err(format!("rename.{name}: give the new name as a string"));
            };
            rename.insert(name, to);
        }
        let mut set = Map::new();
        let written = settings.set.as_deref().map_or("{}", RawValue::get);
        let fields: Record = serde_json::from_str(written).map_err(|error| format!("set: give an object: {error}"))?;
        for (name, raw) in &fields.0 {
            let value = exact_value(raw).map_err(|message| format!("set.{}: {message}", name.0))?;
            set.insert(name.0.to_string(), value);
        }
        Ok(Self {
            keep_if: settings.keep_if,
            drop: settings.drop,
            renamed: rename.values().cloned().collect(),
            rename,
            lowercase: settings.lowercase,
            uppercase: settings.uppercase,
            set,
        })
    }
}

/// The value that a field is set to.
///
/// The error says why no column holds it as it is written.
fn exact_value(raw: &RawValue) -> Result<Value, String> {
    let value: Value = serde_json::from_str(raw.get()).map_err(|error| error.to_string())?;
    match type_name(&value) {
        None => Err("give a string, a number or a boolean".into()),
        Some("double") if !Number::parse(raw.get()).is_some_and(|number| number.is_double()) => {
            Err(format!("{} has more digits than 64 bits keep: give it as a string", raw.get()))
        }
        Some(_) => Ok(value),
    }
}

impl Mapping {
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
        let mut first = true;
        // Names are unique in a record, so that only a new name can be there already; and what is not there yet is set.
        let mut noted: HashSet<&str> = HashSet::new();
        output.push('{');
        for (name, value) in &record.0 {
            let Some(name) = self.new_name(&name.0) else { continue };
            let value_set = self.set.get(name);
            if (value_set.is_some() || self.renamed.contains(name)) && !noted.insert(name) {
                return Err(format!("two fields would be named {name:?}"));
            }
            begin_field(output, &mut first, name)?;
            match value_set {
                Some(value) => push_json(output, value)?,
                None => self.push_cased(output, name, value)?,
            }
        }
        for (name, value) in &self.set {
            if !noted.contains(name.as_str()) {
                begin_field(output, &mut first, name)?;
                push_json(output, value)?;
            }
        }
        output.push('}');
        Ok(true)
    }

    /// The name that a field has afterwards; `None` when it is dropped.
    pub fn new_name<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        if self.drop.contains(name) {
            return None;
        }
        Some(self.rename.get(name).map_or(name, String::as_str))
    }

    /// The fields that are dropped and renamed.
    pub fn taken_names(&self) -> impl Iterator<Item = &str> {
        self.drop.iter().chain(self.rename.keys()).map(String::as_str)
    }

    /// The fields whose case changes, by their new names.
    pub fn cased_names(&self) -> impl Iterator<Item = &str> {
        self.lowercase.iter().chain(&self.uppercase).map(String::as_str)
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
        if self.lowercase.contains(name) {
            Some(str::to_lowercase)
        } else if self.uppercase.contains(name) {
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

fn begin_field(output: &mut String, first: &mut bool, name: &str) -> Result<(), String> {
    if !std::mem::take(first) {
        output.push(',');
    }
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
    fn a_field_is_set_to_a_value_as_it_is_written_or_not_at_all() {
        for value in ["1", "-9223372036854775808", "18446744073709551615", "0.1", "1e300", "\"x\"", "true"] {
            let config = format!(r#"{{"set":{{"n":{value}}}}}"#);
            assert!(map(&config, "{}").is_ok(), "{value}");
        }
        for value in ["1180591620717411303424", "9007199254740993.0", "0.1000000000000000055", "1e-400", "null", "[1]"] {
            let config = format!(r#"{{"set":{{"n":{value}}}}}"#);
            let error = serde_json::from_str::<Mapping>(&config).err().unwrap().to_string();
            assert!(error.starts_with("set.n: "), "{error}");
        }
    }

    #[test]
    fn a_record_of_many_fields_is_mapped_as_one_of_few() {
        let fields: Vec<String> = (0..200).map(|n| format!(r#""f{n}":{n}"#)).collect();
        let record = format!("{{{}}}", fields.join(","));
        let mapped = map(r#"{"rename":{"f0":"x"},"set":{"f1":true,"y":1}}"#, &record).unwrap().unwrap();
        assert!(mapped.starts_with(r#"{"x":0,"f1":true,"f2":2,"f3":3,"#));
        assert!(mapped.ends_with(r#""f199":199,"y":1}"#));
        assert!(map(r#"{"rename":{"f0":"f199"}}"#, &record).unwrap_err().contains("\"f199\""));
    }

    #[test]
    fn a_record_that_is_no_object_is_an_error() {
        assert!(map("{}", "[1]").is_err());
    }

    #[test]
    fn a_record_that_has_a_name_twice_is_an_error() {
        let names: Vec<String> = (0..100).map(|n| format!(r#""f{n}":0"#)).collect();
        for more in [0, 2, 63, 64, 65, 100] {
            let record = format!(r#"{{"a":1,{}"\u0061":3}}"#, names[..more].iter().map(|name| format!("{name},")).collect::<String>());
            assert!(map("{}", &record).unwrap_err().contains(r#"it has the name "a" twice"#), "{more}");
        }
    }
}
