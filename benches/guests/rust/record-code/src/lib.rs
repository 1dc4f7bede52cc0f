//! What the record guests of both systems do with a record: one source, compiled into each.

use serde_json::{Map, Value};

/// Parse a JSON object, take a field out, put a computed one and a constant in, and write it.
///
/// The error says what is wrong with the record.
pub fn process(record: &str) -> Result<String, String> {
    let mut fields: Map<String, Value> = serde_json::from_str(record).map_err(|error| error.to_string())?;
    fields.remove("tailnum");
    let minutes = fields.get("air_time").and_then(Value::as_f64);
    let miles = fields.get("distance").and_then(Value::as_f64);
    let speed = miles.zip(minutes).map(|(miles, minutes)| miles * 60.0 / minutes);
    fields.insert("mph".into(), speed.map_or(Value::Null, Value::from));
    fields.insert("dataset".into(), Value::from("nycflights13"));
    serde_json::to_string(&fields).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::process;

    #[test]
    fn a_record_gets_its_speed() {
        let result = process(r#"{"air_time":120.0,"distance":800,"tailnum":"N1"}"#);
        assert_eq!(result.as_deref(), Ok(r#"{"air_time":120.0,"dataset":"nycflights13","distance":800,"mph":400.0}"#));
    }

    #[test]
    fn what_never_flew_has_no_speed() {
        assert_eq!(process(r#"{"air_time":null}"#).as_deref(), Ok(r#"{"air_time":null,"dataset":"nycflights13","mph":null}"#));
    }
}
