//! Ways in that are secrets, serving: app passwords and shares.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tow_host::beneath::Root;
use tow_host::files::{Links, stat};
use tow_net::Link;
use tow_proto::message::{
    EntryKind, Reply, Rights, SessionInfo, SessionList, Share, ShareInfo, ShareReply, ShareRm,
    Shared as What, Shares, Token, TokenReply,
};
use tow_proto::{ByteString, Code, Refusal};

use super::{ChannelError, Peer, Served, Shared, admin, greet, now, sessions};
use crate::clock::unix_secs;
use crate::grant::{May, Right};
use crate::keeper::Ask;
use crate::keys::{Holder, KeysError, Record};
use crate::visitor::VisitorSecret;

/// Makes an app password.
pub(super) fn token(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Token,
) -> Result<Served, ChannelError> {
    let Token { rights, root, name, grant_secs } = request;
    let offer = admin::offer(shared, &peer.grant, rights, root.as_ref(), grant_secs)?;
    let secret = VisitorSecret::random().ok_or(Refusal::from(Code::Internal))?;
    let key = secret.key().ok_or(Refusal::from(Code::Internal))?;
    let name = name.unwrap_or_else(|| TOKEN_NAME.to_owned());
    let record = greet::record_of(&shared.keys(), key, &name, offer)?;
    let record = greet::store(&mut shared.keys(), Record { holder: Holder::Token, ..record })?;
    tracing::info!(name = %record.name, key = %key.id(), "an app password was made");
    link.send_head(&Reply::Ok(TokenReply {
        token: secret.to_token().to_string(),
        id: key.id().to_string(),
        root: record.root.as_os_str().as_bytes().into(),
        addresses: admin::addresses(shared),
    }));
    Ok(Served::ok(0))
}

/// Makes a link.
pub(super) async fn share(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Share,
) -> Result<Served, ChannelError> {
    let Share { what, rights, secs } = request;
    // What a link made would be everybody's who has it, and outlive its end.
    if is_by_share(shared, peer) {
        let right = Some(Right::Admin.to_string());
        return Err(Refusal { right, ..Code::NoRight.into() }.into());
    }
    if secs == 0 || secs > SHARE_SECS_MAX {
        return Err(Refusal::new(Code::TooLong).with_count(SHARE_SECS_MAX).into());
    }
    let (root, root_identity, session, name) = match what {
        What::Path(path) => {
            let root = directory(shared, peer, path, rights).await?;
            let name = root.file_name().map(|name| name.to_string_lossy().into_owned());
            let identity = Root::open(&root, &root)?.identity()?;
            (root, Some(identity), None, name.unwrap_or_else(|| "/".to_owned()))
        }
        What::Session(id) => {
            session(shared, peer, &id, rights).await?;
            let name = format!("session {id}");
            (PathBuf::from("/"), None, Some(id), name)
        }
    };
    let secret = VisitorSecret::random().ok_or(Refusal::from(Code::Internal))?;
    let key = secret.key().ok_or(Refusal::from(Code::Internal))?;
    let ends = now() + Duration::from_secs(secs);
    // Nobody gives away for longer than they have.
    let expires = peer.grant.end().map_or(ends, |own| own.min(ends));
    let record = Record {
        key,
        name: format!("share of {name}"),
        rights,
        start: root.clone(),
        root,
        created: now(),
        expires: Some(expires),
        holder: Holder::Share,
        end: None,
        session,
        root_identity,
        giver: peer.grant.key(),
    };
    make_room(shared)?;
    let record = greet::store(&mut shared.keys(), record)?;
    tracing::info!(name = %record.name, key = %key.id(), "a link was made");
    let address = admin::addresses(shared).into_iter().next();
    let address = address.unwrap_or_else(|| shared.machine.clone());
    link.send_head(&Reply::Ok(ShareReply {
        id: key.id().to_string(),
        link: format!("https://{address}/#{FRAGMENT}.{}", *secret.to_text()),
        expires: unix_secs(expires),
    }));
    Ok(Served::ok(0))
}

/// The real path of a directory that may be shared with these rights.
async fn directory(
    shared: &Shared,
    peer: &Peer,
    path: ByteString,
    rights: Rights,
) -> Result<PathBuf, Refusal> {
    let allowed = Right::together([Right::Read, Right::Write]);
    if rights == Rights::default() || !is_within(rights, allowed) {
        return Err(Code::BadArgument.into());
    }
    let mut root = None;
    if rights.read {
        root = Some(peer.grant.read(now())?.root().clone());
    }
    if rights.write {
        root = Some(peer.grant.write(now())?.root().clone());
    }
    let root = root.ok_or(Code::BadArgument)?;
    let own = shared.own_dirs.clone();
    // What a login runs is in it: who may write there may do everything.
    let home = rights.write.then(|| shared.account.home.clone());
    tokio::task::spawn_blocking(move || {
        let found = stat(&root, &path, Links::Follow)?;
        if found.kind != EntryKind::Dir {
            return Err(Refusal::about(Code::NotADirectory, found.path));
        }
        let dir = Path::new(std::ffi::OsStr::from_bytes(found.path.as_bytes())).to_owned();
        let real = |path: &PathBuf| path.canonicalize().ok();
        let touches = |own: PathBuf| own.starts_with(&dir) || dir.starts_with(&own);
        let is_ours = own.iter().filter_map(real).any(touches);
        match is_ours || home.iter().filter_map(real).any(|home| home.starts_with(&dir)) {
            true => Err(Refusal::about(Code::PermissionDenied, found.path)),
            false => Ok(dir),
        }
    })
    .await
    .map_err(|_| Refusal::from(Code::Internal))?
}

/// Whether this session may be shared with these rights.
async fn session(shared: &Shared, peer: &Peer, id: &str, rights: Rights) -> Result<(), Refusal> {
    let types = rights == Right::together([Right::Run]);
    if !types && rights != Right::together([Right::Watch]) {
        return Err(Code::BadArgument.into());
    }
    let scope = sessions::scope(peer)?;
    let needed = if types { May::All } else { May::View };
    let mut keeper = shared.keeper.converse().await?;
    let mut page: SessionList = keeper.ask(&Ask::Sessions { scope: scope.clone() }).await?;
    loop {
        let found = page.sessions.iter().find(|one: &&SessionInfo| one.id == id);
        if let Some(found) = found {
            return scope.check(id, &found.owner, needed);
        }
        if !page.more {
            return Err(Code::UnknownSession.into());
        }
        page = keeper.reply().await?;
    }
}

/// Shares that have ended give their places back; there may be only so many.
fn make_room(shared: &Shared) -> Result<(), Refusal> {
    let mut keys = shared.keys();
    let is_over = |record: &Record| record.expires.is_some_and(|at| at <= now());
    let shares = keys.list().filter(|record| record.holder == Holder::Share);
    let (over, live): (Vec<_>, Vec<_>) = shares.partition(|record| is_over(record));
    if live.len() >= SHARES_MAX {
        return Err(Refusal::new(Code::TooLong).with_count(SHARES_MAX as u64));
    }
    let over: Vec<_> = over.into_iter().map(|record| record.key.id()).collect();
    for id in over {
        if let Err(error) = keys.remove(&id.to_string(), now()) {
            tracing::warn!(%error, "a share that has ended could not be removed");
        }
    }
    Ok(())
}

/// Lists the shares that this peer made, or all.
pub(super) fn shares(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
) -> Result<Served, ChannelError> {
    peer.grant.check(now())?;
    let mut found: Vec<_> = shared
        .keys()
        .list()
        .filter(|record| is_theirs(record, peer, now()))
        .map(|record| info(shared, record))
        .collect();
    found.sort_by_key(|share| share.expires);
    let mut batches = found.chunks(SHARES_AT_ONCE).peekable();
    loop {
        let batch = batches.next().unwrap_or_default().to_vec();
        let more = batches.peek().is_some();
        link.send_head(&Reply::Ok(Shares { shares: batch, more }));
        if !more {
            return Ok(Served::ok(0));
        }
    }
}

fn info(shared: &Shared, record: &Record) -> ShareInfo {
    let id = record.key.id();
    let path = || What::Path(record.root.as_os_str().as_bytes().into());
    ShareInfo {
        id: id.to_string(),
        what: record.session.clone().map_or_else(path, What::Session),
        rights: record.rights,
        expires: record.expires.map_or(u64::MAX, unix_secs),
        giver: record.giver.map(|giver| giver.to_string()),
        open: shared.links.count(&id),
    }
}

/// Ends a share.
pub(super) fn share_rm(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: &ShareRm,
) -> Result<Served, ChannelError> {
    peer.grant.check(now())?;
    let unknown = || Refusal::about(Code::NotFound, request.share.as_str());
    let mut keys = shared.keys();
    let theirs = keys.list().filter(|record| is_theirs(record, peer, now()));
    let ids = theirs.map(|record| record.key.id());
    let named: Vec<_> = ids.filter(|id| id.starts_with(&request.share)).collect();
    let id = match named.as_slice() {
        _ if request.share.len() < SHARE_PREFIX_MIN => return Err(unknown().into()),
        [] => return Err(unknown().into()),
        [id] => *id,
        _ => return Err(Refusal::about(Code::Malformed, request.share.as_str()).into()),
    };
    remove(&mut keys, shared, id)?;
    drop(keys);
    link.send_head(&Reply::Ok(serde_json::json!({})));
    Ok(Served::ok(0))
}

/// Ends everything that `giver` has shared: nobody's links outlive them.
pub(super) fn end_of_giver(shared: &Shared, giver: crate::identity::KeyId) {
    let mut keys = shared.keys();
    let given = keys.list().filter(|record| record.giver == Some(giver));
    for id in given.map(|record| record.key.id()).collect::<Vec<_>>() {
        if let Err(refusal) = remove(&mut keys, shared, id) {
            tracing::error!(%refusal, "a share of a key that was removed is still there");
        }
    }
}

fn remove(
    keys: &mut crate::keys::Keys,
    shared: &Shared,
    id: crate::identity::KeyId,
) -> Result<(), Refusal> {
    keys.remove(&id.to_string(), now()).map_err(|error: KeysError| {
        tracing::error!(%error, "a share could not be removed");
        Refusal::from(Code::Internal)
    })?;
    shared.links.cut(&id);
    Ok(())
}

fn is_by_share(shared: &Shared, peer: &Peer) -> bool {
    let is_it = |record: &Record| Some(record.key.id()) == peer.grant.key();
    shared.keys().list().any(|record| record.holder == Holder::Share && is_it(record))
}

fn is_theirs(record: &Record, peer: &Peer, now: SystemTime) -> bool {
    record.holder == Holder::Share
        && (peer.grant.admin(now).is_ok() || record.giver == peer.grant.key())
}

fn is_within(rights: Rights, allowed: Rights) -> bool {
    Right::list(rights).into_iter().all(|right| right.is_in(allowed))
}

const FRAGMENT: &str = "tows1";
const TOKEN_NAME: &str = "app password";
const SHARES_MAX: usize = 1_000;
/// With the longest paths they stay below half of what a head may be.
const SHARES_AT_ONCE: usize = 100;
const SHARE_PREFIX_MIN: usize = 4;
const SHARE_SECS_MAX: u64 = 366 * 24 * 3600;
