//! The browser's door: HTTP, WebSocket, WebDAV, the embedded page (docs/HTTP.md).
//!
//! No policy of its own: who a visitor is, the node says; what they ask becomes a request of the
//! native protocol under their grant.

mod answer;
mod archive;
mod body;
mod channel;
mod dav;
mod files;
mod guest;
mod here;
mod machine;
mod me;
mod page;
mod path;
mod patience;
mod router;
mod run;
mod server;
mod sessions;
mod shares;
mod sign_in;
mod stream;
mod throttle;
mod tus;

pub use machine::Remote;
pub use server::{Door, Options};
