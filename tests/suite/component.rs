//! What the built component asks of its host.

use keylet_host::World;
use wasmtime::Engine;
use wasmtime::component::Component;

/// The imports and exports of the component for a world.
fn interfaces(world: World) -> (Vec<String>, Vec<String>) {
    let engine = Engine::default();
    let component = Component::new(&engine, keylet_cli::component(world).unwrap()).unwrap();
    let kind = component.component_type();
    let imports = kind
        .imports(&engine)
        .map(|(name, _)| name.to_owned())
        .collect();
    let exports = kind
        .exports(&engine)
        .map(|(name, _)| name.to_owned())
        .collect();
    (imports, exports)
}

/// Asserts that a component imports these interfaces and no others: with another one, it could do more.
fn assert_imports(world: World, imports: &[String], mut expected: Vec<&str>) {
    let mut imports: Vec<&str> = imports.iter().map(String::as_str).collect();
    imports.sort_unstable();
    expected.sort_unstable();
    assert_eq!(imports, expected, "{world:?}");
}

/// Asserts that an export's name begins like this.
fn assert_exports(exports: &[String], name: &str) {
    assert!(
        exports.iter().any(|export| export.starts_with(name)),
        "{exports:?}"
    );
}

/// What the standard library of Rust imports, on every host: the clock, randomness, and standard output for the audit.
const STANDARD: [&str; 17] = [
    "wasi:cli/environment@0.2.6",
    "wasi:cli/exit@0.2.6",
    "wasi:cli/stderr@0.2.6",
    "wasi:cli/stdin@0.2.6",
    "wasi:cli/stdout@0.2.6",
    "wasi:cli/terminal-input@0.2.6",
    "wasi:cli/terminal-output@0.2.6",
    "wasi:cli/terminal-stderr@0.2.6",
    "wasi:cli/terminal-stdin@0.2.6",
    "wasi:cli/terminal-stdout@0.2.6",
    "wasi:clocks/monotonic-clock@0.2.6",
    "wasi:clocks/wall-clock@0.2.6",
    "wasi:io/error@0.2.6",
    "wasi:io/poll@0.2.6",
    "wasi:io/streams@0.2.6",
    "wasi:random/insecure-seed@0.2.6",
    "wasi:random/random@0.2.6",
];

const KEY_VALUE: [&str; 2] = [
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/store@0.2.0-draft2",
];

#[test]
fn the_component_for_every_spin_imports_wasi_0_2_and_spins_variables_and_store() {
    let (imports, exports) = interfaces(World::Wasip2);
    let own = [
        "fermyon:spin/variables@2.0.0",
        "wasi:http/outgoing-handler@0.2.6",
        "wasi:http/types@0.2.6",
    ];
    let expected = [&STANDARD[..], &KEY_VALUE, &own].concat();
    assert_imports(World::Wasip2, &imports, expected);
    assert_exports(&exports, "wasi:http/incoming-handler@0.2.");
}

#[test]
fn the_component_for_wasi_0_3_imports_spins_newer_variables_and_store() {
    let (imports, exports) = interfaces(World::Wasip3);
    let own = [
        "spin:key-value/key-value@3.0.0",
        "spin:variables/variables@3.0.0",
        "wasi:clocks/monotonic-clock@0.3.0",
        "wasi:clocks/types@0.3.0",
        "wasi:http/client@0.3.0",
        "wasi:http/types@0.3.0",
    ];
    let expected = [&STANDARD[..], &KEY_VALUE, &own].concat();
    assert_imports(World::Wasip3, &imports, expected);
    assert_exports(&exports, "wasi:http/handler@0.3.0");
}

#[test]
fn the_component_for_plain_hosts_imports_nothing_of_spin() {
    let (imports, exports) = interfaces(World::Wasi);
    let own = [
        "wasi:config/store@0.2.0-rc.1",
        "wasi:http/outgoing-handler@0.2.4",
        "wasi:http/types@0.2.4",
    ];
    assert_imports(World::Wasi, &imports, [&STANDARD[..], &own].concat());
    assert_exports(&exports, "wasi:http/incoming-handler@0.2.");
}

#[test]
fn the_manifest_declares_every_variable_for_the_component_and_marks_what_is_secret() {
    let manifest = keylet_host::Manifest::parse(keylet_cli::MANIFEST).unwrap();
    for (name, variable) in &manifest.variables {
        assert!(
            !variable.required,
            "{name} is required: /healthz could not say that it is missing"
        );
        assert_eq!(
            manifest.component.variables[name],
            format!("{{{{ {name} }}}}")
        );
        let holds_secret = [
            "key",
            "ask",
            "credentials",
            "secret",
            "operator",
            "policies",
            "settings",
            "packagers",
            "playready",
            "widevine",
        ]
        .iter()
        .any(|part| name.contains(part));
        assert_eq!(
            variable.secret,
            holds_secret && name != "fairplay_test_credentials",
            "{name}"
        );
    }
    assert_eq!(manifest.variables.len(), manifest.component.variables.len());
}

#[test]
fn both_manifests_are_one_application_with_another_component() {
    let wasip3 = include_str!("../../spin.wasip3.toml");
    let differs = |line: &&str| {
        !line.starts_with("source = ")
            && !line.starts_with("command = ")
            && !line.starts_with("watch = ")
    };
    let lines = |text: &'static str| -> Vec<&'static str> {
        let begin = text.find("spin_manifest_version").unwrap();
        text[begin..].lines().filter(differs).collect()
    };
    assert_eq!(lines(keylet_cli::MANIFEST), lines(wasip3));
    assert!(wasip3.contains("keylet_wasip3.wasm") && wasip3.contains("--package keylet-wasip3 "));
}
