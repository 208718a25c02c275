//! `put`, serving: the receiver's side.

use std::sync::Arc;

use tokio::task::spawn_blocking;
use tow_host::files::{Destination, Progress};
use tow_net::Link;
use tow_proto::message::{Put, PutReply, Reply};
use tow_proto::{Code, Refusal};

use super::{ChannelError, Peer, Served, now};
use crate::transfer;

/// Takes a file or a tree.
pub(super) async fn put(
    peer: &Peer,
    link: &mut Link,
    request: Put,
) -> Result<Served, ChannelError> {
    let root = peer.grant.write(now())?.root().clone();
    let key = peer.owner();
    let destination = spawn_blocking(move || {
        let Put { path, kind, name, source } = request;
        Destination::prepare(&root, &path, kind, &name, &source, &key)
    })
    .await
    .map_err(|_| Refusal::from(Code::Internal))??;
    link.send_head(&Reply::Ok(PutReply { path: destination.path().clone() }));
    let outcome = transfer::receive(link, destination, Arc::new(Progress::default())).await?;
    Ok(Served::transfer(&outcome))
}
