//! Locks.

use tow_testkit::names_in;

use super::{House, house, visitor};

pub(crate) fn lockinfo(scope: &str) -> String {
    format!(
        "<D:lockinfo xmlns:D='DAV:'><D:lockscope><D:{scope}/></D:lockscope>\
        <D:locktype><D:write/></D:locktype><D:owner>me &lt;1></D:owner></D:lockinfo>"
    )
}

/// Locks something, and gives the token with its brackets.
fn lock(house: &House, path: &str, depth: &str, status: u16) -> String {
    let answer =
        house.ask("LOCK", path, &[("Depth", depth)], &lockinfo("exclusive")).expect(status);
    let body = String::from_utf8_lossy(&answer.body);
    assert!(body.contains("me &lt;1&gt;") && body.contains("<D:activelock>"), "{body}");
    answer.field("lock-token").unwrap().to_owned()
}

#[test]
fn a_lock_is_its_holders_and_ends_with_what_is_locked() {
    let house = house();
    let other = visitor(&house.host, &house.node, "read,write");
    house.host.write("a", "a");
    let token = lock(&house, "/a", "0", 200);
    let shown = format!("({token})");
    let own = [("If", shown.as_str()), ("Destination", "/dav/b")];
    for (method, body) in
        [("PUT", "x"), ("DELETE", ""), ("MOVE", ""), ("LOCK", &lockinfo("shared"))]
    {
        // The token alone is of no use to somebody else, nor its holder's name without it.
        let path = "/dav/a";
        other.ask(method, path, &own, body.as_bytes()).expect(423);
        let refused = house.ask(method, "/a", &own[1..], body).expect(423);
        let refused = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(refused.contains("<D:href>/dav/a</D:href>"), "{refused}");
    }
    other.ask("UNLOCK", "/dav/a", &[("Lock-Token", &token)], b"").expect(403);
    let found = other.ask("PROPFIND", "/dav/a", &[("Depth", "0")], b"").expect(207);
    assert!(String::from_utf8_lossy(&found.body).contains("<D:activelock>"));
    house.ask("PUT", "/a", &own, "mine").expect(204);
    assert_eq!(house.read("a"), "mine");
    house.ask("MOVE", "/a", &own, "").expect(201);
    // A lock is of a path, and stays behind.
    other.ask("PUT", "/dav/b", &[], b"theirs").expect(204);
    other.ask("PUT", "/dav/a", &[], b"theirs").expect(201);
    house.ask("UNLOCK", "/a", &[("Lock-Token", &token)], "").expect(409);
}

#[test]
fn a_lock_of_a_directory_is_about_its_names_and_with_depth_about_everything() {
    let house = house();
    let other = visitor(&house.host, &house.node, "read,write");
    house.host.write("d/a", "a");
    let token = lock(&house, "/d", "0", 200);
    other.ask("PUT", "/dav/d/a", &[], b"b").expect(204);
    other.ask("PUT", "/dav/d/new", &[], b"b").expect(423);
    other.ask("MKCOL", "/dav/d/new", &[], b"").expect(423);
    other.ask("DELETE", "/dav/d/a", &[], b"").expect(423);
    house.ask("UNLOCK", "/d", &[("Lock-Token", &token)], "").expect(204);
    let token = lock(&house, "/d", "infinity", 200);
    other.ask("PUT", "/dav/d/a", &[], b"c").expect(423);
    other.ask("DELETE", "/dav/d", &[], b"").expect(423);
    let shown = format!("</dav/d/> ({token})");
    house.ask("PUT", "/d/a", &[("If", &shown)], "d").expect(204);
    let wrong = format!("</dav/e> ({token})");
    house.ask("PUT", "/d/a", &[("If", &wrong)], "e").expect(412);
    assert_eq!(house.read("d/a"), "d");
    // Whoever has another root meets the same lock.
    let root = house.host.file("d");
    let below =
        super::Visitor::sign_in(&house.host, &house.node, &["--root", root.to_str().unwrap()]);
    below.ask("PUT", "/dav/a", &[], b"f").expect(423);
}

#[test]
fn a_name_that_is_not_there_is_locked_by_an_empty_file() {
    let house = house();
    let token = lock(&house, "/new", "0", 201);
    assert_eq!(house.read("new"), "");
    let shown = format!("({token})");
    house.ask("PUT", "/new", &[("If", &shown)], "content").expect(204);
    house.ask("LOCK", "/new", &[("If", &shown), ("Timeout", "Second-30")], "").expect(200);
    house.ask("LOCK", "/new", &[("If", "(<opaquelocktoken:other>)")], "").expect(412);
    house.ask("LOCK", "/none/new", &[("Depth", "0")], &lockinfo("exclusive")).expect(409);
    house.ask("UNLOCK", "/new", &[("Lock-Token", &token)], "").expect(204);
    house.ask("UNLOCK", "/new", &[("Lock-Token", &token)], "").expect(409);
    assert_eq!(names_in(&house.host.work()), ["new"]);
}
