//! What a session's processes are held together by, seen from outside: by whom they are ended, and
//! that it is the same with control groups and without.

mod session_support;

use session_support::*;
use tow_host::session::{Containment, Limits, Sessions};
use tow_proto::message::EndedBy;

const BOTH: [Containment; 2] = [Containment::Cgroup, Containment::ProcessTree];

fn sessions_in(containment: Containment) -> Sessions {
    sessions_with(|limits: &mut Limits| {
        impatient(limits);
        limits.containment = containment;
    })
}

/// A leader, and a process that was forked twice, is in a session of its own, has nothing in its
/// environment, and hears neither HUP nor TERM. It writes its number, and then does something else.
fn escaping(then: &str) -> String {
    let escaped = format!("trap \"\" HUP TERM; echo $$; {then}");
    format!("(setsid env -i /bin/sh -c '{escaped}' &); exec sleep 60")
}

/// Whether a process is in a control group that was made for a session.
fn is_contained(pid: &str) -> bool {
    let membership = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("/proc");
    membership.lines().any(|line| line.starts_with("0::") && line.contains("/towline-"))
}

#[tokio::test]
async fn what_escaped_with_an_output_in_hand_ends_with_its_session() {
    for containment in BOTH {
        let sessions = sessions_in(containment);
        let session = start(&sessions, fleeting(sh(&escaping("exec sleep 60")))).await;
        let mut viewer = look(&session);
        let escaped = line(&mut viewer).await;
        drop(viewer);
        assert_eq!(exit_of(&session).await.by, EndedBy::Lease, "{containment:?}");
        until_gone(&escaped).await;
    }
}

#[tokio::test]
async fn what_escaped_with_nothing_in_hand_ends_with_its_session_in_a_control_group() {
    let sessions = sessions_in(Containment::Cgroup);
    let then = "exec sleep 60 </dev/null >/dev/null 2>&1";
    let session = start(&sessions, sh(&escaping(then))).await;
    let mut viewer = look(&session);
    let escaped = line(&mut viewer).await;
    if !is_contained(&escaped) {
        // No control groups for us on this machine.
        kill(&escaped);
        return;
    }
    sessions.end_all_of("owner");
    assert_eq!(exit_of(&session).await.by, EndedBy::Node);
    until_gone(&escaped).await;
}

#[tokio::test]
async fn without_control_groups_none_is_made() {
    let sessions = sessions_in(Containment::ProcessTree);
    let session = start(&sessions, sh("echo $$; exec sleep 60")).await;
    let mut viewer = look(&session);
    let leader = line(&mut viewer).await;
    assert!(!is_contained(&leader));
    sessions.shutdown().await;
    until_gone(&leader).await;
}

#[tokio::test]
async fn a_child_that_outlived_its_session_ends_with_the_key() {
    for containment in BOTH {
        let sessions = sessions_in(containment);
        let line_to_run = "sleep 60 </dev/null >/dev/null 2>&1 & echo $!";
        let seen = run(&sessions, sh(line_to_run)).await;
        assert_eq!(seen.exit.by, EndedBy::Itself, "{containment:?}");
        let child = String::from_utf8(seen.stdout).expect("text").trim().to_owned();
        assert!(state_of(&child).is_some(), "it was left alone");
        sessions.end_all_of("owner");
        until_gone(&child).await;
    }
}

#[tokio::test]
async fn one_signal_reaches_every_process_of_a_session() {
    for containment in BOTH {
        let sessions = sessions_in(containment);
        let line_to_run = "setsid sleep 60 & echo $$ $!; exec sleep 60";
        let session = start(&sessions, sh(line_to_run)).await;
        // Somebody looks on until it is over: no lease ends it first.
        let mut viewer = look(&session);
        let numbers = line(&mut viewer).await;
        let (leader, child) = numbers.split_once(' ').expect("two numbers");
        assert_eq!(session.signal_tree("KILL").await, Ok(2), "{containment:?}");
        until_gone(child).await;
        let exit = exit_of(&session).await;
        assert_eq!((signal(&exit), exit.by), ("KILL", EndedBy::User));
        until_gone(leader).await;
    }
}
