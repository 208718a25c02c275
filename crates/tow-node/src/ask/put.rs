//! `put`, asking: the sender's side.

use std::path::Path;

use tokio::task::spawn_blocking;
use tow_host::files::Source;
use tow_proto::message::{Put, PutReply, Request};
use tow_proto::{ByteString, Code};

use super::{AskError, Connection};
use crate::transfer::{self, Outcome, Run};

/// Sends `source` to `path`, with the rules of [`super::get::get`]. Gives the outcome and the path
/// at which it landed.
///
/// # Errors
/// The refusal, a lost link, or what is wrong with the source.
pub async fn put(
    connection: &mut Connection,
    source: &Path,
    path: ByteString,
    run: Run,
) -> Result<(Outcome, ByteString), AskError> {
    let from = super::byte_path(source);
    let key = connection.key.clone();
    let offer = move || Source::offer(&super::get::local_root()?, &from, &key);
    let source = spawn_blocking(offer)
        .await
        .map_err(|_| AskError::Here(Code::Internal.into()))?
        .map_err(AskError::Here)?;
    let request = Put {
        path,
        kind: source.kind(),
        name: source.name().clone(),
        source: source.source().clone(),
        options: run.options.clone(),
    };
    let reply: PutReply = connection.ask(&Request::Put(request)).await?;
    let outcome = transfer::send(&mut connection.link, source, run).await?;
    Ok((outcome, reply.path))
}
