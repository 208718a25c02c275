//! A session goes on after its link was lost, wherever that happened: nothing is missing and nothing
//! comes twice (PROTOCOL 7.5).

#![allow(clippy::unwrap_used)] // Clippy knows tests by their attribute, not by their directory.

#[allow(dead_code, reason = "every test binary uses its own part")]
mod fake_node;

use std::time::{Duration, Instant};

use fake_node::{FakeNode, Seen, Talk, attached, both, follow, program, record, total};
use tokio::sync::Notify;
use tokio::time::timeout;
use tow_node::ask::AskError;
use tow_node::ask::session::{Output, Patience, Remote};
use tow_proto::message::{
    Attach, Attached, Credit, End, RunEvent, RunReply, STDERR, STDOUT, StdinState, StreamTotal,
    Upward, View, Window,
};
use tow_proto::{Code, Kind, json};

#[tokio::test]
async fn a_link_lost_before_the_reply_asks_again_with_the_same_id() {
    let node = FakeNode::new();
    let client = async { follow(&mut node.start().await?).await };
    let script = async {
        let (talk, run) = node.asked_to_run().await;
        assert_eq!(run.id, "run-1");
        drop(talk);
        // And once more in the middle of the reply.
        let (talk, run) = node.asked_to_run().await;
        assert_eq!(run.id, "run-1");
        talk.cut_within(Kind::Head, b"{\"ok\":{}}", 10).await;
        let mut talk = node.run(10).await;
        talk.stdout(b"hello").await;
        talk.finish(b"hello", b"").await;
        talk.gone().await;
    };
    let (seen, ()) = both(client, script).await;
    assert_eq!(seen.unwrap().stdout, b"hello");
}

#[tokio::test]
async fn output_goes_on_at_the_first_byte_that_is_missing() {
    let node = FakeNode::new();
    let client = async { follow(&mut node.start().await?).await };
    let script = async {
        let mut talk = node.run(10).await;
        talk.stdout(b"one ").await;
        talk.send(Kind::DataErr, b"err").await;
        talk.cut_within(Kind::Data, b"two ", 10).await;
        let (mut talk, attach) = node.attach().await;
        assert_eq!((attach.view, attach.writer.as_str()), (View::Type, "run-1"));
        assert_eq!((attach.stdout_from, attach.stderr_from), (Some(4), Some(3)));
        talk.stdout(b"two ").await;
        drop(talk);
        let (mut talk, attach) = node.attach().await;
        assert_eq!((attach.stdout_from, attach.stderr_from), (Some(8), Some(3)));
        talk.stdout(b"three").await;
        talk.finish(b"one two three", b"err").await;
        talk.gone().await;
    };
    let (seen, ()) = both(client, script).await;
    let seen = seen.unwrap();
    assert_eq!((&seen.stdout[..], &seen.stderr[..]), (&b"one two three"[..], &b"err"[..]));
    let expected = ["lost", "back", "lost", "back", "stdout ended", "stderr ended", "exit"];
    assert_eq!(seen.others, expected);
}

#[tokio::test]
async fn ends_that_come_again_are_told_once() {
    let node = FakeNode::new();
    let client = async { follow(&mut node.start().await?).await };
    let script = async {
        let mut talk = node.run(10).await;
        talk.stdout(b"all").await;
        talk.end(STDOUT, b"all").await;
        drop(talk);
        let (mut talk, attach) = node.attach().await;
        assert_eq!(attach.stdout_from, Some(3));
        talk.end(STDOUT, b"all").await;
        talk.end(STDERR, b"").await;
        // The exit itself is cut off.
        let exit = br#"{"event":"exit"}"#;
        talk.cut_within(Kind::Head, exit, 12).await;
        let (mut talk, _) = node.attach().await;
        talk.finish(b"all", b"").await;
        talk.gone().await;
    };
    let (seen, ()) = both(client, script).await;
    let expected = ["stdout ended", "lost", "back", "stderr ended", "lost", "back", "exit"];
    assert_eq!(seen.unwrap().others, expected);
}

#[tokio::test]
async fn a_stream_that_was_stopped_is_not_asked_for_again_after_its_end() {
    let node = FakeNode::new();
    let client = async {
        let mut remote = node.start().await?;
        remote.stop(STDOUT);
        follow(&mut remote).await
    };
    let script = async {
        let mut talk = node.run(10).await;
        let frame = talk.next().await;
        assert_eq!(json::from_slice(&frame.payload).ok(), Some(Upward::Stop { stream: STDOUT }));
        talk.stdout(b"some").await;
        talk.end(STDOUT, b"some and more").await;
        drop(talk);
        let (mut talk, attach) = node.attach().await;
        assert_eq!(attach.stdout_from, Some(13));
        talk.finish(b"some and more", b"").await;
        talk.gone().await;
    };
    let (seen, ()) = both(client, script).await;
    let expected = ["stdout ended", "lost", "back", "stderr ended", "exit"];
    assert_eq!(seen.unwrap().others, expected);
}

#[tokio::test]
async fn what_all_links_brought_together_is_verified() {
    let node = FakeNode::new();
    let client = async { follow(&mut node.start().await?).await };
    let script = async {
        let mut talk = node.run(10).await;
        talk.stdout(b"abc").await;
        drop(talk);
        let (mut talk, _) = node.attach().await;
        talk.stdout(b"def").await;
        talk.finish(b"abcDef", b"").await;
        talk.gone().await;
    };
    let (seen, ()) = both(client, script).await;
    assert!(matches!(seen, Err(AskError::Protocol { .. })), "{seen:?}");
}

#[tokio::test]
async fn credit_follows_what_is_consumed_over_gaps_and_links() {
    let node = FakeNode::new();
    let client = async {
        let mut remote = node.look(View::Follow).await?;
        let seen = follow(&mut remote).await?;
        remote.finish().await;
        Ok::<Seen, AskError>(seen)
    };
    let script = async {
        let (mut talk, attach) = node.attach().await;
        assert_eq!((attach.stdout_from, attach.writer.as_str()), (None, ""));
        let room = attach.room;
        talk.head(&RunEvent::Gap { stream: STDOUT, from: 0, to: 1_000_000_000 }).await;
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..room >> 20 {
            talk.stdout(&piece).await;
        }
        let mut to = 1_000_000_000 + room;
        while to < 1_000_000_000 + room * 3 / 2 {
            let frame = talk.next().await;
            assert_eq!(frame.kind, Kind::Credit);
            let credit: Credit = json::from_slice(&frame.payload).unwrap();
            assert_eq!(credit.stream, STDOUT);
            to = credit.to;
        }
        drop(talk);
        let (mut talk, attach) = node.attach().await;
        assert_eq!(attach.stdout_from, Some(1_000_000_000 + room));
        talk.stdout(b"end").await;
        // Nobody has seen the start, so the hash is not looked at; the length is.
        let (_, blake3) = total(b"what was in the gap");
        let end = End { stream: STDOUT, total: 1_000_000_003 + room, blake3 };
        talk.send(Kind::End, &json::to_vec(&end)).await;
        talk.head(&RunEvent::CaughtUp).await;
        talk.gone().await;
        room
    };
    let (seen, room) = both(client, script).await;
    let seen = seen.unwrap();
    assert_eq!(seen.stdout.len() as u64, room + 3);
    assert_eq!(seen.others, ["gap", "lost", "back", "stdout ended", "caught up"]);
}

#[tokio::test]
async fn a_consumer_that_stands_still_has_a_bounded_amount_waiting() {
    let node = FakeNode::new();
    let client = async {
        let mut remote = node.start().await?;
        let (mut waiting, mut largest, mut all, mut links) = (0, 0, 0, 0);
        loop {
            match remote.next().await? {
                Output::Bytes { bytes, .. } => {
                    waiting += bytes.len() as u64;
                    all += bytes.len() as u64;
                    largest = largest.max(waiting);
                }
                Output::LinkBack => links += 1,
                Output::Exit(_) => return Ok::<_, AskError>((largest, all)),
                _ => {}
            }
            if links == 3 {
                remote.consumed(STDOUT, std::mem::take(&mut waiting));
            }
        }
    };
    let script = async {
        let (mut talk, run) = node.asked_to_run().await;
        talk.ok(&RunReply { session: "s-1".into(), stdin: StdinState::default() }).await;
        let window = run.stdout_to;
        let half = vec![b'x'; usize::try_from(window / 2).unwrap() >> 2];
        let mut at = 0;
        for (halves, expected) in [(1, window / 2), (2, 0), (2, 0)] {
            for _ in 0..4 * halves {
                talk.stdout(&half).await;
            }
            drop(talk);
            let attach;
            (talk, attach) = node.attach().await;
            assert_eq!((attach.room, attach.stdout_from), (window, Some(expected)));
            at += window / 2;
        }
        // What waited was consumed at last.
        let frame = talk.next().await;
        let credit: Credit = json::from_slice(&frame.payload).unwrap();
        assert_eq!(credit, Credit { stream: STDOUT, to: window * 5 / 2 });
        for _ in 0..12 {
            talk.stdout(&half).await;
        }
        talk.finish(&vec![b'x'; usize::try_from(at).unwrap()], b"").await;
        talk.gone().await;
        window
    };
    let (result, window) = both(client, script).await;
    assert_eq!(result.unwrap(), (window * 3 / 2, window * 3 / 2));
}

/// Lets a client look at a session on a terminal.
async fn attach_terminal(node: &FakeNode) -> (Talk, Box<Attach>) {
    let (mut talk, attach) = node.asked_to_attach().await;
    let stdin = StdinState { from: 0, to: 100, window: 100 };
    talk.ok(&Attached { terminal: true, ..attached(&attach, stdin) }).await;
    (talk, attach)
}

#[tokio::test]
async fn a_screen_is_whole_or_is_asked_for_again_and_live_bytes_follow_it() {
    let node = FakeNode::new();
    let client = async {
        let mut remote = node.look(View::Type).await?;
        assert!(remote.is_terminal());
        assert!(matches!(remote.next().await?, Output::LinkLost { .. }));
        assert!(matches!(remote.next().await?, Output::LinkBack));
        let screen = remote.next().await?;
        let Output::Screen { rows: 24, cols: 80, bytes } = screen else { panic!("{screen:?}") };
        assert_eq!(bytes, b"drawing");
        let seen = follow(&mut remote).await?;
        remote.finish().await;
        Ok::<_, AskError>(seen)
    };
    let script = async {
        let (mut talk, _) = attach_terminal(&node).await;
        talk.head(&RunEvent::Screen { at: 5_000, rows: 24, cols: 80, bytes: 7 }).await;
        talk.stdout(b"draw").await;
        talk.cut_within(Kind::Data, b"ing", 9).await;
        let (mut talk, attach) = attach_terminal(&node).await;
        assert_eq!((attach.stdout_from, attach.room), (None, 256 << 10));
        talk.head(&RunEvent::Screen { at: 6_000, rows: 24, cols: 80, bytes: 7 }).await;
        talk.stdout(b"draw").await;
        talk.stdout(b"ing").await;
        talk.stdout(b"live").await;
        drop(talk);
        let (mut talk, attach) = attach_terminal(&node).await;
        assert_eq!(attach.stdout_from, Some(6_004));
        // Its hash is that of bytes that were never here.
        let (_, blake3) = total(b"all of it");
        talk.send(Kind::End, &json::to_vec(&End { stream: STDOUT, total: 6_004, blake3 })).await;
        talk.end(STDERR, b"").await;
        let stdout = StreamTotal { bytes: 6_004, blake3 };
        talk.head(&RunEvent::Exit(record(stdout, b""))).await;
        // Whoever could type says that there is nothing more.
        assert_eq!(talk.next().await.kind, Kind::End);
        talk.gone().await;
    };
    let (seen, ()) = both(client, script).await;
    assert_eq!(seen.unwrap().stdout, b"live");
}

#[tokio::test]
async fn a_screen_that_was_asked_for_skips_nothing_and_is_asked_for_again() {
    let node = FakeNode::new();
    let mut run = program();
    run.terminal = Some(Window { rows: 24, cols: 80, ..Window::default() });
    let client = async {
        let patience = Patience::default();
        let mut remote = Remote::start(&node.client, &node.target, run, patience).await?;
        remote.refresh();
        follow(&mut remote).await
    };
    let script = async {
        let mut talk = node.run(100).await;
        talk.stdout(b"before ").await;
        drop(talk);
        let (mut talk, _) = attach_terminal(&node).await;
        let frame = talk.next().await;
        assert_eq!(json::from_slice(&frame.payload).ok(), Some(Upward::Refresh));
        talk.head(&RunEvent::Screen { at: 7, rows: 24, cols: 80, bytes: 0 }).await;
        talk.stdout(b"after").await;
        // Every byte was seen, so the hash counts.
        talk.finish(b"before after", b"").await;
        talk.gone().await;
    };
    let (seen, ()) = both(client, script).await;
    let seen = seen.unwrap();
    assert_eq!(seen.stdout, b"before after");
    assert_eq!(seen.others[..3], ["lost", "back", "screen"]);
}

#[tokio::test]
async fn a_node_that_stops_is_waited_for_and_one_without_the_session_is_not() {
    let node = FakeNode::new();
    let client = async { follow(&mut node.start().await?).await };
    let script = async {
        let mut talk = node.run(10).await;
        talk.refuse(Code::Stopping).await;
        drop(talk);
        let (mut talk, _) = node.asked_to_attach().await;
        talk.refuse(Code::Busy).await;
        let (mut talk, _) = node.attach().await;
        talk.stdout(b"still there").await;
        drop(talk);
        let (mut talk, _) = node.asked_to_attach().await;
        talk.refuse(Code::UnknownSession).await;
        talk.gone().await;
    };
    let (seen, ()) = both(client, script).await;
    let Err(AskError::Refused(refusal)) = seen else { panic!("{seen:?}") };
    assert_eq!(refusal.code, Code::UnknownSession);
}

#[tokio::test]
async fn patience_ends_with_what_went_wrong_last() {
    let node = FakeNode::new();
    // Long enough to be refused once, on a slow machine too.
    let patience = Patience { give_up_after: Some(Duration::from_secs(3)) };
    let client = async {
        let mut remote = Remote::start(&node.client, &node.target, program(), patience).await?;
        follow(&mut remote).await
    };
    let is_over = Notify::new();
    let script = async {
        drop(node.run(10).await);
        let mut asked = 0;
        loop {
            tokio::select! {
                (mut talk, _) = node.asked_to_attach() => talk.refuse(Code::Busy).await,
                () = is_over.notified() => return asked,
            }
            asked += 1;
        }
    };
    let client = async { (client.await, is_over.notify_one()).0 };
    let (seen, asked) = both(client, script).await;
    assert!(asked >= 1, "at once, at the least");
    let Err(AskError::Refused(refusal)) = seen else { panic!("{seen:?}") };
    assert_eq!(refusal.code, Code::Busy);
    let none = Patience { give_up_after: Some(Duration::ZERO) };
    let client = async {
        let mut remote = Remote::start(&node.client, &node.target, program(), none).await?;
        follow(&mut remote).await
    };
    let (seen, ()) = both(client, async { drop(node.run(10).await) }).await;
    assert!(matches!(seen, Err(AskError::Link(_))), "{seen:?}");
}

#[tokio::test]
async fn a_machine_that_is_not_there_is_said_at_once() {
    let mut node = FakeNode::new();
    node.target.addresses = vec!["unix:/nonexistent/node.sock".parse().unwrap()];
    let started = timeout(Duration::from_secs(20), node.start()).await.expect("at once");
    assert!(matches!(started, Err(AskError::Connect(_))));
}

#[tokio::test]
async fn a_node_that_hangs_up_at_once_is_asked_more_and_more_rarely() {
    let node = FakeNode::new();
    let client = async { follow(&mut node.start().await?).await };
    let script = async {
        let mut talk = node.run(10).await;
        let start = Instant::now();
        for _ in 0..5 {
            drop(talk);
            (talk, _) = node.attach().await;
        }
        let took = start.elapsed();
        talk.finish(b"", b"").await;
        talk.gone().await;
        took
    };
    let (seen, took) = both(client, script).await;
    seen.unwrap();
    // 50 + 100 + 200 + 400 ms, at the least.
    assert!(took >= Duration::from_millis(750), "{took:?}");
}

#[tokio::test]
async fn a_wait_that_is_cancelled_loses_nothing() {
    let node = FakeNode::new();
    let client = async {
        let mut remote = node.start().await?;
        let mut seen = Seen::default();
        let mut cancelled = 0;
        loop {
            let output = tokio::select! {
                biased;
                output = remote.next() => output?,
                // Every wait that has to wait at all.
                () = std::future::ready(()) => {
                    cancelled += 1;
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            let is_over = matches!(output, Output::Exit(_));
            seen.take(output, &mut remote);
            if is_over {
                return Ok::<_, AskError>((seen, cancelled));
            }
        }
    };
    let script = async {
        let mut talk = node.run(10).await;
        let mut all = Vec::new();
        for round in 0..10_u8 {
            for _ in 0..10 {
                talk.stdout(&[round; 1_000]).await;
                all.extend_from_slice(&[round; 1_000]);
            }
            let (_, second) = (talk.cut_within(Kind::Data, b"lost", 9).await, node.attach().await);
            talk = second.0;
            assert_eq!(second.1.stdout_from, Some(all.len() as u64));
        }
        talk.finish(&all, b"").await;
        talk.gone().await;
        all
    };
    let (result, all) = both(client, script).await;
    let (seen, cancelled) = result.unwrap();
    assert!(cancelled > 10, "{cancelled}");
    assert!(seen.stdout == all);
}

#[tokio::test]
async fn who_leaves_says_so() {
    let node = FakeNode::new();
    let client = async { node.look(View::Watch).await.unwrap().leave().await };
    let script = async {
        let (mut talk, _) = node.attach().await;
        let frame = talk.next().await;
        assert_eq!(json::from_slice(&frame.payload).ok(), Some(Upward::Leave));
        talk.gone().await;
    };
    both(client, script).await;
}
