//! Sessions outlive `tow serve`, whichever way it ends, and the process that keeps them ends when
//! there is nothing to keep.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

use std::fs;

use tow_testkit::{Machine, Pair, is_running, mode_of, until, until_some};

const TOW: &str = env!("CARGO_BIN_EXE_tow");

/// Counts, and says each number; one in a while, so that some are said while no node is there. Ends
/// when there is a file `go`.
const COUNT: &str = "i=0; while [ $i -lt 300 ]; do i=$((i + 1)); echo $i; sleep 0.01; done
    until test -e go; do sleep 0.02; done; exit 7";

fn counted() -> String {
    (1..=300).map(|number| format!("{number}\n")).collect()
}

fn keeper_of(machine: &Machine) -> u32 {
    machine.keeper_pid().expect("there is a keeper")
}

fn send(signal: &str, pid: u32) {
    let status = std::process::Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_node_that_is_killed_in_the_middle_loses_no_byte() {
    let mut pair = Pair::new(TOW);
    let keeper = keeper_of(&pair.host);
    let running = pair.run([COUNT]).start();
    let _ = running.line(20);
    let other = Machine::new(TOW);
    std::mem::replace(&mut pair.node, other.serve(&[])).kill();
    pair.serve_again();
    let _ = pair.host.write("go", "");
    assert_eq!(running.wait().expect(7).out(), counted());
    assert_eq!(keeper_of(&pair.host), keeper);
}

#[test]
fn a_node_that_is_told_to_stop_says_what_goes_on_and_finds_it_again() {
    let mut pair = Pair::new(TOW);
    let running = pair.run([COUNT]).start();
    let _ = running.line(20);
    let other = Machine::new(TOW);
    let node = std::mem::replace(&mut pair.node, other.serve(&[]));
    assert_eq!(node.stop(), Some(0));
    assert!(!pair.host.home().join("node.sock").exists());
    pair.serve_again();
    assert!(pair.node.log().contains("1 session goes on"), "{}", pair.node.log());
    let _ = pair.host.write("go", "");
    assert_eq!(running.wait().expect(7).out(), counted());
}

#[test]
fn a_keeper_with_nothing_to_keep_ends_after_its_node_and_not_before() {
    let host = Machine::new(TOW);
    let node = host.serve(&[]);
    let keeper = keeper_of(&host);
    assert_eq!(host.tow(["run", ".", "echo", "in"]).run().ok().out(), "in\n");
    // The node's own connection holds it; a run that it can serve shows that it is there.
    assert_eq!(keeper_of(&host), keeper);
    assert_eq!(node.stop(), Some(0));
    until("the keeper has ended", || !is_running(keeper));
    let _node = host.serve(&[]);
    assert_ne!(keeper_of(&host), keeper);
}

#[test]
fn a_keeper_is_private_and_takes_nothing_of_its_nodes_surroundings() {
    let host = Machine::new(TOW);
    let node = host.serve(&[]);
    let keeper = keeper_of(&host);
    let proc = |name: &str| format!("/proc/{keeper}/{name}");
    assert_eq!(fs::read(proc("environ")).unwrap(), b"");
    assert_eq!(fs::read_link(proc("cwd")).unwrap(), std::path::Path::new("/"));
    let stat = fs::read_to_string(proc("stat")).unwrap();
    let session = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap();
    assert_eq!(session, keeper.to_string(), "a session of its own");
    for name in ["keeper.1.sock", "keeper.log", "sessions"] {
        assert_eq!(mode_of(&host.home().join(name)) & 0o077, 0, "{name} is open to others");
    }
    drop(node);
}

#[test]
fn a_keeper_that_is_told_to_end_ends_its_sessions_in_order() {
    let pair = Pair::new(TOW);
    let keeper = keeper_of(&pair.host);
    let running = pair.run(["--json", "echo $$; exec sleep 300"]).start();
    let pid: u32 = running.line(0).parse().unwrap();
    send("-TERM", keeper);
    let record = running.wait().expect(129).last_json();
    assert_eq!((&record["signal"], &record["ended_by"]), (&"HUP".into(), &"node".into()));
    assert!(!is_running(pid));
    until("the keeper has ended", || !is_running(keeper));
    assert_eq!(pair.run(["echo", "next"]).run().ok().out(), "next\n");
}

#[test]
fn sessions_are_lost_with_a_keeper_that_is_killed_and_a_new_one_is_there_for_the_next() {
    let pair = Pair::new(TOW);
    let keeper = keeper_of(&pair.host);
    // It sees the end of its stdin.
    let running = pair.run(["echo $$; read line"]).start();
    let pid: u32 = running.line(0).parse().unwrap();
    send("-KILL", keeper);
    let _ = running.wait().fails_with_hint(254, &["box", "no such session"], "session");
    until("the program has ended", || !is_running(pid));
    assert_eq!(pair.run(["echo", "next"]).run().ok().out(), "next\n");
    assert!(keeper_of(&pair.host) != keeper && !is_running(keeper));
}

#[test]
fn a_removed_key_takes_its_sessions_with_it() {
    let pair = Pair::new(TOW);
    let running = pair.run(["--lease", "1h", "echo $$; exec sleep 300"]).start();
    let pid: u32 = running.line(0).parse().unwrap();
    running.kill();
    let key = pair.host.tow(["keys", "--json"]).run().ok().last_json();
    let _ = pair.host.tow(["keys", "rm", key["name"].as_str().unwrap()]).run().ok();
    until("the program has ended", || !is_running(pid));
}

#[test]
fn a_lease_runs_while_no_node_is_there() {
    let pair = Pair::new(TOW);
    let running = pair.run(["--lease", "1s", "echo $$; exec sleep 300"]).start();
    let pid: u32 = running.line(0).parse().unwrap();
    let Pair { node, proxy: _proxy, client: _client, host } = pair;
    running.kill();
    node.kill();
    until("the program has ended", || !is_running(pid));
    until("the keeper has ended", || host.keeper_pid().is_none());
}

#[test]
fn a_start_is_in_the_audit_log_before_its_end() {
    let pair = Pair::new(TOW);
    let mut running = pair.run(["cat"]).start();
    running.write(b"in\n");
    let _ = running.line(0);
    let begun = until_some("the start is recorded", || {
        pair.host.audit().into_iter().find(|one| one["outcome"] == "begun")
    });
    assert_eq!((&begun["what"], &begun["detail"]), (&"run".into(), &serde_json::json!(["cat"])));
    running.close_stdin();
    let _ = running.wait().ok();
    let ended = until_some("the end is recorded", || {
        pair.host.audit().into_iter().find(|one| one["outcome"] == "exit")
    });
    assert_eq!((&ended["exit"], &ended["session"]), (&0.into(), &begun["session"]));
}

#[test]
fn what_is_no_nodes_socket_is_refused() {
    let host = Machine::new(TOW);
    let store = host.file("store");
    let done = host.tow(["keeper", "--store", store.to_str().unwrap()]).run();
    let _ = done.fails(2, &["tow serve"]);
    assert!(!store.exists());
}

#[test]
fn a_node_that_gets_ctrl_c_does_not_pass_it_on() {
    let host = Machine::new(TOW);
    let node = host.serve(&[]);
    let running = host.tow(["run", "--lease", "1h", ".", "echo $$; exec sleep 300"]).start();
    let pid: u32 = running.line(0).parse().unwrap();
    running.kill();
    send("-INT", node.pid());
    assert_eq!(node.stop(), Some(0));
    assert!(is_running(pid));
}
