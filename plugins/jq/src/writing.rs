//! Values of a script, written as JSON. What JSON does not have is an error, not something near it.

use std::fmt::Write;

use jaq_json::{Map, Num, Val};

/// The fields of a record that a script made.
pub fn fields(record: &Val) -> Result<&Map, String> {
    match record {
        Val::Obj(fields) => Ok(fields),
        other => Err(format!("the script gives {}, not an object", kind(other))),
    }
}

/// Write a record.
pub fn write_record(record: &Val, output: &mut String) -> Result<(), String> {
    output.push('{');
    for (at, (name, value)) in fields(record)?.iter().enumerate() {
        if at > 0 {
            output.push(',');
        }
        write_field(field_name(name)?, value, output, false)?;
    }
    output.push('}');
    Ok(())
}

/// Write a field with its name. With `loose`, NaN and infinities are written as texts.
pub fn write_field(name: &str, value: &Val, output: &mut String, loose: bool) -> Result<(), String> {
    write_text(name, output);
    output.push(':');
    match value {
        Val::Num(Num::Float(number)) if !number.is_finite() && loose => write_text(&value.to_string(), output),
        _ => write_value(value, output).map_err(|what| format!("{name}: {what}"))?,
    }
    Ok(())
}

pub fn field_name(name: &Val) -> Result<&str, String> {
    text(name).map_err(|what| format!("the name of a field is {what}"))
}

/// The text of a value; what it is in place of one.
pub fn text(value: &Val) -> Result<&str, String> {
    match value {
        Val::TStr(bytes) => std::str::from_utf8(bytes).map_err(|_| "a text that is not UTF-8".into()),
        other => Err(kind(other).into()),
    }
}

fn write_value(value: &Val, output: &mut String) -> Result<(), String> {
    match value {
        Val::Null => output.push_str("null"),
        Val::Bool(value) => output.push_str(if *value { "true" } else { "false" }),
        Val::Num(Num::Float(number)) if !number.is_finite() => return Err(format!("{value} is no number of JSON")),
        Val::Num(Num::Dec(digits)) if serde_json::from_str::<serde_json::Number>(digits).is_err() => {
            return Err(format!("{digits} is no number of JSON"));
        }
        Val::Num(number) => write!(output, "{number}").map_err(|error| error.to_string())?,
        Val::TStr(_) => write_text(text(value)?, output),
        Val::BStr(_) => return Err("it is a byte string: use @base64".into()),
        Val::Arr(items) => {
            output.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    output.push(',');
                }
                write_value(item, output)?;
            }
            output.push(']');
        }
        Val::Obj(_) => write_record(value, output)?,
    }
    Ok(())
}

fn write_text(text: &str, output: &mut String) {
    output.push('"');
    for character in text.chars() {
        match character {
            '"' => output.push_str("\\\""),
            '\\' => output.push_str("\\\\"),
            '\u{0}'..='\u{1f}' => {
                let _ = write!(output, "\\u{:04x}", u32::from(character));
            }
            _ => output.push(character),
        }
    }
    output.push('"');
}

fn kind(value: &Val) -> &'static str {
    match value {
        Val::Null => "null",
        Val::Bool(_) => "a boolean",
        Val::Num(_) => "a number",
        Val::BStr(_) => "a byte string",
        Val::TStr(_) => "a text",
        Val::Arr(_) => "an array",
        Val::Obj(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jaq_json::read;

    fn written(text: &str) -> Result<String, String> {
        let mut output = String::new();
        write_record(&read::parse_single(text.as_bytes()).unwrap(), &mut output).map(|()| output)
    }

    #[test]
    fn what_is_read_is_written_digit_by_digit() {
        for text in [
            r#"{"a":9007199254740993,"b":18446744073709551615,"c":-9223372036854775808}"#,
            r#"{"a":0.1,"b":12.50,"c":1e300,"d":-0.0,"e":0.10000000000000000001}"#,
            r#"{"a":null,"b":[true,false,{}],"c":{"d":"é\u0001\"\\"},"":""}"#,
        ] {
            assert_eq!(written(text), Ok(text.into()));
        }
    }

    #[test]
    fn what_json_does_not_have_is_an_error_with_its_field() {
        assert_eq!(written(r#"{"a":{"b":NaN}}"#), Err("a: b: NaN is no number of JSON".into()));
        let mut output = String::new();
        assert_eq!(write_field("a", &Val::Num(Num::Float(f64::NEG_INFINITY)), &mut output, true), Ok(()));
        assert_eq!(output, r#""a":"-Infinity""#);
        assert_eq!(written(r#"{"a":b"x"}"#), Err("a: it is a byte string: use @base64".into()));
        assert_eq!(written(r#"{"a":+1.5}"#), Err("a: +1.5 is no number of JSON".into()));
        assert_eq!(written("{1:2}"), Err("the name of a field is a number".into()));
        assert_eq!(written("[]"), Err("the script gives an array, not an object".into()));
    }
}
