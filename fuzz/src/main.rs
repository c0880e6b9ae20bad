//! The targets under libFuzzer. `KEYLET_FUZZ_TARGET` names the one.

#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<keylet_fuzz::Target> = LazyLock::new(|| {
    let name = std::env::var("KEYLET_FUZZ_TARGET").unwrap_or_default();
    keylet_fuzz::target(&name).unwrap_or_else(|| panic!("there is no target {name:?}"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    (*TARGET)(data);
});
