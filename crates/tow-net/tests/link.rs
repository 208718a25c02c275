//! What a peer can do to a link by what it sends, does not read, or leaves out.

#![allow(clippy::unwrap_used)] // Clippy knows tests by their attribute, not by their directory.

use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::Poll;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use tokio::time::timeout;
use tow_net::gate::{Gate, Limits};
use tow_net::listen::{Listener, Peer, listen};
use tow_net::{Address, Link, LinkError, LinkEvent, Pin, Spki, Stream, TlsKeys, connect, door};
use tow_proto::{Kind, frame};

/// A proved link and the bare socket at its other end; within a runtime.
fn pair() -> (Link, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut link = Link::from_unix(tokio::net::UnixStream::from_std(ours).unwrap()).unwrap();
    link.prove();
    (link, theirs)
}

fn keys() -> TlsKeys {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let public = <[u8; 32]>::try_from(pair.public_key().as_ref()).unwrap();
    TlsKeys::new(pkcs8.as_ref(), Spki::from_key(&public)).unwrap()
}

fn listener() -> (Listener, Address) {
    let listener = listen(&"127.0.0.1:0".parse().unwrap(), 16).unwrap();
    let address = listener.local_address().clone();
    (listener, address)
}

/// The node's side of the next connection, as far as the end of its handshake.
async fn answer(listener: &Listener) -> Option<Link> {
    let accepted = listener.accept().await.unwrap();
    let Peer::Tcp(peer) = accepted.peer else { panic!("not TCP") };
    let place = Gate::new(Limits::for_descriptors(1024)).admit(peer.ip().into());
    let Stream::Tcp(stream) = accepted.stream else { panic!("not TCP") };
    let doors = door::Doors { links: keys().acceptor(), web: None };
    match door::answer(stream, &doors, &place).await? {
        door::Entered::Link(link) => Some(*link),
        door::Entered::Web(_) => None,
    }
}

/// Both ends of a TLS link, proved: the node's and the client's.
async fn tls_pair() -> (Link, Link) {
    let (listener, address) = listener();
    let keys = keys();
    let (node, client) = tokio::join!(answer(&listener), connect(&address, &keys, Pin::Any));
    let (mut node, mut client) = (node.unwrap(), client.unwrap());
    node.prove();
    client.prove();
    (node, client)
}

/// How many frames of a burst are taken in one turn of a task.
async fn events_in_one_turn(kind: Kind) -> usize {
    let (mut link, mut socket) = pair();
    let mut bytes = Vec::new();
    for _ in 0..5_000 {
        frame::encode(kind, b"12345678", &mut bytes);
    }
    socket.write_all(&bytes).unwrap();
    // From here on the socket is known to be readable.
    assert!(link.next_event().await.is_ok());
    let events = Cell::new(0);
    let mut take = pin!(async {
        while link.next_event().await.is_ok() {
            events.set(events.get() + 1);
        }
    });
    // One poll, with the budget of one turn.
    poll_fn(|context| {
        let _ = take.as_mut().poll(context);
        Poll::Ready(())
    })
    .await;
    events.get()
}

#[tokio::test]
async fn a_burst_of_frames_does_not_hold_a_thread() {
    for kind in [Kind::Credit, Kind::Head, Kind::Data] {
        let events = events_in_one_turn(kind).await;
        assert!((1..1_000).contains(&events), "{events} events of {kind:?} in one turn");
    }
}

#[tokio::test]
async fn the_end_of_a_tls_link_is_an_end_only_where_the_peer_says_so() {
    let (mut node, client) = tls_pair().await;
    tokio::join!(client.close(), async {
        assert_eq!(node.next_event().await.unwrap(), LinkEvent::Closed);
        drop(node);
    });

    let (mut node, mut client) = tls_pair().await;
    client.send(Kind::Data, b"all of it?");
    client.flushed().await.unwrap();
    drop(client);
    assert!(matches!(node.next_event().await, Ok(LinkEvent::Frame(_))));
    let end = node.next_event().await;
    assert!(matches!(end, Err(LinkError::Cut)), "{end:?}");
}

#[tokio::test]
async fn a_client_hello_without_an_end_is_given_up_before_it_takes_room() {
    let (listener, Address::Tcp { port, .. }) = listener() else { panic!("not TCP") };
    let stranger = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        // A handshake message of type 1 that claims 65,000 bytes, in records of 4,000.
        let mut message = vec![1, 0, 0xfd, 0xe8];
        message.resize(64_000, 0);
        for part in message.chunks(4_000) {
            let record = [&[22, 3, 1, 0x0f, 0xa0][..], part].concat();
            if socket.write_all(&record).is_err() {
                return;
            }
        }
        // The last 1,000 bytes never come.
        let _ = socket.read(&mut [0; 1]);
    });
    let answered = timeout(door::ACCEPTED_MAX / 2, answer(&listener)).await;
    assert!(matches!(answered, Ok(None)), "it is waited for");
    stranger.join().unwrap();
}
