//! Both ends of `get` and `put` on a link: the same exchange in both directions (PROTOCOL 7.3).
//!
//! Files are read and written on threads of their own, joined to the link's task by short bounded
//! queues. File content relies on the link's own backpressure: while the queue of a receiver is
//! full, nothing is read from the socket. What a receiver is asked is answered by another thread than
//! the one that writes, and a sender takes answers while it sends: neither ever waits for the other
//! to read first.

mod local;
mod receive;
mod send;

use std::sync::Arc;

use thiserror::Error;
use tokio::task::JoinError;
use tow_host::files::Chunk;
use tow_host::files::item::Item;
pub use tow_host::files::item::{Change, Watch};
pub use tow_host::files::{Phase, Progress, ProgressNow};
use tow_net::{Link, LinkError, LinkEvent};
use tow_proto::message::{Failure, Summary};
pub use tow_proto::transfer::{Compress, Durable, Options};
use tow_proto::{Code, Frame, Kind, Refusal, json};

pub use local::local;
pub use receive::receive;
pub use send::send;

/// What a transfer is run with. The default copies as `tow get` does, and tells nobody.
#[derive(Clone)]
pub struct Run {
    /// How it is to be done; both ends are given the same.
    pub options: Options,
    /// How far it has come, to be looked at meanwhile.
    pub progress: Arc<Progress>,
    /// Who hears of each change.
    pub watch: Arc<dyn Watch>,
}

impl Default for Run {
    fn default() -> Self {
        Self { options: Options::default(), progress: Arc::default(), watch: Arc::new(()) }
    }
}

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

async fn join<T>(thread: impl Future<Output = Result<T, JoinError>>) -> Result<T, TransferError> {
    thread.await.map_err(|_| TransferError::Here(Code::Internal.into()))
}

/// Queues an item.
fn send_item(link: &mut Link, item: Item) {
    match item {
        Item::Event(event) => link.send_head(&event),
        Item::Pack(mut buffer) => link.send_in_place(Kind::Pack, &mut buffer),
        Item::Data(mut chunk) => link.send_in_place(Kind::Data, chunk.frame_mut()),
        Item::DataZstd(mut buffer) => link.send_in_place(Kind::DataZstd, &mut buffer),
        Item::End(end) => link.send(Kind::End, &json::to_vec(&end)),
    }
}

/// What came; `None` where it was only room to send.
fn item(event: LinkEvent) -> Result<Option<Item>, TransferError> {
    let Frame { kind, payload } = match event {
        LinkEvent::Frame(frame) => frame,
        LinkEvent::Room => return Ok(None),
        LinkEvent::Closed => return Err(closed()),
    };
    match kind {
        Kind::Pack => Ok(Some(Item::Pack(payload))),
        Kind::Data => Ok(Some(Item::Data(Chunk::from_payload(payload)))),
        Kind::DataZstd => Ok(Some(Item::DataZstd(payload))),
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
        if failure.again {
            return;
        }
        let texts = [Some(&failure.path), failure.why.path.as_ref()];
        let len: usize = texts.into_iter().flatten().map(|text| text.as_bytes().len()).sum();
        self.failures_len += len + failure.why.right.as_ref().map_or(0, String::len);
        if self.failures.len() < FAILURES_MAX && self.failures_len <= FAILURES_LEN_MAX {
            self.failures.push(failure);
        }
    }
}

const UNREADABLE: TransferError = TransferError::Protocol { what: "a head that can't be read" };
/// Two buffers of 256 KiB for each of reading, waiting, sending and a hiccup.
const ITEMS_WAITING_MAX: usize = 8;
/// Answers may be of 1 MiB.
const ANSWERS_WAITING_MAX: usize = 4;
const EVENTS_WAITING_MAX: usize = 64;
/// Questions that are not answered yet: more than an honest sender asks at a time.
const QUESTIONS_WAITING_MAX: usize = 4096;
/// Failures that are kept for the report.
pub const FAILURES_MAX: usize = 10_000;
/// Bytes of their texts.
const FAILURES_LEN_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_end_reports_is_kept_within_limits() {
        let mut outcome = Outcome::default();
        let path: tow_proto::ByteString = vec![b'x'; 1 << 20].into();
        for _ in 0..100 {
            let why = Refusal::about(Code::Io, path.clone());
            outcome.add(Failure::new(path.clone(), why));
        }
        assert_eq!(outcome.failures.len(), FAILURES_LEN_MAX / (2 << 20));
    }

    #[test]
    fn what_is_sent_once_more_has_not_failed() {
        let mut outcome = Outcome::default();
        outcome.add(Failure { again: true, ..Failure::new("a", Code::Corrupt) });
        assert!(outcome.failures.is_empty());
        outcome.add(Failure::new("a", Code::Corrupt));
        assert_eq!(outcome.failures.len(), 1);
    }
}
