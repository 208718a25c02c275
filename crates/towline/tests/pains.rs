//! What hurts elsewhere when programs are run on other machines, seen from the command line. Some of it
//! has its test where the thing itself is tested:
//!
//! | what hurts | where it is tested |
//! |---|---|
//! | a child in the background holds the answer up | here; `run.rs` |
//! | the client goes and the program stays, or the other way round | `run.rs`, `resume/devices.rs`, `keeper.rs` |
//! | output that was cut short looks complete | `run.rs`: `a_cut_link_never_looks_like_an_end` |
//! | the exit status lies | `run.rs` |
//! | a lost connection is lost work | `resume/`, `sessions.rs`, `shell.rs` |
//! | a terminal that is attached again shows garbage | `peers/full_screen.rs`, `peers/other_terminal.rs` |
//! | one slow reader stops everything | here |
//! | arguments are parsed again by some shell | `run.rs`: `arguments_arrive_exactly_as_they_were_given` |
//! | start-up files are slow and noisy | here |
//! | bytes that are no UTF-8, and characters that are cut | `run.rs`, `shell.rs` |
//! | a silent command on a link that something in between thinks idle | here |
//! | long work cannot be left, read from an offset, waited for, ended | `sessions.rs` |

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

use std::fs::File;
use std::time::Duration;

use tow_testkit::{Direction, How, Pair, Running, Signal, is_running, until, until_some};

const TOW: &str = env!("CARGO_BIN_EXE_tow");

/// Bytes that a client lets come without having passed them on.
const WINDOW: u64 = 4 << 20;

/// What the machine says of its only session.
fn session(pair: &Pair) -> serde_json::Value {
    let listed = pair.host.tow(["sessions", ".", "--json"]).run().ok().json();
    assert_eq!(listed.len(), 1, "{listed:?}");
    listed[0].clone()
}

#[test]
fn a_background_child_does_not_hold_the_answer_up() {
    let pair = Pair::new(TOW);
    let took = |line: &str| {
        let done = pair.run(["--json", line]).run().ok();
        let pid = done.out().lines().next().unwrap().parse::<u32>().unwrap();
        assert!(is_running(pid), "{done}");
        let _ = pair.host.sh(&format!("kill {pid}")).run().ok();
        done.took
    };
    // Once in 20 times, at least, little else on this machine holds it up. A child that goes on
    // writing would, for two seconds.
    let at_best = (0..20).map(|_| took("setsid sleep 300 & echo $!")).min();
    assert!(at_best < Some(Duration::from_millis(1_500)), "{at_best:?}");
}

#[test]
fn an_answer_that_does_not_wait_for_a_child_is_whole() {
    let pair = Pair::new(TOW);
    for _ in 0..5 {
        let line = "sleep 300 & echo $! >pid; seq 1 50000; seq 1 50000 >&2; exit 3";
        let done = pair.run([line]).run().expect(3);
        for output in [done.out(), done.err()] {
            assert!(output.ends_with("\n49999\n50000\n") && output.lines().count() == 50_000);
        }
        let _ = pair.host.sh("kill $(cat pid)").run().ok();
    }
}

#[test]
fn a_viewer_that_does_not_read_holds_nobody_up() {
    let pair = Pair::new(TOW);
    let mut running = pair.run(["read line; head -c 30000000 /dev/zero; echo end >&2"]).start();
    let id = until_some("it has begun", || {
        let listed = pair.host.tow(["sessions", ".", "--json"]).run().ok().json();
        Some(listed.first()?["id"].as_str()?.to_owned())
    });
    // Nobody ever reads what this one writes.
    let _ = pair.client.sh("mkfifo pipe").run().ok();
    let unread = File::options().read(true).write(true).open(pair.client.file("pipe")).unwrap();
    let watching = pair.client.sh(&format!("exec \"$TOW\" attach --watch box {id} >pipe")).start();
    until("it is watched", || session(&pair)["watching"] == 1);
    running.write(b"go\n");
    let done = running.wait().ok();
    assert_eq!((done.stdout.len(), done.err().as_str()), (30_000_000, "end\n"));
    let other = pair.run(["echo", "other"]).run().ok();
    assert_eq!(other.out(), "other\n");
    drop((watching, unread));
}

/// `tow run` of this line, with a stdout that nobody ever reads, and what keeps it open.
fn unread(pair: &Pair, line: &str) -> (Running, File) {
    let _ = pair.client.sh("mkfifo pipe").run().ok();
    let pipe = File::options().read(true).write(true).open(pair.client.file("pipe")).unwrap();
    let tow = r#"exec "$TOW" run box "$LINE" >pipe"#;
    (pair.client.sh(tow).env("LINE", line).start(), pipe)
}

/// Sends it a signal as often as it takes.
fn is_ended_by(running: Running, signal: Signal, code: i32) {
    until("tow has ended", || {
        running.signal(signal);
        !is_running(running.pid())
    });
    let _ = running.wait().expect(code);
}

#[test]
fn ctrl_c_passes_a_pager_that_does_not_read() {
    let pair = Pair::new(TOW);
    let (running, _pipe) = unread(&pair, "echo $$ >&2; exec yes");
    let pid: u32 = until_some("it has begun", || {
        String::from_utf8(running.stderr()).ok()?.strip_suffix('\n')?.parse().ok()
    });
    until("no more is taken", || session(&pair)["stdout"].as_u64() >= Some(WINDOW));
    running.signal(Signal::INT);
    until("the program has ended", || !is_running(pid));
    // What it wrote is waited for, unless whoever waits has had enough as well.
    is_ended_by(running, Signal::INT, 130);
}

#[test]
fn a_program_that_has_ended_does_not_keep_tow_from_being_ended() {
    let pair = Pair::new(TOW);
    let (running, _pipe) = unread(&pair, "seq 1 100000; echo ended >&2");
    until("the program has ended", || running.stderr() == b"ended\n");
    is_ended_by(running, Signal::TERM, 143);
}

#[test]
fn start_up_files_neither_speak_nor_delay() {
    let pair = Pair::new(TOW);
    let noise = "echo NOISE; echo NOISE >&2; echo once >>\"$HOME/was-read\"\n";
    let reads = || {
        let read = std::fs::read_to_string(pair.host.file("was-read")).unwrap_or_default();
        read.lines().count()
    };
    for name in [".profile", ".bash_profile", ".bashrc", ".zshenv", ".zshrc", ".zprofile"] {
        let _ = pair.host.write(name, noise);
    }
    for args in [&["echo", "quiet"][..], &["echo quiet; exit"]] {
        let done = pair.run(args).run().ok();
        assert_eq!((done.out().as_str(), done.err().as_str()), ("quiet\n", ""));
    }
    // A login's environment is learnt once, not for each command.
    let before = reads();
    assert!(before <= 1, "{before}");
    // They are for whoever logs in.
    let terminal = pair.client.tow(["shell", "box"]).on_terminal(24, 80);
    terminal.shows("NOISE");
    until("they were read", || reads() > before);
}

#[test]
fn a_silent_command_outlives_what_cuts_idle_connections() {
    let pair = Pair::new(TOW);
    let mut running = pair.run(["echo begun; read line; echo $line"]).start();
    assert_eq!(running.line(0), "begun");
    // Nobody says anything, and still something goes both ways, every 15 s.
    let carried = || [Direction::Up, Direction::Down].map(|way| pair.proxy.carried(way));
    let before = carried();
    until("a sign of life", || carried().iter().zip(before).all(|(now, then)| *now > then));
    // What was cut all the same is made again, and nobody notices.
    let connections = pair.proxy.connections();
    pair.proxy.cut_now(How::Reset);
    until("it is connected again", || pair.proxy.connections() > connections);
    running.write(b"still here\n");
    assert_eq!(running.wait().ok().out(), "begun\nstill here\n");
}
