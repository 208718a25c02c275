//! Ways in that are secrets and not keys of devices: app passwords, and links that open one directory
//! or one session (PROTOCOL 7.8).

use serde::{Deserialize, Serialize};

use super::hello::Rights;
use crate::byte_string::ByteString;

/// Make an app password for one HTTP program. Needs `admin`, and no more can be granted than the asker
/// has. The reply is a [`TokenReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What the program may do.
    pub rights: Rights,
    /// The directory that its files are confined to; `/` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<ByteString>,
    /// What to call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long it is good for from now on, in seconds; for good where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_secs: Option<u64>,
}

/// An app password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenReply {
    /// The password: a secret, and told only here.
    pub token: String,
    /// The fingerprint of its key.
    pub id: String,
    /// The root that was granted, as the node resolved it.
    pub root: ByteString,
    /// Addresses at which the node listens, best first.
    pub addresses: Vec<String>,
}

/// Make a link that opens one directory or one session. No more can be shared than the asker has. The
/// reply is a [`ShareReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// What it opens.
    pub what: Shared,
    /// What may be done there: `read` and `write` of a directory, `watch` or `run` of a session.
    pub rights: Rights,
    /// How long it is good for, in seconds.
    pub secs: u64,
}

/// What a share opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shared {
    /// A directory and what is in it.
    Path(ByteString),
    /// A session.
    Session(String),
}

/// A link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareReply {
    /// The fingerprint of its key.
    pub id: String,
    /// `https://HOST:PORT/#tows1.SECRET`: a secret, and told only here.
    pub link: String,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
}

/// The shares that the asker made; to who has `admin`, all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    /// At most 100 of them, the one that ends first in front.
    pub shares: Vec<ShareInfo>,
    /// Another such reply follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// One share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareInfo {
    /// The fingerprint of its key.
    pub id: String,
    /// What it opens: a directory by its real path.
    pub what: Shared,
    /// What may be done there.
    pub rights: Rights,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
    /// The fingerprint of the key that made it; the owner's where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub giver: Option<String>,
    /// Links that are open now.
    pub open: u32,
}

/// End a share: its key is removed, and whoever uses it is cut off. The reply is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRm {
    /// The start of its fingerprint.
    pub share: String,
}
