//! A proved link: one request after the other, each dispatched with the grant in hand.

use std::time::Instant;

use thiserror::Error;
use tow_net::{Link, LinkError, LinkEvent};
use tow_proto::message::{FirstHead, Reply, Request, Upward};
use tow_proto::{ByteString, Code, Frame, Kind, Refusal, Trust, json};

use super::greet::Who;
use super::{Shared, admin, get, ls, now, put, run};
use crate::audit::Outcome as Audited;
use crate::grant::Grant;
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

/// Serves a link until it ends, the key is removed or the node stops.
pub(super) async fn serve(shared: &Shared, mut link: Link, peer: Peer) {
    let Ok(entry) = shared.links.enter(peer.grant.key()) else {
        refuse(&mut link, Code::Busy.into());
        return link.close().await;
    };
    let last = tokio::select! {
        biased;
        () = entry.removed() => Some(Code::RemovedKey.into()),
        () = shared.stop.cancelled() => Some(Code::Stopping.into()),
        last = serve_channels(shared, &mut link, &peer) => last,
    };
    if let Some(refusal) = last {
        refuse(&mut link, refusal);
        link.close().await;
    }
}

/// A head that ends whatever was going on.
pub(super) fn refuse(link: &mut Link, refusal: Refusal) {
    link.send_head(&FirstHead::Refused(refusal));
}

/// Gives what to say before the link is closed, if there is anybody to say it to.
async fn serve_channels(shared: &Shared, link: &mut Link, peer: &Peer) -> Option<Refusal> {
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
        if let Err(refusal) = peer.grant.check(now()) {
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
        Kind::Data | Kind::End | Kind::Credit => Ok(None),
        _ => Err(Code::OutOfOrder.into()),
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
    let started = Instant::now();
    let (what, detail) = describe(&request);
    let env = match &request {
        Request::Run(run) => run.env.clone(),
        _ => Vec::new(),
    };
    let sent = link.frames_sent();
    let result = dispatch(shared, link, peer, request).await;
    let mut record = peer.who.record(peer.grant.name(), Trust::Proved, what, outcome(&result));
    record.detail = detail;
    record.bytes = result.as_ref().map_or(0, |served| served.bytes);
    record.duration = started.elapsed();
    shared.audit.record(&record.with_env(&env));
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
) -> Result<Served, ChannelError> {
    match request {
        Request::Run(request) => run::run(shared, peer, link, *request).await,
        Request::Ls(request) => ls::ls(peer, link, request).await,
        Request::Get(request) => get::get(shared, peer, link, request).await,
        Request::Put(request) => put::put(shared, peer, link, request).await,
        Request::Invite(request) => admin::invite(shared, peer, link, &request),
        Request::Keys => admin::keys(shared, peer, link),
        Request::KeyRm(request) => admin::key_rm(shared, peer, link, &request),
        Request::Audit(request) => admin::audit(shared, peer, link, &request).await,
        Request::Status => admin::status(shared, peer, link),
        _ => Err(Refusal::from(Code::UnknownVerb).into()),
    }
}

fn describe(request: &Request) -> (&'static str, Vec<ByteString>) {
    match request {
        Request::Run(request) => ("run", run::detail(request)),
        Request::Ls(request) => ("ls", vec![request.path.clone()]),
        Request::Get(request) => ("get", vec![request.path.clone()]),
        Request::Put(request) => ("put", vec![request.path.clone()]),
        Request::Invite(request) => {
            ("invite", request.name.iter().map(|name| name.as_str().into()).collect())
        }
        Request::Keys => ("keys", Vec::new()),
        Request::KeyRm(request) => ("key_rm", vec![request.key.as_str().into()]),
        Request::Audit(_) => ("audit", Vec::new()),
        Request::Status => ("status", Vec::new()),
        _ => ("unknown", Vec::new()),
    }
}
