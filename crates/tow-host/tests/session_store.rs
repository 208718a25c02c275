//! What is kept of sessions: in memory while somebody may come back, on disk when they have ended.

mod session_support;

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use session_support::*;
use tow_host::session::{Limits, LogLimits, Output, Session, Sessions, Spec, Start, Stdin, Stdio};
use tow_proto::message::{EndedBy, Lease, View};
use tow_proto::refusal::Code;
use tow_testkit::{Mount, names_in};

/// Sessions that are kept in that directory.
fn sessions_in(dir: &Path, change: impl FnOnce(&mut Limits)) -> Sessions {
    let mut limits = Limits { login_time: Duration::ZERO, ..Limits::default() };
    change(&mut limits);
    Sessions::new(limits, Some(dir.join("sessions"))).expect("sessions")
}

fn detached(line: &str) -> Spec {
    let stdio = Stdio::Pipes(Stdin::Null);
    Spec { lease: Lease::Detached, stdio, ..sh(line) }
}

/// What the log has: bytes of stdout with their offsets, and the gaps between them.
async fn logged(session: &Session, from: u64) -> (Vec<(u64, Vec<u8>)>, Reader) {
    let start = Start { view: View::Log, ..start_from(from, 0) };
    let mut reader = Reader::new(session, &start);
    let (mut pieces, mut at) = (Vec::new(), from);
    while !reader.events.contains(&Output::CaughtUp) {
        reader.step().await;
        if reader.at == at {
            continue;
        }
        let bytes = std::mem::take(&mut reader.output);
        if !bytes.is_empty() {
            pieces.push((reader.at - bytes.len() as u64, bytes));
        }
        at = reader.at;
    }
    (pieces, reader)
}

/// `1\n2\n…` up to a number.
fn counted(last: u32) -> String {
    (1..=last).map(|number| format!("{number}\n")).collect()
}

/// What is on disk under names of this session.
fn files_of(dir: &Path, session: &Session) -> Vec<String> {
    let names = names_in(&dir.join("sessions")).into_iter().map(OsString::into_string);
    let names = names.map(|name| name.expect("our names are text"));
    let own = names.filter_map(|name| name.strip_prefix(session.id().as_str()).map(str::to_owned));
    own.collect()
}

#[tokio::test]
async fn a_finished_session_is_known_to_the_next_who_looks_into_the_directory() {
    let dir = Dir::new();
    let flag = dir.path().join("runs");
    let line = format!("echo x >>{}; echo out; echo err >&2; exit 3", flag.display());
    let (attached, left) = {
        let sessions = sessions_in(dir.path(), |_| ());
        let attached = start(&sessions, sh("echo attached; exit 4")).await;
        see(&mut look(&attached)).await;
        let left = sessions.start("owner", "left", detached(&line)).await.unwrap();
        exit_of(&left).await;
        sessions.shutdown().await;
        (attached, left)
    };
    assert_eq!(files_of(dir.path(), &attached), [".json"], "nobody left it");
    assert_eq!(files_of(dir.path(), &left), [".1.log", ".2.log", ".json"]);

    let sessions = sessions_in(dir.path(), |_| ());
    let list = sessions.list();
    let ids: Vec<&str> = list.iter().map(|info| info.id.as_str()).collect();
    assert!(ids.len() == 2 && ids.contains(&left.id().as_str()), "{ids:?}");
    assert!(list.iter().all(|info| info.owner == "owner" && info.ended.is_some()));

    let found = sessions.find(left.id().as_str()).unwrap();
    assert_eq!(found.exit(), left.exit());
    let seen = see(&mut look(&found)).await;
    assert_eq!(
        (&seen.stdout[..], &seen.stderr[..], code(&seen.exit)),
        (&b"out\n"[..], &b"err\n"[..], 3)
    );
    let mut waiting = found.attach(&Start { view: View::Exit, ..start_from(0, 0) }).unwrap();
    assert_eq!(Some(next(&mut waiting).await), left.exit().map(Output::Exit));
    assert_eq!(look(&found).stdin().window, 0);
    assert_eq!(found.signal_tree("TERM").await.unwrap_err().code, Code::SessionEnded);

    let again = sessions.start("owner", "left", detached(&line)).await.unwrap();
    assert_eq!(again.id(), left.id());
    assert_eq!(std::fs::read(&flag).unwrap(), b"x\n", "it ran once");
    let other = sessions.start("other", "left", detached(&line)).await.unwrap();
    assert_ne!(other.id(), left.id());

    // Of the attached one, the figures are known and nothing else.
    let found = sessions.find(attached.id().as_str()).unwrap();
    let (pieces, reader) = logged(&found, 0).await;
    assert!(pieces.is_empty());
    assert_eq!(reader.events[0], Output::Gap { stream: 1, from: 0, to: 9 });
    sessions.shutdown().await;
}

#[tokio::test]
async fn of_a_long_detached_output_the_start_and_the_end_are_kept_and_the_gap_is_counted() {
    let dir = Dir::new();
    let limits = LogLimits {
        memory_max: 64 << 10,
        replay_max: 16 << 10,
        head_max: 20_000,
        tail_max: 100_000,
    };
    let all = counted(200_000);
    let sessions = sessions_in(dir.path(), |all| all.log = limits);
    let session = start(&sessions, detached("seq 1 200000")).await;
    let exit = exit_of(&session).await;
    assert_eq!((exit.stdout.bytes, exit.stdout.blake3), tally(all.as_bytes()));
    sessions.shutdown().await;

    let later = sessions_in(dir.path(), |all| all.log = limits);
    for session in [session.clone(), later.find(session.id().as_str()).unwrap()] {
        let (pieces, reader) = logged(&session, 0).await;
        for (at, bytes) in &pieces {
            let at = usize::try_from(*at).unwrap();
            assert!(all.as_bytes()[at..].starts_with(bytes), "wrong bytes at {at}");
        }
        let gaps: Vec<_> = reader
            .events
            .iter()
            .filter_map(|event| match event {
                Output::Gap { stream: 1, from, to } => Some((*from, *to)),
                _ => None,
            })
            .collect();
        let [(20_000, to)] = gaps[..] else { panic!("{gaps:?}") };
        let tail_len = exit.stdout.bytes - to;
        assert!((100_000..=100_000 + (64 << 10)).contains(&tail_len), "{tail_len}");
        let kept_len: usize = pieces.iter().map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(kept_len as u64, 20_000 + tail_len);
        // From within the gap, it goes on at its end.
        let (pieces, _) = logged(&session, 30_000).await;
        assert_eq!(pieces[0].0, to);
    }
}

#[tokio::test]
async fn only_a_session_that_has_ended_is_removed_and_then_all_of_it() {
    let dir = Dir::new();
    let sessions = sessions_in(dir.path(), |_| ());
    let session = sessions
        .start("owner", "id", Spec { lease: Lease::Detached, ..sh("echo x; read x") })
        .await
        .unwrap();
    let id = session.id().as_str();
    assert_eq!(sessions.remove(id).unwrap_err().code, Code::SessionRuns);
    assert_eq!(sessions.remove("0123456789ab").unwrap_err().code, Code::UnknownSession);
    assert_eq!(sessions.remove("../../etc").unwrap_err().code, Code::UnknownSession);
    look(&session).write_stdin(b"\n").unwrap();
    exit_of(&session).await;
    until("it is on disk", || async { files_of(dir.path(), &session).len() == 2 }).await;
    sessions.remove(id).unwrap();
    assert!(sessions.find(id).is_none() && sessions.list().is_empty());
    assert_eq!(sessions.remove(id).unwrap_err().code, Code::UnknownSession);
    // It may be on its way to the disk at this moment.
    until("its files are gone", || async { files_of(dir.path(), &session).is_empty() }).await;
    // Its request id is free again.
    let again = sessions.start("owner", "id", detached("true")).await.unwrap();
    assert_ne!(again.id(), session.id());
    sessions.shutdown().await;

    let sessions = sessions_in(dir.path(), |_| ());
    sessions.remove(again.id().as_str()).expect("one that only the disk knows");
    assert!(names_in(&dir.path().join("sessions")).is_empty());
}

#[tokio::test]
async fn a_session_that_is_removed_as_soon_as_it_has_ended_is_not_put_on_disk_after_all() {
    let dir = Dir::new();
    let sessions = sessions_in(dir.path(), |_| ());
    for _ in 0..30 {
        let session = start(&sessions, detached("head -c 100000 /dev/zero")).await;
        let deadline = Instant::now() + DEADLINE;
        while let Err(refusal) = sessions.remove(session.id().as_str()) {
            assert_eq!(refusal.code, Code::SessionRuns);
            assert!(Instant::now() < deadline, "it never ends");
            tokio::task::yield_now().await;
        }
    }
    sessions.shutdown().await;
    assert!(names_in(&dir.path().join("sessions")).is_empty());
}

#[tokio::test]
async fn what_lingers_is_ended_with_the_last_that_is_known_of_its_session() {
    let dir = Dir::new();
    let sessions = sessions_in(dir.path(), |_| ());
    let holds = "setsid sh -c 'trap \"\" HUP TERM; while :; do sleep 300; done' & echo $!";
    let lets_go = "setsid sleep 300 </dev/null >/dev/null 2>&1 & echo $!";
    for line in [holds, lets_go] {
        for is_removed in [true, false] {
            let session = start(&sessions, Spec { lease: Lease::Detached, ..sh(line) }).await;
            let mut reader = Reader::typing(&session);
            let child = reader.until("\n").await.trim().to_owned();
            reader.end().await;
            // A signal reaches it by its session's name.
            assert!(state_of(&child).is_some(), "it outlives its parent");
            if is_removed {
                sessions.remove(session.id().as_str()).unwrap();
            } else {
                sessions.end_all_of("owner");
            }
            until_gone(&child).await;
        }
    }
    sessions.shutdown().await;
}

#[tokio::test]
async fn of_many_records_the_newest_thousand_are_kept() {
    let dir = Dir::new();
    let store = dir.path().join("sessions");
    let session = {
        let sessions = sessions_in(dir.path(), |_| ());
        let session = start(&sessions, detached("echo x")).await;
        exit_of(&session).await;
        sessions.shutdown().await;
        session
    };
    let record = std::fs::read_to_string(store.join(format!("{}.json", session.id()))).unwrap();
    let ended_at = session.info().ended.unwrap();
    for number in 0..1_100_u64 {
        let id = format!("0000000{number:05}");
        let older = record.replace(session.id().as_str(), &id).replace(
            &format!("\"ended\":{ended_at}"),
            &format!("\"ended\":{}", ended_at - 2_000 + number),
        );
        assert_ne!(older, record);
        std::fs::write(store.join(format!("{id}.json")), older).unwrap();
    }
    let sessions = sessions_in(dir.path(), |_| ());
    let ids: Vec<String> = sessions.list().into_iter().map(|info| info.id).collect();
    assert_eq!(ids.len(), 1_000);
    assert!(ids.contains(&session.id().to_string()));
    assert!(sessions.find("000000000100").is_none() && sessions.find("000000000101").is_some());
    // One more, and the oldest goes, on disk too.
    let more = start(&sessions, detached("true")).await;
    exit_of(&more).await;
    until("the oldest is gone", || async {
        sessions.find("000000000101").is_none() && !store.join("000000000101.json").exists()
    })
    .await;
    assert_eq!(sessions.list().len(), 1_000);
    sessions.shutdown().await;
    assert_eq!(
        names_in(&store).iter().filter(|name| name.to_str().unwrap().ends_with(".json")).count(),
        1_000
    );
}

/// Little memory, and a disk that takes the rest.
fn spilling(limits: &mut Limits) {
    limits.log =
        LogLimits { memory_max: 64 << 10, replay_max: 4 << 10, head_max: 5_000, tail_max: 8 << 20 };
}

#[tokio::test]
async fn what_was_written_while_the_link_was_lost_comes_byte_for_byte() {
    let dir = Dir::new();
    let sessions = sessions_in(dir.path(), spilling);
    let all = counted(500_000);
    let session = start(&sessions, sh("seq 1 500000; exit 5")).await;
    let mut taken: Vec<u8> = Vec::new();
    let mut exit = None;
    for round in 0_usize.. {
        // The last byte that this link took is the last that it has acked.
        let mut viewer = look_from(&session, taken.len() as u64, 0);
        viewer.allow(2, 100);
        let until_len = taken.len() + 1 + (round * 7_919) % 100_000;
        while taken.len() < until_len && exit.is_none() {
            viewer.allow(1, until_len as u64);
            match next_out(&mut viewer).await {
                Output::Bytes { stream: 1, bytes } => taken.extend(bytes),
                Output::Ended { .. } => {}
                Output::Exit(record) => exit = Some(record),
                other => panic!("{other:?}"),
            }
        }
        drop(viewer);
        if exit.is_some() {
            break;
        }
        // Away, and the program goes on without anybody.
        let before = session.info().stdout;
        let is_all = before == all.len() as u64;
        until("it goes on", || async { is_all || session.info().stdout > before }).await;
    }
    let exit = exit.unwrap();
    assert!(taken == all.as_bytes(), "{} of {} bytes", taken.len(), all.len());
    assert_eq!((code(&exit), exit.stdout.blake3), (5, tally(&taken).1));
    // Its record may be on its way to the disk.
    sessions.shutdown().await;
    assert!(files_of(dir.path(), &session).iter().all(|name| name == ".json"));
}

#[tokio::test]
async fn while_somebody_is_expected_a_program_waits_before_bytes_are_lost() {
    let dir = Dir::new();
    let sessions = sessions_in(dir.path(), |limits| {
        spilling(limits);
        limits.log.tail_max = 200_000;
    });
    let session = start(&sessions, sh("seq 1 500000")).await;
    drop(look_from(&session, 0, 0));
    until("disk and memory are full", || async { session.info().stdout > 200_000 }).await;
    let seen = see(&mut look(&session)).await;
    assert!(seen.stdout == counted(500_000).as_bytes());
}

#[tokio::test]
async fn a_disk_that_takes_nothing_makes_gaps_and_never_wrong_bytes() {
    let all = counted(500_000);
    for is_small in [false, true] {
        let dir = Dir::new();
        let store = dir.path().join("sessions");
        std::fs::create_dir(&store).unwrap();
        let mount = is_small.then(|| Mount::tmpfs(&store, "size=300k"));
        if matches!(mount, Some(None)) {
            continue;
        }
        let sessions = sessions_in(dir.path(), spilling);
        if !is_small {
            std::fs::remove_dir(&store).unwrap();
        }
        let session =
            start(&sessions, Spec { lease: Lease::Detached, ..sh("read x; seq 1 500000; read x") })
                .await;
        let mut typist = look(&session);
        typist.write_stdin(b"\n").unwrap();
        drop(typist);
        until("all is written", || async { session.info().stdout == all.len() as u64 }).await;
        let (pieces, reader) = logged(&session, 0).await;
        let mut kept_len = 0;
        for (at, bytes) in &pieces {
            let at = usize::try_from(*at).unwrap();
            assert!(all.as_bytes()[at..].starts_with(bytes), "wrong bytes at {at}");
            kept_len += bytes.len();
        }
        assert!(kept_len >= 32 << 10, "{kept_len}");
        let gaps = reader.events.iter().filter(|event| matches!(event, Output::Gap { .. })).count();
        assert_eq!(gaps, 1, "there is a gap, and only one");
        look(&session).write_stdin(b"\n").unwrap();
        let exit = exit_of(&session).await;
        assert_eq!((exit.by, exit.stdout.blake3), (EndedBy::Itself, tally(all.as_bytes()).1));
        // Where it can't be stored, it is remembered in memory.
        sessions.shutdown().await;
        assert_eq!(sessions.find(session.id().as_str()).unwrap().exit(), Some(exit));
        drop((reader, mount));
    }
}

#[tokio::test]
async fn a_finished_terminal_is_logged_without_its_questions() {
    let dir = Dir::new();
    let sessions = sessions_in(dir.path(), |_| ());
    let spec = on_terminal(24, 80, detached("printf 'a\\033[6nb\\033]11;?\\007c'"));
    let spec = Spec { lease: Lease::Detached, ..spec };
    let session = start(&sessions, spec).await;
    exit_of(&session).await;
    sessions.shutdown().await;
    let sessions = sessions_in(dir.path(), |_| ());
    let found = sessions.find(session.id().as_str()).unwrap();
    assert!(found.is_terminal());
    for view in [View::Log, View::Follow, View::Type, View::Watch] {
        for from in [None, Some(0)] {
            let mut viewer =
                found.attach(&Start { view, from: [from, None], ..start_from(0, 0) }).unwrap();
            viewer.allow(1, 1_000);
            let output = next_out(&mut viewer).await;
            assert_eq!(
                output,
                Output::Bytes { stream: 1, bytes: b"a\x1b[6\x18b\x1b]11;~\x07c".into() }
            );
        }
    }
}

#[tokio::test]
async fn after_a_gap_a_program_goes_on_as_its_viewer_takes_what_is_left() {
    let sessions = sessions_with(|limits| {
        limits.log.memory_max = 64 << 10;
        limits.log.replay_max = 4 << 10;
    });
    let line = "seq 1 100000; read x; seq 1 20000; echo end";
    let session = start(&sessions, Spec { lease: Lease::Detached, ..sh(line) }).await;
    let written = counted(100_000).len() as u64;
    until("it has written", || async { session.info().stdout == written }).await;
    let mut reader = Reader::typing(&session);
    let gap = reader.event(|event| matches!(event, Output::Gap { .. })).await;
    assert!(matches!(gap, Output::Gap { stream: 1, from: 0, to } if to > 500_000), "{gap:?}");
    reader.types("\n");
    reader.end().await;
    assert!(reader.text().ends_with("\n20000\nend\n"));
}
