//! Peers that connect and never prove themselves: they are bounded, they end, and they keep nobody
//! out.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use tow_testkit::{Machine, Node, connect_from, until};

const TOW: &str = env!("CARGO_BIN_EXE_tow");
/// Open files that the node may have; fewer than there are attackers.
const DESCRIPTORS: u32 = 400;
const ATTACKERS: u32 = 450;

/// The start of a ClientHello: a record and a message that promise more.
const PARTIAL: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// A node with few descriptors, and a client that has joined it.
fn machines() -> (Node, Machine, Machine) {
    let (host, client) = (Machine::new(TOW), Machine::new(TOW));
    let node = host.serve_with_descriptors(DESCRIPTORS);
    let code = host.code(&[]);
    let _ = client.tow(["join", &node.address().to_string(), &code, "--name", "box"]).run().ok();
    (node, host, client)
}

/// Connections that send nothing, a part of a ClientHello, or a byte of one now and then.
struct Siege {
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Siege {
    /// Attackers from many addresses, each of which connects again when it is dropped.
    fn of(to: SocketAddr) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let threads = (0..THREADS)
            .map(|thread| {
                let stopped = Arc::clone(&stopped);
                thread::spawn(move || besiege(thread, to, &stopped))
            })
            .collect();
        Self { stopped, threads }
    }
}

impl Drop for Siege {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

const THREADS: u32 = 3;
/// New connections of a thread in 50 ms: together they fill the budget several times a second.
const NEW_EACH_TICK: u32 = 6;

/// One kind of attacker for each thread: silent, partial, drip.
fn besiege(kind: u32, to: SocketAddr, stopped: &AtomicBool) {
    let mut attackers: Vec<Option<TcpStream>> = (0..ATTACKERS / THREADS).map(|_| None).collect();
    let mut tick = 0usize;
    while !stopped.load(Ordering::SeqCst) {
        let mut new = 0;
        for (index, attacker) in attackers.iter_mut().enumerate() {
            let number = kind * 1_000 + u32::try_from(index).unwrap();
            match attacker {
                None if new < NEW_EACH_TICK => {
                    new += 1;
                    *attacker = connect(number, to, kind);
                }
                Some(stream) if is_closed(stream) => *attacker = None,
                Some(stream) if kind == 2 => {
                    let byte = PARTIAL.get(tick).copied().unwrap_or(0);
                    let _ = stream.write(&[byte]);
                }
                None | Some(_) => {}
            }
        }
        tick += 1;
        // The pace of the attack.
        thread::sleep(Duration::from_millis(50));
    }
}

fn connect(number: u32, to: SocketAddr, kind: u32) -> Option<TcpStream> {
    let mut stream = connect_from(source(number), to).ok()?;
    stream.set_nonblocking(true).ok()?;
    if kind == 1 {
        stream.write_all(PARTIAL).ok()?;
    }
    Some(stream)
}

/// An address of its own for each attacker.
fn source(number: u32) -> IpAddr {
    let [_, _, high, low] = number.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 66, high, low))
}

fn is_closed(mut stream: &TcpStream) -> bool {
    !matches!(stream.read(&mut [0; 64]), Ok(1..))
        && !matches!(stream.read(&mut [0; 64]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn links(host: &Machine) -> Value {
    host.status()["links"].clone()
}

fn count(links: &Value, name: &str) -> u64 {
    links[name].as_u64().unwrap()
}

#[test]
fn a_siege_keeps_nobody_out_and_cuts_nobody_off() {
    let (node, host, client) = machines();
    let mut idle = client.tow(["run", "box", "cat"]).start();
    idle.write(b"before\n");
    assert_eq!(idle.line(0), "before");

    let siege = Siege::of(node.address());
    until("the budget is full", || count(&links(&host), "dropped_full") > 100);
    for number in 0..10 {
        let word = number.to_string();
        let done = client.tow(["run", "box", "echo", &word]).run().ok();
        assert_eq!(done.out(), format!("{word}\n"));
        assert!(done.took < Duration::from_secs(20), "{done}");
    }
    let during = links(&host);
    assert!(count(&during, "half_open") <= count(&during, "half_open_max"), "{during}");
    assert!(count(&during, "half_open_max") < u64::from(DESCRIPTORS) / 2, "{during}");

    idle.write(b"during\n");
    assert_eq!(idle.line(1), "during");
    drop(siege);
    until("they are all gone", || count(&links(&host), "half_open") == 0);
    idle.write(b"after\n");
    assert_eq!(idle.line(2), "after");
    idle.close_stdin();
    let _ = idle.wait().ok();
    assert!(!node.log().contains("Too many open files"), "{}", node.log());
    assert!(!node.log().contains("panicked"), "{}", node.log());
}

#[test]
fn whoever_proves_nothing_is_closed_by_the_deadline() {
    let (node, host, _client) = machines();
    let started = Instant::now();
    let silent = connect(1, node.address(), 0).unwrap();
    let partial = connect(2, node.address(), 1).unwrap();
    let mut drip = connect(3, node.address(), 2).unwrap();
    let mut bytes = PARTIAL.iter().chain(std::iter::repeat(&0));
    let mut open = [true; 3];
    until("all are closed", || {
        // Each byte would start a deadline per read again.
        let _ = drip.write(&[*bytes.next().unwrap()]);
        for (is_open, stream) in open.iter_mut().zip([&silent, &partial, &drip]) {
            *is_open = *is_open && !is_closed(stream);
        }
        open == [false; 3]
    });
    let took = started.elapsed();
    assert!(took > Duration::from_secs(2), "{took:?} is no time to answer in");
    assert!(took < Duration::from_secs(30), "{took:?}");
    until("they are counted no more", || count(&links(&host), "half_open") == 0);
}

#[test]
fn one_address_has_no_more_than_its_share() {
    let (node, host, client) = machines();
    // From the address that the client has, too.
    let crowd: Vec<_> = (0..100)
        .map(|_| connect_from(IpAddr::V4(Ipv4Addr::LOCALHOST), node.address()).unwrap())
        .collect();
    until("all were accepted", || count(&links(&host), "accepted") >= 100);
    assert!(count(&links(&host), "half_open") <= 64);
    let _ = client.tow(["run", "box", "true"]).run().ok();
    drop(crowd);
}
