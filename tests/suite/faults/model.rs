//! What was given, to whom and until when: kept apart from the service, from its answers alone.

use std::collections::{BTreeMap, BTreeSet};

use super::requests::{DEVICES_A_DAY, PER_MINUTE, REPEAT_SECONDS, REPEATS, STREAMS, USES, Wish};

/// A licence that was given: when its request began and was answered, in seconds since 1970 by the clock of the
/// instance.
#[derive(Debug, Clone, Copy)]
struct Given {
    device: u8,
    began: u64,
    answered: u64,
}

/// What was given.
#[derive(Default)]
pub struct Model {
    /// By viewer and device: until when it may play, in milliseconds of the true time.
    leases: BTreeMap<(u64, u8), u64>,
    /// By viewer and device: the session that its player has, and until when.
    sessions: BTreeMap<(u64, u8), (String, u64)>,
    /// Sessions whose players have torn down.
    ended: BTreeSet<String>,
    /// By token.
    uses: BTreeMap<u64, Vec<Given>>,
    abusive: Vec<Given>,
    /// Devices that may have passed uncounted.
    uncounted: BTreeSet<u8>,
    matched: BTreeSet<[u8; 8]>,
    /// Hand-overs that a viewer may have.
    handovers: u64,
    slack: Option<u64>,
    /// The most devices of a viewer at a time that were seen beyond its limit.
    pub beyond: usize,
}

impl Model {
    /// Nothing is given. `slack`: how long a request can take, and clocks be apart, in seconds; `None`: clocks say nothing.
    pub fn new(handovers: u64, slack: Option<u64>) -> Self {
        Self {
            handovers,
            slack,
            ..Self::default()
        }
    }

    /// A device may play until then.
    pub fn lease(&mut self, viewer: u64, device: u8, until: u64) {
        let lease = self.leases.entry((viewer, device)).or_default();
        *lease = until.max(*lease);
    }

    /// A player has a session until then. One that was lost sight of is another.
    pub fn session(&mut self, viewer: u64, device: u8, id: &str, until: u64) {
        // An answer that comes after its player has gone is read by nobody.
        if self.ended.contains(id) {
            return;
        }
        let held = self.sessions.entry((viewer, device)).or_default();
        // An answer that overtakes another takes nothing back.
        let until = match held.0 == id {
            true => held.1.max(until),
            false => until,
        };
        *held = (id.to_owned(), until);
    }

    /// A player ends its session.
    pub fn end(&mut self, viewer: u64, device: u8, id: &str) {
        self.ended.insert(id.to_owned());
        self.sessions.remove(&(viewer, device));
    }

    /// No more devices of a viewer play, or hold a session, than may.
    pub fn check_streams(&mut self, viewer: u64, now: u64) -> Result<(), String> {
        self.leases.retain(|_, until| *until > now);
        self.sessions.retain(|_, (_, until)| *until > now);
        let of_viewer = |(one, device): &(u64, u8)| (*one == viewer).then_some(*device);
        let leases = self.leases.keys().filter_map(of_viewer);
        let sessions = self.sessions.keys().filter_map(of_viewer);
        let devices: BTreeSet<u8> = leases.chain(sessions).collect();
        let limit = STREAMS[usize::try_from(viewer).unwrap() % STREAMS.len()];
        self.beyond = self.beyond.max(devices.len().saturating_sub(limit));
        if devices.len() > limit + usize::try_from(self.handovers).unwrap() {
            return Err(format!(
                "viewer {viewer} has {limit} streams, and {devices:?} play: {:?} {:?}",
                self.leases, self.sessions
            ));
        }
        Ok(())
    }

    /// No token gives more licences than it is good for, but for repeats.
    pub fn uses(&mut self, token: u64, given: (u8, u64, u64)) -> Result<(), String> {
        let licences = self.uses.entry(token).or_default();
        licences.push(Given::from(given));
        let needed: usize = (0..=u8::MAX)
            .map(|device| {
                let mut of_device: Vec<Given> = licences
                    .iter()
                    .filter(|given| given.device == device)
                    .copied()
                    .collect();
                of_device.sort_by_key(|given| given.began);
                uses_needed(&of_device, self.slack)
            })
            .sum();
        match needed > usize::try_from(USES).unwrap() {
            true => Err(format!(
                "token {token} is good for {USES} uses: {licences:?}"
            )),
            false => Ok(()),
        }
    }

    /// A request was not answered, or the store failed while it was counted, or did an operation twice: its device may
    /// pass uncounted, as docs/deploy/rate-limits.md says.
    pub fn cut_off(&mut self, wish: &Wish) {
        if let Wish::Abusive(device) = wish {
            self.uncounted.insert(*device);
        }
    }

    /// No more licences and devices than `abuse` allows, of requests that lie in one minute and one day.
    pub fn abusive(&mut self, given: (u8, u64, u64)) -> Result<(), String> {
        self.abusive.push(Given::from(given));
        let within = |seconds: u64| {
            let mut periods: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
            for given in &self.abusive {
                let period = given.began / seconds;
                if given.answered / seconds == period {
                    periods.entry(period).or_default().push(given.device);
                }
            }
            periods
        };
        let is_over = within(60)
            .values()
            .any(|devices| devices.len() > PER_MINUTE);
        let has_many = within(86_400).values().any(|devices| {
            let mut devices: BTreeSet<u8> = devices.iter().copied().collect();
            devices.retain(|device| !self.uncounted.contains(device));
            devices.len() > DEVICES_A_DAY
        });
        match is_over || has_many {
            true => Err(format!("more than `abuse` allows: {:?}", self.abusive)),
            false => Ok(()),
        }
    }

    /// No challenge is answered twice.
    pub fn matched(&mut self, challenge: [u8; 8]) -> Result<(), String> {
        match self.matched.insert(challenge) {
            true => Ok(()),
            false => Err(format!("{challenge:?} was answered before")),
        }
    }
}

impl From<(u8, u64, u64)> for Given {
    fn from((device, began, answered): (u8, u64, u64)) -> Self {
        Self {
            device,
            began,
            answered,
        }
    }
}

/// The fewest uses that licences of one device can be, in the order in which they were asked for: each covers itself and
/// its repeats.
fn uses_needed(licences: &[Given], slack: Option<u64>) -> usize {
    let mut needed = 0;
    let mut rest = licences;
    while let Some(first) = rest.first() {
        let is_repeat = |given: &&Given| {
            slack.is_none_or(|slack| given.began <= first.began + REPEAT_SECONDS + slack)
        };
        let covered = rest.iter().take(1 + REPEATS).take_while(is_repeat).count();
        rest = rest.get(covered..).unwrap_or_default();
        needed += 1;
    }
    needed
}

/// Whether a code is what became of the faults of a request that took so many seconds. `None`:
/// clocks jumped meanwhile.
pub fn explains(
    code: &str,
    wish: &Wish,
    wrong: u8,
    has_outbound_failed: bool,
    has_abuse: bool,
    took: Option<u64>,
) -> bool {
    use super::host::{OUTBOUND, STORE, VARIABLES};
    let of_store = ["store_unavailable", "platform_unavailable"];
    let of_remembered = [
        "key_server_unavailable",
        "key_server_answer",
        "token_keys_unavailable",
    ];
    let of_servers = [
        "key_server_denied",
        "license_service_denied",
        "license_service_unavailable",
        "license_service_answer",
        "callback_failed",
    ];
    wish.codes().contains(&code)
        || has_abuse && wish.is_licence() && code == "abuse_limit"
        // What comes too late for its period is refused, and a server has four seconds.
        || (wrong & STORE != 0 || took.is_none_or(|took| took > 15)) && of_store.contains(&code)
        || wrong & VARIABLES != 0 && code == "platform_unavailable"
        || (wrong & OUTBOUND != 0 || took.is_none_or(|took| took >= 3))
            && (of_servers.contains(&code) || of_remembered.contains(&code))
        // A server that failed, or was late, is left alone for a while.
        || has_outbound_failed && of_remembered.contains(&code)
}
