//! The asking side of every verb: connect, say hello, ask, read the answer.

pub mod admin;
pub mod edit;
pub mod get;
pub mod join;
pub mod ls;
mod pool;
pub mod put;
pub mod read;
pub mod session;
pub mod sessions;
pub mod share;
pub mod stat;
pub mod write;

use std::time::Duration;

use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::time::timeout;
use tow_net::{Address, ConnectError, Link, LinkError, Pin, Spki, TlsError, TlsKeys};
use tow_proto::content::Hash;
use tow_proto::message::{End, FirstHead, Hello, Reply, Request, STDOUT, Welcome};
use tow_proto::{Code, Frame, Kind, Refusal, json};

use crate::identity::{Identity, PublicKey};
use crate::transfer::TransferError;

pub use pool::Pool;

/// Why a question was not answered as hoped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AskError {
    /// No connection, or not to the machine that is meant.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The machine that answers holds another key than the one we know.
    #[error("the key of that machine has changed")]
    OtherKey {
        /// The key that we know.
        known: PublicKey,
        /// The key that it showed.
        seen: PublicKey,
    },
    /// The connection was lost.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The machine said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The machine said something that makes no sense here.
    #[error("the other machine broke the protocol: {what}")]
    Protocol {
        /// What was wrong, in our words.
        what: &'static str,
    },
    /// The machine accepted the connection and then said nothing.
    #[error("the other machine did not answer within {} s", WELCOME_MAX.as_secs())]
    Silent,
    /// The machine did not know the code itself: somebody is in between.
    #[error("that machine could not prove that it knows the code; somebody may be in between")]
    NotProved,
    /// Our own end of a transfer failed.
    #[error(transparent)]
    Here(Refusal),
}

impl AskError {
    /// True where connecting again and asking the same may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_retryable(),
            Self::Link(error) => error.is_retryable(),
            Self::Silent => true,
            Self::Refused(refusal) => matches!(refusal.code, Code::Busy | Code::Stopping),
            Self::OtherKey { .. } | Self::Protocol { .. } | Self::NotProved | Self::Here(_) => {
                false
            }
        }
    }
}

impl From<TransferError> for AskError {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Link(error) => Self::Link(error),
            TransferError::Refused(refusal) => Self::Refused(refusal),
            TransferError::Here(refusal) => Self::Here(refusal),
            TransferError::Protocol { what } => Self::Protocol { what },
        }
    }
}

/// A machine to ask.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it may be, tried in order.
    pub addresses: Vec<Address>,
    /// Its key; `None` for a Unix socket, and while joining by code.
    pub key: Option<PublicKey>,
}

/// Who asks.
#[derive(Clone)]
pub struct Client {
    tls: TlsKeys,
    key: PublicKey,
    hello: Hello,
}

impl Client {
    /// A client with `identity`; `agent` and `name` are what it calls its program and itself.
    ///
    /// # Errors
    /// The private key can't be used.
    pub fn new(identity: &Identity, agent: &str, name: &str) -> Result<Self, TlsError> {
        let key = identity.public();
        let tls = TlsKeys::new(identity.pkcs8_der(), Spki(key.to_spki()))?;
        Ok(Self { tls, key, hello: Hello::new(agent, name) })
    }

    /// The client's own key.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Connects and queues the hello; the first request travels with it.
    ///
    /// # Errors
    /// None of the addresses led to the machine. The first error that names the machine counts,
    /// else the last.
    pub async fn connect(&self, target: &Target) -> Result<Connection, AskError> {
        let link = self.link(target).await?;
        Ok(Connection::start(link, self.key.id().to_string(), &self.hello))
    }

    async fn link(&self, target: &Target) -> Result<Link, AskError> {
        let pin = target.key.map_or(Pin::Any, |key| Pin::Key(Spki(key.to_spki())));
        let mut last = None;
        for address in &target.addresses {
            match self.connect_to(address, pin).await {
                Ok(link) => return Ok(link),
                Err(error) => {
                    if let (Some(seen), Some(known)) = (error.other_key(), target.key) {
                        return Err(AskError::OtherKey {
                            known,
                            seen: PublicKey::from_bytes(seen.key()),
                        });
                    }
                    last = Some(error.into());
                }
            }
        }
        Err(last.unwrap_or(AskError::Protocol { what: "no address is known for it" }))
    }

    /// Connects again where the other side hung up during the handshake: a node that is flooded
    /// drops newcomers, and nothing was asked yet.
    async fn connect_to(&self, address: &Address, pin: Pin) -> Result<Link, ConnectError> {
        let mut pauses = HANG_UP_PAUSES.into_iter();
        loop {
            match tow_net::connect(address, &self.tls, pin).await {
                Err(ConnectError::Link(error)) if error.is_retryable() => match pauses.next() {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(error.into()),
                },
                result => return result,
            }
        }
    }
}

/// A link on which channels follow each other.
pub struct Connection {
    pub(crate) link: Link,
    /// The fingerprint of our own key: what partial files are tied to.
    key: String,
    welcome: Option<Welcome>,
}

impl Connection {
    fn start(mut link: Link, key: String, hello: &Hello) -> Self {
        link.send_head(&FirstHead::Hello(hello.clone()));
        Self { link, key, welcome: None }
    }

    /// Over a link within this process, whose other end is being served.
    pub(crate) fn within(link: Link, key: String, welcome: Welcome) -> Self {
        Self { link, key, welcome: Some(welcome) }
    }

    /// The link itself, between two channels, for who passes frames on.
    pub fn link(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Waits until the machine has let us in.
    ///
    /// # Errors
    /// It has not.
    pub async fn welcome(&mut self) -> Result<&Welcome, AskError> {
        if self.welcome.is_none() {
            let FirstHead::Welcome(welcome) = read_first_head(&mut self.link).await? else {
                return Err(AskError::Protocol { what: "no welcome" });
            };
            self.link.prove();
            self.welcome = Some(welcome);
        }
        self.welcome.as_ref().ok_or(AskError::Protocol { what: "no welcome" })
    }

    /// True where the machine has let us in, as far as we have read.
    fn is_welcomed(&self) -> bool {
        self.welcome.is_some()
    }

    /// Asks, and waits for the reply head.
    ///
    /// # Errors
    /// The refusal, or why there is no reply.
    pub async fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T, AskError> {
        self.link.send_head(request);
        self.welcome().await?;
        let frame = self.link.next_frame().await?;
        let reply: Reply<T> = head(&frame)?;
        Ok(reply.into_result()?)
    }

    /// Ends the link in order.
    pub async fn close(self) {
        self.link.close().await;
    }
}

/// A head from before the proof; a refusal is an error.
async fn read_first_head(link: &mut Link) -> Result<FirstHead, AskError> {
    let frame = timeout(WELCOME_MAX, link.next_frame()).await.map_err(|_| AskError::Silent)??;
    match head(&frame)? {
        FirstHead::Refused(refusal) => Err(refusal.into()),
        head => Ok(head),
    }
}

/// Reads a head of the expected shape; a refusal may stand in its place at any time.
pub(crate) fn head<T: DeserializeOwned>(frame: &Frame) -> Result<T, AskError> {
    if frame.kind != Kind::Head {
        return Err(AskError::Protocol { what: "a frame that has no place here" });
    }
    match json::from_slice(&frame.payload) {
        Ok(value) => Ok(value),
        Err(_) => match json::from_slice(&frame.payload) {
            Ok(FirstHead::Refused(refusal)) => Err(refusal.into()),
            _ => Err(AskError::Protocol { what: "a head that can't be read" }),
        },
    }
}

const HANG_UP_PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(150)];
/// An `end` of a stream of which so much has arrived: anything else is not complete.
pub(crate) fn check_end(frame: &Frame, total: u64, blake3: Hash) -> Result<(), AskError> {
    match json::from_slice::<End>(&frame.payload) {
        Ok(end) if (end.stream, end.total, end.blake3) == (STDOUT, total, blake3) => Ok(()),
        _ => Err(AskError::Protocol { what: "an end that is not that of what has arrived" }),
    }
}

const WELCOME_MAX: Duration = Duration::from_secs(15);

pub(crate) fn byte_path(path: &std::path::Path) -> tow_proto::ByteString {
    use std::os::unix::ffi::OsStrExt as _;
    path.as_os_str().as_bytes().into()
}
