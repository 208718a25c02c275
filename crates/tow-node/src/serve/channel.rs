//! A proved link: one request after the other, each dispatched with the grant in hand.

use std::time::{Duration, Instant};

use thiserror::Error;
use tow_net::{Link, LinkError, LinkEvent};
use tow_proto::message::{FirstHead, Reply, Request, Shared as ShareOf, Upward};
use tow_proto::{ByteString, Code, Frame, Kind, Refusal, Trust, json};

use super::greet::{self, Who};
use super::{Shared, admin, edit, get, ls, now, put, read, run, sessions, share, stat, write};
use crate::audit::{Outcome as Audited, Record};
use crate::grant::Grant;
use crate::keys::Lookup;
use crate::transfer::{Outcome, TransferError};

/// Who asks, and what they may.
pub(super) struct Peer {
    pub(super) grant: Grant,
    who: Who,
}

/// What a channel did, for the audit log.
pub(super) struct Served {
    pub(super) outcome: Audited,
    pub(super) bytes: u64,
}

/// Why a channel did not come to its end.
#[derive(Debug, Error)]
pub(super) enum ChannelError {
    /// The answer is no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The link is gone.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The peer has gone away in the middle.
    #[error("the link was closed")]
    Closed,
}

impl Peer {
    pub(super) fn new(grant: Grant, who: Who) -> Self {
        Self { grant, who }
    }

    /// The grant as it is now: the key may have been removed, or given another.
    fn renew(&mut self, shared: &Shared) -> Result<(), Refusal> {
        if let Who::Key(key, _) = self.who {
            self.grant = greet::grant_of(shared, &key)?;
        }
        Ok(())
    }

    /// The key may have been removed since the request was looked at.
    ///
    /// # Errors
    /// `RemovedKey`.
    pub(super) fn check_known(&self, shared: &Shared) -> Result<(), Refusal> {
        let Who::Key(key, _) = self.who else { return Ok(()) };
        match shared.keys().find(&key) {
            Lookup::Known(_) => Ok(()),
            _ => Err(Code::RemovedKey.into()),
        }
    }

    /// To whom sessions and partial files belong.
    pub(super) fn owner(&self) -> String {
        self.who.id()
    }
}

impl Served {
    pub(super) fn ok(bytes: u64) -> Self {
        Self { outcome: Audited::Ok, bytes }
    }

    pub(super) fn transfer(outcome: &Outcome) -> Self {
        let first_failure = outcome.failures.first();
        Self {
            outcome: first_failure
                .map_or(Audited::Ok, |failure| Audited::Refused(failure.why.code)),
            bytes: outcome.summary.bytes,
        }
    }
}

impl From<TransferError> for ChannelError {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Link(error) => Self::Link(error),
            TransferError::Here(refusal) => Self::Refused(refusal),
            TransferError::Refused(_) | TransferError::Protocol { .. } => {
                Self::Refused(Code::OutOfOrder.into())
            }
        }
    }
}

/// Serves a link until it ends, the key is removed, the grant expires or the node stops.
pub(super) async fn serve(shared: &Shared, mut link: Link, mut peer: Peer) {
    let Ok(entry) = shared.links.enter(peer.grant.key()) else {
        refuse(&mut link, Code::Busy.into());
        return link.close().await;
    };
    let who = peer.who;
    let last = tokio::select! {
        biased;
        () = entry.removed() => Some(Code::RemovedKey.into()),
        () = shared.stop.cancelled() => Some(Code::Stopping.into()),
        () = expired(shared, who) => Some(Code::ExpiredKey.into()),
        last = serve_channels(shared, &mut link, &mut peer) => last,
    };
    if let Some(refusal) = last {
        refuse(&mut link, refusal);
        link.close().await;
    }
}

/// Resolves when the grant has expired. It is looked at now and then, because the clock may be set
/// and the key may get another grant.
async fn expired(shared: &Shared, who: Who) {
    let Who::Key(key, _) = who else { return std::future::pending().await };
    loop {
        let lookup = shared.keys().find(&key);
        let expires = if let Lookup::Known(record) = lookup { record.expires } else { None };
        let left = expires.map_or(Duration::MAX, |at| at.duration_since(now()).unwrap_or_default());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(EXPIRY_CHECK_EVERY)).await;
    }
}

/// A head that ends whatever was going on.
pub(super) fn refuse(link: &mut Link, refusal: Refusal) {
    link.send_head(&FirstHead::Refused(refusal));
}

/// Gives what to say before the link is closed, if there is anybody to say it to.
async fn serve_channels(shared: &Shared, link: &mut Link, peer: &mut Peer) -> Option<Refusal> {
    loop {
        link.rest();
        let frame = match link.next_event().await {
            Ok(LinkEvent::Frame(frame)) => frame,
            Ok(LinkEvent::Room) => continue,
            Ok(LinkEvent::Closed) | Err(_) => return None,
        };
        let request = match request(&frame) {
            Ok(Some(request)) => request,
            Ok(None) => continue,
            Err(refusal) => return Some(refusal),
        };
        // After the link was entered: a key that is removed now has this link cut.
        if let Err(refusal) = peer.renew(shared) {
            return Some(refusal);
        }
        // Boxed: a link at rest is small.
        match Box::pin(audited(shared, link, peer, request)).await {
            Ok(()) => {}
            Err(ChannelError::Refused(refusal)) => return Some(refusal),
            Err(ChannelError::Link(_) | ChannelError::Closed) => return None,
        }
    }
}

/// The next request; `None` for what the client sent to the channel before, not knowing that it was
/// over (PROTOCOL 3.2).
fn request(frame: &Frame) -> Result<Option<Request>, Refusal> {
    match frame.kind {
        Kind::Head => match json::from_slice(&frame.payload) {
            Ok(request) => Ok(Some(request)),
            Err(_) if json::from_slice::<Upward>(&frame.payload).is_ok() => Ok(None),
            Err(_) => Err(Code::Malformed.into()),
        },
        Kind::Data | Kind::DataZstd | Kind::Pack | Kind::End | Kind::Credit => Ok(None),
        _ => Err(Code::OutOfOrder.into()),
    }
}

/// Records a request when it is dropped: also one that was cut off in the middle.
pub(super) struct Entry<'a> {
    shared: &'a Shared,
    started: Instant,
    record: Record,
}

impl Entry<'_> {
    /// Notes which session the request is about.
    pub(super) fn about(&mut self, session: &str) {
        self.record.session = session.to_owned();
    }

    /// The same, and records at once that it has begun: it may last for days.
    pub(super) fn begun(&mut self, session: &str) {
        self.about(session);
        let mut begun = self.record.clone();
        begun.outcome = Audited::Begun;
        self.shared.audit.record(&begun);
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.record.duration = self.started.elapsed();
        self.shared.audit.record(&self.record);
    }
}

/// Carries a request out and records what became of it. A refusal in place of the reply leaves the
/// link as it is; one in the middle of a channel ends it.
async fn audited(
    shared: &Shared,
    link: &mut Link,
    peer: &Peer,
    request: Request,
) -> Result<(), ChannelError> {
    let (what, detail) = describe(&request);
    let mut record = peer.who.record(peer.grant.name(), Trust::Proved, what, Audited::Cut);
    record.detail = detail;
    if let Request::Run(run) = &request {
        record = record.with_env(&run.env);
    }
    let mut entry = Entry { shared, started: Instant::now(), record };
    let sent = link.frames_sent();
    let result = dispatch(shared, link, peer, request, &mut entry).await;
    entry.record.outcome = outcome(&result);
    entry.record.bytes = result.as_ref().map_or(0, |served| served.bytes);
    drop(entry);
    match result {
        Ok(_) => Ok(()),
        Err(ChannelError::Refused(refusal)) if link.frames_sent() == sent => {
            link.send_head(&Reply::<()>::Refused(refusal));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn outcome(result: &Result<Served, ChannelError>) -> Audited {
    match result {
        Ok(served) => served.outcome.clone(),
        Err(ChannelError::Refused(refusal)) => Audited::Refused(refusal.code),
        Err(ChannelError::Link(_) | ChannelError::Closed) => Audited::Cut,
    }
}

async fn dispatch(
    shared: &Shared,
    link: &mut Link,
    peer: &Peer,
    request: Request,
    entry: &mut Entry<'_>,
) -> Result<Served, ChannelError> {
    match request {
        Request::Run(request) => run::run(shared, peer, link, *request, entry).await,
        Request::Attach(request) => sessions::attach(shared, peer, link, *request, entry).await,
        Request::Sessions => sessions::list(shared, peer, link).await,
        Request::Kill(request) => sessions::kill(shared, peer, link, request).await,
        Request::SessionRm(request) => sessions::remove(shared, peer, link, request).await,
        Request::Ls(request) => ls::ls(shared, peer, link, request).await,
        Request::Stat(request) => stat::stat(shared, peer, link, request).await,
        Request::Read(request) => read::read(shared, peer, link, request).await,
        Request::Mkdir(request) => edit::mkdir(shared, peer, link, request).await,
        Request::Move(request) => edit::rename(shared, peer, link, request).await,
        Request::Remove(request) => edit::remove(shared, peer, link, request).await,
        Request::Write(request) => write::write(shared, peer, link, *request).await,
        Request::UploadStat(request) => write::upload_stat(shared, peer, link, request).await,
        Request::UploadRm(request) => write::upload_rm(shared, peer, link, request).await,
        Request::Copy(request) => edit::copy(shared, peer, link, request).await,
        Request::Set(request) => edit::set(shared, peer, link, request).await,
        Request::Get(request) => get::get(shared, peer, link, request).await,
        Request::Put(request) => put::put(shared, peer, link, request).await,
        Request::Token(request) => share::token(shared, peer, link, request),
        Request::Share(request) => share::share(shared, peer, link, request).await,
        Request::Shares => share::shares(shared, peer, link),
        Request::ShareRm(request) => share::share_rm(shared, peer, link, &request),
        Request::Invite(request) => admin::invite(shared, peer, link, &request),
        Request::Keys => admin::keys(shared, peer, link),
        Request::KeyRm(request) => admin::key_rm(shared, peer, link, &request).await,
        Request::Audit(request) => admin::audit(shared, peer, link, &request).await,
        Request::Status => admin::status(shared, peer, link).await,
        _ => Err(Refusal::from(Code::UnknownVerb).into()),
    }
}

fn describe(request: &Request) -> (&'static str, Vec<ByteString>) {
    match request {
        Request::Run(request) => ("run", run::detail(request)),
        Request::Attach(request) => ("attach", vec![request.session.as_str().into()]),
        Request::Sessions => ("sessions", Vec::new()),
        Request::Kill(request) => {
            ("kill", vec![request.session.as_str().into(), request.signal.as_str().into()])
        }
        Request::SessionRm(request) => ("session_rm", vec![request.session.as_str().into()]),
        Request::Ls(request) => ("ls", vec![request.path.clone()]),
        Request::Stat(request) => ("stat", vec![request.path.clone()]),
        Request::Read(request) => ("read", vec![request.path.clone()]),
        Request::Mkdir(request) => ("mkdir", vec![request.path.clone()]),
        Request::Move(request) => ("move", vec![request.from.clone(), request.to.clone()]),
        Request::Remove(request) => ("remove", vec![request.path.clone()]),
        Request::Write(request) => ("write", vec![request.path.clone()]),
        Request::UploadStat(request) => ("upload_stat", vec![request.path.clone()]),
        Request::UploadRm(request) => ("upload_rm", vec![request.path.clone()]),
        Request::Copy(request) => ("copy", vec![request.from.clone(), request.to.clone()]),
        Request::Set(request) => ("set", vec![request.path.clone()]),
        Request::Get(request) => ("get", vec![request.path.clone()]),
        Request::Put(request) => ("put", vec![request.path.clone()]),
        Request::Invite(request) => {
            ("invite", request.name.iter().map(|name| name.as_str().into()).collect())
        }
        Request::Token(request) => {
            ("token", request.name.iter().map(|name| name.as_str().into()).collect())
        }
        Request::Share(request) => ("share", vec![share_detail(&request.what)]),
        Request::Shares => ("shares", Vec::new()),
        Request::ShareRm(request) => ("share_rm", vec![request.share.as_str().into()]),
        Request::Keys => ("keys", Vec::new()),
        Request::KeyRm(request) => ("key_rm", vec![request.key.as_str().into()]),
        Request::Audit(_) => ("audit", Vec::new()),
        Request::Status => ("status", Vec::new()),
        _ => ("unknown", Vec::new()),
    }
}

fn share_detail(what: &ShareOf) -> ByteString {
    match what {
        ShareOf::Path(path) => path.clone(),
        ShareOf::Session(id) => id.as_str().into(),
    }
}

const EXPIRY_CHECK_EVERY: Duration = Duration::from_secs(60);
