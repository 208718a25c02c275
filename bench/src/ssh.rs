//! The peer: OpenSSH's server with a configuration, keys and a port of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::wait;

/// What the client's configuration calls the server.
pub(crate) const NAME: &str = "box";

/// A running server and its client's configuration; dropping it ends the server.
pub(crate) struct Sshd {
    dir: PathBuf,
    address: SocketAddr,
    child: Child,
}

/// A connection that is kept for the commands of others; dropping it ends it.
pub(crate) struct Master {
    child: Child,
}

impl Sshd {
    /// Starts a server in `dir`, which is made.
    ///
    /// To be fair to it: no PAM, no names to look up, and a home directory without start-up files
    /// for the shell.
    pub(crate) fn start(dir: &Path) -> Result<Self> {
        ensure!(Path::new(SSHD).exists(), "{SSHD} is missing: apt-get install openssh-server");
        fs::create_dir(dir)?;
        fs::create_dir(dir.join("home"))?;
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").context("where sshd keeps its unprivileged part")?;
        }
        make_key(&dir.join("host"))?;
        make_key(&dir.join("user"))?;
        fs::copy(dir.join("user.pub"), dir.join("authorized_keys"))?;
        // sshd takes no port 0: one that is free now.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        write_configs(dir, address.port())?;
        let child = Command::new(SSHD)
            .args(["-D", "-E"])
            .arg(dir.join("log"))
            .arg("-f")
            .arg(dir.join("sshd_config"))
            .stdin(Stdio::null())
            .spawn()
            .context(SSHD)?;
        let server = Self { dir: dir.to_owned(), address, child };
        let is_up = || TcpStream::connect(address).is_ok();
        wait::until(is_up)
            .with_context(|| format!("sshd does not answer; see {}/log", dir.display()))?;
        let login = server.command("ssh").args([NAME, "true"]).output()?;
        ensure!(login.status.success(), "ssh: {}", String::from_utf8_lossy(&login.stderr));
        Ok(server)
    }

    /// `ssh` or `scp`, as the client.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-F").arg(self.config());
        command
    }

    /// The client's configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("config")
    }

    /// `ssh` over the connection of [`Self::master`].
    pub(crate) fn shared(&self) -> Command {
        let mut command = self.command("ssh");
        command.arg("-S").arg(self.dir.join("master"));
        command
    }

    /// Opens a connection for others to use.
    pub(crate) fn master(&self) -> Result<Master> {
        let child = self.shared().args(["-M", "-N", NAME]).stdin(Stdio::null()).spawn()?;
        let master = Master { child };
        wait::until(|| {
            let check = self.shared().args(["-O", "check", NAME]).stderr(Stdio::null()).status();
            check.is_ok_and(|status| status.success())
        })?;
        Ok(master)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until every connection has ended, so that all processor time is accounted for.
    pub(crate) fn settle(&self) -> Result<()> {
        wait::until_childless(self.pid())
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn make_key(path: &Path) -> Result<()> {
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(path)
        .status()
        .context("ssh-keygen")?;
    ensure!(status.success(), "ssh-keygen: {status}");
    Ok(())
}

fn write_configs(dir: &Path, port: u16) -> Result<()> {
    let shown = dir.display();
    let server = format!(
        "ListenAddress 127.0.0.1\nPort {port}\nHostKey {shown}/host\nPidFile none\n\
         AuthorizedKeysFile {shown}/authorized_keys\nStrictModes no\nUsePAM no\nUseDNS no\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
         SetEnv HOME={shown}/home\nPrintMotd no\nPrintLastLog no\n\
         Subsystem sftp /usr/lib/openssh/sftp-server\n"
    );
    fs::write(dir.join("sshd_config"), server)?;
    let client = format!(
        "Host {NAME}\nHostName 127.0.0.1\nPort {port}\nIdentityFile {shown}/user\n\
         IdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {shown}/known_hosts\n\
         StrictHostKeyChecking accept-new\nCiphers aes128-gcm@openssh.com\nLogLevel ERROR\n"
    );
    Ok(fs::write(dir.join("config"), client)?)
}

const SSHD: &str = "/usr/sbin/sshd";
