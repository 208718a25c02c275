//! What ends a share ends everything that came of it.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

mod http;

use http::Visitor;
use serde_json::json;
use tow_testkit::{Machine, Node};

const TOW: &str = env!("CARGO_BIN_EXE_tow");

fn node() -> (Machine, Node) {
    let host = Machine::new(TOW);
    let node = host.serve(&[]);
    (host, node)
}

/// Shares something as `giver`, and gives whoever has the link.
fn share(giver: &Visitor, node: &Node, what: &serde_json::Value) -> Visitor {
    let made = giver.ask("POST", "/api/v1/shares", &[], what.to_string().as_bytes());
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    Visitor::with(node, made["link"].as_str().unwrap().split_once("#tows1.").unwrap().1)
}

#[test]
fn a_share_makes_no_share_that_could_outlive_it() {
    let (host, node) = node();
    let dir = host.write("photos/a.txt", "a").parent().unwrap().display().to_string();
    let giver = Visitor::sign_in(&host, &node, &[]);
    let what = json!({"path": dir, "may": ["read"], "for_secs": 600});
    let visitor = share(&giver, &node, &what);
    assert_eq!(visitor.ask("GET", "/api/v1/files/a.txt", &[], b"").body, b"a");
    let again = json!({"path": "/", "may": ["read"], "for_secs": 60}).to_string();
    assert_eq!(visitor.ask("POST", "/api/v1/shares", &[], again.as_bytes()).status, 403);
}

#[test]
fn whoever_signs_out_ends_what_goes_on_by_their_shares() {
    let (host, node) = node();
    let giver = Visitor::sign_in(&host, &node, &[]);
    let run = json!({"argv": ["sleep", "1000"], "detach": true}).to_string();
    let run = giver.ask("POST", "/api/v1/run", &[], run.as_bytes());
    let id = run.json()["session"].as_str().unwrap().to_owned();
    let what = json!({"session": id, "may": ["watch"], "for_secs": 600});
    let visitor = share(&giver, &node, &what);
    let waiting = visitor.begin("GET", &format!("/api/v1/sessions/{id}/exit"), &[]);
    let shares = |owner: &Machine| owner.tow(["share", "ls", ".", "--json"]).run().ok().json();
    tow_testkit::until("somebody looks", || {
        shares(&host).first().is_some_and(|share| share["links"] != json!(0))
    });
    assert_eq!(giver.ask("POST", "/api/v1/signout", &[], b"").status, 204);
    let answer = http::read(waiting, "GET");
    assert_ne!(answer.status, 200, "{answer:?}");
    assert_eq!(visitor.ask("GET", "/api/v1/me", &[], b"").status, 401);
    tow_testkit::until("it is in the log", || {
        host.audit().iter().any(|line| line["what"] == "signout")
    });
    let left = shares(&host);
    let _ = host.tow(["kill", ".", &id]).run();
    assert_eq!(left.len(), 0);
}

#[test]
fn what_holds_the_keys_of_the_node_or_what_a_login_runs_is_not_shared() {
    let (host, node) = node();
    let giver = Visitor::sign_in(&host, &node, &[]);
    let ask = |path: &str, may: &str| {
        let what = json!({"path": path, "may": [may], "for_secs": 600}).to_string();
        giver.ask("POST", "/api/v1/shares", &[], what.as_bytes())
    };
    for may in ["read", "write"] {
        let refused = ask("/", may);
        assert_eq!((refused.status, refused.refusal().as_str()), (403, "PermissionDenied"));
    }
}
