//! Coming in and being put out: codes, tickets, keys, rights, and a machine whose key has changed.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

use std::time::{Duration, Instant};

use tow_testkit::{Direction, Machine, Node, Pair, is_running, until};

const TOW: &str = env!("CARGO_BIN_EXE_tow");

fn pair() -> Pair {
    Pair::new(TOW)
}

/// A machine that is served, and nobody who has joined it.
fn alone() -> (Node, Machine, String) {
    let host = Machine::new(TOW);
    let node = host.serve(&[]);
    let address = node.address().to_string();
    (node, host, address)
}

/// The code with one character changed.
fn wrong(code: &str) -> String {
    let other = if code.starts_with('7') { "8" } else { "7" };
    format!("{other}{}", &code[1..])
}

fn ticket(host: &Machine, args: &[&str]) -> String {
    host.invite(args)["ticket"].as_str().expect("an invitation has a ticket").to_owned()
}

#[test]
fn a_code_lets_one_device_in_once() {
    let (_node, host, address) = alone();
    let code = host.code(&[]);
    let client = Machine::new(TOW);
    let done = client.tow(["join", &address, &code, "--name", "box", "--json"]).run().ok();
    let joined = done.last_json();
    assert_eq!((&joined["name"], &joined["address"]), (&"box".into(), &address.as_str().into()));
    assert_eq!(joined["may"].as_array().map(Vec::len), Some(6));
    assert_eq!(client.tow(["run", "box", "echo", "in"]).run().ok().out(), "in\n");

    let late = Machine::new(TOW);
    let done = late.tow(["join", &address, &code]).run();
    let _ = done.fails_with_hint(1, &[&address, "used already"], "tow invite");
    let _ = late.tow(["run", &address, "true"]).run().fails_with_hint(253, &[], "tow join");
}

#[test]
fn a_code_is_read_as_people_write_it() {
    let (_node, host, address) = alone();
    for write in [
        str::to_lowercase,
        |code: &str| code.replace('-', ""),
        |code: &str| code.replace('-', " "),
        |code: &str| code.replace('0', "o").replace('1', "l"),
    ] {
        let code = write(&host.code(&[]));
        let _ = Machine::new(TOW).tow(["join", &address, &code]).run().ok();
    }
}

#[test]
fn a_code_may_come_from_stdin() {
    let (_node, host, address) = alone();
    let code = host.code(&[]);
    let client = Machine::new(TOW);
    let done = client.tow(["join", &address]).stdin("\n").run();
    let _ = done.fails_with_hint(2, &["no code"], "tow invite");
    let _ = client.tow(["join", &address, "--name", "box"]).stdin(format!("{code}\n")).run().ok();
    let _ = client.tow(["run", "box", "true"]).run().ok();
}

#[test]
fn what_can_not_be_a_code_costs_no_guess() {
    let (_node, host, address) = alone();
    let code = host.code(&[]);
    let client = Machine::new(TOW);
    for bad in ["ABC", "ABCD-EFGH-J", "UUUU-UUUU", "!BCD-EFGH", "ÄBCD-EFGH"] {
        let done = client.tow(["join", &address, bad]).run();
        let _ = done.fails_with_hint(2, &["not a code"], "no guess was spent");
    }
    let _ = client.tow(["join", &address, &code]).run().ok();
}

#[test]
fn three_wrong_guesses_void_a_code() {
    let (_node, host, address) = alone();
    let code = host.code(&[]);
    let bad = wrong(&code);
    let client = Machine::new(TOW);
    let guess = |code: &str| client.tow(["join", &address, code]).run();
    let _ =
        guess(&bad).fails_with_hint(1, &["the code is wrong", "2 guesses left"], "check the code");
    let _ = guess(&bad).fails(1, &["the code is wrong", "1 guess left"]);
    let _ = guess(&bad).fails_with_hint(1, &["void", "too many wrong guesses"], "tow invite");
    let _ = guess(&code).fails_with_hint(1, &["void"], "tow invite");
    assert!(client.tow(["hosts", "ls", "--json"]).run().ok().stdout.is_empty());
    // The next one is as good as ever.
    let _ = guess(&host.code(&[])).ok();
}

#[test]
fn an_invitation_ends_with_its_time() {
    let (_node, host, address) = alone();
    let _ = Machine::new(TOW).tow(["join", &address, "ABCD-EFGH"]).run().fails_with_hint(
        1,
        &["no invitation"],
        "tow invite",
    );
    let invited = host.invite(&["--for", "1s"]);
    let asked = Instant::now();
    until("the second has passed", || asked.elapsed() > Duration::from_millis(1_100));
    for target in [
        [&address, invited["code"].as_str().unwrap()].as_slice(),
        &[invited["ticket"].as_str().unwrap()],
    ] {
        let done = Machine::new(TOW).tow(["join"]).args(target).run();
        let _ = done.fails_with_hint(1, &["that invitation has expired"], "tow invite");
    }
}

#[test]
fn a_ticket_lets_one_device_in_once_and_carries_the_machines_key() {
    let (_node, host, address) = alone();
    let text = ticket(&host, &["--name", "laptop"]);
    assert!(text.starts_with(&format!("https://{address}/#tow1.")), "{text}");
    let client = Machine::new(TOW);
    let _ = client.tow(["join", &text, "--name", "box"]).run().ok();
    let _ = client.tow(["run", "box", "true"]).run().ok();
    let done = Machine::new(TOW).tow(["join", &text]).run();
    let _ = done.fails_with_hint(1, &["used already"], "tow invite");
    let _ = client.tow(["join", &text, "ABCD-EFGH"]).run().fails(2, &["needs no code"]);
    let cut = &text[..text.len() - 3];
    let _ = client.tow(["join", cut]).run().fails(2, &["not a ticket", "cut off"]);

    // Its key is not the one of the machine that answers at its address.
    let (_other_node, other, other_address) = alone();
    let foreign = ticket(&other, &[]).replace(&other_address, &address);
    let done = Machine::new(TOW).tow(["join", &foreign]).run();
    let _ = done.fails(1, &["another key", "nothing was sent"]);
}

#[test]
fn joining_something_else_says_what_is_wrong() {
    let client = Machine::new(TOW);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let not_a_node = std::thread::spawn(move || listener.accept().map(drop));
    let _ = client.tow(["join", &address, "ABCD-EFGH"]).run().fails(1, &[&address]);
    not_a_node.join().unwrap().unwrap();
    let done = client.tow(["join", &address, "ABCD-EFGH"]).run();
    let _ = done.fails_with_hint(1, &[&address, "refused"], "tow serve");
    let _ = client.tow(["join", "nobody.invalid", "ABCD-EFGH"]).run().fails(1, &["nobody.invalid"]);
    let _ = client.tow(["join", "a b", "ABCD-EFGH"]).run().fails(2, &["not an address"]);
}

#[test]
fn a_changed_host_key_is_refused_and_nothing_is_sent() {
    let pair = pair();
    let secret = "x".repeat(100_000);
    let (impostor, other, address) = alone();
    pair.proxy.point_to(address.parse().unwrap());
    let before = pair.proxy.carried(Direction::Up);
    for (args, code) in [
        (["run", "box", "touch", &secret], 253),
        (["ls", "box:", "-l", "--json"], 1),
        (["get", "box:x", "box:y", "."], 1),
    ] {
        let done = pair.client.tow(args).run();
        let words = ["box shows another key", "the one you know", "nothing was sent"];
        let _ = done.fails_with_hint(code, &words, "tow hosts rm box");
    }
    let sent = pair.proxy.carried(Direction::Up) - before;
    assert!(sent < 3 * 4_000, "{sent} bytes went to a stranger");
    assert!(other.audit().iter().all(|record| record["from"] == "local"), "{:?}", other.audit());
    drop(impostor);

    // The right machine is still known.
    pair.proxy.point_to(pair.node.address());
    let _ = pair.run(["true"]).run().ok();
}

#[test]
fn machines_are_listed_renamed_and_forgotten() {
    let pair = pair();
    let hosts = |args: &[&str]| pair.client.tow(["hosts"]).args(args).run();
    let listed = hosts(&["--json"]).ok().last_json();
    assert_eq!(listed["name"], "box");
    assert_eq!(listed["addresses"][0], pair.proxy.address().to_string());
    let _ = hosts(&["rename", "box", "server"]).ok();
    let _ = pair.client.tow(["run", "server", "true"]).run().ok();
    let _ = pair.run(["true"]).run().fails_with_hint(253, &["`box`"], "tow join");
    let _ = hosts(&["rename", "box", "other"]).fails_with_hint(1, &["box"], "tow hosts");
    let _ = hosts(&["rename", "server", "a:b"]).fails(1, &["name"]);
    let _ = hosts(&["rm", "server"]).ok();
    let _ = hosts(&["rm", "server"]).fails_with_hint(1, &["server"], "tow hosts");
    assert!(hosts(&["--json"]).ok().stdout.is_empty());
    // The address alone does not do: its key is not known any more.
    let address = pair.proxy.address().to_string();
    let _ = pair.client.tow(["run", &address, "true"]).run().fails_with_hint(253, &[], "tow join");
}

#[test]
fn a_machine_may_be_named_by_its_address() {
    let pair = pair();
    let address = pair.proxy.address().to_string();
    for name in [address.clone(), format!("tcp://{address}")] {
        assert_eq!(pair.client.tow(["run", &name, "echo", "in"]).run().ok().out(), "in\n");
    }
}

#[test]
fn keys_are_listed_with_their_rights_and_names_of_their_own() {
    let (_node, host, address) = alone();
    let root = host.work().display().to_string();
    let clients: Vec<_> = (0..3).map(|_| Machine::new(TOW)).collect();
    for (client, args) in clients.iter().zip([
        &["--name", "phone"][..],
        &["--name", "phone", "--may", "read,write", "--root", &root],
        &["--name", "robot", "--may", "run", "--expires", "1d"],
    ]) {
        let _ = client.tow(["join", &address, &host.code(args)]).run().ok();
    }
    let keys = host.tow(["keys", "ls", "--json"]).run().ok().json();
    let names: Vec<_> = keys.iter().map(|key| key["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["phone", "phone-2", "robot"]);
    assert_eq!(keys[0]["may"].as_array().map(Vec::len), Some(6));
    assert_eq!(keys[1]["may"], serde_json::json!(["read", "write"]));
    assert_eq!((&keys[0]["root"], &keys[1]["root"]), (&"/".into(), &root.as_str().into()));
    assert!(keys[0]["expires"].is_null() && keys[2]["expires"].is_string(), "{keys:?}");
    let text = host.tow(["keys"]).run().ok().out();
    assert!(text.lines().count() == 3 && text.contains("phone-2"), "{text}");
}

#[test]
fn a_removed_key_is_out_until_it_joins_again() {
    let pair = pair();
    let key = pair.host.tow(["keys", "--json"]).run().ok().last_json();
    let (name, id) = (key["name"].as_str().unwrap(), key["id"].as_str().unwrap());
    let rm = |key: &str| pair.host.tow(["keys", "rm", key]).run();
    let _ = rm("nobody").fails_with_hint(1, &["no key", "nobody"], "tow keys");
    assert!(rm(name).ok().err().contains(id));
    let _ = rm(name).fails(1, &["no key"]);
    let done = pair.run(["true"]).run();
    let _ = done.fails_with_hint(253, &["box", "removed"], "tow invite");
    assert!(pair.host.tow(["keys", "--json"]).run().ok().stdout.is_empty());
    pair.join(&pair.client, &["--name", "again"]);
    let _ = pair.run(["true"]).run().ok();
    // By the start of its fingerprint.
    let _ = rm(&id[..9]).ok();
    let _ = pair.run(["true"]).run().fails(253, &["removed"]);
}

#[test]
fn a_removed_key_stays_out_when_the_node_starts_again() {
    let mut pair = pair();
    let key = pair.host.tow(["keys", "--json"]).run().ok().last_json();
    let _ = pair.host.tow(["keys", "rm", key["id"].as_str().unwrap()]).run().ok();
    let old = std::mem::replace(&mut pair.node, Machine::new(TOW).serve(&[]));
    assert_eq!(old.stop(), Some(0));
    pair.serve_again();
    let _ = pair.run(["true"]).run().fails(253, &["removed"]);
}

#[test]
fn removal_cuts_open_links_at_once_and_ends_their_programs() {
    let pair = pair();
    let other = Machine::new(TOW);
    pair.join(&other, &["--name", "other"]);
    let mut bystander = other.tow(["run", "box", "cat"]).start();
    bystander.write(b"one\n");
    let _ = bystander.line(0);
    let running = pair.run(["echo $$; exec sleep 300"]).start();
    let pid: u32 = running.line(0).parse().unwrap();

    let key = pair.host.tow(["keys", "--json"]).run().ok().json();
    let key = key.iter().find(|key| key["name"] != "other").unwrap();
    assert_eq!(key["links"], 1);
    let removed = pair.host.tow(["keys", "rm", "--json", key["id"].as_str().unwrap()]).run().ok();
    let since = Instant::now();
    assert_eq!(removed.last_json()["links"], 1);
    let done = running.wait();
    // Sooner than a lease is over, and than a silent peer is dead.
    assert!(since.elapsed() < Duration::from_secs(20), "{:?}: {done}", since.elapsed());
    let _ = done.fails(253, &["box", "removed"]);
    until("the program has ended", || !is_running(pid));

    bystander.write(b"two\n");
    assert_eq!(bystander.line(1), "two");
    bystander.close_stdin();
    let _ = bystander.wait().ok();
}

#[test]
fn a_grant_ends_with_its_time() {
    let pair = Pair::invited(TOW, &["--expires", "3s"]);
    let _ = pair.run(["true"]).run();
    until("the grant has expired", || pair.run(["true"]).run().code() == 253);
    let done = pair.run(["true"]).run();
    let _ = done.fails_with_hint(253, &["box", "expired"], "tow invite");
    let _ = pair.client.tow(["ls", "box:"]).run().fails(1, &["expired"]);
}

#[test]
fn a_second_invitation_replaces_the_grant_of_a_key() {
    let pair = Pair::invited(TOW, &["--may", "read"]);
    let _ =
        pair.run(["true"]).run().fails_with_hint(252, &["does not allow", "`run`"], "tow invite");
    pair.join(&pair.client, &["--may", "run"]);
    let _ = pair.run(["true"]).run().ok();
    let _ = pair.client.tow(["ls", "box:"]).run().fails(1, &["does not allow", "`read`"]);
    assert_eq!(pair.host.tow(["keys", "--json"]).run().ok().json().len(), 1);
}

#[test]
fn a_root_confines_files_and_invite_says_that_it_does_not_confine_programs() {
    let (_node, host, address) = alone();
    let inside = host.file("inside");
    std::fs::create_dir(&inside).unwrap();
    let _ = host.write("inside/file", "in");
    let _ = host.write("outside", "out");
    let root = inside.display().to_string();
    let invited = host.tow(["invite", "--json", "--root", &root]).run().ok();
    assert!(invited.err().contains("not confined"), "{invited}");
    let code = invited.last_json()["code"].as_str().unwrap().to_owned();
    let client = Machine::new(TOW);
    let _ = client.tow(["join", &address, &code, "--name", "box"]).run().ok();
    // Relative paths start at the root, absolute ones are the machine's own.
    assert_eq!(client.tow(["ls", "box:"]).run().ok().out(), "file\n");
    assert_eq!(client.tow(["ls", &format!("box:{root}")]).run().ok().out(), "file\n");
    for path in ["box:../outside", "box:/etc", &format!("box:{}", host.file("outside").display())] {
        let _ = client.tow(["ls", path]).run().fails_with_hint(1, &["outside of"], "grant");
        let _ = client.tow(["get", path, "."]).run().fails(1, &["outside of"]);
    }
    assert!(tow_testkit::names_in(&client.work()).is_empty());
    let missing = host.tow(["invite", "--root", "/no/such/dir"]).run();
    let _ = missing.fails(2, &["/no/such/dir"]);
}

#[test]
fn only_the_owner_or_an_admin_makes_invitations() {
    let (node, _host, _address) = alone();
    let stranger = Machine::new(TOW);
    // Its own node would be asked; it has none.
    let _ = stranger.tow(["invite"]).run().fails_with_hint(1, &["this machine"], "tow serve");
    let _ = stranger.tow(["keys"]).run().fails_with_hint(1, &["this machine"], "tow serve");
    drop(node);
}
