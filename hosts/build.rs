//! How a component is linked.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=../build.rs");
    let is = |name, value| env::var(name).is_ok_and(|found| found == value);
    // Names of functions are a sixth of a component; packages with their own settings do not get the
    // profile's `strip`. Then every index and address in the code takes the bytes it needs, and not five:
    // this saves a twentieth. The linker cannot do this beside debug information.
    if is("CARGO_CFG_TARGET_FAMILY", "wasm") && is("DEBUG", "false") {
        for argument in ["--strip-all", "--compress-relocations"] {
            println!("cargo::rustc-link-arg-cdylib={argument}");
        }
    }
}
