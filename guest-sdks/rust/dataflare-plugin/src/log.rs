//! Events for the operator: `log::info!("read {pages} pages")`.

use crate::host::logging;

pub use crate::bindings::imports::dataflare::host::logging::Level;

/// Whether the operator wants events of a level; if not, do not make one.
pub fn is_enabled(level: Level) -> bool {
    logging::is_enabled(level)
}

/// Send an event, with fields by name.
pub fn event(level: Level, message: &str, fields: &[(&str, String)]) {
    let fields: Vec<(String, String)> = fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    logging::log(level, message, &fields);
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($message:tt)+) => {
        if $crate::log::is_enabled($crate::log::Level::$level) {
            $crate::log::event($crate::log::Level::$level, &::std::format!($($message)+), &[])
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __trace { ($($message:tt)+) => { $crate::__log!(Trace, $($message)+) } }
#[doc(hidden)]
#[macro_export]
macro_rules! __debug { ($($message:tt)+) => { $crate::__log!(Debug, $($message)+) } }
#[doc(hidden)]
#[macro_export]
macro_rules! __info { ($($message:tt)+) => { $crate::__log!(Info, $($message)+) } }
#[doc(hidden)]
#[macro_export]
macro_rules! __warn { ($($message:tt)+) => { $crate::__log!(Warn, $($message)+) } }
#[doc(hidden)]
#[macro_export]
macro_rules! __error { ($($message:tt)+) => { $crate::__log!(Error, $($message)+) } }

/// Log at a level, with the arguments of `format!`; nothing is formatted if the operator does not want the level.
pub use {__debug as debug, __error as error, __info as info, __trace as trace, __warn as warn};
