//! Work that is left to itself and found again: `run -d`, `sessions`, `logs`, `wait`, `kill`, `attach`
//! without a terminal, and links that are cut while it goes on.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

use tow_testkit::{Direction, How, Pair, closed, noise, until};

fn pair() -> Pair {
    Pair::new(env!("CARGO_BIN_EXE_tow"))
}

/// Starts a shell line and leaves it; gives its id.
fn left(pair: &Pair, line: &str) -> String {
    let done = pair.client.tow(["run", "-d", "box", line]).run().ok();
    let id = done.out().trim_end().to_owned();
    assert!(id.len() == 12 && done.out().ends_with('\n') && done.err().is_empty(), "{done}");
    id
}

/// Waits until it has written so many bytes to stdout and to stderr.
fn has_written(pair: &Pair, id: &str, [stdout, stderr]: [u64; 2]) {
    until("it has written", || {
        let listed = pair.client.tow(["sessions", "box", "--json"]).run().ok().json();
        let has = |one: &serde_json::Value, name: &str, len| one[name].as_u64() >= Some(len);
        listed
            .iter()
            .any(|one| one["id"] == id && has(one, "stdout", stdout) && has(one, "stderr", stderr))
    });
}

#[test]
fn work_that_is_left_to_itself_is_listed_read_and_waited_for() {
    let pair = pair();
    let id = left(&pair, "echo out; echo err >&2; until test -e go; do sleep 0.02; done; exit 7");
    has_written(&pair, &id, [4, 4]);
    let table = pair.client.tow(["sessions", "box"]).run().ok().out();
    let lines: Vec<_> = table.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("ID  "), "{table}");
    assert!(lines[1].starts_with(&id) && lines[1].contains("running"), "{table}");
    assert!(
        lines[1].ends_with("echo out; echo err >&2; until test -e go; do sleep 0.02; done; exit 7")
    );

    let tow = |args: &[&str]| pair.client.tow(args.iter().copied()).run();
    let listed = tow(&["sessions", "box", "--json"]).ok().json();
    assert_eq!((&listed[0]["lease"], &listed[0]["typing"]), (&"detached".into(), &0.into()));
    assert_eq!(tow(&["logs", "box", &id]).ok().out(), "out\n");
    assert_eq!(tow(&["logs", "box", &id[..5], "--stderr"]).ok().out(), "err\n");
    assert_eq!(tow(&["logs", "box", &id, "--from", "2"]).ok().out(), "t\n");
    assert_eq!(tow(&["logs", "box", &id, "--from", "4"]).ok().out(), "");
    let _ = tow(&["logs", "box", &id, "--from", "5"]).fails(2, &["4 bytes of stdout", "none at 5"]);
    let _ = tow(&["sessions", "rm", "box", &id]).fails_with_hint(
        1,
        &["still runs"],
        &format!("tow kill box {id} first"),
    );

    let waiting = pair.client.tow(["wait", "box", &id, "--json"]).start();
    let _ = pair.host.write("go", "");
    let record = waiting.wait().expect(7).last_json();
    assert_eq!((&record["code"], &record["stdout"]["bytes"]), (&7.into(), &4.into()));
    let _ = tow(&["wait", "box", &id[..4]]).expect(7);
    let listed = tow(&["sessions", "ls", "box", "--json"]).ok().json();
    assert_eq!((&listed[0]["state"], &listed[0]["exit"]["code"]), (&"exit 7".into(), &7.into()));

    let _ = tow(&["sessions", "rm", "box", &id]).ok();
    assert!(tow(&["sessions", "box", "--json"]).ok().json().is_empty());
    assert!(tow(&["sessions", "box"]).ok().err().contains("No sessions on box"));
}

#[test]
fn what_is_not_there_is_said_with_the_commands_own_code() {
    let pair = pair();
    for (command, code) in [("attach", 254), ("wait", 254), ("logs", 1), ("kill", 1)] {
        for id in ["abcdefghjkmn", "abcd"] {
            let done = pair.client.tow([command, "box", id]).run();
            let _ = done.fails_with_hint(code, &["box", "no "], "tow sessions box");
        }
        let usage = if code == 254 { 251 } else { 2 };
        let _ = pair.client.tow([command, "box", "abc"]).run().fails(usage, &["too little"]);
        assert_eq!(pair.client.tow([command, "box"]).run().code(), usage);
    }
    let _ = pair.client.tow(["sessions", "rm", "box", "abcd"]).run().fails(1, &["no session"]);
}

#[test]
fn a_log_is_followed_to_the_end_of_the_program_over_cut_links() {
    let pair = pair();
    let id =
        left(&pair, "for n in 1 2 3 4; do echo $n; until test -e go$n; do sleep 0.02; done; done");
    let following = pair.client.tow(["logs", "-f", "box", &id]).start();
    for n in 1..=4 {
        assert_eq!(following.line(n - 1), n.to_string());
        pair.proxy.cut_now(if n % 2 == 0 { How::Fin } else { How::Reset });
        let _ = pair.host.write(format!("go{n}"), "");
    }
    let done = following.wait().ok();
    assert_eq!((done.out().as_str(), done.err().as_str()), ("1\n2\n3\n4\n", ""));
}

#[test]
fn a_log_that_was_too_long_says_which_bytes_are_missing() {
    let pair = pair();
    let id = left(&pair, "yes 0123456789 | head -c 60000000");
    let _ = pair.client.tow(["wait", "box", &id]).run().ok();
    let done = pair.client.tow(["logs", "box", &id]).run().ok();
    let missing = 60_000_000 - done.stdout.len();
    let err = done.err();
    let words: Vec<_> = err.split_whitespace().collect();
    let [_, "bytes", from, "to", last, "are", "kept", "no", "more"] = words[..] else {
        panic!("{done}")
    };
    let (from, last): (usize, usize) = (from.parse().unwrap(), last.parse().unwrap());
    assert_eq!(last + 1 - from, missing, "{err}");
    let whole = |at: usize| b"0123456789\n"[at % 11];
    let before = done.stdout[..from].iter().enumerate().all(|(at, byte)| *byte == whole(at));
    let mut after = done.stdout[from..].iter().enumerate();
    assert!(before && after.all(|(at, byte)| *byte == whole(last + 1 + at)));
}

#[test]
fn killing_ends_the_tree_and_is_what_waiting_hears() {
    let pair = pair();
    let tow = |args: &[&str]| pair.client.tow(args.iter().copied()).run();
    let id = left(&pair, "sleep 300 & sleep 300");
    let done = tow(&["kill", "box", &id[..6]]).ok();
    assert!(done.stdout.is_empty() && done.stderr.is_empty(), "{done}");
    let record = tow(&["wait", "box", &id, "--json"]).expect(143).last_json();
    assert_eq!((&record["signal"], &record["ended_by"]), (&"TERM".into(), &"user".into()));
    let _ = tow(&["kill", "box", &id]).fails(1, &["has ended"]);

    let id = left(&pair, "trap 'exit 11' USR1; echo on; while :; do sleep 0.02; done");
    has_written(&pair, &id, [3, 0]);
    let _ = tow(&["kill", "box", &id, "-s", "nonsense"]).fails(2, &["no signal `nonsense`"]);
    let _ = tow(&["kill", "box", &id, "-s", "usr1"]).ok();
    let code = tow(&["wait", "box", &id]).code();
    // The shell's own sleep may have been what the signal ended first.
    assert!([11, 138].contains(&code), "{code}");
}

#[test]
fn a_program_on_pipes_can_be_left_and_attached_with_its_input() {
    let pair = pair();
    let mut running = pair.run(["cat; echo over"]).start();
    running.write(b"one\n");
    assert_eq!(running.line(0), "one");
    let listed = pair.client.tow(["sessions", "box", "--json"]).run().ok().json();
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    running.kill();
    // Who has nothing to say ends nothing.
    let empty = pair.client.tow(["attach", "box", &id]).start();
    assert_eq!(empty.line(0), "one");
    empty.kill();
    let done = pair.client.tow(["attach", "box", &id]).stdin("two\n").run().ok();
    assert_eq!(done.out(), "one\ntwo\nover\n");
    let done = pair.client.tow(["attach", "--json", "box", &id]).run().ok();
    assert_eq!(done.out().lines().take(3).collect::<Vec<_>>(), ["one", "two", "over"]);
    assert_eq!(done.last_json()["code"], 0);
}

#[test]
fn work_turns_out_to_be_long_and_is_left_where_it_is() {
    let pair = pair();
    let line = "echo started; read line; echo got $line; until test -e go; do sleep 0.02; done";
    let mut terminal = pair.client.tow(["run", "box", line]).on_terminal(24, 80);
    terminal.shows("started");
    // The end of the line of an escape is not for the program.
    terminal.keys("~?\n");
    terminal.shows("open here; connected");
    terminal.keys("something\n");
    terminal.shows("got something");
    terminal.keys("~d\n");
    assert_eq!(terminal.ended(), 0);
    terminal.shows("tow: detached; tow attach box ");
    let listed = pair.client.tow(["sessions", "box", "--json"]).run().ok().json();
    assert_eq!((&listed[0]["state"], &listed[0]["lease"]), (&"running".into(), &"detached".into()));
    let _ = pair.host.write("go", "");
    let _ = pair.client.tow(["wait", "box", listed[0]["id"].as_str().unwrap()]).run().ok();
}

#[test]
fn pipes_survive_cut_links_with_every_byte_once() {
    let pair = pair();
    let content = noise(6 << 20, 5);
    let running = pair.run(["tee /dev/stderr"]);
    let cutter = std::thread::scope(|scope| {
        let done = scope.spawn(|| running.stdin(content.clone()).run());
        let mut cuts = 0;
        while !done.is_finished() {
            pair.proxy.cut_now(if cuts % 2 == 0 { How::Reset } else { How::Fin });
            cuts += 1;
            // However slow the machine is, each link brings something.
            let enough = pair.proxy.carried(Direction::Down) + 200_000;
            until("more has come", || {
                done.is_finished() || pair.proxy.carried(Direction::Down) > enough
            });
        }
        (done.join().unwrap(), cuts)
    });
    let (done, cuts) = cutter;
    let done = done.ok();
    assert!(cuts > 10, "{cuts} cuts");
    assert!(done.stdout == content && done.stderr == content, "after {cuts} cuts");
}

#[test]
fn a_look_that_is_cut_short_hurts_nothing() {
    let pair = pair();
    let line = "yes | head -c 3000000; until test -e go; do sleep 0.02; done; exit 5";
    let id = left(&pair, line);
    let looks = format!(
        "\"$TOW\" attach box {id} </dev/null | head -n 1; \"$TOW\" logs box {id} | head -n 1"
    );
    assert_eq!(pair.client.sh(&looks).run().ok().out(), "y\ny\n");
    let _ = pair.host.write("go", "");
    let _ = pair.client.tow(["wait", "box", &id]).run().expect(5);
}

#[test]
fn whoever_watches_an_outage_is_told_and_may_go() {
    let pair = pair();
    let line = "\"$TOW\" run box 'echo started; read line; echo got $line'; echo code $?";
    let terminal = pair.client.sh(line).on_terminal(24, 80);
    terminal.shows("started");
    let address = pair.node.address();
    pair.proxy.point_to(closed());
    pair.proxy.cut_now(How::Reset);
    terminal.shows("tow: box: connection lost, trying again (~ ");
    pair.proxy.point_to(address);
    terminal.until("a screen without our line", |screen| !screen.contains("connection lost"));
    terminal.keys("afterwards\n");
    terminal.shows("got afterwards");
    terminal.shows("code 0");

    let terminal = pair.client.sh(line).on_terminal(24, 80);
    terminal.shows("started");
    pair.proxy.point_to(closed());
    pair.proxy.cut_now(How::Reset);
    terminal.shows("connection lost");
    terminal.keys([3]);
    terminal.shows("ends when its lease is over; tow attach box");
    pair.proxy.point_to(address);
}
