//! How sessions end: by themselves, by a signal, by their lease, their time limit or their node.

mod session_support;

use std::time::{Duration, Instant};

use session_support::*;
use tokio::time::timeout;
use tow_host::session::{Output, Sessions, Spec};
use tow_proto::message::{Ended, EndedBy, Lease};
use tow_proto::refusal::Code;

#[tokio::test]
async fn exit_codes_are_the_programs_own() {
    let sessions = sessions();
    for wanted in (0..=255).filter(|code| code % 17 == 0 || *code < 3 || *code > 252) {
        let seen = run(&sessions, sh(&format!("exit {wanted}"))).await;
        assert_eq!((code(&seen.exit), seen.exit.by), (wanted, EndedBy::Itself));
    }
    assert_eq!(code(&run(&sessions, sh("exit 130")).await.exit), 130);
}

#[tokio::test]
async fn a_signal_is_told_by_name() {
    for (name, number) in [("SEGV", 11), ("KILL", 9), ("TERM", 15), ("USR1", 10)] {
        let seen = run(&sessions(), sh(&format!("kill -{name} $$"))).await;
        let Ended::Signal { name: seen_name, number: seen_number, .. } = &seen.exit.ended else {
            panic!("{:?}", seen.exit);
        };
        assert_eq!(
            (seen_name.as_str(), *seen_number, seen.exit.by),
            (name, number, EndedBy::Itself)
        );
    }
}

#[tokio::test]
async fn a_users_signal_ends_the_whole_group_and_is_told_as_theirs() {
    for name in ["INT", "TERM", "HUP", "QUIT", "KILL", "USR2"] {
        let sessions = sessions();
        let mut viewer = look(&start(&sessions, sh("sleep 30 & echo $!; wait")).await);
        let child = line(&mut viewer).await;
        viewer.signal(name).unwrap();
        let exit = loop {
            if let Output::Exit(exit) = next(&mut viewer).await {
                break exit;
            }
        };
        assert_eq!((signal(&exit), exit.by), (name, EndedBy::User));
        // In a shell without job control, a background child ignores these two.
        if matches!(name, "INT" | "QUIT") {
            kill(&child);
        }
        until_gone(&child).await;
        viewer.signal(name).expect("to a session that is over: nothing happens");
    }
}

#[tokio::test]
async fn a_signal_that_is_caught_leaves_the_end_to_the_program() {
    let sessions = sessions();
    let line_to_run = "trap 'exit 7' INT; echo ready; while :; do sleep 0.01; done";
    let mut viewer = look(&start(&sessions, sh(line_to_run)).await);
    assert_eq!(line(&mut viewer).await, "ready");
    assert_eq!(viewer.signal("NOSUCH").unwrap_err().code, Code::BadArgument);
    viewer.signal("INT").unwrap();
    let exit = loop {
        if let Output::Exit(exit) = next(&mut viewer).await {
            break exit;
        }
    };
    assert_eq!((code(&exit), exit.by), (7, EndedBy::Itself));
}

#[tokio::test]
async fn a_program_can_be_stopped_and_continued() {
    let sessions = sessions();
    let mut viewer = look(&start(&sessions, sh("echo $$; read line; echo $line")).await);
    let pid = line(&mut viewer).await;
    viewer.signal("STOP").unwrap();
    until("it stops", || async { state_of(&pid) == Some('T') }).await;
    viewer.write_stdin(b"on\n").unwrap();
    viewer.signal("CONT").unwrap();
    viewer.allow(1, 1000);
    assert_eq!(line(&mut viewer).await, "on");
}

#[tokio::test]
async fn a_child_that_holds_the_output_does_not_hold_the_exit() {
    let begin = Instant::now();
    let seen = run(&sessions(), sh("setsid sleep 300 & echo x")).await;
    assert!(begin.elapsed() < DEADLINE, "{:?}", begin.elapsed());
    assert_eq!((&seen.stdout[..], code(&seen.exit)), (&b"x\n"[..], 0));
    let [child] = seen.exit.lingering[..] else { panic!("{:?}", seen.exit.lingering) };
    let command = std::fs::read(format!("/proc/{child}/cmdline")).unwrap();
    assert_eq!(command, b"sleep\x00300\0");
    kill(&child.to_string());
}

#[tokio::test]
async fn a_child_that_does_not_hold_the_output_is_none_of_the_exits_business() {
    let seen = run(&sessions(), sh("sleep 300 </dev/null >/dev/null 2>&1 & echo $!")).await;
    assert!(seen.exit.lingering.is_empty());
    let child = String::from_utf8(seen.stdout).unwrap();
    assert!(state_of(child.trim()).is_some(), "it was left alone");
    kill(child.trim());
}

#[tokio::test]
async fn what_a_child_writes_within_the_grace_is_still_told() {
    let sessions = sessions_with(|limits| (limits.quiet, limits.quiet_max) = (HOUR, HOUR));
    let line = "(sleep 0.03; echo late; exec sleep 300) & echo early";
    let mut reader = Reader::typing(&start(&sessions, sh(line)).await);
    assert_eq!(reader.until("late\n").await, "early\nlate\n");
    let exit = loop {
        // From the exit on, of which nobody hears before this has passed.
        pass(HOUR).await;
        if let Ok(exit) = timeout(Duration::from_millis(20), reader.end()).await {
            break exit;
        }
    };
    assert_eq!(exit.lingering.len(), 1);
    exit.lingering.iter().for_each(|pid| kill(&pid.to_string()));
}

#[tokio::test]
async fn a_child_that_never_stops_writing_is_waited_for_a_limited_time() {
    let sessions = sessions_with(|limits| limits.quiet_max = Duration::from_millis(300));
    let line = "sh -c 'echo $$; exec yes' & read line";
    let mut reader = Reader::typing(&start(&sessions, sh(line)).await);
    let flood = reader.until("\n").await.trim().to_owned();
    reader.until("y\ny\ny\n").await;
    let begin = Instant::now();
    reader.types("\n");
    reader.end().await;
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert!(begin.elapsed() < DEADLINE, "{:?}", begin.elapsed());
    // Its next write fails.
    until_gone(&flood).await;
}

/// Its leader, and a grandchild that left the session, was orphaned, and hears neither HUP nor
/// TERM.
const STUBBORN: &str = "
    (setsid sh -c 'trap \"\" HUP TERM; (sleep 60 & echo $!; wait)' &)
    exec sleep 60";

#[tokio::test]
async fn the_end_of_the_lease_ends_the_whole_tree_wherever_it_went() {
    let sessions = sessions_with(impatient);
    let session = start(&sessions, fleeting(sh(STUBBORN))).await;
    let mut viewer = look(&session);
    let stubborn = line(&mut viewer).await;
    drop(viewer);
    let exit = exit_of(&session).await;
    assert_eq!((signal(&exit), exit.by), ("HUP", EndedBy::Lease));
    until_gone(&stubborn).await;
    until("nothing runs", || async { sessions.running() == 0 }).await;
}

#[tokio::test]
async fn a_program_that_ends_when_its_input_does_ends_with_its_lease() {
    let sessions = sessions_with(|limits| limits.escalation = HOUR);
    let line_to_run = "trap '' HUP; echo ready; cat; exit 5";
    let session = start(&sessions, fleeting(sh(line_to_run))).await;
    let mut viewer = look(&session);
    assert_eq!(line(&mut viewer).await, "ready");
    drop(viewer);
    let exit = exit_of(&session).await;
    assert_eq!((code(&exit), exit.by), (5, EndedBy::Lease));
}

#[tokio::test]
async fn output_that_nobody_takes_does_not_hold_a_session_beyond_its_lease() {
    let sessions = sessions_with(|limits| {
        impatient(limits);
        limits.lease = Duration::from_millis(150);
        limits.log.memory_max = 1000;
    });
    let session = start(&sessions, sh("seq 1 1000000")).await;
    let exit = exit_of(&session).await;
    assert_eq!(exit.by, EndedBy::Lease);
    assert!(exit.stdout.bytes > 1000);
}

#[tokio::test]
async fn a_viewer_that_comes_back_in_time_stops_the_clock() {
    let sessions = sessions_with(|limits| limits.lease = 3 * HOUR);
    let session = start(&sessions, sh("read line; echo $line")).await;
    for _ in 0..3 {
        drop(look(&session));
        pass(2 * HOUR).await;
    }
    let mut viewer = look(&session);
    pass(4 * HOUR).await;
    viewer.write_stdin(b"still here\n").unwrap();
    assert_eq!(see(&mut viewer).await.stdout, b"still here\n");
}

#[tokio::test]
async fn a_lease_in_milliseconds_counts_from_the_last_viewer_and_not_from_the_start() {
    let sessions = sessions();
    let session = start(&sessions, fleeting(sh("echo ready; exec sleep 60"))).await;
    // Nobody has looked yet, so there is no last viewer.
    pass(Duration::from_secs(2)).await;
    let mut viewer = look(&session);
    assert_eq!(line(&mut viewer).await, "ready");
    drop(viewer);
    assert_eq!(exit_of(&session).await.by, EndedBy::Lease);
}

#[tokio::test]
async fn a_detached_session_outlives_its_viewers() {
    let sessions = sessions();
    let dir = Dir::new();
    let flag = dir.path().join("flag");
    let line_to_run = format!("until [ -e {} ]; do sleep 0.02; done; exit 9", flag.display());
    let session = start(&sessions, Spec { lease: Lease::Detached, ..sh(&line_to_run) }).await;
    drop(look(&session));
    pass(HOUR).await;
    std::fs::write(flag, "").unwrap();
    let exit = exit_of(&session).await;
    assert_eq!((code(&exit), exit.by), (9, EndedBy::Itself));
}

#[tokio::test]
async fn the_time_limit_ends_a_program_by_term_and_then_by_kill() {
    let patient = sessions_with(|limits| limits.escalation = HOUR);
    let impatient = sessions_with(impatient);
    let ended = async |sessions: &Sessions, line: &str| {
        let spec = Spec { timeout: Some(HOUR), ..sh(line) };
        let mut reader = Reader::typing(&start(sessions, spec).await);
        reader.until("ready").await;
        pass(HOUR).await;
        let exit = reader.end().await;
        assert_eq!(exit.by, EndedBy::Timeout);
        exit
    };
    assert_eq!(signal(&ended(&patient, "echo ready; exec sleep 300").await), "TERM");
    let hears = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done";
    assert_eq!(code(&ended(&patient, hears).await), 3);
    let is_deaf = "trap '' TERM; echo ready; while :; do sleep 0.01; done";
    assert_eq!(signal(&ended(&impatient, is_deaf).await), "KILL");
    let seen = run(&patient, Spec { timeout: Some(HOUR), ..sh("exit 4") }).await;
    assert_eq!((code(&seen.exit), seen.exit.by), (4, EndedBy::Itself));
    for sessions in [patient, impatient] {
        until("nothing runs", || async { sessions.running() == 0 }).await;
    }
}

#[tokio::test]
async fn a_stopped_program_hears_its_time_limit() {
    let sessions = sessions_with(|limits| limits.escalation = HOUR);
    let spec = Spec { timeout: Some(HOUR), ..sh("echo $$; kill -STOP $$") };
    let mut reader = Reader::typing(&start(&sessions, spec).await);
    let pid = reader.until("\n").await.trim().to_owned();
    until("it stops", || async { state_of(&pid) == Some('T') }).await;
    pass(HOUR).await;
    let exit = reader.end().await;
    assert_eq!((signal(&exit), exit.by), ("TERM", EndedBy::Timeout));
}

#[tokio::test]
async fn removing_a_key_ends_its_programs_at_once_and_nobody_elses() {
    let sessions = sessions_with(|limits| limits.escalation = HOUR);
    let theirs = sessions.start("theirs", "1", sh(STUBBORN)).await.unwrap();
    let others = sessions.start("others", "1", sh("echo ready; exec sleep 60")).await.unwrap();
    let mut viewer = look(&theirs);
    let stubborn = line(&mut viewer).await;
    sessions.end_all_of("theirs");
    let exit = exit_of(&theirs).await;
    assert_eq!(exit.by, EndedBy::Node);
    until_gone(&stubborn).await;
    assert_eq!(others.exit(), None);
    sessions.shutdown().await;
    assert_eq!(exit_of(&others).await.by, EndedBy::Node);
}

#[tokio::test]
async fn a_node_that_stops_leaves_nothing_running_and_starts_nothing_more() {
    let sessions = sessions_with(impatient);
    let mut started = Vec::new();
    for line_to_run in [STUBBORN, "yes", "exec cat"] {
        started.push(start(&sessions, Spec { lease: Lease::Detached, ..sh(line_to_run) }).await);
    }
    let mut viewer = look(&started[0]);
    let stubborn = line(&mut viewer).await;
    // A viewer that takes nothing does not hold it up.
    let _stuck = look(&started[1]);
    timeout(DEADLINE, sessions.shutdown()).await.expect("it ends");
    assert_eq!(sessions.running(), 0);
    assert!(started.iter().all(|session| session.exit().is_some()));
    until_gone(&stubborn).await;
    let refusal = sessions.start("owner", "late", sh("true")).await.err().expect("a refusal");
    assert_eq!(refusal.code, Code::Stopping);
}
