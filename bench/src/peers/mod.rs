//! Everybody who carries files: a node and the servers of its peers, each of its own, and what a copy
//! by one of them takes.

mod contender;
mod nginx;
mod results;
mod rsyncd;
mod wire;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

pub(crate) use self::contender::{Contender, Job, Tool, Way};
pub(crate) use self::nginx::Nginx;
pub(crate) use self::results::{Results, Sample};
use self::rsyncd::Rsyncd;
pub(crate) use self::wire::Wire;
use crate::cpu;
use crate::node::{self, Node};
use crate::ssh::Sshd;

/// The servers, all started; dropping them ends them.
pub(crate) struct Peers {
    pub(crate) node: Node,
    sshd: Sshd,
    rsyncd: Option<Rsyncd>,
    nginx: Option<Nginx>,
    /// Whether `tow` knows `sync`.
    syncs: bool,
    files: PathBuf,
}

/// Where clients find the servers: there, or at something in between.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    /// The client that has joined the node there.
    client: Option<&'static str>,
    ssh: SocketAddr,
    rsyncd: Option<SocketAddr>,
}

impl Peers {
    /// Starts them in `dir`, and says which of them can't be measured here.
    pub(crate) fn start(tow: &Path, dir: &Path) -> Result<Self> {
        let files = dir.join("files");
        fs::create_dir(&files)?;
        let node = Node::start(tow, &dir.join("tow"), None)?;
        let syncs = node.command().args(["sync", "--help"]).output()?.status.success();
        if !syncs {
            println!("tow sync is not there yet: get and put in its place");
        }
        Ok(Self {
            node,
            sshd: Sshd::start(&dir.join("ssh"))?,
            rsyncd: Rsyncd::start(&dir.join("rsync"), &files)?,
            nginx: Nginx::start(&dir.join("nginx"), &files)?,
            syncs,
            files,
        })
    }

    /// What the daemons of the peers serve: the place for everything that is copied.
    pub(crate) fn files(&self) -> &Path {
        &self.files
    }

    /// Straight to the servers.
    pub(crate) fn direct(&self) -> Route {
        Route {
            client: None,
            ssh: self.sshd.address(),
            rsyncd: self.rsyncd.as_ref().map(Rsyncd::address),
        }
    }

    /// Through something that `between` puts in front of each server; `client` is a new client that
    /// knows no other way.
    pub(crate) fn through(
        &self,
        client: &'static str,
        mut between: impl FnMut(Tool, SocketAddr) -> SocketAddr,
    ) -> Result<Route> {
        let address = between(Tool::Tow, self.node.address());
        self.node.join_as(client, address, node::NAME)?;
        let rsyncd = self.rsyncd.as_ref().map(Rsyncd::address);
        Ok(Route {
            client: Some(client),
            ssh: between(Tool::RsyncSsh, self.sshd.address()),
            rsyncd: rsyncd.map(|address| between(Tool::RsyncDaemon, address)),
        })
    }

    /// Those of `contenders` whose programs there are.
    pub(crate) fn present(&self, contenders: &[Contender]) -> Vec<Contender> {
        contenders.iter().copied().filter(|contender| self.has(contender.tool)).collect()
    }

    fn has(&self, tool: Tool) -> bool {
        match tool {
            Tool::RsyncSsh | Tool::RsyncDaemon => self.rsyncd.is_some(),
            Tool::Curl => self.nginx.is_some(),
            _ => true,
        }
    }

    /// Each contender in its turn, `rounds` times after a first one that does not count. `turn` does
    /// all of a turn; the first round has the number 0.
    pub(crate) fn rounds(
        &self,
        contenders: &[Contender],
        rounds: usize,
        mut turn: impl FnMut(&Contender, usize) -> Result<Sample>,
    ) -> Result<Results> {
        let mut results = Results::new(&self.present(contenders));
        for round in 0..=rounds {
            for (contender, samples) in results.iter_mut() {
                let sample = turn(contender, round)?;
                if round > 0 {
                    samples.push(sample);
                }
            }
        }
        Ok(results)
    }

    /// What `contender` takes for `job`, straight to its server.
    pub(crate) fn copy(&self, contender: &Contender, job: &Job) -> Result<Sample> {
        let command = self.command(contender, job, &self.direct())?;
        self.time(contender, command)
    }

    /// What a command takes, and the server that it asks.
    pub(crate) fn time(&self, contender: &Contender, mut command: Command) -> Result<Sample> {
        let server = self.server(contender.tool);
        let of_server = || server.map_or(Ok(Duration::ZERO), cpu::of_process);
        let (client_before, server_before) = (cpu::of_our_children()?, of_server()?);
        let started = Instant::now();
        let status = command.status()?;
        let time = started.elapsed();
        ensure!(status.success(), "{}: {status}: {command:?}", contender.name);
        self.settle(contender.tool)?;
        Ok(Sample {
            time,
            client: cpu::of_our_children()?.saturating_sub(client_before),
            server: of_server()?.saturating_sub(server_before),
        })
    }

    fn server(&self, tool: Tool) -> Option<u32> {
        match tool {
            Tool::Cp => None,
            Tool::Tow | Tool::TowSync => Some(self.node.pid()),
            Tool::Scp | Tool::SshCat | Tool::TarSsh | Tool::RsyncSsh => Some(self.sshd.pid()),
            Tool::RsyncDaemon => self.rsyncd.as_ref().map(Rsyncd::pid),
            Tool::Curl => self.nginx.as_ref().map(Nginx::pid),
        }
    }

    /// Waits until every process of a server that forks has ended, so that its time is accounted for.
    fn settle(&self, tool: Tool) -> Result<()> {
        match tool {
            Tool::Scp | Tool::SshCat | Tool::TarSsh | Tool::RsyncSsh => self.sshd.settle(),
            Tool::RsyncDaemon => self.rsyncd.as_ref().map_or(Ok(()), Rsyncd::settle),
            _ => Ok(()),
        }
    }
}

/// Whether a program is there.
pub(crate) fn is_installed(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs = std::env::split_paths(&paths).chain([PathBuf::from("/usr/sbin")]);
    dirs.any(|dir| dir.join(program).is_file())
}
