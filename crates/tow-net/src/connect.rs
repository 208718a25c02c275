//! The asking side of a link: dial, then TLS or nothing.

use std::time::Duration;

use thiserror::Error;

use crate::address::Address;
use crate::dial::{self, DialError};
use crate::link::{Incoming, Link, LinkError};
use crate::stream::Stream;
use crate::tls::{Pin, TlsError, TlsKeys};

/// Longest TLS handshake.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Why there is no link.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Connected, but no TLS.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Connected, and then nothing.
    #[error("the other side accepted the connection but did not answer within {} s", HANDSHAKE_MAX.as_secs())]
    Silent,
}

impl ConnectError {
    /// The key that the other side showed instead of the pinned one.
    pub fn other_key(&self) -> Option<crate::tls::Spki> {
        match self {
            Self::Link(LinkError::Tls(TlsError::OtherKey { seen })) => Some(*seen),
            _ => None,
        }
    }

    /// True where trying again may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Dial(error) => error.is_retryable(),
            Self::Silent => true,
            Self::Link(error) => error.is_retryable(),
        }
    }
}

/// Connects to `address`. Over TCP the node has to hold the key of `pin`; over a Unix socket the
/// file system's permissions stand in for it.
///
/// # Errors
/// There is no link; nothing was sent to the wrong node.
pub async fn connect(address: &Address, keys: &TlsKeys, pin: Pin) -> Result<Link, ConnectError> {
    match dial::dial(address).await?.stream {
        Stream::Unix(stream) => Ok(Link::from_unix(stream).map_err(LinkError::from)?),
        Stream::Tcp(stream) => {
            let tls = keys.connect(pin).map_err(LinkError::from)?;
            let mut link = Link::new(stream, tls, Incoming::default());
            tokio::time::timeout(HANDSHAKE_MAX, link.handshake())
                .await
                .map_err(|_| ConnectError::Silent)??;
            Ok(link)
        }
    }
}
