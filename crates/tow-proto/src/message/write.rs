//! `write`, `upload_stat` and `upload_rm`: one file from who has its bytes (PROTOCOL 7.7).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ls::Mtime;
use super::stat::StatReply;
use crate::byte_string::ByteString;
use crate::json::big;

/// Take this content. The reply is a [`WriteReply`]; then the client sends data and an `end` of
/// stream 1 with length and hash of the bytes that it sent on this channel, and the node answers
/// with a [`WriteEvent`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The file that it becomes; a symbolic link of that name is replaced itself.
    pub path: ByteString,
    /// Where in the file the data start, in bytes: where the upload stands.
    #[serde(with = "big")]
    pub from: u64,
    /// With these data the file is complete, and gets its name.
    pub last: bool,
    /// The upload that the data belong to, if it goes on over several channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<UploadId>,
    /// How long the whole will be, in bytes.
    #[serde(default, with = "big::option", skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Permission bits, at most 0o777.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
    /// When it was changed; without it, now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtime: Option<Mtime>,
    /// Make the directories above it too.
    #[serde(default)]
    pub parents: bool,
    /// What may become of a file that has the name already.
    #[serde(default)]
    pub exists: Exists,
}

impl Write {
    /// All of a file in one channel, in place of what is there.
    pub fn whole(path: impl Into<ByteString>) -> Self {
        Self {
            path: path.into(),
            from: 0,
            last: true,
            upload: None,
            size: None,
            mode: None,
            mtime: None,
            parents: false,
            exists: Exists::Replace,
        }
    }
}

/// What may become of a file that has the name already. A directory is never replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exists {
    /// It is replaced.
    #[default]
    Replace,
    /// It stays: the write is refused.
    Keep,
    /// It is replaced if it is this one; where it is not, or nothing is there, the write is refused.
    If(Known),
}

/// A file as somebody saw it: while all of this is the same, it is the same file with the same
/// content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Number of the file system.
    #[serde(with = "big")]
    pub device: u64,
    /// Its number there.
    #[serde(with = "big")]
    pub inode: u64,
    /// Length in bytes.
    #[serde(with = "big")]
    pub size: u64,
    /// When the content was changed.
    pub mtime: Mtime,
    /// When anything of it was changed.
    pub ctime: Mtime,
}

impl From<&StatReply> for Known {
    fn from(stat: &StatReply) -> Self {
        Self {
            device: stat.device,
            inode: stat.inode,
            size: stat.size,
            mtime: stat.mtime,
            ctime: stat.ctime,
        }
    }
}

/// How far an upload has come: the answer to [`Write`] and [`UploadStat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteReply {
    /// Bytes of the file that are there; the next ones start here.
    #[serde(with = "big")]
    pub at: u64,
}

/// Said when all data of a [`Write`] have come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum WriteEvent {
    /// The file is complete, safe, and has its name.
    Stored(Box<Stored>),
    /// So much of the file is there; it is not the last of it.
    Written(WriteReply),
    /// An event of a later version.
    #[serde(other)]
    Unknown,
}

/// A file that has got its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Nothing had that name before.
    pub created: bool,
    /// What is known of it.
    pub stat: StatReply,
}

/// How far has this upload come? The reply is a [`WriteReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadStat {
    /// The file that it will be.
    pub path: ByteString,
    /// Which upload of the asking key.
    pub upload: UploadId,
}

/// Forget what has come of this upload. The reply is an [`UploadRmReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRm {
    /// The file that it would have been.
    pub path: ByteString,
    /// Which upload of the asking key.
    pub upload: UploadId,
}

/// It is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadRmReply {}

/// What a client calls an upload: 1 to 64 of `A–Z a–z 0–9 - _`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UploadId(String);

/// A text that names no upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an upload is named by 1 to {UPLOAD_ID_LEN_MAX} of A-Z a-z 0-9 - _")]
pub struct BadUploadId;

impl UploadId {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UploadId {
    type Error = BadUploadId;

    fn try_from(text: String) -> Result<Self, BadUploadId> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_id = (1..=UPLOAD_ID_LEN_MAX).contains(&text.len()) && text.bytes().all(is_allowed);
        if is_id { Ok(Self(text)) } else { Err(BadUploadId) }
    }
}

impl From<UploadId> for String {
    fn from(id: UploadId) -> Self {
        id.0
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longest name of an upload, in bytes.
pub const UPLOAD_ID_LEN_MAX: usize = 64;
