//! What a peer that has proved itself can't make a node hold, by not reading or by asking too much.

#![allow(clippy::unwrap_used)] // Clippy knows tests by their attribute, not by their directory.

mod node_support;

use std::time::{Duration, Instant};

use node_support::{DEADLINE, TestNode, ask, grant, next};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use tow_net::Link;
use tow_node::grant::Right;
use tow_node::identity::Identity;
use tow_proto::message::{EntryKind, FirstHead, Get, GetReply, Hello, Ls, Put, PutReply, Request};
use tow_proto::transfer::{Columns, Event, Meta, Options, PackWriter, Record};
use tow_proto::{ByteString, Code, Decoder, Kind, Trust, frame, json};

fn path(path: &std::path::Path) -> ByteString {
    path.to_str().unwrap().into()
}

/// Reads what the node has, up to the end of it.
async fn digests_end(link: &mut Link) {
    loop {
        let frame = next(link).await;
        if frame.kind != Kind::Pack {
            assert_eq!(json::from_slice::<Event>(&frame.payload).unwrap(), Event::HaveEnd);
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_reads_no_answers_is_not_listened_to_for_ever() {
    let node = TestNode::start("answers", Vec::new());
    let mut link = node.owner().await;
    let put = Put {
        path: path(&node.dir),
        kind: EntryKind::Dir,
        name: "tree".into(),
        source: "a:/b".into(),
        options: Options::default(),
    };
    let _: PutReply = ask(&mut link, &Request::Put(put)).await.unwrap();
    digests_end(&mut link).await;
    // Each fails, because its directory is missing, and the answer has its path twice.
    let missing = format!("no{}", format!("/{}", "x".repeat(250)).repeat(15));
    let mut pack = PackWriter::new(0, Columns::default());
    pack.record(&Record::Enter { path: missing.as_bytes() });
    pack.record(&Record::Link { name: b"x", meta: Meta::default(), target: b"x" });
    let pack = pack.seal(None);
    let mut sent = 0;
    while sent < 10_000 {
        (0..50).for_each(|_| link.send(Kind::Pack, &pack));
        sent += 50;
        // Not listened to any more, until somebody reads.
        if timeout(Duration::from_secs(2), link.flushed()).await.is_err() {
            break;
        }
    }
    // Of whatever number of failures, so much is told, and all are counted.
    link.send_head(&Event::Finish);
    let (mut told, mut told_len) = (0, 0);
    let summary = loop {
        let frame = next(&mut link).await;
        match json::from_slice(&frame.payload).unwrap() {
            Event::Failed(_) => {
                told += 1;
                told_len += frame.payload.len();
            }
            Event::Stored(summary) => break summary,
            other => panic!("{other:?}"),
        }
    };
    assert!(told > 0 && summary.failed >= sent, "{told} told, {summary:?}, {sent} sent");
    assert!(told_len < 40 << 20, "{told_len} bytes wait for a peer that does not read them");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_can_not_take_every_thread() {
    let device = Identity::generate().unwrap();
    let node = TestNode::start("threads", vec![grant(&device, &[Right::Read])]);
    let get = Request::Get(Get { path: path(&node.dir), options: Options::default() });
    let mut stalled = Vec::new();
    let refused = loop {
        let mut link = node.link(&device).await;
        match ask::<GetReply>(&mut link, &get).await {
            Ok(_) => stalled.push(link),
            Err(refusal) => break refusal,
        }
        assert!(stalled.len() < 40, "one key has {} transfers", stalled.len());
    };
    assert_eq!(refused.code, Code::Busy);
    assert!(refused.retry && stalled.len() >= 8, "{}", stalled.len());
    // Nobody else is held up, and a place that is left can be taken again.
    let _: GetReply = ask(&mut node.owner().await, &get).await.unwrap();
    drop(stalled.pop());
    let started = Instant::now();
    let mut link = node.link(&device).await;
    while let Err(refusal) = ask::<GetReply>(&mut link, &get).await {
        assert_eq!(refusal.code, Code::Busy);
        assert!(started.elapsed() < DEADLINE, "the place is still taken");
        sleep(Duration::from_millis(5)).await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_does_not_make_the_node_deaf() {
    let node = TestNode::start("deaf", Vec::new());
    let many = node.dir.join("many");
    std::fs::create_dir(&many).unwrap();
    for number in 0..8_000 {
        std::fs::write(many.join(format!("{number}{}", "-".repeat(240))), b"").unwrap();
    }
    // By hand: a link keeps pongs to itself.
    let mut bytes = Vec::new();
    let hello = FirstHead::Hello(Hello::new("test", "laptop"));
    frame::encode(Kind::Head, &json::to_vec(&hello), &mut bytes);
    let ls = Request::Ls(Ls { path: path(&many), itself: false });
    frame::encode(Kind::Head, &json::to_vec(&ls), &mut bytes);
    frame::encode(Kind::Ping, b"there?", &mut bytes);
    let mut socket = UnixStream::connect(node.dir.join("node.sock")).await.unwrap();
    socket.write_all(&bytes).await.unwrap();
    // The listing does not fit into the socket and what may be queued, so it can't be over yet.
    let mut decoder = Decoder::new(Trust::Proved);
    let mut kinds = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    while !kinds.contains(&Kind::End) {
        let read = timeout(DEADLINE, socket.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "the link was closed after {kinds:?}");
        let mut input = &buffer[..read];
        while let Some(frame) = decoder.read(&mut input).unwrap() {
            kinds.push(frame.kind);
        }
    }
    let place = |kind| kinds.iter().position(|one| *one == kind);
    assert!(place(Kind::Pong).is_some_and(|pong| Some(pong) < place(Kind::End)), "{kinds:?}");
    node.stop().await;
}
