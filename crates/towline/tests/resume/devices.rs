//! Who goes, who stays, and who else may come.

use tow_testkit::{Machine, Pair, is_running, until};

use super::{TOW, on_terminal, session};

/// A tree of processes: one in the foreground, one behind it, one in a session of its own.
const TREE: &str = "sleep 300 & a=$!; setsid sleep 300 & echo $$ $a $!; wait";

fn pids(line: &str) -> Vec<u32> {
    line.split(' ').map(|word| word.trim().parse().expect("a process id")).collect()
}

#[test]
fn a_program_ends_with_its_lease_after_its_client_was_killed() {
    let pair = Pair::new(TOW);
    let running = pair.run(["--lease", "1s", TREE]).start();
    let tree = pids(&running.line(0));
    running.kill();
    for pid in &tree {
        until("the tree has ended", || !is_running(*pid));
    }
    let done = pair.client.tow(["wait", "box", &session(&pair), "--json"]).run();
    assert_eq!(done.last_json()["ended_by"], "lease", "{done}");
}

#[test]
fn a_terminal_ends_with_its_lease_after_its_client_was_killed() {
    let pair = Pair::new(TOW);
    let terminal = on_terminal(&pair, &["run", "-t", "--lease", "1s", "box", TREE]);
    terminal.until("three ids", |screen| screen.split_whitespace().count() == 3);
    let tree = pids(terminal.screen().trim());
    drop(terminal);
    for pid in tree {
        until("the tree has ended", || !is_running(pid));
    }
}

#[test]
fn a_detached_program_stays_whoever_was_killed() {
    let pair = Pair::new(TOW);
    let id = pair.run(["-d", &format!("exec >tree; {TREE}")]).run().ok().out();
    let id = id.trim();
    until("it has begun", || pair.host.file("tree").exists());
    let watching = pair.client.tow(["logs", "-f", "box", id]).start();
    let typing = pair.client.tow(["attach", "box", id]).start();
    until("both look", || {
        let listed = pair.client.tow(["sessions", "box", "--json"]).run().ok().last_json();
        listed["typing"] == 1
    });
    typing.kill();
    watching.kill();
    until("nobody looks", || {
        let listed = pair.client.tow(["sessions", "box", "--json"]).run().ok().last_json();
        listed["typing"] == 0
    });
    let mut tree = Vec::new();
    until("its ids are there", || {
        let text = std::fs::read_to_string(pair.host.file("tree")).unwrap();
        tree = text.split_whitespace().map(|word| word.parse().unwrap()).collect::<Vec<u32>>();
        tree.len() == 3
    });
    assert!(tree.iter().all(|pid| is_running(*pid)), "{tree:?}");
    let _ = pair.client.tow(["kill", "box", id]).run().ok();
    let _ = pair.client.tow(["wait", "box", id]).run().expect(143);
    until("the tree has ended", || !tree.iter().any(|pid| is_running(*pid)));
}

#[test]
fn other_devices_see_or_type_as_their_rights_say() {
    let pair = Pair::new(TOW);
    let [watcher, admin, stranger] = ["watch", "admin", "run"].map(|right| {
        let machine = Machine::new(TOW);
        pair.join(&machine, &["--may", right]);
        machine
    });
    let owner = on_terminal(&pair, &["shell", "box"]);
    owner.keys("echo own''er\r");
    owner.shows("\nowner");
    let id = session(&pair);

    // A right to watch is one to see, and not one to type.
    let seen = watcher.tow(["attach", "--watch", "box", &id]).on_terminal(24, 80);
    seen.shows("\nowner");
    seen.keys("touch touched\r");
    owner.keys("echo li''ve\r");
    seen.shows("\nlive");
    let _ = watcher.tow(["attach", "box", &id]).run().fails(252, &["box", "`admin`"]);
    let _ = watcher.tow(["kill", "box", &id]).run().fails(1, &["box", "`admin`"]);
    let logs = watcher.tow(["logs", "box", &id]).run().ok().out();
    assert!(logs.contains("\rlive\r\n"), "{logs:?}");

    // An admin works with what is another's.
    let typed = admin.tow(["attach", "box", &id]).on_terminal(24, 80);
    typed.shows("\nlive");
    typed.keys("echo ad''min\r");
    owner.shows("\nadmin");
    seen.shows("\nadmin");

    // Whoever has neither does not even learn that it is there.
    for args in [&["attach", "box"][..], &["logs", "box"], &["wait", "box"], &["kill", "box"]] {
        let unknown = stranger.tow(args).arg("000000000000").run();
        let hidden = stranger.tow(args).arg(&id).run();
        assert_eq!(unknown.err().replace("000000000000", &id), hidden.err());
        let code = if matches!(args[0], "attach" | "wait") { 254 } else { 1 };
        let _ = hidden.fails(code, &["box", "session"]);
    }
    assert!(stranger.tow(["sessions", "box"]).run().ok().out().is_empty());
    assert!(!pair.host.file("touched").exists());
}
