//! The keeper: a process of its own that holds every session of a node, so that they outlive it,
//! and so that programs are not started by the process that faces the network
//! (docs/decisions/0008-keeper.md).
//!
//! It knows no key and no grant. A node tells it in whose name it asks and how far that goes
//! (`message::Scope`), over a Unix socket that only the two can reach.

mod answer;
mod message;
mod process;
mod serve;
mod view;

pub use process::{KeeperError, KeeperProgram};
pub use serve::{Keeping, keep};

pub(crate) use message::{Ask, RunAsk, Scope, to_bytes};
pub(crate) use process::{Conversation, Keeper};
