//! Both ends of `get` and `put` on a link: the same exchange in both directions (PROTOCOL 7.3).
//!
//! Files are read and written on a thread of their own, joined to the link's task by a short
//! bounded queue. File content relies on the link's own backpressure: while the queue is full,
//! nothing is read from the socket.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use thiserror::Error;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::{JoinHandle, spawn_blocking};
use tow_host::files::{
    Chunk, Destination, HAVE_BYTES_MAX, HaveSet, Item, Outgoing, Receiver, Rejected, Source, Step,
};
pub use tow_host::files::{Phase, Progress};
use tow_net::{Link, LinkError, LinkEvent, Reading};
use tow_proto::content::Hash;
use tow_proto::message::{Failure, Have, HaveState, Summary, TransferEvent};
use tow_proto::{Code, Frame, Kind, Refusal, json};

/// How a transfer ended.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What the receiver counted.
    pub summary: Summary,
    /// What failed on either side, at most [`FAILURES_MAX`].
    pub failures: Vec<Failure>,
    /// Bytes of all their texts.
    failures_len: usize,
}

/// Why a transfer did not come to its end. Running it again continues it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The link was lost.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The other side gave up.
    #[error(transparent)]
    Refused(Refusal),
    /// Our own side gave up.
    #[error(transparent)]
    Here(Refusal),
    /// The other side said something that makes no sense here.
    #[error("the other machine broke the protocol: {what}")]
    Protocol {
        /// What was wrong.
        what: &'static str,
    },
}

/// Sends `source` over `link`.
///
/// # Errors
/// See [`TransferError`].
pub async fn send(
    link: &mut Link,
    source: Source,
    progress: Arc<Progress>,
) -> Result<Outcome, TransferError> {
    let scan = spawn_blocking({
        let progress = progress.clone();
        move || source.scan(&progress)
    });
    let mut told = Told::default();
    let (have, outgoing) = read_have(link, scan, &mut told).await?;
    let rejected = Arc::new(Rejected::default());
    let (items, mut queue) = mpsc::channel(ITEMS_WAITING_MAX);
    let reader = spawn_blocking({
        let rejected = rejected.clone();
        move || {
            let mut out = |item| match items.blocking_send(item) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            };
            let _ = outgoing.send(have, &rejected, &progress, &mut out);
        }
    });
    let mut outcome = Outcome::default();
    let result = loop {
        tokio::select! {
            event = link.next_event() => match event.map_err(Into::into).and_then(transfer_event) {
                Ok(Some(TransferEvent::Failed(failure))) => {
                    rejected.reject(&failure.path);
                    outcome.add(failure);
                }
                Ok(Some(TransferEvent::Stored(summary))) => break Ok(summary),
                Ok(_) => {}
                Err(error) => break Err(error),
            },
            Some(item) = queue.recv(), if link.has_room() => {
                if let Item::Event(TransferEvent::Failed(failure)) = &item {
                    outcome.add(failure.clone());
                }
                send_item(link, item);
            }
        }
    };
    drop(queue);
    join(reader).await?;
    outcome.summary = result?;
    Ok(outcome)
}

/// What the receiver has, and what there is to send. Both take their time, and meanwhile the link
/// is listened to.
async fn read_have(
    link: &mut Link,
    mut scan: JoinHandle<Outgoing>,
    told: &mut Told,
) -> Result<(HaveSet, Outgoing), TransferError> {
    let (mut have, mut has_all) = (HaveSet::default(), false);
    let mut outgoing = None;
    let mut listen = async || {
        loop {
            if has_all && outgoing.is_some() {
                return Ok(());
            }
            tokio::select! {
                scanned = &mut scan, if outgoing.is_none() => {
                    outgoing = Some(scanned.map_err(|_| panicked())?);
                }
                event = link.next_event() => match transfer_event(event?)? {
                    Some(TransferEvent::Have(one)) if !has_all => {
                        told.add(&one)?;
                        have.add(one).map_err(TransferError::Here)?;
                    }
                    Some(TransferEvent::HaveEnd) if !has_all => has_all = true,
                    Some(TransferEvent::Failed(_)) | None => {}
                    Some(_) => return Err(TransferError::Protocol { what: "not yet" }),
                },
            }
        }
    };
    let listened = listen().await;
    // A thread is not left behind by a link that is gone.
    let outgoing = match outgoing {
        Some(outgoing) => outgoing,
        None => join(scan).await?,
    };
    listened?;
    Ok((have, outgoing))
}

fn send_item(link: &mut Link, item: Item) {
    match item {
        Item::Event(event) => link.send_head(&event),
        Item::Data(mut chunk) => link.send_in_place(Kind::Data, chunk.frame_mut()),
        Item::End(end) => link.send(Kind::End, &json::to_vec(&end)),
    }
}

/// Receives into `destination`.
///
/// # Errors
/// See [`TransferError`]. What has arrived is kept for the next time.
pub async fn receive(
    link: &mut Link,
    destination: Destination,
    progress: Arc<Progress>,
) -> Result<Outcome, TransferError> {
    let destination = send_have(link, destination, progress.clone()).await?;
    let (items, queue) = mpsc::channel(ITEMS_WAITING_MAX);
    let (events, mut answers) = mpsc::channel(EVENTS_WAITING_MAX);
    let writer = spawn_blocking(move || write(destination.receive(progress), queue, &events));
    let mut outcome = Outcome::default();
    let mut pending = None;
    let result = loop {
        tokio::select! {
            event = link.next_event() => match event.map_err(Into::into).and_then(item) {
                Ok(None) => {}
                Ok(Some(item)) => {
                    if let Item::Event(TransferEvent::Failed(failure)) = &item {
                        outcome.add(failure.clone());
                    }
                    // Where the writer has ended, the end of its answers says how.
                    if let Err(TrySendError::Full(item)) = items.try_send(item) {
                        pending = Some(item);
                        link.set_reading(Reading::Off);
                    }
                }
                Err(error) => break Err(error),
            },
            permit = items.reserve(), if pending.is_some() => {
                if let (Ok(permit), Some(item)) = (permit, pending.take()) {
                    permit.send(item);
                }
                link.set_reading(Reading::On);
            }
            event = answers.recv(), if link.has_room() => match event {
                Some(event) => {
                    if let TransferEvent::Failed(failure) = &event {
                        outcome.add(failure.clone());
                    }
                    link.send_head(&event);
                }
                None => break Ok(()),
            },
        }
    };
    link.set_reading(Reading::On);
    drop(items);
    drop(answers);
    let written = join(writer).await?;
    result?;
    outcome.summary = written.map_err(TransferError::Here)?;
    link.send_head(&TransferEvent::Stored(outcome.summary));
    Ok(outcome)
}

/// The writer's thread: until the sender has finished, or the link is gone.
fn write(
    mut receiver: Receiver,
    mut queue: mpsc::Receiver<Item>,
    events: &mpsc::Sender<TransferEvent>,
) -> Result<Summary, Refusal> {
    // An answer that can't be sent any more has no reader.
    let mut answer = |event| drop(events.blocking_send(event));
    while let Some(item) = queue.blocking_recv() {
        if receiver.handle(item, &mut answer)? == Step::Finished {
            return Ok(receiver.finish(&mut answer));
        }
    }
    Err(Code::Io.into())
}

async fn send_have(
    link: &mut Link,
    mut destination: Destination,
    progress: Arc<Progress>,
) -> Result<Destination, TransferError> {
    let (found, mut queue) = mpsc::channel(EVENTS_WAITING_MAX);
    let scan = spawn_blocking(move || {
        let _ = destination.have(&progress, &mut |have| match found.blocking_send(have) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        });
        destination
    });
    let said = loop {
        // Hashing a large partial takes longer than a peer waits for a sign of life.
        tokio::select! {
            event = link.next_event() => match event {
                Ok(LinkEvent::Room) => {}
                Ok(LinkEvent::Closed) => break Err(closed()),
                Ok(LinkEvent::Frame(_)) => break Err(TransferError::Protocol { what: "not yet" }),
                Err(error) => break Err(error.into()),
            },
            have = queue.recv(), if link.has_room() => match have {
                Some(have) => link.send_head(&TransferEvent::Have(have)),
                None => break Ok(()),
            },
        }
    };
    drop(queue);
    let destination = join(scan).await?;
    said?;
    link.send_head(&TransferEvent::HaveEnd);
    Ok(destination)
}

async fn join<T>(thread: JoinHandle<T>) -> Result<T, TransferError> {
    thread.await.map_err(|_| panicked())
}

fn panicked() -> TransferError {
    TransferError::Here(Code::Internal.into())
}

fn transfer_event(event: LinkEvent) -> Result<Option<TransferEvent>, TransferError> {
    match item(event)? {
        Some(Item::Event(event)) => Ok(Some(event)),
        Some(_) => Err(TransferError::Protocol { what: "content from the receiver" }),
        None => Ok(None),
    }
}

fn item(event: LinkEvent) -> Result<Option<Item>, TransferError> {
    let Frame { kind, payload } = match event {
        LinkEvent::Frame(frame) => frame,
        LinkEvent::Room => return Ok(None),
        LinkEvent::Closed => return Err(closed()),
    };
    match kind {
        Kind::Data => Ok(Some(Item::Data(Chunk::from_payload(payload)))),
        Kind::End => {
            json::from_slice(&payload).map(|end| Some(Item::End(end))).map_err(|_| UNREADABLE)
        }
        Kind::Head => match json::from_slice(&payload) {
            Ok(event) => Ok(Some(Item::Event(event))),
            Err(_) => Err(refused(&payload)),
        },
        _ => Err(TransferError::Protocol { what: "a frame that has no place here" }),
    }
}

fn refused(payload: &[u8]) -> TransferError {
    match json::from_slice(payload) {
        Ok(tow_proto::message::FirstHead::Refused(refusal)) => TransferError::Refused(refusal),
        _ => UNREADABLE,
    }
}

fn closed() -> TransferError {
    LinkError::from(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)).into()
}

impl Outcome {
    fn add(&mut self, failure: Failure) {
        let texts = [Some(&failure.path), failure.why.path.as_ref()];
        let len: usize = texts.into_iter().flatten().map(|text| text.as_bytes().len()).sum();
        self.failures_len += len + failure.why.right.as_ref().map_or(0, String::len);
        if self.failures.len() < FAILURES_MAX && self.failures_len <= FAILURES_LEN_MAX {
            self.failures.push(failure);
        }
    }
}

/// What a receiver has said it has, in bytes: all transfers of this process together have a limit,
/// because each may have much and there may be many.
#[derive(Default)]
struct Told(usize);

impl Told {
    fn add(&mut self, have: &Have) -> Result<(), TransferError> {
        let pieces =
            if let HaveState::Part { pieces, .. } = &have.state { pieces.len() } else { 0 };
        let len = have.path.as_bytes().len() + pieces * size_of::<Hash>() + TOLD_LEN;
        self.0 += len;
        if TOLD.fetch_add(len, Relaxed) + len > TOLD_MAX {
            return Err(TransferError::Here(Code::Busy.into()));
        }
        Ok(())
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        TOLD.fetch_sub(self.0, Relaxed);
    }
}

static TOLD: AtomicUsize = AtomicUsize::new(0);

const UNREADABLE: TransferError = TransferError::Protocol { what: "a head that can't be read" };
/// Two buffers of 256 KiB for each of reading, waiting, sending and a hiccup.
const ITEMS_WAITING_MAX: usize = 8;
const EVENTS_WAITING_MAX: usize = 64;
/// Failures that are kept for the report.
pub const FAILURES_MAX: usize = 10_000;
/// Bytes of their texts.
const FAILURES_LEN_MAX: usize = 8 << 20;
/// The sum of all [`Told`].
const TOLD_MAX: usize = 2 * HAVE_BYTES_MAX;
/// What a word takes up beside its path and hashes, roughly.
const TOLD_LEN: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_end_reports_is_kept_within_limits() {
        let mut outcome = Outcome::default();
        let path: tow_proto::ByteString = vec![b'x'; 1 << 20].into();
        for _ in 0..100 {
            let why = Refusal::about(Code::Io, path.clone());
            outcome.add(Failure { path: path.clone(), why });
        }
        assert_eq!(outcome.failures.len(), FAILURES_LEN_MAX / (2 << 20));
        let have = Have { path, state: HaveState::Whole { size: 0, mtime: Default::default() } };
        let mut told = Told::default();
        let refused = (0..1_000).find_map(|_| told.add(&have).err());
        assert!(
            matches!(&refused, Some(TransferError::Here(refusal)) if refusal.code == Code::Busy),
            "{refused:?}"
        );
        drop(told);
        assert_eq!(TOLD.load(Relaxed), 0, "it is given back");
    }
}
