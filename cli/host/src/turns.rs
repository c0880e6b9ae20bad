//! Whose request an instance begins next.
//!
//! A request that calculates has a processor to itself, and the runtime begins requests in the order in which they
//! come. So a burst of one client would hold up all others for as long as it takes. Here only a few requests are
//! begun at a moment. The networks that the others come from take turns, and of each network the newest request
//! goes first. So who comes after a burst of the same network waits for one request and not for all. Each fourth turn
//! is the oldest request's, so that no request waits for ever while others keep coming.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::connections::Network;

/// Of so many turns of those who wait, one is the oldest request's of its network.
const OLDEST_EACH: u64 = 4;

/// The turns of a host.
pub struct Turns(Arc<Mutex<State>>);

struct State {
    free: usize,
    /// Who waits, the newest last, by network in the order of their turns.
    waiting: VecDeque<(Network, VecDeque<oneshot::Sender<Turn>>)>,
    /// How many turns were given to who waited.
    given: u64,
}

/// The right to begin a request. The next one has it when this one is dropped.
pub struct Turn(Arc<Mutex<State>>);

impl Turns {
    /// So many at a moment.
    pub fn new(count: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: count,
            waiting: VecDeque::new(),
            given: 0,
        })))
    }

    /// A turn for a request from a network, once it has one.
    pub async fn turn(&self, network: Network) -> Turn {
        loop {
            let waiting = {
                let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if state.free > 0 {
                    state.free -= 1;
                    return Turn(Arc::clone(&self.0));
                }
                state.wait(network)
            };
            // A sender goes only when its turn has come; otherwise there is another wait.
            if let Ok(turn) = waiting.await {
                return turn;
            }
        }
    }
}

impl State {
    fn wait(&mut self, network: Network) -> oneshot::Receiver<Turn> {
        let (sender, receiver) = oneshot::channel();
        match self.waiting.iter_mut().find(|(other, _)| *other == network) {
            Some((_, senders)) => senders.push_back(sender),
            None => self.waiting.push_back((network, VecDeque::from([sender]))),
        }
        receiver
    }

    /// Who is next, without those who have given up.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        loop {
            let (network, mut senders) = self.waiting.pop_front()?;
            let pop = || match self.given % OLDEST_EACH == OLDEST_EACH - 1 {
                true => senders.pop_front(),
                false => senders.pop_back(),
            };
            let next = std::iter::from_fn(pop).find(|sender| !sender.is_closed());
            if !senders.is_empty() {
                self.waiting.push_back((network, senders));
            }
            if next.is_some() {
                self.given += 1;
                return next;
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let next = state.next();
            if next.is_none() {
                state.free += 1;
            }
            next
        };
        if let Some(next) = next {
            // Who gives up at this moment drops the turn that is sent, and with it gives it on.
            drop(next.send(Self(Arc::clone(&self.0))));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use futures_util::FutureExt;

    use super::*;

    fn network(last: u8) -> Network {
        IpAddr::from([192, 0, 2, last]).into()
    }

    /// Who has a turn, in order, once the first one is given back.
    fn order(waiting: &[u8]) -> Vec<usize> {
        let turns = Turns::new(1);
        let first = turns.turn(network(0)).now_or_never().unwrap();
        let mut others: Vec<_> = waiting
            .iter()
            .map(|last| Some(Box::pin(turns.turn(network(*last)))))
            .collect();
        for other in others.iter_mut().flatten() {
            assert!(other.now_or_never().is_none());
        }
        drop(first);
        let mut order = Vec::new();
        while others.iter().any(Option::is_some) {
            let had = others.iter_mut().position(|other| {
                other
                    .as_mut()
                    .is_some_and(|other| other.now_or_never().is_some())
            });
            order.push(had.unwrap());
            others[had.unwrap()] = None;
        }
        order
    }

    #[test]
    fn networks_take_turns_and_the_newest_request_of_each_goes_first() {
        assert_eq!(order(&[1, 1, 1, 2, 3, 2]), [2, 5, 4, 0, 3, 1]);
        assert_eq!(order(&[1; 10]), [9, 8, 7, 0, 6, 5, 4, 1, 3, 2]);
    }

    #[test]
    fn who_gives_up_takes_no_turn() {
        let turns = Turns::new(1);
        let first = turns.turn(network(0)).now_or_never().unwrap();
        let mut kept = Box::pin(turns.turn(network(1)));
        assert!((&mut kept).now_or_never().is_none());
        for last in [1, 2] {
            let mut gone = Box::pin(turns.turn(network(last)));
            assert!((&mut gone).now_or_never().is_none());
        }
        drop(first);
        assert!((&mut kept).now_or_never().is_some());
        assert!(turns.turn(network(3)).now_or_never().is_some());
    }
}
