//! The bindings of the Rust SDK's worlds, one module each.

use std::path::Path;

use anyhow::{Context, Result};
use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::{Opts, WithOption};

/// What plugins export: `lifecycle`, and the interface of their kind.
pub const EXPORTS: [&str; 6] = ["lifecycle", "source", "destination", "processor", "transformer", "validator"];
/// Everything that a plugin may call, and the types of the plugin's own interfaces.
pub const IMPORTS: &str = "include dataflare:host/imports@1.0.0;
  import dataflare:plugin/types@1.0.0;
  import dataflare:plugin/datasets@1.0.0;";
/// Interfaces that exports use, with the modules that they have in `imports`.
const SHARED: [&str; 4] = ["data/batches", "data/schemas", "plugin/types", "plugin/datasets"];

/// Write the modules into a folder.
pub fn generate(resolve: &Resolve, out: &Path) -> Result<()> {
    let imports = Opts { generate_all: true, generate_unused_types: true, ..options() };
    write(resolve.clone(), "imports", IMPORTS, imports, out)?;
    for name in EXPORTS {
        let options = Opts {
            with: SHARED.iter().map(|shared| remapped(shared)).collect(),
            pub_export_macro: true,
            export_macro_name: Some(format!("export_{name}_interface")),
            generate_all: true,
            ..options()
        };
        write(resolve.clone(), name, &format!("export dataflare:plugin/{name}@1.0.0;"), options, out)?;
    }
    Ok(())
}

fn options() -> Opts {
    Opts {
        runtime_path: Some("::wit_bindgen::rt".into()),
        // Tests of plugins compare. What holds a batch cannot be compared.
        additional_derive_attributes: vec!["PartialEq".into()],
        additional_derive_ignore: vec!["chunk".into(), "progress".into()],
        ..Opts::default()
    }
}

fn remapped(interface: &str) -> (String, WithOption) {
    let module = format!("crate::bindings::imports::dataflare::{}", interface.replace('/', "::"));
    (format!("dataflare:{interface}@1.0.0"), WithOption::Path(module))
}

fn write(mut resolve: Resolve, name: &str, items: &str, mut options: Opts, out: &Path) -> Result<()> {
    let package = resolve.push_str("sdk.wit", &format!("package dataflare:sdk;\nworld {name} {{\n  {items}\n}}\n"))?;
    let world = resolve.select_world(&[package], Some(name))?;
    let used: Vec<String> = resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key)).collect();
    options.with.retain(|(interface, _)| used.contains(interface));
    let mut files = Files::default();
    options.build().generate(&mut resolve, world, &mut files)?;
    let (_, text) = files.iter().next().context("the generator writes a file")?;
    std::fs::write(out.join(format!("{name}.rs")), text).with_context(|| out.display().to_string())
}
