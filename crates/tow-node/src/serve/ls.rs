//! `ls`, serving.

use std::ops::ControlFlow;

use tokio::sync::mpsc;
use tow_host::files::{self, Show};
use tow_net::Link;
use tow_proto::content::Tally;
use tow_proto::message::{End, Ls, Reply, STDOUT};
use tow_proto::{Code, Kind, Refusal, json};

use super::{ChannelError, Peer, Served, now};

/// Lists a directory, batch by batch.
pub(super) async fn ls(peer: &Peer, link: &mut Link, request: Ls) -> Result<Served, ChannelError> {
    let root = peer.grant.read(now())?.root().clone();
    let (batches, mut queue) = mpsc::channel(BATCHES_WAITING_MAX);
    let show = if request.itself { Show::Itself } else { Show::Contents };
    let listing = tokio::task::spawn_blocking(move || {
        files::list(&root, &request.path, show, &mut |entries| match batches.blocking_send(entries)
        {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        })
    });
    let Some(first) = queue.recv().await else {
        listing.await.map_err(|_| Refusal::from(Code::Internal))??;
        link.send_head(&Reply::Ok(serde_json::json!({})));
        return Ok(end(link, 0));
    };
    link.send_head(&Reply::Ok(serde_json::json!({})));
    let mut count = 0;
    let mut next = Some(first);
    while let Some(entries) = next {
        count += entries.len() as u64;
        link.send_head(&entries);
        link.flushed().await?;
        next = queue.recv().await;
    }
    listing.await.map_err(|_| Refusal::from(Code::Internal))??;
    Ok(end(link, count))
}

fn end(link: &mut Link, count: u64) -> Served {
    let end = End { stream: STDOUT, total: count, blake3: Tally::default().hash() };
    link.send(Kind::End, &json::to_vec(&end));
    Served::ok(count)
}

const BATCHES_WAITING_MAX: usize = 2;
