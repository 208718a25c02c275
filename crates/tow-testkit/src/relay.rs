//! A TCP relay that takes its time: a link of any length and rate, on loopback.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Listens on loopback and forwards every byte, in order and so much later. Dropping it takes no more
/// connections; those that there are go on.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    is_stopped: Arc<AtomicBool>,
}

/// Bytes, and when the other side may have them.
type Portion = (Instant, Vec<u8>);

impl Relay {
    /// A relay to `target` that holds bytes back for `each_way`: half of the round trip. It carries
    /// any rate.
    ///
    /// # Panics
    /// It can't listen.
    pub fn to(target: SocketAddr, each_way: Duration) -> Self {
        Self::start(target, each_way, None)
    }

    /// The same, over a link that carries `bytes_per_sec` in each direction, all connections
    /// together. What the link has no room for yet is not taken, so the sender notices.
    ///
    /// # Panics
    /// It can't listen, or the rate is zero.
    pub fn slow(target: SocketAddr, each_way: Duration, bytes_per_sec: u64) -> Self {
        assert!(bytes_per_sec > 0, "nothing ever passes a link without a rate");
        Self::start(target, each_way, Some(bytes_per_sec))
    }

    fn start(target: SocketAddr, each_way: Duration, bytes_per_sec: Option<u64>) -> Self {
        let lanes = [Lane::new(each_way, bytes_per_sec), Lane::new(each_way, bytes_per_sec)];
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&is_stopped);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                connect(client, target, &lanes);
            }
        });
        Self { address, is_stopped }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_stopped.store(true, Ordering::SeqCst);
        // The accepting thread looks at the mark when somebody calls.
        let _ = TcpStream::connect(self.address);
    }
}

/// A direction, which all connections share.
#[derive(Clone, Debug)]
struct Lane {
    each_way: Duration,
    bytes_per_sec: Option<u64>,
    /// When the last byte that it took will have entered it.
    busy_until: Arc<Mutex<Instant>>,
}

impl Lane {
    fn new(each_way: Duration, bytes_per_sec: Option<u64>) -> Self {
        Self { each_way, bytes_per_sec, busy_until: Arc::new(Mutex::new(Instant::now())) }
    }

    /// Waits until `len` bytes have entered the lane, and says when they will leave it.
    fn pass(&self, len: usize) -> Instant {
        let now = Instant::now();
        let Some(rate) = self.bytes_per_sec else { return now + self.each_way };
        let entered = {
            let mut busy_until = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
            let start = (*busy_until).max(now);
            *busy_until = start + Duration::from_secs_f64(len as f64 / rate as f64);
            *busy_until
        };
        thread::sleep(entered.saturating_duration_since(now));
        entered + self.each_way
    }
}

fn connect(client: TcpStream, target: SocketAddr, lanes: &[Lane; 2]) {
    // Who is not there, or has gone, is what the client should see too.
    let Ok(node) = TcpStream::connect(target) else { return };
    let _ = client.set_nodelay(true);
    let _ = node.set_nodelay(true);
    let (Ok(client_reader), Ok(node_reader)) = (client.try_clone(), node.try_clone()) else {
        return;
    };
    let [up, down] = lanes.clone();
    for (from, to, lane) in [(client_reader, node, up), (node_reader, client, down)] {
        let (sender, receiver) = sync_channel(PORTIONS_MAX);
        thread::spawn(move || take(from, &lane, &sender));
        thread::spawn(move || give(to, &receiver));
    }
}

fn take(mut from: TcpStream, lane: &Lane, sender: &SyncSender<Portion>) {
    let mut buffer = vec![0; PORTION_LEN_MAX];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let due = lane.pass(len);
        if sender.send((due, buffer[..len].to_vec())).is_err() {
            return;
        }
    }
}

fn give(mut to: TcpStream, receiver: &Receiver<Portion>) {
    for (due, bytes) in receiver {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            // Nothing is read any more for a side that has gone.
            let _ = to.shutdown(Shutdown::Both);
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Bytes that are taken at once.
const PORTION_LEN_MAX: usize = 64 << 10;
/// Portions that may be under way in a direction.
const PORTIONS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const EACH_WAY: Duration = Duration::from_millis(30);

    fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// A connection through a relay, both of its ends.
    fn pair(relay: &Relay, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(relay.address()).unwrap();
        let (node, _) = listener.accept().unwrap();
        (client, node)
    }

    #[test]
    fn every_byte_comes_in_order_and_none_comes_early() {
        let (listener, address) = listen();
        let relay = Relay::to(address, EACH_WAY);
        let (mut client, mut node) = pair(&relay, &listener);
        let sent: Vec<u8> =
            (0..1 << 20).map(|place: u32| (place >> 8) as u8 ^ place as u8).collect();
        let started = Instant::now();
        let expected = sent.clone();
        let writer = thread::spawn(move || {
            client.write_all(&sent).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut reply = Vec::new();
            client.read_to_end(&mut reply).unwrap();
            (started.elapsed(), reply)
        });
        let mut first = [0];
        node.read_exact(&mut first).unwrap();
        assert!(started.elapsed() >= EACH_WAY);
        let mut rest = Vec::new();
        node.read_to_end(&mut rest).unwrap();
        assert!([&first[..], &rest].concat() == expected);
        node.write_all(b"back").unwrap();
        drop(node);
        let (took, reply) = writer.join().unwrap();
        assert_eq!(reply, b"back");
        assert!(took >= 2 * EACH_WAY, "{took:?}");
    }

    #[test]
    fn connections_share_the_rate_of_a_slow_link() {
        const LEN: usize = 256 << 10;
        let (listener, address) = listen();
        let relay = Relay::slow(address, Duration::ZERO, 4 << 20);
        let started = Instant::now();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (mut client, mut node) = pair(&relay, &listener);
                thread::spawn(move || {
                    client.write_all(&vec![7; LEN]).unwrap();
                    client.shutdown(Shutdown::Write).unwrap();
                });
                thread::spawn(move || {
                    let mut got = Vec::new();
                    node.read_to_end(&mut got).unwrap();
                    got.len()
                })
            })
            .collect();
        let got: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert_eq!(got, 2 * LEN);
        assert!(started.elapsed() >= Duration::from_millis(125), "{:?}", started.elapsed());
    }
}
