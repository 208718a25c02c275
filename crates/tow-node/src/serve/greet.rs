//! The first heads of a link: who is it, and may they come in (PROTOCOL 3.1, 5)?

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::Instant;

use tokio::time::timeout;
use tow_net::gate::{Loss, Place};
use tow_net::{Link, door};
use tow_proto::message::{Confirm, FirstHead, Hello, Join, JoinReply, VERSION, Welcome};
use tow_proto::{Code, Kind, Refusal, Trust, json};

use super::channel::{Peer, refuse};
use super::{Shared, now};
use crate::audit::{self, Outcome, Record as AuditRecord};
use crate::grant::Grant;
use crate::identity::PublicKey;
use crate::invite::Offer;
use crate::keys::{Holder, Keys, Lookup, Record};
use crate::pake::{EXPORTER_LABEL, Ids};

/// What the transport proved.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who {
    /// The holder of a key, by TLS.
    Key(PublicKey, SocketAddr),
    /// A user of this machine, by the kernel.
    User(u32),
}

/// Reads the hello and answers it. `None` where the peer was refused or went away.
pub(super) async fn greet(
    shared: &Shared,
    mut link: Link,
    who: Who,
    place: &Place,
) -> Option<(Link, Peer)> {
    let mut what = "link";
    let answer = timeout(door::HELLO_MAX, answer(shared, &mut link, who, &mut what)).await;
    match answer {
        Ok(Ok((welcome, peer))) => {
            link.prove();
            link.send_head(&FirstHead::Welcome(welcome));
            Some((link, peer))
        }
        Ok(Err(Some(refusal))) => {
            place.lose(Loss::Bad);
            if what == "join" {
                // Whoever watches this node should see that somebody is guessing.
                tracing::warn!(from = %who.from(), %refusal, "a device was not let in");
            }
            let outcome = Outcome::Refused(refusal.code);
            shared.audit.record(&who.record("", Trust::Unproved, what, outcome));
            refuse(&mut link, refusal);
            link.close().await;
            None
        }
        Ok(Err(None)) => {
            place.lose(Loss::Bad);
            None
        }
        Err(_) => {
            place.lose(Loss::Late);
            None
        }
    }
}

/// A refusal, or nothing to say because nobody is there.
type Answer<T> = Result<T, Option<Refusal>>;

/// `what` is set to what the peer turns out to want.
async fn answer(
    shared: &Shared,
    link: &mut Link,
    who: Who,
    what: &mut &'static str,
) -> Answer<(Welcome, Peer)> {
    let FirstHead::Hello(hello) = first_head(link).await? else {
        return Err(Some(Code::OutOfOrder.into()));
    };
    if !hello.versions.contains(&VERSION) {
        return Err(Some(Code::UnknownVersion.into()));
    }
    let mut confirm = None;
    let grant = match who {
        Who::User(uid) if is_owner(shared, uid) => Grant::owner(&shared.account.home)?,
        Who::User(_) => return Err(Some(Code::UnknownKey.into())),
        Who::Key(key, address) => {
            if let Some(join) = &hello.join {
                *what = "join";
                confirm = take_in(shared, link, key, address, &hello, join).await?;
            }
            let record = known(shared, &key)?;
            // Whoever holds a secret comes by the browser's door, which knows what ends it.
            if record.holder != Holder::Device {
                return Err(Some(Code::UnknownKey.into()));
            }
            Grant::of(&record, now())?
        }
    };
    let welcome = Welcome { confirm, ..welcome(shared, &grant) };
    Ok((welcome, Peer::new(grant, who)))
}

/// What whoever has this grant is welcomed with.
pub(super) fn welcome(shared: &Shared, grant: &Grant) -> Welcome {
    let welcome = Welcome {
        version: VERSION,
        features: Vec::new(),
        agent: shared.agent.clone(),
        machine: shared.machine.clone(),
        rights: grant.rights(),
        root: None,
        start: None,
        confirm: None,
    };
    with_places(welcome, grant)
}

/// Says where files are, to who may do something with them, as far as there is room for it: a client
/// reads this before it knows whom it speaks with.
fn with_places(welcome: Welcome, grant: &Grant) -> Welcome {
    let read = grant.read(now()).map(|permit| permit.root().clone());
    let root = read.or_else(|_| grant.write(now()).map(|permit| permit.root().clone()));
    let Ok(root) = root else { return welcome };
    let bytes = |path: &Path| Some(path.as_os_str().as_bytes().into());
    let (root, start) = (bytes(root.path()), bytes(&root.start_path()));
    let placed = Welcome { root, start, ..welcome.clone() };
    if json::to_vec(&placed).len() <= WELCOME_LEN_MAX { placed } else { welcome }
}

async fn first_head(link: &mut Link) -> Answer<FirstHead> {
    let frame = link.next_frame().await.map_err(|_| None)?;
    if frame.kind != Kind::Head {
        return Err(Some(Code::OutOfOrder.into()));
    }
    json::from_slice(&frame.payload).map_err(|_| Some(Code::Malformed.into()))
}

/// Whether this user may do everything: who runs the node, and root.
pub(super) fn is_owner(shared: &Shared, uid: u32) -> bool {
    uid == shared.uid || uid == 0
}

/// What a key may do now.
pub(super) fn grant_of(shared: &Shared, key: &PublicKey) -> Result<Grant, Refusal> {
    Grant::of(&known(shared, key)?, now())
}

/// The record of a key that may come in. What was given away ends with whoever gave it.
pub(super) fn known(shared: &Shared, key: &PublicKey) -> Result<Record, Refusal> {
    let keys = shared.keys();
    let record = match keys.find(key) {
        Lookup::Known(record) => record,
        other => {
            other.into_grant(now())?;
            return Err(Code::UnknownKey.into());
        }
    };
    if record.giver.is_some_and(|giver| keys.list().all(|one| one.key.id() != giver)) {
        return Err(Code::RemovedKey.into());
    }
    Ok(record)
}

/// Lets a device take up its invitation. Gives our own confirmation where it joins by code.
async fn take_in(
    shared: &Shared,
    link: &mut Link,
    key: PublicKey,
    address: SocketAddr,
    hello: &Hello,
    join: &Join,
) -> Answer<Option<Confirm>> {
    let ids = Ids { client: key, node: shared.key };
    let exporter = link.exporter(EXPORTER_LABEL).ok_or(Some(Code::Internal.into()))?;
    let (offer, confirm) = match join {
        Join::Ticket { proof } => {
            (shared.invitations.redeem(proof, &ids, &exporter, Instant::now())?, None)
        }
        Join::Code { pake } => {
            let guess = shared.invitations.guess(Instant::now())?;
            let (answered, message) = guess.answer(ids, pake)?;
            link.send_head(&FirstHead::Join(JoinReply { pake: message.to_vec() }));
            let FirstHead::Confirm(theirs) = first_head(link).await? else {
                return Err(Some(Code::OutOfOrder.into()));
            };
            let (offer, ours) = answered.verify(&theirs.confirm, &exporter, Instant::now())?;
            (offer, Some(Confirm { confirm: ours.to_vec() }))
        }
    };
    let record = record_of(&shared.keys(), key, &hello.name, offer)?;
    let record = store(&mut shared.keys(), record)?;
    tracing::info!(name = %record.name, key = %key.id(), from = %address, "a device has joined");
    let who = Who::Key(key, address);
    shared.audit.record(&who.record(&record.name, Trust::Proved, "join", Outcome::Ok));
    Ok(confirm)
}

/// What is to be stored of a key that takes up an offer, if whoever offered it still may.
pub(super) fn record_of(
    keys: &Keys,
    key: PublicKey,
    name: &str,
    offer: Offer,
) -> Result<Record, Refusal> {
    let Offer { giver, rights, root, start, name: called, expires } = offer;
    if giver.is_some_and(|giver| keys.list().all(|record| record.key.id() != giver)) {
        return Err(Code::ExpiredCode.into());
    }
    let name = called.unwrap_or_else(|| name.to_owned());
    Ok(Record {
        key,
        name,
        rights,
        root,
        start,
        created: now(),
        expires,
        holder: Holder::Device,
        end: None,
        session: None,
        root_identity: None,
        giver: None,
    })
}

/// Stores a key.
pub(super) fn store(keys: &mut Keys, record: Record) -> Result<Record, Refusal> {
    keys.add(record).map_err(|error| {
        tracing::error!(%error, "a key could not be stored");
        Code::Internal.into()
    })
}

impl Who {
    /// Who it is, for the audit log and for what belongs to them.
    pub(super) fn id(&self) -> String {
        match self {
            Self::Key(key, _) => key.id().to_string(),
            Self::User(uid) => format!("uid:{uid}"),
        }
    }

    /// Where from.
    fn from(&self) -> String {
        match self {
            Self::Key(_, address) => address.to_string(),
            Self::User(_) => "local".to_owned(),
        }
    }

    /// A record of what they did.
    pub(super) fn record(
        &self,
        name: &str,
        trust: Trust,
        what: &'static str,
        outcome: Outcome,
    ) -> AuditRecord {
        let who = match self {
            Self::Key(key, _) => audit::Who::Key(key.id()),
            Self::User(uid) => audit::Who::Uid(*uid),
        };
        let mut record = AuditRecord::new(who, trust, what, outcome);
        record.name = name.to_owned();
        record.from = self.from();
        record
    }
}

/// Longest welcome in bytes, without the confirmation of a newcomer that may be added to it: 4 KiB is
/// what a head may have before the proof.
const WELCOME_LEN_MAX: usize = 3 << 10;
