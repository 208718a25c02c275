//! Looking after the node, serving: invitations, keys, the audit log, its state.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tow_net::address::Host;
use tow_net::{Address, Link, LinkEvent};
use tow_proto::content::Tally;
use tow_proto::message::{
    AuditRequest, End, Invite, Invited, KeyInfo, KeyRm, KeyRmDone, Keys, Reply, Rights, STDOUT,
    Status,
};
use tow_proto::{ByteString, Code, Kind, Refusal, json};

use super::{ChannelError, Peer, Served, Shared, now, share};
use crate::audit::ReadTo;
use crate::clock::unix_secs;
use crate::grant::Grant;
use crate::invite::Offer;
use crate::keys::KeysError;
use crate::ticket::Ticket;

pub(super) fn invite(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: &Invite,
) -> Result<Served, ChannelError> {
    let invited = issue(shared, &peer.grant, request)?;
    link.send_head(&Reply::Ok(invited));
    Ok(Served::ok(0))
}

/// Makes an invitation in the name of `giver`, who can't give away more than they have.
pub(super) fn issue(shared: &Shared, giver: &Grant, request: &Invite) -> Result<Invited, Refusal> {
    let name = request.name.clone();
    let offer = offer(shared, giver, request.rights, request.root.as_ref(), request.grant_secs)?;
    let (root, offer) = (offer.root.clone(), Offer { name, ..offer });
    let valid = Duration::from_secs(request.valid_secs);
    let issued = shared.invitations.invite(offer, valid, Instant::now(), now())?;
    let addresses = addresses(shared);
    let ticket = Ticket {
        address: addresses.first().cloned().unwrap_or_else(|| shared.machine.clone()),
        key: shared.key,
        secret: issued.secret,
    };
    Ok(Invited {
        code: issued.code.to_text(),
        ticket: ticket.to_text(),
        expires: unix_secs(issued.expires),
        root: root.as_os_str().as_bytes().into(),
        addresses,
    })
}

/// What `giver` offers, who can't give away more than they have.
pub(super) fn offer(
    shared: &Shared,
    giver: &Grant,
    rights: Rights,
    root: Option<&ByteString>,
    grant_secs: Option<u64>,
) -> Result<Offer, Refusal> {
    let permit = giver.admin(now())?;
    let root = match root {
        Some(root) => resolve(&PathBuf::from(std::ffi::OsStr::from_bytes(root.as_bytes())))?,
        None => resolve(&shared.root)?,
    };
    permit.check_gift(rights, &root)?;
    // A device of one's own starts at home; one that is confined starts where it is confined to.
    let start = if root.parent().is_none() { shared.account.home.clone() } else { root.clone() };
    let asked = grant_secs.map(|secs| now() + Duration::from_secs(secs.min(GRANT_SECS_MAX)));
    let expires = [asked, permit.expires()].into_iter().flatten().min();
    Ok(Offer { giver: giver.key(), rights, root, start, name: None, expires })
}

fn resolve(root: &std::path::Path) -> Result<PathBuf, Refusal> {
    let about = |code| Refusal::about(code, root.as_os_str().as_bytes());
    let resolved = root.canonicalize().map_err(|_| about(Code::NotFound))?;
    if resolved.is_dir() { Ok(resolved) } else { Err(about(Code::NotADirectory)) }
}

/// Where another machine may find this one: an address that listens everywhere stands for the
/// machine's own address or name.
pub(super) fn addresses(shared: &Shared) -> Vec<String> {
    let tcp = shared.addresses.iter().filter_map(|address| match address {
        Address::Tcp { host: Host::Ip(ip), port } if ip.is_unspecified() => {
            let own = tow_net::own_address().map_or_else(
                || format!("{}:{port}", shared.machine),
                |ip| std::net::SocketAddr::new(ip, *port).to_string(),
            );
            Some(own)
        }
        Address::Tcp { .. } => Some(address.to_string()),
        Address::Unix(_) => None,
    });
    tcp.collect()
}

pub(super) fn keys(shared: &Shared, peer: &Peer, link: &mut Link) -> Result<Served, ChannelError> {
    peer.grant.admin(now())?;
    let mut keys: Vec<_> = shared
        .keys()
        .list()
        .map(|record| {
            let id = record.key.id();
            KeyInfo {
                id: id.to_string(),
                name: record.name.clone(),
                rights: record.rights,
                root: record.root.as_os_str().as_bytes().into(),
                expires: record.expires.map(unix_secs),
                holder: record.holder.word().to_owned(),
                links: shared.links.count(&id),
            }
        })
        .collect();
    keys.sort_by(|one, other| one.name.cmp(&other.name));
    // One empty batch where there are none: it is the answer.
    let mut batches = keys.chunks(KEYS_AT_ONCE).peekable();
    loop {
        let batch = batches.next().unwrap_or_default().to_vec();
        let more = batches.peek().is_some();
        link.send_head(&Reply::Ok(Keys { keys: batch, more }));
        if !more {
            return Ok(Served::ok(0));
        }
    }
}

pub(super) async fn key_rm(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: &KeyRm,
) -> Result<Served, ChannelError> {
    peer.grant.admin(now())?;
    let removed = shared.keys().remove(&request.key, now()).map_err(|error| match error {
        KeysError::NotFound => Refusal::about(Code::NotFound, request.key.as_str()),
        KeysError::Ambiguous { .. } => Refusal::about(Code::Malformed, request.key.as_str()),
        error => {
            tracing::error!(%error, "a key could not be removed");
            Code::Internal.into()
        }
    })?;
    let links = shared.links.cut(&removed.id);
    share::end_of_giver(shared, removed.id);
    shared.keeper.end_owner(removed.id.to_string()).await;
    let done = KeyRmDone { name: removed.name, id: removed.id.to_string(), links };
    link.send_head(&Reply::Ok(done));
    Ok(Served::ok(0))
}

pub(super) async fn audit(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: &AuditRequest,
) -> Result<Served, ChannelError> {
    peer.grant.admin(now())?;
    let to = if request.follow { ReadTo::Forever } else { ReadTo::Now };
    let mut reader = shared.audit.reader(to).map_err(|_| Refusal::from(Code::Io))?;
    link.send_head(&Reply::Ok(serde_json::json!({})));
    let mut tally = Tally::default();
    loop {
        tokio::select! {
            event = link.next_event() => match event? {
                LinkEvent::Room => {}
                // Who follows leaves like this.
                LinkEvent::Closed if request.follow => return Ok(Served::ok(tally.bytes())),
                LinkEvent::Closed => return Err(ChannelError::Closed),
                LinkEvent::Frame(_) => return Err(Refusal::from(Code::OutOfOrder).into()),
            },
            lines = reader.next_chunk(), if link.has_room() => match lines {
                Ok(Some(lines)) => {
                    tally.update(&lines);
                    link.send(Kind::Data, &lines);
                }
                Ok(None) => break,
                Err(_) => return Err(Refusal::from(Code::Io).into()),
            },
        }
    }
    let end = End { stream: STDOUT, total: tally.bytes(), blake3: tally.hash() };
    link.send(Kind::End, &json::to_vec(&end));
    Ok(Served::ok(tally.bytes()))
}

pub(super) async fn status(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
) -> Result<Served, ChannelError> {
    peer.grant.admin(now())?;
    let sessions = shared.keeper.running().await;
    link.send_head(&Reply::Ok(Status {
        agent: shared.agent.clone(),
        machine: shared.machine.clone(),
        id: shared.id.to_string(),
        listen: shared.addresses.iter().map(ToString::to_string).collect(),
        uptime_secs: shared.started.elapsed().as_secs(),
        links: shared.link_counts(),
        sessions,
        backlog: shared.backlog,
    }));
    Ok(Served::ok(0))
}

/// Keys of one head: with the longest roots they stay below half of what a head may be.
const KEYS_AT_ONCE: usize = 100;
const GRANT_SECS_MAX: u64 = 100 * 366 * 24 * 3600;
