//! `mkdir`, `move` and `remove`, serving.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;

use tow_host::files::{self, Above, Existing, Missing, Scope};
use tow_net::Link;
use tow_proto::message::{Mkdir, Move, Remove, Reply};

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
    let root = peer.grant.write(now())?.root().clone();
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
    let root = peer.grant.write(now())?.root().clone();
    let _slot = shared.slots.take(peer)?;
    let scope = if request.recursive { Scope::Tree } else { Scope::One };
    let missing = if request.force { Missing::Fine } else { Missing::Refused };
    let reply = on_thread(link, move |stop| {
        let mut go_on =
            || if stop.load(Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        files::remove(&root, &request.path, scope, missing, &mut go_on)
    })
    .await?;
    let first_failure = reply.failures.first().map(|failure| failure.why.code);
    let outcome = first_failure.map_or(Outcome::Ok, Outcome::Refused);
    let bytes = reply.removed;
    link.send_head(&Reply::Ok(reply));
    Ok(Served { outcome, bytes })
}
