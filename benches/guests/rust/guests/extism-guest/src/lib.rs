//! The same work as an Extism plugin.

// One of the packages whose objects the toolchain's driver removes before a build.
use dataflare_plugin as _;
use extism_pdk::{plugin_fn, FnResult, WithReturnCode};

/// Give the bytes back.
#[plugin_fn]
pub fn echo(input: Vec<u8>) -> FnResult<Vec<u8>> {
    Ok(input)
}

/// Map a record.
#[plugin_fn]
pub fn process(input: String) -> FnResult<String> {
    record_code::process(&input).map_err(|error| WithReturnCode::new(extism_pdk::Error::msg(error), 1))
}
