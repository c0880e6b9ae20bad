//! What the built component asks of its host.

use wasmtime::Engine;
use wasmtime::component::Component;

#[test]
fn the_component_imports_wasi_0_2_http_and_spins_variables_only() {
    let engine = Engine::default();
    let component = Component::new(&engine, keylet_cli::COMPONENT).unwrap();
    let kind = component.component_type();
    let imports: Vec<&str> = kind.imports(&engine).map(|(name, _)| name).collect();
    for import in &imports {
        let (package, version) = import.split_once('@').unwrap();
        let known = matches!(
            package.split('/').next(),
            Some(
                "wasi:io"
                    | "wasi:clocks"
                    | "wasi:random"
                    | "wasi:cli"
                    | "wasi:http"
                    | "wasi:filesystem"
            )
        ) && version.starts_with("0.2.");
        assert!(
            known || *import == "fermyon:spin/variables@2.0.0",
            "{import}"
        );
    }
    let exports: Vec<&str> = kind.exports(&engine).map(|(name, _)| name).collect();
    assert!(
        exports
            .iter()
            .any(|export| export.starts_with("wasi:http/incoming-handler@0.2.")),
        "{exports:?}"
    );
}

#[test]
fn the_manifest_declares_every_variable_for_the_component_and_marks_what_is_secret() {
    let manifest = keylet_cli::host::Manifest::parse(keylet_cli::MANIFEST).unwrap();
    for (name, variable) in &manifest.variables {
        assert!(
            !variable.required,
            "{name} is required: /healthz could not say that it is missing"
        );
        assert_eq!(
            manifest.component.variables[name],
            format!("{{{{ {name} }}}}")
        );
        let holds_secret = ["key", "ask", "credentials"]
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
