//! What a plugin should not do.

use std::hint::black_box;

use serde_json::json;

use crate::dataflare::data::batches::{self, Batch, DataError, TypeMismatch};
use crate::dataflare::host::{config, logging, tasks};
use crate::exports::dataflare::plugin::lifecycle::Error;
use crate::{number, text, Arguments, Outcome};

thread_local! {
    static KEPT: std::cell::RefCell<Vec<Batch>> = const { std::cell::RefCell::new(Vec::new()) };
}

pub fn one(name: &str, arguments: &Arguments) -> Option<Outcome> {
    let done = match name {
        "fail" => return Some(Outcome::Fail(error(arguments))),
        // A record of about this many bytes.
        "answer" => json!("x".repeat(number(arguments, "bytes") as usize)),
        "trap" => core::arch::wasm32::unreachable(),
        "panic" => panic!("as it was told to"),
        "spin" => loop {
            black_box(());
        },
        "spin-in-host" => loop {
            black_box(config::get("no-such-key"));
        },
        "spin-until-cancelled" => loop {
            if tasks::is_cancelled() {
                return Some(Outcome::Fail(Error::Cancelled));
            }
        },
        "recurse" => json!(recurse(0)),
        "grow" => {
            let pages = number(arguments, "bytes").div_ceil(65_536) as usize;
            match core::arch::wasm32::memory_grow(0, pages) {
                usize::MAX => json!("refused"),
                _ => json!("grown"),
            }
        }
        "keep-batches" => {
            for _ in 0..number(arguments, "count") {
                let made = batches::new_batch(1);
                KEPT.with_borrow_mut(|kept| kept.push(made));
            }
            json!("kept")
        }
        "forged-handle" => {
            let batch = unsafe { Batch::from_handle(number(arguments, "handle") as u32) };
            let rows = batch.num_rows();
            std::mem::forget(batch);
            json!(rows)
        }
        "dropped-handle" => {
            let batch = batches::new_batch(1);
            let again = unsafe { Batch::from_handle(batch.handle()) };
            drop(batch);
            let rows = again.num_rows();
            std::mem::forget(again);
            json!(rows)
        }
        "double-drop" => {
            let batch = batches::new_batch(1);
            let again = unsafe { Batch::from_handle(batch.handle()) };
            drop(batch);
            drop(again);
            json!("dropped twice")
        }
        "bad-utf8" => {
            let bytes = black_box([0xffu8, 0xfe, 0x41]);
            let bad = unsafe { std::str::from_utf8_unchecked(&bytes) };
            logging::log(logging::Level::Info, bad, &[]);
            json!("taken")
        }
        "out-of-bounds" => {
            let end = core::arch::wasm32::memory_size(0) * 65_536;
            let bytes = unsafe { std::slice::from_raw_parts(black_box(end - 8) as *const u8, 4096) };
            let bad = unsafe { std::str::from_utf8_unchecked(bytes) };
            logging::log(logging::Level::Info, bad, &[]);
            json!("taken")
        }
        _ => return None,
    };
    Some(Outcome::Ok(done))
}

fn error(arguments: &Arguments) -> Error {
    let said = text(arguments, "text");
    match text(arguments, "case").as_str() {
        "invalid-config" => Error::InvalidConfig(said),
        "invalid-input" => Error::InvalidInput(said),
        "invalid-state" => Error::InvalidState(said),
        "data" => Error::Data(DataError::NoSuchColumn(said)),
        "data-wrong-type" => Error::Data(DataError::WrongType(TypeMismatch {
            column: said,
            function_name: "f".into(),
            expected: "int64".into(),
            actual: "string".into(),
        })),
        "denied" => Error::Denied(said),
        "unavailable" => Error::Unavailable(said),
        "rate-limited" => Error::RateLimited(number(arguments, "ms") as u32),
        "superseded" => Error::Superseded(said),
        "cancelled" => Error::Cancelled,
        "unsupported" => Error::Unsupported(said),
        "internal" => Error::Internal(said),
        _ => Error::Other(said),
    }
}

#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 8]);
    black_box(recurse(frame[3] + 1) + frame[5])
}
