//! `ls`, asking.

use tow_proto::content::Tally;
use tow_proto::message::{Entry, Ls, Request};
use tow_proto::{ByteString, Kind};

use super::{AskError, Connection, check_end, head};

/// What to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What is in a directory.
    Inside,
    /// The directory itself.
    Itself,
}

/// Lists `path`, batch by batch.
///
/// # Errors
/// The refusal, or a lost link.
pub async fn ls(
    connection: &mut Connection,
    path: ByteString,
    depth: Depth,
    mut take: impl FnMut(Vec<Entry>),
) -> Result<(), AskError> {
    let request = Request::Ls(Ls { path, itself: depth == Depth::Itself });
    let _: serde_json::Value = connection.ask(&request).await?;
    let mut count = 0;
    loop {
        let frame = connection.link.next_frame().await?;
        if frame.kind == Kind::End {
            return check_end(&frame, count, Tally::default().hash());
        }
        let entries: Vec<Entry> = head(&frame)?;
        count += entries.len() as u64;
        take(entries);
    }
}
