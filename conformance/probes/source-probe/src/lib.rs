//! A source that answers as its configuration says: `conformance/PROBE.md`.

mod scripted;

use serde_json::{json, Value};

use dataflare::plugin::datasets::{Dataset, DatasetName, ReadingMode, ReadingModes};
use dataflare::plugin::types::Kind;
use exports::dataflare::plugin::source::{
    Chunk, Division, Error, EstimatedRows, Guest as Source, Pause, Progress, Schema, SchemaChange, Selection,
};
use scripted::{answer, batch, bytes, list, number, schema, shown, text, texts, usual, Plugin};

wit_bindgen::generate!({
    path: ["../../../wit/data", "../../../wit/host", "../../../wit/plugin", "wit"],
    world: "conformance:source-probe/source-probe",
    generate_all,
});

pub const KIND: Kind = Kind::Source;

fn dataset(said: &Value) -> Dataset {
    let modes = texts(&said["modes"]).iter().fold(ReadingModes::empty(), |modes, each| {
        modes
            | match each.as_str() {
                "full" => ReadingModes::FULL,
                "incremental" => ReadingModes::INCREMENTAL,
                "changes" => ReadingModes::CHANGES,
                "unbounded" => ReadingModes::UNBOUNDED,
                _ => ReadingModes::SPLITTABLE,
            }
    });
    Dataset {
        name: DatasetName { namespace: text(&said["namespace"]), name: text(&said["name"]) },
        description: String::new(),
        schema: schema(&said["columns"]),
        key: texts(&said["key"]),
        cursors: texts(&said["cursors"]),
        modes,
    }
}

fn selected(selections: &[Selection]) -> String {
    let one = |each: &Selection| {
        let mode = match &each.mode {
            ReadingMode::Full => "full".into(),
            ReadingMode::Incremental(cursor) => format!("incremental by {cursor}"),
            ReadingMode::Changes => "changes".to_string(),
        };
        format!("{} {mode} [{}]", each.dataset.name, each.columns.join(", "))
    };
    selections.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn of_read(selections: &[Selection], part: &Option<Vec<u8>>, state: &Option<Vec<u8>>) -> [(&'static str, String); 3] {
    [("selected", selected(selections)), ("part", shown(part)), ("state", shown(state))]
}

impl Source for Plugin {
    fn discover() -> Result<Vec<Dataset>, Error> {
        // Not a list of answers: hosts may ask as often as they like.
        let said = list(&usual("discover"));
        let rows = json!({
            "name": "rows", "key": ["id"], "cursors": ["id"], "modes": ["full", "incremental", "splittable"],
        });
        Ok(if said.is_empty() { vec![dataset(&rows)] } else { said.iter().map(dataset).collect() })
    }

    fn split(selections: Vec<Selection>, state: Option<Vec<u8>>, at_most: u32) -> Result<Division, Error> {
        let given = [("selected", selected(&selections)), ("state", shown(&state)), ("at-most", at_most.to_string())];
        let said = answer("split", &given)?;
        let two = json!(["a", "b"]);
        let parts = list(said.get("parts").unwrap_or(&two)).iter().filter_map(bytes).collect();
        Ok(Division { parts, rest: bytes(&said["rest"]) })
    }

    fn estimate(
        selections: Vec<Selection>,
        part: Option<Vec<u8>>,
        state: Option<Vec<u8>>,
    ) -> Result<Option<EstimatedRows>, Error> {
        let said = answer("estimate", &of_read(&selections, &part, &state))?;
        let exact = said["exact"].as_bool().unwrap_or_default();
        Ok(said["rows"].as_u64().map(|rows| EstimatedRows { rows, exact }))
    }

    fn open(selections: Vec<Selection>, part: Option<Vec<u8>>, state: Option<Vec<u8>>) -> Result<Vec<Schema>, Error> {
        let said = answer("open", &of_read(&selections, &part, &state))?;
        match said.get("schemas") {
            Some(schemas) => Ok(list(schemas).iter().map(schema).collect()),
            None => Ok(selections.iter().map(|_| schema(&Value::Null)).collect()),
        }
    }

    fn read(max_rows: u32) -> Result<Progress, Error> {
        let said = answer("read", &[("max-rows", max_rows.to_string())])?;
        let selection = number(&said["selection"]);
        if let Some(rows) = said.get("rows") {
            let rows = batch(rows, &said["columns"])?;
            return Ok(Progress::Rows(Chunk { selection, rows, state: bytes(&said["state"]) }));
        }
        if let Some(columns) = said.get("new-schema") {
            return Ok(Progress::NewSchema(SchemaChange { selection, schema: schema(columns) }));
        }
        if let Some(ms) = said.get("idle") {
            return Ok(Progress::Idle(Pause { state: bytes(&said["state"]), retry_after_ms: number(ms) }));
        }
        Ok(Progress::Ended)
    }

    fn acknowledge(state: Vec<u8>) -> Result<(), Error> {
        answer("acknowledge", &[("state", shown(&Some(state)))]).map(|_| ())
    }

    fn close() -> Result<(), Error> {
        answer("close", &[]).map(|_| ())
    }
}

export!(Plugin);
