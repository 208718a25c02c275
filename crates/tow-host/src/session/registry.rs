//! All the sessions of a node: starting them once, finding them again, ending them, remembering how
//! they ended.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;
use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tow_proto::message::{Lease, STDERR, STDOUT, SessionInfo};
use tow_proto::refusal::{Code, Refusal};

use super::cgroup::Cgroups;
use super::keeper::Keeper;
use super::known::Known;
use super::limits::REQUEST_ID_LEN_MAX;
use super::log::{Kept, Log};
use super::login::Logins;
use super::spec::{self, Plan};
use super::spill::SpillDir;
use super::state::{EndedOutput, Facts, Order, Shared, seconds};
use super::store::{Copied, Store, Stored};
use super::{Containment, Limits, Login, Session, SessionId, Spec, Stdio, reap, spawn};

/// Every session of this node. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    limits: Limits,
    cgroups: Option<Cgroups>,
    logins: Logins,
    store: Store,
    spill: SpillDir,
    table: Mutex<Table>,
    /// Sessions that were put into the store since this process began.
    saved: AtomicU32,
    /// A session has ended.
    one_ended: Notify,
    /// The keepers, and starts under way.
    tasks: TaskTracker,
    /// Stops the reaper, once nobody can start sessions and none runs.
    _reaper: DropGuard,
}

#[derive(Default)]
struct Table {
    sessions: HashMap<Key, Place>,
    by_id: HashMap<String, Key>,
    /// The finished ones that are in memory, oldest first.
    finished: VecDeque<Finished>,
    /// The finished ones that are on disk, oldest first.
    stored: VecDeque<Stored>,
    is_stopping: bool,
}

/// Who started a session, and the request id that they gave.
type Key = (String, String);

/// A session, or the start of one: whoever asks for the same one waits for the same start.
type Place = Arc<Start>;

/// What is said under the table's lock reaches the session, whether it runs yet or not.
#[derive(Default)]
struct Start {
    session: OnceCell<Session>,
    /// Set as soon as there is a program.
    shared: OnceLock<Arc<Shared>>,
    /// The order that came before there was one.
    order: OnceLock<Order>,
}

impl Start {
    fn order(&self, order: Order) {
        match self.shared.get() {
            Some(shared) => shared.order(order),
            // The first one stands.
            None => drop(self.order.set(order)),
        }
    }

    fn run(&self, shared: &Arc<Shared>) {
        let _ = self.shared.set(Arc::clone(shared));
        if let Some(order) = self.order.get() {
            shared.order(*order);
        }
    }
}

struct Finished {
    key: Key,
    kept_len: usize,
}

impl Sessions {
    /// The sessions of this machine: those that `store`, a directory, remembers, and none that
    /// runs. Within a runtime. This process becomes the one that orphans of its sessions come to,
    /// and reaps them. Without a directory, finished sessions are remembered by this process alone,
    /// and logs are no longer than memory allows.
    ///
    /// # Errors
    /// The kernel or the runtime refuses, or the directory can't be used.
    pub fn new(mut limits: Limits, store: Option<PathBuf>) -> io::Result<Self> {
        if store.is_none() {
            (limits.log.head_max, limits.log.tail_max) = (0, 0);
        }
        let spill = store.as_deref().map_or_else(SpillDir::nowhere, SpillDir::at);
        let store = store.map_or_else(|| Ok(Store::nowhere()), Store::open)?;
        let stop = CancellationToken::new();
        tokio::spawn(reap::reap_orphans(reap::become_subreaper()?, stop.clone()));
        let cgroups = match limits.containment {
            Containment::Cgroup => Cgroups::find(),
            Containment::ProcessTree => None,
        };
        let table = Table { stored: store.load().into(), ..Table::default() };
        let tasks = TaskTracker::new();
        Ok(Self(Arc::new(Inner {
            logins: Logins::new(&limits, cgroups.clone(), tasks.clone()),
            limits,
            cgroups,
            store,
            spill,
            table: Mutex::new(table),
            saved: AtomicU32::new(0),
            one_ended: Notify::new(),
            tasks,
            _reaper: stop.drop_guard(),
        })))
    }

    /// Starts a session; with a request id that `owner` has used before, gives that session,
    /// running or finished, and looks at nothing else.
    ///
    /// # Errors
    /// `Malformed`, `BadArgument`, `TooLong`, `NoWorkingDirectory`, `ProgramNotFound` or
    /// `NotExecutable` for what can't be run; `Busy` or `Stopping` for what can't be run now.
    pub async fn start(
        &self,
        owner: &str,
        request_id: &str,
        spec: Spec,
    ) -> Result<Session, Refusal> {
        let key = (owner.to_owned(), request_id.to_owned());
        let place = self.place(&key)?;
        let this = self.clone();
        // In a task of its own: a caller that goes away must not leave a program without a keeper.
        let start = self.0.tasks.spawn(async move {
            let begin = || this.begin(key.clone(), &place, spec);
            let started = place.session.get_or_try_init(begin).await.cloned();
            drop(place);
            if started.is_err() {
                this.give_up(&key);
            }
            started
        });
        start.await.unwrap_or_else(|_| Err(Code::Internal.into()))
    }

    /// Learns the environment of a login that is about to start programs. Does not wait.
    pub fn expect(&self, login: Login) {
        self.0.logins.know(login);
    }

    /// Sessions that run now.
    pub fn running(&self) -> usize {
        self.0.lock().running().count()
    }

    /// Returns when no session runs.
    pub async fn ended(&self) {
        loop {
            let one_ended = self.0.one_ended.notified();
            if self.running() == 0 {
                return;
            }
            one_ended.await;
        }
    }

    /// The session of that name, running or finished; it may be read from disk.
    pub fn find(&self, id: &str) -> Option<Session> {
        let stored = {
            let table = self.0.lock();
            if let Some(session) = table.session(id) {
                return Some(session.clone());
            }
            table.stored.iter().find(|stored| stored.id.as_str() == id)?.clone()
        };
        self.0.restore(&stored)
    }

    /// All sessions, running and finished, oldest first.
    pub fn list(&self) -> Vec<SessionInfo> {
        self.list_after(None, usize::MAX, |_, _| true)
    }

    /// The next `count_max` of the list, of those that, by id and owner, `is_seen` says yes to: `after`
    /// one that started then and has that id. Of others nothing is copied.
    pub fn list_after(
        &self,
        after: Option<(u64, &str)>,
        count_max: usize,
        is_seen: impl Fn(&str, &str) -> bool,
    ) -> Vec<SessionInfo> {
        let table = self.0.lock();
        let is_next = |known: &Known<'_>| after.is_none_or(|after| known.place() > after);
        let is_seen = |known: &Known<'_>| is_seen(known.place().1, known.owner());
        let found = table.known().filter(|known| is_seen(known) && is_next(known));
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(Known::place);
        found.iter().take(count_max).map(Known::info).collect()
    }

    /// Forgets a session that has ended, and ends what it has left running.
    ///
    /// # Errors
    /// `UnknownSession`, `SessionRuns`.
    pub fn remove(&self, id: &str) -> Result<(), Refusal> {
        let mut table = self.0.lock();
        let session = table.session(id).cloned();
        let stored = table.stored.iter().position(|stored| stored.id.as_str() == id);
        if session.as_ref().is_some_and(|session| !session.has_ended()) {
            return Err(Code::SessionRuns.into());
        }
        if session.is_none() && stored.is_none() {
            return Err(Code::UnknownSession.into());
        }
        table.forget(id);
        let stored = stored.and_then(|place| table.stored.remove(place));
        drop(table);
        if let Some(stored) = stored
            && let Err(error) = self.0.store.remove(&stored.id)
        {
            tracing::warn!(%id, %error, "its record can't be removed");
        }
        if let Some(session) = session {
            self.end_rest(&session);
        }
        Ok(())
    }

    /// Ends all that a removed key has started: HUP and TERM at once, KILL soon.
    pub fn end_all_of(&self, owner: &str) {
        self.order_all(Order::Removed, |(of, _)| of == owner);
        let table = self.0.lock();
        let sessions = table.sessions.values().filter_map(|place| place.session.get());
        let theirs = sessions.filter(|session| session.owner() == owner && session.has_ended());
        theirs.for_each(|session| self.end_rest(session));
    }

    /// Kills what has outlived a session's own program.
    fn end_rest(&self, session: &Session) {
        if let Some(tree) = session.shared.lock().tree.take() {
            self.0.tasks.spawn(async move { tree.kill_rest().await });
        }
    }

    /// Starts no more, ends all, and returns when all have ended.
    pub async fn shutdown(&self) {
        self.0.lock().is_stopping = true;
        self.order_all(Order::Stopping, |_| true);
        self.0.logins.stop();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn order_all(&self, order: Order, is_meant: impl Fn(&Key) -> bool) {
        let table = self.0.lock();
        table.running().filter(|(key, _)| is_meant(key)).for_each(|(_, place)| place.order(order));
    }

    fn place(&self, key: &Key) -> Result<Place, Refusal> {
        if key.1.is_empty() {
            return Err(Code::Malformed.into());
        }
        if key.1.chars().count() > REQUEST_ID_LEN_MAX {
            return Err(Refusal::new(Code::TooLong).with_count(REQUEST_ID_LEN_MAX as u64));
        }
        let mut table = self.0.lock();
        if let Some(place) = table.sessions.get(key) {
            return Ok(Arc::clone(place));
        }
        let is_it = |stored: &&Stored| (&stored.owner, &stored.request) == (&key.0, &key.1);
        if let Some(stored) = table.stored.iter().find(is_it).cloned() {
            drop(table);
            let session = self.0.restore(&stored).ok_or(Code::UnknownSession)?;
            return Ok(Arc::new(Start { session: OnceCell::from(session), ..Start::default() }));
        }
        if table.is_stopping {
            return Err(Code::Stopping.into());
        }
        if table.running().filter(|((owner, _), _)| *owner == key.0).count()
            >= self.0.limits.running_max
        {
            return Err(Code::Busy.into());
        }
        Ok(Arc::clone(table.sessions.entry(key.clone()).or_default()))
    }

    async fn begin(&self, key: Key, place: &Place, spec: Spec) -> Result<Session, Refusal> {
        let login = self.0.logins.of(&spec).await;
        let (this, start) = (Arc::clone(&self.0), Arc::clone(place));
        let (owner, request_id) = key.clone();
        let begun = tokio::task::spawn_blocking(move || {
            if let Some(order) = start.order.get() {
                return Err(order.refusal());
            }
            let id = SessionId::random().map_err(|error| refusal(&error, &spec))?;
            let plan = Plan::new(&spec, &id, &this.limits, &login)?;
            let spawned = spawn::spawn(plan, this.cgroups.as_ref());
            let spawned = spawned.map_err(|error| refusal(&error, &spec))?;
            let facts = Facts {
                id,
                owner,
                request_id,
                program: spec.program.clone(),
                is_terminal: matches!(spec.stdio, Stdio::Terminal(_)),
                started: SystemTime::now(),
            };
            Keeper::new(facts, spawned, &spec, &this.limits, &this.spill)
                .map_err(|error| refusal(&error, &spec))
        });
        let (keeper, shared) = begun.await.unwrap_or_else(|_| Err(Code::Internal.into()))?;
        let mut table = self.0.lock();
        place.run(&shared);
        table.by_id.insert(shared.facts.id.to_string(), key.clone());
        drop(table);
        let this = self.clone();
        let finished = Arc::clone(&shared);
        self.0.tasks.spawn(async move {
            keeper.run().await;
            this.0.lock().retire(key, &finished, &this.0.limits);
            this.0.one_ended.notify_waiters();
            // Waits for the disk.
            let _ = tokio::task::spawn_blocking(move || this.0.save(&finished)).await;
        });
        Ok(Session { shared })
    }

    /// Makes room for another try of a start that failed, unless somebody is trying already.
    fn give_up(&self, key: &Key) {
        let mut table = self.0.lock();
        let is_idle =
            |place: &Place| place.session.get().is_none() && Arc::strong_count(place) == 1;
        if table.sessions.get(key).is_some_and(is_idle) {
            table.sessions.remove(key);
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A finished session as it is on disk.
    fn restore(&self, stored: &Stored) -> Option<Session> {
        let log = |stream| {
            self.store.log(stored, stream).inspect_err(|error| {
                tracing::warn!(id = %stored.id, %error, "its output can't be read");
            })
        };
        let logs = [log(STDOUT).ok()?, log(STDERR).ok()?];
        let since_1970 = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        let facts = Facts {
            id: stored.id.clone(),
            owner: stored.owner.clone(),
            request_id: stored.request.clone(),
            program: stored.program.clone(),
            is_terminal: stored.has_terminal,
            started: since_1970(stored.started),
        };
        let ended = since_1970(stored.ended);
        let shared = Shared::ended(facts, logs, stored.exit.clone(), ended, &self.limits);
        Some(Session { shared: Arc::new(shared) })
    }

    /// Puts a finished session on disk: its record, and, where it was left to itself, its output,
    /// which then needs no memory.
    fn save(&self, shared: &Shared) {
        let mut state = shared.lock();
        let Some(exit) = state.exit.clone() else { return };
        let was_left_alone = state.lease == Lease::Detached;
        let mut stored = Stored {
            id: shared.facts.id.clone(),
            owner: shared.facts.owner.clone(),
            request: shared.facts.request_id.clone(),
            program: shared.facts.program.clone(),
            has_terminal: shared.facts.is_terminal,
            started: seconds(shared.facts.started),
            ended: state.ended.map_or(0, seconds),
            lease: state.lease,
            exit,
            kept: [Kept::nothing(0); 2],
        };
        state.logs.iter_mut().for_each(Log::hold);
        drop(state);
        // Unlocked: this waits for the disk, and whoever lists or starts sessions must not.
        let outputs = [0, 1].map(|index| EndedOutput(shared, index));
        let logs = outputs.each_ref().map(|log| was_left_alone.then_some(log as &dyn Copied));
        let saved = self.store.save(&mut stored, logs);
        shared.lock().logs.iter_mut().for_each(Log::let_go);
        match saved {
            Ok(()) if self.store.is_somewhere() => {
                let mut table = self.lock();
                if table.session(shared.facts.id.as_str()).is_none() {
                    // It was removed meanwhile.
                    drop(table);
                    let _ = self.store.remove(&stored.id);
                    return;
                }
                if was_left_alone && shared.lock().tree.is_none() {
                    table.forget(shared.facts.id.as_str());
                }
                table.stored.push_back(stored);
                let too_old = table.too_old(&self.limits);
                drop(table);
                for id in too_old {
                    let _ = self.store.remove(&id);
                }
                if self.saved.fetch_add(1, Ordering::Relaxed) % PRUNED_EVERY == PRUNED_EVERY - 1 {
                    let gone = self.store.prune();
                    self.lock().stored.retain(|stored| !gone.contains(&stored.id));
                }
            }
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(id = %stored.id, %error, "its record can't be kept on disk");
            }
        }
    }
}

impl Table {
    fn known(&self) -> impl Iterator<Item = Known<'_>> {
        let here = self.sessions.values().filter_map(|place| place.session.get());
        let is_here = |stored: &&Stored| self.session(stored.id.as_str()).is_some();
        let stored = self.stored.iter().filter(move |stored| !is_here(stored));
        here.map(|session| Known::Here(&session.shared)).chain(stored.map(Known::Stored))
    }

    /// Those that run, or are being started.
    fn running(&self) -> impl Iterator<Item = (&Key, &Place)> {
        let runs = |place: &Place| place.session.get().is_none_or(|session| !session.has_ended());
        self.sessions.iter().filter(move |(_, place)| runs(place))
    }

    /// One that is in memory.
    fn session(&self, id: &str) -> Option<&Session> {
        self.sessions.get(self.by_id.get(id)?)?.session.get()
    }

    /// Takes one out of memory.
    fn forget(&mut self, id: &str) {
        if let Some(key) = self.by_id.remove(id) {
            self.sessions.remove(&key);
            self.finished.retain(|finished| finished.key != key);
        }
    }

    /// Takes out those on disk that are too many, or ended too long ago, and names them.
    fn too_old(&mut self, limits: &Limits) -> Vec<SessionId> {
        let oldest = seconds(SystemTime::now()).saturating_sub(limits.finished_age_max.as_secs());
        let mut too_old = Vec::new();
        while self.stored.len() > limits.finished_max
            || self.stored.front().is_some_and(|stored| stored.ended < oldest)
        {
            let Some(stored) = self.stored.pop_front() else { break };
            too_old.push(stored.id);
        }
        too_old
    }

    /// Remembers one more finished session in memory, within the limits.
    fn retire(&mut self, key: Key, shared: &Shared, limits: &Limits) {
        self.finished.push_back(Finished { key, kept_len: shared.lock().kept_len() });
        if self.finished.len() > limits.finished_max
            && let Some(oldest) = self.finished.pop_front()
        {
            self.sessions.remove(&oldest.key);
            self.by_id.retain(|_, key| *key != oldest.key);
        }
        let mut kept_len: usize = self.finished.iter().map(|finished| finished.kept_len).sum();
        for finished in &mut self.finished {
            if kept_len <= limits.finished_output_max {
                break;
            }
            let place = self.sessions.get(&finished.key);
            let Some(session) = place.and_then(|place| place.session.get()) else { continue };
            let mut state = session.shared.lock();
            // Who is still reading has a claim to the rest.
            if state.viewers.vacant().is_some() {
                kept_len -= std::mem::take(&mut finished.kept_len);
                state.logs.iter_mut().for_each(|log| log.forget());
            }
        }
    }
}

/// Which refusal an error of starting is. Only what is told about the program goes out; the rest
/// stays in our log.
fn refusal(error: &io::Error, spec: &Spec) -> Refusal {
    let subject = spec::subject(spec);
    let code = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG) => Code::ProgramNotFound,
        Some(
            Errno::ACCESS
            | Errno::NOEXEC
            | Errno::PERM
            | Errno::ISDIR
            | Errno::LOOP
            | Errno::LIBBAD
            | Errno::TXTBSY
            | Errno::INVAL,
        ) => Code::NotExecutable,
        Some(Errno::TOOBIG) => Code::TooLong,
        _ if spec::is_shortage(error) => Code::Busy,
        _ => {
            tracing::error!(%subject, %error, "a program could not be started");
            Code::Internal
        }
    };
    match code {
        Code::Busy | Code::Internal | Code::TooLong => code.into(),
        _ => Refusal::about(code, subject),
    }
}

/// Sessions put into the store between two looks at how much output it holds.
const PRUNED_EVERY: u32 = 64;
