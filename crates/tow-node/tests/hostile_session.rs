//! What a node may say to whoever looks at a session: nothing makes a client panic, wait for ever or
//! take more memory than its limits, and nothing that does not fit is passed on as output.

#![allow(clippy::unwrap_used)] // Clippy knows tests by their attribute, not by their directory.

#[allow(dead_code, reason = "every test binary uses its own part")]
mod fake_node;

use fake_node::{FakeNode, SESSION, Seen, Talk, attached, both, follow};
use tow_node::ask::AskError;
use tow_node::ask::session::Output;
use tow_proto::Kind;
use tow_proto::message::{Attached, RunEvent, RunReply, STDERR, STDIN, STDOUT, StdinState, View};

/// What a client makes of a session on which `script` is played after the reply.
async fn outcome(is_terminal: bool, script: impl AsyncFn(&mut Talk)) -> Result<Seen, AskError> {
    let node = FakeNode::new();
    let client = async { follow(&mut node.look(View::Follow).await?).await };
    let script = async {
        let (mut talk, attach) = node.asked_to_attach().await;
        let reply = attached(&attach, StdinState::default());
        talk.ok(&Attached { terminal: is_terminal, ..reply }).await;
        script(&mut talk).await;
        talk.gone().await;
    };
    both(client, script).await.0
}

#[track_caller]
fn is_broken(what: &str, outcome: Result<Seen, AskError>) {
    assert!(matches!(outcome, Err(AskError::Protocol { .. })), "{what}: {outcome:?}");
}

fn screen(at: u64, bytes: u64) -> RunEvent {
    RunEvent::Screen { at, rows: 24, cols: 80, bytes }
}

fn gap(stream: u8, from: u64, to: u64) -> RunEvent {
    RunEvent::Gap { stream, from, to }
}

#[tokio::test]
async fn a_screen_has_limits_and_a_place() {
    let too_long = async |talk: &mut Talk| talk.head(&screen(0, (16 << 20) + 1)).await;
    is_broken("a screen that is too long", outcome(true, too_long).await);

    let longer_than_said = async |talk: &mut Talk| {
        talk.head(&screen(9, 5)).await;
        talk.stdout(b"drawing").await;
    };
    is_broken("a screen that is longer than was said", outcome(true, longer_than_said).await);

    let back = async |talk: &mut Talk| {
        talk.stdout(b"four").await;
        talk.head(&screen(3, 1)).await;
    };
    is_broken("a screen from before", outcome(true, back).await);

    let twice = async |talk: &mut Talk| {
        talk.head(&screen(9, 5)).await;
        talk.head(&screen(9, 5)).await;
    };
    is_broken("a screen in a screen", outcome(true, twice).await);

    let ended = async |talk: &mut Talk| {
        talk.head(&screen(0, 5)).await;
        talk.end(STDOUT, b"").await;
    };
    is_broken("an end in a screen", outcome(true, ended).await);

    let on_pipes = async |talk: &mut Talk| talk.head(&screen(0, 0)).await;
    is_broken("a screen on pipes", outcome(false, on_pipes).await);

    let at_the_limit = async |talk: &mut Talk| {
        talk.head(&screen(u64::MAX, 16 << 20)).await;
        for _ in 0..16 {
            talk.stdout(&vec![b' '; 1 << 20]).await;
        }
        talk.head(&RunEvent::CaughtUp).await;
    };
    assert_eq!(outcome(true, at_the_limit).await.unwrap().others, ["screen", "caught up"]);
}

#[tokio::test]
async fn a_gap_is_where_the_stream_is_and_goes_forward() {
    for (what, event) in [
        ("a gap later on", gap(STDOUT, 1, 2)),
        ("a gap of nothing", gap(STDOUT, 0, 0)),
        ("a gap in what nobody reads", gap(STDIN, 0, 1)),
        ("a gap in no stream", gap(7, 0, 1)),
    ] {
        is_broken(what, outcome(false, async |talk: &mut Talk| talk.head(&event).await).await);
    }
    let back = async |talk: &mut Talk| {
        talk.send(Kind::DataErr, b"ten bytes!").await;
        talk.head(&gap(STDERR, 10, 5)).await;
    };
    is_broken("a gap backwards", outcome(false, back).await);
    let to_the_end_of_numbers = async |talk: &mut Talk| {
        talk.head(&gap(STDOUT, 0, u64::MAX)).await;
        talk.stdout(b"x").await;
    };
    is_broken("a byte after the last", outcome(false, to_the_end_of_numbers).await);
}

#[tokio::test]
async fn output_over_its_credit_is_not_passed_on() {
    let node = FakeNode::new();
    let client = async {
        let mut remote = node.look(View::Follow).await.unwrap();
        let mut count = 0;
        loop {
            // Nothing is ever reported as consumed.
            match remote.next().await {
                Ok(Output::Bytes { bytes, .. }) => count += bytes.len() as u64,
                Ok(other) => panic!("{other:?}"),
                Err(error) => return (count, error),
            }
        }
    };
    let script = async {
        let (mut talk, attach) = node.attach().await;
        for _ in 0..attach.room >> 20 {
            talk.send(Kind::DataErr, &vec![b'x'; 1 << 20]).await;
        }
        talk.send(Kind::DataErr, b"x").await;
        talk.gone().await;
        attach.room
    };
    let ((count, error), room) = both(client, script).await;
    assert!(matches!(error, AskError::Protocol { .. }), "{error:?}");
    assert_eq!(count, room);
}

#[tokio::test]
async fn ends_and_exits_fit_what_came() {
    let after_the_end = async |talk: &mut Talk| {
        talk.end(STDOUT, b"").await;
        talk.stdout(b"x").await;
    };
    is_broken("output after its end", outcome(false, after_the_end).await);

    let longer = async |talk: &mut Talk| talk.end(STDOUT, b"x").await;
    is_broken("an end of more than came", outcome(false, longer).await);

    let other = async |talk: &mut Talk| {
        talk.stdout(b"a").await;
        talk.end(STDOUT, b"b").await;
    };
    is_broken("an end of something else", outcome(false, other).await);

    let two_ends = async |talk: &mut Talk| {
        talk.head(&gap(STDOUT, 0, 3)).await;
        talk.end(STDOUT, b"abc").await;
        talk.end(STDOUT, b"xyz").await;
    };
    is_broken("two ends that differ", outcome(false, two_ends).await);

    let of_stdin = async |talk: &mut Talk| talk.end(STDIN, b"").await;
    is_broken("an end of stdin", outcome(false, of_stdin).await);

    let early = async |talk: &mut Talk| {
        talk.end(STDOUT, b"").await;
        talk.exit(b"", b"").await;
    };
    is_broken("an exit before both ends", outcome(false, early).await);

    let differs = async |talk: &mut Talk| {
        talk.end(STDOUT, b"").await;
        talk.end(STDERR, b"").await;
        talk.exit(b"x", b"").await;
    };
    is_broken("an exit that says something else", outcome(false, differs).await);
}

#[tokio::test]
async fn a_reply_is_about_what_was_asked_for() {
    let node = FakeNode::new();
    for case in 0..4 {
        let client = async { follow(&mut node.start().await?).await };
        let script = async {
            let mut talk = node.run(10).await;
            talk.stdout(b"four").await;
            drop(talk);
            let (mut talk, attach) = node.asked_to_attach().await;
            let mut reply = attached(&attach, StdinState { from: 0, to: 10, window: 10 });
            match case {
                0 => reply.session = "another".into(),
                1 => reply.stdout_from = 3,
                2 => reply.stdout_from = 5,
                _ => reply.stderr_from = 1,
            }
            talk.ok(&reply).await;
            talk.gone().await;
        };
        is_broken(&format!("case {case}"), both(client, script).await.0);
    }
}

/// What a client that has written 10 bytes with a window of 8 of them unacknowledged makes of
/// `state` when it comes back.
async fn comes_back_to(state: StdinState) -> Result<Seen, AskError> {
    let node = FakeNode::new();
    let client = async {
        let mut remote = node.start().await?;
        remote.write_stdin(b"01234567");
        while remote.stdin_room() == 0 {
            remote.next().await?;
        }
        remote.write_stdin(b"89");
        follow(&mut remote).await
    };
    let script = async {
        let mut talk = node.run(8).await;
        talk.next().await;
        talk.credit(STDIN, 12).await;
        talk.next().await;
        drop(talk);
        let (mut talk, attach) = node.asked_to_attach().await;
        talk.ok(&attached(&attach, state)).await;
        talk.finish(b"", b"").await;
        talk.gone().await;
    };
    both(client, script).await.0
}

#[tokio::test]
async fn stdin_goes_on_only_where_it_can() {
    for from in 4..=10 {
        let state = StdinState { from, to: 12, window: 8 };
        comes_back_to(state).await.unwrap_or_else(|error| panic!("from {from}: {error}"));
    }
    for (what, from, to) in [
        ("beyond what was written", 11, 19),
        ("before what is kept", 3, 11),
        ("credit before its start", 8, 7),
        ("more passed on than there is", 4, 13),
        ("far beyond", u64::MAX, u64::MAX),
    ] {
        is_broken(what, comes_back_to(StdinState { from, to, window: 8 }).await);
    }
}

#[tokio::test]
async fn credit_for_what_was_not_sent_ends_it() {
    let node = FakeNode::new();
    let client = async { follow(&mut node.start().await?).await };
    let script = async {
        let mut talk = node.run(8).await;
        talk.credit(STDIN, 9).await;
        talk.gone().await;
    };
    is_broken("a credit", both(client, script).await.0);
}

#[tokio::test]
async fn a_window_without_bounds_does_not_take_memory_without_bounds() {
    let node = FakeNode::new();
    let client = async {
        let mut remote = node.start().await.unwrap();
        let piece = vec![0; 1 << 20];
        let mut written = 0;
        while remote.stdin_room() > 0 {
            let room = remote.stdin_room().min(piece.len());
            remote.write_stdin(&piece[..room]);
            written += room;
        }
        written
    };
    let script = async {
        let (mut talk, _) = node.asked_to_run().await;
        let stdin = StdinState { from: 0, to: u64::MAX, window: u64::MAX };
        talk.ok(&RunReply { session: SESSION.into(), stdin }).await;
        talk.gone().await;
    };
    assert_eq!(both(client, script).await.0, 16 << 20);
}

#[tokio::test]
async fn heads_that_have_no_place_are_refused_or_ignored() {
    let caught_up = async |talk: &mut Talk| {
        talk.head(&RunEvent::Unknown).await;
        talk.head(&RunEvent::Viewers { typing: 1, watching: 2 }).await;
        talk.head(&RunEvent::StdinClosed).await;
        talk.credit(STDIN, 100).await;
        talk.credit(STDOUT, 100).await;
        talk.head(&RunEvent::CaughtUp).await;
    };
    assert_eq!(outcome(false, caught_up).await.unwrap().others, ["viewers", "caught up"]);
    let no_head = async |talk: &mut Talk| talk.send(Kind::Head, b"{").await;
    is_broken("no head", outcome(false, no_head).await);
    let no_end = async |talk: &mut Talk| talk.send(Kind::End, b"[]").await;
    is_broken("no end", outcome(false, no_end).await);

    let node = FakeNode::new();
    let client = async { follow(&mut node.start().await?).await };
    let script = async {
        let mut talk = node.run(10).await;
        talk.head(&RunEvent::CaughtUp).await;
        talk.gone().await;
    };
    is_broken("the end of a log that was not asked for", both(client, script).await.0);
}
