//! Programs have what a login of their account would give them, and nobody waits for its start-up
//! files.

mod session_support;

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use session_support::*;
use tow_host::session::{Limits, Login, Sessions, Spec};

/// As nodes have them.
fn with_logins(limits: &mut Limits) {
    limits.login_time = DEADLINE;
    limits.login_age = Duration::from_secs(3600);
}

fn at(home: &Dir, spec: Spec) -> Spec {
    Spec { home: home.path().into(), ..spec }
}

/// A home whose start-up file counts how often it runs, and goes on like this.
fn home(profile: &str) -> Dir {
    let home = Dir::new();
    home.file(".profile", format!("echo run >>\"$HOME/runs\"\n{profile}\n").as_bytes(), 0o600);
    home
}

fn runs(home: &Dir) -> usize {
    fs::read_to_string(home.path().join("runs")).unwrap_or_default().lines().count()
}

/// What `env` says there.
async fn env(sessions: &Sessions, spec: Spec) -> BTreeMap<String, String> {
    let seen = run(sessions, spec).await;
    let text = String::from_utf8(seen.stdout).expect("text");
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
async fn a_program_in_the_path_of_a_login_is_found() {
    let home = home("PATH=\"$HOME/bin:$PATH\"; export PATH");
    fs::create_dir(home.path().join("bin")).expect("a directory");
    home.file("bin/greet", b"#!/bin/sh\necho hello $1\n", 0o755);
    let sessions = sessions_with(with_logins);
    assert_eq!(run(&sessions, at(&home, argv(&["greet", "you"]))).await.stdout, b"hello you\n");
    assert_eq!(run(&sessions, at(&home, sh("greet me"))).await.stdout, b"hello me\n");
}

#[tokio::test]
async fn the_account_the_client_and_the_session_stand_over_the_login() {
    let home = home(
        "export A=login B=login USER=other HOME=/other SHELL=/other LANG=C TERM=other \
         TOWLINE_SESSION=other LD_LIBRARY_PATH=/other ENV=/other",
    );
    let sessions = sessions_with(with_logins);
    let mut spec = at(&home, argv(&["env"]));
    spec.env = vec![("B".into(), "client".into())];
    let variables = env(&sessions, spec.clone()).await;
    let has = |name: &str, value: &str| {
        assert_eq!(variables.get(name).map(String::as_str), Some(value), "{name}");
    };
    has("A", "login");
    has("B", "client");
    has("USER", "tester");
    has("HOME", home.path().to_str().expect("text"));
    has("SHELL", "/bin/sh");
    assert_ne!(variables["TOWLINE_SESSION"], "other");
    // The node's own LANG is C.UTF-8; that of the login is taken before it.
    has("LANG", "C");
    for absent in ["TERM", "LD_LIBRARY_PATH", "ENV"] {
        assert!(!variables.contains_key(absent), "{absent}");
    }
    let on_terminal = env(&sessions, on_terminal(24, 80, spec)).await;
    assert_eq!(on_terminal["TERM"].trim(), "xterm-256color");
}

#[tokio::test]
async fn a_locale_of_the_login_that_is_not_installed_is_not_set() {
    let home = home("export LANG=xx_XX.UTF-8");
    let variables = env(&sessions_with(with_logins), at(&home, argv(&["env"]))).await;
    assert_ne!(variables.get("LANG").map(String::as_str), Some("xx_XX.UTF-8"));
}

#[tokio::test]
async fn start_up_files_run_once_for_all_who_wait() {
    let home = Arc::new(home("export A=login"));
    let sessions = sessions_with(with_logins);
    let starts = [0; 8].map(|_| {
        let (sessions, home) = (sessions.clone(), Arc::clone(&home));
        tokio::spawn(async move { run(&sessions, at(&home, sh("echo $A"))).await.stdout })
    });
    for start in starts {
        assert_eq!(start.await.expect("a run"), b"login\n");
    }
    assert_eq!(run(&sessions, at(&home, sh("echo $A"))).await.stdout, b"login\n");
    assert_eq!(runs(&home), 1);
}

#[tokio::test]
async fn a_login_that_is_expected_is_known_before_the_first_start() {
    let home = home("export A=login");
    let sessions = sessions_with(with_logins);
    let spec = at(&home, sh("echo $A"));
    sessions.expect(Login::from(&spec));
    until("the start-up file runs", || async { runs(&home) == 1 }).await;
    assert_eq!(run(&sessions, spec).await.stdout, b"login\n");
    assert_eq!(runs(&home), 1);
}

#[tokio::test]
async fn each_account_has_its_own() {
    let (one, other) = (home("export A=one"), home("export A=other"));
    let sessions = sessions_with(with_logins);
    for (home, expected) in [(&one, "one\n"), (&other, "other\n"), (&one, "one\n")] {
        assert_eq!(run(&sessions, at(home, sh("echo $A"))).await.stdout, expected.as_bytes());
    }
    assert_eq!((runs(&one), runs(&other)), (1, 1));
}

#[tokio::test]
async fn what_is_old_is_used_and_asked_for_again() {
    let home = home("export A=old");
    let sessions = sessions_with(|limits| {
        with_logins(limits);
        limits.login_age = Duration::ZERO;
    });
    let says = async || run(&sessions, at(&home, sh("echo $A"))).await.stdout;
    assert_eq!(says().await, b"old\n");
    home.file(".profile", b"export A=new\n", 0o600);
    until("the new one is known", || async { says().await == b"new\n" }).await;
    // A failure makes nobody forget what was known.
    home.file(".profile", b"echo run >>\"$HOME/failed\"; exit 1\n", 0o600);
    let failures = || fs::read_to_string(home.path().join("failed")).unwrap_or_default().len();
    until("it fails", || async {
        assert_eq!(says().await, b"new\n");
        failures() > 1
    })
    .await;
}

#[tokio::test]
async fn without_an_answer_programs_get_what_the_node_was_started_with_and_it_is_tried_again() {
    let home = home("exit 0");
    let sessions = sessions_with(|limits| {
        with_logins(limits);
        limits.login_age = Duration::ZERO;
    });
    let spec = at(&home, argv(&["env"]));
    assert_eq!(env(&sessions, spec.clone()).await["PATH"], "/usr/local/bin:/usr/bin:/bin");
    home.file(".profile", b"export A=login\n", 0o600);
    until("it is known", || async { env(&sessions, spec.clone()).await.contains_key("A") }).await;
}

#[tokio::test]
async fn a_slow_login_delays_the_first_start_and_no_other() {
    let home = home("exec sleep 1000");
    let sessions = sessions_with(|limits| (limits.login_time, limits.login_age) = (HOUR, 9 * HOUR));
    let says = async || run(&sessions, at(&home, sh("echo out"))).await.stdout;
    let waits = async {
        until("the start-up file runs", || async { runs(&home) == 1 }).await;
        pass(HOUR).await;
    };
    assert_eq!(tokio::join!(says(), waits).0, b"out\n");
    // Its time was over once, for everybody.
    for _ in 0..8 {
        assert_eq!(says().await, b"out\n");
    }
    assert_eq!(runs(&home), 1);
}

#[tokio::test]
async fn an_interactive_login_starts_clean_and_runs_its_start_up_files_itself() {
    let home = home("export A=\"$A.login\"");
    let sessions = sessions_with(with_logins);
    assert_eq!(run(&sessions, at(&home, sh("echo $A"))).await.stdout, b".login\n");
    let session = start(&sessions, on_terminal(24, 80, at(&home, login()))).await;
    let mut reader = Reader::typing(&session);
    reader.types("echo is=$A=; exit\r");
    reader.until("is=.login=").await;
    reader.end().await;
    assert_eq!(runs(&home), 2);
}

#[tokio::test]
async fn the_login_takes_no_room_from_arguments_and_environment_of_the_client() {
    let home = home("export A=\"$(head -c 60000 /dev/zero | tr '\\000' a)\"");
    let sessions = sessions_with(with_logins);
    let long = "x".repeat(100 << 10);
    let seen =
        run(&sessions, at(&home, argv(&["sh", "-c", "echo ${#A} ${#1}", "sh", &long]))).await;
    assert_eq!(seen.stdout, b"60000 102400\n");
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_start_up_files() {
    let home = home("exec sleep 1000");
    let sessions = sessions_with(|limits| {
        with_logins(limits);
        limits.login_time = DEADLINE * 10;
    });
    sessions.expect(Login::from(&at(&home, sh("true"))));
    until("the start-up file runs", || async { runs(&home) == 1 }).await;
    tokio::time::timeout(DEADLINE, sessions.shutdown()).await.expect("it ends");
}
