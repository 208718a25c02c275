//! A TCP relay that takes its time: a link of any length, on loopback.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Listens on loopback and forwards every byte, in order and at any rate, so much later. Dropping it
/// takes no more connections; those that there are go on.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    is_stopped: Arc<AtomicBool>,
}

/// Bytes, and when the other side may have them.
type Portion = (Instant, Vec<u8>);

impl Relay {
    /// A relay to `target` that holds bytes back for `each_way`: half of the round trip.
    ///
    /// # Panics
    /// It can't listen.
    pub fn to(target: SocketAddr, each_way: Duration) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let is_stopped = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&is_stopped);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                connect(client, target, each_way);
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

fn connect(client: TcpStream, target: SocketAddr, each_way: Duration) {
    // Who is not there, or has gone, is what the client should see too.
    let Ok(node) = TcpStream::connect(target) else { return };
    let _ = client.set_nodelay(true);
    let _ = node.set_nodelay(true);
    let (Ok(client_reader), Ok(node_reader)) = (client.try_clone(), node.try_clone()) else {
        return;
    };
    for (from, to) in [(client_reader, node), (node_reader, client)] {
        let (sender, receiver) = sync_channel(PORTIONS_MAX);
        thread::spawn(move || take(from, each_way, &sender));
        thread::spawn(move || give(to, &receiver));
    }
}

fn take(mut from: TcpStream, each_way: Duration, sender: &SyncSender<Portion>) {
    let mut buffer = vec![0; PORTION_LEN_MAX];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let due = Instant::now() + each_way;
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

    /// A connection through a relay, with both of its ends.
    fn pair() -> (Relay, TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let relay = Relay::to(listener.local_addr().unwrap(), EACH_WAY);
        let client = TcpStream::connect(relay.address()).unwrap();
        let (node, _) = listener.accept().unwrap();
        (relay, client, node)
    }

    #[test]
    fn every_byte_comes_in_order_and_none_comes_early() {
        let (_relay, mut client, mut node) = pair();
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
}
