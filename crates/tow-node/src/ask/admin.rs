//! Looking after a node, asking.

use tow_proto::Kind;
use tow_proto::content::Tally;
use tow_proto::message::{
    AuditRequest, FirstHead, Invite, Invited, KeyInfo, KeyRm, KeyRmDone, Keys, Reply, Request,
    Status,
};

use super::{AskError, Connection, check_end, head};
use crate::keys::KEYS_MAX;

/// Makes a way in for one new device.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn invite(connection: &mut Connection, invite: Invite) -> Result<Invited, AskError> {
    connection.ask(&Request::Invite(invite)).await
}

/// Who may come in.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn keys(connection: &mut Connection) -> Result<Vec<KeyInfo>, AskError> {
    let Keys { mut keys, mut more } = connection.ask(&Request::Keys).await?;
    while more {
        let frame = connection.link.next_frame().await?;
        let next: Reply<Keys> = head(&frame)?;
        let next = next.into_result()?;
        keys.extend(next.keys);
        more = next.more;
        if keys.len() > KEYS_MAX {
            return Err(AskError::Protocol { what: "more keys than a machine can have" });
        }
    }
    Ok(keys)
}

/// Removes a key.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn key_rm(connection: &mut Connection, key: &str) -> Result<KeyRmDone, AskError> {
    connection.ask(&Request::KeyRm(KeyRm { key: key.to_owned() })).await
}

/// How the node is.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn status(connection: &mut Connection) -> Result<Status, AskError> {
    connection.ask(&Request::Status).await
}

/// Whether a log is read to its end or followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// What is there.
    End,
    /// And what comes.
    Cancelled,
}

/// Reads the audit log; `take` gets JSON lines in portions that need not end at a line's end, and
/// says whether to go on.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn audit(
    connection: &mut Connection,
    until: Until,
    mut take: impl FnMut(&[u8]) -> std::ops::ControlFlow<()>,
) -> Result<(), AskError> {
    let request = Request::Audit(AuditRequest { follow: until == Until::Cancelled });
    let _: serde_json::Value = connection.ask(&request).await?;
    let mut tally = Tally::default();
    loop {
        let frame = connection.link.next_frame().await?;
        match frame.kind {
            Kind::Data => {
                tally.update(&frame.payload);
                if take(&frame.payload).is_break() {
                    return Ok(());
                }
            }
            Kind::End => return check_end(&frame, tally.bytes(), tally.hash()),
            // In place of an end.
            Kind::Head => match head(&frame)? {
                FirstHead::Refused(refusal) => return Err(refusal.into()),
                _ => return Err(AskError::Protocol { what: "a head that has no place here" }),
            },
            _ => return Err(AskError::Protocol { what: "a frame that has no place here" }),
        }
    }
}
