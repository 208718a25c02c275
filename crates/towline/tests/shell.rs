//! Terminals from outside: `tow shell`, `tow run -t` and `tow attach` on pseudo-terminals of their own,
//! with keys typed and screens read.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

use tow_testkit::{How, Pair, Signal, Terminal, closed, until};

const TOW: &str = env!("CARGO_BIN_EXE_tow");

/// A machine whose login shell says little of its own.
fn pair() -> Pair {
    Pair::new(TOW)
}

fn on_terminal(pair: &Pair, args: &[&str]) -> Terminal {
    pair.client.tow(args).env("TERM", "xterm-256color").on_terminal(24, 80)
}

/// A shell that is ready for the next line.
fn shell(pair: &Pair) -> Terminal {
    let terminal = on_terminal(pair, &["shell", "box"]);
    is_ready(&terminal);
    terminal
}

/// What is typed is echoed apart from what it prints.
fn is_ready(terminal: &Terminal) {
    terminal.keys("echo re''ady\r");
    terminal.shows("\nready");
}

/// The id of the only session on the machine.
fn session(pair: &Pair) -> String {
    let listed = pair.client.tow(["sessions", "box", "--json"]).run().ok().json();
    assert_eq!(listed.len(), 1, "{listed:?}");
    listed[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_shell_has_a_terminal_and_gives_its_exit_code() {
    let pair = pair();
    let mut terminal = shell(&pair);
    assert!(!terminal.is_cooked());
    terminal.keys("tty; stty size; echo $TERM $((40 + 2))\r");
    terminal.shows("/dev/pts/");
    terminal.shows("24 80");
    terminal.shows("xterm-256color 42");
    terminal.keys("exit 5\r");
    assert_eq!(terminal.ended(), 5);
    assert!(terminal.is_cooked());
}

#[test]
fn a_new_size_reaches_the_program() {
    let pair = pair();
    let line = "trap 'echo told' WINCH; trap 'exit 9' INT; while :; do stty size; sleep 0.05; done";
    let mut terminal = on_terminal(&pair, &["run", "-t", "box", line]);
    terminal.shows("24 80");
    terminal.resize(40, 120);
    terminal.shows("told");
    terminal.shows("40 120");
    terminal.resize(10, 30);
    terminal.shows("10 30");
    terminal.keys([3]);
    assert_eq!(terminal.ended(), 9);
}

#[test]
fn keys_that_mean_something_mean_it_to_the_program() {
    let pair = pair();
    let mut terminal = shell(&pair);
    // Said by the program itself, so that it is the one that is interrupted.
    terminal.keys("sh -c 'echo n\"\"ow; exec sleep 100'\r");
    terminal.shows("\nnow");
    terminal.keys([3]);
    terminal.keys("echo after $?\r");
    terminal.shows("after 130");
    terminal.keys("echo th''en; cat\r");
    terminal.shows("\nthen");
    terminal.keys("line\r");
    terminal.shows("line\nline");
    terminal.keys([0x1a]);
    terminal.shows("Stopped");
    terminal.keys("fg\r");
    // Only then the terminal is the program's again.
    terminal.shows("fg\ncat");
    terminal.keys("again\r");
    terminal.shows("again\nagain");
    terminal.keys([4]);
    is_ready(&terminal);
    terminal.keys("exit\r");
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn a_flood_does_not_hold_an_interrupt_up() {
    let pair = pair();
    let terminal = shell(&pair);
    terminal.keys("yes y''es\r");
    terminal.shows("yes\nyes\nyes");
    terminal.keys([3]);
    terminal.keys("echo en''ded\r");
    terminal.shows("\nended");
}

#[test]
fn help_says_what_can_be_typed_and_leaving_ends_the_session() {
    let pair = pair();
    let mut terminal = shell(&pair);
    let id = session(&pair);
    terminal.keys("~?");
    terminal.shows(&format!("session {id} on box, open here; connected"));
    terminal.shows("~d    detach");
    terminal.keys("echo ~~ x~.\r");
    terminal.shows("\n~~ x~.");
    terminal.keys("~.");
    assert_eq!(terminal.ended(), 254);
    terminal.shows(&format!("left session {id} on box"));
    assert!(terminal.is_cooked());
    let done = pair.client.tow(["wait", "box", &id]).run();
    assert!(done.code() >= 128, "{done}");
}

#[test]
fn a_session_that_is_detached_is_found_again_on_another_terminal() {
    let pair = pair();
    let mut first = shell(&pair);
    let id = session(&pair);
    first.keys("clear; n=before; echo kept $n\r");
    first.shows("kept before");
    first.keys("~d");
    assert_eq!(first.ended(), 0);
    first.shows(&format!("detached; tow attach box {id}"));
    assert!(first.is_cooked());

    let second = pair.client.tow(["attach", "box", &id[..4]]).on_terminal(30, 100);
    second.shows("kept before");
    second.keys("n=$n-after; stty size; echo $n\r");
    second.shows("30 100");
    second.shows("before-after");
    let listed = pair.client.tow(["sessions", "box"]).run().ok().out();
    assert!(listed.contains("running") && listed.contains("(login shell)"), "{listed}");
    drop(second);

    // A window that was closed takes nothing with it.
    let mut third = pair.client.tow(["attach", "box", &id]).on_terminal(24, 80);
    third.shows("before-after");
    third.keys("exit 9\r");
    assert_eq!(third.ended(), 9);
    let _ = pair.client.tow(["wait", "box", &id]).run().expect(9);
}

#[test]
fn a_terminal_that_was_started_without_a_viewer_is_attached_later() {
    let pair = pair();
    let line = "stty size; read -r line; echo got $line; stty size; read -r line; exit 8";
    let id = pair.client.tow(["run", "-d", "-t", "box", line]).run().ok().out();
    let id = id.trim_end();
    let mut terminal = pair.client.tow(["attach", "box", id]).on_terminal(30, 100);
    terminal.shows("24 80");
    terminal.keys("something\r");
    terminal.shows("got something\n30 100");
    let log = pair.client.tow(["logs", "box", id]).run().ok().out();
    assert_eq!(log, "24 80\r\nsomething\r\ngot something\r\n30 100\r\n");
    terminal.keys("\r");
    assert_eq!(terminal.ended(), 8);
}

#[test]
fn whoever_watches_sees_and_touches_nothing() {
    let pair = pair();
    let terminal = shell(&pair);
    let id = session(&pair);
    let mut watcher = pair.client.tow(["attach", "--watch", "box", &id]).on_terminal(10, 40);
    watcher.shows("ready");
    watcher.keys("touch touched\r");
    terminal.keys("echo se''en; stty size\r");
    watcher.shows("\nseen");
    terminal.shows("24 80");
    watcher.keys([3]);
    assert_eq!(watcher.ended(), 0);
    assert!(watcher.is_cooked());
    is_ready(&terminal);
    assert!(!pair.host.file("touched").exists());
}

#[test]
fn a_terminal_survives_a_cut_and_every_key_comes_once() {
    let pair = pair();
    let mut terminal = shell(&pair);
    terminal.keys("cat >typed\r");
    until("cat reads", || pair.host.file("typed").exists());
    let mut expected = String::new();
    for round in 0..5 {
        let line = format!("line {round}");
        terminal.keys(&line[..3]);
        pair.proxy.cut_now(How::Reset);
        terminal.keys(format!("{}\r", &line[3..]));
        expected.push_str(&format!("{line}\n"));
        until("the line is there once", || {
            std::fs::read_to_string(pair.host.file("typed")).unwrap() == expected
        });
    }
    terminal.keys([4]);
    terminal.keys("exit 3\r");
    assert_eq!(terminal.ended(), 3);
}

#[test]
fn a_dead_link_is_said_and_can_be_left() {
    let pair = pair();
    let mut terminal = shell(&pair);
    let id = session(&pair);
    let address = pair.node.address();
    pair.proxy.point_to(closed());
    pair.proxy.cut_now(How::Reset);
    terminal.shows("tow: box: connection lost, trying again");
    terminal.keys("\r~?");
    terminal.shows("not connected for");
    // Back again, the screen is what it was.
    pair.proxy.point_to(address);
    terminal.until("a screen without our line", |screen| !screen.contains("connection lost"));
    is_ready(&terminal);

    pair.proxy.point_to(closed());
    pair.proxy.cut_now(How::Reset);
    terminal.shows("tow: box: connection lost, trying again");
    terminal.keys("\r~.");
    assert_eq!(terminal.ended(), 254);
    terminal.shows(&format!("left session {id} on box; it could not be told"));
    assert!(terminal.is_cooked() && !terminal.screen().contains("connection lost"));
}

#[test]
fn a_program_that_is_left_behind_leaves_the_terminal_clean() {
    let pair = pair();
    let line = r"printf '\033[?1049h\033[?25l\033[?1002h\033[?2004h\033=full screen'; sleep 100";
    let mut terminal = on_terminal(&pair, &["run", "-t", "box", line]);
    terminal.shows("full screen");
    assert!(terminal.look(vt100::Screen::alternate_screen));
    terminal.keys("~d");
    assert_eq!(terminal.ended(), 0);
    terminal.shows("detached");
    terminal.look(|screen| {
        assert!(!screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste());
        assert!(!screen.application_keypad());
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
    });
}

#[test]
fn a_signal_ends_tow_with_the_terminal_as_it_was() {
    let pair = pair();
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut terminal = on_terminal(&pair, &["run", "-t", "box", "echo star''ted; sleep 100"]);
        terminal.shows("started");
        assert!(!terminal.is_cooked());
        terminal.signal(signal);
        assert_eq!(terminal.ended(), code);
        assert!(terminal.is_cooked());
        terminal.shows("ends when its lease is over; tow attach box");
    }
}

#[test]
fn tow_can_be_suspended_as_a_job_of_the_local_shell() {
    let pair = pair();
    let local = pair.client.sh("exec bash --norc --noprofile -i").env("PS1", "here> ");
    let local = local.on_terminal(24, 80);
    local.shows("here>");
    local.keys("\"$TOW\" shell box\r");
    is_ready(&local);
    local.keys("~\x1a");
    local.shows("Stopped");
    assert!(local.is_cooked() || local.screen().ends_with("here>"));
    local.keys("echo lo''cal $PPID\r");
    local.shows("\nlocal");
    local.keys("fg\r");
    local.keys("echo remote-$((1 + 1))\r");
    local.shows("\nremote-2");
    local.keys("exit 4\r");
    local.until("its prompt", |screen| screen.ends_with("here>"));
    local.keys("echo code $?\r");
    local.shows("code 4");
}

#[test]
fn text_of_another_encoding_is_shown_and_typed_in_its_own() {
    let pair = pair();
    // "你好" in GBK, both ways: cut in the middle of a character on the way here.
    let line =
        r"stty -echo; printf '\304\343\272'; sleep 0.2; printf '\303\n'; head -n 1 | od -An -tx1";
    let mut terminal = on_terminal(&pair, &["run", "-t", "--encoding", "gbk", "box", line]);
    terminal.shows("你好");
    terminal.keys("好!\r");
    terminal.shows("ba c3 21 0a");
    assert_eq!(terminal.ended(), 0);
    let done = pair.run(["printf '\\254\\250\\340' >&2; cat"]).stdin("x").run().ok();
    assert_eq!((done.stdout.as_slice(), done.stderr.as_slice()), (&b"x"[..], &b"\xac\xa8\xe0"[..]));
    let args = ["run", "--encoding", "ibm866", "box", "printf '\\254\\250\\340' >&2; cat"];
    let done = pair.client.tow(args).stdin("мир").run().ok();
    assert_eq!((done.out().as_str(), done.err().as_str()), ("мир", "мир"));
    let _ = pair.client.tow(["run", "--encoding", "klingon", "box", "true"]).run().expect(251);
}

#[test]
fn a_terminal_without_one_here_has_the_usual_size_and_the_end_of_stdin() {
    let pair = pair();
    let done = pair.client.tow(["run", "-t", "box", "stty size; cat; echo over"]).stdin("in\n");
    // Where its echo comes depends on who is first.
    let out = done.run().ok().out();
    assert!(out.contains("24 80\r\n") && out.ends_with("in\r\nover\r\n"), "{out:?}");
    let done = pair.client.tow(["run", "-t", "--json", "box", "exit 6"]).run().expect(6);
    assert_eq!(done.last_json()["code"], 6);
}
