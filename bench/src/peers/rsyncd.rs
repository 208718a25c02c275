//! The peer without encryption: rsync's daemon, on loopback, for one directory.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use super::is_installed;
use crate::wait;

/// What the directory is called.
pub(super) const MODULE: &str = "files";

/// A running daemon; dropping it ends it.
pub(super) struct Rsyncd {
    address: SocketAddr,
    child: Child,
}

impl Rsyncd {
    /// Serves `files` from `dir`, which is made; says so where there is no rsync.
    pub(super) fn start(dir: &Path, files: &Path) -> Result<Option<Self>> {
        if !is_installed("rsync") {
            println!("rsync is missing and skipped: apt-get install rsync");
            return Ok(None);
        }
        fs::create_dir(dir)?;
        // It takes no port 0: one that is free now.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        // It would become nobody, who may not set owners as everybody else here does.
        let user =
            if rustix::process::geteuid().is_root() { "uid = root\ngid = root\n" } else { "" };
        let config = dir.join("config");
        let text = format!(
            "use chroot = no\nread only = no\n{user}lock file = {dir}/lock\n\
             [{MODULE}]\npath = {files}\n",
            dir = dir.display(),
            files = files.display(),
        );
        fs::write(&config, text)?;
        let child = Command::new("rsync")
            .args(["--daemon", "--no-detach", "--address=127.0.0.1"])
            .arg(format!("--port={}", address.port()))
            .arg(format!("--config={}", config.display()))
            .arg(format!("--log-file={}/log", dir.display()))
            .stdin(Stdio::null())
            .spawn()
            .context("rsync")?;
        let daemon = Self { address, child };
        wait::until(|| TcpStream::connect(address).is_ok())
            .with_context(|| format!("rsync's daemon does not answer; see {}", dir.display()))?;
        daemon.settle()?;
        Ok(Some(daemon))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it serves nobody.
    pub(super) fn settle(&self) -> Result<()> {
        wait::until_childless(self.pid())
    }
}

impl Drop for Rsyncd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
