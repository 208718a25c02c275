//! The sending end.
use std::ops::ControlFlow;

use tow_proto::message::EntryKind;
use tow_proto::{ByteString, Code, Refusal};

use super::{HaveSet, Item, Progress, Rejected};
use crate::beneath::Root;

/// A file or a tree that can be sent.
#[derive(Debug)]
pub struct Source {
    kind: EntryKind,
    name: ByteString,
    source: ByteString,
}

/// A source whose entries are known.
#[derive(Debug)]
pub struct Outgoing {
    source: Source,
}

impl Source {
    /// Finds out whether what `path` names can be sent. A symbolic link named here is followed.
    ///
    /// # Errors
    /// Not there, not readable, outside of the root, or neither a file nor a directory.
    pub fn offer(_root: &Root, path: &ByteString, _machine: &str) -> Result<Self, Refusal> {
        Err(Refusal::about(Code::Internal, path.clone()))
    }

    /// [`EntryKind::File`] or [`EntryKind::Dir`].
    pub fn kind(&self) -> EntryKind {
        self.kind
    }

    /// The name that it gets where it lands.
    pub fn name(&self) -> &ByteString {
        &self.name
    }

    /// The machine and the real path: what partial files are tied to.
    pub fn source(&self) -> &ByteString {
        &self.source
    }

    /// Finds out what there is to send, without reading content. Can go on while the receiver says
    /// what it has.
    pub fn scan(self, _progress: &Progress) -> Outgoing {
        Outgoing { source: self }
    }
}

impl Outgoing {
    /// Sends everything that the receiver does not have, up to and with `Finish`. Stops early when
    /// `out` says so.
    pub fn send(
        self,
        have: HaveSet,
        rejected: &Rejected,
        progress: &Progress,
        out: &mut dyn FnMut(Item) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let _ = (have, rejected, progress, out, &self.source);
        ControlFlow::Break(())
    }
}
