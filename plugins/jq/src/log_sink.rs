//! What a script says with `debug` and `stderr` goes to the plugin's log.

use log::{LevelFilter, Log, Metadata, Record};

use crate::dataflare::host::logging::{log, Level};

struct Sink;

impl Log for Sink {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        log(Level::Info, &record.args().to_string(), &[]);
    }

    fn flush(&self) {}
}

/// Install the sink; again does nothing.
pub fn install() {
    if log::set_logger(&Sink).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
}
