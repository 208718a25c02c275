//! `get`, asking: the receiver's side.

use std::path::Path;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tow_host::beneath::Root;
use tow_host::files::{Destination, Progress};
use tow_proto::message::{Get, GetReply, Request};
use tow_proto::transfer::Options;
use tow_proto::{ByteString, Code, Refusal};

use super::{AskError, Connection};
use crate::transfer::{self, Outcome};

/// Fetches `path` into `destination`: a directory lands in it under its own name, a file in it if
/// it is a directory, else as it. The same call again continues where the last one stopped.
///
/// # Errors
/// The refusal, a lost link, or what is wrong with the destination.
pub async fn get(
    connection: &mut Connection,
    path: ByteString,
    destination: &Path,
    key: &str,
    progress: Arc<Progress>,
) -> Result<Outcome, AskError> {
    let reply: GetReply = connection.ask(&Request::Get(Get { path, options: Options::default() })).await?;
    let here = local_root()?;
    let to = super::byte_path(destination);
    let key = key.to_owned();
    let destination = spawn_blocking(move || {
        Destination::prepare(&here, &to, reply.kind, &reply.name, &reply.source, &key)
    })
    .await
    .map_err(|_| AskError::Here(Code::Internal.into()))?
    .map_err(AskError::Here)?;
    Ok(transfer::receive(&mut connection.link, destination, progress).await?)
}

/// This machine's files as the user of the command sees them.
pub(super) fn local_root() -> Result<Root, AskError> {
    let here = std::path::PathBuf::from(".");
    let start =
        here.canonicalize().map_err(|_| AskError::Here(Refusal::about(Code::NotFound, ".")))?;
    Root::open(Path::new("/"), &start).map_err(AskError::Here)
}
