//! `get`, serving: the sender's side.

use tokio::task::spawn_blocking;
use tow_host::files::Source;
use tow_net::Link;
use tow_proto::message::{Get, GetReply, Reply};
use tow_proto::{Code, Refusal};

use super::{ChannelError, Peer, Served, Shared, now};
use crate::transfer::{self, Run};

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
    let Get { path, options } = request;
    let source = spawn_blocking(move || Source::offer(&root, &path, &machine))
        .await
        .map_err(|_| Refusal::from(Code::Internal))??;
    link.send_head(&Reply::Ok(GetReply {
        kind: source.kind(),
        name: source.name().clone(),
        source: source.source().clone(),
    }));
    let outcome = transfer::send(link, source, Run { options, ..Run::default() }).await?;
    Ok(Served::transfer(&outcome))
}
