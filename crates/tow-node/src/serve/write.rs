//! `write`, `upload_stat` and `upload_rm`, serving.

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::{JoinHandle, spawn_blocking};
use tow_host::files::Upload;
use tow_net::{Link, LinkEvent, Reading};
use tow_proto::content::Tally;
use tow_proto::message::{
    End, Reply, STDOUT, UploadRm, UploadRmReply, UploadStat, Write, WriteEvent, WriteReply,
};
use tow_proto::{Code, Kind, Refusal, json};

use super::thread::on_thread;
use super::{ChannelError, Peer, Served, Shared, now};

/// Takes the content of one file, or a part of it.
pub(super) async fn write(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Write,
) -> Result<Served, ChannelError> {
    let permit = peer.grant.write(now())?;
    let (root, request) = (permit.root().clone(), permit.narrow(request));
    let _slot = shared.slots.take(peer)?;
    let (owner, last) = (peer.owner(), request.last);
    let upload = on_thread(link, move |_| Upload::begin(&root, &request, &owner)).await?;
    link.send_head(&Reply::Ok(WriteReply { at: upload.at() }));
    let (pieces, queue) = mpsc::channel(PIECES_WAITING_MAX);
    let mut writer = spawn_blocking(move || take(upload, queue, last));
    let passed = pass(link, pieces, &mut writer).await;
    link.set_reading(Reading::On);
    let written = match passed {
        Ok(written) => written,
        Err(error) => {
            // What came before is in its place, and the upload free, when the channel is over.
            let _ = writer.await;
            return Err(error);
        }
    };
    let (event, bytes) = written?;
    link.send_head(&event);
    Ok(Served::ok(bytes))
}

/// Says how far an upload has come.
pub(super) async fn upload_stat(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: UploadStat,
) -> Result<Served, ChannelError> {
    let root = peer.grant.write(now())?.root().clone();
    let _slot = shared.slots.take(peer)?;
    let owner = peer.owner();
    let UploadStat { path, upload } = request;
    let at = on_thread(link, move |_| Upload::stat(&root, &path, &upload, &owner)).await?;
    link.send_head(&Reply::Ok(WriteReply { at }));
    Ok(Served::ok(0))
}

/// Forgets an upload.
pub(super) async fn upload_rm(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: UploadRm,
) -> Result<Served, ChannelError> {
    let root = peer.grant.write(now())?.root().clone();
    let _slot = shared.slots.take(peer)?;
    let owner = peer.owner();
    let UploadRm { path, upload } = request;
    on_thread(link, move |_| Upload::remove(&root, &path, &upload, &owner)).await?;
    link.send_head(&Reply::Ok(UploadRmReply {}));
    Ok(Served::ok(0))
}

/// What comes on the link.
enum Piece {
    Data(Vec<u8>),
    End(End),
}

/// What is to be said in the end, and how many bytes came. `None` where the end never did.
type Written = Result<(WriteEvent, u64), Refusal>;

/// Writes what comes, up to its end. Without one, the upload is left as its kind says.
fn take(mut upload: Upload, mut queue: mpsc::Receiver<Piece>, last: bool) -> Option<Written> {
    let mut tally = Tally::default();
    loop {
        match queue.blocking_recv()? {
            Piece::Data(bytes) => {
                tally.update(&bytes);
                if let Err(refusal) = upload.append(&bytes) {
                    return Some(Err(refusal));
                }
            }
            Piece::End(end) => {
                if (end.stream, end.total, end.blake3) != (STDOUT, tally.bytes(), tally.hash()) {
                    upload.take_back();
                    return Some(Err(Code::Corrupt.into()));
                }
                return Some(complete(upload, last).map(|event| (event, tally.bytes())));
            }
        }
    }
}

fn complete(upload: Upload, last: bool) -> Result<WriteEvent, Refusal> {
    if last {
        upload.publish().map(|stored| WriteEvent::Stored(Box::new(stored)))
    } else {
        Ok(WriteEvent::Written(WriteReply { at: upload.keep() }))
    }
}

/// Passes everything on to the writer, at its pace, and waits for it.
async fn pass(
    link: &mut Link,
    pieces: mpsc::Sender<Piece>,
    writer: &mut JoinHandle<Option<Written>>,
) -> Result<Written, ChannelError> {
    let mut is_over = false;
    let mut pending = None;
    loop {
        tokio::select! {
            // It ends by itself when it was given the end, or could not go on.
            written = &mut *writer => {
                let written = written.map_err(|_| Refusal::from(Code::Internal))?;
                return written.ok_or_else(|| Refusal::from(Code::Internal).into());
            }
            event = link.next_event() => {
                let Some(piece) = piece(event?)? else { continue };
                // Nothing has a place behind the end.
                if std::mem::replace(&mut is_over, matches!(piece, Piece::End(_))) {
                    return Err(Refusal::from(Code::OutOfOrder).into());
                }
                if let Err(TrySendError::Full(piece)) = pieces.try_send(piece) {
                    pending = Some(piece);
                    link.set_reading(Reading::Off);
                }
            }
            permit = pieces.reserve(), if pending.is_some() => {
                // Where it takes no more, its end says why.
                if let (Ok(permit), Some(piece)) = (permit, pending.take()) {
                    permit.send(piece);
                }
                link.set_reading(Reading::On);
            }
        }
    }
}

/// What came; `None` where it was only room to send.
fn piece(event: LinkEvent) -> Result<Option<Piece>, ChannelError> {
    match event {
        LinkEvent::Room => Ok(None),
        LinkEvent::Closed => Err(ChannelError::Closed),
        LinkEvent::Frame(frame) => match frame.kind {
            Kind::Data => Ok(Some(Piece::Data(frame.payload))),
            Kind::End => json::from_slice(&frame.payload)
                .map(|end| Some(Piece::End(end)))
                .map_err(|_| Refusal::from(Code::Malformed).into()),
            _ => Err(Refusal::from(Code::OutOfOrder).into()),
        },
    }
}

/// Frames of up to 1 MiB: one is written while others come.
const PIECES_WAITING_MAX: usize = 4;
