//! The attackers: this program once more, in a process of its own, because a process has only so
//! many descriptors.

use std::cell::Cell;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

/// Connections that are held or being made at any time.
pub(crate) const ATTACKERS: usize = 10_000;
/// Addresses that they come from, in turn.
pub(crate) const SOURCES: u32 = 20_000;

/// What an attacker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Nothing.
    Silent,
    /// The first half of a ClientHello.
    Half,
    /// A byte of it every two seconds.
    Drip,
}

/// Attackers at work; dropping this ends them.
pub(crate) struct Attack {
    child: Child,
}

impl Attack {
    /// Sends the attackers, and waits until most of them have connected.
    pub(crate) fn start(target: SocketAddr, mode: Mode) -> Result<Self> {
        let mode = mode.to_possible_value().context("every mode has a name")?;
        let child = Command::new(std::env::current_exe()?)
            .args(["--attack", &target.to_string(), "--mode", mode.get_name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut attack = Self { child };
        let stdout = attack.child.stdout.take().context("a pipe was asked for")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line == READY, "the attackers said: {line}");
        Ok(attack)
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        // They end with their stdin.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Attacks `target` until stdin ends.
pub(crate) fn run(target: SocketAddr, mode: Mode) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let (tried, connected) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        for _ in 0..ATTACKERS {
            let (tried, connected) = (tried.clone(), connected.clone());
            tokio::task::spawn_local(attacker(target, mode, tried, connected));
        }
        let most = async {
            while connected.get() < ATTACKERS {
                sleep(Duration::from_millis(10)).await;
            }
        };
        // Where connecting is slow, that is part of the siege.
        let _ = timeout(READY_MAX, most).await;
        print!("{READY}");
        std::io::Write::flush(&mut std::io::stdout())?;
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
        let _ = timeout(LASTS_MAX, end).await;
        Ok::<(), anyhow::Error>(())
    })?;
    runtime.shutdown_background();
    Ok(())
}

/// Connects, attacks, and does it again when it is dropped.
async fn attacker(
    target: SocketAddr,
    mode: Mode,
    tried: Rc<Cell<u32>>,
    connected: Rc<Cell<usize>>,
) {
    loop {
        // Counted before it is waited for: no two at once come from one address.
        let number = tried.replace(tried.get().wrapping_add(1));
        match connect(target, number).await {
            Ok(stream) => {
                connected.set(connected.get() + 1);
                hold(stream, mode).await;
            }
            Err(_) => sleep(CONNECT_PAUSE).await,
        }
    }
}

async fn connect(target: SocketAddr, number: u32) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(source(number), 0))?;
    socket.connect(target).await
}

/// One of [`SOURCES`] addresses of the loopback network.
fn source(number: u32) -> IpAddr {
    let host = number % SOURCES + (64 << 16);
    Ipv4Addr::from_bits((127 << 24) | host).into()
}

/// Until the other side has had enough.
async fn hold(mut stream: TcpStream, mode: Mode) {
    let hello = client_hello();
    let half = &hello[..hello.len() / 2];
    match mode {
        Mode::Silent => {}
        Mode::Half => {
            let _ = stream.write_all(half).await;
        }
        Mode::Drip => {
            for byte in half {
                if stream.write_all(&[*byte]).await.is_err() {
                    return;
                }
                if timeout(DRIP_PAUSE, stream.read(&mut [0; 16])).await.is_ok() {
                    return;
                }
            }
        }
    }
    let _ = stream.read(&mut [0; 16]).await;
}

/// A record with the start of a ClientHello that would be of its usual length with the post-quantum
/// key exchange.
fn client_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 5, 0xa0, 1, 0, 5, 0x9c, 3, 3];
    hello.resize(5 + 0x5a0, 0x5a);
    hello
}

const READY: &str = "ready\n";
const READY_MAX: Duration = Duration::from_secs(5);
/// Should whoever started them forget them.
const LASTS_MAX: Duration = Duration::from_secs(180);
const DRIP_PAUSE: Duration = Duration::from_secs(2);
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
