//! `tow serve` from outside: its state, its sockets, what it says to strangers, to its owner and to
//! the audit log.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tow_testkit::{Machine, Pair, mode_of, until, until_some};

const TOW: &str = env!("CARGO_BIN_EXE_tow");

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Sends `bytes` and reads until the node closes.
fn answer(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "not closed"),
    }
    answer
}

/// The finding of `tow doctor --json` about `what`.
fn finding(machine: &Machine, what: &str) -> Value {
    let findings = machine.tow(["doctor", "--json"]).run().json();
    findings.into_iter().find(|one| one["what"] == what).unwrap_or_else(|| panic!("no {what}"))
}

#[test]
fn a_second_node_is_told_who_is_there_and_disturbs_nobody() {
    let host = Machine::new(TOW);
    let node = host.serve(&[]);
    let pid = node.pid().to_string();
    let done = host.tow(["serve", "--listen", "127.0.0.1:0"]).run();
    let _ = done.fails_with_hint(1, &["another node runs here", &pid], "TOWLINE_HOME");
    let address = node.address().to_string();
    let other = Machine::new(TOW);
    let done = other.tow(["serve", "--listen", &address]).run();
    let _ = done.fails_with_hint(1, &[&address, "in use"], "--listen");
    assert_eq!(host.tow(["run", ".", "echo", "still here"]).run().ok().out(), "still here\n");
    // The one that failed holds nothing.
    let _ = other.serve(&[]);
}

#[test]
fn what_a_killed_node_left_is_replaced() {
    let mut pair = Pair::new(TOW);
    let socket = pair.host.home().join("node.sock");
    for _ in 0..2 {
        let other = Machine::new(TOW);
        std::mem::replace(&mut pair.node, other.serve(&[])).kill();
        assert!(socket.exists());
        let done = pair.host.tow(["keys"]).run();
        let _ = done.fails_with_hint(1, &["this machine"], "tow serve");
        pair.serve_again();
        assert_eq!(pair.host.tow(["keys", "--json"]).run().ok().json().len(), 1);
        let _ = pair.run(["true"]).run().ok();
    }
}

#[test]
fn a_state_directory_that_others_can_read_is_refused_with_the_cure() {
    let pair = Pair::new(TOW);
    let cure = |path: &Path, mode: &str| format!("chmod {mode} '{}'", path.display());
    let (home, key) = (pair.client.home(), pair.client.home().join("user.pem"));
    assert_eq!((mode_of(&home), mode_of(&key)), (0o700, 0o600));
    for (path, open, private, mend) in
        [(&home, 0o755, 0o700, cure(&home, "700")), (&key, 0o644, 0o600, cure(&key, "600"))]
    {
        chmod(path, open);
        let words = ["open to others"];
        let _ = pair.run(["true"]).run().fails_with_hint(254, &words, &mend);
        let _ = pair.client.tow(["ls", "box:"]).run().fails_with_hint(1, &words, &mend);
        let doctor = pair.client.tow(["doctor"]).run().expect(1);
        assert!(doctor.out().contains("WRONG") && doctor.out().contains(&mend), "{doctor}");
        chmod(path, private);
    }
    let _ = pair.run(["true"]).run().ok();
    chmod(&home, 0o750);
    let done = pair.client.tow(["serve", "--listen", "127.0.0.1:0"]).run();
    let _ = done.fails_with_hint(1, &["open to others"], "chmod 700");
}

#[test]
fn a_damaged_key_is_named_and_never_replaced() {
    let host = Machine::new(TOW);
    drop(host.serve(&[]));
    let client = host;
    let _ = client.tow(["run", ".", "true"]).run();
    let home = client.home();
    for (name, what, args, code) in [
        ("node.pem", "node key", &["serve", "--listen", "127.0.0.1:0"][..], 1),
        ("user.pem", "user key", &["run", ".", "true"], 254),
        ("user.pem", "user key", &["ls", ".:"], 1),
    ] {
        let path = home.join(name);
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[40] ^= 0x20;
        let damaged = [&whole[..whole.len() / 2], b"", &flipped, &[0xff; 100], &[b'x'; 100_000]];
        for (index, damage) in damaged.into_iter().enumerate() {
            fs::write(&path, damage).unwrap();
            let done = client.tow(args).run();
            if index == 2 && done.code() == 0 {
                continue;
            }
            let _ = done.fails(code, &[name]);
            assert!(fs::read(&path).unwrap() == damage, "{name} was replaced");
            assert_eq!(finding(&client, what)["state"], "wrong");
        }
        fs::write(&path, whole).unwrap();
        assert_eq!(finding(&client, what)["state"], "good");
    }
}

#[test]
fn a_damaged_grant_keeps_its_key_out_and_nobody_else() {
    let mut pair = Pair::new(TOW);
    let other = Machine::new(TOW);
    pair.join(&other, &["--name", "other"]);
    let keys = pair.host.tow(["keys", "--json"]).run().ok().json();
    let id = keys.iter().find(|key| key["name"] != "other").unwrap()["id"].as_str().unwrap();
    let file = pair.host.home().join("keys").join(format!("{id}.toml"));
    let whole = fs::read_to_string(&file).unwrap();
    let damages = [
        whole[..whole.len() / 2].to_owned(),
        format!("{whole}\nsurprise = true\n"),
        String::new(),
        whole.replace("created", "cremated"),
    ];
    for damage in damages {
        fs::write(&file, &damage).unwrap();
        let elsewhere = Machine::new(TOW);
        drop(std::mem::replace(&mut pair.node, elsewhere.serve(&[])));
        pair.serve_again();
        let _ = pair.run(["true"]).run().fails_with_hint(254, &["box", "see the log"], "tow serve");
        assert!(pair.node.log().contains(&file.display().to_string()), "{}", pair.node.log());
        let _ = other.tow(["run", "box", "true"]).run().ok();
        assert_eq!(finding(&pair.host, "key file")["state"], "wrong", "{damage}");
        let _ = pair.host.tow(["doctor"]).run().expect(1);
    }
}

#[test]
fn a_damaged_list_of_machines_is_named_with_its_line_and_kept() {
    let pair = Pair::new(TOW);
    let path = pair.client.home().join("hosts.toml");
    let whole = fs::read_to_string(&path).unwrap();
    let damage = whole.replace("key = \"", "key = \"x");
    fs::write(&path, &damage).unwrap();
    let _ = pair.run(["true"]).run().fails(254, &["hosts.toml:"]);
    let _ = pair.client.tow(["hosts", "rm", "box"]).run().fails(1, &["hosts.toml:"]);
    let _ = pair.client.tow(["doctor"]).run().expect(1);
    assert_eq!(fs::read_to_string(&path).unwrap(), damage);
}

#[test]
fn without_a_page_plain_http_gets_an_answer_that_a_person_can_read() {
    let host = Machine::new(TOW);
    let node = host.serve(&["--no-web"]);
    for request in ["GET / HTTP/1.1\r\nHost: box\r\n\r\n", "POST /x HTTP/1.0\r\n\r\n", "HEAD"] {
        let answer = String::from_utf8(answer(node.address(), request.as_bytes())).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
        assert!(
            head.contains(&format!("Content-Length: {}\r\n", body.len()))
                || head.ends_with(&format!("Content-Length: {}", body.len())),
            "{answer}"
        );
        assert!(body.contains("towline") && body.contains("tow join"), "{answer}");
    }
}

#[test]
fn the_page_is_served_to_this_machine_without_tls() {
    let host = Machine::new(TOW);
    let node = host.serve(&[]);
    let request =
        format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", node.address());
    let page = String::from_utf8(answer(node.address(), request.as_bytes())).unwrap();
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("content-security-policy: default-src 'none'; script-src 'self'"));
    assert!(page.to_lowercase().contains("<title>towline"), "{page}");
    let answer = answer(node.address(), b"SSH-2.0-OpenSSH_9.2\r\n\r\n");
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
    until("none is half-open", || host.status()["links"]["half_open"] == 0);
}

#[test]
fn who_speaks_something_else_is_closed() {
    let host = Machine::new(TOW);
    let node = host.serve(&["--no-web"]);
    let garbage_in_tls = [b"\x16\x03\x01\x00\x10".as_slice(), &[0x5a; 16]].concat();
    for bytes in [&[0; 100][..], b"\x80\x2e\x01", b"\xff", &garbage_in_tls, b"\0\0\0\0\0\0\0\xff"] {
        let answer = answer(node.address(), bytes);
        assert!(!answer.starts_with(b"HTTP"), "{bytes:?}: {answer:?}");
    }
    let answer = answer(node.address(), b"SSH-2.0-OpenSSH_9.2\r\n");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
    until("they are counted", || host.status()["links"]["dropped_bad"].as_u64() >= Some(6));
    until("none is half-open", || host.status()["links"]["half_open"] == 0);
}

#[test]
fn a_client_hello_may_come_one_byte_at_a_time() {
    let pair = Pair::new(TOW);
    pair.proxy.split(4_000);
    assert_eq!(pair.run(["echo", "in"]).run().ok().out(), "in\n");
}

#[test]
fn one_listener_serves_both_families() {
    let host = Machine::new(TOW);
    let node = host.serve_at(&["[::]:0"]);
    let port = node.address().port();
    for address in
        [format!("127.0.0.1:{port}"), format!("[::1]:{port}"), format!("localhost:{port}")]
    {
        let client = Machine::new(TOW);
        let _ = client.tow(["join", &address, &host.code(&[]), "--name", "box"]).run().ok();
        assert_eq!(client.tow(["run", "box", "echo", "in"]).run().ok().out(), "in\n");
        let _ = client.tow(["ls", &format!("{address}:")]).run().ok();
    }
    let froms: Vec<_> =
        host.audit().iter().map(|one| one["from"].as_str().unwrap().to_owned()).collect();
    assert!(froms.iter().any(|from| from.starts_with("127.0.0.1:")), "{froms:?}");
    assert!(froms.iter().any(|from| from.starts_with("[::1]:")), "{froms:?}");
}

#[test]
fn a_node_listens_wherever_it_is_told() {
    let host = Machine::new(TOW);
    let socket = host.file("extra.sock");
    let unix = format!("unix:{}", socket.display());
    let node = host.serve_at(&["127.0.0.1:0", "[::1]:0", &unix]);
    assert_eq!(node.listen.len(), 3, "{:?}", node.listen);
    assert!(node.listen[2].starts_with("unix:"), "{:?}", node.listen);
    assert_eq!(host.tow(["run", &unix, "echo", "in"]).run().ok().out(), "in\n");
    for url in &node.listen[..2] {
        let address = url.strip_prefix("tcp://").unwrap();
        let client = Machine::new(TOW);
        let _ = client.tow(["join", address, &host.code(&[])]).run().ok();
    }
    for (listen, code) in [("nonsense:port", 2), ("192.0.2.1:0", 1), ("unix:/no/such/dir/sock", 1)]
    {
        let _ = Machine::new(TOW).tow(["serve", "--listen", listen]).run().fails(code, &[]);
    }
    let _ = Machine::new(TOW).tow(["serve", "--root", "/no/such"]).run().fails(2, &["/no/such"]);
    let _ = node.stop();
    assert!(!socket.exists());
}

#[test]
fn a_home_whose_socket_path_is_too_long_is_refused() {
    let host = Machine::new(TOW);
    let home = host.file("x".repeat(120));
    let done = host.tow(["serve", "--listen", "127.0.0.1:0"]).env("TOWLINE_HOME", &home).run();
    let _ = done.fails(1, &["node.sock", "too long"]);
}

#[test]
fn the_owner_comes_in_through_the_socket_without_a_key() {
    let host = Machine::new(TOW);
    let _node = host.serve(&[]);
    let socket = host.home().join("node.sock");
    assert_eq!(mode_of(&socket) & 0o077, 0, "others can reach the owner's door");
    let _ = host.write("file", "content");
    for name in [".".to_owned(), format!("unix:{}", socket.display())] {
        assert_eq!(host.tow(["run", &name, "echo", "in"]).run().ok().out(), "in\n");
        assert_eq!(host.tow(["ls", &format!("{name}:")]).run().ok().out(), "file\n");
    }
    let done = host.tow(["join", &format!("unix:{}", socket.display()), "ABCD-EFGH"]).run();
    let _ = done.fails(2, &["nothing to join"]);
    assert!(host.audit().iter().all(|one| one["from"] == "local"));
}

#[test]
fn doctor_finds_nothing_wrong_with_a_good_set_up() {
    let pair = Pair::new(TOW);
    let done = pair.host.tow(["doctor"]).run().ok();
    let out = done.out();
    for words in ["good", "node key", "state directory", "listening", "half-open", "backlog"] {
        assert!(out.contains(words), "{words}: {done}");
    }
    assert!(!out.contains("WRONG") && done.stderr.is_empty(), "{done}");
    assert_eq!(finding(&pair.host, "keys that may come in")["detail"], "1");
    // Without a node: something to know, nothing wrong.
    assert_eq!(finding(&pair.client, "node")["state"], "warning");
    let done = pair.client.tow(["doctor"]).run().ok();
    assert!(done.out().contains("tow serve"), "{done}");
}

#[test]
fn doctor_counts_open_half_open_and_dropped_connections() {
    let pair = Pair::new(TOW);
    let links = || pair.host.status()["links"].clone();
    let mut running = pair.run(["cat"]).start();
    running.write(b"in\n");
    let _ = running.line(0);
    // Itself is one of them, through the socket. The one that joined may be about to end.
    until("two are open", || {
        let links = links();
        (&links["open"], &links["half_open"]) == (&json!(2), &json!(0))
    });
    let connect = || TcpStream::connect(pair.node.address()).unwrap();
    let (silent, late) = until_some("five are half-open", || {
        // On a slow machine, the five before these may have been dropped before anybody looked.
        let silent = [(); 5].map(|()| connect());
        let links = links();
        (links["half_open"] == 5).then(|| (silent, links["dropped_late"].as_u64().unwrap()))
    });
    until("five came too late", || links()["dropped_late"].as_u64() == Some(late + 5));
    until("none is half-open", || links()["half_open"] == 0);
    drop(silent);
    running.close_stdin();
    let _ = running.wait().ok();
    until("the link is closed", || links()["open"] == 1);
    assert!(links()["accepted"].as_u64() > Some(10));
    assert_eq!(pair.host.status()["backlog"], 4096);
}

#[track_caller]
fn check_no_log_has(pair: &Pair, secrets: &[&str]) {
    let text = fs::read_to_string(pair.host.home().join("audit.jsonl")).unwrap() + &pair.node.log();
    for secret in secrets {
        assert!(!text.contains(secret), "{secret} is in a log");
    }
}

#[test]
fn the_audit_log_has_a_line_for_everything_and_no_secret() {
    let pair = Pair::new(TOW);
    let _ = pair.host.write("file", "the content");
    let address = pair.proxy.address().to_string();
    let invited = pair.host.invite(&["--may", "read"]);
    let secret = |name: &str| invited[name].as_str().unwrap().to_owned();
    let (code, ticket) = (secret("code"), secret("ticket"));
    let stranger = Machine::new(TOW);
    let wrong = format!("{}{}", if code.starts_with('7') { "8" } else { "7" }, &code[1..]);
    let _ = stranger.tow(["join", &address, &wrong]).run().expect(1);
    let _ = stranger.tow(["join", &ticket, "--name", "box"]).run().ok();
    let _ = stranger.tow(["run", "box", "true"]).run().expect(252);
    let _ = pair
        .run(["--env", "PASSWORD=hunter2", "cat; exit 3"])
        .stdin("typed secret")
        .run()
        .expect(3);
    let _ = pair.client.tow(["get", "box:file"]).run().ok();
    let _ = pair.client.tow(["put", "file", "box:copy"]).run().ok();
    let _ = pair.client.tow(["ls", "box:missing"]).run().expect(1);
    let _ = Machine::new(TOW);

    // What was carried out is recorded once it is over, which may be after its client has gone.
    let log = until_some("all is recorded", || {
        let log = pair.host.audit();
        let has = |what: &str, outcome: &str| {
            log.iter().any(|one| one["what"] == what && one["outcome"] == outcome)
        };
        (has("run", "exit") && has("get", "ok") && has("put", "ok")).then_some(log)
    });
    let found = |what: &str, outcome: &str| {
        log.iter().find(|one| one["what"] == what && one["outcome"] == outcome).cloned()
    };
    let run = found("run", "exit").expect("the run");
    assert_eq!((&run["exit"], &run["env"]), (&json!(3), &json!(["PASSWORD"])));
    assert_eq!(run["detail"], json!(["-c", "cat; exit 3"]));
    assert!(run["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{run}");
    assert!(
        run["who"].as_str().is_some_and(|who| who.len() > 30) && run["time"].is_string(),
        "{run}"
    );
    let refused = found("run", "refused").expect("the refused run");
    assert_eq!((&refused["why"], &refused["code"]), (&json!("NoRight"), &json!(13)));
    assert_ne!(refused["who"], run["who"]);
    assert_eq!(found("get", "ok").expect("the get")["bytes"], 11);
    assert_eq!(found("put", "ok").expect("the put")["detail"], json!(["copy"]));
    assert_eq!(found("ls", "refused").expect("the ls")["why"], "NotFound");
    assert_eq!(found("join", "refused").expect("the wrong code")["why"], "WrongCode");
    assert_eq!(log.iter().filter(|one| one["what"] == "join").count(), 3);
    assert_eq!(found("invite", "ok").expect("the invitation")["from"], "local");
    let numbers: Vec<_> = log.iter().map(|one| one["seq"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1), "{numbers:?}");

    let secret_part = ticket.rsplit('.').next().unwrap();
    let bare = code.replace('-', "");
    check_no_log_has(
        &pair,
        &[&code, &bare, &wrong, secret_part, "hunter2", "typed secret", "the content"],
    );
    let shown = pair.host.tow(["audit"]).run().ok().out();
    assert!(shown.lines().count() >= log.len() && shown.contains("cat; exit 3"), "{shown}");
    // From afar it takes the right `admin`.
    assert!(pair.client.tow(["audit", "box", "--json"]).run().ok().json().len() > log.len());
    let _ = stranger.tow(["audit", "box"]).run().fails(1, &["does not allow", "`admin`"]);
}

#[test]
fn the_audit_log_can_be_followed() {
    let pair = Pair::new(TOW);
    let following = pair.host.tow(["audit", "-f", "--json"]).start();
    let _ = following.line(0);
    let _ = pair.run(["exit 42"]).run().expect(42);
    until("the run is shown", || {
        String::from_utf8_lossy(&following.stdout()).contains("\"exit\":42")
    });
    following.kill();
}

#[test]
fn a_node_that_nobody_watches_prints_no_code() {
    let host = Machine::new(TOW);
    let node = host.tow(["serve", "--listen", "127.0.0.1:0"]).start();
    let log = || String::from_utf8_lossy(&node.stderr()).into_owned();
    until("it has said everything", || log().contains("tow invite"));
    assert!(!log().contains("#tow1.") && !log().contains("tow join"), "{}", log());
    node.signal(tow_testkit::Signal::TERM);
    assert!(node.wait().ok().stdout.is_empty());
}
