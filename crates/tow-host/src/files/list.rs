//! `ls`.
use std::ops::ControlFlow;

use tow_proto::message::Entry;
use tow_proto::{ByteString, Code, Refusal};

use crate::beneath::Root;

/// What of a directory is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// What is in it.
    Contents,
    /// Only the directory itself; a symbolic link is not followed.
    Itself,
}

/// Lists what is at `path`.
///
/// # Errors
/// Cannot be opened.
pub fn list(
    root: &Root,
    path: &ByteString,
    show: Show,
    emit: &mut dyn FnMut(Vec<Entry>) -> ControlFlow<()>,
) -> Result<(), Refusal> {
    let _ = (root, show, emit);
    Err(Refusal::about(Code::Internal, path.clone()))
}
