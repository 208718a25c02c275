//! `get`, asking: the receiver's side.

use std::path::Path;

use tokio::task::spawn_blocking;
use tow_host::beneath::Root;
use tow_host::files::receive::{Destination, Permits};
use tow_proto::message::{Get, GetReply, Request};
use tow_proto::transfer::Options;
use tow_proto::{ByteString, Code, Refusal};

use super::{AskError, Connection};
use crate::transfer::{self, Outcome, Run};

/// Fetches `path` into `destination`: a directory lands in it under its own name, a file in it if
/// it is a directory, else as it; with the option `exact`, both as it. The same call again continues
/// where the last one stopped.
///
/// # Errors
/// The refusal, a lost link, or what is wrong with the destination.
pub async fn get(
    connection: &mut Connection,
    path: ByteString,
    destination: &Path,
    run: Run,
) -> Result<Outcome, AskError> {
    let options = run.options.clone();
    let reply: GetReply =
        connection.ask(&Request::Get(Get { path, options: options.clone() })).await?;
    let to = super::byte_path(destination);
    let key = connection.key.clone();
    let destination = spawn_blocking(move || {
        let root = local_root()?;
        let GetReply { kind, name, source } = reply;
        let prepared = Destination::prepare(&root, &to, kind, &name, &source, &key, &options)?;
        Ok(prepared.permit(permits(&options)))
    })
    .await
    .map_err(|_| AskError::Here(Code::Internal.into()))?
    .map_err(AskError::Here)?;
    Ok(transfer::receive(&mut connection.link, destination, run).await?)
}

/// What of a sender's metadata is set here: what the user of the command asked for, who is asked by
/// nobody else.
pub(crate) fn permits(options: &Options) -> Permits {
    Permits { special_bits: options.archive, devices: options.special }
}

/// This machine's files as the user of the command sees them.
pub(crate) fn local_root() -> Result<Root, Refusal> {
    let here = Path::new(".").canonicalize().map_err(|_| Refusal::about(Code::NotFound, "."))?;
    Root::open(Path::new("/"), &here)
}
