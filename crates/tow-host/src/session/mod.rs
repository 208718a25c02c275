//! Programs, and the sessions that they run in.
//!
//! Everything that is run is a session: an id, stdin, and the two output streams with absolute
//! offsets, each with a bounded log; an exit record; a lease. A session belongs to this machine and
//! outlives whoever looks at it. Nothing here knows a network, or reads this process's own
//! environment.
//!
//! One task, the [`keeper`], owns a session's pipes and its leader, the process that was started.
//! Viewers share only the [`state`] with it: they take from the logs, put into the stdin queue, and
//! never wait for a program.

mod cgroup;
mod ends;
mod escape;
mod handle;
mod keeper;
mod known;
mod limits;
mod locale;
mod log;
mod login;
mod model;
mod position;
mod pty;
mod reap;
mod registry;
mod screen;
mod signals;
mod spawn;
mod spec;
mod spill;
mod state;
mod stdin;
mod store;
mod tree;
mod viewer;
mod viewers;

use std::fmt;

pub use handle::Session;
pub use limits::{Containment, Limits};
pub use log::LogLimits;
pub use login::Login;
pub use registry::Sessions;
pub use spec::{Spec, Stdin, Stdio};
pub use viewer::{Output, Start, Viewer};

/// The name of a session, unique on this machine: 12 characters of lower-case base32.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(String);

impl SessionId {
    fn random() -> std::io::Result<Self> {
        let mut bytes = [0_u8; ID_LEN];
        let filled =
            rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
        debug_assert_eq!(filled, ID_LEN, "the kernel gives up to 256 bytes at once");
        let letters = bytes.iter().map(|byte| char::from(ID_LETTERS[usize::from(byte % 32)]));
        Ok(Self(letters.collect()))
    }

    /// A name that somebody gives. `None` where it can't be a session's.
    pub fn parse(text: &str) -> Option<Self> {
        let is_one =
            text.len() == ID_LEN && text.bytes().all(|letter| ID_LETTERS.contains(&letter));
        is_one.then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// 60 bits: a machine never gives the same one twice.
const ID_LEN: usize = 12;
/// Crockford's base32 in lower case.
const ID_LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// The variable by which a process is known as one of a session's, wherever it went.
const ID_VARIABLE: &str = "TOWLINE_SESSION";
