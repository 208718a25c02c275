//! The start of a link: who I am, what I can, and how a new device proves its invitation
//! (PROTOCOL 3.1, 5).

use serde::{Deserialize, Serialize};

use super::VERSION;
use crate::byte_string::{ByteString, base64_bytes};
use crate::refusal::Refusal;

/// The first head of a client, at most 4 KiB like all before the proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Versions that the client speaks.
    pub versions: Vec<u32>,
    /// Features that the client has; those that both have may be used.
    #[serde(default)]
    pub features: Vec<String>,
    /// Program and version, for logs.
    #[serde(default)]
    pub agent: String,
    /// What the device calls itself; a suggestion only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// An invitation to be proved, from a device that has no grant yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
}

impl Hello {
    /// A hello of this version.
    pub fn new(agent: &str, name: &str) -> Self {
        Self {
            versions: vec![VERSION],
            features: Vec::new(),
            agent: agent.to_owned(),
            name: name.to_owned(),
            join: None,
        }
    }
}

/// How a new device proves that it was invited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Join {
    /// By a typed code: the client's first SPAKE2 message.
    Code {
        /// The message, 33 bytes.
        #[serde(with = "base64_bytes")]
        pake: Vec<u8>,
    },
    /// By a ticket: a keyed hash of the channel under the ticket's secret.
    Ticket {
        /// 32 bytes.
        #[serde(with = "base64_bytes")]
        proof: Vec<u8>,
    },
}

/// The node's SPAKE2 message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinReply {
    /// The message, 33 bytes.
    #[serde(with = "base64_bytes")]
    pub pake: Vec<u8>,
}

/// The client's confirmation that it has the same key; the node's own comes in [`Welcome`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirm {
    /// 32 bytes.
    #[serde(with = "base64_bytes")]
    pub confirm: Vec<u8>,
}

/// What a grant allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rights {
    /// Run programs and open terminals, as the user who runs the node.
    pub run: bool,
    /// List and read files.
    pub read: bool,
    /// Write, rename and delete files.
    pub write: bool,
    /// Forward connections.
    pub forward: bool,
    /// Manage keys, and everybody's sessions.
    pub admin: bool,
    /// Watch sessions.
    pub watch: bool,
}

/// The node's first head to a peer that it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that both speak from here on.
    pub version: u32,
    /// Features of the node.
    #[serde(default)]
    pub features: Vec<String>,
    /// Program and version.
    #[serde(default)]
    pub agent: String,
    /// What the machine calls itself.
    #[serde(default)]
    pub machine: String,
    /// What the peer may do here.
    pub rights: Rights,
    /// The real path of the directory that the grant covers. Told with `read` or `write` alone, and
    /// left out where the head would be too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<ByteString>,
    /// The real path of the directory where relative paths start, under the same conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<ByteString>,
    /// The node's confirmation, at the end of joining by code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<Confirm>,
}

/// Heads before the proof, told apart by their one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstHead {
    /// From the client.
    Hello(Hello),
    /// From the node, while joining by code.
    Join(JoinReply),
    /// From the client, while joining by code.
    Confirm(Confirm),
    /// From the node: come in.
    Welcome(Welcome),
    /// From the node: no.
    Refused(Refusal),
}
