//! A node of its own, and a client that it knows: `tow serve`, `tow invite`, `tow join`.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tow_node::ask::{Client, Target};
use tow_node::hosts::Hosts;
use tow_node::identity::Identity;
use tow_node::state::{Layout, StateDir};
use tow_proto::classic::{recv_data, send_data};
use tow_proto::message::{Request, Status};

/// What the client calls the node.
pub(crate) const NAME: &str = "box";

/// A running node and its client's state; dropping it ends the node, its keeper and all sessions.
pub(crate) struct Node {
    tow: PathBuf,
    dir: PathBuf,
    address: SocketAddr,
    child: Child,
}

#[derive(Deserialize)]
struct Ready {
    listen: Vec<String>,
}

#[derive(Deserialize)]
struct Kept {
    ok: Keeper,
}

#[derive(Deserialize)]
struct Keeper {
    pid: u32,
}

#[derive(Deserialize)]
struct Token {
    token: String,
}

#[derive(Deserialize)]
struct Invited {
    code: String,
}

impl Node {
    /// Starts a node in `dir`, which is made, and lets one client join. `descriptors` is the limit
    /// of open files, soft and hard, where there is to be another than ours.
    pub(crate) fn start(tow: &Path, dir: &Path, descriptors: Option<u32>) -> Result<Self> {
        std::fs::create_dir(dir)?;
        let log = File::create(dir.join("log"))?;
        let limit = descriptors.map(|count| format!("ulimit -n {count}; ")).unwrap_or_default();
        let mut child = Command::new("sh")
            .args(["-c", &format!("{limit}exec \"$0\" \"$@\"")])
            .arg(tow)
            .args(["serve", "--listen", "127.0.0.1:0", "--json"])
            .env("TOWLINE_HOME", dir.join("node"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("tow serve")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("a pipe was asked for")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let ready: Ready = serde_json::from_str(&line)
            .with_context(|| std::fs::read_to_string(dir.join("log")).unwrap_or_default())?;
        let address = ready.listen.first().and_then(|url| url.strip_prefix("tcp://"));
        let address = address.context("tow serve does not listen")?.parse()?;
        let node = Self { tow: tow.to_owned(), dir: dir.to_owned(), address, child };
        node.join(address, NAME)?;
        Ok(node)
    }

    /// Lets the client join at `address`, and call the node `name`.
    pub(crate) fn join(&self, address: SocketAddr, name: &str) -> Result<()> {
        self.join_as(CLIENT, address, name)
    }

    /// The same for a client with a state of its own: a client knows a node by one name only.
    pub(crate) fn join_as(&self, client: &str, address: SocketAddr, name: &str) -> Result<()> {
        let invited = Command::new(&self.tow)
            .args(["invite", "--json"])
            .env("TOWLINE_HOME", self.dir.join("node"))
            .output()?;
        ensure!(invited.status.success(), "{}", String::from_utf8_lossy(&invited.stderr));
        let invited: Invited = serde_json::from_slice(&invited.stdout)?;
        let address = address.to_string();
        let joined = self
            .command_as(client)
            .args(["join", &address, &invited.code, "--name", name])
            .output()?;
        ensure!(joined.status.success(), "{}", String::from_utf8_lossy(&joined.stderr));
        Ok(())
    }

    /// An app password for everything.
    pub(crate) fn token(&self) -> Result<String> {
        let made = Command::new(&self.tow)
            .args(["invite", "--token", "--json"])
            .env("TOWLINE_HOME", self.dir.join("node"))
            .output()?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Ok(serde_json::from_slice::<Token>(&made.stdout)?.token)
    }

    /// `tow`, as the client.
    pub(crate) fn command(&self) -> Command {
        self.command_as(CLIENT)
    }

    /// `tow`, as the client of [`Self::join_as`].
    pub(crate) fn command_as(&self, client: &str) -> Command {
        let mut command = Command::new(&self.tow);
        command.env("TOWLINE_HOME", self.dir.join(client));
        command
    }

    /// The same client as a library, and the way to the node.
    pub(crate) fn client(&self) -> Result<(Client, Target)> {
        let home = self.dir.join(CLIENT);
        let layout =
            Layout { config: home.clone(), socket: home.join("node.sock"), state: home.clone() };
        let state = StateDir::open(layout)?;
        let identity = Identity::load(&state.user_key_path())?;
        let client = Client::new(&identity, "tow-bench", "bench")?;
        let hosts = Hosts::load(&state.hosts_path())?;
        let host = hosts.find(NAME).context("the client has joined")?;
        let addresses = vec![self.address.to_string().parse()?];
        Ok((client, Target { addresses, key: Some(host.key) }))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The process that keeps its sessions.
    pub(crate) fn keeper_pid(&self) -> Result<u32> {
        let mut keeper = self.ask_keeper(br#"{"ask":"hello"}"#)?;
        let reply = recv_data(&mut keeper, KEEPER_REPLY_LEN_MAX)?;
        let kept: Kept = serde_json::from_slice(&reply).context("the keeper's reply")?;
        Ok(kept.ok.pid)
    }

    fn ask_keeper(&self, ask: &[u8]) -> Result<UnixStream> {
        let mut keeper = UnixStream::connect(self.dir.join("node/keeper.1.sock"))?;
        keeper.set_read_timeout(Some(KEEPER_MAX))?;
        send_data(&mut keeper, ask)?;
        Ok(keeper)
    }

    /// How often it said that it could not accept a connection.
    pub(crate) fn accept_errors(&self) -> Result<usize> {
        let log = std::fs::read_to_string(self.dir.join("log"))?;
        Ok(log.lines().filter(|line| line.contains("could be accepted")).count())
    }
}

/// What a node says of itself.
pub(crate) async fn status(client: &Client, target: &Target) -> Result<Status> {
    let mut connection = client.connect(target).await?;
    let status = connection.ask(&Request::Status).await?;
    connection.close().await;
    Ok(status)
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id())
            && let Some(pid) = Pid::from_raw(pid)
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.child.wait();
        // It may have gone with its last session. Its connection ends when all of them have.
        if let Ok(mut keeper) = self.ask_keeper(br#"{"ask":"quit","running":"end"}"#) {
            let _ = keeper.read_to_end(&mut Vec::new());
        }
    }
}

/// The client's state, beside the node's.
const CLIENT: &str = "client";
const KEEPER_REPLY_LEN_MAX: u64 = 4096;
/// Longest wait for a keeper: programs that don't want to end have some time.
const KEEPER_MAX: Duration = Duration::from_secs(20);
