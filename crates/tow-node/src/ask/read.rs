//! `read`, asking.

use tokio::sync::mpsc::{self, error::TrySendError};
use tow_net::{LinkError, LinkEvent, Reading};
use tow_proto::content::Tally;
use tow_proto::message::{Read, ReadEvent, Request, StatReply};
use tow_proto::{Frame, Kind};

use super::{AskError, Connection, check_end, head};

/// How the content of a file was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// To the end; its length and hash are those that the machine says.
    Whole(StatReply),
    /// The same, but the file was changed meanwhile.
    Changed(StatReply),
    /// Whoever took the bytes takes no more. The link is of no use now.
    Unread,
}

/// Reads a file or a part of it into `bytes`, at the pace at which they are taken.
///
/// # Errors
/// The refusal, a lost link, or an end that is not that of what has arrived.
pub async fn read(
    connection: &mut Connection,
    request: Read,
    bytes: &mpsc::Sender<Vec<u8>>,
) -> Result<Content, AskError> {
    let len_max = request.len.unwrap_or(u64::MAX);
    let stat: StatReply = connection.ask(&Request::Read(request)).await?;
    let link = &mut connection.link;
    let mut tally = Tally::default();
    let mut has_changed = false;
    let mut pending = None;
    loop {
        let frame = tokio::select! {
            event = link.next_event() => match event? {
                LinkEvent::Frame(frame) => frame,
                LinkEvent::Room => continue,
                LinkEvent::Closed => return Err(LinkError::Cut.into()),
            },
            permit = bytes.reserve(), if pending.is_some() => {
                let (Ok(permit), Some(payload)) = (permit, pending.take()) else {
                    return Ok(Content::Unread);
                };
                permit.send(payload);
                link.set_reading(Reading::On);
                continue;
            }
            () = bytes.closed() => return Ok(Content::Unread),
        };
        let Frame { kind, ref payload } = frame;
        match kind {
            Kind::Data => {
                tally.update(payload);
                if tally.bytes() > len_max {
                    return Err(AskError::Protocol { what: "more than was asked for" });
                }
                match bytes.try_send(frame.payload) {
                    Ok(()) => {}
                    // Whoever takes them is behind: so is the sender then.
                    Err(TrySendError::Full(payload)) => {
                        pending = Some(payload);
                        link.set_reading(Reading::Off);
                    }
                    Err(TrySendError::Closed(_)) => return Ok(Content::Unread),
                }
            }
            Kind::End => {
                check_end(&frame, tally.bytes(), tally.hash())?;
                return Ok(if has_changed { Content::Changed(stat) } else { Content::Whole(stat) });
            }
            _ => has_changed |= head::<ReadEvent>(&frame)? == ReadEvent::Changed,
        }
    }
}
