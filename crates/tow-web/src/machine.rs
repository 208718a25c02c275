//! The machine behind the door, as one visitor may use it: the node's own, within this process, or
//! another one over a native link.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use tow_node::ask::{AskError, Client, Connection, Target};
use tow_node::serve::{Desk, Visitor};
use tow_node::visitor::VisitorSecret;
use tow_proto::Code;
use tow_proto::message::{Request, Welcome};

/// Whose door it is.
#[derive(Clone)]
pub(crate) enum House {
    /// The node of this process.
    Here(Desk),
    /// A machine that this process knows.
    There(Remote),
}

/// Another machine, reached with the key of whoever opened the tunnel.
#[derive(Clone)]
pub struct Remote(Arc<RemoteInner>);

struct RemoteInner {
    client: Client,
    target: Target,
    welcome: Welcome,
    /// The secret of the link that opens the page, until it was used.
    ticket: Mutex<Option<VisitorSecret>>,
    secret: VisitorSecret,
    idle: Mutex<Vec<(Instant, Connection)>>,
}

/// A machine under a visitor's grant.
#[derive(Clone)]
pub(crate) enum Machine {
    /// This one. What moves much content may pass by the link.
    Here(Visitor),
    /// Another one.
    There(Remote),
}

impl Remote {
    /// The machine `target`, asked as `client`; `ticket` is what the link that opens the page holds.
    ///
    /// # Errors
    /// It can't be reached, or does not let us in.
    pub async fn connect(
        client: Client,
        target: Target,
        ticket: VisitorSecret,
    ) -> Result<Self, AskError> {
        let mut connection = client.connect(&target).await?;
        let welcome = connection.welcome().await?.clone();
        let idle = Mutex::new(vec![(Instant::now(), connection)]);
        let secret = VisitorSecret::random().ok_or(AskError::Here(Code::Internal.into()))?;
        let ticket = Mutex::new(Some(ticket));
        Ok(Self(Arc::new(RemoteInner { client, target, welcome, ticket, secret, idle })))
    }

    /// Changes the secret of the link that opens the page, which is good once, for the browser's own.
    pub(crate) fn sign_in(&self, secret: &str) -> Option<VisitorSecret> {
        let shown = VisitorSecret::parse(secret)?.key();
        let mut ticket = self.0.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        if ticket.as_ref()?.key() != shown {
            return None;
        }
        *ticket = None;
        Some(self.0.secret.clone())
    }

    /// Whether `secret` is what the browser was given.
    pub(crate) fn knows(&self, secret: &VisitorSecret) -> bool {
        secret.key() == self.0.secret.key()
    }

    async fn link(&self) -> Result<Connection, AskError> {
        while let Some((since, connection)) = { self.idle().pop() } {
            if since.elapsed() < IDLE_MAX {
                return Ok(connection);
            }
        }
        self.0.client.connect(&self.0.target).await
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle();
        if idle.len() < IDLE_COUNT_MAX {
            idle.push((Instant::now(), connection));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Instant, Connection)>> {
        self.0.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machine {
    /// What the visitor was welcomed with.
    pub(crate) fn welcome(&self) -> Welcome {
        match self {
            Self::Here(visitor) => visitor.welcome(),
            Self::There(remote) => remote.0.welcome.clone(),
        }
    }

    /// A native link on which channels follow each other.
    ///
    /// # Errors
    /// There is none to be had.
    pub(crate) async fn connect(&self) -> Result<Connection, AskError> {
        match self {
            Self::Here(visitor) => Ok(visitor.connect()?),
            Self::There(remote) => remote.link().await,
        }
    }

    /// Takes a link back whose last channel has ended in order.
    pub(crate) fn keep(&self, connection: Connection) {
        if let Self::There(remote) = self {
            remote.keep(connection);
        }
    }

    /// Asks something that is answered by one head.
    ///
    /// # Errors
    /// The refusal, or why there is no answer.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, request: &Request) -> Result<T, AskError> {
        let mut connection = self.connect().await?;
        let answer = connection.ask(request).await;
        if matches!(answer, Ok(_) | Err(AskError::Refused(_))) {
            self.keep(connection);
        }
        answer
    }
}

/// Shorter than the silence after which either side asks for a sign of life.
const IDLE_MAX: Duration = Duration::from_secs(10);
const IDLE_COUNT_MAX: usize = 8;
