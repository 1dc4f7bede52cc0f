//! The bindings of the Go SDK: a package for each interface, and one with the exports of each kind.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::Files;
use wit_bindgen_go::{Format, Opts};

use crate::rust::{EXPORTS, IMPORTS};

/// Where the packages are in the SDK's module.
const PACKAGE: &str = "dataflare/internal/wit";
/// What belongs to the SDK: what generated code calls, and what it exports.
const OURS: [(&str, &str); 3] = [
    ("go.bytecodealliance.org/pkg/wit/", "dataflare/internal/abi/"),
    ("dataflare/internal/wit/export_dataflare_plugin_", "dataflare/internal/exports/"),
    ("export_dataflare_plugin_", ""),
];

/// Write the packages into a folder.
pub fn generate(resolve: &Resolve, out: &Path) -> Result<()> {
    for kind in &EXPORTS[1..] {
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
