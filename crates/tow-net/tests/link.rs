//! What a peer can do to a link by what it sends, does not read, or leaves out.

#![allow(clippy::unwrap_used)] // Clippy knows tests by their attribute, not by their directory.

use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::task::Poll;

use tow_net::Link;
use tow_proto::{Kind, frame};

/// A proved link and the bare socket at its other end; within a runtime.
fn pair() -> (Link, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut link = Link::from_unix(tokio::net::UnixStream::from_std(ours).unwrap());
    link.prove();
    (link, theirs)
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
    poll_fn(|context| Poll::Ready(drop(take.as_mut().poll(context)))).await;
    events.get()
}

#[tokio::test]
async fn a_burst_of_frames_does_not_hold_a_thread() {
    for kind in [Kind::Credit, Kind::Head, Kind::Data] {
        let events = events_in_one_turn(kind).await;
        assert!((1..1_000).contains(&events), "{events} events of {kind:?} in one turn");
    }
}
