//! `read`, serving.

use std::ops::ControlFlow;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tow_host::files::{Chunk, Content, Sent};
use tow_net::{Link, LinkEvent};
use tow_proto::content::Tally;
use tow_proto::message::{End, Read, ReadEvent, Reply, STDOUT};
use tow_proto::{Code, Kind, Refusal, json};

use super::thread::on_thread;
use super::{ChannelError, Peer, Served, Shared, now};

/// Sends the content of one file, or a part of it.
pub(super) async fn read(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Read,
) -> Result<Served, ChannelError> {
    let root = peer.grant.read(now())?.root().clone();
    let _slot = shared.slots.take(peer)?;
    let Read { path, from, len } = request;
    let content = on_thread(link, move |_| Content::open(&root, &path)).await?;
    link.send_head(&Reply::Ok(content.stat().clone()));
    let (chunks, mut queue) = mpsc::channel(CHUNKS_WAITING_MAX);
    let reader = spawn_blocking(move || {
        let mut tally = Tally::default();
        let sent = content.send(from, len, &mut |chunk| {
            tally.update(chunk.payload());
            match chunks.blocking_send(chunk) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        (sent, tally)
    });
    let passed = pass(link, &mut queue).await;
    drop(queue);
    let (sent, tally) = reader.await.map_err(|_| Refusal::from(Code::Internal))?;
    passed?;
    if sent? == Sent::Changed {
        link.send_head(&ReadEvent::Changed);
    }
    let end = End { stream: STDOUT, total: tally.bytes(), blake3: tally.hash() };
    link.send(Kind::End, &json::to_vec(&end));
    Ok(Served::ok(tally.bytes()))
}

/// Passes everything on to the link, at its pace.
async fn pass(link: &mut Link, queue: &mut mpsc::Receiver<Chunk>) -> Result<(), ChannelError> {
    loop {
        tokio::select! {
            event = link.next_event() => match event? {
                LinkEvent::Room => {}
                LinkEvent::Closed => return Err(ChannelError::Closed),
                LinkEvent::Frame(_) => return Err(Refusal::from(Code::OutOfOrder).into()),
            },
            chunk = queue.recv(), if link.has_room() => match chunk {
                Some(mut chunk) => link.send_in_place(Kind::Data, chunk.frame_mut()),
                None => return Ok(()),
            },
        }
    }
}

/// One is read while another is sent.
const CHUNKS_WAITING_MAX: usize = 4;
