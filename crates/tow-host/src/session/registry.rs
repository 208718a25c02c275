//! All the sessions of a node: starting them once, finding them again, ending them, remembering how
//! they ended.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::io::Errno;
use tokio::sync::OnceCell;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tow_proto::message::ExitRecord;
use tow_proto::refusal::{Code, Refusal};

use super::cgroup::Cgroups;
use super::keeper::Keeper;
use super::limits::REQUEST_ID_LEN_MAX;
use super::spec::{self, Plan};
use super::state::{Order, Shared};
use super::{Containment, Limits, SessionId, Spec, Viewer, reap, spawn};

/// Every session of this node. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    limits: Limits,
    cgroups: Option<Cgroups>,
    table: Mutex<Table>,
    /// The keepers, and starts under way.
    tasks: TaskTracker,
    /// Stops the reaper, once nobody can start sessions and none runs.
    _reaper: DropGuard,
}

#[derive(Default)]
struct Table {
    sessions: HashMap<Key, Place>,
    /// The finished ones, oldest first.
    finished: VecDeque<Finished>,
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

/// One session, running or finished. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

impl Session {
    /// Its name.
    pub fn id(&self) -> &SessionId {
        &self.shared.id
    }

    /// Starts to look at it, from an absolute offset of either output. What is kept no more shows
    /// as a gap. The newest viewer sets the pace: others that fall behind by more than the log
    /// keeps lose bytes, and are told so.
    pub fn attach(&self, stdout_from: u64, stderr_from: u64) -> Viewer {
        Viewer::new(Arc::clone(&self.shared), [stdout_from, stderr_from])
    }

    /// How it ended, if it has.
    pub fn exit(&self) -> Option<ExitRecord> {
        self.shared.lock().exit.clone()
    }
}

impl Sessions {
    /// No sessions yet. Within a runtime. This process becomes the one that orphans of its sessions
    /// come to, and reaps them.
    ///
    /// # Errors
    /// The kernel or the runtime refuses.
    pub fn new(limits: Limits) -> io::Result<Self> {
        let stop = CancellationToken::new();
        tokio::spawn(reap::reap_orphans(reap::become_subreaper()?, stop.clone()));
        let cgroups = match limits.containment {
            Containment::Cgroup => Cgroups::find(),
            Containment::ProcessTree => None,
        };
        Ok(Self(Arc::new(Inner {
            limits,
            cgroups,
            table: Mutex::default(),
            tasks: TaskTracker::new(),
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

    /// Sessions that run now.
    pub fn running(&self) -> usize {
        self.0.lock().running().count()
    }

    /// Ends all that a removed key has started: HUP and TERM at once, KILL soon.
    pub fn end_all_of(&self, owner: &str) {
        self.order_all(Order::Removed, |(of, _)| of == owner);
    }

    /// Starts no more, ends all, and returns when all have ended.
    pub async fn shutdown(&self) {
        self.0.lock().is_stopping = true;
        self.order_all(Order::Stopping, |_| true);
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
        let (this, start) = (Arc::clone(&self.0), Arc::clone(place));
        let begun = tokio::task::spawn_blocking(move || {
            if let Some(order) = start.order.get() {
                return Err(order.refusal());
            }
            // The fork, the exec and the disks that they wait for.
            let id = SessionId::random().map_err(|error| refusal(&error, &spec))?;
            let plan = Plan::new(&spec, &id, &this.limits)?;
            let spawned = spawn::spawn(plan, this.cgroups.as_ref());
            let spawned = spawned.map_err(|error| refusal(&error, &spec))?;
            Keeper::new(id, spawned, &spec, &this.limits).map_err(|error| refusal(&error, &spec))
        });
        let (keeper, shared) = begun.await.unwrap_or_else(|_| Err(Code::Internal.into()))?;
        let table = self.0.lock();
        place.run(&shared);
        drop(table);
        let this = self.clone();
        let finished = Arc::clone(&shared);
        self.0.tasks.spawn(async move {
            keeper.run().await;
            this.0.lock().retire(key, &finished, &this.0.limits);
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
}

impl Table {
    /// Those that run, or are being started.
    fn running(&self) -> impl Iterator<Item = (&Key, &Place)> {
        let runs =
            |place: &Place| place.session.get().is_none_or(|session| session.exit().is_none());
        self.sessions.iter().filter(move |(_, place)| runs(place))
    }

    /// Remembers one more finished session, within the limits.
    fn retire(&mut self, key: Key, shared: &Shared, limits: &Limits) {
        self.finished.push_back(Finished { key, kept_len: shared.lock().kept_len() });
        if self.finished.len() > limits.finished_max
            && let Some(oldest) = self.finished.pop_front()
        {
            self.sessions.remove(&oldest.key);
        }
        let mut kept_len: usize = self.finished.iter().map(|finished| finished.kept_len).sum();
        for finished in &mut self.finished {
            if kept_len <= limits.finished_output_max {
                break;
            }
            kept_len -= std::mem::take(&mut finished.kept_len);
            if let Some(session) =
                self.sessions.get(&finished.key).and_then(|place| place.session.get())
            {
                let mut state = session.shared.lock();
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
