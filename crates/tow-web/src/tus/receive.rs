//! Bytes of an upload on their way to the partial file: right to the disk on this machine, over a
//! link to another one.

use std::time::{Instant, SystemTime};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tow_host::files::Upload;
use tow_node::ask::write::{Writer, Written};
use tow_node::audit::Outcome;
use tow_node::serve::{Done, Slot, Visitor};
use tow_proto::message::Write;
use tow_proto::{ByteString, Code, Refusal};

use super::checksum::Checksum;
use super::incoming::Incoming;
use crate::answer::Failure;
use crate::machine::Machine;

/// What became of the body of a request.
#[derive(Debug)]
pub(super) enum Received {
    /// All of it is there: so many bytes of the file are.
    Whole(u64),
    /// It is not what its checksum says, and nothing of it counts.
    Mismatch,
    /// It was cut. What came counts, unless there is a checksum of the whole.
    Cut(Failure),
}

/// Writes what comes behind `part.from`.
///
/// # Errors
/// Nothing was read: as of `write` (PROTOCOL 7.7). Or the rest could not be written.
pub(super) async fn receive(
    machine: &Machine,
    part: Write,
    incoming: &mut Incoming,
    checksum: Option<Checksum>,
) -> Result<Received, Failure> {
    match machine {
        Machine::Here(visitor) => here(visitor, part, incoming, checksum).await,
        Machine::There(_) => there(machine, part, incoming, checksum).await,
    }
}

async fn here(
    visitor: &Visitor,
    part: Write,
    incoming: &mut Incoming,
    checksum: Option<Checksum>,
) -> Result<Received, Failure> {
    let (permit, slot) = visitor.write()?;
    let presence = visitor.enter()?;
    let mut entry = Entry::new(visitor, part.path.clone());
    let part = permit.narrow(part);
    let (root, owner, size) = (permit.root().clone(), visitor.owner(), part.size);
    let begun = on_thread(move || Upload::begin(&root, &part, &owner)).await;
    let upload = begun.inspect_err(|refusal| entry.refused(refusal))?;
    let from = upload.at();
    let (batches, queue) = mpsc::channel(BATCHES_WAITING_MAX);
    let writer = spawn_blocking(move || take(upload, queue, size, checksum, slot));
    let passed = tokio::select! {
        biased;
        () = presence.removed() => Err(Code::RemovedKey.into()),
        passed = pass(visitor, incoming, &batches) => passed,
    };
    let end = if passed.is_ok() { Piece::End } else { Piece::Cut };
    let _ = batches.send(end).await;
    let (taken, at) = joined(writer).await;
    entry.bytes = at.saturating_sub(from);
    let taken = taken.inspect_err(|refusal| entry.refused(refusal))?;
    match passed {
        Ok(()) => entry.outcome = Outcome::Ok,
        Err(failure) => return Ok(Received::Cut(failure)),
    }
    Ok(taken)
}

/// What goes to the thread that writes.
enum Piece {
    Data(Vec<Bytes>),
    /// The body is complete.
    End,
    /// It is not.
    Cut,
}

/// Hands on what comes, until its end. An error is that of the body; where it can't be written, the
/// writer says why.
async fn pass(
    visitor: &Visitor,
    incoming: &mut Incoming,
    batches: &mpsc::Sender<Piece>,
) -> Result<(), Failure> {
    while let Some(batch) = incoming.next().await? {
        visitor.grant().check(SystemTime::now())?;
        if batches.send(Piece::Data(batch)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Writes what it is given. Gives how many bytes of the file are there, too.
fn take(
    mut upload: Upload,
    mut queue: mpsc::Receiver<Piece>,
    size: Option<u64>,
    mut checksum: Option<Checksum>,
    _slot: Slot,
) -> (Result<Received, Refusal>, u64) {
    loop {
        match queue.blocking_recv() {
            Some(Piece::Data(batch)) => {
                for bytes in batch {
                    if let Some(checksum) = &mut checksum {
                        checksum.update(&bytes);
                    }
                    if let Err(refusal) = upload.append(&bytes) {
                        let at = upload.at();
                        if checksum.is_some() {
                            upload.take_back();
                        }
                        return (Err(refusal), at);
                    }
                }
            }
            Some(Piece::End) => {
                let at = upload.at();
                if !checksum.is_none_or(Checksum::fits) {
                    upload.take_back();
                    return (Ok(Received::Mismatch), at);
                }
                let named = if Some(at) == size { upload.publish().map(drop) } else { Ok(()) };
                return (named.map(|()| Received::Whole(at)), at);
            }
            Some(Piece::Cut) | None => {
                let at = upload.at();
                // What nobody could compare is worth nothing to who wants it compared.
                if checksum.is_some() {
                    upload.take_back();
                }
                return (Ok(Received::Whole(at)), at);
            }
        }
    }
}

async fn joined(
    writer: JoinHandle<(Result<Received, Refusal>, u64)>,
) -> (Result<Received, Refusal>, u64) {
    writer.await.unwrap_or_else(|_| (Err(Code::Internal.into()), 0))
}

/// Does what waits for a disk.
///
/// # Errors
/// What `work` says.
pub(super) async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    spawn_blocking(work).await.unwrap_or_else(|_| Err(Code::Internal.into()))
}

async fn there(
    machine: &Machine,
    part: Write,
    incoming: &mut Incoming,
    mut checksum: Option<Checksum>,
) -> Result<Received, Failure> {
    let mut connection = machine.connect().await?;
    let mut writer = match Writer::begin(&mut connection, part).await {
        Ok(writer) => writer,
        Err(error) => {
            if matches!(error, tow_node::ask::AskError::Refused(_)) {
                machine.keep(connection);
            }
            return Err(error.into());
        }
    };
    let passed = loop {
        let batch = tokio::select! {
            biased;
            error = writer.failed() => return Err(error.into()),
            batch = incoming.next() => batch,
        };
        match batch {
            Ok(Some(batch)) => {
                for bytes in batch {
                    if let Some(checksum) = &mut checksum {
                        checksum.update(&bytes);
                    }
                    writer.send(&bytes).await?;
                }
            }
            Ok(None) => break Ok(()),
            Err(failure) => break Err(failure),
        }
    };
    let is_good = match (&passed, checksum) {
        (_, None) => true,
        (Ok(()), Some(checksum)) => checksum.fits(),
        (Err(_), Some(_)) => false,
    };
    if !is_good {
        writer.take_back().await?;
        return Ok(passed.map_or_else(Received::Cut, |()| Received::Mismatch));
    }
    let at = match writer.finish().await? {
        Written::Part { at } => at,
        Written::Stored(stored) => stored.stat.size,
    };
    machine.keep(connection);
    Ok(passed.map_or_else(Received::Cut, |()| Received::Whole(at)))
}

/// Gives a complete upload its name.
///
/// # Errors
/// As of `write` with `last`.
pub(super) async fn publish(machine: &Machine, last: Write) -> Result<(), Failure> {
    let mut connection = machine.connect().await?;
    let written = match Writer::begin(&mut connection, last).await {
        Ok(writer) => writer.finish().await,
        Err(error) => Err(error),
    };
    written?;
    machine.keep(connection);
    Ok(())
}

/// What is written to the audit log when it is dropped, also where a request was cut off.
struct Entry<'v> {
    visitor: &'v Visitor,
    path: ByteString,
    started: Instant,
    outcome: Outcome,
    bytes: u64,
}

impl<'v> Entry<'v> {
    fn new(visitor: &'v Visitor, path: ByteString) -> Self {
        Self { visitor, path, started: Instant::now(), outcome: Outcome::Cut, bytes: 0 }
    }

    fn refused(&mut self, refusal: &Refusal) {
        self.outcome = Outcome::Refused(refusal.code);
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let (outcome, duration) = (self.outcome.clone(), self.started.elapsed());
        let done = Done { outcome, bytes: self.bytes, duration };
        self.visitor.audit("write", vec![self.path.clone()], &done);
    }
}

/// Batches of up to 256 KiB: one is written while others come.
const BATCHES_WAITING_MAX: usize = 4;
