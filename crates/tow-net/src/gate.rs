//! The budget for peers that have not proved themselves (docs/SECURITY-MODEL.md, half-open peers).
//!
//! When it is full, somebody is dropped rather than refused, or patient attackers would keep
//! everybody out: from the earliest stage, of the source with most connections there, the oldest.
//! A proved connection has left the budget and is never dropped for a newcomer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// How far an unproved connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Accepted; no complete ClientHello yet.
    Accepted,
    /// The TLS handshake is going on.
    Handshake,
    /// TLS is done; the first frames are awaited.
    Hello,
}

/// Where a connection comes from: an IPv4 address, an IPv6 network of 64 bits, or this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// One IPv4 address (also when mapped into IPv6).
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address: one customer, as a rule.
    V6([u8; 8]),
    /// A Unix socket.
    Local,
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4),
            IpAddr::V6(v6) => Self::V6(network(v6)),
        }
    }
}

fn network(address: Ipv6Addr) -> [u8; 8] {
    let mut network = [0; 8];
    network.copy_from_slice(&address.octets()[..8]);
    network
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Unproved ones, in each of the three stages together.
    pub unproved: usize,
    /// Unproved ones of one source.
    pub per_source: usize,
    /// Those in [`Stage::Handshake`].
    pub handshake: usize,
    /// Those in [`Stage::Hello`].
    pub hello: usize,
    /// Proved ones.
    pub proved: usize,
}

impl Limits {
    /// What `descriptors` (the soft limit of open files) allow.
    pub fn for_descriptors(descriptors: u64) -> Self {
        let usable = usize::try_from(descriptors.saturating_sub(256)).unwrap_or(usize::MAX).max(16);
        let unproved = (usable / 2).min(4096);
        Self {
            unproved,
            per_source: 64,
            handshake: 1024.min(unproved),
            hello: 512.min(unproved),
            // The rest is for the files and the programs that they ask for.
            proved: (usable - unproved) / 2,
        }
    }
}

/// What has been counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Unproved now.
    pub unproved: u64,
    /// Proved now.
    pub proved: u64,
    /// Dropped because a budget was full.
    pub dropped_full: u64,
    /// Dropped because a deadline passed.
    pub dropped_late: u64,
    /// Dropped because of what they sent.
    pub dropped_bad: u64,
}

/// The budget. Clones share it.
#[derive(Clone)]
pub struct Gate {
    limits: Limits,
    inner: Arc<Mutex<Inner>>,
}

/// There is no room for one more proved connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{max} connections are open already")]
pub struct Full {
    /// The limit.
    pub max: usize,
}

/// Why a connection left before it was proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its deadline passed.
    Late,
    /// It broke the rules.
    Bad,
}

/// A connection's place in the budget; dropping it gives the place back.
pub struct Place {
    gate: Gate,
    id: u64,
    dropped: CancellationToken,
    proved: bool,
}

#[derive(Default)]
struct Inner {
    next_id: u64,
    entries: HashMap<u64, Entry>,
    per_source: HashMap<Source, BTreeSet<(Stage, u64)>>,
    stages: BTreeMap<Stage, Queue>,
    counts: Counts,
    /// Evicted connections whose sockets are not closed yet.
    closing: usize,
}

struct Entry {
    source: Source,
    stage: Stage,
    dropped: CancellationToken,
}

/// The connections of one stage, heaviest source last.
#[derive(Default)]
struct Queue {
    sources: HashMap<Source, BTreeSet<u64>>,
    by_weight: BTreeSet<(usize, Reverse<u64>, Source)>,
    len: usize,
}

impl Gate {
    /// An empty budget.
    pub fn new(limits: Limits) -> Self {
        Self { limits, inner: Arc::default() }
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What has been counted.
    pub fn counts(&self) -> Counts {
        let inner = self.lock();
        Counts { unproved: inner.entries.len() as u64, ..inner.counts }
    }

    /// A place for a new connection. Somebody else may lose theirs.
    pub fn admit(&self, source: Source) -> Place {
        let mut inner = self.lock();
        inner.counts.accepted += 1;
        let own = inner.per_source.get(&source);
        if own.is_some_and(|own| own.len() >= self.limits.per_source) {
            let oldest = own.and_then(|own| own.first()).map(|(_, id)| *id);
            inner.evict(oldest);
        }
        if inner.entries.len() >= self.limits.unproved {
            let victim = inner.stages.values().find_map(Queue::heaviest);
            inner.evict(victim);
        }
        let id = inner.next_id;
        inner.next_id += 1;
        let dropped = CancellationToken::new();
        let entry = Entry { source, stage: Stage::Accepted, dropped: dropped.clone() };
        inner.insert(id, entry);
        Place { gate: self.clone(), id, dropped, proved: false }
    }

    /// True while many that were dropped have not closed their sockets yet: accepting more would run
    /// the process out of descriptors.
    pub fn is_behind(&self) -> bool {
        self.lock().closing >= CLOSING_MAX
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Resolves when the place was taken away. The connection has to be closed at once.
    pub async fn dropped(&self) {
        self.dropped.cancelled().await;
    }

    /// The same for who can't hold the place meanwhile: cancelled when it was taken away.
    pub fn dropping(&self) -> CancellationToken {
        self.dropped.clone()
    }

    /// Whether it has left the budget for good.
    pub fn is_proved(&self) -> bool {
        self.proved
    }

    /// The connection has come further.
    pub fn advance(&self, stage: Stage) {
        let mut inner = self.gate.lock();
        let Some(mut entry) = inner.remove(self.id) else { return };
        let limit = match stage {
            Stage::Accepted => usize::MAX,
            Stage::Handshake => self.gate.limits.handshake,
            Stage::Hello => self.gate.limits.hello,
        };
        if inner.stages.get(&stage).is_some_and(|queue| queue.len >= limit) {
            let victim = inner.stages.get(&stage).and_then(Queue::heaviest);
            inner.evict(victim);
        }
        entry.stage = stage;
        inner.insert(self.id, entry);
    }

    /// The peer has proved itself: leaves the budget for good. One on this machine always may: its
    /// owner must get in to see who takes all the room, and to remove them.
    ///
    /// # Errors
    /// Too many are proved already.
    pub fn prove(&mut self) -> Result<(), Full> {
        let mut inner = self.gate.lock();
        let max = self.gate.limits.proved;
        let is_local = inner.entries.get(&self.id).is_some_and(|own| own.source == Source::Local);
        if inner.counts.proved >= max as u64 && !is_local {
            return Err(Full { max });
        }
        if inner.remove(self.id).is_none() {
            // Dropped a moment ago; too late to be saved.
            return Err(Full { max });
        }
        inner.counts.proved += 1;
        drop(inner);
        self.proved = true;
        Ok(())
    }

    /// Counts why the connection is being given up.
    pub fn lose(&self, loss: Loss) {
        let mut inner = self.gate.lock();
        match loss {
            Loss::Late => inner.counts.dropped_late += 1,
            Loss::Bad => inner.counts.dropped_bad += 1,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.gate.lock();
        if self.proved {
            inner.counts.proved -= 1;
        } else if inner.remove(self.id).is_none() {
            inner.closing -= 1;
        }
    }
}

impl Inner {
    fn insert(&mut self, id: u64, entry: Entry) {
        self.per_source.entry(entry.source).or_default().insert((entry.stage, id));
        self.stages.entry(entry.stage).or_default().insert(entry.source, id);
        self.entries.insert(id, entry);
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        if let Some(own) = self.per_source.get_mut(&entry.source) {
            own.remove(&(entry.stage, id));
            if own.is_empty() {
                self.per_source.remove(&entry.source);
            }
        }
        if let Some(queue) = self.stages.get_mut(&entry.stage) {
            queue.remove(entry.source, id);
        }
        Some(entry)
    }

    fn evict(&mut self, id: Option<u64>) {
        if let Some(entry) = id.and_then(|id| self.remove(id)) {
            self.counts.dropped_full += 1;
            self.closing += 1;
            entry.dropped.cancel();
        }
    }
}

impl Queue {
    fn insert(&mut self, source: Source, id: u64) {
        self.change(source, |ids| ids.insert(id));
        self.len += 1;
    }

    fn remove(&mut self, source: Source, id: u64) {
        self.change(source, |ids| ids.remove(&id));
        self.len -= 1;
    }

    fn change(&mut self, source: Source, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let ids = self.sources.entry(source).or_default();
        if let Some(oldest) = ids.first() {
            self.by_weight.remove(&(ids.len(), Reverse(*oldest), source));
        }
        change(ids);
        match ids.first() {
            Some(oldest) => {
                self.by_weight.insert((ids.len(), Reverse(*oldest), source));
            }
            None => {
                self.sources.remove(&source);
            }
        }
    }

    fn heaviest(&self) -> Option<u64> {
        self.by_weight.last().map(|(_, Reverse(oldest), _)| *oldest)
    }
}

const CLOSING_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { unproved: 4, per_source: 3, handshake: 2, hello: 2, proved: 1 };

    fn source(last: u8) -> Source {
        Source::V4(Ipv4Addr::new(127, 0, 0, last))
    }

    fn is_dropped(place: &Place) -> bool {
        place.dropped.is_cancelled()
    }

    #[test]
    fn the_oldest_of_the_heaviest_source_goes_first() {
        let gate = Gate::new(LIMITS);
        let lonely = gate.admit(source(1));
        let heavy: Vec<_> = (0..3).map(|_| gate.admit(source(2))).collect();
        let _newcomer = gate.admit(source(3));
        assert!(!is_dropped(&lonely));
        assert_eq!(heavy.iter().map(is_dropped).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(gate.counts().dropped_full, 1);
    }

    #[test]
    fn among_equals_the_oldest_goes() {
        let gate = Gate::new(LIMITS);
        let places: Vec<_> = (0..5).map(|last| gate.admit(source(last))).collect();
        let dropped: Vec<_> = places.iter().map(is_dropped).collect();
        assert_eq!(dropped, [true, false, false, false, false]);
    }

    #[test]
    fn a_source_over_its_own_limit_loses_its_own_oldest() {
        let gate = Gate::new(Limits { unproved: 100, ..LIMITS });
        let other = gate.admit(source(1));
        let own: Vec<_> = (0..4).map(|_| gate.admit(source(2))).collect();
        assert!(!is_dropped(&other));
        assert_eq!(own.iter().map(is_dropped).collect::<Vec<_>>(), [true, false, false, false]);
    }

    #[test]
    fn those_that_came_further_outlive_those_that_said_nothing() {
        let gate = Gate::new(LIMITS);
        let further = gate.admit(source(1));
        further.advance(Stage::Handshake);
        let silent: Vec<_> = (2..5).map(|last| gate.admit(source(last))).collect();
        let _newcomer = gate.admit(source(9));
        assert!(!is_dropped(&further));
        assert!(is_dropped(&silent[0]));
    }

    #[test]
    fn a_proved_connection_is_never_dropped_and_their_number_is_bounded() {
        let gate = Gate::new(LIMITS);
        let mut proved = gate.admit(source(1));
        proved.prove().unwrap();
        let crowd: Vec<_> = (0..20).map(|_| gate.admit(source(1))).collect();
        assert!(!is_dropped(&proved));
        let mut late = gate.admit(source(2));
        assert_eq!(late.prove(), Err(Full { max: 1 }));
        assert_eq!(gate.admit(Source::Local).prove(), Ok(()), "the owner has room");
        drop(proved);
        assert_eq!(late.prove(), Ok(()));
        drop(crowd);
        assert_eq!((gate.counts().unproved, gate.counts().proved), (0, 1));
    }

    #[test]
    fn a_stage_that_is_full_makes_room_for_who_reaches_it() {
        let gate = Gate::new(LIMITS);
        let places: Vec<_> = (0..3).map(|last| gate.admit(source(last))).collect();
        places.iter().for_each(|place| place.advance(Stage::Handshake));
        assert_eq!(places.iter().map(is_dropped).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn an_ipv6_network_is_one_source_and_a_mapped_address_is_ipv4() {
        let address = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
    }
}
