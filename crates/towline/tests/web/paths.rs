//! Paths that are to lead out of a grant, or to no good end, by every method.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;
use tow_testkit::names_in;

use crate::Door;
use crate::http::Visitor;

/// As they stand in a URL below the root of the grant.
fn tricks() -> Vec<String> {
    let mut tricks: Vec<String> = [
        "../secret",
        "sub/../../secret",
        "%2e%2e/secret",
        "%2e%2e%2fsecret",
        "sub/%2e%2e%2f..%2Fsecret",
        "..%2fsecret",
        "out",
        "out/secret",
        "loop/x",
        "a%00b",
        "%",
        "%zz",
        "..%c0%afsecret",
        "%252e%252e%252fsecret",
        "..%5csecret",
        "sub/../../../../../../../../etc/passwd",
        "/../secret",
    ]
    .map(str::to_owned)
    .to_vec();
    tricks.push("n".repeat(256));
    tricks.push("d/".repeat(2_049));
    tricks
}

fn confined() -> Door {
    let mut door = Door::here(&[]);
    let root = door.host.file("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    let _ = door.host.write("secret", "secret");
    symlink("..", root.join("out")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    door.me = Visitor::sign_in(&door.host, &door.node, &["--root", root.to_str().unwrap()]);
    door
}

#[test]
fn no_path_leads_out_of_the_root_by_any_method() {
    let door = confined();
    let unharmed = |what: &str| {
        assert_eq!(fs::read(door.host.file("secret")).unwrap(), b"secret", "{what}");
        assert_eq!(names_in(&door.host.work()), ["root", "secret"], "{what}");
    };
    for trick in tricks() {
        let url = format!("/api/v1/files/{trick}");
        for (method, query, body) in [
            ("GET", "", ""),
            ("HEAD", "", ""),
            ("GET", "?stat&follow", ""),
            ("PATCH", "", "{\"mode\":0}"),
            ("DELETE", "?recursive", ""),
            ("PUT", "?parents", "x"),
        ] {
            // A link that is removed or replaced itself is no way out.
            let is_own_link = matches!(trick.as_str(), "out" | "loop/x");
            if is_own_link && matches!(method, "DELETE" | "PUT" | "PATCH") {
                continue;
            }
            let answer = door.me.ask(method, &(url.clone() + query), &[], body.as_bytes());
            let content = String::from_utf8_lossy(&answer.body);
            assert!(!content.contains("secret\n") && content != "secret", "{method} {trick}");
            assert!(!content.contains("root:"), "{method} {trick}");
            let is_a_name = trick.contains("%c0") || trick.contains("%25") || trick.contains("%5c");
            if is_a_name && method == "PUT" {
                // Decoded once, it is a name as any other.
                assert_eq!(answer.status, 201, "{method} {trick}: {content}");
                let _ = door.me.ask("DELETE", &url, &[], b"").expect(200);
            } else {
                let statuses = [400, 403, 404, 409];
                assert!(statuses.contains(&answer.status), "{method} {trick}: {}", answer.status);
            }
            unharmed(&format!("{method} {trick}"));
        }
    }
}

#[test]
fn no_path_in_a_body_leads_out_of_the_root() {
    let door = confined();
    let _ = door.me.ask("PUT", "/api/v1/files/mine", &[], b"mine").expect(201);
    let mut paths: Vec<_> =
        ["/../secret", "/out/secret", "/sub/../../secret", "/a\u{0}b", "secret", ""]
            .map(|path| json!(path))
            .to_vec();
    paths.extend([json!({"b64": "Ly4uL3NlY3JldA=="}), json!(format!("/{}", "n".repeat(256)))]);
    paths.push(json!("/d".repeat(2_049)));
    for path in paths {
        for (what, body) in [
            ("mkdir", json!({"path": path})),
            ("mkdir", json!({"path": path, "parents": true})),
            ("move", json!({"from": path, "to": "/got", "replace": true})),
            ("move", json!({"from": "/mine", "to": path, "replace": true})),
            ("copy", json!({"from": path, "to": "/got", "replace": true})),
            ("copy", json!({"from": "/mine", "to": path, "replace": true})),
        ] {
            let answer = door.post(what, &body);
            let statuses = [400, 403, 404, 409];
            assert!(statuses.contains(&answer.status), "{what} {body}: {}", answer.status);
            assert_eq!(fs::read(door.host.file("secret")).unwrap(), b"secret", "{what} {body}");
            assert_eq!(names_in(&door.host.work()), ["root", "secret"], "{what} {body}");
        }
    }
    assert_eq!(names_in(&door.host.file("root")), ["loop", "mine", "out", "sub"]);
}

#[test]
fn a_root_is_where_every_path_starts() {
    let door = confined();
    let _ = door.me.ask("PUT", "/api/v1/files/sub/a", &[], b"a").expect(201);
    assert_eq!(fs::read(door.host.file("root/sub/a")).unwrap(), b"a");
    let answer = door.me.ask("GET", "/api/v1/files/sub/b", &[], b"").expect(404);
    assert_eq!(crate::json(&answer)["error"]["path"], "/sub/b");
    let known = door.me.ask("GET", "/api/v1/files/sub/a?stat", &[], b"").expect(200);
    assert_eq!(crate::json(&known)["path"], "/sub/a");
    for dir in ["/api/v1/files", "/api/v1/files/"] {
        let list = crate::json(&door.me.ask("GET", dir, &[], b"").expect(200));
        assert_eq!(list["entries"].as_array().unwrap().len(), 3, "{dir}");
    }
}

#[test]
fn who_may_not_is_refused_by_every_method() {
    let reader = Door::here(&["--may", "read"]);
    let _ = reader.host.write("a", "a");
    let path = reader.path("a");
    let before = names_in(&reader.host.work());
    for (method, body) in [("PUT", "x"), ("DELETE", ""), ("PATCH", "{\"mode\":0}")] {
        let answer = reader.me.ask(method, &reader.url("a"), &[], body.as_bytes()).expect(403);
        assert_eq!(answer.refusal(), "NoRight");
        assert_eq!(crate::json(&answer)["error"]["right"], "write");
    }
    for (what, body) in [
        ("mkdir", json!({"path": format!("{path}b")})),
        ("move", json!({"from": path, "to": format!("{path}b")})),
        ("copy", json!({"from": path, "to": format!("{path}b")})),
        ("run", json!({"argv": ["true"]})),
    ] {
        assert_eq!(reader.post(what, &body).expect(403).refusal(), "NoRight", "{what}");
    }
    let _ = reader.me.ask("GET", "/api/v1/sessions", &[], b"").expect(403);
    assert_eq!(names_in(&reader.host.work()), before);
    assert_eq!(fs::read(reader.host.file("a")).unwrap(), b"a");
    let writer = Door::here(&["--may", "write"]);
    let _ = writer.put("a", &[], b"a").expect(201);
    let _ = writer.put("a", &[("If-None-Match", "*")], b"b").expect(412);
    for url in [writer.url("a"), writer.url(""), writer.url("a") + "?stat"] {
        assert_eq!(writer.me.ask("GET", &url, &[], b"").expect(403).refusal(), "NoRight");
    }
    let copy = json!({"from": writer.path("a"), "to": writer.path("b")});
    let _ = writer.post("copy", &copy).expect(403);
}
