//! The receiving end of a transfer (PROTOCOL 7.3): believes nothing of what the sender says, and lets
//! a name show only what was proved.
//!
//! ```text
//! Destination::prepare → open ─┬→ Answerer::have, answer    on a thread of its own
//!                              └→ Receiver::handle … finish
//! ```
//!
//! The answerer reads what is there and changes nothing but leftovers. The receiver does everything
//! else, in the order in which it comes. Both know [`Shared`].

mod answer;
mod backup;
mod destination;
mod dirs;
mod dress;
mod entries;
mod finish;
mod hashing;
mod incoming;
mod large;
mod names;
mod parts;
mod publish;
mod receiver;
mod remove;
mod scratch;
mod small;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::io::Errno;
use tow_proto::transfer::{Columns, Options};
use tow_proto::{Code, Refusal};

pub use answer::Answerer;
pub use destination::{Destination, Permits, Tells};
pub use receiver::{Receiver, Step};

use self::destination::Place;
use self::parts::Parts;
use self::scratch::Scratch;
use super::partial::Ids;
use crate::beneath::code_of;

/// What both halves of the receiving end know.
#[derive(Debug)]
struct Shared {
    place: Place,
    ids: Ids,
    scratch: Scratch,
    options: Options,
    columns: Columns,
    tells: Tells,
    parts: Parts,
    stop: Stop,
}

/// Ends long work of a transfer that nobody waits for any more. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// What is being hashed, read or copied now is given up. What is complete is kept.
    pub fn stop(&self) {
        self.0.store(true, Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// No honest sender says this: the transfer is over.
    Violation(Code),
    /// This path failed, the rest goes on. With the number that belongs to the code: bytes that are
    /// missing.
    Failed(Code, Option<u64>),
}

impl Fault {
    /// What came of a call on a file or a handle.
    fn of(errno: Errno) -> Self {
        Self::Failed(code_of(errno), None)
    }

    /// What came of a call that gives something a name: what the file system does not accept there is
    /// a bad name.
    fn of_name(errno: Errno) -> Self {
        Self::Failed(code_of_name(errno), None)
    }

    /// The same on the way to a directory: there, a link is simply not a directory.
    fn of_dir(errno: Errno) -> Self {
        Self::Failed(code_of_dir(errno), None)
    }

    fn about(self, path: &[u8]) -> Refusal {
        let (Self::Violation(code) | Self::Failed(code, _)) = self;
        let refusal = Refusal::about(code, path);
        match self {
            Self::Failed(_, Some(count)) => refusal.with_count(count),
            _ => refusal,
        }
    }
}

impl From<Code> for Fault {
    fn from(code: Code) -> Self {
        Self::Failed(code, None)
    }
}

fn code_of_name(errno: Errno) -> Code {
    if errno == Errno::INVAL { Code::BadName } else { code_of(errno) }
}

fn code_of_dir(errno: Errno) -> Code {
    if errno == Errno::LOOP { Code::NotADirectory } else { code_of_name(errno) }
}

#[cfg(test)]
mod tests;
