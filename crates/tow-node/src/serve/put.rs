//! `put`, serving: the receiver's side.

use tokio::task::spawn_blocking;
use tow_host::files::receive::{Destination, Tells};
use tow_net::{Link, LinkEvent};
use tow_proto::message::{Put, PutReply, Reply};
use tow_proto::{Code, Refusal};

use super::turns::{Place, Turn};
use super::{ChannelError, Peer, Served, Shared, now};
use crate::transfer::{self, Run};

/// Takes a file or a tree.
pub(super) async fn put(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Put,
) -> Result<Served, ChannelError> {
    let root = peer.grant.change(now())?.root().clone();
    // What is there is told only to those who may read it; who may not can't have it compared.
    let reads = peer.grant.read(now());
    let tells = if reads.is_ok() { Tells::What } else { Tells::Nothing };
    if request.options.delete {
        reads?;
    }
    let _slot = shared.slots.take(peer)?;
    let key = peer.owner();
    let (owner, source) = (key.clone(), request.source.0.clone());
    let destination = spawn_blocking(move || {
        let Put { path, kind, name, source, options } = request;
        Destination::prepare(&root, &path, kind, &name, &source, &key, &options)
    })
    .await
    .map_err(|_| Refusal::from(Code::Internal))??;
    let path = destination.path().0.clone();
    let destination = destination.telling(tells);
    let _turn = turn(shared, link, Place { owner, source, path }).await?;
    link.send_head(&Reply::Ok(PutReply { path: destination.path().clone() }));
    let outcome = transfer::receive(link, destination, Run::default()).await?;
    Ok(Served::transfer(&outcome))
}

/// Waits for the end of the same transfer by another link. Where that one goes on, both do, and
/// each file is written by the first that begins it.
async fn turn(
    shared: &Shared,
    link: &mut Link,
    place: Place,
) -> Result<Option<Turn>, ChannelError> {
    let mut turn = std::pin::pin!(shared.turns.take(place));
    loop {
        tokio::select! {
            biased;
            turn = &mut turn => return Ok(turn),
            event = link.next_event() => match event? {
                LinkEvent::Room => {}
                LinkEvent::Closed => return Err(ChannelError::Closed),
                LinkEvent::Frame(_) => return Err(Refusal::from(Code::OutOfOrder).into()),
            },
        }
    }
}
