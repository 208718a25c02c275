//! Machines that live as long as a test: a state directory, a working directory, perhaps a node.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::command::Tow;
use crate::proxy::Proxy;
use crate::temp::TempDir;
use crate::wait::{INTERVAL, PATIENCE};

/// A machine: `TOWLINE_HOME` and the working directory, which is its user's home, are its own. The
/// programs that its node has started, which may outlive the node, end when it is dropped.
#[derive(Debug)]
pub struct Machine {
    tow: PathBuf,
    dir: TempDir,
}

/// A node that serves a machine. It is stopped when dropped.
#[derive(Debug)]
pub struct Node {
    child: Child,
    /// Where it listens, as it says.
    pub listen: Vec<String>,
    log: PathBuf,
}

/// A node's machine and a client's, which has joined it as `box`.
#[derive(Debug)]
pub struct Pair {
    /// The node of `host`.
    pub node: Node,
    /// What the client's connections go through.
    pub proxy: Proxy,
    /// The machine that is served.
    pub host: Machine,
    /// The machine that asks.
    pub client: Machine,
}

impl Machine {
    /// A machine on which `tow` is this program: `env!("CARGO_BIN_EXE_tow")`.
    ///
    /// # Panics
    /// Its directories can't be made.
    pub fn new(tow: &str) -> Self {
        let dir = TempDir::new();
        fs::create_dir(dir.join("work")).expect("a new directory is writable");
        Self { tow: tow.into(), dir }
    }

    /// Its `TOWLINE_HOME`; made by the first command.
    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// Its working directory.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// A path in its working directory.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.work().join(name)
    }

    /// Writes a file in its working directory.
    ///
    /// # Panics
    /// It can't be written.
    #[track_caller]
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        let written = made.and_then(|()| fs::write(&path, content));
        assert!(written.is_ok(), "{}: {written:?}", path.display());
        path
    }

    /// `tow` with these arguments.
    pub fn tow(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Tow {
        let mut command = self.command(&self.tow);
        command.args(args);
        Tow::new(command)
    }

    /// A line for `sh`, in which `$TOW` is the program.
    pub fn sh(&self, line: &str) -> Tow {
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", line]);
        Tow::new(command)
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("TOWLINE_HOME", self.home())
            .env("HOME", self.work())
            .env("TOW", &self.tow)
            .env_remove("TOWLINE_LOG")
            .env_remove("XDG_RUNTIME_DIR")
            .current_dir(self.work());
        command
    }

    /// Starts a node on a loopback port, with more arguments if there are any.
    #[track_caller]
    pub fn serve(&self, args: &[&str]) -> Node {
        let mut command = self.command(&self.tow);
        command.args(["serve", "--listen", "127.0.0.1:0", "--json"]).args(args);
        self.start(command)
    }

    /// The same with `descriptors` open files at most.
    #[track_caller]
    pub fn serve_with_descriptors(&self, descriptors: u32) -> Node {
        self.serve_by(&format!("ulimit -n {descriptors}; exec"))
    }

    /// The same, by what a shell does with the line `by` and the command after it. It must become
    /// the node itself: `exec …`.
    #[track_caller]
    pub fn serve_by(&self, by: &str) -> Node {
        let line = format!("{by} \"$TOW\" serve --listen 127.0.0.1:0 --json");
        let mut command = self.command(Path::new("/bin/sh"));
        command.args(["-c", &line]);
        self.start(command)
    }

    /// Starts a node that listens where `listen` says and nowhere else.
    #[track_caller]
    pub fn serve_at(&self, listen: &[&str]) -> Node {
        let mut command = self.command(&self.tow);
        command.args(["serve", "--json"]);
        for address in listen {
            command.args(["--listen", address]);
        }
        self.start(command)
    }

    #[track_caller]
    fn start(&self, mut command: Command) -> Node {
        let log = self.dir.join("node.log");
        let stderr = File::options().create(true).append(true).open(&log);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(stderr.expect("a new directory is writable"));
        let mut child = command.spawn().expect("tow can be started");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, ready) = sync_channel(1);
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let _ = sender.send(lines.next());
            // It goes on reading, so that the node never waits for its reader.
            lines.for_each(drop);
        });
        let mut node = Node { child, listen: Vec::new(), log };
        let line = match ready.recv_timeout(PATIENCE) {
            Ok(Some(line)) => line,
            Ok(None) | Err(RecvTimeoutError::Disconnected) => panic!("no node: {}", node.log()),
            Err(RecvTimeoutError::Timeout) => panic!("the node is not ready: {}", node.log()),
        };
        let ready: Value = serde_json::from_str(&line).expect("the first line is JSON");
        assert_eq!(ready["event"], "ready", "{line}");
        let listen = ready["listen"].as_array().expect("the addresses are a list");
        node.listen = listen.iter().filter_map(|url| url.as_str().map(str::to_owned)).collect();
        node
    }

    /// A new invitation: its JSON.
    #[track_caller]
    pub fn invite(&self, args: &[&str]) -> Value {
        self.tow(["invite", "--json"]).args(args).run().ok().last_json()
    }

    /// The code of a new invitation.
    #[track_caller]
    pub fn code(&self, args: &[&str]) -> String {
        self.invite(args)["code"].as_str().expect("an invitation has a code").to_owned()
    }

    /// Ends the process that keeps the sessions of its node, and the sessions, and returns when it
    /// is gone; at once where there is none.
    pub fn end_keeper(&self) {
        let ask = br#"{"ask":"quit","running":"end"}"#;
        if let Some(mut keeper) = self.ask_keeper(ask) {
            // It closes last of all.
            let _ = keeper.read_to_end(&mut Vec::new());
        }
    }

    /// The process that keeps the sessions of its node, if there is one.
    pub fn keeper_pid(&self) -> Option<u32> {
        let mut keeper = self.ask_keeper(br#"{"ask":"hello"}"#)?;
        let mut prefix = [0; 8];
        keeper.read_exact(&mut prefix).ok()?;
        let mut head = vec![0; usize::try_from(u64::from_le_bytes(prefix)).ok()?];
        keeper.read_exact(&mut head).ok()?;
        let reply: Value = serde_json::from_slice(&head).expect("a head is JSON");
        u32::try_from(reply["ok"]["pid"].as_u64()?).ok()
    }

    fn ask_keeper(&self, ask: &[u8]) -> Option<UnixStream> {
        let mut keeper = UnixStream::connect(self.home().join("keeper.1.sock")).ok()?;
        keeper.set_read_timeout(Some(PATIENCE)).ok()?;
        keeper.write_all(&(ask.len() as u64).to_le_bytes()).ok()?;
        keeper.write_all(ask).ok()?;
        Some(keeper)
    }

    /// What the audit log of its node says.
    #[track_caller]
    pub fn audit(&self) -> Vec<Value> {
        self.tow(["audit", "--json"]).run().ok().json()
    }

    /// What `tow doctor` says of its node.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.tow(["doctor", "--json"]).run().last_json()["status"].clone()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.end_keeper();
    }
}

impl Node {
    /// Its first TCP address.
    ///
    /// # Panics
    /// It has none.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        let tcp = self.listen.iter().find_map(|url| url.strip_prefix("tcp://")?.parse().ok());
        tcp.unwrap_or_else(|| panic!("no TCP address: {:?}", self.listen))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stderr, and those before it on the same machine.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it in order, and gives its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.end()
    }

    fn end(&mut self) -> Option<i32> {
        if let Ok(Some(status)) = self.child.try_wait() {
            return status.code();
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return status.code();
            }
            thread::sleep(INTERVAL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }
}

impl Drop for Node {
    /// In order. The programs that it started may go on; they end with the machine.
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl Pair {
    /// A client with all rights.
    #[track_caller]
    pub fn new(tow: &str) -> Self {
        Self::invited(tow, &[])
    }

    /// A client that was invited with these arguments.
    #[track_caller]
    pub fn invited(tow: &str, invite: &[&str]) -> Self {
        let host = Machine::new(tow);
        let node = host.serve(&[]);
        let proxy = Proxy::to(node.address());
        let pair = Self { node, proxy, client: Machine::new(tow), host };
        pair.join(&pair.client, invite);
        pair
    }

    /// Lets one more machine join, as `box`.
    #[track_caller]
    pub fn join(&self, machine: &Machine, invite: &[&str]) {
        let code = self.host.code(invite);
        let address = self.proxy.address().to_string();
        let _ = machine.tow(["join", &address, &code, "--name", "box"]).run().ok();
    }

    /// `tow run box` with these arguments.
    pub fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Tow {
        self.client.tow(["run", "box"]).args(args)
    }

    /// `box:` and the real path of a name in the host's working directory.
    pub fn remote(&self, name: impl AsRef<Path>) -> std::ffi::OsString {
        let mut remote = std::ffi::OsString::from("box:");
        remote.push(self.host.file(name));
        remote
    }

    /// Starts the node again after its end; the proxy leads to it.
    #[track_caller]
    pub fn serve_again(&mut self) {
        let _ = self.node.end();
        self.node = self.host.serve(&[]);
        self.proxy.point_to(self.node.address());
    }

    /// The same, as [`Machine::serve_by`] does.
    #[track_caller]
    pub fn serve_again_by(&mut self, by: &str) {
        let _ = self.node.end();
        self.node = self.host.serve_by(by);
        self.proxy.point_to(self.node.address());
    }
}
