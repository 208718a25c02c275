//! `write`, `upload_stat` and `upload_rm`, asking.

use std::future::ready;

use tow_net::{Link, LinkError, LinkEvent};
use tow_proto::content::Tally;
use tow_proto::frame::DATA_LEN_MAX;
use tow_proto::message::{
    End, Request, STDOUT, Stored, UploadId, UploadRm, UploadRmReply, UploadStat, Write, WriteEvent,
    WriteReply,
};
use tow_proto::{ByteString, Code, Frame, Kind, json};

use super::{AskError, Connection, head};

/// A file that is being sent. One that is dropped before [`Self::finish`] has left its link in the
/// middle of a channel: the link is of no use then, and the node takes it for cut.
pub struct Writer<'c> {
    link: &'c mut Link,
    at: u64,
    tally: Tally,
}

/// How a part of a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was the last: the file has its name.
    Stored(Box<Stored>),
    /// So many bytes of the upload are there.
    Part {
        /// Where the next ones start.
        at: u64,
    },
}

impl<'c> Writer<'c> {
    /// Asks for leave to send.
    ///
    /// # Errors
    /// The refusal, or a lost link.
    pub async fn begin(connection: &'c mut Connection, request: Write) -> Result<Self, AskError> {
        let WriteReply { at } = connection.ask(&Request::Write(Box::new(request))).await?;
        Ok(Self { link: &mut connection.link, at, tally: Tally::default() })
    }

    /// Bytes of the file that are there or on their way.
    pub fn at(&self) -> u64 {
        self.at + self.tally.bytes()
    }

    /// Sends the next bytes, and waits while the node is behind.
    ///
    /// # Errors
    /// The refusal, or a lost link.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), AskError> {
        for bytes in bytes.chunks(DATA_LEN_MAX) {
            self.link.send(Kind::Data, bytes);
            self.tally.update(bytes);
            self.until_room().await?;
        }
        Ok(())
    }

    /// Keeps the link alive while there is nothing to send, and resolves when there is no point in
    /// sending any more: to be waited for beside the source of the bytes. May be cancelled at any
    /// time.
    pub async fn failed(&mut self) -> AskError {
        loop {
            if let Err(error) = self.link.next_event().await.map_err(Into::into).and_then(refused) {
                return error;
            }
        }
    }

    /// Says that this was all, and waits until it is where it belongs.
    ///
    /// # Errors
    /// The refusal, or a lost link: then nobody knows whether the file got its name.
    pub async fn finish(self) -> Result<Written, AskError> {
        let Self { link, tally, .. } = self;
        let end = End { stream: STDOUT, total: tally.bytes(), blake3: tally.hash() };
        link.send(Kind::End, &json::to_vec(&end));
        loop {
            match head::<WriteEvent>(&link.next_frame().await?)? {
                WriteEvent::Stored(stored) => return Ok(Written::Stored(stored)),
                WriteEvent::Written(WriteReply { at }) => return Ok(Written::Part { at }),
                _ => {}
            }
        }
    }

    /// Says that what was sent on this channel is not what it should have been: nothing of it counts.
    /// The link is of no use then.
    ///
    /// # Errors
    /// A lost link, or another refusal: then some of it may count.
    pub async fn take_back(self) -> Result<(), AskError> {
        let Self { link, tally, .. } = self;
        // An end that is not that of what was sent.
        let total = tally.bytes().saturating_add(1);
        link.send(Kind::End, &json::to_vec(&End { stream: STDOUT, total, blake3: tally.hash() }));
        loop {
            match head::<WriteEvent>(&link.next_frame().await?) {
                Err(AskError::Refused(refusal)) if refusal.code == Code::Corrupt => return Ok(()),
                Err(error) => return Err(error),
                Ok(WriteEvent::Unknown) => {}
                Ok(_) => {
                    return Err(AskError::Protocol { what: "an answer to an end that is none" });
                }
            }
        }
    }

    /// Hands what is queued to the socket, and waits where that is too much.
    async fn until_room(&mut self) -> Result<(), AskError> {
        loop {
            tokio::select! {
                biased;
                event = self.link.next_event() => refused(event?)?,
                () = ready(()), if self.link.has_room() => return Ok(()),
            }
        }
    }
}

/// While content is sent, a node says nothing but no.
fn refused(event: LinkEvent) -> Result<(), AskError> {
    match event {
        LinkEvent::Room => Ok(()),
        LinkEvent::Closed => Err(LinkError::Cut.into()),
        LinkEvent::Frame(frame) => Err(no_event(&frame)),
    }
}

fn no_event(frame: &Frame) -> AskError {
    match head::<WriteEvent>(frame) {
        Ok(_) => AskError::Protocol { what: "an answer before the end" },
        Err(error) => error,
    }
}

/// Asks how many bytes of an upload are there; one of which there are none is refused with
/// `NotFound`.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn upload_stat(
    connection: &mut Connection,
    path: ByteString,
    upload: UploadId,
) -> Result<u64, AskError> {
    let request = Request::UploadStat(UploadStat { path, upload });
    connection.ask::<WriteReply>(&request).await.map(|reply| reply.at)
}

/// Has an upload forgotten.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn upload_rm(
    connection: &mut Connection,
    path: ByteString,
    upload: UploadId,
) -> Result<(), AskError> {
    let request = Request::UploadRm(UploadRm { path, upload });
    connection.ask::<UploadRmReply>(&request).await.map(drop)
}
