//! `read`: the content of one file, or a part of it (PROTOCOL 7.6).

use serde::{Deserialize, Serialize};

use crate::byte_string::ByteString;
use crate::json::big;

/// Send me this content. The reply is a [`super::StatReply`] of the file that was opened; then come
/// data, perhaps [`ReadEvent::Changed`], and an `end` of stream 1 with length and hash of the bytes
/// that were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// A regular file; symbolic links are followed.
    pub path: ByteString,
    /// Offset of the first byte; at the end or beyond it there is nothing to send.
    #[serde(default, with = "big")]
    pub from: u64,
    /// At most so many bytes; without it, up to where the file ended when it was opened.
    #[serde(default, with = "big::option", skip_serializing_if = "Option::is_none")]
    pub len: Option<u64>,
}

/// Said while content is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReadEvent {
    /// The file was changed while it was read: what was sent may never have been in it together.
    Changed,
    /// An event of a later version.
    #[serde(other)]
    Unknown,
}
