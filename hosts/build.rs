//! How a component is linked.

fn main() {
    println!("cargo::rerun-if-changed=../build.rs");
    // Every index and address in the code takes the bytes it needs, and not five: a twentieth of all.
    // The linker cannot do this beside debug information.
    if std::env::var("DEBUG").is_ok_and(|debug| debug == "false") {
        println!("cargo::rustc-link-arg-cdylib=--compress-relocations");
    }
}
