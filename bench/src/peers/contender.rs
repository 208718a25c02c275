//! Who takes part in a measurement, and how each of them is asked to copy something.

use std::ffi::OsStr;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::nginx::Nginx;
use super::{Peers, Route, rsyncd};
use crate::{node, ssh};

/// A program that copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    /// The floor: no network.
    Cp,
    /// `tow get` and `tow put`.
    Tow,
    /// `tow sync`.
    TowSync,
    Scp,
    /// A file through `cat`.
    SshCat,
    /// A tree through `tar`.
    TarSsh,
    RsyncSsh,
    /// Unencrypted.
    RsyncDaemon,
    /// From nginx over TLS.
    Curl,
}

/// Which way content goes, as the client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Get,
    Put,
}

/// Somebody whose turn comes in each round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) tool: Tool,
    pub(crate) way: Way,
    /// What it is told besides.
    pub(crate) options: &'static [&'static str],
}

/// What is to be copied: `source`, a file or a directory, into a directory that is there.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) source: &'a Path,
    pub(crate) into: &'a Path,
}

impl Contender {
    pub(crate) const fn get(name: &'static str, tool: Tool) -> Self {
        Self { name, tool, way: Way::Get, options: &[] }
    }

    pub(crate) const fn put(name: &'static str, tool: Tool) -> Self {
        Self { name, tool, way: Way::Put, options: &[] }
    }

    pub(crate) const fn with(self, options: &'static [&'static str]) -> Self {
        Self { options, ..self }
    }
}

impl Job<'_> {
    /// Where the copy lands.
    pub(crate) fn target(&self) -> PathBuf {
        self.into.join(self.name())
    }

    fn name(&self) -> &OsStr {
        self.source.file_name().unwrap_or_default()
    }
}

impl Peers {
    /// The command with which `contender` does `job`.
    pub(crate) fn command(
        &self,
        contender: &Contender,
        job: &Job,
        route: &Route,
    ) -> Result<Command> {
        let Contender { way, options, .. } = *contender;
        let mut command = match contender.tool {
            Tool::Cp => cp(job),
            Tool::TowSync if self.syncs => self.tow_sync(way, options, job, route),
            Tool::Tow | Tool::TowSync => self.tow(way, job, route),
            Tool::Scp => self.scp(way, job, route),
            Tool::SshCat => return self.cat(way, job, route),
            Tool::TarSsh => self.tar(way, job, route)?,
            Tool::RsyncSsh => self.rsync_ssh(way, options, job, route),
            Tool::RsyncDaemon => {
                let daemon = route.rsyncd.context("rsync is missing")?;
                self.rsync_daemon(way, options, job, daemon)?
            }
            Tool::Curl => self.curl(job)?,
        };
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(command)
    }

    fn tow_on(&self, route: &Route) -> Command {
        route.client.map_or_else(|| self.node.command(), |client| self.node.command_as(client))
    }

    fn tow(&self, way: Way, job: &Job, route: &Route) -> Command {
        let mut command = self.tow_on(route);
        match way {
            Way::Get => {
                command.args(["get", "-q"]).arg(remote(node::NAME, job.source)).arg(job.into)
            }
            Way::Put => {
                command.args(["put", "-q"]).arg(job.source).arg(remote(node::NAME, job.into))
            }
        };
        command
    }

    fn tow_sync(&self, way: Way, options: &[&str], job: &Job, route: &Route) -> Command {
        let mut command = self.tow_on(route);
        command.args(["sync", "-q"]).args(options);
        match way {
            Way::Get => command.arg(remote(node::NAME, job.source)).arg(job.target()),
            Way::Put => command.arg(job.source).arg(remote(node::NAME, &job.target())),
        };
        command
    }

    fn scp(&self, way: Way, job: &Job, route: &Route) -> Command {
        let mut command = self.sshd.command("scp");
        command.args(["-q", "-r", "-P", &route.ssh.port().to_string()]);
        match way {
            Way::Get => command.arg(remote(ssh::NAME, job.source)).arg(job.into),
            Way::Put => command.arg(job.source).arg(remote(ssh::NAME, job.into)),
        };
        command
    }

    fn cat(&self, way: Way, job: &Job, route: &Route) -> Result<Command> {
        let mut command = self.sshd.command("ssh");
        command.args(["-p", &route.ssh.port().to_string(), ssh::NAME]);
        match way {
            Way::Get => command
                .arg(format!("cat {}", job.source.display()))
                .stdin(Stdio::null())
                .stdout(File::create(job.target())?),
            Way::Put => command
                .arg(format!("cat > {}", job.target().display()))
                .stdin(File::open(job.source)?),
        };
        Ok(command)
    }

    fn tar(&self, way: Way, job: &Job, route: &Route) -> Result<Command> {
        let parent = job.source.parent().context("what is copied lies in a directory")?;
        let pack = format!("tar -C {} -cf - {}", parent.display(), job.name().display());
        let unpack = format!("tar -C {} -xf -", job.into.display());
        let ssh = format!("{} {}", self.ssh_words(route), ssh::NAME);
        let line = match way {
            Way::Get => format!("{ssh} '{pack}' | {unpack}"),
            Way::Put => format!("{pack} | {ssh} '{unpack}'"),
        };
        let mut command = Command::new("sh");
        command.arg("-c").arg(line);
        Ok(command)
    }

    fn rsync_ssh(&self, way: Way, options: &[&str], job: &Job, route: &Route) -> Command {
        let mut command = Command::new("rsync");
        command.arg("-a").args(options).arg("-e").arg(self.ssh_words(route));
        match way {
            Way::Get => command.arg(remote(ssh::NAME, job.source)).arg(job.into),
            Way::Put => command.arg(job.source).arg(remote(ssh::NAME, job.into)),
        };
        command
    }

    fn rsync_daemon(
        &self,
        way: Way,
        options: &[&str],
        job: &Job,
        daemon: SocketAddr,
    ) -> Result<Command> {
        let address = |path: &Path| -> Result<String> {
            let path = path.strip_prefix(self.files()).context("the daemon serves only files/")?;
            Ok(format!("rsync://{daemon}/{}/{}", rsyncd::MODULE, path.display()))
        };
        let mut command = Command::new("rsync");
        command.arg("-a").args(options);
        match way {
            Way::Get => command.arg(address(job.source)?).arg(job.into),
            Way::Put => command.arg(job.source).arg(address(job.into)?),
        };
        Ok(command)
    }

    fn curl(&self, job: &Job) -> Result<Command> {
        let nginx = self.nginx.as_ref().map(Nginx::address).context("nginx is missing")?;
        let path = job.source.strip_prefix(self.files()).context("nginx serves only files/")?;
        let mut command = Command::new("curl");
        // Whose key it is costs the same whether curl minds or not; the cipher is ssh's.
        command
            .args(["-sSfk", "--http1.1", "--tls13-ciphers", "TLS_AES_128_GCM_SHA256", "-o"])
            .arg(job.target())
            .arg(format!("https://{nginx}/{}", path.display()));
        Ok(command)
    }

    fn ssh_words(&self, route: &Route) -> String {
        format!("ssh -F {} -p {}", self.sshd.config().display(), route.ssh.port())
    }
}

fn cp(job: &Job) -> Command {
    let mut command = Command::new("cp");
    command.arg("-r").args([job.source, job.into]);
    command
}

fn remote(host: &str, path: &Path) -> String {
    format!("{host}:{}", path.display())
}
