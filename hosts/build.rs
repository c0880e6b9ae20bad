//! How a component is linked.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=../build.rs");
    let is = |name, value| env::var(name).is_ok_and(|found| found == value);
    // Every index and address in the code takes the bytes it needs, and not five: a twentieth of all.
    // The linker cannot do this beside debug information.
    if is("CARGO_CFG_TARGET_FAMILY", "wasm") && is("DEBUG", "false") {
        for argument in ["--strip-debug", "--compress-relocations"] {
            println!("cargo::rustc-link-arg-cdylib={argument}");
        }
    }
}
