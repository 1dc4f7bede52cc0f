//! What the examples have in common, apart from the bindings, which each generates for its own world.
//!
//! Their components are committed, and must not change with every change of the SDK. `change-source`, which shows it, does.

#[path = "../../dataflare-plugin/src/bitmap.rs"]
mod bitmap;

use serde::de::DeserializeOwned;

pub use bitmap::Bitmap;

/// Send the message of a panic to `log` before the plugin aborts.
///
/// WebAssembly without unwinding turns a panic into a bare trap: without this, nobody learns what went wrong. Call it at the top of
/// `configure`, which comes before every other call.
pub fn report_panics(log: fn(&str)) {
    std::panic::set_hook(Box::new(move |info| log(&info.to_string())));
}

/// Read a plugin's configuration.
///
/// The error is the text for `invalid-config`: it names the key and what it should be.
pub fn parse_config<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| format!("the configuration: {error}"))
}
