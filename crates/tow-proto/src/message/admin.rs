//! Looking after a node: invitations, keys, the audit log, its state (PROTOCOL 7.4).

use serde::{Deserialize, Serialize};

use super::hello::Rights;
use crate::byte_string::ByteString;

/// Make a way in for one new device. Needs `admin`, and no more can be granted than the asker has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// What the device may do.
    pub rights: Rights,
    /// The directory that its files are confined to; `/` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<ByteString>,
    /// What to call the device; what it calls itself where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long the invitation is good for, in seconds.
    pub valid_secs: u64,
    /// How long the grant is good for from now on, in seconds; for good where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_secs: Option<u64>,
}

/// The way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invited {
    /// 8 Crockford base32 characters.
    pub code: String,
    /// A link that carries the machine's key and a secret.
    pub ticket: String,
    /// When both end, in seconds since 1970.
    pub expires: u64,
    /// The root that will be granted, as the node resolved it.
    pub root: ByteString,
    /// Addresses at which the node listens, best first.
    pub addresses: Vec<String>,
}

/// Who may come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// At most 100 of them, by name.
    pub keys: Vec<KeyInfo>,
    /// Another such reply follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// One key and its grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// The key's fingerprint.
    pub id: String,
    /// What the device is called here.
    pub name: String,
    /// What it may do.
    pub rights: Rights,
    /// What its files are confined to.
    pub root: ByteString,
    /// When the grant ends, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// What holds the key: `device`, `browser`, `token` or `share`.
    #[serde(default = "device", skip_serializing_if = "is_device")]
    pub holder: String,
    /// Links that are open now.
    pub links: u32,
}

fn device() -> String {
    "device".to_owned()
}

fn is_device(holder: &str) -> bool {
    holder == "device"
}

/// Remove a key, by its name or the start of its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRm {
    /// Which.
    pub key: String,
}

/// What was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRmDone {
    /// The name it had.
    pub name: String,
    /// Its fingerprint.
    pub id: String,
    /// Links that were cut.
    pub links: u32,
}

/// The audit log, as data frames of JSON lines; an `end` frame follows unless `follow`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRequest {
    /// Go on with what comes.
    #[serde(default)]
    pub follow: bool,
}

/// How the node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Program and version.
    pub agent: String,
    /// What the machine calls itself.
    pub machine: String,
    /// The node's fingerprint.
    pub id: String,
    /// Addresses it listens on.
    pub listen: Vec<String>,
    /// Seconds since it started.
    pub uptime_secs: u64,
    /// Its links.
    pub links: LinkCounts,
    /// Sessions that run now.
    pub sessions: u32,
    /// Size of the queue of connections that the kernel holds for us.
    pub backlog: u32,
}

/// Links, by how far they have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkCounts {
    /// Proved and open.
    pub open: u64,
    /// Not proved yet.
    pub half_open: u64,
    /// How many may be half-open.
    pub half_open_max: u64,
    /// Dropped because the budget was full.
    pub dropped_full: u64,
    /// Dropped because they took too long.
    pub dropped_late: u64,
    /// Dropped because what they sent was not understood.
    pub dropped_bad: u64,
    /// Accepted since the start.
    pub accepted: u64,
}
