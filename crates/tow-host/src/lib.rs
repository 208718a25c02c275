//! What happens on this machine for a peer: files beneath a root, programs and their sessions.
//!
//! The only crate that opens files for a peer or starts programs. It knows no network: what is to go
//! over a link is handed to the caller.

pub mod beneath;
pub mod files;
pub mod session;
pub mod shell_line;
