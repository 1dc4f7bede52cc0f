//! `generate-bindings WIT OUT`: write the bindings of the SDK for Go: a package for each interface, and one with the exports of
//! each kind.
//!
//! They are committed, so that building a plugin needs no generator. It has a workspace of its own, so that another version of it
//! leaves the digests of components in Rust as they are.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::Files;
use wit_bindgen_go::{Format, Opts};

const KINDS: [&str; 5] = ["source", "destination", "processor", "transformer", "validator"];
/// Everything that a plugin may call, and the types of the plugin's own interfaces.
const IMPORTS: &str = "include dataflare:host/imports@1.0.0;
  import dataflare:plugin/types@1.0.0;
  import dataflare:plugin/datasets@1.0.0;";
/// Where the packages are in the SDK's module.
const PACKAGE: &str = "dataflare/internal/wit";
/// What belongs to the SDK: what generated code calls, and what it exports.
const OURS: [(&str, &str); 3] = [
    ("go.bytecodealliance.org/pkg/wit/", "dataflare/internal/abi/"),
    ("dataflare/internal/wit/export_dataflare_plugin_", "dataflare/internal/exports/"),
    ("export_dataflare_plugin_", ""),
];

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [wit, out] = arguments.as_slice() else { anyhow::bail!("give the folders of the WIT and of the bindings") };
    let mut resolve = Resolve::default();
    for package in ["data", "host", "plugin"] {
        resolve.push_path(wit.join(package)).with_context(|| format!("the package {package}"))?;
    }
    for kind in KINDS {
        let exports = format!("export dataflare:plugin/lifecycle@1.0.0;\n  export dataflare:plugin/{kind}@1.0.0;");
        let text = format!("package dataflare:sdk;\nworld {kind} {{\n  {IMPORTS}\n  {exports}\n}}\n");
        let mut resolve = resolve.clone();
        let package = resolve.push_str("sdk.wit", &text)?;
        let world = resolve.select_world(&[package], Some(kind))?;
        let mut files = Files::default();
        let options = Opts { pkg_name: Some(PACKAGE.into()), format: Format::False, ..Opts::default() };
        options.build().generate(&mut resolve, world, &mut files)?;
        for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".go")) {
            let path = out.join(name.replace("wit_exports/", &format!("exports_{kind}/")));
            std::fs::create_dir_all(path.parent().context("a package has a folder")?)?;
            std::fs::write(&path, adapted(std::str::from_utf8(text)?)).with_context(|| path.display().to_string())?;
        }
    }
    let formatted = Command::new("gofmt").arg("-w").arg(out).status().context("gofmt, of Go, cannot be run")?;
    anyhow::ensure!(formatted.success(), "gofmt failed");
    Ok(())
}

/// Leave out what drops a handle when it is collected: the collector runs also where nothing of the host's can be called. The
/// SDK drops the handles of a call when the call ends.
fn adapted(text: &str) -> String {
    let mut found = String::from("//go:build wasip1\n\n");
    let mut is_cleanup = false;
    for line in text.lines() {
        is_cleanup |= line.trim_start().starts_with("runtime.AddCleanup(");
        if !is_cleanup {
            found += line;
            found.push('\n');
        }
        is_cleanup &= line.trim() != "}, 0)";
    }
    OURS.iter().fold(found, |text, (theirs, ours)| text.replace(theirs, ours))
}
