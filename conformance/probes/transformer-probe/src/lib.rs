//! A transformer that answers as its configuration says: `conformance/PROBE.md`.

mod scripted;

use dataflare::data::batches::Batch;
use dataflare::plugin::types::Kind;
use exports::dataflare::plugin::transformer::{Error, Guest as Transformer, Schema};
use scripted::{answer, batch, columns, schema, Plugin};

wit_bindgen::generate!({
    path: ["../../../wit/data", "../../../wit/host", "../../../wit/plugin", "wit"],
    world: "conformance:transformer-probe/transformer-probe",
    generate_all,
});

pub const KIND: Kind = Kind::Transformer;

impl Transformer for Plugin {
    fn output_schema(input: Schema) -> Result<Schema, Error> {
        // Not a list of answers: hosts may ask as often as they like.
        let said = scripted::usual("output-schema");
        Ok(if said.is_object() { schema(&said) } else { input })
    }

    fn transform(input: Batch) -> Result<Batch, Error> {
        let said = answer("transform", &[("columns", columns(&input.schema()))])?;
        match said.get("rows") {
            Some(rows) => batch(rows, &said["columns"]),
            None => Ok(input),
        }
    }
}

export!(Plugin);
