//! A record processor that renames, drops, sets and filters on JSON records.

mod mapping;
mod number;
mod record;

use std::cell::RefCell;

use dataflare_plugin::{parse_config, report_panics};
use mapping::Mapping;

use dataflare::data::batches::{from_json_lines, Batch};
use dataflare::data::schemas::{Field, Schema};
use dataflare::host::logging::{log, Level};
use exports::dataflare::plugin::lifecycle::{Error, Guest as Lifecycle, Health, Metadata};
use exports::dataflare::plugin::processor::Guest as Processor;

wit_bindgen::generate!({
    path: ["../../../../wit/data", "../../../../wit/host", "../../../../wit/plugin", "wit"],
    world: "example:json-mapper/json-mapper",
    generate_all,
});

thread_local! {
    static MAPPING: RefCell<Mapping> = RefCell::default();
}

struct Plugin;

impl Lifecycle for Plugin {
    fn get_metadata() -> Metadata {
        Metadata {
            name: "json-mapper".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            kind: dataflare::plugin::types::Kind::Processor,
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            config_schema: include_str!("../config.schema.json").into(),
        }
    }

    fn configure(config: String) -> Result<(), Error> {
        report_panics(|message| log(Level::Error, message, &[]));
        let mapping: Mapping = parse_config(&config).map_err(Error::InvalidConfig)?;
        mapping.check().map_err(Error::InvalidConfig)?;
        MAPPING.set(mapping);
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

impl Processor for Plugin {
    fn process(input: String) -> Result<Option<String>, Error> {
        MAPPING.with_borrow(|mapping| {
            let mut output = String::with_capacity(input.len() + 64);
            let kept = mapping.apply(&input, &mut output).map_err(Error::InvalidInput)?;
            Ok(kept.then_some(output))
        })
    }

    fn process_batch(input: Batch) -> Result<Batch, Error> {
        MAPPING.with_borrow(|mapping| {
            let schema = output_schema(mapping, input.schema()).map_err(Error::InvalidInput)?;
            let lines = input.to_json_lines().map_err(Error::Data)?;
            drop(input);
            let mut output = String::with_capacity(lines.len() + lines.len() / 4);
            for (row, line) in lines.lines().enumerate() {
                if mapping.apply(line, &mut output).map_err(|message| Error::InvalidInput(format!("row {row}: {message}")))? {
                    output.push('\n');
                }
            }
            drop(lines);
            from_json_lines(&output, Some(&schema)).map_err(Error::Data)
        })
    }
}

/// The schema of the records that the mapping makes of records of this schema: what is not set keeps its type.
fn output_schema(mapping: &Mapping, input: Schema) -> Result<Schema, String> {
    let mut fields: Vec<Field> = Vec::with_capacity(input.fields.len());
    for field in input.fields {
        let Some(name) = mapping.new_name(&field.name) else { continue };
        if fields.iter().any(|other| other.name == name) {
            return Err(format!("two fields would be named {name:?}"));
        }
        fields.push(Field { name: name.into(), ..field });
    }
    for (name, type_name) in mapping.set_types() {
        let field = Field { name: name.into(), type_name: type_name.into(), nullable: true, metadata: Vec::new() };
        match fields.iter_mut().find(|other| other.name == name) {
            Some(other) => *other = field,
            None => fields.push(field),
        }
    }
    Ok(Schema { fields, metadata: input.metadata })
}

export!(Plugin);
