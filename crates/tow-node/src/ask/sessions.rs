//! The work that lives on a machine, asking: list it, end it, forget it.

use tow_proto::message::{Kill, Killed, Reply, Request, SessionInfo, SessionList, SessionRm};

use super::{AskError, Connection, head};

/// Which sessions are there, oldest first.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn sessions(connection: &mut Connection) -> Result<Vec<SessionInfo>, AskError> {
    let SessionList { mut sessions, mut more } = connection.ask(&Request::Sessions).await?;
    while more {
        let frame = connection.link.next_frame().await?;
        let next: Reply<SessionList> = head(&frame)?;
        let next = next.into_result()?;
        // A page that says nothing could be followed by others for ever.
        if next.sessions.is_empty() && next.more {
            return Err(AskError::Protocol { what: "a part of a list with nothing in it" });
        }
        sessions.extend(next.sessions);
        more = next.more;
        if sessions.len() > SESSIONS_MAX {
            return Err(AskError::Protocol { what: "more sessions than a machine can have" });
        }
    }
    Ok(sessions)
}

/// Sends a signal to every process of a session, and gives how many there were.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn kill(
    connection: &mut Connection,
    session: &str,
    signal: &str,
) -> Result<u32, AskError> {
    let kill = Kill { session: session.to_owned(), signal: signal.to_owned() };
    let killed: Killed = connection.ask(&Request::Kill(kill)).await?;
    Ok(killed.processes)
}

/// Forgets a session that has ended: its record and its output.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn session_rm(connection: &mut Connection, session: &str) -> Result<(), AskError> {
    let request = Request::SessionRm(SessionRm { session: session.to_owned() });
    let _: serde_json::Value = connection.ask(&request).await?;
    Ok(())
}

/// Ten times what a node remembers.
const SESSIONS_MAX: usize = 10_000;
