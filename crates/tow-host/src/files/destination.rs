//! Where a transfer lands.
use std::ops::ControlFlow;
use std::sync::Arc;

use tow_proto::message::{EntryKind, Have};
use tow_proto::{ByteString, Code, Refusal};

use super::{Progress, Receiver};
use crate::beneath::Root;

/// A place that can take a file or a tree.
#[derive(Debug)]
pub struct Destination {
    path: ByteString,
}

impl Destination {
    /// Decides where something of this kind and name lands when it is sent to `path`: a directory
    /// in `path` under its own name (`path` is made if missing), a file in `path` if that is a
    /// directory, else as `path`. `key` and `source` tie partial files to who sends what.
    ///
    /// # Errors
    /// It can't land there. Nothing was changed.
    pub fn prepare(
        _root: &Root,
        path: &ByteString,
        _kind: EntryKind,
        _name: &ByteString,
        _source: &ByteString,
        _key: &str,
    ) -> Result<Self, Refusal> {
        Err(Refusal::about(Code::Internal, path.clone()))
    }

    /// The real path of the file or of the tree's top.
    pub fn path(&self) -> &ByteString {
        &self.path
    }

    /// Reports what is there already, in whole or in part. Call it once, before [`Self::receive`].
    pub fn have(&mut self, emit: &mut dyn FnMut(Have) -> ControlFlow<()>) {
        let _ = emit;
    }

    /// Ready for the first item.
    pub fn receive(self, _progress: Arc<Progress>) -> Receiver {
        Receiver {}
    }
}
