//! `get`, serving: the sender's side.

use std::sync::Arc;

use tokio::task::spawn_blocking;
use tow_host::files::{Progress, Source};
use tow_net::Link;
use tow_proto::message::{Get, GetReply, Reply};
use tow_proto::{Code, Refusal};

use super::{ChannelError, Peer, Served, Shared, now};
use crate::transfer;

/// Sends a file or a tree.
pub(super) async fn get(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Get,
) -> Result<Served, ChannelError> {
    let root = peer.grant.read(now())?.root().clone();
    let _slot = shared.slots.take(peer)?;
    let machine = shared.id.to_string();
    let source = spawn_blocking(move || Source::offer(&root, &request.path, &machine))
        .await
        .map_err(|_| Refusal::from(Code::Internal))??;
    link.send_head(&Reply::Ok(GetReply {
        kind: source.kind(),
        name: source.name().clone(),
        source: source.source().clone(),
    }));
    let outcome = transfer::send(link, source, Arc::new(Progress::default())).await?;
    Ok(Served::transfer(&outcome))
}
