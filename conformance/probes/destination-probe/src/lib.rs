//! A destination that answers as its configuration says: `conformance/PROBE.md`. It keeps its last token in memory.

mod scripted;

use std::cell::RefCell;

use dataflare::data::batches::Batch;
use dataflare::plugin::types::Kind;
use exports::dataflare::plugin::destination::{
    Ability, ChangeKind, Error, Guest as Destination, PlannedChange, RejectedRow, RunName, Schema, Target, WritingMode,
};
use scripted::{answer, columns, list, number, text, texts, Plugin};

wit_bindgen::generate!({
    path: ["../../../wit/data", "../../../wit/host", "../../../wit/plugin", "wit"],
    world: "conformance:destination-probe/destination-probe",
    generate_all,
});

pub const KIND: Kind = Kind::Destination;

thread_local! {
    static TOKEN: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

fn ability(name: &str) -> Ability {
    match name {
        "append" => Ability::APPEND,
        "replace" => Ability::REPLACE,
        "merge" => Ability::MERGE,
        "delete" => Ability::DELETE,
        "add-columns" => Ability::ADD_COLUMNS,
        "widen-columns" => Ability::WIDEN_COLUMNS,
        "keep-token" => Ability::KEEP_TOKEN,
        _ => Ability::SHUT_OUT,
    }
}

fn shown(targets: &[Target]) -> String {
    let one = |each: &Target| {
        let mode = match each.mode {
            WritingMode::Append => "append",
            WritingMode::Replace => "replace",
            WritingMode::Merge => "merge",
        };
        format!("{} {mode} [{}] key [{}]", each.dataset.name, columns(&each.schema), each.key.join(", "))
    };
    targets.iter().map(one).collect::<Vec<_>>().join("; ")
}

impl Destination for Plugin {
    fn abilities() -> Result<Ability, Error> {
        // Not logged: hosts may ask whenever they like.
        let said = texts(&scripted::usual("abilities"));
        let usual = ["append", "replace", "merge", "add-columns", "keep-token"];
        match said.is_empty() {
            true => Ok(usual.iter().fold(Ability::empty(), |all, each| all | ability(each))),
            false => Ok(said.iter().fold(Ability::empty(), |all, each| all | ability(each))),
        }
    }

    fn plan(targets: Vec<Target>) -> Result<Vec<PlannedChange>, Error> {
        let said = answer("plan", &[("targets", shown(&targets))])?;
        let change = |each: &serde_json::Value| PlannedChange {
            target: number(&each["target"]),
            kind: ChangeKind::Create,
            detail: text(&each["detail"]),
        };
        Ok(list(&said["changes"]).iter().map(change).collect())
    }

    fn open(run: RunName, targets: Vec<Target>) -> Result<Option<Vec<u8>>, Error> {
        let RunName { pipeline, run, generation } = run;
        let given = [("pipeline", pipeline), ("run", run), ("generation", generation.to_string())];
        answer("open", &[&given[..], &[("targets", shown(&targets))]].concat())?;
        Ok(TOKEN.with_borrow(|token| token.clone()))
    }

    fn write(target: u32, rows: Batch) -> Result<Vec<RejectedRow>, Error> {
        let lines = rows.to_json_lines().map_err(Error::Data)?.trim_end().replace('\n', " ");
        let said = answer("write", &[("target", target.to_string()), ("rows", lines)])?;
        let row = |each: &serde_json::Value| RejectedRow {
            row: number(&each["row"]),
            column: each["column"].as_str().map(String::from),
            reason: text(&each["reason"]),
        };
        Ok(list(&said["rejected"]).iter().map(row).collect())
    }

    fn change_schema(target: u32, schema: Schema) -> Result<(), Error> {
        answer("change-schema", &[("target", target.to_string()), ("columns", columns(&schema))]).map(|_| ())
    }

    fn flush(token: Vec<u8>) -> Result<bool, Error> {
        let said = answer("flush", &[])?;
        let safe = said["safe"].as_bool().unwrap_or(true);
        if safe {
            TOKEN.set(Some(token));
        }
        Ok(safe)
    }

    fn finish(token: Vec<u8>) -> Result<(), Error> {
        answer("finish", &[])?;
        TOKEN.set(Some(token));
        Ok(())
    }

    fn abort() -> Result<(), Error> {
        answer("abort", &[]).map(|_| ())
    }
}

export!(Plugin);
