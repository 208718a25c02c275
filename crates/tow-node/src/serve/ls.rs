//! `ls`, serving.

use std::ops::ControlFlow;

use tokio::sync::mpsc;
use tow_host::files::{self, Show};
use tow_net::{Link, LinkEvent};
use tow_proto::content::Tally;
use tow_proto::message::{End, Entry, Ls, Reply, STDOUT};
use tow_proto::{Code, Kind, Refusal, json};

use super::{ChannelError, Peer, Served, Shared, now};

/// Lists a directory, batch by batch.
pub(super) async fn ls(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Ls,
) -> Result<Served, ChannelError> {
    let root = peer.grant.read(now())?.root().clone();
    let _slot = shared.slots.take(peer)?;
    let (batches, mut queue) = mpsc::channel(BATCHES_WAITING_MAX);
    let show = if request.itself { Show::Itself } else { Show::Contents };
    let listing = tokio::task::spawn_blocking(move || {
        files::list(&root, &request.path, show, &mut |entries| match batches.blocking_send(entries)
        {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        })
    });
    let sent = send(link, &mut queue).await;
    drop(queue);
    let listed = listing.await.map_err(|_| Refusal::from(Code::Internal))?;
    let count = sent?;
    listed?;
    if count == 0 {
        begin(link);
    }
    Ok(end(link, count))
}

/// Until there are no more batches. Gives the number of entries; the reply goes before the first.
async fn send(
    link: &mut Link,
    queue: &mut mpsc::Receiver<Vec<Entry>>,
) -> Result<u64, ChannelError> {
    let mut count = 0;
    loop {
        tokio::select! {
            event = link.next_event() => match event? {
                LinkEvent::Room => {}
                LinkEvent::Closed => return Err(ChannelError::Closed),
                LinkEvent::Frame(_) => return Err(Refusal::from(Code::OutOfOrder).into()),
            },
            entries = queue.recv(), if link.has_room() => {
                let Some(entries) = entries else { return Ok(count) };
                if count == 0 {
                    begin(link);
                }
                count += entries.len() as u64;
                link.send_head(&entries);
            }
        }
    }
}

fn begin(link: &mut Link) {
    link.send_head(&Reply::Ok(serde_json::json!({})));
}

fn end(link: &mut Link, count: u64) -> Served {
    let end = End { stream: STDOUT, total: count, blake3: Tally::default().hash() };
    link.send(Kind::End, &json::to_vec(&end));
    Served::ok(count)
}

const BATCHES_WAITING_MAX: usize = 2;
