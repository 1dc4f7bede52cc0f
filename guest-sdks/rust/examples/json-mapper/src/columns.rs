//! What is done to a batch as a whole: the host filters its rows, and drops, renames and sets its columns.
//!
//! No record is written out for that, and columns that nobody asks to change are handed on as they are. The result is what
//! each record on its own would become. What columns cannot say is done record by record: a condition, on its field alone;
//! a change of case in columns of other types than texts, on all fields.

use std::cmp::Ordering;
use std::collections::HashSet;

use example_support::Bitmap;
use serde_json::Value;

use crate::condition::{Comparison, Condition, Operand};
use crate::dataflare::data::batches::{Batch, DataError, TextValues};
use crate::dataflare::data::expressions::{filter, select, Call, Literal, Node, Output, TypedLiteral};
use crate::dataflare::data::schemas::{Field, Schema};
use crate::exports::dataflare::plugin::lifecycle::Error;
use crate::mapping::{type_name, Mapping};
use crate::record::Record;

/// How many fields an error lists.
const MOST_NAMED: usize = 20;

/// A mapping for batches of one schema.
pub struct Columns<'a> {
    keep_if: Option<&'a Condition>,
    before: Schema,
    after: Vec<Column>,
}

/// A column of the result.
struct Column {
    field: Field,
    value: Node,
    recase: Option<fn(&str) -> String>,
}

impl<'a> Columns<'a> {
    /// Find out what columns the mapping makes of columns of this schema: what is not set keeps its type.
    ///
    /// A condition on a field that no record has would drop all of them, or none: it is an error.
    pub fn plan(mapping: &'a Mapping, before: Schema) -> Result<Self, Error> {
        if let Some(name) = mapping.keep_if.as_ref().map(|condition| &condition.field).filter(|name| !has_field(&before, name)) {
            let known: Vec<&str> = before.fields.iter().take(MOST_NAMED).map(|field| field.name.as_str()).collect();
            let known = if known.is_empty() { "none".into() } else { known.join(", ") };
            let more = if before.fields.len() > MOST_NAMED { ", ..." } else { "" };
            return Err(Error::InvalidInput(format!("keep_if: there is no field {name:?}; the fields are {known}{more}")));
        }
        let mut after: Vec<Column> = Vec::with_capacity(before.fields.len());
        let mut names = HashSet::new();
        for field in &before.fields {
            let Some(name) = mapping.new_name(&field.name) else { continue };
            if !names.insert(name) {
                return Err(Error::InvalidInput(format!("two fields would be named {name:?}")));
            }
            after.push(match mapping.set_value(name) {
                Some(value) => Column::set(name, value),
                None => Column {
                    field: Field { name: name.into(), ..field.clone() },
                    value: Node::Column(field.name.clone()),
                    recase: mapping.case_of(name).filter(|_| has_case(&field.type_name)),
                },
            });
        }
        let added = mapping.set_values().filter(|(name, _)| !names.contains(name));
        after.extend(added.map(|(name, value)| Column::set(name, value)));
        Ok(Self { keep_if: mapping.keep_if.as_ref(), before, after })
    }

    /// The names in the mapping that no record has, so that nothing is done to them.
    pub fn absent<'m>(&self, mapping: &'m Mapping) -> Vec<&'m str> {
        let is_made = |name: &str| self.after.iter().any(|column| column.field.name == name);
        let before = mapping.taken_names().filter(|name| !has_field(&self.before, name));
        before.chain(mapping.cased_names().filter(|name| !is_made(name))).collect()
    }

    /// Whether `map` does all that the mapping asks for.
    pub fn are_enough(&self) -> bool {
        self.after.iter().all(|column| column.recase.is_none() || is_text(value_type(&column.field.type_name)))
    }

    /// The schema of the result.
    pub fn schema(&self) -> Schema {
        Schema { fields: self.after.iter().map(|column| column.field.clone()).collect(), metadata: self.before.metadata.clone() }
    }

    /// Map all records of a batch.
    pub fn map(&self, input: Batch) -> Result<Batch, Error> {
        let kept = match self.keep_if {
            Some(condition) => keep(condition, &self.before, input)?,
            None => input,
        };
        let nodes: Vec<Node> = self.after.iter().map(|column| column.value.clone()).collect();
        let outputs: Vec<Output> =
            self.after.iter().zip(0..).map(|(column, node)| Output { name: column.field.name.clone(), node }).collect();
        let made = select(&kept, &nodes, &outputs).map_err(Error::Data)?;
        self.after.iter().try_fold(made, |batch, column| match column.recase {
            Some(recase) => recased(&batch, &column.field, recase).map_err(Error::Data),
            None => Ok(batch),
        })
    }
}

impl Column {
    fn set(name: &str, value: &Value) -> Self {
        let type_name = type_name(value).unwrap_or("null");
        let literal = match value {
            Value::Bool(value) => Literal::Boolean(*value),
            Value::String(value) => Literal::Text(value.clone()),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Literal::Int64(whole),
                (None, Some(real)) if !number.is_u64() => Literal::Float64(real),
                _ => typed(type_name, number.to_string()),
            },
            _ => Literal::NullValue,
        };
        Self {
            field: Field { name: name.into(), type_name: type_name.into(), nullable: true, metadata: Vec::new() },
            value: Node::Literal(literal),
            recase: None,
        }
    }
}

/// The rows for which a condition holds.
fn keep(condition: &Condition, schema: &Schema, input: Batch) -> Result<Batch, Error> {
    let compares_with_null = matches!(condition.value, Operand::Null);
    let keeps_null = condition.op.accepts(compares_with_null.then_some(Ordering::Equal));
    let field = schema.fields.iter().find(|field| field.name == condition.field && field.type_name != "null");
    let kept = match field {
        None if keeps_null => return Ok(input),
        None => input.slice(0, 0),
        Some(field) if compares_with_null => match (keeps_null, condition.op.accepts(None)) {
            (false, false) => input.slice(0, 0),
            (keeps_null, _) => filter(&input, &[column(field), call(if keeps_null { "is_null" } else { "is_valid" }, &[0])]),
        },
        Some(field) => match comparison(condition, field) {
            Some(nodes) => filter(&input, &nodes),
            None => return keep_records(condition, input),
        },
    };
    kept.map_err(Error::Data)
}

/// A condition as an expression; `None` where an expression would not compare as records do.
fn comparison(condition: &Condition, field: &Field) -> Option<Vec<Node>> {
    let literal = match (&condition.value, value_type(&field.type_name)) {
        (Operand::Bool(value), "bool") => Literal::Boolean(*value),
        (Operand::Text(value), kind) if is_text(kind) => Literal::Text(value.clone()),
        (Operand::Number(value), kind) => typed(kind, value.as_value_of(kind)?),
        _ => return None,
    };
    let name = match condition.op {
        Comparison::Equal => "equal",
        Comparison::NotEqual => "not_equal",
        Comparison::Less => "less",
        Comparison::LessOrEqual => "less_equal",
        Comparison::Greater => "greater",
        Comparison::GreaterOrEqual => "greater_equal",
    };
    let mut nodes = vec![column(field), Node::Literal(literal), call(name, &[0, 1])];
    if condition.op.accepts(None) {
        // A comparison with null is null, which a filter leaves out.
        nodes.extend([Node::Literal(Literal::Boolean(true)), call("coalesce", &[2, 3])]);
    }
    Some(nodes)
}

/// The rows for which a condition holds, found record by record.
fn keep_records(condition: &Condition, input: Batch) -> Result<Batch, Error> {
    let lines = input.select(std::slice::from_ref(&condition.field)).and_then(|batch| batch.to_json_lines()).map_err(Error::Data)?;
    let mut rows = Bitmap::with_capacity(input.num_rows() as usize);
    for (row, line) in lines.lines().enumerate() {
        let kept = serde_json::from_str::<Record>(line).map_err(|error| error.to_string()).and_then(|record| condition.holds(&record));
        rows.push(kept.map_err(|message| Error::InvalidInput(format!("row {row}: {message}")))?);
    }
    match rows.words() {
        Some(words) => input.filter(words).map_err(Error::Data),
        None => Ok(input),
    }
}

/// A batch with the texts of a column in another case.
fn recased(batch: &Batch, field: &Field, recase: fn(&str) -> String) -> Result<Batch, DataError> {
    let before = batch.text_column(&field.name)?;
    let validity = batch.validity(&field.name)?;
    let mut after = TextValues { offsets: Vec::with_capacity(before.offsets.len()), text: String::with_capacity(before.text.len()) };
    after.offsets.push(0);
    for ends in before.offsets.windows(2) {
        after.text.push_str(&recase(&before.text[ends[0] as usize..ends[1] as usize]));
        let end = u32::try_from(after.text.len()).map_err(|_| DataError::TooLarge(format!("column {:?} in another case", field.name)))?;
        after.offsets.push(end);
    }
    let made = batch.with_text_column(&field.name, &after, validity.as_deref())?;
    match field.type_name.as_str() {
        "string" => Ok(made),
        other => made.cast_column(&field.name, other),
    }
}

fn has_field(schema: &Schema, name: &str) -> bool {
    schema.fields.iter().any(|field| field.name == name)
}

fn column(field: &Field) -> Node {
    Node::Column(field.name.clone())
}

fn call(name: &str, arguments: &[u32]) -> Node {
    Node::Call(Call { name: name.into(), arguments: arguments.into(), options: Vec::new() })
}

fn typed(type_name: &str, text: String) -> Literal {
    Literal::Typed(TypedLiteral { type_name: type_name.into(), text })
}

/// The type of a column's values: of a dictionary, that of its words.
fn value_type(type_name: &str) -> &str {
    let of_dictionary = type_name.strip_prefix("dictionary<values=").and_then(|rest| rest.rsplit_once(", indices="));
    of_dictionary.map_or(type_name, |(values, _)| values)
}

fn is_text(type_name: &str) -> bool {
    matches!(type_name, "string" | "large_string")
}

/// Whether JSON writes values of a type in quotes, so that a change of case changes them.
fn has_case(type_name: &str) -> bool {
    !matches!(
        type_name.split(['<', '[']).next(),
        Some("null" | "bool" | "int8" | "int16" | "int32" | "int64" | "uint8" | "uint16" | "uint32" | "uint64")
            | Some("duration" | "list" | "large_list" | "fixed_size_list" | "struct" | "map")
    )
}
