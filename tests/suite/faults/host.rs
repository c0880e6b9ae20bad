//! A host on which every call can fail, hang, answer late, be done twice, or be the last of its instance, by a seed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use keylet::platform::{Error, Platform, Timeout};
use keylet_host::Provided;
use zeroize::Zeroizing;

use crate::support::{Chance, turn};

/// How far clocks are apart where they are as they should be, in milliseconds: less than the guard of a period of a
/// minute.
pub const SKEW: u64 = 4_000;

/// How long a host waits for its store, in milliseconds.
const STORE_TIMEOUT: u64 = 2_000;

/// What went wrong in a request: bits.
pub const STORE: u8 = 1;
pub const VARIABLES: u8 = 1 << 1;
pub const OUTBOUND: u8 = 1 << 2;
/// A call to the store was done twice, and is answered as if it had been done once.
pub const DOUBLED: u8 = 1 << 3;

/// The end of an instance, in place of a value.
pub struct Killed;

type Values = BTreeMap<String, Vec<u8>>;

/// A call that was given up and is done later.
struct Late {
    due: u64,
    act: Box<dyn FnOnce(&mut Values)>,
}

/// What a host never does. The model must notice it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Each instance counts for itself.
    CountsApart,
    /// Time does not pass for the service.
    ClockStands,
}

/// What is the same for all instances.
pub struct World {
    values: RefCell<Values>,
    late: RefCell<Vec<Late>>,
    /// The true time, in milliseconds since 1970.
    pub time: Cell<u64>,
    pub chance: RefCell<Chance>,
    /// Of a thousand calls, how many go wrong.
    pub faults: Cell<u64>,
    /// Whether clocks jump by hours.
    pub has_wild_clocks: bool,
    broken: Option<Broken>,
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// What went wrong so far in the request that is polled.
    pub wrong: Cell<u8>,
    /// What the request that is polled has logged.
    pub logged: RefCell<Vec<String>>,
    /// How many calls went wrong, by the kind of the call and what it was.
    pub counts: RefCell<BTreeMap<(&'static str, Fault), u64>>,
    /// What the servers elsewhere answer.
    peer: fn(&Request<Vec<u8>>) -> Response<Vec<u8>>,
}

/// How a call goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It is refused, and nothing is done.
    Refused,
    /// It is done, and its answer is lost.
    AnswerLost,
    /// It is done twice before it is answered.
    Twice,
    /// It is answered late.
    Late,
    /// It is given up, and done after that.
    DoneLater,
    /// It is not answered, done or not.
    Hangs,
}

const FAULTS: [Fault; 6] = [
    Fault::Refused,
    Fault::AnswerLost,
    Fault::Twice,
    Fault::Late,
    Fault::DoneLater,
    Fault::Hangs,
];

impl World {
    pub fn new(
        seed: u64,
        has_wild_clocks: bool,
        broken: Option<Broken>,
        peer: fn(&Request<Vec<u8>>) -> Response<Vec<u8>>,
    ) -> Rc<Self> {
        let mut chance = Chance(seed);
        // Numbers of neighbouring seeds begin alike.
        for _ in 0..8 {
            chance.below(2);
        }
        let time = 1_800_000_000_000 + chance.below(86_400_000);
        Rc::new(Self {
            values: RefCell::default(),
            late: RefCell::default(),
            time: Cell::new(time),
            chance: RefCell::new(chance),
            faults: Cell::new(0),
            has_wild_clocks,
            broken,
            began: time / 1_000,
            wrong: Cell::new(0),
            logged: RefCell::default(),
            counts: RefCell::default(),
            peer,
        })
    }

    pub fn below(&self, below: u64) -> u64 {
        self.chance.borrow_mut().below(below)
    }

    pub fn pick(&self, length: usize) -> usize {
        self.chance.borrow_mut().pick(length)
    }

    /// Lets time pass, in milliseconds, and what is due happen.
    pub fn pass(&self, milliseconds: u64) {
        let now = self.time.get() + milliseconds;
        self.time.set(now);
        let mut late = self.late.borrow_mut();
        while let Some(number) = late.iter().position(|late| late.due <= now) {
            let late = late.swap_remove(number);
            (late.act)(&mut self.values.borrow_mut());
        }
    }

    /// From here on nothing fails, and what was given up is done.
    pub fn heal(&self) {
        self.faults.set(0);
        let mut late = std::mem::take(&mut *self.late.borrow_mut());
        late.sort_by_key(|late| late.due);
        for late in late {
            (late.act)(&mut self.values.borrow_mut());
        }
    }

    /// How the next call goes; `None`: well.
    fn fault(&self, call: &'static str, kind: u8) -> Option<Fault> {
        // Variables are read far more often than all else.
        let more = if kind == VARIABLES { 1 } else { 4 };
        if self.faults.get() == 0 || self.below(1_000) >= self.faults.get() * more {
            return None;
        }
        let fault = FAULTS[self.pick(FAULTS.len())];
        *self.counts.borrow_mut().entry((call, fault)).or_default() += 1;
        let kind = match fault {
            Fault::Twice if kind == STORE => DOUBLED,
            Fault::Twice | Fault::Late => 0,
            _ => kind,
        };
        self.wrong.set(self.wrong.get() | kind);
        Some(fault)
    }

    async fn until(&self, time: u64) {
        poll_fn(|_| match self.time.get() < time {
            true => Poll::Pending,
            false => Poll::Ready(()),
        })
        .await;
    }

    async fn wait(&self, milliseconds: u64) {
        self.until(self.time.get() + milliseconds).await;
    }
}

/// An instance: each of its calls waits for its turn before it is done, and after.
#[derive(Clone)]
pub struct Instance {
    pub world: Rc<World>,
    variables: Rc<Provided>,
    /// How far its clock is from the true time, in milliseconds.
    ahead: Rc<Cell<i64>>,
    /// What it has counted for itself.
    counted: Rc<RefCell<Values>>,
}

impl Instance {
    pub fn new(world: &Rc<World>, variables: &Rc<Provided>) -> Self {
        let this = Self {
            world: Rc::clone(world),
            variables: Rc::clone(variables),
            ahead: Rc::default(),
            counted: Rc::default(),
        };
        this.set_clock();
        this
    }

    /// Its clock is again as it should be.
    pub fn set_clock(&self) {
        let ahead = self.world.below(SKEW + 1);
        self.ahead.set(i64::try_from(ahead).unwrap());
    }

    /// Its time, in seconds since 1970.
    pub fn clock(&self) -> u64 {
        let time = self.world.time.get();
        time.saturating_add_signed(self.ahead.get()) / 1_000
    }

    /// A call to the store.
    async fn act<T>(
        &self,
        call: &'static str,
        act: impl Fn(&mut Values) -> T + 'static,
    ) -> Result<T, Error> {
        let world = &self.world;
        turn().await;
        let done = || act(&mut world.values.borrow_mut());
        let failed = |reason: &str| Err(Error::Store(reason.to_owned()));
        let result = match world.fault(call, STORE) {
            None => Ok(done()),
            Some(Fault::Refused) => failed("refused"),
            Some(Fault::AnswerLost) => {
                done();
                failed("the answer is lost")
            }
            Some(Fault::Twice) => {
                done();
                Ok(done())
            }
            Some(Fault::Late) => {
                world.wait(world.below(STORE_TIMEOUT)).await;
                let result = done();
                world.wait(world.below(STORE_TIMEOUT)).await;
                Ok(result)
            }
            Some(Fault::DoneLater) => {
                world.wait(STORE_TIMEOUT).await;
                let due = world.time.get() + world.below(90_000);
                let act = Box::new(move |values: &mut Values| drop(act(values)));
                world.late.borrow_mut().push(Late { due, act });
                failed("no answer in time")
            }
            Some(Fault::Hangs) => {
                if world.below(2) == 0 {
                    done();
                }
                pending().await
            }
        };
        turn().await;
        result
    }
}

impl Platform for Instance {
    const READS_AT_ONCE: bool = true;

    async fn variable(&self, name: &str) -> Result<Option<Zeroizing<String>>, Error> {
        turn().await;
        let value = self.variables.get(name).filter(|value| !value.is_empty());
        match self.world.fault("variable", VARIABLES) {
            Some(Fault::Refused | Fault::AnswerLost | Fault::DoneLater) => Err(Error::Variables {
                variable: name.to_owned(),
            }),
            Some(Fault::Hangs) => pending().await,
            Some(Fault::Late) => {
                self.world.wait(self.world.below(5_000)).await;
                Ok(value.cloned().map(Zeroizing::new))
            }
            None | Some(Fault::Twice) => Ok(value.cloned().map(Zeroizing::new)),
        }
    }

    fn now(&self) -> u64 {
        let world = &self.world;
        if world.has_wild_clocks && world.faults.get() > 0 && world.below(30) == 0 {
            const HOURS: u64 = 5 * 3_600_000;
            let ahead = i64::try_from(world.below(2 * HOURS)).unwrap();
            self.ahead.set(ahead - i64::try_from(HOURS).unwrap());
        }
        match world.broken {
            Some(Broken::ClockStands) => world.began,
            _ => self.clock(),
        }
    }

    fn fill_random(&self, buffer: &mut [u8]) {
        let world = &self.world;
        if world.faults.get() > 0 && world.below(40_000) < world.faults.get() {
            *world
                .counts
                .borrow_mut()
                .entry(("random", Fault::Refused))
                .or_default() += 1;
            // A component ends where there is no randomness. No message: it is no panic of the service.
            std::panic::resume_unwind(Box::new(Killed));
        }
        let mut chance = world.chance.borrow_mut();
        buffer.fill_with(|| u8::try_from(chance.below(256)).unwrap());
    }

    fn log(&self, line: &str) {
        self.world.logged.borrow_mut().push(line.to_owned());
    }

    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let key = key.to_owned();
        self.act("get", move |values| values.get(&key).cloned())
            .await
    }

    async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        let (key, value) = (key.to_owned(), value.to_vec());
        self.act("set", move |values| {
            values.insert(key.clone(), value.clone());
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        let key = key.to_owned();
        self.act("delete", move |values| {
            values.remove(&key);
        })
        .await
    }

    async fn keys(&self) -> Result<Vec<String>, Error> {
        self.act("keys", |values| values.keys().cloned().collect())
            .await
    }

    async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        let key = key.to_owned();
        let add = move |values: &mut Values| {
            let value = values.entry(key.clone()).or_insert_with(|| vec![0; 8]);
            let sum = i64::from_le_bytes(value.as_slice().try_into().unwrap()) + delta;
            *value = sum.to_le_bytes().to_vec();
            sum
        };
        match self.world.broken {
            Some(Broken::CountsApart) => {
                let counted = Rc::clone(&self.counted);
                self.act("increment", move |_| add(&mut counted.borrow_mut()))
                    .await
            }
            _ => self.act("increment", add).await,
        }
    }

    async fn sleep(&self, duration: Duration) {
        self.world
            .wait(u64::try_from(duration.as_millis()).unwrap())
            .await;
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        let world = &self.world;
        turn().await;
        let timeout = Timeout::from_request(&request);
        let timeout = u64::try_from(timeout.as_millis()).unwrap();
        let authority = keylet::platform::origin(request.uri());
        let failed = |reason: &str| {
            Err(Error::Outbound {
                authority: authority.clone(),
                reason: reason.to_owned(),
            })
        };
        let answer = (world.peer)(&request);
        let with = |status: u16, body: &str| {
            let mut answer = Response::new(body.as_bytes().to_vec());
            *answer.status_mut() = status.try_into().unwrap();
            Ok(answer)
        };
        let result = match world.fault("send", OUTBOUND) {
            None | Some(Fault::Twice) => Ok(answer),
            Some(Fault::Refused) => match world.below(3) {
                0 => Err(Error::OutboundDenied(authority.clone())),
                1 => failed("refused"),
                _ => Err(Error::OutboundTooLarge(authority.clone())),
            },
            Some(Fault::AnswerLost) => {
                // As servers and what stands before them answer when they are ill.
                world.wrong.set(world.wrong.get() | OUTBOUND);
                match world.below(5) {
                    0 => with(500, "{}"),
                    1 => with(503, "<html>"),
                    2 => with(200, "<html>"),
                    3 => with(200, ""),
                    _ => with(302, ""),
                }
            }
            Some(Fault::Late) => {
                world.wait(world.below(timeout)).await;
                Ok(answer)
            }
            Some(Fault::DoneLater) => {
                world.wait(timeout).await;
                failed("no answer in time")
            }
            Some(Fault::Hangs) => pending().await,
        };
        turn().await;
        result
    }
}
