//! `mkdir`, `move`, `remove`, `copy` and `set`, serving.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tow_host::files::{self, Above, Existing, Missing, Scope};
use tow_net::Link;
use tow_proto::message::{Copy, Failure, Mkdir, Move, Remove, Reply, Set};

use super::thread::on_thread;
use super::{ChannelError, Peer, Served, Shared, now};
use crate::audit::Outcome;

/// Makes a directory.
pub(super) async fn mkdir(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Mkdir,
) -> Result<Served, ChannelError> {
    let root = peer.grant.write(now())?.root().clone();
    let _slot = shared.slots.take(peer)?;
    let above = if request.parents { Above::Made } else { Above::Exist };
    let reply = on_thread(link, move |_| files::make_dir(&root, &request.path, above)).await?;
    link.send_head(&Reply::Ok(reply));
    Ok(Served::ok(0))
}

/// Gives something another name.
pub(super) async fn rename(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Move,
) -> Result<Served, ChannelError> {
    let root = peer.grant.change(now())?.root().clone();
    let _slot = shared.slots.take(peer)?;
    let existing = if request.replace { Existing::Replaced } else { Existing::Kept };
    let Move { from, to, .. } = request;
    let reply = on_thread(link, move |_| files::rename(&root, &from, &to, existing)).await?;
    link.send_head(&Reply::Ok(reply));
    Ok(Served::ok(0))
}

/// Removes something, and stops when nobody waits for it any more.
pub(super) async fn remove(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Remove,
) -> Result<Served, ChannelError> {
    let root = peer.grant.change(now())?.root().clone();
    let _slot = shared.slots.take(peer)?;
    let scope = if request.recursive { Scope::Tree } else { Scope::One };
    let missing = if request.force { Missing::Fine } else { Missing::Refused };
    let reply = on_thread(link, move |stop| {
        files::remove(&root, &request.path, scope, missing, &mut || go_on(stop))
    })
    .await?;
    let served = Served { outcome: outcome(&reply.failures), bytes: reply.removed };
    link.send_head(&Reply::Ok(reply));
    Ok(served)
}

/// Makes a second one of something, and stops when nobody waits for it any more.
pub(super) async fn copy(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Copy,
) -> Result<Served, ChannelError> {
    let root = peer.grant.write(now())?.root().clone();
    // A copy is as good as what it was made of.
    peer.grant.read(now())?;
    let _slot = shared.slots.take(peer)?;
    let existing = if request.replace { Existing::Replaced } else { Existing::Kept };
    let Copy { from, to, .. } = request;
    let reply =
        on_thread(link, move |stop| files::copy(&root, &from, &to, existing, &mut || go_on(stop)))
            .await?;
    let served = Served { outcome: outcome(&reply.failures), bytes: reply.copied };
    link.send_head(&Reply::Ok(reply));
    Ok(served)
}

/// Changes what is said of something.
pub(super) async fn set(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Set,
) -> Result<Served, ChannelError> {
    let root = peer.grant.change(now())?.root().clone();
    let _slot = shared.slots.take(peer)?;
    let Set { path, mode, mtime } = request;
    let reply = on_thread(link, move |_| files::set(&root, &path, mode, mtime)).await?;
    link.send_head(&Reply::Ok(reply));
    Ok(Served::ok(0))
}

fn go_on(stop: &AtomicBool) -> ControlFlow<()> {
    if stop.load(Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn outcome(failures: &[Failure]) -> Outcome {
    failures.first().map_or(Outcome::Ok, |failure| Outcome::Refused(failure.why.code))
}
