//! An instance of the built component in a host that sees into it: its memory, and how many instructions a request takes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Full};
use keylet_host::{Provided, World};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentType, Lift, Linker, Lower, ResourceTable, ResourceType,
};
use wasmtime::{
    Cache, CacheConfig, Config, Engine, LinearMemory, MemoryCreator, MemoryType, OptLevel, Store,
};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView, p2, p3};

use crate::support::Answer;

/// The most memory that an instance may have here, in bytes.
const MOST_MEMORY: usize = 16 << 20;

/// A compiled component. Its instances have a clock that stands still and the same random numbers each time, so that what
/// they calculate depends on their requests and variables alone.
pub struct Inside {
    world: World,
    engine: Engine,
    component: Component,
    linker: Linker<State>,
    memories: Arc<Memories>,
}

/// What came of the requests to one instance.
pub struct Ran {
    /// Its answers.
    pub answers: Vec<Answer>,
    /// Its memory, after the last one, as it would be handed back to the host.
    pub memory: Vec<u8>,
    /// The instructions of WebAssembly that it took for all of them, as the engine counts them.
    pub instructions: u64,
}

impl Inside {
    /// Compiles the component for a world.
    pub fn new(world: World) -> Self {
        let memories = Arc::new(Memories::default());
        let mut config = Config::new();
        config
            .consume_fuel(true)
            .with_host_memory(Arc::clone(&memories) as Arc<dyn MemoryCreator>)
            .memory_reservation(0)
            .memory_reservation_for_growth(0)
            .memory_guard_size(0)
            .memory_init_cow(false)
            .cranelift_opt_level(OptLevel::None)
            .cache(Cache::new(CacheConfig::new()).ok());
        let engine = Engine::new(&config).unwrap();
        let component = Component::new(&engine, keylet_cli::component(world).unwrap()).unwrap();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        match world {
            World::Wasip2 => {
                p2::add_only_http_to_linker_async(&mut linker).unwrap();
                let mut variables = linker.instance("fermyon:spin/variables@2.0.0").unwrap();
                variables
                    .func_wrap("get", |store, (name,): (String,)| {
                        let state: &State = store.data();
                        let value = state.variables.get(&name).cloned();
                        Ok((value.ok_or(VariableError::Undefined(name)),))
                    })
                    .unwrap();
            }
            World::Wasip3 => {
                wasmtime_wasi::p3::add_to_linker(&mut linker).unwrap();
                p3::add_to_linker(&mut linker).unwrap();
                let mut variables = linker.instance("spin:variables/variables@3.0.0").unwrap();
                variables
                    .func_wrap_concurrent("get", |accessor, (name,): (String,)| {
                        let value = accessor.with(|mut access| {
                            let state: &mut State = access.get();
                            state.variables.get(&name).cloned()
                        });
                        Box::pin(async { Ok((value.ok_or(VariableError::Undefined(name)),)) })
                    })
                    .unwrap();
            }
            World::Wasi => panic!("it has the same code as the world of WASI 0.2"),
        }
        stores(&engine, &component, &mut linker);
        Self {
            world,
            engine,
            component,
            linker,
            memories,
        }
    }

    /// Hands requests to a fresh instance, one after the other. In the worlds of WASI 0.2 an instance takes one.
    pub fn run(&self, variables: &Provided, requests: &[Request<Vec<u8>>]) -> Ran {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut store = Store::new(&self.engine, State::new(variables));
        store.set_fuel(u64::MAX).unwrap();
        let answers = runtime.block_on(async {
            match self.world {
                World::Wasip3 => self.several(&mut store, requests).await,
                World::Wasip2 | World::Wasi => self.one(&mut store, requests).await,
            }
        });
        Ran {
            answers,
            memory: self.memories.take(),
            instructions: u64::MAX - store.get_fuel().unwrap(),
        }
    }

    async fn one(&self, store: &mut Store<State>, requests: &[Request<Vec<u8>>]) -> Vec<Answer> {
        let [request] = requests else {
            panic!("an instance of WASI 0.2 takes one request")
        };
        let linker = &self.linker;
        let proxy = p2::bindings::Proxy::instantiate_async(&mut *store, &self.component, linker);
        let proxy = proxy.await.unwrap();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let mut http = store.data_mut().http();
        let request = http
            .new_incoming_request(Scheme::Http, body(request))
            .unwrap();
        let outparam = http.new_response_outparam(sender).unwrap();
        let handler = proxy.wasi_http_incoming_handler();
        let read = async {
            let (parts, body) = receiver.await.unwrap().unwrap().into_parts();
            answer(parts, body).await
        };
        let (ran, answer) = tokio::join!(handler.call_handle(store, request, outparam), read);
        ran.unwrap();
        vec![answer]
    }

    async fn several(
        &self,
        store: &mut Store<State>,
        requests: &[Request<Vec<u8>>],
    ) -> Vec<Answer> {
        let linker = &self.linker;
        let service =
            p3::bindings::Service::instantiate_async(&mut *store, &self.component, linker);
        let service = service.await.unwrap();
        let ran = store.run_concurrent(async |accessor| {
            let mut answers = Vec::new();
            for request in requests {
                let request = accessor.with(|mut access| {
                    let hooks = access.get().http().hooks;
                    p3::Request::from_http(hooks, body(request)).0
                });
                let response = service.handle(accessor, request).await.unwrap().unwrap();
                let response = accessor.with(|access| response.into_http(access, async { Ok(()) }));
                let (parts, body) = response.unwrap().into_parts();
                answers.push(answer(parts, body).await);
            }
            answers
        });
        ran.await.unwrap()
    }
}

fn body(
    request: &Request<Vec<u8>>,
) -> Request<http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, wasmtime_wasi_http::Error>> {
    let body = Full::new(bytes::Bytes::from(request.body().clone()));
    let body = body
        .map_err(|never: Infallible| match never {})
        .boxed_unsync();
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

async fn answer<B>(parts: http::response::Parts, body: B) -> Answer
where
    B: BodyExt,
    B::Error: std::fmt::Debug,
{
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
    }
}

/// Key-value stores that trap: nothing here asks them.
fn stores(engine: &Engine, component: &Component, linker: &mut Linker<State>) {
    for (name, import) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(instance) = import.ty else {
            continue;
        };
        if !name.contains(":key-value/") && !name.contains(":keyvalue/") {
            continue;
        }
        let mut linked = linker.instance(name).unwrap();
        for (name, export) in instance.exports(engine) {
            let defined = match export.ty {
                ComponentItem::ComponentFunc(function) if function.async_() => {
                    linked.func_new_concurrent(name, |_, _, _, _| Box::pin(async { no_store() }))
                }
                ComponentItem::ComponentFunc(_) => linked.func_new(name, |_, _, _, _| no_store()),
                ComponentItem::Resource(_) => {
                    linked.resource(name, ResourceType::host::<Bucket>(), |_, _| Ok(()))
                }
                _ => Ok(()),
            };
            defined.unwrap();
        }
    }
}

/// The type of a handle to a store.
struct Bucket;

fn no_store() -> wasmtime::Result<()> {
    Err(wasmtime::format_err!("there is no store here"))
}

/// What an instance has on the side of the host.
struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    table: ResourceTable,
    variables: HashMap<String, String>,
}

impl State {
    fn new(variables: &Provided) -> Self {
        let random = || ChaCha20Rng::seed_from_u64(1);
        let mut wasi = WasiCtx::builder();
        wasi.secure_random(random())
            .insecure_random(random())
            .insecure_random_seed(1)
            .wall_clock(Still)
            .monotonic_clock(Still);
        let variables = variables.iter();
        Self {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            table: ResourceTable::new(),
            variables: variables
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            ctx: &mut self.http,
            table: &mut self.table,
            hooks: Default::default(),
        }
    }
}

/// A clock that stands still.
struct Still;

impl HostWallClock for Still {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::from_secs(1_800_000_000)
    }
}

impl HostMonotonicClock for Still {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}

/// The error of Spin's variables.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum VariableError {
    #[component(name = "invalid-name")]
    InvalidName(String),
    #[component(name = "undefined")]
    Undefined(String),
    #[component(name = "provider")]
    Provider(String),
    #[component(name = "other")]
    Other(String),
}

/// The memory of the instance that was made last.
#[derive(Default)]
struct Memories(Mutex<Option<Arc<Bytes>>>);

impl Memories {
    fn take(&self) -> Vec<u8> {
        let memory = self.0.lock().unwrap().take().unwrap();
        let bytes = memory
            .bytes
            .iter()
            .take(memory.size.load(Ordering::Relaxed));
        bytes.map(|byte| byte.load(Ordering::Relaxed)).collect()
    }
}

/// A memory in the process, in one place for as long as it is.
struct Bytes {
    bytes: Box<[AtomicU8]>,
    size: AtomicUsize,
}

struct Memory(Arc<Bytes>);

#[expect(
    unsafe_code,
    reason = "how wasmtime is given memory that others see too"
)]
// SAFETY: a memory is as long as it says, begins with zeros and never moves; `Memories` reads it between calls alone, byte
// by byte, as atomics.
unsafe impl MemoryCreator for Memories {
    fn new_memory(
        &self,
        _type: MemoryType,
        minimum: usize,
        _maximum: Option<usize>,
        _reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        if guard > 0 || minimum > MOST_MEMORY {
            return Err("this is another memory than the tests have".to_owned());
        }
        let mut bytes = Vec::new();
        bytes.resize_with(MOST_MEMORY, AtomicU8::default);
        let memory = Arc::new(Bytes {
            bytes: bytes.into(),
            size: AtomicUsize::new(minimum),
        });
        *self.0.lock().unwrap() = Some(Arc::clone(&memory));
        Ok(Box::new(Memory(memory)))
    }
}

#[expect(
    unsafe_code,
    reason = "how wasmtime is given memory that others see too"
)]
// SAFETY: as above. The bytes are atomics, so that they may be written through a shared reference.
unsafe impl LinearMemory for Memory {
    fn byte_size(&self) -> usize {
        self.0.size.load(Ordering::Relaxed)
    }

    fn byte_capacity(&self) -> usize {
        MOST_MEMORY
    }

    fn grow_to(&mut self, size: usize) -> wasmtime::Result<()> {
        if size > MOST_MEMORY {
            return Err(wasmtime::format_err!("more memory than the tests have"));
        }
        self.0.size.store(size, Ordering::Relaxed);
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.0.bytes.as_ptr().cast_mut().cast()
    }
}
