//! Files beneath a root: what is there, what is in it, what is done to names, and both ends of a
//! transfer.
//!
//! One engine for both directions and both roles. Everything here blocks and runs on threads that the
//! caller makes; what is to go over a link comes out of, and goes into, plain calls:
//!
//! ```text
//! sender    Source::offer → open → Outgoing::send ──────── Item … Item ─────────┐
//!                                    ▲ Inbox                                    ▼
//! receiver  Destination::prepare → open ─┬→ Answerer::have, answer    Receiver::handle … finish
//!                                        └─────────────────────────────▲
//! ```
//!
//! Neither end trusts the other: a client that gets from a hostile node is in the same danger as a
//! node that is put to.

mod chunk;
mod content;
mod copy;
mod edit;
mod filter;
pub mod item;
mod list;
mod meta;
mod name;
mod owners;
mod partial;
mod progress;
pub mod receive;
mod remove;
mod room;
mod scan;
pub mod send;
mod set;
mod source;
mod stale;
mod tree;
mod upload;
mod walk;

pub use chunk::{CHUNK_LEN_MAX, Chunk};
pub use content::{Content, Links, Sent, stat};
pub use copy::copy;
pub use edit::{Above, Existing, make_dir, rename};
pub use list::{Show, list};
pub use progress::{Phase, Progress, ProgressNow};
pub use remove::{Missing, Scope, remove};
pub use set::set;
pub use source::Source;
pub use stale::PARTIAL_KEPT_FOR;
pub use upload::Upload;
pub use walk::{Found, walk};

/// Most files, directories and links of one transfer, and of one directory.
pub const ENTRIES_MAX: usize = 2_000_000;
