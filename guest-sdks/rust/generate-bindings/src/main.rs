//! `generate-bindings LANGUAGE WIT OUT`: write the bindings of an SDK, for `rust` or for `c`.
//!
//! They are committed, so that building a plugin needs no generator.

mod c;
mod rust;

use std::path::PathBuf;

use anyhow::{Context, Result};
use wit_bindgen_core::wit_parser::Resolve;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [language, wit, out] = arguments.as_slice() else {
        anyhow::bail!("give the language, and the folders of the WIT and of the bindings")
    };
    let mut resolve = Resolve::default();
    for package in ["data", "host", "plugin"] {
        resolve.push_path(wit.join(package)).with_context(|| format!("the package {package}"))?;
    }
    match language.to_str() {
        Some("rust") => rust::generate(&resolve, out),
        Some("c") => c::generate(&resolve, out),
        _ => anyhow::bail!("there are bindings for rust and for c"),
    }
}
