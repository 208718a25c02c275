//! Files beneath a root: what is there, and both ends of a transfer.
//!
//! One engine for both directions and both roles. Everything here blocks and runs on threads that the
//! caller makes; what is to go over a link comes out of, and goes into, plain calls:
//!
//! ```text
//! sender    Source::offer → scan → Outgoing::send ── Item … Item ──┐
//!                                    ▲ HaveSet, Rejected           ▼
//! receiver  Destination::prepare → have → receive → Receiver::handle … finish
//! ```
//!
//! Neither end trusts the other: a client that gets from a hostile node is in the same danger as a
//! node that is put to.

mod chunk;
mod content;
mod destination;
mod edit;
mod filter;
mod have;
pub mod item;
mod list;
mod meta;
mod owners;
mod partial;
mod progress;
mod publish;
pub mod receive;
mod receiver;
mod scan;
pub mod send;
mod remove;
mod source;
mod tree;

use tow_proto::message::{End, TransferEvent};

pub use chunk::{CHUNK_LEN_MAX, Chunk};
pub use content::{Content, Links, Sent, stat};
pub use destination::Destination;
pub use edit::{Above, Existing, make_dir, rename};
pub use have::{HAVE_BYTES_MAX, HaveSet, Rejected};
pub use list::{Show, list};
pub use progress::{Phase, Progress, ProgressNow};
pub use receiver::{Receiver, Step};
pub use remove::{Missing, Scope, remove};
pub use source::{Outgoing, Source};

/// What the sender gives to the link, in order, and the receiver takes from it.
#[derive(Debug)]
pub enum Item {
    /// A head frame.
    Event(TransferEvent),
    /// A data frame.
    Data(Chunk),
    /// An end frame.
    End(End),
}

/// Most files, directories and links of one transfer, and of one directory.
pub const ENTRIES_MAX: usize = 2_000_000;
