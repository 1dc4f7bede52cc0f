//! Functions of expressions, row by row: those that plugins use most.

use std::cmp::Ordering;

use serde_json::{json, Value};

use super::batches::{cast, is_real, is_whole, only_in_a_component, Column};
use crate::bindings::imports::dataflare::data::batches::DataError;
use crate::bindings::imports::dataflare::data::expressions::Literal;

type Result<T> = std::result::Result<T, DataError>;

/// A column of a function's results.
pub(super) fn compute(name: &str, arguments: &[&Column], options: &[(String, Literal)], rows: usize) -> Result<Column> {
    if name == "cast" {
        let type_name = match options {
            [(_, Literal::Text(type_name))] => type_name,
            _ => return Err(DataError::Malformed("cast: give the option type".into())),
        };
        let values = arguments[0].values.iter().map(|value| cast(value, type_name)).collect::<Result<_>>()?;
        return Ok(Column::new("", type_name, values));
    }
    check(name, arguments)?;
    let values = (0..rows).map(|row| {
        let row: Vec<&Value> = arguments.iter().map(|column| &column.values[row]).collect();
        value(name, &row)
    });
    let values: Vec<Value> = values.collect::<Result<_>>()?;
    Ok(Column::new("", &type_of(name, arguments), values))
}

/// Refuse texts where numbers belong, and the other way, as the host does.
fn check(name: &str, arguments: &[&Column]) -> Result<()> {
    let class = |column: &Column| match column.field.type_name.as_str() {
        kind if is_whole(kind) || is_real(kind) => "a number",
        "string" | "large_string" => "a text",
        "bool" => "a boolean",
        _ => "",
    };
    let wanted = match name {
        "add" | "add_checked" | "subtract" | "subtract_checked" | "multiply" | "multiply_checked" | "divide" | "modulo"
        | "negate_checked" | "abs" => "a number",
        "and_kleene" | "or_kleene" | "invert" => "a boolean",
        _ if name.starts_with("utf8_") => "a text",
        "equal" | "not_equal" | "less" | "less_equal" | "greater" | "greater_equal" | "between" => {
            arguments.iter().map(|column| class(column)).find(|class| !class.is_empty()).unwrap_or_default()
        }
        _ => return Ok(()),
    };
    match arguments.iter().find(|column| !class(column).is_empty() && class(column) != wanted) {
        Some(column) => {
            let mut error = column.wrong_type(wanted);
            if let DataError::WrongType(mismatch) = &mut error {
                mismatch.function_name = name.into();
            }
            Err(error)
        }
        None => Ok(()),
    }
}

fn type_of(name: &str, arguments: &[&Column]) -> String {
    let real = arguments.iter().any(|column| is_real(&column.field.type_name));
    match name {
        "utf8_length" => "int32".into(),
        "add" | "add_checked" | "subtract" | "subtract_checked" | "multiply" | "multiply_checked" | "divide" | "modulo" => {
            if real { "double" } else { "int64" }.into()
        }
        "negate_checked" | "abs" | "utf8_lower" | "utf8_upper" | "utf8_trim_whitespace" => arguments[0].field.type_name.clone(),
        "coalesce" => arguments.iter().map(|column| &column.field.type_name).find(|kind| *kind != "null").cloned().unwrap_or_default(),
        "if_else" => arguments[1].field.type_name.clone(),
        _ => "bool".into(),
    }
}

fn value(name: &str, row: &[&Value]) -> Result<Value> {
    match (name, row) {
        ("is_null", [value]) => return Ok(json!(value.is_null())),
        ("is_valid", [value]) => return Ok(json!(!value.is_null())),
        ("coalesce", values) => return Ok(values.iter().find(|value| !value.is_null()).map(|value| (*value).clone()).unwrap_or_default()),
        ("if_else", [holds, yes, no]) => {
            return Ok(holds.as_bool().map_or(Value::Null, |holds| if holds { (*yes).clone() } else { (*no).clone() }))
        }
        ("is_in", [value, others @ ..]) => return Ok(json!(others.iter().any(|other| !value.is_null() && order(value, other).is_eq()))),
        ("and_kleene", [one, other]) => return Ok(kleene(one, other, false)),
        ("or_kleene", [one, other]) => return Ok(kleene(one, other, true)),
        _ if row.iter().any(|value| value.is_null()) => return Ok(Value::Null),
        _ => {}
    }
    Ok(match (name, row) {
        ("add" | "add_checked", [one, other]) => number(one, other, i64::checked_add, |one, other| one + other)?,
        ("subtract" | "subtract_checked", [one, other]) => number(one, other, i64::checked_sub, |one, other| one - other)?,
        ("multiply" | "multiply_checked", [one, other]) => number(one, other, i64::checked_mul, |one, other| one * other)?,
        ("divide", [one, other]) => number(one, other, i64::checked_div, |one, other| one / other)?,
        ("modulo", [one, other]) => number(one, other, modulo, |one, other| one - other * (one / other).floor())?,
        ("negate_checked", [value]) => number(&json!(0), value, i64::checked_sub, |_, value| -value)?,
        ("abs", [value]) => number(value, value, |value, _| Some(value.wrapping_abs()), |value, _| value.abs())?,
        ("equal", [one, other]) => json!(order(one, other).is_eq()),
        ("not_equal", [one, other]) => json!(order(one, other).is_ne()),
        ("less", [one, other]) => json!(order(one, other).is_lt()),
        ("less_equal", [one, other]) => json!(order(one, other).is_le()),
        ("greater", [one, other]) => json!(order(one, other).is_gt()),
        ("greater_equal", [one, other]) => json!(order(one, other).is_ge()),
        ("between", [value, low, high]) => json!(order(value, low).is_ge() && order(value, high).is_le()),
        ("invert", [value]) => json!(value.as_bool().map(|value| !value)),
        ("utf8_lower", [Value::String(text)]) => json!(text.to_lowercase()),
        ("utf8_upper", [Value::String(text)]) => json!(text.to_uppercase()),
        ("utf8_trim_whitespace", [Value::String(text)]) => json!(text.trim()),
        ("utf8_length", [Value::String(text)]) => json!(text.chars().count()),
        _ => return Err(only_in_a_component(&format!("the function {name}"))),
    })
}

fn number(one: &Value, other: &Value, whole: fn(i64, i64) -> Option<i64>, real: fn(f64, f64) -> f64) -> Result<Value> {
    match (one.as_i64(), other.as_i64()) {
        (Some(one), Some(other)) => match whole(one, other) {
            Some(found) => Ok(json!(found)),
            None => Err(DataError::OutOfRange(format!("{one} and {other} have no result of 64 bits"))),
        },
        _ => Ok(json!(real(one.as_f64().unwrap_or(f64::NAN), other.as_f64().unwrap_or(f64::NAN)))),
    }
}

fn modulo(one: i64, other: i64) -> Option<i64> {
    let rest = one.checked_rem(other)?;
    Some(if rest != 0 && (rest < 0) != (other < 0) { rest + other } else { rest })
}

fn kleene(one: &Value, other: &Value, decides: bool) -> Value {
    match (one.as_bool(), other.as_bool()) {
        (Some(value), _) | (_, Some(value)) if value == decides => json!(decides),
        (Some(_), Some(_)) if one == decides || other == decides => json!(decides),
        (Some(_), Some(_)) => json!(!decides),
        _ => Value::Null,
    }
}

/// How values of one kind are ordered; no order for others.
pub(super) fn order(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        _ => match (one.as_i64(), other.as_i64()) {
            (Some(one), Some(other)) => one.cmp(&other),
            _ => one.as_f64().partial_cmp(&other.as_f64()).unwrap_or(Ordering::Less),
        },
    }
}
