//! Who may do what: every verb, asked by everybody who may not, is refused with the right code, and
//! does nothing.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

use std::fs;

use tow_testkit::{Done, Machine, Pair, names_in, until};

const TOW: &str = env!("CARGO_BIN_EXE_tow");

/// A verb that needs a right.
#[derive(Clone, Copy, Debug)]
struct Verb {
    right: &'static str,
    args: &'static [&'static str],
    /// The exit code when the machine does not know who asks.
    unproved: i32,
    /// The exit code when the right is missing.
    refused: i32,
}

const VERBS: [Verb; 6] = [
    Verb { right: "run", args: &["run", "box", "touch made"], unproved: 253, refused: 252 },
    Verb { right: "run", args: &["run", "box", "touch", "made"], unproved: 253, refused: 252 },
    Verb { right: "read", args: &["ls", "box:"], unproved: 1, refused: 1 },
    Verb { right: "read", args: &["get", "box:file", "got"], unproved: 1, refused: 1 },
    Verb { right: "write", args: &["put", "mine", "box:made"], unproved: 1, refused: 1 },
    Verb { right: "admin", args: &["audit", "box"], unproved: 1, refused: 1 },
];

const RIGHTS: [&str; 6] = ["run", "read", "write", "forward", "admin", "watch"];

/// A host with `file` in its working directory, and a client with `mine` in its own.
fn pair(invite: &[&str]) -> Pair {
    let pair = Pair::invited(TOW, invite);
    let _ = pair.host.write("file", "content");
    let _ = pair.client.write("mine", "mine");
    pair
}

fn ask(client: &Machine, verb: Verb) -> Done {
    client.tow(verb.args).run()
}

/// Every verb of `client` fails with these words, and leaves both machines as they were.
#[track_caller]
fn nobody(pair: &Pair, client: &Machine, words: &[&str], hint: &str) {
    let before = names_in(&client.work());
    for verb in VERBS {
        let done = ask(client, verb).fails_with_hint(verb.unproved, words, hint);
        assert!(done.stdout.is_empty(), "{done}");
    }
    assert_eq!(names_in(&pair.host.work()), ["file"]);
    assert_eq!(names_in(&client.work()), before);
}

fn key_name(pair: &Pair) -> String {
    pair.host.tow(["keys", "--json"]).run().ok().last_json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_device_with_all_rights_may_do_everything() {
    let pair = pair(&[]);
    for verb in VERBS {
        let _ = ask(&pair.client, verb).ok();
    }
    assert_eq!(names_in(&pair.host.work()), ["file", "made"]);
    assert_eq!(names_in(&pair.client.work()), ["got", "mine"]);
}

#[test]
fn each_right_allows_its_own_verbs_and_no_others() {
    let pair = pair(&[]);
    for right in RIGHTS {
        let client = Machine::new(TOW);
        let _ = client.write("mine", "mine");
        pair.join(&client, &["--may", right]);
        for verb in VERBS {
            let done = ask(&client, verb);
            if verb.right == right {
                let _ = done.ok();
                let _ = fs::remove_file(pair.host.file("made"));
                let _ = fs::remove_file(client.file("got"));
            } else {
                let missing = format!("`{}` is missing", verb.right);
                let done = done.fails_with_hint(
                    verb.refused,
                    &["box", "does not allow", &missing],
                    "tow invite --may",
                );
                assert!(done.stdout.is_empty(), "{done}");
                assert_eq!(names_in(&pair.host.work()), ["file"], "{verb:?}");
                assert_eq!(names_in(&client.work()), ["mine"], "{verb:?}");
            }
        }
    }
}

#[test]
fn all_rights_but_one_allow_all_verbs_but_its_own() {
    let pair = pair(&[]);
    for missing in ["run", "read", "write", "admin"] {
        let client = Machine::new(TOW);
        let _ = client.write("mine", "mine");
        let rights: Vec<_> = RIGHTS.into_iter().filter(|right| *right != missing).collect();
        pair.join(&client, &["--may", &rights.join(",")]);
        for verb in VERBS {
            let done = ask(&client, verb);
            if verb.right == missing {
                let _ = done.fails(verb.refused, &["does not allow", missing]);
            } else {
                let _ = done.ok();
            }
        }
    }
}

#[test]
fn a_key_that_was_never_invited_is_unknown() {
    let pair = pair(&[]);
    // It has the list of machines, and a key of its own.
    let stranger = Machine::new(TOW);
    let _ = stranger.tow(["hosts"]).run().ok();
    let list = fs::read(pair.client.home().join("hosts.toml")).unwrap();
    fs::write(stranger.home().join("hosts.toml"), list).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(stranger.home().join("hosts.toml"), mode).unwrap();
    let _ = stranger.write("mine", "mine");
    nobody(&pair, &stranger, &["box", "does not know this key"], "tow join");
}

#[test]
fn a_key_that_was_made_anew_is_unknown() {
    let pair = pair(&[]);
    fs::remove_file(pair.client.home().join("user.pem")).unwrap();
    nobody(&pair, &pair.client, &["box", "does not know this key"], "tow join");
}

#[test]
fn a_machine_that_was_never_joined_is_not_asked() {
    let pair = pair(&[]);
    let stranger = Machine::new(TOW);
    let _ = stranger.write("mine", "mine");
    let before = pair.proxy.connections();
    nobody(&pair, &stranger, &["`box`", "not a machine"], "tow join");
    assert_eq!(pair.proxy.connections(), before);
}

#[test]
fn a_removed_key_may_do_nothing() {
    let pair = pair(&[]);
    let _ = pair.host.tow(["keys", "rm", &key_name(&pair)]).run().ok();
    nobody(&pair, &pair.client, &["box", "was removed"], "tow invite");
}

#[test]
fn an_expired_key_may_do_nothing() {
    let pair = pair(&["--expires", "3s"]);
    let is_expired = || pair.client.tow(["ls", "box:"]).run().err().contains("expired");
    until("the grant has expired", is_expired);
    nobody(&pair, &pair.client, &["box", "has expired"], "tow invite");
}

#[test]
fn a_grant_that_expires_ends_what_runs_under_it() {
    // Long enough to get to work, on a slow machine too.
    let pair = pair(&["--expires", "10s"]);
    let mut running = pair.run(["cat"]).start();
    running.write(b"in\n");
    assert_eq!(running.line(0), "in");
    let _ = running.wait().fails_with_hint(253, &["box", "has expired"], "tow invite");
    let _ = pair.run(["true"]).run().fails(253, &["has expired"]);
}

#[test]
fn every_refusal_is_in_the_audit_log() {
    let pair = pair(&["--may", "forward"]);
    for verb in VERBS {
        let _ = ask(&pair.client, verb).expect(verb.refused);
    }
    let log = pair.host.audit();
    let refused: Vec<_> = log.iter().filter(|one| one["outcome"] == "refused").collect();
    assert_eq!(refused.len(), VERBS.len(), "{log:?}");
    assert!(refused.iter().all(|one| one["why"] == "NoRight"), "{refused:?}");
    for verb in VERBS {
        assert!(refused.iter().any(|one| one["what"] == verb.args[0]), "{verb:?}");
    }
}
