//! What a client or a program may do on purpose, and what it costs: a refusal, or nothing.
//!
//! One test at a time: some measure the memory of the whole process.

mod session_support;

use std::time::{Duration, Instant};

use session_support::*;
use tokio::sync::{Mutex, MutexGuard};
use tow_host::session::{Output, Sessions, Spec, Start, Stdin, Stdio};
use tow_proto::message::{End, Lease, View};
use tow_proto::refusal::{Code, Refusal};
use tow_testkit::noise;

async fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

/// Bytes of memory that this process has.
fn memory() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("/proc");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a number") * 4096
}

/// Nothing is started, and nothing is remembered of it.
async fn refused(sessions: &Sessions, spec: Spec) -> Refusal {
    let refusal = sessions.start("owner", "id", spec).await.err().expect("a refusal");
    assert_eq!((sessions.running(), sessions.list().len()), (0, 0));
    refusal
}

fn variables(count: usize, value: &str) -> Spec {
    let env = (0..count).map(|number| (format!("V{number}").into(), value.into())).collect();
    Spec { env, ..sh("env | grep -c '^V'") }
}

#[tokio::test]
async fn so_many_variables_and_arguments_as_there_is_room_for_and_no_more() {
    let _turn = alone().await;
    let sessions = sessions();
    let too_long = Refusal::new(Code::TooLong).with_count(128 << 10);
    let begin = Instant::now();
    assert_eq!(refused(&sessions, variables(10_000, "0123456789")).await, too_long);
    assert_eq!(refused(&sessions, variables(100_000, "")).await, too_long);
    let word = "x".repeat(1_000);
    let words: Vec<&str> = std::iter::once("true").chain((0..200).map(|_| &word[..])).collect();
    assert_eq!(refused(&sessions, argv(&words)).await, too_long);
    assert_eq!(refused(&sessions, sh(&"#".repeat(1 << 20))).await, too_long);
    assert!(begin.elapsed() < DEADLINE, "{:?}", begin.elapsed());
    let seen = run(&sessions, variables(10_000, "x")).await;
    assert_eq!(seen.stdout, b"10000\n");
}

#[tokio::test]
async fn a_long_name_and_a_long_path_to_look_for_it_in_take_neither_memory_nor_time() {
    let _turn = alone().await;
    let sessions = sessions();
    let before = memory();
    let begin = Instant::now();
    for (name_len, dirs) in [(60_000, 60_000), (255, 120_000), (3, 120_000), (4_090, 100)] {
        let path = ":".repeat(dirs);
        let spec =
            Spec { env: vec![("PATH".into(), path.into())], ..argv(&["x".repeat(name_len)]) };
        assert_eq!(refused(&sessions, spec).await.code, Code::ProgramNotFound, "{name_len}");
    }
    assert!(begin.elapsed() < DEADLINE, "{:?}", begin.elapsed());
    let grown = memory().saturating_sub(before);
    assert!(grown < 100 << 20, "{grown} bytes more");
}

#[tokio::test]
async fn a_flood_without_a_line_end_that_nobody_reads_takes_no_memory() {
    let _turn = alone().await;
    let sessions = sessions();
    let before = memory();
    let line = "read x; head -c 200000000 /dev/zero | tr '\\000' x; read x";
    let session = start(&sessions, Spec { lease: Lease::Detached, ..sh(line) }).await;
    let _watcher = session.attach(&Start { view: View::Watch, ..start_from(0, 0) }).unwrap();
    let mut typist = look(&session);
    typist.write_stdin(b"\n\n").unwrap();
    // While somebody is there who sets the pace and takes nothing, the program waits.
    until("the log is full", || async { session.info().stdout > 5_100_000 }).await;
    assert!(memory().saturating_sub(before) < 30 << 20);
    drop(typist);
    let exit = exit_of(&session).await;
    assert_eq!(exit.stdout.bytes, 200_000_000);
    let grown = memory().saturating_sub(before);
    assert!(grown < 30 << 20, "{grown} bytes more");
}

#[tokio::test]
async fn a_terminal_without_a_line_end_that_nobody_reads_takes_no_memory() {
    let _turn = alone().await;
    let sessions = sessions();
    let before = memory();
    let line = "head -c 8000000 /dev/zero | tr '\\000' x";
    let spec = Spec { lease: Lease::Detached, ..on_terminal(24, 80, sh(line)) };
    let session = start(&sessions, spec).await;
    let mut late = Reader::new(&session, &Start { view: View::Watch, ..start_from(0, 0) });
    let exit = exit_of(&session).await;
    assert_eq!(exit.stdout.bytes, 8_000_000);
    let grown = memory().saturating_sub(before);
    assert!(grown < 40 << 20, "{grown} bytes more");
    late.event(|event| matches!(event, Output::Screen { .. })).await;
    assert_eq!(late.end().await, exit);
}

/// Output of a program that is in the middle of everything at once.
fn torn(seed: u64) -> Vec<u8> {
    const PARTS: [&[u8]; 14] = [
        b"\x1b[",
        b"\x1b]0;",
        b"\x1bP",
        b"\x1b_G",
        b"\x1b[999999999;999999999H",
        b"\x1b[?1049h",
        b"\x1b[?1049l",
        b"\x1b[2;3r",
        b"\x1b[99999L\x1b[99999P\x1b[99999@\x1b[99999X",
        b"\xf0\x9f\x98",
        b"\xc3\x28\xff\xfe",
        "\u{1f468}\u{200d}\u{fe0f}\u{301}\u{202e}".as_bytes(),
        b"\x18\x1a\x0e\x0f\x05",
        b"\x1b#8\x1bc",
    ];
    let random = noise(6_000, seed);
    let parts = random.chunks(3).flat_map(|three| {
        let part = PARTS[usize::from(three[0]) % PARTS.len()];
        let end = part.len().min(1 + usize::from(three[1] % 40));
        [&part[..end], &three[2..]].concat()
    });
    parts.collect()
}

#[tokio::test]
async fn output_that_is_no_text_and_sequences_that_never_end_are_survived() {
    let _turn = alone().await;
    let (sessions, dir) = (sessions(), Dir::new());
    for seed in 0..12_u64 {
        let bytes = if seed % 3 == 0 { noise(20_000, seed) } else { torn(seed) };
        let file = dir.file("torn", &bytes, 0o600);
        let (rows, cols) =
            [(24, 80), (1, 1), (2, 3), (1_000, 1_000)][usize::try_from(seed % 4).unwrap()];
        let line = format!("stty raw -echo; cat {}; head -c 1 >/dev/null; exit 3", file.display());
        let session = start(&sessions, on_terminal(rows, cols, sh(&line))).await;
        let mut typist = Reader::typing(&session);
        while typist.at < bytes.len() as u64 {
            typist.step().await;
            if typist.output.len().is_multiple_of(7) {
                let at = u16::try_from(typist.output.len() % 200).unwrap();
                typist.viewer.resize(window(1 + at, 201 - at));
            }
        }
        let screen = Start { view: View::Watch, from: [None; 2], ..start_from(0, 0) };
        let mut late = Reader::new(&session, &screen);
        late.event(|event| matches!(event, Output::Screen { .. })).await;
        typist.types("x");
        assert_eq!((code(&typist.end().await), code(&late.end().await)), (3, 3));
        assert!(typist.output == bytes, "not what the program wrote, seed {seed}");
    }
}

#[tokio::test]
async fn of_ten_thousand_sizes_the_last_one_stays() {
    let _turn = alone().await;
    let sessions = sessions();
    let line = "trap '' WINCH; echo ready; yes '' | head -c 2000000; read x; stty size; read x";
    let session = start(&sessions, on_terminal(24, 80, sh(line))).await;
    let mut reader = Reader::typing(&session);
    reader.until("ready").await;
    let before = memory();
    for number in 0..10_000_u16 {
        reader.viewer.resize(window(number % 999 + 1, number % 313 + 1));
        if number.is_multiple_of(10) {
            let _ = tokio::time::timeout(Duration::ZERO, reader.step()).await;
            tokio::task::yield_now().await;
        }
    }
    reader.viewer.resize(window(43, 132));
    let grown = memory().saturating_sub(before);
    assert!(grown < 30 << 20, "{grown} bytes more");
    reader.types("\n");
    reader.until("43 132").await;
    reader.viewer.refresh();
    let screen = reader.event(|event| matches!(event, Output::Screen { .. })).await;
    assert!(matches!(screen, Output::Screen { rows: 43, cols: 132, .. }));
}

#[tokio::test]
async fn input_in_nothing_and_in_crumbs_takes_no_more_room_than_its_window() {
    let _turn = alone().await;
    let sessions = sessions();
    let session = start(&sessions, argv(&["sleep", "300"])).await;
    let before = memory();
    let mut viewer = look(&session);
    for _ in 0..1_000_000 {
        viewer.write_stdin(b"").unwrap();
    }
    for _ in 0..1_000_000 {
        viewer.write_stdin(b"x").unwrap();
    }
    assert!(memory().saturating_sub(before) < 10 << 20);
    // A new name is not a new window, unless the old one's bytes have gone in.
    drop(viewer);
    let mut names = 1;
    while let Ok(mut viewer) = session.attach(&start_from(0, 0)) {
        viewer.write_stdin(&[0; 1 << 20]).unwrap();
        names += 1;
        assert!(names <= 32, "{names} windows");
    }
    let full = session.attach(&start_from(0, 0)).err();
    assert_eq!(full, Some(Code::Busy.into()));
    // One that only watches needs none.
    session.attach(&Start { view: View::Watch, ..start_from(0, 0) }).unwrap();
    session.signal_tree("KILL").await.unwrap();
    exit_of(&session).await;
}

#[tokio::test]
async fn ends_of_input_that_are_said_over_and_over_take_no_room_on_a_terminal() {
    let _turn = alone().await;
    let sessions = sessions();
    let line = "stty -echo; echo ready; read x; echo one $?; read x; echo two $?; exec sleep 300";
    let session = start(&sessions, on_terminal(24, 80, sh(line))).await;
    let mut reader = Reader::typing(&session);
    reader.until("ready").await;
    for _ in 0..10_000 {
        end_stdin(&mut reader.viewer, b"");
    }
    assert_eq!(reader.viewer.write_stdin(b"x").unwrap_err().code, Code::OutOfOrder);
    reader.until("one 1").await;
    // The second read waits: there was one end. Somebody else may go on.
    let mut other = Reader::typing(&session);
    other.types("\n");
    other.until("two 0").await;
    other.viewer.signal("INT").unwrap();
    other.end().await;
}

#[tokio::test]
async fn input_and_signals_for_a_session_that_has_ended_go_nowhere() {
    let _turn = alone().await;
    let sessions = sessions();
    for spec in [sh("exit 5"), on_terminal(24, 80, sh("exit 5"))] {
        let session = start(&sessions, spec).await;
        let mut viewer = look(&session);
        let exit = exit_of(&session).await;
        let before = memory();
        for _ in 0..50 {
            viewer.write_stdin(&[0; 1 << 20]).unwrap();
        }
        assert!(memory().saturating_sub(before) < 5 << 20);
        for name in ["KILL", "SIGTERM", "HUP", "WINCH"] {
            viewer.signal(name).unwrap();
        }
        viewer.resize(window(9, 9));
        viewer.stop(1);
        viewer.refresh();
        viewer.set_lease(Lease::Ms(0)).unwrap();
        assert_eq!(session.signal_tree("KILL").await.unwrap_err().code, Code::SessionEnded);
        viewer.leave();
        assert_eq!((session.exit(), code(&exit)), (Some(exit.clone()), 5));
    }
}

#[tokio::test]
async fn a_signal_that_has_no_name_is_sent_to_nobody() {
    let _turn = alone().await;
    let sessions = sessions();
    let session = start(&sessions, argv(&["sleep", "300"])).await;
    let mut viewer = look(&session);
    for name in ["", "SIG", "9", "kill", "NOSUCH", "KILL ", "TERM\0", "SIGSIGTERM", "-1", "0"] {
        assert_eq!(viewer.signal(name).unwrap_err().code, Code::BadArgument, "{name:?}");
        assert_eq!(session.signal_tree(name).await.unwrap_err().code, Code::BadArgument);
    }
    assert_eq!(session.exit(), None);
    viewer.leave();
    exit_of(&session).await;
}

#[tokio::test]
async fn no_more_look_at_a_session_than_there_are_places_and_who_watches_takes_none_of_who_types() {
    let _turn = alone().await;
    let sessions = sessions();
    let session = start(&sessions, sh("read x")).await;
    let watch = Start { view: View::Watch, ..start_from(0, 0) };
    let viewers: Vec<_> = (0..64).map(|_| session.attach(&watch).unwrap()).collect();
    assert_eq!(session.attach(&watch).err(), Some(Code::Busy.into()));
    let typist = Start { writer: "one".to_owned(), ..start_from(0, 0) };
    let typists: Vec<_> = (0..64).map(|_| session.attach(&typist).unwrap()).collect();
    assert_eq!(session.attach(&typist).err(), Some(Code::Busy.into()));
    // To learn how it ends takes none.
    let mut waiting = session.attach(&Start { view: View::Exit, ..start_from(0, 0) }).unwrap();
    drop((viewers, typists));
    look(&session).write_stdin(b"\n").unwrap();
    assert!(matches!(next(&mut waiting).await, Output::Exit(_)));
}

#[tokio::test]
async fn offsets_and_streams_that_make_no_sense_change_nothing() {
    let _turn = alone().await;
    let sessions = sessions();
    let stdio = Stdio::Pipes(Stdin::Open);
    let session = start(&sessions, Spec { stdio, ..sh("read x; seq 1 10") }).await;
    let mut viewer = session.attach(&Start { room: [u64::MAX; 2], ..start_from(0, 0) }).unwrap();
    for stream in [0, 3, 255] {
        viewer.allow(stream, u64::MAX);
        viewer.stop(stream);
    }
    viewer.allow(1, u64::MAX);
    viewer.allow(2, 0);
    let (total, blake3) = tally(b"");
    let end = End { stream: 1, total, blake3 };
    assert_eq!(viewer.end_stdin(&end).unwrap_err().code, Code::Corrupt);
    viewer.write_stdin(b"\n").unwrap();
    let Output::Bytes { stream: 1, bytes } = next_out(&mut viewer).await else { panic!() };
    assert_eq!(bytes, b"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
    while !matches!(next_out(&mut viewer).await, Output::Exit(_)) {}
}
