//! Operations on files. Open ones have names, until the call ends: `as` is what an operation opens, `of` what it works on.

use std::collections::HashMap;

use serde_json::{json, Value};

use crate::capabilities::shown;
use crate::dataflare::data::batches::WordBuffer;
use crate::dataflare::host::files::{self, EntryKind, FileError, Position, Reader, Writer};
use crate::{number, text, Arguments, Outcome};

/// What a call has open.
#[derive(Default)]
pub struct Open {
    readers: HashMap<String, Reader>,
    writers: HashMap<String, Writer>,
}

pub fn one(name: &str, arguments: &Arguments, open: &mut Open) -> Option<Outcome> {
    let path = text(arguments, "path");
    let found = match name {
        "files-granted" => {
            let found = files::granted();
            Ok(json!(found.iter().map(|each| json!({ "name": each.name, "writable": each.writable })).collect::<Vec<_>>()))
        }
        "read-file" => read_file(arguments).map(|found| json!(shown(found))),
        "write-file" => write_file(arguments).map(|()| Value::Null),
        "stat-file" => files::stat(&path).map(|found| {
            let recent = found.modified_ms > 1_577_836_800_000;
            json!({ "name": found.name, "kind": kind(found.kind), "size": found.size_bytes, "after-2020": recent })
        }),
        "list-files" => files::list_entries(&path).map(|found| json!(found.iter().map(|each| each.name.clone()).collect::<Vec<_>>())),
        "list-kinds" => files::list_entries(&path).map(|found| json!(found.iter().map(|each| kind(each.kind)).collect::<Vec<_>>())),
        "delete-file" => files::delete(&path).map(|()| Value::Null),
        "open-file" => files::open(&path).map(|reader| json!(open.readers.insert(text(arguments, "as"), reader).is_none())),
        "create-file" => files::create(&path, flag(arguments, "replace")).map(|writer| keep(open, arguments, writer)),
        "append-file" => files::append(&path).map(|writer| keep(open, arguments, writer)),
        "close-file" => {
            let of = text(arguments, "of");
            Ok(json!(open.readers.remove(&of).is_some() || open.writers.remove(&of).is_some()))
        }
        _ => return opened(name, arguments, open),
    };
    Some(outcome(found))
}

/// Operations on what is open.
fn opened(name: &str, arguments: &Arguments, open: &Open) -> Option<Outcome> {
    let of = text(arguments, "of");
    if let Some(reader) = open.readers.get(&of) {
        let most = arguments.get("max").and_then(Value::as_u64).unwrap_or(1 << 20) as u32;
        return Some(outcome(match name {
            "read" => reader.read(most).map(|found| json!(shown(found))),
            "read-length" => reader.read(most).map(|found| json!(found.len())),
            "read-words" => reader.read_words(most).map(|found| json!(shown(bytes(&found)))),
            "seek" => reader.seek(Position { offset_bytes: number(arguments, "to") }).map(|()| Value::Null),
            "tell" => Ok(json!(reader.tell().offset_bytes)),
            "length" => reader.length().map(|found| json!(found.offset_bytes)),
            _ => return None,
        }));
    }
    let writer = open.writers.get(&of)?;
    let given = text(arguments, "text");
    let done = match name {
        "write" => writer.write(given.as_bytes()),
        "write-text" => writer.write_text(&given),
        "write-words" => writer.write_words(&words(given.as_bytes())),
        "sync" => writer.sync(),
        "publish" => writer.publish(),
        "tell" => return Some(Outcome::Ok(json!(writer.tell().offset_bytes))),
        _ => return None,
    };
    Some(outcome(done.map(|()| Value::Null)))
}

fn keep(open: &mut Open, arguments: &Arguments, writer: Writer) -> Value {
    json!(open.writers.insert(text(arguments, "as"), writer).is_none())
}

fn flag(arguments: &Arguments, name: &str) -> bool {
    arguments.get(name).and_then(Value::as_bool).unwrap_or_default()
}

fn kind(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory => "directory",
        EntryKind::Other => "other",
    }
}

fn bytes(buffer: &WordBuffer) -> Vec<u8> {
    let all = buffer.words.iter().flat_map(|word| word.to_le_bytes());
    all.take(buffer.byte_length as usize).collect()
}

fn words(bytes: &[u8]) -> WordBuffer {
    let word = |chunk: &[u8]| chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    WordBuffer { byte_length: bytes.len() as u32, words: bytes.chunks(8).map(word).collect() }
}

fn read_file(arguments: &Arguments) -> Result<Vec<u8>, FileError> {
    let reader = files::open(&text(arguments, "path"))?;
    reader.seek(Position { offset_bytes: number(arguments, "from") })?;
    reader.read(arguments.get("max").and_then(Value::as_u64).unwrap_or(1 << 20) as u32)
}

fn write_file(arguments: &Arguments) -> Result<(), FileError> {
    let path = text(arguments, "path");
    let writer = if flag(arguments, "append") { files::append(&path)? } else { files::create(&path, flag(arguments, "replace"))? };
    writer.write(text(arguments, "text").as_bytes())?;
    if flag(arguments, "publish") {
        writer.publish()?;
    }
    Ok(())
}

fn outcome(found: Result<Value, FileError>) -> Outcome {
    use FileError::*;
    let case = match found {
        Ok(found) => return Outcome::Ok(found),
        Err(NotFound(_)) => "not-found",
        Err(Denied(_)) => "denied",
        Err(AlreadyExists(_)) => "already-exists",
        Err(WrongKind(_)) => "wrong-kind",
        Err(InvalidPath(_)) => "invalid-path",
        Err(NoSpace(_)) => "no-space",
        Err(InputOutput(_)) => "input-output",
        Err(Busy(_)) => "busy",
        Err(Other(_)) => "other",
    };
    Outcome::Err(case, Value::Null)
}
