//! Input goes on after its link was lost: every byte reaches the session once, and what was said
//! without a link is said later (PROTOCOL 7.5).

#![allow(clippy::unwrap_used)] // Clippy knows tests by their attribute, not by their directory.

#[allow(dead_code, reason = "every test binary uses its own part")]
mod fake_node;

use fake_node::{FakeNode, Talk, attached, both, follow, total};
use tokio::task::JoinSet;
use tow_node::ask::AskError;
use tow_node::ask::session::Output;
use tow_proto::message::{End, Lease, RunEvent, STDERR, STDIN, StdinState, Upward, Window};
use tow_proto::{Kind, json};

/// Splitmix64: the same numbers at every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// The session's side of one writer's stdin.
struct Reader {
    got: Vec<u8>,
    read: u64,
    window: u64,
    end: Option<End>,
}

impl Reader {
    fn state(&self) -> StdinState {
        let from = self.got.len() as u64;
        StdinState { from, to: self.read + self.window, window: self.window }
    }

    /// Takes what comes until `frames` frames have come or all has; the program reads now and then.
    async fn take(&mut self, talk: &mut Talk, frames: u64, numbers: &mut Numbers) {
        for _ in 0..frames {
            let frame = talk.next().await;
            match frame.kind {
                Kind::Data => self.got.extend_from_slice(&frame.payload),
                Kind::End => {
                    self.end = Some(json::from_slice(&frame.payload).unwrap());
                    return;
                }
                kind => panic!("{kind:?}"),
            }
            let got = self.got.len() as u64;
            assert!(got <= self.read + self.window, "more than was granted");
            self.read += numbers.below(got - self.read + 1);
            if got == self.read + self.window {
                self.read = got;
            }
            talk.credit(STDIN, self.read + self.window).await;
        }
    }
}

async fn input_survives_cuts(seed: u64) {
    let node = FakeNode::new();
    let mut numbers = Numbers(seed);
    let input: Vec<u8> = (0..50_000_u32).flat_map(u32::to_be_bytes).collect();
    let client = async {
        let mut remote = node.start().await?;
        let mut left = input.as_slice();
        loop {
            let room = remote.stdin_room().min(left.len()).min(3_000);
            let (now, later) = left.split_at(room);
            remote.write_stdin(now);
            left = later;
            if left.is_empty() {
                remote.end_stdin();
            } else if room > 0 {
                // Lets the other side, and the cuts, have their turns.
                tokio::task::yield_now().await;
                continue;
            }
            if let Output::Exit(_) = remote.next().await? {
                remote.finish().await;
                return Ok::<(), AskError>(());
            }
        }
    };
    let script = async {
        let window = 1_000 + numbers.below(30_000);
        let mut reader = Reader { got: Vec::new(), read: 0, window, end: None };
        let mut talk = node.run(window).await;
        for _ in 0..12 {
            let frames = numbers.below(12);
            reader.take(&mut talk, frames, &mut numbers).await;
            reader.end = None;
            drop(talk);
            let attach;
            (talk, attach) = node.asked_to_attach().await;
            talk.ok(&attached(&attach, reader.state())).await;
        }
        while reader.end.is_none() {
            reader.take(&mut talk, 100, &mut numbers).await;
        }
        talk.finish(b"", b"").await;
        talk.gone().await;
        reader
    };
    let (result, reader) = both(client, script).await;
    result.unwrap();
    assert!(reader.got == input, "seed {seed}: {} of {} bytes", reader.got.len(), input.len());
    let end = reader.end.unwrap();
    assert_eq!((end.total, end.blake3), total(&input), "seed {seed}");
}

#[tokio::test]
async fn input_arrives_exactly_once_wherever_the_link_is_cut() {
    let mut running: JoinSet<()> = (0..20).map(input_survives_cuts).collect();
    while let Some(result) = running.join_next().await {
        result.unwrap();
    }
}

#[tokio::test]
async fn the_end_of_input_is_said_again_where_it_may_be_lost() {
    let node = FakeNode::new();
    let client = async {
        let mut remote = node.start().await?;
        remote.write_stdin(b"last words");
        remote.end_stdin();
        follow(&mut remote).await
    };
    let script = async {
        let mut talk = node.run(100).await;
        assert_eq!(talk.next().await.payload, b"last words");
        assert_eq!(talk.next().await.kind, Kind::End);
        drop(talk);
        let (mut talk, attach) = node.asked_to_attach().await;
        let state = StdinState { from: 10, to: 110, window: 100 };
        talk.ok(&attached(&attach, state)).await;
        let frame = talk.next().await;
        assert_eq!(frame.kind, Kind::End);
        let end: End = json::from_slice(&frame.payload).unwrap();
        assert_eq!((end.total, end.blake3), total(b"last words"));
        talk.finish(b"", b"").await;
        talk.gone().await;
    };
    let (seen, ()) = both(client, script).await;
    seen.unwrap();
}

#[tokio::test]
async fn without_a_link_input_is_kept_up_to_the_window_and_the_rest_is_said_later() {
    let node = FakeNode::new();
    let client = async {
        let mut remote = node.start().await?;
        assert!(matches!(remote.next().await?, Output::LinkLost { .. }));
        assert!(remote.outage().is_some());
        assert_eq!(remote.stdin_room(), 10);
        remote.write_stdin(b"0123456");
        assert_eq!(remote.stdin_room(), 3);
        remote.write_stdin(b"789");
        assert_eq!(remote.stdin_room(), 0);
        remote.signal("INT");
        remote.stop(STDERR);
        remote.set_lease(Lease::Detached);
        remote.resize(Window { rows: 50, cols: 100, xpixel: 0, ypixel: 0 });
        assert!(matches!(remote.next().await?, Output::LinkBack));
        assert!(remote.outage().is_none());
        follow(&mut remote).await
    };
    let script = async {
        drop(node.run(10).await);
        let (mut talk, attach) = node.asked_to_attach().await;
        let state = StdinState { from: 0, to: 10, window: 10 };
        talk.ok(&attached(&attach, state)).await;
        let mut said = Vec::new();
        let input = loop {
            let frame = talk.next().await;
            match frame.kind {
                Kind::Head => said.push(json::from_slice::<Upward>(&frame.payload).unwrap()),
                _ => break frame.payload,
            }
        };
        assert_eq!(input, b"0123456789");
        for expected in [
            Upward::Signal { name: "INT".into() },
            Upward::Stop { stream: STDERR },
            Upward::Lease { lease: Lease::Detached },
            Upward::Resize(Window { rows: 50, cols: 100, xpixel: 0, ypixel: 0 }),
        ] {
            assert!(said.contains(&expected), "{expected:?} is not in {said:?}");
        }
        talk.head(&RunEvent::Lease { lease: Lease::Detached }).await;
        drop(talk);
        // What was confirmed, or is known from the request, is not said again.
        let (mut talk, attach) = node.attach().await;
        assert_eq!(attach.window.map(|window| window.rows), Some(50));
        let frame = talk.next().await;
        assert_eq!(json::from_slice(&frame.payload).ok(), Some(Upward::Stop { stream: STDERR }));
        assert_eq!(talk.next().await.payload, b"0123456789");
        talk.finish(b"", b"").await;
        talk.next_or_end().await
    };
    let (seen, after) = both(client, script).await;
    assert_eq!(seen.unwrap().others[..3], ["lease", "lost", "back"]);
    assert_eq!(after, None);
}
