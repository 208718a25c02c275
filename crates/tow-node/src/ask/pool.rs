//! Links that are kept for the next question to the same machine.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{AskError, Client, Connection, Target};

/// Idle links by machine. Owned by one task: a command asks one thing after the other.
pub struct Pool {
    client: Client,
    idle: HashMap<String, Vec<(Instant, Connection)>>,
}

impl Pool {
    /// An empty pool.
    pub fn new(client: Client) -> Self {
        Self { client, idle: HashMap::new() }
    }

    /// Who asks.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// An idle link to `target`, or a new one.
    ///
    /// # Errors
    /// There is none, and none can be made.
    pub async fn connect(&mut self, target: &Target) -> Result<Connection, AskError> {
        let mut idle = self.idle.get_mut(&name(target));
        while let Some((since, connection)) = idle.as_deref_mut().and_then(Vec::pop) {
            if since.elapsed() < IDLE_MAX {
                return Ok(connection);
            }
        }
        self.client.connect(target).await
    }

    /// Keeps a link whose channel has ended in order.
    pub fn keep(&mut self, target: &Target, mut connection: Connection) {
        let idle = self.idle.entry(name(target)).or_default();
        if idle.len() < IDLE_COUNT_MAX {
            connection.link.rest();
            idle.push((Instant::now(), connection));
        }
    }

    /// Ends all links in order.
    pub async fn close(self) {
        for (_, connection) in self.idle.into_values().flatten() {
            connection.close().await;
        }
    }
}

fn name(target: &Target) -> String {
    let addresses: Vec<_> = target.addresses.iter().map(ToString::to_string).collect();
    addresses.join(" ")
}

/// Shorter than the silence after which either side asks for a sign of life.
const IDLE_MAX: Duration = Duration::from_secs(10);
const IDLE_COUNT_MAX: usize = 4;
