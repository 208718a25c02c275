//! Sessions as a whole: the same one for the same request, how many there may be, and what remains
//! of them.

mod session_support;

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;

use session_support::*;
use tokio::time::timeout;
use tow_host::session::{Output, Spec};
use tow_proto::message::Lease;
use tow_proto::refusal::{Code, Refusal};

#[tokio::test]
async fn the_same_request_gives_the_same_session_and_runs_once() {
    let (sessions, dir) = (sessions(), Dir::new());
    let count = dir.path().join("count");
    let spec = sh(&format!("echo x >> {}; echo done", count.display()));
    let starts = (0..20).map(|_| {
        let (sessions, spec) = (sessions.clone(), spec.clone());
        tokio::spawn(async move { sessions.start("owner", "once", spec).await.unwrap() })
    });
    let mut ids = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        ids.push(start.await.unwrap().id().clone());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);

    let finished = sessions.start("owner", "once", argv(&["/nonexistent"])).await.unwrap();
    exit_of(&finished).await;
    let again = sessions.start("owner", "once", spec.clone()).await.unwrap();
    assert_eq!(again.id(), &ids[0]);
    assert_eq!(see(&mut look(&again)).await.stdout, b"done\n");
    assert_eq!(std::fs::read(&count).unwrap(), b"x\n");

    let other = sessions.start("other owner", "once", spec.clone()).await.unwrap();
    assert_ne!(other.id(), &ids[0]);
    exit_of(&other).await;
    assert_eq!(std::fs::read(&count).unwrap(), b"x\nx\n");
}

#[tokio::test]
async fn a_start_whose_asker_has_gone_is_found_by_the_next() {
    let sessions = sessions();
    let spec = sh("echo $$; exec cat");
    let gone = sessions.start("owner", "id", spec.clone());
    // It is polled once, and dropped in the middle.
    let _ = timeout(std::time::Duration::ZERO, gone).await;
    let session = sessions.start("owner", "id", spec).await.unwrap();
    assert_eq!(sessions.running(), 1);
    let mut viewer = look(&session);
    end_stdin(&mut viewer, b"");
    assert_eq!(code(&see(&mut viewer).await.exit), 0);
}

#[tokio::test]
async fn a_start_that_failed_can_be_tried_again_with_the_same_id() {
    let (sessions, dir) = (sessions(), Dir::new());
    let spec = argv(&[dir.path().join("tool").to_str().unwrap()]);
    let refusal = sessions.start("owner", "id", spec.clone()).await.err().expect("a refusal");
    assert_eq!(refusal.code, Code::ProgramNotFound);
    dir.file("tool", b"#!/bin/sh\necho here now\n", 0o755);
    let session = sessions.start("owner", "id", spec).await.unwrap();
    assert_eq!(see(&mut look(&session)).await.stdout, b"here now\n");
}

#[tokio::test]
async fn a_request_id_has_a_length() {
    let sessions = sessions();
    let refused = async |id: &str| sessions.start("owner", id, sh("true")).await.err();
    assert_eq!(refused("").await, Some(Code::Malformed.into()));
    assert_eq!(refused(&"é".repeat(64)).await, None);
    let wanted = Refusal::new(Code::TooLong).with_count(64);
    assert_eq!(refused(&"x".repeat(65)).await, Some(wanted));
}

#[tokio::test]
async fn one_owner_has_a_limited_number_of_sessions_at_once() {
    let sessions = sessions_with(|limits| limits.running_max = 3);
    let mut viewers = Vec::new();
    for number in 0..3 {
        let session = sessions.start("owner", &number.to_string(), argv(&["cat"])).await.unwrap();
        viewers.push(look(&session));
    }
    let refused = sessions.start("owner", "4", argv(&["cat"])).await.err();
    assert_eq!(refused, Some(Code::Busy.into()));
    sessions.start("owner", "2", argv(&["cat"])).await.expect("that one runs already");
    let other = sessions.start("other", "1", argv(&["true"])).await.expect("another owner");
    exit_of(&other).await;
    assert_eq!(sessions.running(), 3);
    end_stdin(&mut viewers[0], b"");
    see(&mut viewers[0]).await;
    assert_eq!(sessions.running(), 2);
    sessions.start("owner", "4", argv(&["true"])).await.expect("there is room again");
    sessions.shutdown().await;
}

#[tokio::test]
async fn the_newest_records_are_kept_and_the_newest_outputs_longest() {
    let sessions = sessions_with(|limits| {
        limits.finished_max = 3;
        limits.finished_output_max = 2500;
    });
    let mut ids = Vec::new();
    for number in 0..4 {
        let spec = Spec { lease: Lease::Detached, ..sh("head -c 1000 /dev/zero") };
        let session = sessions.start("owner", &number.to_string(), spec).await.unwrap();
        exit_of(&session).await;
        ids.push(session.id().clone());
    }
    // The first is forgotten and so runs anew; starting it makes no other one be forgotten yet.
    let first = sessions.start("owner", "0", argv(&["cat"])).await.unwrap();
    assert_ne!(first.id(), &ids[0]);
    let second = sessions.start("owner", "1", sh("")).await.unwrap();
    assert_eq!(second.id(), &ids[1]);
    let mut viewer = look(&second);
    until("the budget is kept", || async {
        let mut look = look(&second);
        matches!(next_out(&mut look).await, Output::Gap { stream: 1, from: 0, to: 1000 })
    })
    .await;
    assert_eq!(next_out(&mut viewer).await, Output::Gap { stream: 1, from: 0, to: 1000 });
    let last = sessions.start("owner", "3", sh("")).await.unwrap();
    assert_eq!(see(&mut look(&last)).await.stdout.len(), 1000);
    drop(look(&first));
}

#[tokio::test]
async fn what_is_being_started_when_its_key_is_removed_does_not_run_on() {
    let sessions = sessions();
    let spec = Spec { lease: Lease::Detached, ..argv(&["sleep", "1000"]) };
    let mut start = pin!(sessions.start("owner", "1", spec.clone()));
    // Asked for, but no thread has had a turn: this runtime has only this one.
    poll_fn(|context| {
        assert!(start.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    sessions.end_all_of("owner");
    if let Ok(session) = start.await {
        exit_of(&session).await;
    }
    until("nothing runs", || async { sessions.running() == 0 }).await;
    // The key may be let in again.
    let spec = Spec { lease: Lease::Detached, ..argv(&["true"]) };
    exit_of(&sessions.start("owner", "2", spec).await.unwrap()).await;
    timeout(DEADLINE, sessions.shutdown()).await.expect("it stops");
}
