//! How bytes travel: TLS 1.3 over TCP, Unix sockets, listening and dialling, and the budget for
//! peers that have not proved themselves. Knows no verb, no grant and no file.

pub mod address;
pub mod connect;
pub mod dial;
pub mod door;
pub mod gate;
pub mod link;
pub mod listen;
mod own;
mod socket;
mod stream;
pub mod tls;
pub mod web;

pub use address::{Address, ListenAddress};
pub use connect::{ConnectError, connect};
pub use link::{Link, LinkError, LinkEvent, Reading};
pub use own::own_address;
pub use stream::Stream;
pub use tls::{Acceptor, Pin, Spki, TlsError, TlsKeys};
pub use web::{Certificate, CertificateError, WebAcceptor, WebStream};
