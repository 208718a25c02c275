//! The serving side of every verb: accept, prove, dispatch.
//!
//! A link's life: [`tow_net::door`] (TLS) → `greet` (hello, who is it) → `channel` (one request
//! after the other, each with the grant in hand) → the end.

mod admin;
mod certificate;
mod channel;
mod desk;
mod edit;
mod get;
mod greet;
mod links;
mod ls;
mod put;
mod read;
mod run;
mod sessions;
mod share;
mod slots;
mod stat;
mod thread;
mod turns;
mod write;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tow_net::door::{Doors, Entered};
use tow_net::gate::{Gate, Limits, Place, Source};
use tow_net::listen::{Accepted, ListenError, Listener, Peer as SocketPeer, listen};
use tow_net::{
    Address, Link, ListenAddress, Stream, TlsError, TlsKeys, WebAcceptor, WebStream, door,
};
use tow_proto::Code;
use tow_proto::message::LinkCounts;

pub use self::certificate::{WebCertificateError, web_certificate};
pub use self::desk::{BROWSER_IDLE_MAX, Desk, Done, Presence, Visit, Visitor, Web};
pub use self::slots::Slot;

use self::channel::{ChannelError, Peer, Served};
use self::links::Links;
use self::slots::Slots;
use self::turns::Turns;
use crate::audit::Audit;
use crate::grant::Grant;
use crate::identity::{Identity, IdentityError, KeyId, PublicKey};
use crate::invite::Invitations;
use crate::keeper::{Keeper, KeeperError, KeeperProgram};
use crate::keys::{Keys, KeysError};
use crate::state::{NodeLock, StateDir, StateError};

/// The account that programs run as: the one that runs the node.
#[derive(Clone, Debug)]
pub struct Account {
    /// Its name.
    pub user: String,
    /// Its home directory, where grants start.
    pub home: PathBuf,
    /// Its login shell.
    pub shell: PathBuf,
    /// Its PATH, where programs are looked up.
    pub path: OsString,
    /// Its LANG, where there is one.
    pub lang: Option<OsString>,
}

/// What a node is told.
#[derive(Clone)]
pub struct Config {
    /// Where to listen, beside the local Unix socket.
    pub listen: Vec<ListenAddress>,
    /// Connections that the kernel keeps waiting.
    pub backlog: u32,
    /// Default root of new grants; `/` where there is none.
    pub root: Option<PathBuf>,
    /// What the machine calls itself.
    pub machine: String,
    /// Program and version.
    pub agent: String,
    /// Who runs it.
    pub account: Account,
    /// Soft limit of open files.
    pub descriptors: u64,
    /// How the keeper of its sessions is started.
    pub keeper: KeeperProgram,
    /// The browser's door, where it is open.
    pub web: Option<WebDoor>,
}

/// What a node needs to let browsers in.
#[derive(Clone)]
pub struct WebDoor {
    /// Accepts their connections.
    pub acceptor: WebAcceptor,
    /// Serves them.
    pub web: Arc<dyn Web>,
}

/// Why a node can't start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// The node's own key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The node's own key, for TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The keys that may come in.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Who keeps its sessions.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
}

/// A running node.
pub struct Node {
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
    doors: Doors,
    _lock: NodeLock,
}

/// What every link of a node shares.
struct Shared {
    key: PublicKey,
    id: KeyId,
    machine: String,
    agent: String,
    account: Account,
    root: PathBuf,
    /// Where the node keeps its keys, and those of others.
    own_dirs: [PathBuf; 2],
    uid: u32,
    gate: Gate,
    keys: Mutex<Keys>,
    invitations: Invitations,
    audit: Audit,
    keeper: Keeper,
    web: Option<Arc<dyn Web>>,
    links: Links,
    slots: Slots,
    turns: Turns,
    addresses: Vec<Address>,
    backlog: u32,
    started: Instant,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Node {
    /// Opens the state directory and every socket, and sees to it that there is a keeper. Needs a
    /// tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left listening.
    pub fn start(state: &StateDir, config: Config) -> Result<Self, StartError> {
        let lock = state.lock()?;
        let identity = Identity::load_or_create(&state.node_key_path())?;
        let key = identity.public();
        let tls = TlsKeys::new(identity.pkcs8_der(), tow_net::Spki(key.to_spki()))?;
        let mut listeners = vec![local_listener(state, config.backlog)?];
        for address in &config.listen {
            listeners.push(listen(address, config.backlog)?);
        }
        let limits = Limits::for_descriptors(config.descriptors);
        let keys = Keys::load(&state.keys_dir())?;
        let audit = Audit::open(&state.audit_path())?;
        // The last thing that may fail.
        let agent = config.agent.clone();
        let keeper = Keeper::start(state, config.keeper, agent, config.descriptors)?;
        let shared = Shared {
            key,
            id: key.id(),
            machine: config.machine,
            agent: config.agent,
            root: config.root.unwrap_or_else(|| PathBuf::from("/")),
            own_dirs: [state.layout().config.clone(), state.layout().state.clone()],
            account: config.account,
            uid: rustix::process::geteuid().as_raw(),
            gate: Gate::new(limits),
            keys: Mutex::new(keys),
            invitations: Invitations::new(),
            audit,
            keeper,
            web: config.web.as_ref().map(|door| door.web.clone()),
            links: Links::new(limits.proved),
            slots: Slots::default(),
            turns: Turns::default(),
            addresses: listeners.iter().map(|listener| listener.local_address().clone()).collect(),
            backlog: config.backlog,
            started: Instant::now(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let web = config.web.map(|door| door.acceptor);
        let doors = Doors { links: tls.acceptor(), web };
        Ok(Self { shared: Arc::new(shared), listeners, doors, _lock: lock })
    }

    /// Where it listens, the local Unix socket first.
    pub fn addresses(&self) -> &[Address] {
        &self.shared.addresses
    }

    /// The node's fingerprint.
    pub fn id(&self) -> KeyId {
        self.shared.id
    }

    /// Whether nobody may come in yet.
    pub fn knows_nobody(&self) -> bool {
        self.shared.keys().is_empty()
    }

    /// Makes an invitation as the owner: for the greeting of a node that knows nobody.
    ///
    /// # Errors
    /// The refusal.
    pub fn invite(
        &self,
        request: &tow_proto::message::Invite,
    ) -> Result<tow_proto::message::Invited, tow_proto::Refusal> {
        let owner = Grant::owner(&self.shared.account.home)?;
        admin::issue(&self.shared, &owner, request)
    }

    /// Serves until `stop` resolves, then ends links in order. Sessions go on in the keeper, each
    /// under its lease; gives how many do.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> u32 {
        let Self { shared, listeners, doors, _lock } = self;
        shared.keeper.settle(&shared.account).await;
        for listener in listeners {
            shared.tasks.spawn(accept(shared.clone(), listener, doors.clone()));
        }
        shared.tasks.spawn(flush_audit(shared.clone()));
        stop.await;
        // The order: no new links, then no links, then the keeper may go.
        shared.stop.cancel();
        shared.tasks.close();
        let _ = tokio::time::timeout(STOP_MAX, shared.tasks.wait()).await;
        let running = shared.keeper.running().await;
        shared.keeper.let_go();
        shared.audit.flush();
        running
    }
}

impl Shared {
    fn keys(&self) -> MutexGuard<'_, Keys> {
        // A panic elsewhere does not make the keys on disk wrong.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn link_counts(&self) -> LinkCounts {
        let counts = self.gate.counts();
        LinkCounts {
            open: counts.proved,
            half_open: counts.unproved,
            half_open_max: self.gate.limits().unproved as u64,
            dropped_full: counts.dropped_full,
            dropped_late: counts.dropped_late,
            dropped_bad: counts.dropped_bad,
            accepted: counts.accepted,
        }
    }
}

fn local_listener(state: &StateDir, backlog: u32) -> Result<Listener, ListenError> {
    listen(&ListenAddress::Unix(state.layout().socket.clone()), backlog)
}

/// The accept loop: nothing is awaited here that a peer could delay.
async fn accept(shared: Arc<Shared>, listener: Listener, doors: Doors) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        match accepted {
            Ok(accepted) => {
                shared.tasks.spawn(serve_socket(shared.clone(), accepted, doors.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(tow_net::listen::ACCEPT_PAUSE).await;
            }
        }
        // Those that were dropped have to close before more are taken in.
        while shared.gate.is_behind() {
            tokio::task::yield_now().await;
        }
    }
}

/// Writes out now and then what the log holds back of a flood.
async fn flush_audit(shared: Arc<Shared>) {
    while tokio::time::timeout(AUDIT_FLUSH_EVERY, shared.stop.cancelled()).await.is_err() {
        let audit = shared.audit.clone();
        // Waits for the disk.
        let _ = tokio::task::spawn_blocking(move || audit.flush()).await;
    }
}

async fn serve_socket(shared: Arc<Shared>, accepted: Accepted, doors: Doors) {
    let Accepted { stream, peer } = accepted;
    let source = match peer {
        SocketPeer::Tcp(address) => address.ip().into(),
        SocketPeer::Unix { .. } => Source::Local,
    };
    let mut place = shared.gate.admit(source);
    // The kernel vouches for the owner, whom no flood of strangers may push out.
    let is_owner = matches!(peer, SocketPeer::Unix { uid, .. } if greet::is_owner(&shared, uid));
    let is_vouched_for = is_owner && place.prove().is_ok();
    let proved = tokio::select! {
        biased;
        () = place.dropped() => return,
        () = shared.stop.cancelled() => return,
        proved = prove(&shared, stream, peer, &doors, &place) => proved,
    };
    let (mut link, peer) = match proved {
        Some(Proved::Peer(proved)) => *proved,
        Some(Proved::Web(stream, from)) => return visit(&shared, stream, from, place).await,
        None => return,
    };
    if !is_vouched_for && place.prove().is_err() {
        channel::refuse(&mut link, Code::Busy.into());
        return Box::pin(link.close()).await;
    }
    // Boxed, as above, so that a connection which says nothing does not hold the room for it.
    Box::pin(channel::serve(&shared, link, peer)).await;
}

/// Who came in.
enum Proved {
    /// A peer that is known.
    Peer(Box<(Link, Peer)>),
    /// Somebody with a browser, who has proved nothing.
    Web(WebStream, SocketAddr),
}

async fn visit(shared: &Arc<Shared>, stream: WebStream, from: SocketAddr, place: Place) {
    let Some(web) = &shared.web else { return };
    let (stop, desk) = (shared.stop.clone(), Desk(shared.clone()));
    web.serve(Visit { stream, from, place, stop, desk }).await;
}

/// Until the peer is known, and welcome.
async fn prove(
    shared: &Shared,
    stream: Stream,
    peer: SocketPeer,
    doors: &Doors,
    place: &Place,
) -> Option<Proved> {
    let (link, who) = match (stream, peer) {
        (Stream::Unix(stream), SocketPeer::Unix { uid, .. }) => {
            (Link::from_unix(stream).ok()?, greet::Who::User(uid))
        }
        (Stream::Tcp(stream), SocketPeer::Tcp(address)) => {
            match door::answer(stream, doors, place).await? {
                Entered::Link(link) => {
                    let key = PublicKey::from_spki(&link.peer_key()?.ok()?.0).ok()?;
                    (*link, greet::Who::Key(key, address))
                }
                Entered::Web(stream) => return Some(Proved::Web(stream, address)),
            }
        }
        _ => return None,
    };
    let (link, peer) = Box::pin(greet::greet(shared, link, who, place)).await?;
    Some(Proved::Peer(Box::new((link, peer))))
}

fn now() -> SystemTime {
    SystemTime::now()
}

const AUDIT_FLUSH_EVERY: Duration = Duration::from_secs(5);
/// Longest wait for links to end when the node stops.
const STOP_MAX: Duration = Duration::from_secs(3);
