//! A long pipe through a program on the other machine, over a link that does not last.

use std::fs::File;
use std::io::Write as _;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tow_testkit::{Cut, Direction, How, Machine, Pair, Proxy, Running, noise, until};

use super::{TOW, is_thorough};

/// stdin comes back as stdout, and stderr says something of its own all the while.
const ECHO: &str =
    "i=0; while [ $i -lt 300 ]; do echo error $i; i=$((i + 1)); sleep 0.01; done >&2 & cat; wait";

fn errors() -> String {
    (0..300).map(|number| format!("error {number}\n")).collect()
}

/// Bytes that go through the pipe.
fn total() -> u64 {
    if is_thorough() { 1 << 30 } else { 64 << 20 }
}

/// Starts the pipe, and compares byte by byte what comes out of it with what went in.
fn start(pair: &Pair) -> Running {
    let path = pair.client.file("in");
    let mut file = File::create(path).unwrap();
    for seed in 0..total() / CHUNK_LEN {
        file.write_all(&noise(CHUNK_LEN as usize, seed)).unwrap();
    }
    let line = r#"{ "$TOW" run box "$LINE" <in; echo $? >code; } | cmp - in"#;
    pair.client.sh(line).env("LINE", ECHO).patience(PATIENCE).start()
}

#[track_caller]
fn check(pair: &Pair, running: Running) {
    let done = running.wait().ok();
    assert_eq!(std::fs::read_to_string(pair.client.file("code")).unwrap(), "0\n", "{done}");
    assert!(done.err() == errors(), "{done}");
    assert_eq!(done.out(), "");
}

#[test]
fn a_pipe_loses_no_byte_over_a_link_that_is_cut_all_the_time() {
    let pair = Pair::new(TOW);
    // By bytes, some of them in the middle of a frame; and by time.
    for index in 0..CUTS {
        let direction = if index % 2 == 0 { Direction::Down } else { Direction::Up };
        let how = if index % 3 == 0 { How::Fin } else { How::Reset };
        pair.proxy.cut(Cut { direction, after: 5_000 + index * 300_007, how });
    }
    let before = pair.proxy.connections();
    let running = start(&pair);
    let proxy = &pair.proxy;
    thread::scope(|scope| {
        let cutting = cut_every(scope, proxy, Duration::from_millis(200));
        check(&pair, running);
        drop(cutting);
    });
    let cuts = pair.proxy.connections() - before;
    assert!(cuts >= CUTS as usize, "{cuts} connections");
}

#[test]
fn a_pipe_loses_no_byte_when_its_node_is_killed_and_started_again() {
    let mut pair = Pair::new(TOW);
    let running = start(&pair);
    let start = pair.proxy.carried(Direction::Down);
    for kills in 1..total() / LIFE {
        until("some of it has come", || pair.proxy.carried(Direction::Down) - start > kills * LIFE);
        let other = Machine::new(TOW);
        std::mem::replace(&mut pair.node, other.serve(&[])).kill();
        pair.serve_again();
    }
    check(&pair, running);
}

/// Cuts every connection that there is, again and again until it is dropped, but only when something
/// has come since the last cut: so there is an end to it on a slow machine, too.
fn cut_every<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    proxy: &'scope Proxy,
    pace: Duration,
) -> SyncSender<()> {
    let (until_dropped, stopped) = sync_channel(0);
    scope.spawn(move || {
        let mut hows = [How::Reset, How::Fin].into_iter().cycle();
        let mut enough = LINK_LEN;
        while stopped.recv_timeout(pace) == Err(RecvTimeoutError::Timeout) {
            if proxy.carried(Direction::Down) > enough {
                hows.next().into_iter().for_each(|how| proxy.cut_now(how));
                enough = proxy.carried(Direction::Down) + LINK_LEN;
            }
        }
    });
    until_dropped
}

/// Cuts after so many bytes, besides those after so much time.
const CUTS: u64 = 12;
/// Bytes that come over a link before it is cut.
const LINK_LEN: u64 = 200_000;
/// Bytes that come back before the node is killed, each time.
const LIFE: u64 = 16 << 20;
const CHUNK_LEN: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(600);
