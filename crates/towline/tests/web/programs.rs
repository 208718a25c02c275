//! Programs and sessions.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};
use tow_testkit::{noise, until, until_some};

use crate::http::{Answer, cut};
use crate::{Door, json};

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.field("content-type"), Some("application/x-ndjson"));
    let lines = answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// All of one stream, as text.
fn all(lines: &[Value], stream: &str) -> String {
    lines.iter().filter_map(|line| line[stream].as_str()).collect()
}

#[test]
fn a_program_is_given_what_was_said_and_everything_it_writes_comes() {
    for door in Door::both(&[]) {
        let dir = door.path("");
        let body = json!({
            "shell": "read line; echo \"$line $A\"; pwd; echo no >&2; exit 3",
            "stdin": "hello\nmore\n", "cwd": dir, "env": [["A", "ä"]],
        });
        let answer = door.post("run", &body).expect(200);
        let lines = lines(&answer);
        assert!(answer.is_whole && lines[0]["session"].is_string());
        let real = std::fs::canonicalize(&dir).unwrap();
        assert_eq!(all(&lines, "stdout"), format!("hello ä\n{}\n", real.display()));
        assert_eq!(all(&lines, "stderr"), "no\n");
        assert_eq!(lines.last().unwrap()["exit"]["ended"], json!({"code": 3}));
        let slow = door.post("run", &json!({"argv": ["sleep", "100"], "timeout_ms": 200}));
        assert_eq!(self::lines(&slow).last().unwrap()["exit"]["by"], "timeout");
        let much = "head -c 20000000 /dev/zero | tr '\\0' x";
        let much = door.post("run", &json!({"shell": much})).expect(200);
        assert_eq!(all(&self::lines(&much), "stdout").len(), 20_000_000);
        let echo =
            String::from_utf8(noise(300_000, 1).iter().map(|byte| byte % 26 + b'a').collect());
        let echo = echo.unwrap();
        let cat = door.post("run", &json!({"argv": ["cat"], "stdin": echo})).expect(200);
        assert!(all(&self::lines(&cat), "stdout") == echo);
    }
}

#[test]
fn what_can_not_run_is_refused_in_words() {
    for door in Door::both(&[]) {
        for (body, status) in [
            (json!({}), 400),
            (json!({"argv": []}), 400),
            (json!({"argv": ["true"], "shell": "true"}), 400),
            (json!({"argv": ["true"], "terminal": true}), 400),
            (json!({"argv": ["true"], "detach": true, "stdin": ""}), 400),
            (json!({"argv": ["true"], "cwd": "relative"}), 400),
            (json!({"argv": ["a\u{0}b"]}), 400),
            (json!({"argv": ["no-such-program"]}), 404),
        ] {
            let answer = door.post("run", &body);
            assert_eq!(answer.status, status, "{body}");
            assert!(json(&answer)["error"]["message"].is_string());
        }
    }
}

#[test]
fn a_session_that_nobody_looks_at_is_listed_read_ended_and_forgotten() {
    for door in Door::both(&[]) {
        let ask = |method: &str, path: &str| {
            door.me.ask(method, &format!("/api/v1/sessions{path}"), &[], b"")
        };
        let body = json!({"shell": "echo out; echo err >&2; exec sleep 1000", "detach": true});
        let started = door.post("run", &body).expect(202);
        let id = json(&started)["session"].as_str().unwrap().to_owned();
        until("it has written", || !ask("GET", &format!("/{id}/log?stream=2")).body.is_empty());
        let log = ask("GET", &format!("/{id}/log")).expect(200);
        assert_eq!((log.body.as_slice(), log.field("x-tow-from")), (&b"out\n"[..], Some("0")));
        let log = ask("GET", &format!("/{id}/log?from=2")).expect(200);
        assert_eq!((log.body.as_slice(), log.field("x-tow-from")), (&b"t\n"[..], Some("2")));
        let list = json(&ask("GET", "").expect(200));
        assert_eq!(list["sessions"][0]["id"], id.as_str());
        assert_eq!(ask("DELETE", &format!("/{id}")).expect(409).refusal(), "SessionRuns");
        let kill =
            |signal: &str| door.post(&format!("sessions/{id}/kill"), &json!({"signal": signal}));
        let _ = kill("NONSENSE").expect(400);
        assert_eq!(json(&kill("TERM").expect(200)), json!({"processes": 1}));
        let exit = json(&ask("GET", &format!("/{id}/exit")).expect(200));
        assert_eq!(exit["ended"]["signal"]["name"], "TERM");
        let _ = ask("DELETE", &format!("/{id}")).expect(204);
        for (method, path) in [("GET", "/log"), ("GET", "/exit"), ("DELETE", "")] {
            let answer = ask(method, &format!("/{id}{path}")).expect(404);
            assert_eq!(answer.refusal(), "UnknownSession");
        }
    }
}

#[test]
fn a_program_whose_client_goes_away_ends() {
    for door in Door::both(&[]) {
        let body = json!({"shell": "echo here; exec sleep 1000"}).to_string();
        let len = body.len().to_string();
        let mut stream = door.me.begin("POST", "/api/v1/run", &[("Content-Length", &len)]);
        stream.write_all(body.as_bytes()).unwrap();
        let mut seen = Vec::new();
        while !seen.windows(4).any(|window| window == b"here") {
            let mut buffer = [0; 1000];
            let len = stream.read(&mut buffer).unwrap();
            assert!(len > 0);
            seen.extend_from_slice(&buffer[..len]);
        }
        cut(stream);
        let exit = until_some("it ends", || {
            let list = json(&door.me.ask("GET", "/api/v1/sessions", &[], b"").expect(200));
            Some(list["sessions"][0]["exit"].clone()).filter(|exit| !exit.is_null())
        });
        assert_eq!(exit["by"], "lease");
    }
}
