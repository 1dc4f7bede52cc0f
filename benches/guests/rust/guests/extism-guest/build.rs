//! Extism takes a core module, where the linker would make a component.

fn main() {
    println!("cargo:rustc-link-arg-cdylib=--skip-wit-component");
}
