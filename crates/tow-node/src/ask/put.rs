//! `put`, asking: the sender's side.

use std::path::Path;
use std::sync::Arc;

use tokio::task::spawn_blocking;
use tow_host::files::{Progress, Source};
use tow_proto::message::{Put, PutReply, Request};
use tow_proto::transfer::Options;
use tow_proto::{ByteString, Code};

use super::{AskError, Connection};
use crate::transfer::{self, Outcome};

/// Sends `source` to `path`, with the rules of [`super::get::get`]. Gives the outcome and the path
/// at which it landed.
///
/// # Errors
/// The refusal, a lost link, or what is wrong with the source.
pub async fn put(
    connection: &mut Connection,
    source: &Path,
    path: ByteString,
    key: &str,
    progress: Arc<Progress>,
) -> Result<(Outcome, ByteString), AskError> {
    let here = super::get::local_root()?;
    let from = super::byte_path(source);
    let key = key.to_owned();
    let source = spawn_blocking(move || Source::offer(&here, &from, &key))
        .await
        .map_err(|_| AskError::Here(Code::Internal.into()))?
        .map_err(AskError::Here)?;
    let request = Put {
        path,
        kind: source.kind(),
        name: source.name().clone(),
        source: source.source().clone(),
        options: Options::default(),
    };
    let reply: PutReply = connection.ask(&Request::Put(request)).await?;
    let outcome = transfer::send(&mut connection.link, source, progress).await?;
    Ok((outcome, reply.path))
}
