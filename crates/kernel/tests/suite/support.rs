//! What tests and bench share: keys, the `rsa` crate as the judge, the kernel in a host.

use std::path::PathBuf;
use std::process::Command;

use keylet_kernel::{CrtParts, PrivateKey};
use rsa::traits::{PrivateKeyParts, PublicKeyParts};
use rsa::{BoxedUint, PrivateKey as RsaPrivateKey};
use wasmtime::{Config, Engine, Instance, Linker, Memory, Module, Store, TypedFunc};

/// The parts of a key: `n`, `e`, `p`, `q`, `dp`, `dq`, `qinv`, `d`.
#[derive(Clone)]
pub struct Parts(pub [Vec<u8>; 8]);

impl Parts {
    /// From big-endian primes, with the public exponent 65537.
    pub fn from_primes(p: &[u8], q: &[u8]) -> Self {
        let exponent = BoxedUint::from(65537_u32);
        Self::from_key(RsaPrivateKey::from_p_q(uint(p), uint(q), exponent).unwrap())
    }

    /// Of a key of the `rsa` crate.
    pub fn from_key(mut key: RsaPrivateKey) -> Self {
        key.precompute().unwrap();
        let bytes = |number: &BoxedUint| number.to_be_bytes_trimmed_vartime().to_vec();
        let qinv = key.qinv().unwrap().retrieve();
        Self([
            bytes(key.n().as_ref()),
            bytes(key.e()),
            bytes(&key.primes()[0]),
            bytes(&key.primes()[1]),
            bytes(key.dp().unwrap()),
            bytes(key.dq().unwrap()),
            bytes(&qinv),
            bytes(key.d()),
        ])
    }

    pub fn crt(&self) -> CrtParts<'_> {
        let [n, e, p, q, dp, dq, qinv, _] = &self.0;
        CrtParts {
            n,
            e,
            p,
            q,
            dp,
            dq,
            qinv,
        }
    }

    pub fn key(&self) -> PrivateKey {
        PrivateKey::new(&self.crt()).unwrap()
    }
}

/// A number of a key's size from its bytes.
pub fn uint(bytes: &[u8]) -> BoxedUint {
    BoxedUint::from_be_slice_vartime(bytes)
}

/// The module of `examples/guest.rs` in wasmtime.
pub struct Guest {
    store: Store<()>,
    instance: Instance,
    memory: Memory,
    buffer: usize,
}

/// What a host does with a relaxed multiply-add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// It fuses it.
    Fuses,
    /// It rounds the product, as on a processor without the instruction.
    Rounds,
    /// It does not load modules that have one.
    Refuses,
}

impl Guest {
    pub fn new(module: &[u8], host: Host) -> wasmtime::Result<Self> {
        let mut config = Config::new();
        match host {
            Host::Fuses => {}
            Host::Rounds => {
                #[expect(unsafe_code, reason = "how wasmtime's compiler is told")]
                // SAFETY: to use less than the processor has is sound.
                unsafe {
                    config.cranelift_flag_set("has_fma", "false");
                }
            }
            Host::Refuses => {
                config.wasm_relaxed_simd(false);
            }
        }
        Self::with(&config, module)
    }

    /// In a host that fuses, and counts instructions.
    pub fn counting(module: &[u8]) -> Self {
        Self::with(Config::new().consume_fuel(true), module).unwrap()
    }

    fn with(config: &Config, module: &[u8]) -> wasmtime::Result<Self> {
        let engine = Engine::new(config)?;
        let module = Module::new(&engine, module)?;
        let mut store = Store::new(&engine, ());
        // An error says that nothing is counted.
        let _ = store.set_fuel(u64::MAX);
        let mut linker = Linker::new(&engine);
        linker.define_unknown_imports_as_traps(&module)?;
        let instance = linker.instantiate(&mut store, &module)?;
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let buffer: TypedFunc<(), u32> = instance.get_typed_func(&mut store, "buffer")?;
        let buffer = buffer.call(&mut store, ())?.try_into().unwrap();
        Ok(Self {
            store,
            instance,
            memory,
            buffer,
        })
    }

    /// The instructions of all calls so far, as the engine counts them.
    pub fn instructions(&self) -> u64 {
        u64::MAX - self.store.get_fuel().unwrap()
    }

    /// Writes numbers into the module's buffer.
    pub fn write(&mut self, numbers: &[&[u8]]) {
        let mut at = self.buffer;
        for number in numbers {
            let length = u32::try_from(number.len()).unwrap().to_be_bytes();
            self.memory.write(&mut self.store, at, &length).unwrap();
            self.memory.write(&mut self.store, at + 4, number).unwrap();
            at += 4 + number.len();
        }
    }

    pub fn read(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory
            .read(&self.store, self.buffer, &mut bytes)
            .unwrap();
        bytes
    }

    /// Calls `load`, `load_public` or `load_other`.
    pub fn load(&mut self, name: &str, parts: &Parts, rounds: u32) {
        self.write(&parts.0.each_ref().map(Vec::as_slice));
        let load = self.function::<u32, u32>(name);
        assert_eq!(load.call(&mut self.store, rounds).unwrap(), 0, "{name}");
    }

    /// Decrypts with a kernel (0 any, 1 fused, 2 exact): which one answered, and what.
    pub fn decrypt(&mut self, kernel: u32, c: &[u8], rounds: u32) -> (u32, Vec<u8>) {
        self.write(&[c]);
        let decrypt = self.function::<(u32, u32), u32>("decrypt");
        let answered = decrypt.call(&mut self.store, (kernel, rounds)).unwrap();
        (answered, self.read(c.len()))
    }

    /// Calls `apply` or `decrypt_other`.
    pub fn apply(&mut self, name: &str, x: &[u8], rounds: u32) -> Vec<u8> {
        self.write(&[x]);
        let apply = self.function::<u32, ()>(name);
        apply.call(&mut self.store, rounds).unwrap();
        self.read(x.len())
    }

    /// Calls a function that reads the numbers and gives one.
    pub fn ask(&mut self, name: &str, numbers: &[&[u8]], rounds: u32) -> u32 {
        self.write(numbers);
        let function = self.function::<u32, u32>(name);
        function.call(&mut self.store, rounds).unwrap()
    }

    fn function<P: wasmtime::WasmParams, R: wasmtime::WasmResults>(
        &mut self,
        name: &str,
    ) -> TypedFunc<P, R> {
        self.instance.get_typed_func(&mut self.store, name).unwrap()
    }
}

/// Builds the module, with or without relaxed instructions.
pub fn module(relaxed: bool) -> Vec<u8> {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("guest");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["rustc", "--quiet", "--package", "keylet-kernel"])
        .args(["--example", "guest", "--release"])
        .args(["--target", "wasm32-wasip2", "--target-dir"])
        .arg(&target);
    if !relaxed {
        cargo.arg("--no-default-features");
    }
    // A module, and not the component that it is otherwise wrapped in.
    let status = cargo
        .args(["--", "-C", "link-arg=--skip-wit-component"])
        .status()
        .unwrap();
    assert!(status.success());
    std::fs::read(target.join("wasm32-wasip2/release/examples/guest.wasm")).unwrap()
}
