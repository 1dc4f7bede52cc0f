//! The twin of `expressions`.

use super::batches::{Batch, Column};
use super::computing::{compute, order};
use crate::bindings::imports::dataflare::data::batches::DataError;
use crate::bindings::imports::dataflare::data::expressions::{Literal, Node, NullOrder, Output, SortKey};

type Result<T> = std::result::Result<T, DataError>;

fn evaluated(input: &Batch, nodes: &[Node]) -> Result<Vec<Column>> {
    let mut found: Vec<Column> = Vec::new();
    for node in nodes {
        let column = match node {
            Node::Column(name) => input.column(name)?.clone(),
            Node::Literal(value) => constant(value, input.rows),
            Node::Call(call) => {
                let arguments: Vec<&Column> = call.arguments.iter().map(|place| &found[*place as usize]).collect();
                compute(&call.name, &arguments, &call.options, input.rows)?
            }
        };
        found.push(column);
    }
    Ok(found)
}

fn constant(value: &Literal, rows: usize) -> Column {
    use serde_json::{json, Value};
    let (type_name, value) = match value {
        Literal::NullValue => ("null", Value::Null),
        Literal::Boolean(value) => ("bool", json!(value)),
        Literal::Int64(value) => ("int64", json!(value)),
        Literal::Float64(value) => ("double", json!(value)),
        Literal::Text(value) => ("string", json!(value)),
        Literal::Binary(value) => ("binary", json!(value)),
        Literal::Typed(typed) => (typed.type_name.as_str(), json!(typed.text)),
    };
    Column::new("", type_name, vec![value; rows])
}

fn outputs(input: &Batch, nodes: &[Node], outputs: &[Output]) -> Result<Vec<Column>> {
    let found = evaluated(input, nodes)?;
    let named = |output: &Output| {
        let mut column = found[output.node as usize].clone();
        column.field.name = output.name.clone();
        column
    };
    Ok(outputs.iter().map(named).collect())
}

pub(crate) fn with_columns(input: &Batch, nodes: &[Node], wanted: &[Output]) -> Result<Batch> {
    let mut columns = input.columns.to_vec();
    for column in outputs(input, nodes, wanted)? {
        match columns.iter_mut().find(|other| other.field.name == column.field.name) {
            Some(other) => *other = column,
            None => columns.push(column),
        }
    }
    Ok(Batch::of(input.rows, columns))
}

pub(crate) fn select(input: &Batch, nodes: &[Node], wanted: &[Output]) -> Result<Batch> {
    Ok(Batch::of(input.rows, outputs(input, nodes, wanted)?))
}

pub(crate) fn filter(input: &Batch, condition: &[Node]) -> Result<Batch> {
    let found = evaluated(input, condition)?;
    let Some(holds) = found.last() else { return Err(DataError::Malformed("there is no condition".into())) };
    let rows: Vec<usize> = (0..input.rows).filter(|row| holds.values[*row] == true).collect();
    Ok(input.take(&rows))
}

pub(crate) fn sort(input: &Batch, keys: &[SortKey], nulls: NullOrder) -> Result<Batch> {
    let columns: Vec<(&Column, bool)> = keys.iter().map(|key| Ok((input.column(&key.column)?, key.descending))).collect::<Result<_>>()?;
    let mut rows: Vec<usize> = (0..input.rows).collect();
    rows.sort_by(|one, other| {
        let compared = columns.iter().map(|(column, descending)| {
            let (one, other) = (&column.values[*one], &column.values[*other]);
            let found = match (one.is_null(), other.is_null()) {
                (false, false) => return if *descending { order(other, one) } else { order(one, other) },
                (one, other) => one.cmp(&other),
            };
            if nulls == NullOrder::Last {
                found
            } else {
                found.reverse()
            }
        });
        compared.fold(std::cmp::Ordering::Equal, std::cmp::Ordering::then)
    });
    Ok(input.take(&rows))
}
