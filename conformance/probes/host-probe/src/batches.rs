//! Operations on batches and expressions. Batches have names: `of` is what an operation works on, `as` what it makes.

use serde_json::{json, Value};

use crate::capabilities::texts;
use crate::dataflare::data::batches::{self as api, Batch, BinaryValues, DataError, TextValues, WordBuffer};
use crate::dataflare::data::expressions as computed;
use crate::dataflare::data::schemas::{Field, Schema};
use crate::{number, text, Arguments, Batches, Outcome};

pub fn one(name: &str, arguments: &Arguments, kept: &mut Batches) -> Option<Outcome> {
    let column = text(arguments, "column");
    let of = text(arguments, "of");
    let made = match name {
        "new-batch" => Ok(api::new_batch(number(arguments, "rows") as u32)),
        "from-json" => api::from_json_lines(&text(arguments, "lines"), schema(arguments).as_ref()),
        "from-arrow" => api::from_arrow(&bytes(arguments, "hex")),
        "drop" => {
            kept.remove(&of);
            return Some(Outcome::Ok(Value::Null));
        }
        "concat" => {
            let parts: Vec<&Batch> = names(arguments, "parts").iter().filter_map(|name| kept.get(name)).collect();
            api::concat(&parts)
        }
        _ => {
            let Some(batch) = kept.get(&of) else {
                return Some(Outcome::Err("no-batch", Value::Null));
            };
            match read(name, batch, &column) {
                Some(Ok(value)) => return Some(Outcome::Ok(value)),
                Some(Err(error)) => return Some(failed(error)),
                None => {}
            }
            match name {
                "slice" => batch.slice(number(arguments, "offset") as u32, number(arguments, "length") as u32),
                "select" => batch.select(&names(arguments, "columns")),
                "rename" => batch.rename_column(&column, &text(arguments, "to")),
                "cast" => batch.cast_column(&column, &text(arguments, "type")),
                "metadata" => batch.with_column_metadata(&column, &texts(arguments, "pairs")),
                "mask" => batch.filter(&words(arguments, "mask")),
                "with-int64" => batch.with_int64_column(&column, &integers(arguments), validity(arguments).as_deref()),
                "with-float64" => batch.with_float64_column(&column, &floats(arguments), validity(arguments).as_deref()),
                "with-boolean" => batch.with_boolean_column(&column, &booleans(arguments), validity(arguments).as_deref()),
                "with-text" => {
                    let values = TextValues { offsets: offsets(arguments), text: text(arguments, "text") };
                    batch.with_text_column(&column, &values, validity(arguments).as_deref())
                }
                "with-binary" => {
                    let values = BinaryValues { offsets: offsets(arguments), data: bytes(arguments, "hex") };
                    batch.with_binary_column(&column, &values, validity(arguments).as_deref())
                }
                "through-arrow" => batch.to_arrow().and_then(|encoded| api::from_arrow(&encoded)),
                "through-words" => batch.to_arrow_words().and_then(|encoded: WordBuffer| api::from_arrow_words(&encoded)),
                "compute" => computed::with_columns(batch, &nodes(arguments), &outputs(arguments)),
                "compute-only" => computed::select(batch, &nodes(arguments), &outputs(arguments)),
                "where" => computed::filter(batch, &nodes(arguments)),
                "sort" => computed::sort(batch, &sort_keys(arguments), null_order(arguments)),
                "aggregate" => computed::aggregate(batch, &names(arguments, "keys"), &aggregates(arguments)),
                "join" => {
                    let Some(right) = kept.get(&text(arguments, "with")) else {
                        return Some(Outcome::Err("no-batch", Value::Null));
                    };
                    computed::join(batch, right, &texts(arguments, "on"), join_kind(arguments))
                }
                _ => return None,
            }
        }
    };
    Some(match made {
        Ok(batch) => {
            kept.insert(text(arguments, "as"), batch);
            Outcome::Ok(json!("made"))
        }
        Err(error) => failed(error),
    })
}

fn read(name: &str, batch: &Batch, column: &str) -> Option<Result<Value, DataError>> {
    Some(match name {
        "rows" => Ok(json!(batch.num_rows())),
        "shape" => {
            let shape = batch.shape();
            Ok(json!({ "rows": shape.rows, "columns": shape.columns }))
        }
        "column-names" => Ok(json!(batch.column_names())),
        "types" => Ok(json!(batch.schema().fields.iter().map(|each| (each.name.clone(), each.type_name.clone())).collect::<Vec<_>>())),
        "column-metadata" => {
            let fields = batch.schema().fields;
            Ok(json!(fields.iter().find(|each| each.name == column).map(|each| each.metadata.clone())))
        }
        "validity" => batch.validity(column).map(|found| json!(found)),
        "int64" => batch.int64_column(column).map(|found| json!(found)),
        "float64" => batch.float64_column(column).map(|found| json!(found)),
        "boolean" => batch.boolean_column(column).map(|found| json!(found)),
        "text" => batch.text_column(column).map(|found| json!({ "offsets": found.offsets, "text": found.text })),
        "binary" => batch.binary_column(column).map(|found| json!({ "offsets": found.offsets, "data": found.data })),
        "json" => batch.to_json_lines().map(|found| json!(found)),
        _ => return None,
    })
}

fn failed(error: DataError) -> Outcome {
    match error {
        DataError::NoSuchColumn(name) => Outcome::Err("no-such-column", json!(name)),
        DataError::NoSuchFunction(name) => Outcome::Err("no-such-function", json!(name)),
        DataError::WrongType(found) => {
            Outcome::Err("wrong-type", json!({ "column": found.column, "function": found.function_name, "actual": found.actual }))
        }
        DataError::OutOfRange(_) => Outcome::Err("out-of-range", Value::Null),
        DataError::Malformed(_) => Outcome::Err("malformed", Value::Null),
        DataError::TooLarge(_) => Outcome::Err("too-large", Value::Null),
        DataError::Other(_) => Outcome::Err("other", Value::Null),
    }
}

fn list<'a>(arguments: &'a Arguments, name: &str) -> &'a [Value] {
    arguments.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn names(arguments: &Arguments, name: &str) -> Vec<String> {
    list(arguments, name).iter().map(|each| each.as_str().unwrap_or_default().to_string()).collect()
}

fn words(arguments: &Arguments, name: &str) -> Vec<u64> {
    list(arguments, name).iter().map(|each| each.as_u64().unwrap_or_default()).collect()
}

fn integers(arguments: &Arguments) -> Vec<i64> {
    list(arguments, "values").iter().map(|each| each.as_i64().unwrap_or_default()).collect()
}

fn floats(arguments: &Arguments) -> Vec<f64> {
    list(arguments, "values").iter().map(|each| each.as_f64().unwrap_or_default()).collect()
}

fn booleans(arguments: &Arguments) -> Vec<bool> {
    list(arguments, "values").iter().map(|each| each.as_bool().unwrap_or_default()).collect()
}

fn offsets(arguments: &Arguments) -> Vec<u32> {
    list(arguments, "offsets").iter().map(|each| each.as_u64().unwrap_or_default() as u32).collect()
}

fn validity(arguments: &Arguments) -> Option<Vec<u64>> {
    arguments.contains_key("validity").then(|| words(arguments, "validity"))
}

fn bytes(arguments: &Arguments, name: &str) -> Vec<u8> {
    let digits = text(arguments, name);
    (0..digits.len() / 2).filter_map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()).collect()
}

/// A schema, from an object of types by the names of columns.
fn schema(arguments: &Arguments) -> Option<Schema> {
    let fields = texts(arguments, "schema");
    (!fields.is_empty()).then(|| Schema {
        fields: fields.into_iter().map(|(name, type_name)| Field { name, type_name, nullable: true, metadata: vec![] }).collect(),
        metadata: vec![],
    })
}

/// Nodes: `"NAME"` is a column, `{"value": V}` or `{"type": T, "text": S}` a literal, `{"call": F, "of": [...], "options": {}}` a call.
fn nodes(arguments: &Arguments) -> Vec<computed::Node> {
    list(arguments, "nodes").iter().map(node).collect()
}

fn node(value: &Value) -> computed::Node {
    let Some(map) = value.as_object() else {
        return computed::Node::Column(value.as_str().unwrap_or_default().to_string());
    };
    if map.contains_key("call") {
        let options = map.get("options").and_then(Value::as_object).cloned().unwrap_or_default();
        return computed::Node::Call(computed::Call {
            name: text(map, "call"),
            arguments: list(map, "of").iter().map(|each| each.as_u64().unwrap_or_default() as u32).collect(),
            options: options.iter().map(|(name, value)| (name.clone(), literal(value))).collect(),
        });
    }
    if map.contains_key("type") {
        let typed = computed::TypedLiteral { type_name: text(map, "type"), text: text(map, "text") };
        return computed::Node::Literal(computed::Literal::Typed(typed));
    }
    computed::Node::Literal(literal(&map["value"]))
}

fn literal(value: &Value) -> computed::Literal {
    match value {
        Value::Bool(found) => computed::Literal::Boolean(*found),
        Value::Number(found) => match found.as_i64() {
            Some(whole) => computed::Literal::Int64(whole),
            None => computed::Literal::Float64(found.as_f64().unwrap_or_default()),
        },
        Value::String(found) => computed::Literal::Text(found.clone()),
        _ => computed::Literal::NullValue,
    }
}

fn outputs(arguments: &Arguments) -> Vec<computed::Output> {
    let map = arguments.get("outputs").and_then(Value::as_object).cloned().unwrap_or_default();
    map.iter().map(|(name, at)| computed::Output { name: name.clone(), node: at.as_u64().unwrap_or_default() as u32 }).collect()
}

fn sort_keys(arguments: &Arguments) -> Vec<computed::SortKey> {
    let key = |name: String| match name.strip_prefix('-') {
        Some(rest) => computed::SortKey { column: rest.to_string(), descending: true },
        None => computed::SortKey { column: name, descending: false },
    };
    names(arguments, "by").into_iter().map(key).collect()
}

fn null_order(arguments: &Arguments) -> computed::NullOrder {
    match text(arguments, "nulls").as_str() {
        "first" => computed::NullOrder::First,
        _ => computed::NullOrder::Last,
    }
}

/// Aggregates: an object of `[AGGREGATE, COLUMN]` by the names of their results.
fn aggregates(arguments: &Arguments) -> Vec<computed::AggregateColumn> {
    let map = arguments.get("aggregates").and_then(Value::as_object).cloned().unwrap_or_default();
    let word = |value: &Value, at: usize| value.get(at).and_then(Value::as_str).unwrap_or_default().to_string();
    map.iter()
        .map(|(name, value)| computed::AggregateColumn { name: name.clone(), aggregate: word(value, 0), column: word(value, 1) })
        .collect()
}

fn join_kind(arguments: &Arguments) -> computed::JoinKind {
    match text(arguments, "kind").as_str() {
        "left-outer" => computed::JoinKind::LeftOuter,
        "left-semi" => computed::JoinKind::LeftSemi,
        "left-anti" => computed::JoinKind::LeftAnti,
        _ => computed::JoinKind::Inner,
    }
}
