//! The nodes by which the host computes a column from two operands.

use serde::Deserialize;

use crate::dataflare::data::expressions::{Call, Literal, Node, TypedLiteral};
use crate::dataflare::data::schemas::Schema;

/// The digits of a decimal that a double may not keep.
const DOUBLE_DIGITS: u32 = 16;
/// The digits of a `decimal128`.
const DECIMAL_DIGITS: u32 = 38;

/// What to do with two operands.
#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    Add,
    Subtract,
    Multiply,
    Divide,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a column's name or a number")]
pub enum Operand {
    Whole(i64),
    Real(f64),
    Column(String),
}

/// What kind of number an operand is.
#[derive(Clone, Copy, PartialEq)]
enum Class {
    Whole,
    Decimal { precision: u32 },
    Real,
    /// A number of the configuration with a point: exact beside decimals, else a double.
    Written,
}

/// The nodes of `left op right`; the last one is the result.
///
/// Whole numbers stay whole and decimals stay decimals, both exact; with a float, and in each division, the result is a double. Whole
/// numbers beyond 2^53 do not become doubles. A row is null where an operand is, or where it would be divided by zero. The error says
/// which column cannot be computed with, and why.
pub fn nodes(op: Op, left: &Operand, right: &Operand, types: &Schema) -> Result<Vec<Node>, String> {
    let (left_class, right_class) = (class(left, types)?, class(right, types)?);
    let classes = [left_class, right_class];
    let decimal = classes.iter().any(|class| matches!(class, Class::Decimal { .. }));
    let target = if op == Op::Divide || classes.contains(&Class::Real) || (classes.contains(&Class::Written) && !decimal) {
        Some("double")
    } else if decimal {
        None
    } else {
        Some("int64")
    };
    let mut made = Vec::new();
    let a = value(&mut made, left, left_class, target)?;
    let mut b = value(&mut made, right, right_class, target)?;
    if op == Op::Divide {
        let zero = add(&mut made, Node::Literal(Literal::Float64(0.0)));
        let is_zero = add(&mut made, call("equal", &[b, zero]));
        let null = add(&mut made, Node::Literal(Literal::NullValue));
        b = add(&mut made, call("if_else", &[is_zero, null, b]));
    }
    add(&mut made, call(function(op, target == Some("double")), &[a, b]));
    Ok(made)
}

fn function(op: Op, real: bool) -> &'static str {
    match (op, real) {
        (Op::Add, true) => "add",
        (Op::Add, false) => "add_checked",
        (Op::Subtract, true) => "subtract",
        (Op::Subtract, false) => "subtract_checked",
        (Op::Multiply, true) => "multiply",
        (Op::Multiply, false) => "multiply_checked",
        (Op::Divide, _) => "divide",
    }
}

/// Add the nodes of an operand as a type; `None` leaves decimals, and what is computed with them, as they are.
fn value(made: &mut Vec<Node>, operand: &Operand, class: Class, target: Option<&str>) -> Result<u32, String> {
    let name = match (operand, target) {
        (Operand::Column(name), _) => name,
        (Operand::Whole(value), Some("double")) if value.unsigned_abs() > 1 << 53 => {
            return Err(format!("{value} has more digits than a double, as which it would be computed with"));
        }
        (Operand::Whole(value), Some("double")) => return Ok(add(made, Node::Literal(Literal::Float64(*value as f64)))),
        (Operand::Whole(value), _) => return Ok(add(made, Node::Literal(Literal::Int64(*value)))),
        (Operand::Real(value), Some(_)) => return Ok(add(made, Node::Literal(Literal::Float64(*value)))),
        (Operand::Real(value), None) => return Ok(add(made, Node::Literal(Literal::Typed(decimal_of(*value))))),
    };
    if let (Class::Decimal { precision: DOUBLE_DIGITS.. }, Some(_)) = (class, target) {
        let why = "has more digits than a double, as which it would be computed with; if that may be, read it as double";
        return Err(format!("column {name:?}, a decimal, {why}"));
    }
    let column = add(made, Node::Column(name.clone()));
    // A whole number beside a decimal is one of 64 bits, whatever its own width was.
    let Some(target) = target.or((class == Class::Whole).then_some("int64")) else { return Ok(column) };
    let options = vec![("type".into(), Literal::Text(target.into()))];
    Ok(add(made, Node::Call(Call { name: "cast".into(), arguments: vec![column], options })))
}

fn class(operand: &Operand, types: &Schema) -> Result<Class, String> {
    let name = match operand {
        Operand::Whole(_) => return Ok(Class::Whole),
        Operand::Real(value) if digits(*value).0 <= DECIMAL_DIGITS => return Ok(Class::Written),
        Operand::Real(_) => return Ok(Class::Real),
        Operand::Column(name) => name,
    };
    let Some(field) = types.fields.iter().find(|field| field.name == *name) else {
        return Err(format!("there is no column {name:?}"));
    };
    match field.type_name.as_str() {
        "int8" | "int16" | "int32" | "int64" | "uint8" | "uint16" | "uint32" | "uint64" => Ok(Class::Whole),
        "halffloat" | "float" | "double" => Ok(Class::Real),
        decimal if decimal.starts_with("decimal") => Ok(Class::Decimal { precision: precision(decimal) }),
        other => Err(format!("column {name:?} is {other}: only numbers can be computed with")),
    }
}

/// The digits of a type such as `decimal128(20, 1)`.
fn precision(decimal: &str) -> u32 {
    let digits = decimal.split(['(', ',']).nth(1);
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(u32::MAX)
}

/// A number of the configuration as a decimal of just its digits.
fn decimal_of(value: f64) -> TypedLiteral {
    let (precision, scale) = digits(value);
    TypedLiteral { type_name: format!("decimal128({precision}, {scale})"), text: value.to_string() }
}

/// The digits that a number is written with, and how many of them come after the point.
fn digits(value: f64) -> (u32, u32) {
    let text = value.abs().to_string();
    let (before, after) = text.split_once('.').unwrap_or((&text, ""));
    ((before.len() + after.len()) as u32, after.len() as u32)
}

fn call(name: &str, arguments: &[u32]) -> Node {
    Node::Call(Call { name: name.into(), arguments: arguments.to_vec(), options: Vec::new() })
}

/// Add a node; returns its position.
fn add(made: &mut Vec<Node>, node: Node) -> u32 {
    made.push(node);
    (made.len() - 1) as u32
}
