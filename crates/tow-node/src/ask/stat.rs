//! `stat`, asking.

use tow_proto::ByteString;
use tow_proto::message::{Request, Stat, StatReply};

use super::{AskError, Connection};

pub use tow_host::files::Links;

/// Asks what is known of the file at `path`.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn stat(
    connection: &mut Connection,
    path: ByteString,
    links: Links,
) -> Result<StatReply, AskError> {
    connection.ask(&Request::Stat(Stat { path, follow: links == Links::Follow })).await
}
