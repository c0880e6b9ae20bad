//! The whole service on hosts that fail, by a seed: nothing is given twice or beyond its terms, every refusal has the
//! code of what failed, and once the host is well again everybody is served.

mod host;
mod model;
mod requests;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use keylet::error::Code;
use keylet::service::{CODE_HEADER, Service};
use keylet_cli::device::{self, Licence, Secrets};
use keylet_host::Provided;
use serde_json::Value;

use host::{Broken, DOUBLED, Fault, Instance, Killed, OUTBOUND, World};
use model::{Model, explains};
use requests::{LEASE, LEEWAY, Ours, PERIOD, STATES, STREAMS, Wish};

/// Instances that run at a time, requests at a time, and requests of a seed while the host fails.
const INSTANCES: usize = 3;
const AT_ONCE: usize = 5;
const REQUESTS: usize = 28;

/// After so many milliseconds a client has gone.
const LONGEST: u64 = 40_000;

/// An instance and what it has in memory.
struct Machine {
    platform: Instance,
    service: Rc<Service<Instance>>,
}

/// A request on its way.
struct Task {
    machine: usize,
    wish: Wish,
    secrets: Option<Rc<(Vec<u8>, Secrets)>>,
    /// The true time in milliseconds, and the instance's in seconds.
    began: u64,
    clock: u64,
    wrong: u8,
    logged: Vec<String>,
    future: Pin<Box<dyn Future<Output = Response<Vec<u8>>>>>,
}

/// What seeds came to.
#[derive(Debug, Default)]
struct Counts {
    answers: BTreeMap<String, u64>,
    faults: BTreeMap<(&'static str, Fault), u64>,
    instances_killed: u64,
    requests_dropped: u64,
    /// The most devices of a viewer beyond its limit, by a hand-over.
    beyond: usize,
}

impl Counts {
    fn add(&mut self, other: Self) {
        for (name, number) in other.answers {
            *self.answers.entry(name).or_default() += number;
        }
        for (name, number) in other.faults {
            *self.faults.entry(name).or_default() += number;
        }
        self.instances_killed += other.instances_killed;
        self.requests_dropped += other.requests_dropped;
        self.beyond = self.beyond.max(other.beyond);
    }
}

/// A world of a seed with what runs in it.
struct Run {
    world: Rc<World>,
    variables: Rc<Provided>,
    machines: Vec<Machine>,
    tasks: Vec<Task>,
    model: Model,
    /// Sessions and challenges that players know.
    ours: BTreeMap<(u64, u8), Ours>,
    challenges: Vec<[u8; 8]>,
    /// When the host was well again, in milliseconds.
    healed: Option<u64>,
    /// Whether what the store does not count is refused.
    denies: bool,
    has_abuse: bool,
    /// A server elsewhere has failed, or was late.
    outbound_failed: bool,
    counts: Counts,
    is_told: bool,
}

/// Variables of all variants: what fails is refused or allowed, no hand-over or one, `abuse` or none.
static VARIANTS: LazyLock<Vec<Provided>> = LazyLock::new(|| {
    let variant = |number: u64| {
        let failure = if number & 1 == 0 { "deny" } else { "allow" };
        requests::variables(failure, number >> 1 & 1, number >> 2 & 1 == 1)
    };
    (0..8).map(variant).collect()
});

impl Run {
    fn new(seed: u64, broken: Option<Broken>, is_told: bool) -> Self {
        let world = World::new(seed, seed % 3 == 2, broken, requests::peer);
        // Mostly: what is not counted is refused, and nothing is abuse.
        let denies = world.below(5) != 0;
        let handovers = world.below(2);
        let has_abuse = world.below(4) == 0;
        let number = usize::from(!denies) | usize::try_from(handovers).unwrap() << 1;
        let variables = Rc::new(VARIANTS[number | usize::from(has_abuse) << 2].clone());
        let machines = (0..INSTANCES).map(|_| Machine::new(&world, &variables));
        let slack = LONGEST / 1_000 + host::SKEW / 1_000 + 1;
        Self {
            machines: machines.collect(),
            tasks: Vec::new(),
            model: Model::new(handovers, (!world.has_wild_clocks).then_some(slack)),
            ours: BTreeMap::new(),
            challenges: Vec::new(),
            healed: None,
            denies,
            has_abuse,
            outbound_failed: false,
            counts: Counts::default(),
            is_told,
            world,
            variables,
        }
    }

    /// Whether a viewer's limit can be held, and what is counted at all.
    fn counts_streams(&self) -> bool {
        let now = self.world.time.get();
        let is_calm = |healed: u64| now >= healed + 2 * PERIOD * 1_000;
        self.denies && (!self.world.has_wild_clocks || self.healed.is_some_and(is_calm))
    }

    /// Sends a request to an instance.
    fn send(&mut self, machine: usize, wish: Wish) {
        let (request, secrets) = wish.request(self.world.began);
        if let Wish::End(viewer, device, ours) = &wish {
            self.model.end(*viewer, *device, &ours.id);
            self.ours.remove(&(*viewer, *device));
        }
        let Machine { platform, service } = &self.machines[machine];
        let service = Rc::clone(service);
        let clock = platform.clock();
        self.tasks.push(Task {
            machine,
            wish,
            secrets,
            began: self.world.time.get(),
            clock,
            wrong: 0,
            logged: Vec::new(),
            future: Box::pin(answer(service, request)),
        });
    }

    /// Lets a request make a step. Returns it with its answer when it is over.
    fn step(&mut self, number: usize) -> Option<(Task, Response<Vec<u8>>)> {
        let task = &mut self.tasks[number];
        self.world.wrong.set(task.wrong);
        let context = &mut Context::from_waker(Waker::noop());
        let polled = catch_unwind(AssertUnwindSafe(|| task.future.as_mut().poll(context)));
        task.wrong = self.world.wrong.get();
        self.outbound_failed |= task.wrong & OUTBOUND != 0;
        task.logged.append(&mut self.world.logged.borrow_mut());
        match polled {
            Ok(Poll::Ready(answer)) => Some((self.tasks.swap_remove(number), answer)),
            Ok(Poll::Pending) => None,
            Err(panic) if panic.is::<Killed>() => {
                let machine = task.machine;
                self.kill(machine);
                None
            }
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// An instance ends with all of its requests, and another one takes its place.
    fn kill(&mut self, machine: usize) {
        for task in self.tasks.extract_if(.., |task| task.machine == machine) {
            self.model.cut_off(&task.wish);
        }
        self.machines[machine] = Machine::new(&self.world, &self.variables);
        self.counts.instances_killed += 1;
    }

    /// Lets requests come, and calls and instances fail.
    fn storm(&mut self) -> Result<(), String> {
        let topics = [self.world.below(5), self.world.below(5)];
        self.world.faults.set(5 + self.world.below(60));
        let mut asked = 0;
        while asked < REQUESTS || !self.tasks.is_empty() {
            let world = Rc::clone(&self.world);
            let passed = match world.below(200) {
                0 => world.below(PERIOD * 1_000),
                1..6 => world.below(4_000),
                _ if self.tasks.is_empty() => world.below(9_000),
                _ => world.below(50),
            };
            world.pass(passed);
            self.outbound_failed |= passed >= 1_000;
            if asked < REQUESTS
                && self.tasks.len() < AT_ONCE
                && (self.tasks.is_empty() || world.below(12) == 0)
            {
                asked += 1;
                let topic = topics[world.pick(2)];
                let wish = self.wish(topic);
                self.send(world.pick(INSTANCES), wish);
            }
            if world.below(700) == 0 {
                self.kill(world.pick(INSTANCES));
            }
            let now = world.time.get();
            let is_gone = |task: &Task| now > task.began + LONGEST;
            if let Some(number) = self.tasks.iter().position(is_gone) {
                // With a client, the host ends the request or its whole instance.
                let task = self.tasks.swap_remove(number);
                self.model.cut_off(&task.wish);
                self.counts.requests_dropped += 1;
                if world.below(2) == 0 {
                    self.kill(task.machine);
                }
            }
            if self.tasks.is_empty() {
                continue;
            }
            if let Some((task, answer)) = self.step(world.pick(self.tasks.len())) {
                self.judge(&task, &answer)?;
            }
        }
        Ok(())
    }

    /// What somebody wants next.
    fn wish(&mut self, topic: u64) -> Wish {
        let world = Rc::clone(&self.world);
        let device = u8::try_from(world.below(4)).unwrap();
        let viewer = world.below(2);
        match topic {
            0 | 1 => {
                let player = viewer * 10;
                let device = device + 10 * u8::try_from(viewer).unwrap();
                let ours = self.ours.get(&(player, device)).cloned();
                match (ours, world.below(10)) {
                    (Some(ours), 0..3) => Wish::Beat(player, device, ours),
                    (Some(ours), 3..6) => Wish::Play(player, device, ours),
                    (Some(ours), 6) => Wish::End(player, device, ours),
                    (None, 0..4) => Wish::Open(player, device),
                    _ => {
                        let state = STATES[[0, 0, 0, 1, 2][world.pick(5)]];
                        Wish::Stream(player, device, state)
                    }
                }
            }
            2 => match world.below(4) {
                0 if self.has_abuse => Wish::Abusive(device),
                _ => Wish::Uses(world.below(2), device),
            },
            3 => match world.below(12) {
                0 | 1 => Wish::Stored,
                2..5 => Wish::Fetched,
                5 => Wish::Put,
                6 => Wish::Read,
                7 | 8 => Wish::Published,
                9 if !world.has_wild_clocks => Wish::Sweep,
                10 => Wish::Ending,
                _ => Wish::Plain,
            },
            _ => match world.below(12) {
                0 | 1 => Wish::Widevine,
                2 | 3 => Wish::PlayReady,
                4 => Wish::ClearKey,
                5 => Wish::Asked,
                6 => Wish::Challenge,
                7..10 if !self.challenges.is_empty() => {
                    let known = self.challenges.len();
                    Wish::CheckIn(self.challenges[world.pick(known)])
                }
                10 => Wish::Mint,
                _ => Wish::Health,
            },
        }
    }

    /// Holds an answer against what may be given.
    fn judge(&mut self, task: &Task, answer: &Response<Vec<u8>>) -> Result<(), String> {
        let status = answer.status().as_u16();
        let code = answer.headers().get(CODE_HEADER);
        let code = code.map_or("", |code| code.to_str().unwrap());
        let name = format!("{status} {code}");
        if self.is_told {
            let time = self.world.time.get();
            println!("{time} {} {:?}: {name}", task.machine, task.wish);
        }
        *self.counts.answers.entry(name.clone()).or_default() += 1;
        let secret = String::from_utf8_lossy(answer.body()).contains(requests::KEY);
        let told = task.logged.iter().any(|line| line.contains(requests::KEY));
        if told || secret && task.wish != Wish::Read {
            return Err("a key is told".to_owned());
        }
        if code == "store_unavailable" || task.wrong & DOUBLED != 0 {
            self.model.cut_off(&task.wish);
        }
        if status >= 400 && !(status == 503 && task.wish == Wish::Health) {
            let known = Code::ALL.iter().find(|known| known.name == code);
            if known.is_none_or(|known| known.status != status) {
                return Err(format!("{name} is not in docs/errors.md"));
            }
            let took = (self.world.time.get() - task.began) / 1_000;
            let is_wild = self.world.has_wild_clocks && self.healed.is_none();
            let took = (!is_wild).then_some(took);
            let wrong = task.wrong;
            let explained = explains(
                code,
                &task.wish,
                wrong,
                self.outbound_failed,
                self.has_abuse,
                took,
            );
            // A session that was let in uncounted has another id once it is counted, which an answer in bytes does not tell.
            let is_recounted = !self.denies && code == "session_token";
            return match explained || is_recounted {
                true => Ok(()),
                false => Err(format!("{name}, and what went wrong was {wrong:#b}")),
            };
        }
        if task.wish.is_licence() {
            let records: Vec<Value> = task
                .logged
                .iter()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            if records.len() != 1 {
                return Err(format!("a licence has {} audit records", records.len()));
            }
        }
        self.given(task, answer)
    }

    /// Keeps what was given, and looks at whether it may be.
    fn given(&mut self, task: &Task, answer: &Response<Vec<u8>>) -> Result<(), String> {
        let clock = self.machines[task.machine].platform.clock();
        let now = self.world.time.get();
        let times = |device: u8| (device, task.clock, clock);
        let licence = task.secrets.as_ref().filter(|_| answer.status() == 200);
        let licence = licence.map(|message| Licence::open(answer.body(), &message.1));
        let licence = licence
            .transpose()
            .map_err(|error| format!("a CKC does not open: {error}"))?;
        let mut lease = None;
        if let Some(licence) = &licence {
            if hex::encode(&licence.key) != requests::KEY {
                return Err("a CKC has another key".to_owned());
            }
            lease = match licence.duration {
                Some(device::Duration::Lease { lease_seconds }) => Some(lease_seconds),
                None if matches!(task.wish, Wish::Uses(..) | Wish::Stored | Wish::Fetched) => None,
                ref other => return Err(format!("a licence has the duration {other:?}")),
            };
            if lease.is_some_and(|lease| lease > LEASE) {
                return Err(format!("a lease has {lease:?} seconds"));
            }
        }
        // From the beginning of the request: a device that gets it late ends later by that time, as docs/sessions.md says.
        let until = |lease: Option<u32>| task.began + u64::from(lease.unwrap_or_default()) * 1_000;
        match &task.wish {
            Wish::Ending if !self.world.has_wild_clocks => {
                if task.clock > self.world.began + 300 + LEEWAY {
                    return Err("a token is good after its end".to_owned());
                }
                let ends = task.clock + u64::from(lease.unwrap_or_default());
                if ends > self.world.began + 400 {
                    return Err(format!(
                        "a lease ends {} seconds late",
                        ends - self.world.began - 400
                    ));
                }
            }
            Wish::Uses(token, device) if self.denies => {
                self.model.uses(*token, times(*device))?;
            }
            Wish::Abusive(device) if self.denies && !self.world.has_wild_clocks => {
                self.model.abusive(times(*device))?;
            }
            Wish::Stream(viewer, device, _) | Wish::Play(viewer, device, _)
                if licence.is_some() =>
            {
                if lease.is_none_or(|lease| u64::from(lease) > 2 * PERIOD) {
                    return Err(format!("a stream has the lease {lease:?}"));
                }
                self.model.lease(*viewer, *device, until(lease));
                if let (Wish::Play(.., ours), Some(token)) =
                    (&task.wish, answer.headers().get("keylet-session"))
                {
                    self.next(*viewer, *device, &ours.id, token.to_str().unwrap());
                }
                self.check_streams(*viewer)?;
            }
            Wish::Open(viewer, device) | Wish::Beat(viewer, device, _) => {
                let session: Value = serde_json::from_slice(answer.body()).unwrap();
                let text = |name: &str| session[name].as_str().unwrap().to_owned();
                let (id, token) = (text("session_id"), text("session_token"));
                let left = session["expires_at"]
                    .as_u64()
                    .unwrap()
                    .saturating_sub(clock);
                // A clock that was ahead says a time that is far away.
                let left = left.min(2 * PERIOD);
                let is_open = matches!(task.wish, Wish::Open(..));
                let is_ours = self.ours.get(&(*viewer, *device)).is_some_and(|ours| {
                    is_open || matches!(&task.wish, Wish::Beat(.., asked) if ours.id == asked.id)
                });
                if is_open || is_ours {
                    let ours = Ours {
                        id: id.clone(),
                        token,
                    };
                    self.ours.insert((*viewer, *device), ours);
                    self.model
                        .session(*viewer, *device, &id, now + left * 1_000);
                    self.check_streams(*viewer)?;
                }
            }
            Wish::Challenge => {
                let given: Value = serde_json::from_slice(answer.body()).unwrap();
                let challenge = hex::decode(given["challenge"].as_str().unwrap()).unwrap();
                self.challenges.push(challenge.try_into().unwrap());
            }
            Wish::CheckIn(challenge) if self.denies => {
                let report: Value = serde_json::from_slice(answer.body()).unwrap();
                if report["challenge"] != "matched" {
                    return Err(format!("a report is taken: {report}"));
                }
                self.model.matched(*challenge)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The next token of a session, if it is still its player's.
    fn next(&mut self, viewer: u64, device: u8, id: &str, token: &str) {
        if let Some(ours) = self.ours.get_mut(&(viewer, device))
            && ours.id == id
        {
            token.clone_into(&mut ours.token);
        }
    }

    fn check_streams(&mut self, viewer: u64) -> Result<(), String> {
        if !self.counts_streams() {
            return Ok(());
        }
        let checked = self.model.check_streams(viewer, self.world.time.get());
        self.counts.beyond = self.counts.beyond.max(self.model.beyond);
        checked
    }

    /// Asks one thing of an instance while all is well.
    fn ask(&mut self, machine: usize, wish: Wish) -> Result<Response<Vec<u8>>, String> {
        let shown = format!("{wish:?}");
        self.send(machine, wish);
        let number = self.tasks.len() - 1;
        // More turns than any request takes, and time for pauses.
        for _ in 0..2_000 {
            if let Some((task, answer)) = self.step(number) {
                self.judge(&task, &answer)?;
                return Ok(answer);
            }
            self.world.pass(10);
        }
        Err(format!("{shown} is not answered"))
    }

    /// Asks one thing that must be had.
    fn have(&mut self, machine: usize, wish: Wish) -> Result<(), String> {
        // A token has some licences a minute.
        if self.has_abuse
            && matches!(
                wish,
                Wish::Plain | Wish::Stored | Wish::Fetched | Wish::Widevine | Wish::ClearKey
            )
        {
            self.world.pass(PERIOD * 1_000);
        }
        let shown = format!("{wish:?}");
        let mut answer = self.ask(machine, wish.clone())?;
        if self.has_abuse && self.world.has_wild_clocks && answer.status() == 429 {
            // What a clock that was ahead has counted is counted when that minute comes.
            self.world.pass(PERIOD * 1_000);
            answer = self.ask(machine, wish)?;
        }
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(format!(
                "the host is well, and {shown} is refused: {}",
                String::from_utf8_lossy(answer.body())
            )),
        }
    }

    /// Once the host is well, everybody is served.
    fn recover(&mut self) -> Result<(), String> {
        self.world.heal();
        self.healed = Some(self.world.time.get());
        for machine in &self.machines {
            machine.platform.set_clock();
        }
        self.outbound_failed = false;
        // One instance that has seen it all, and a fresh one.
        self.kill(1);
        for machine in [0, 1] {
            let number = 100 + u64::try_from(machine).unwrap() * 2;
            let device = 100 + u8::try_from(machine).unwrap();
            for wish in [
                Wish::Plain,
                Wish::Put,
                Wish::Stored,
                Wish::Uses(number, device),
                Wish::Widevine,
                Wish::PlayReady,
                Wish::ClearKey,
                Wish::Asked,
                Wish::Open(number, device),
            ] {
                self.have(machine, wish)?;
            }
            let ours = self.ours[&(number, device)].clone();
            self.have(machine, Wish::Play(number, device, ours))?;
            let ours = self.ours[&(number, device)].clone();
            self.have(machine, Wish::Beat(number, device, ours))?;
            let ours = self.ours[&(number, device)].clone();
            self.have(machine, Wish::End(number, device, ours))?;
            self.have(machine, Wish::Challenge)?;
            let challenge = *self.challenges.last().unwrap();
            self.have(machine, Wish::CheckIn(challenge))?;
            // What failed is asked for again after a minute.
            self.world.pass(61_000);
            self.have(machine, Wish::Fetched)?;
            self.have(machine, Wish::Published)?;
        }
        // Everybody is gone: the slots of the viewers of the storm are free.
        self.world.pass(3 * PERIOD * 1_000);
        for viewer in [0, 10] {
            let limit = STREAMS[usize::try_from(viewer).unwrap() % STREAMS.len()];
            if self.has_abuse {
                continue;
            }
            for number in 0..limit {
                let device = 50 + u8::try_from(viewer).unwrap() + u8::try_from(number).unwrap();
                let opened = self.have(0, Wish::Open(viewer, device));
                if opened.is_err() && self.world.has_wild_clocks {
                    // What a clock that was ahead has claimed is taken when that time comes, and as long as any slot.
                    self.world.pass(3 * PERIOD * 1_000);
                    self.have(0, Wish::Open(viewer, device))?;
                } else {
                    opened?;
                }
            }
            let refused = self.ask(1, Wish::Open(viewer, 99))?;
            if self.denies && refused.status() != 409 {
                return Err(format!("viewer {viewer} has one session more than {limit}"));
            }
        }
        Ok(())
    }
}

impl Machine {
    fn new(world: &Rc<World>, variables: &Rc<Provided>) -> Self {
        let platform = Instance::new(world, variables);
        let service = Rc::new(Service::new(platform.clone()));
        Self { platform, service }
    }
}

async fn answer(service: Rc<Service<Instance>>, request: Request<Vec<u8>>) -> Response<Vec<u8>> {
    service.handle(request).await
}

/// Lets a seed run. An error says what was broken.
fn run(seed: u64, broken: Option<Broken>, is_told: bool) -> Result<Counts, String> {
    let mut run = Run::new(seed, broken, is_told);
    let began = catch_unwind(AssertUnwindSafe(|| {
        run.have(0, Wish::Put)?;
        run.storm()?;
        run.recover()
    }));
    let outcome = began.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(format!("a panic: {}", text.unwrap_or_default()))
    });
    run.counts.faults = run.world.counts.take();
    outcome.map(|()| run.counts)
}

#[test]
fn whatever_a_host_does_nothing_is_given_twice_and_everybody_is_served_after_it() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .map(|text| text.parse::<u64>().unwrap())
    };
    if let Some(seed) = number("KEYLET_FAULT_SEED") {
        let counts = run(seed, None, true);
        println!("{counts:#?}");
        counts.unwrap();
        return;
    }
    let first = number("KEYLET_FAULT_FIRST").unwrap_or(0);
    let seeds = number("KEYLET_FAULT_SEEDS").unwrap_or(60);
    let next = AtomicU64::new(first);
    let total = Mutex::new(Counts::default());
    let broken = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds || broken.lock().unwrap().len() >= 10 {
                        return;
                    }
                    match run(seed, None, false) {
                        Ok(counts) => total.lock().unwrap().add(counts),
                        Err(reason) => {
                            println!("KEYLET_FAULT_SEED={seed}: {reason}");
                            broken.lock().unwrap().push(seed);
                        }
                    }
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    println!("{seeds} seeds from {first} on: {total:#?}");
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "seeds {broken:?} are broken");
    // All of it happened.
    for call in ["get", "set", "delete", "increment", "variable", "send"] {
        let happened = total.faults.keys().filter(|(name, _)| *name == call);
        assert!(happened.count() >= 3, "{call}: {:?}", total.faults);
    }
    assert!(total.instances_killed > 0 && total.requests_dropped > 0);
}

/// A model that notices nothing would prove nothing.
#[test]
fn the_model_notices_a_store_that_does_not_count_and_a_clock_that_stands() {
    let apart = [
        "streams, and",
        "is good for 2 uses",
        "more than `abuse` allows",
        "was answered before",
    ];
    let stands = ["seconds late"];
    for (broken, mut unnoticed) in [
        (Broken::CountsApart, apart.to_vec()),
        (Broken::ClockStands, stands.to_vec()),
    ] {
        for seed in 0..400 {
            if unnoticed.is_empty() {
                break;
            }
            if let Err(reason) = run(seed, Some(broken), false) {
                unnoticed.retain(|words| !reason.contains(words));
            }
        }
        assert!(unnoticed.is_empty(), "{broken:?}: {unnoticed:?}");
    }
}
