//! What the list of sessions needs to know of each, without copying it.

use tow_proto::message::SessionInfo;

use super::state::{Shared, seconds};
use super::store::Stored;

/// A session in memory or on disk.
pub(super) enum Known<'a> {
    /// In memory.
    Here(&'a Shared),
    /// On disk alone.
    Stored(&'a Stored),
}

impl<'a> Known<'a> {
    /// Who started it.
    pub(super) fn owner(&self) -> &'a str {
        match *self {
            Self::Here(shared) => &shared.facts.owner,
            Self::Stored(stored) => &stored.owner,
        }
    }

    /// In the list: when it started, and its id.
    pub(super) fn place(&self) -> (u64, &'a str) {
        match *self {
            Self::Here(shared) => (seconds(shared.facts.started), shared.facts.id.as_str()),
            Self::Stored(stored) => (stored.started, stored.id.as_str()),
        }
    }

    /// As the list shows it.
    pub(super) fn info(&self) -> SessionInfo {
        match self {
            Self::Here(shared) => shared.info(),
            Self::Stored(stored) => stored.info(),
        }
    }
}
