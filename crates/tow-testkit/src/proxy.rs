//! A TCP proxy that can cut: after so many bytes of a direction, by reset, by end or by silence.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the node.
    Up,
    /// From the node to the client.
    Down,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// With an RST to both.
    Reset,
    /// With a FIN to both.
    Fin,
    /// Not at all: what comes is taken and forwarded no more.
    Silence,
    /// Not at all: nothing is taken, so that the sender waits, until [`Proxy::release`].
    Stall,
}

/// When and how to cut a connection.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// The direction whose bytes are counted.
    pub direction: Direction,
    /// So many bytes are still forwarded.
    pub after: u64,
    /// How.
    pub how: How,
}

/// Listens on loopback and forwards to a node.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    stopped: AtomicBool,
}

#[derive(Debug)]
struct State {
    target: SocketAddr,
    cuts: VecDeque<Cut>,
    /// So many first bytes upward are sent in a segment each.
    split: u64,
    connections: Vec<Arc<Connection>>,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    node: TcpStream,
    cut: Option<Cut>,
    split: u64,
    up: AtomicU64,
    down: AtomicU64,
    is_silent: AtomicBool,
    is_stalled: Mutex<bool>,
    released: Condvar,
}

impl Proxy {
    /// A proxy in front of `target`.
    ///
    /// # Panics
    /// It can't listen.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let state = State { target, cuts: VecDeque::new(), split: 0, connections: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), stopped: AtomicBool::new(false) });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if accepting.stopped.load(Ordering::SeqCst) {
                    return;
                }
                accepting.connect(client);
            }
        });
        Self { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections go to another node from now on.
    pub fn point_to(&self, target: SocketAddr) {
        self.shared.state().target = target;
    }

    /// Cuts a connection that is to come: the next one that no cut is meant for yet.
    pub fn cut(&self, cut: Cut) {
        self.shared.state().cuts.push_back(cut);
    }

    /// Sends the first `count` bytes upward of each new connection in a segment each.
    pub fn split(&self, count: u64) {
        self.shared.state().split = count;
    }

    /// Cuts every connection that is open now.
    pub fn cut_now(&self, how: How) {
        for connection in &self.shared.state().connections {
            connection.end(how);
        }
    }

    /// Connections that are stalled go on.
    pub fn release(&self) {
        self.shared.state().connections.iter().for_each(|connection| connection.release());
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.shared.state().connections.len()
    }

    /// Bytes that all connections carried in a direction.
    pub fn carried(&self, direction: Direction) -> u64 {
        let state = self.shared.state();
        state.connections.iter().map(|one| one.count(direction).load(Ordering::SeqCst)).sum()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.cut_now(How::Reset);
        self.release();
        // The accepting thread looks at the mark when somebody calls.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self, client: TcpStream) {
        let mut state = self.state();
        // A node that is not there is what the client should see too.
        let Ok(node) = TcpStream::connect(state.target) else { return };
        let _ = client.set_nodelay(true);
        let _ = node.set_nodelay(true);
        let connection = Arc::new(Connection {
            client,
            node,
            cut: state.cuts.pop_front(),
            split: state.split,
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            is_silent: AtomicBool::new(false),
            is_stalled: Mutex::new(false),
            released: Condvar::new(),
        });
        state.connections.push(Arc::clone(&connection));
        for direction in [Direction::Up, Direction::Down] {
            let connection = Arc::clone(&connection);
            thread::spawn(move || connection.carry(direction));
        }
    }
}

impl Connection {
    fn count(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    fn carry(&self, direction: Direction) {
        let (mut from, to) = match direction {
            Direction::Up => (&self.client, &self.node),
            Direction::Down => (&self.node, &self.client),
        };
        let mut cut = self.cut.filter(|cut| cut.direction == direction);
        let mut buffer = vec![0; 64 << 10];
        loop {
            self.wait_for_release();
            let Ok(len @ 1..) = from.read(&mut buffer) else {
                let _ = to.shutdown(Shutdown::Write);
                return;
            };
            let carried = self.count(direction).load(Ordering::SeqCst);
            let left = cut.map_or(u64::MAX, |cut| cut.after - carried);
            let (now, later) =
                buffer[..len].split_at(usize::try_from(left).unwrap_or(usize::MAX).min(len));
            self.forward(direction, to, now);
            if now.len() as u64 == left
                && let Some(cut) = cut.take()
            {
                self.end(cut.how);
                self.wait_for_release();
                self.forward(direction, to, later);
            }
        }
    }

    fn forward(&self, direction: Direction, mut to: &TcpStream, bytes: &[u8]) {
        if self.is_silent.load(Ordering::SeqCst) {
            return;
        }
        let alone = match direction {
            Direction::Up => self.split.saturating_sub(self.up.load(Ordering::SeqCst)),
            Direction::Down => 0,
        };
        let (alone, together) =
            bytes.split_at(usize::try_from(alone).unwrap_or(usize::MAX).min(bytes.len()));
        // Who does not read any more has closed, and is not read from either.
        let _ = alone.chunks(1).try_for_each(|byte| to.write_all(byte));
        let _ = to.write_all(together);
        self.count(direction).fetch_add(bytes.len() as u64, Ordering::SeqCst);
    }

    fn wait_for_release(&self) {
        let mut stalled = self.stalled();
        while *stalled {
            stalled = self.released.wait(stalled).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn release(&self) {
        *self.stalled() = false;
        self.released.notify_all();
    }

    fn stalled(&self) -> MutexGuard<'_, bool> {
        self.is_stalled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, how: How) {
        match how {
            How::Silence => self.is_silent.store(true, Ordering::SeqCst),
            How::Stall => *self.stalled() = true,
            How::Fin => {
                self.is_silent.store(true, Ordering::SeqCst);
                let _ = self.client.shutdown(Shutdown::Write);
                let _ = self.node.shutdown(Shutdown::Write);
            }
            How::Reset => {
                self.is_silent.store(true, Ordering::SeqCst);
                for socket in [&self.client, &self.node] {
                    // Closing with no time to linger is a reset; connecting a socket to nothing
                    // (AF_UNSPEC) is the same for one that other threads still hold.
                    let _ = set_socket_linger(socket, Some(Duration::ZERO));
                    let _ = rustix::net::connect_unspec(socket);
                }
            }
        }
    }
}
