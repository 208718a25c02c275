//! The node as a door for browsers has it: who a visitor is, and a link on which they ask like
//! everybody else. So what a browser may do is decided where it is for `tow`.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tow_net::gate::Place;
use tow_net::{Link, WebStream};
use tow_proto::message::Welcome;
use tow_proto::{ByteString, Code, Refusal, Trust};

use super::channel::{self, Peer};
use super::greet::{self, Who};
use super::slots::Slot;
use super::{Shared, now, share};
use crate::ask::Connection;
use crate::audit::{Outcome, Record as AuditRecord};
use crate::grant::{Grant, Permit, Read, Write};
use crate::invite::Offer;
use crate::keys::{Holder, Lookup, Record};
use crate::ticket::TicketSecret;
use crate::visitor::VisitorSecret;

/// Serves HTTP on behalf of a node.
pub trait Web: Send + Sync {
    /// Serves a connection to its end.
    fn serve(&self, visit: Visit) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// A connection that came in for [`Web`].
pub struct Visit {
    /// The connection.
    pub stream: WebStream,
    /// From where.
    pub from: SocketAddr,
    /// Its place among those that have not proved themselves; to be proved with the first request of
    /// somebody known. The connection ends when it is [dropped](Place::dropped).
    pub place: Place,
    /// Resolves when the node stops.
    pub stop: CancellationToken,
    /// The node.
    pub desk: Desk,
}

/// The node. Clones share it.
#[derive(Clone)]
pub struct Desk(pub(super) Arc<Shared>);

/// Somebody known, for the time of one request.
#[derive(Clone)]
pub struct Visitor {
    shared: Arc<Shared>,
    facts: Arc<Facts>,
    who: Who,
}

struct Facts {
    record: Record,
    grant: Grant,
}

impl Desk {
    /// What the machine calls itself.
    pub fn machine(&self) -> &str {
        &self.0.machine
    }

    /// Program and version.
    pub fn agent(&self) -> &str {
        &self.0.agent
    }

    /// Takes up an invitation by the secret of its ticket, or enters by that of a share, which stays
    /// good for others. `name` is what the browser calls itself.
    ///
    /// # Errors
    /// `WrongCode` and what else becomes of invitations; `ExpiredKey`, `RemovedKey` of shares.
    pub fn sign_in(
        &self,
        secret: &str,
        name: &str,
        from: SocketAddr,
    ) -> Result<VisitorSecret, Refusal> {
        let signed_in = self.take_in(secret, name);
        let (key, name, outcome) = match &signed_in {
            Ok((record, _)) => (record.key, record.name.as_str(), Outcome::Ok),
            Err(refusal) => (self.0.key, "", Outcome::Refused(refusal.code)),
        };
        let trust = if signed_in.is_ok() { Trust::Proved } else { Trust::Unproved };
        if let Err(refusal) = &signed_in {
            tracing::warn!(%from, %refusal, "a browser was not let in");
        }
        self.0.audit.record(&Who::Key(key, from).record(name, trust, "signin", outcome));
        signed_in.map(|(_, secret)| secret)
    }

    fn take_in(&self, secret: &str, name: &str) -> Result<(Record, VisitorSecret), Refusal> {
        if let Some(secret) = VisitorSecret::parse(secret) {
            let key = secret.key().ok_or(Code::Internal)?;
            let found = self.0.keys().find(&key);
            return match found {
                Lookup::Known(record) if record.holder == Holder::Share => {
                    Grant::of(&record, now())?;
                    Ok((record, secret))
                }
                Lookup::Removed(_) => Err(Code::RemovedKey.into()),
                _ => Err(Refusal { retry: false, ..Code::WrongCode.into() }),
            };
        }
        let wrong = || Refusal { retry: false, ..Code::WrongCode.into() };
        let ticket = TicketSecret::parse(secret).ok_or_else(wrong)?;
        let offer = self.0.invitations.redeem_secret(&ticket, Instant::now())?;
        let secret = VisitorSecret::random().ok_or(Code::Internal)?;
        let record = self.store_browser(&secret, name, offer)?;
        tracing::info!(name = %record.name, key = %record.key.id(), "a browser has signed in");
        Ok((record, secret))
    }

    fn store_browser(
        &self,
        secret: &VisitorSecret,
        name: &str,
        offer: Offer,
    ) -> Result<Record, Refusal> {
        let key = secret.key().ok_or(Code::Internal)?;
        let end = offer.expires;
        let expires = Some(browser_expiry(end, now()));
        let record = greet::record_of(&self.0.keys(), key, name, offer)?;
        greet::store(&mut self.0.keys(), Record { holder: Holder::Browser, expires, end, ..record })
    }

    /// Who holds `secret`. A browser's key lives on from here.
    ///
    /// # Errors
    /// `UnknownKey`, `RemovedKey`, `ExpiredKey`.
    pub fn visitor(&self, secret: &VisitorSecret, from: SocketAddr) -> Result<Visitor, Refusal> {
        let key = secret.key().ok_or(Code::Internal)?;
        let record = greet::known(&self.0, &key)?;
        // A device proves its key by TLS: that somebody knows the secret of one means nothing.
        if record.holder == Holder::Device {
            return Err(Code::UnknownKey.into());
        }
        let grant = Grant::of(&record, now())?;
        if record.holder == Holder::Browser {
            self.renew(&record);
        }
        let who = Who::Key(key, from);
        Ok(Visitor { shared: self.0.clone(), facts: Arc::new(Facts { record, grant }), who })
    }

    /// Moves the end of a browser's key, at most once in an hour.
    fn renew(&self, record: &Record) {
        let expires = browser_expiry(record.end, now());
        let before = record.expires.unwrap_or(SystemTime::UNIX_EPOCH);
        if expires.duration_since(before).is_ok_and(|later| later >= BROWSER_RENEW_EVERY)
            && let Err(error) = self.0.keys().extend(&record.key, expires)
        {
            tracing::warn!(%error, "the time of a browser's key could not be moved");
        }
    }

    /// Ends a browser's key at its own wish. A share stays: it is others' too.
    pub fn sign_out(&self, visitor: &Visitor) {
        if visitor.facts.record.holder != Holder::Browser {
            return;
        }
        let id = visitor.facts.record.key.id();
        if let Err(error) = self.0.keys().remove(&id.to_string(), now()) {
            tracing::warn!(%error, "a browser that signed out could not be removed");
        }
        self.0.links.cut(&id);
        share::end_of_giver(&self.0, id);
        let done = Done { outcome: Outcome::Ok, bytes: 0, duration: Duration::ZERO };
        visitor.audit("signout", Vec::new(), &done);
    }
}

impl Visitor {
    /// Who they are and what they may.
    pub fn record(&self) -> &Record {
        &self.facts.record
    }

    /// What may be done now.
    pub fn grant(&self) -> &Grant {
        &self.facts.grant
    }

    /// What a native link would have been welcomed with.
    pub fn welcome(&self) -> Welcome {
        greet::welcome(&self.shared, &self.facts.grant)
    }

    /// A link within this process, on which the visitor asks as a device does: dispatched, limited,
    /// audited and cut like any other.
    ///
    /// # Errors
    /// `Busy` where descriptors have run out.
    pub fn connect(&self) -> Result<Connection, Refusal> {
        let busy = |_| Refusal::from(Code::Busy);
        let (near, far) = UnixStream::pair().map_err(busy)?;
        let (mut near, mut far) =
            (Link::from_unix(near).map_err(busy)?, Link::from_unix(far).map_err(busy)?);
        near.prove();
        far.prove();
        let (shared, peer) = (self.shared.clone(), Peer::new(self.facts.grant.clone(), self.who));
        self.shared.tasks.spawn(async move { channel::serve(&shared, far, peer).await });
        Ok(Connection::within(near, self.who.id(), self.welcome()))
    }

    /// To whom partial files belong.
    pub fn owner(&self) -> String {
        self.who.id()
    }

    /// Leave to read, and a place among those who keep a thread.
    ///
    /// # Errors
    /// `NoRight`, `Busy`.
    pub fn read(&self) -> Result<(Permit<Read>, Slot), Refusal> {
        Ok((self.facts.grant.read(now())?, self.slot()?))
    }

    /// Leave to write, and a place among those who keep a thread.
    ///
    /// # Errors
    /// `NoRight`, `Busy`.
    pub fn write(&self) -> Result<(Permit<Write>, Slot), Refusal> {
        Ok((self.facts.grant.write(now())?, self.slot()?))
    }

    fn slot(&self) -> Result<Slot, Refusal> {
        self.shared.slots.take(&Peer::new(self.facts.grant.clone(), self.who))
    }

    /// Counts what does not go over [`Self::connect`] as a link of the visitor's key.
    ///
    /// # Errors
    /// `Busy`: the key has too many links. Or it is not what it was.
    pub fn enter(&self) -> Result<Presence, Refusal> {
        let entry = self.shared.links.enter(self.facts.grant.key()).map_err(|_| Code::Busy)?;
        // The key may have been removed since it was looked up.
        Peer::new(self.facts.grant.clone(), self.who).check_known(&self.shared)?;
        Ok(Presence(entry))
    }

    /// Records what was done without a link: as the verb `what` on `detail`.
    pub fn audit(&self, what: &'static str, detail: Vec<ByteString>, done: &Done) {
        let mut record: AuditRecord =
            self.who.record(self.facts.grant.name(), Trust::Proved, what, done.outcome.clone());
        record.detail = detail;
        record.bytes = done.bytes;
        record.duration = done.duration;
        self.shared.audit.record(&record);
    }
}

/// What became of something that is audited.
#[derive(Clone, Debug)]
pub struct Done {
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes of content that were moved.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
}

/// A visitor's place among the links of its key, until it is dropped.
pub struct Presence(super::links::Entry);

impl Presence {
    /// Resolves when the key was removed.
    pub async fn removed(&self) {
        self.0.removed().await;
    }

    /// The same for who can't hold it meanwhile: cancelled when the key was removed.
    pub fn removing(&self) -> CancellationToken {
        self.0.removing()
    }
}

fn browser_expiry(end: Option<SystemTime>, now: SystemTime) -> SystemTime {
    let idle = now + BROWSER_IDLE_MAX;
    end.map_or(idle, |end| end.min(idle))
}

/// How long a browser's key is good for after its last use.
pub const BROWSER_IDLE_MAX: Duration = Duration::from_secs(12 * 3600);
const BROWSER_RENEW_EVERY: Duration = Duration::from_secs(3600);
