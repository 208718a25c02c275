//! Something between clients and servers that counts.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tow_testkit::{Direction, Proxy};

use super::{Contender, Job, Peers, Route, Tool};

/// A proxy in front of each server.
pub(crate) struct Wire {
    route: Route,
    proxies: Vec<(Tool, Proxy)>,
}

impl Wire {
    pub(crate) fn start(peers: &Peers) -> Result<Self> {
        let mut proxies = Vec::new();
        let route = peers.through("counted", |tool, address| {
            let proxy = Proxy::to(address);
            let address = proxy.address();
            proxies.push((tool, proxy));
            address
        })?;
        Ok(Self { route, proxies })
    }

    /// The way through the proxies.
    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    /// What stands in front of a tool's server.
    pub(crate) fn proxy(&self, tool: Tool) -> Result<&Proxy> {
        let server = match tool {
            Tool::Tow | Tool::TowSync => Tool::Tow,
            Tool::RsyncDaemon => Tool::RsyncDaemon,
            _ => Tool::RsyncSsh,
        };
        let found = self.proxies.iter().find(|(of, _)| *of == server);
        found.map(|(_, proxy)| proxy).context("nobody stands there")
    }

    /// The bytes that `contender` sends and receives for `job`: all that TCP carries.
    pub(crate) fn bytes_of(&self, peers: &Peers, contender: &Contender, job: &Job) -> Result<u64> {
        let proxy = self.proxy(contender.tool)?;
        let before = carried(proxy);
        let status = peers.command(contender, job, &self.route)?.status()?;
        ensure!(status.success(), "{}: {status}", contender.name);
        Ok(carried(proxy) - before)
    }
}

/// Bytes of both directions, once there are no more: the client has gone before the last are counted.
fn carried(proxy: &Proxy) -> u64 {
    let count = || proxy.carried(Direction::Up) + proxy.carried(Direction::Down);
    let mut last = count();
    loop {
        std::thread::sleep(CALM);
        let now = count();
        if now == last {
            return now;
        }
        last = now;
    }
}

const CALM: Duration = Duration::from_millis(100);
