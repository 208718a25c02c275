//! `mkdir`, `move`, `remove`, `copy` and `set`, asking.

use tow_proto::ByteString;
use tow_proto::message::{
    Copy, CopyReply, Mkdir, MkdirReply, Move, MoveReply, Mtime, Remove, RemoveReply, Request, Set,
    StatReply,
};

use super::{AskError, Connection};

pub use tow_host::files::{Above, Existing, Missing, Scope};

/// Makes a directory.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn mkdir(
    connection: &mut Connection,
    path: ByteString,
    above: Above,
) -> Result<MkdirReply, AskError> {
    connection.ask(&Request::Mkdir(Mkdir { path, parents: above == Above::Made })).await
}

/// Gives what is at `from` the path `to`, which is never a directory to put it into.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn rename(
    connection: &mut Connection,
    from: ByteString,
    to: ByteString,
    existing: Existing,
) -> Result<MoveReply, AskError> {
    let replace = existing == Existing::Replaced;
    connection.ask(&Request::Move(Move { from, to, replace })).await
}

/// Removes what is at `path`.
///
/// # Errors
/// The refusal: then nothing was removed. Or a lost link: then not everything was.
pub async fn remove(
    connection: &mut Connection,
    path: ByteString,
    scope: Scope,
    missing: Missing,
) -> Result<RemoveReply, AskError> {
    let (recursive, force) = (scope == Scope::Tree, missing == Missing::Fine);
    connection.ask(&Request::Remove(Remove { path, recursive, force })).await
}

/// Makes a second one of what is at `from`, with the path `to`, which is never a directory to put it
/// into.
///
/// # Errors
/// The refusal: then nothing was copied. Or a lost link: then not everything was.
pub async fn copy(
    connection: &mut Connection,
    from: ByteString,
    to: ByteString,
    existing: Existing,
) -> Result<CopyReply, AskError> {
    let replace = existing == Existing::Replaced;
    connection.ask(&Request::Copy(Copy { from, to, replace })).await
}

/// Gives what is at `path` these permission bits and this time of its last change; gives what is known
/// of it then.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn set(
    connection: &mut Connection,
    path: ByteString,
    mode: Option<u32>,
    mtime: Option<Mtime>,
) -> Result<StatReply, AskError> {
    connection.ask(&Request::Set(Set { path, mode, mtime })).await
}
