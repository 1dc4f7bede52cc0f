//! A transformer that adds columns computed from others.

mod arithmetic;

use std::cell::RefCell;

use arithmetic::{evaluate, Numbers, Op};
use example_support::{parse_config, report_panics, Bitmap};
use serde::Deserialize;

use dataflare::data::batches::{from_json_lines, Batch};
use dataflare::data::schemas::Schema;
use dataflare::host::logging::{log, Level};
use exports::dataflare::plugin::lifecycle::{Error, Guest as Lifecycle, Health, Metadata};
use exports::dataflare::plugin::transformer::Guest as Transformer;

wit_bindgen::generate!({
    path: ["../../../../wit/data", "../../../../wit/host", "../../../../wit/plugin", "wit"],
    world: "example:derive-columns/derive-columns",
    generate_all,
});

/// The digits of a decimal that a double always keeps.
const DOUBLE_DIGITS: u32 = 15;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    columns: Vec<Derived>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Derived {
    name: String,
    op: Op,
    left: Operand,
    right: Operand,
}

#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "a column's name or a number")]
enum Operand {
    Whole(i64),
    Real(f64),
    Column(String),
}

thread_local! {
    static COLUMNS: RefCell<Vec<Derived>> = const { RefCell::new(Vec::new()) };
}

struct Plugin;

impl Lifecycle for Plugin {
    fn get_metadata() -> Metadata {
        Metadata {
            name: "derive-columns".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            kind: dataflare::plugin::types::Kind::Transformer,
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            config_schema: include_str!("../config.schema.json").into(),
        }
    }

    fn configure(config: String) -> Result<(), Error> {
        report_panics(|message| log(Level::Error, message, &[]));
        let config: Config = parse_config(&config).map_err(Error::InvalidConfig)?;
        if config.columns.is_empty() {
            return Err(Error::InvalidConfig("columns: give at least one column".into()));
        }
        if let Some(position) = config.columns.iter().position(|column| column.name.is_empty()) {
            return Err(Error::InvalidConfig(format!("columns[{position}].name: give the column a name")));
        }
        COLUMNS.set(config.columns);
        Ok(())
    }

    fn initialize() -> Result<(), Error> {
        Ok(())
    }

    fn shutdown() -> Result<(), Error> {
        Ok(())
    }

    fn health_check() -> Health {
        Health { status: dataflare::plugin::types::HealthStatus::Healthy, message: String::new() }
    }
}

impl Transformer for Plugin {
    fn output_schema(input: Schema) -> Result<Schema, Error> {
        // A batch without rows takes the same way as every other, so that the schema cannot differ from what `transform` makes.
        let empty = from_json_lines("", Some(&input)).map_err(Error::Data)?;
        Ok(derive(empty)?.schema())
    }

    fn transform(input: Batch) -> Result<Batch, Error> {
        derive(input)
    }
}

fn derive(input: Batch) -> Result<Batch, Error> {
    let rows = input.num_rows() as usize;
    COLUMNS.with_borrow(|columns| {
        columns.iter().try_fold(input, |batch, column| {
            let types = batch.schema();
            let left = operand(&batch, &types, &column.left, rows)?;
            let right = operand(&batch, &types, &column.right, rows)?;
            let (values, valid) = evaluate(column.op, left, right)
                .map_err(|row| Error::InvalidInput(format!("column {:?}, row {row}: the result does not fit 64 bits", column.name)))?;
            match values {
                Numbers::Whole(values) => batch.with_int64_column(&column.name, &values, valid.words()),
                Numbers::Real(values) => batch.with_float64_column(&column.name, &values, valid.words()),
            }
            .map_err(Error::Data)
        })
    })
}

/// An operand's values, one a row, and which rows hold one.
fn operand(batch: &Batch, types: &Schema, operand: &Operand, rows: usize) -> Result<(Numbers, Bitmap), Error> {
    let column = match operand {
        Operand::Whole(value) => return Ok((Numbers::Whole(vec![*value; rows]), Bitmap::from_words(None, rows))),
        Operand::Real(value) => return Ok((Numbers::Real(vec![*value; rows]), Bitmap::from_words(None, rows))),
        Operand::Column(name) => name,
    };
    let Some(field) = types.fields.iter().find(|field| field.name == *column) else {
        return Err(Error::InvalidInput(format!("there is no column {column:?}")));
    };
    let values = match field.type_name.as_str() {
        "int8" | "int16" | "int32" | "int64" | "uint8" | "uint16" | "uint32" | "uint64" => {
            Numbers::Whole(batch.int64_column(column).map_err(Error::Data)?)
        }
        "halffloat" | "float" | "double" => Numbers::Real(batch.float64_column(column).map_err(Error::Data)?),
        decimal if decimal.starts_with("decimal") => {
            if precision(decimal) > DOUBLE_DIGITS {
                let why = "it is computed with as double, which would lose digits; if that may be, read the column as double";
                return Err(Error::InvalidInput(format!("column {column:?} is {decimal}: {why}")));
            }
            Numbers::Real(batch.float64_column(column).map_err(Error::Data)?)
        }
        other => return Err(Error::InvalidInput(format!("column {column:?} is {other}: only numbers can be computed with"))),
    };
    let validity = batch.validity(column).map_err(Error::Data)?;
    Ok((values, Bitmap::from_words(validity, rows)))
}

/// The digits of a type such as `decimal128(20, 1)`.
fn precision(decimal: &str) -> u32 {
    let digits = decimal.split(['(', ',']).nth(1);
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(u32::MAX)
}

export!(Plugin);
