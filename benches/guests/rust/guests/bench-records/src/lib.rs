//! Maps JSON records with the code of `record-code`.

use std::cell::Cell;

use dataflare_plugin::{parse_config, report_panics};
use serde::Deserialize;

use dataflare::data::batches::{from_json_lines, Batch};
use dataflare::host::logging::{log, Level};
use exports::dataflare::plugin::lifecycle::{Error, Guest as Lifecycle, Health, Metadata};
use exports::dataflare::plugin::processor::Guest as Processor;

wit_bindgen::generate!({
    path: ["../../../../../wit/data", "../../../../../wit/host", "../../../../../wit/plugin", "wit"],
    world: "bench:records/bench-records",
    generate_all,
});

struct Plugin;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// How often the work is done for each record; 0 hands it through.
    #[serde(default = "once")]
    repeat: u32,
}

fn once() -> u32 {
    1
}

thread_local! {
    static REPEAT: Cell<u32> = const { Cell::new(1) };
}

impl Lifecycle for Plugin {
    fn get_metadata() -> Metadata {
        Metadata {
            name: "bench-records".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            kind: dataflare::plugin::types::Kind::Processor,
            description: env!("CARGO_PKG_DESCRIPTION").into(),
            config_schema: String::new(),
        }
    }

    fn configure(config: String) -> Result<(), Error> {
        report_panics(|message| log(Level::Error, message, &[]));
        let config: Config = parse_config(&config).map_err(Error::InvalidConfig)?;
        REPEAT.set(config.repeat);
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
        let repeat = REPEAT.get();
        if repeat == 0 {
            return Ok(Some(input));
        }
        for _ in 1..repeat {
            std::hint::black_box(record_code::process(std::hint::black_box(&input)).map_err(Error::InvalidInput)?);
        }
        record_code::process(&input).map(Some).map_err(Error::InvalidInput)
    }

    fn process_batch(input: Batch) -> Result<Batch, Error> {
        let lines = input.to_json_lines().map_err(Error::Data)?;
        let mut made = String::with_capacity(lines.len() + lines.len() / 4);
        for line in lines.lines() {
            made.push_str(&record_code::process(line).map_err(Error::InvalidInput)?);
            made.push('\n');
        }
        from_json_lines(&made, None).map_err(Error::Data)
    }
}

export!(Plugin);
