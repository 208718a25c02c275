//! What goes over the link in a transfer, and how its caller hears of each change.

use tow_proto::message::End;
use tow_proto::transfer::Event;

use super::Chunk;

/// What one end gives to the link, in order, and the other takes from it (PROTOCOL 7.3).
#[derive(Debug)]
pub enum Item {
    /// A head frame.
    Event(Event),
    /// A pack: room for a frame prefix ([`tow_proto::frame::PREFIX_LEN`] bytes, nothing where it
    /// came over a link), then the payload.
    Pack(Vec<u8>),
    /// A data frame.
    Data(Chunk),
    /// A data frame whose payload is compressed, with room as in [`Item::Pack`].
    DataZstd(Vec<u8>),
    /// An end frame.
    End(End),
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// A file that was not there.
    New,
    /// A file whose content differs.
    Content,
    /// Mode, time or owner of something whose content is right.
    Meta,
    /// Something that is removed, with what is in it.
    Delete,
    /// A directory that was not there.
    Dir,
    /// A symbolic link that was not there or leads elsewhere.
    Link,
    /// Another name of a file.
    Hard,
    /// A pipe, a socket or a device.
    Special,
}

/// Who wants to hear of each change, while it is decided: called on the thread of the end that
/// decides or carries it out, so it should be quick.
pub trait Watch: Send + Sync {
    /// This becomes of `path`, relative to the top. `size` is the length of a file's content in
    /// bytes, and 0 where there is none.
    fn item(&self, change: Change, path: &[u8], size: u64) {
        let _ = (change, path, size);
    }
}

/// Nobody.
impl Watch for () {}
