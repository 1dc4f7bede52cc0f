//! The bindings of the C SDK: a header and its functions, with all that plugins may import and export.

use std::path::Path;

use anyhow::{Context, Result};
use wit_bindgen_c::Opts;
use wit_bindgen_core::wit_parser::Resolve;
use wit_bindgen_core::Files;

use crate::rust::{EXPORTS, IMPORTS};

/// Write the files. The world's name begins the names of types that have none of their own, such as `df_string_t`.
pub fn generate(resolve: &Resolve, out: &Path) -> Result<()> {
    let exports = EXPORTS.map(|name| format!("export dataflare:plugin/{name}@1.0.0;")).join("\n  ");
    let text = format!("package dataflare:sdk;\nworld df {{\n  {IMPORTS}\n  {exports}\n}}\n");
    let mut resolve = resolve.clone();
    let package = resolve.push_str("sdk.wit", &text)?;
    let world = resolve.select_world(&[package], Some("df"))?;
    let mut files = Files::default();
    // A component's type comes from the plugin's own world.
    let options = Opts { no_object_file: true, ..Opts::default() };
    options.build().generate(&mut resolve, world, &mut files)?;
    for (name, text) in files.iter() {
        let text = std::str::from_utf8(text)?;
        let text = if name.ends_with(".c") { by_kind(text) } else { text.to_string() };
        std::fs::write(out.join(name), text).with_context(|| out.display().to_string())?;
    }
    Ok(())
}

/// Put what only one kind of plugin exports under a condition: `DF_EXPORT_SOURCE` and so on. What a call has allocated goes
/// all at once when its result is read, rather than piece by piece.
fn by_kind(text: &str) -> String {
    let mut found = String::from("void df_release(void);\n");
    let (mut open, mut replaced) = (false, false);
    for line in text.lines() {
        // The generator ends the file with a reference to an object file that is not written.
        if line.starts_with("// Ensure that the *_component_type.o") {
            break;
        }
        if let Some(name) = EXPORTS.iter().find(|name| is_export(line, name)) {
            found += &format!("#ifdef DF_EXPORT_{}\n", name.to_uppercase());
            open = true;
        }
        if !replaced || line == "}" {
            found += line;
            found.push('\n');
        }
        if open && line.contains("_post_return(") {
            found += "  df_release();\n";
            replaced = true;
        }
        if open && line == "}" {
            found += "#endif\n";
            (open, replaced) = (false, false);
        }
    }
    found
}

fn is_export(line: &str, name: &str) -> bool {
    line.starts_with("__attribute__") && line.contains("__export_name__") && line.contains(&format!("dataflare:plugin/{name}@"))
}
