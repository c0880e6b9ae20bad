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

/// Asserts that every import is of WASI in one of the versions, or one of the others.
fn assert_imports(imports: &[String], versions: &[&str], others: &[&str]) {
    const PACKAGES: [&str; 6] = [
        "wasi:io/",
        "wasi:clocks/",
        "wasi:random/",
        "wasi:cli/",
        "wasi:http/",
        "wasi:filesystem/",
    ];
    for import in imports {
        let (name, version) = import.split_once('@').unwrap();
        let is_wasi = PACKAGES.iter().any(|package| name.starts_with(package))
            && versions.iter().any(|known| version.starts_with(known));
        assert!(is_wasi || others.contains(&import.as_str()), "{import}");
    }
}

/// Asserts that an export's name begins like this.
fn assert_exports(exports: &[String], name: &str) {
    assert!(
        exports.iter().any(|export| export.starts_with(name)),
        "{exports:?}"
    );
}

const KEY_VALUE: [&str; 2] = [
    "wasi:keyvalue/store@0.2.0-draft2",
    "wasi:keyvalue/atomics@0.2.0-draft2",
];

#[test]
fn the_component_for_every_spin_imports_wasi_0_2_and_spins_variables_and_store() {
    let (imports, exports) = interfaces(World::Wasip2);
    let [store, atomics] = KEY_VALUE;
    assert_imports(
        &imports,
        &["0.2."],
        &["fermyon:spin/variables@2.0.0", store, atomics],
    );
    assert_exports(&exports, "wasi:http/incoming-handler@0.2.");
}

#[test]
fn the_component_for_wasi_0_3_imports_spins_newer_variables_and_store() {
    let (imports, exports) = interfaces(World::Wasip3);
    let [store, atomics] = KEY_VALUE;
    assert_imports(
        &imports,
        &["0.2.", "0.3.0"],
        &[
            "spin:variables/variables@3.0.0",
            "spin:key-value/key-value@3.0.0",
            store,
            atomics,
        ],
    );
    assert!(
        exports
            .iter()
            .any(|export| export == "wasi:http/handler@0.3.0"),
        "{exports:?}"
    );
}

#[test]
fn the_component_for_plain_hosts_imports_nothing_of_spin() {
    let (imports, exports) = interfaces(World::Wasi);
    assert_imports(&imports, &["0.2."], &["wasi:config/store@0.2.0-rc.1"]);
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
