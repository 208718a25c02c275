//! Who looks at a session: what each sees, who sets the pace and answers, and whose input counts.

mod session_support;

use std::time::{Duration, Instant};

use session_support::*;
use tow_host::session::{Output, Session, Sessions, Spec, Start, Viewer};
use tow_proto::message::{EndedBy, Lease, View, Window};
use tow_proto::refusal::Code;

/// A look at the screen, or from the start of pipes.
fn first_look(view: View, size: Option<Window>) -> Start {
    Start { view, window: size, from: [None; 2], ..start_from(0, 0) }
}

/// A look from the start.
fn look_for(view: View) -> Start {
    Start { view, ..start_from(0, 0) }
}

async fn on_terminal_of(sessions: &Sessions, line: &str) -> Session {
    start(sessions, on_terminal(24, 80, sh(line))).await
}

/// Whether two terminals of that size look and behave the same after these bytes.
fn same_picture(rows: u16, cols: u16, one: &[u8], other: &[u8]) {
    let side = |len| std::num::NonZeroU16::new(len).expect("a side");
    let [one, other] = [one, other].map(|bytes| {
        let mut parser = vt100::Parser::new(side(rows), side(cols), 0);
        parser.process(bytes);
        parser
    });
    assert_eq!(one.screen().contents(), other.screen().contents());
    assert_eq!(one.screen().alternate_screen(), other.screen().alternate_screen());
    assert_eq!(one.screen().cursor_position(), other.screen().cursor_position());
    assert_eq!(one.screen().state_formatted(), other.screen().state_formatted());
}

/// What programs draw before they wait for a line, and after it.
const PICTURES: [(&str, &str); 6] = [
    ("printf 'plain\\nlines\\n$ '", "printf 'more'"),
    ("printf '\\033[2J\\033[5;7H\\033[1;31mred\\033[0m\\033[4mline'", "printf '\\033[3;3Hthere'"),
    ("seq 1 300", "seq 1 5"),
    // Another screen, whose end shows the first again.
    ("printf 'below\\033[?1049h\\033[H\\033[?25l\\033[7mabove'", "printf '\\033[?1049l\\033[?25h'"),
    // The cut is in the middle of a sequence, and of a character.
    ("printf 'a\\033[3'", "printf '1mred\\n'"),
    ("printf 'gr\\303'", "printf '\\274n \\342\\202\\254'"),
];

#[tokio::test]
async fn the_screen_comes_first_and_what_follows_it_goes_on_where_it_ends() {
    for (picture, more) in PICTURES {
        let sessions = sessions();
        let alone = on_terminal_of(&sessions, &format!("stty -echo; {picture}")).await;
        let drawn_len = exit_of(&alone).await.stdout.bytes;
        let line = format!("stty -echo; {picture}; read x; {more}; exit 3");
        let session = on_terminal_of(&sessions, &line).await;
        let mut original = Reader::typing(&session);
        while original.at < drawn_len {
            original.step().await;
        }

        let mut late = Reader::new(&session, &first_look(View::Watch, None));
        let screen = late.event(|event| matches!(event, Output::Screen { .. })).await;
        let Output::Screen { at, rows: 24, cols: 80, bytes } = screen else { panic!("{screen:?}") };
        assert_eq!(at, drawn_len);
        let drawn_to = original.output.len();
        same_picture(24, 80, &original.output, &bytes);

        original.types("\n");
        assert_eq!((code(&original.end().await), code(&late.end().await)), (3, 3));
        let live = &original.output[drawn_to..];
        assert!(late.output == [&bytes[..], live].concat(), "{picture}");
        same_picture(24, 80, &original.output, &late.output);
    }
}

#[tokio::test]
async fn at_any_moment_of_a_flood_the_stream_goes_on_at_the_screens_offset() {
    // However little is kept, the screen is made of every byte.
    let sessions_of_little = sessions_with(|limits| {
        limits.log.memory_max = 1_000;
        limits.log.replay_max = 0;
    });
    for sessions in [sessions(), sessions_of_little] {
        let session =
            on_terminal_of(&sessions, "stty -echo; echo ready; read x; seq 1 60000").await;
        let mut typist = Reader::typing(&session);
        typist.until("ready").await;
        typist.types("\n");
        typist.until("\n3000\r\n").await;
        for _ in 0..30 {
            typist.step().await;
            let mut late = Reader::new(&session, &first_look(View::Watch, None));
            late.event(|event| matches!(event, Output::Screen { .. })).await;
            check_picture_of_count(late.at, &late.output);
            let (from, drawing_len) = (usize::try_from(late.at).unwrap(), late.output.len());
            while late.output.len() < drawing_len + 100 && late.at < session.info().stdout {
                late.step().await;
            }
            if late.events.iter().all(|event| !matches!(event, Output::Screen { .. })) {
                let live = &late.output[drawing_len..];
                assert!(count().as_bytes()[from..].starts_with(live), "at {from}");
            }
        }
        typist.end().await;
    }
}

/// What a terminal gets from `echo ready; seq 1 60000`.
fn count() -> String {
    let lines = (1..=60_000).map(|number| format!("{number}\r\n"));
    std::iter::once("ready\r\n".to_owned()).chain(lines).collect()
}

/// Whether a drawing shows that count up to the offset `at`.
fn check_picture_of_count(at: u64, drawing: &[u8]) {
    let at = usize::try_from(at).expect("an offset");
    let all = count();
    same_picture(24, 80, &all.as_bytes()[at.saturating_sub(2_000)..at], drawing);
}

#[tokio::test]
async fn only_the_newest_who_types_is_asked_and_whoever_was_before_is_when_it_has_gone() {
    let sessions = sessions();
    let line = "stty -echo; echo ready; while read x; do printf \"$x\\033[6n\\033[c\\033]11;?\\007.\"; done";
    let session = on_terminal_of(&sessions, line).await;
    let mut older = Reader::typing(&session);
    older.until("ready\r\n").await;
    let mut watcher = Reader::new(&session, &look_for(View::Watch));
    watcher.until("ready\r\n").await;
    let mut newest = Reader::typing(&session);
    newest.until("ready\r\n").await;

    let asked = b"one\x1b[6n\x1b[c\x1b]11;?\x07.";
    newest.types("one\n");
    for reader in [&mut older, &mut watcher, &mut newest] {
        reader.until(".").await;
    }
    newest.types("one\n");
    let mut seen = Vec::new();
    for reader in [&mut older, &mut watcher, &mut newest] {
        while reader.output.last() != Some(&b'.') {
            reader.step().await;
        }
        seen.push(std::mem::take(&mut reader.output));
    }
    assert_eq!(seen[2], asked);
    for silenced in &seen[..2] {
        assert_eq!(silenced.len(), asked.len());
        assert!(silenced.starts_with(b"one\x1b[6\x18\x1b[\x18\x1b]11;"), "{silenced:?}");
        assert!(!silenced.contains(&b'?'), "{silenced:?}");
    }

    drop(newest);
    older.event(|event| *event == Output::Viewers { typing: 1, watching: 1 }).await;
    older.types("one\n");
    while older.output.last() != Some(&b'.') {
        older.step().await;
    }
    assert_eq!(older.output, asked);

    // What is read from the log asks nobody, wherever reading begins.
    let total = session.info().stdout;
    for from in 0..total {
        let mut log = Reader::new(&session, &Start { view: View::Log, ..start_from(from, 0) });
        log.event(|event| *event == Output::CaughtUp).await;
        assert_eq!(log.at, total);
        let questions: [&[u8]; 3] = [b"\x1b[6n", b"\x1b[c", b"\x1b]11;?"];
        for question in questions {
            assert!(!log.output.windows(question.len()).any(|window| window == question));
        }
    }
}

const TELLS_SIZE: &str =
    "trap 'echo now $(stty size)' WINCH; echo ready; while :; do sleep 0.01; done";

#[tokio::test]
async fn the_terminal_is_as_large_as_the_newest_who_types_sees_it_and_then_as_before() {
    let sessions = sessions();
    let session = on_terminal_of(&sessions, TELLS_SIZE).await;
    let mut one = Reader::typing(&session);
    one.until("ready").await;
    one.viewer.resize(window(30, 100));
    assert_eq!(one.line_after("now ").await, "30 100");
    let two = session.attach(&Start { window: Some(window(20, 60)), ..start_from(0, 0) }).unwrap();
    assert_eq!(one.line_after("now ").await, "20 60");
    drop(two);
    assert_eq!(one.line_after("now ").await, "30 100");

    // Whoever typed last sees it at its size.
    let _two = session.attach(&Start { window: Some(window(20, 60)), ..start_from(0, 0) }).unwrap();
    assert_eq!(one.line_after("now ").await, "20 60");
    one.types("\n");
    assert_eq!(one.line_after("now ").await, "30 100");

    // One that only watches changes nothing, not by coming, not by growing, not by going.
    let tiny = Start { window: Some(window(5, 5)), ..look_for(View::Watch) };
    let mut watcher = session.attach(&tiny).unwrap();
    watcher.resize(window(6, 6));
    drop(watcher);
    one.viewer.signal("WINCH").unwrap();
    assert_eq!(one.line_after("now ").await, "30 100");
    one.viewer.signal("TERM").unwrap();
    one.end().await;
    assert!(!one.text().contains("now "), "{:?}", one.text());
}

#[tokio::test]
async fn one_that_watches_can_do_nothing_else() {
    let sessions = sessions();
    for session in [start(&sessions, sh("read x")).await, on_terminal_of(&sessions, "read x").await]
    {
        for view in [View::Watch, View::Log, View::Follow, View::Exit] {
            let mut viewer = session.attach(&look_for(view)).unwrap();
            assert_eq!(viewer.stdin(), Default::default());
            let refusals = [
                viewer.write_stdin(b"x").unwrap_err(),
                viewer
                    .end_stdin(&tow_proto::message::End {
                        stream: 0,
                        total: 0,
                        blake3: tally(b"").1,
                    })
                    .unwrap_err(),
                viewer.signal("TERM").unwrap_err(),
                viewer.set_lease(Lease::Detached).unwrap_err(),
            ];
            assert!(refusals.iter().all(|refusal| refusal.code == Code::OutOfOrder), "{view:?}");
            viewer.stop(1);
        }
        let mut typist = look(&session);
        typist.write_stdin(b"\n").unwrap();
        assert_eq!(exit_of(&session).await.by, EndedBy::Itself);
    }
}

#[tokio::test]
async fn one_that_watches_and_stalls_slows_nobody_and_sees_the_screen_later() {
    let sessions = sessions();
    let session = on_terminal_of(&sessions, "read x; seq 1 300000; read x").await;
    let mut typist = Reader::typing(&session);
    let mut stalled = Reader::new(&session, &look_for(View::Watch));
    typist.types("\n");
    typist.until("300000\r\n").await;
    stalled.event(|event| matches!(event, Output::Screen { .. })).await;
    assert!(String::from_utf8_lossy(&stalled.output).contains("300000"));
    assert!(stalled.output.len() < 100_000, "{} bytes", stalled.output.len());
    typist.types("\n");
    assert_eq!(typist.end().await, stalled.end().await);
}

#[tokio::test]
async fn of_pipes_one_that_watches_and_stalls_gets_a_gap_and_slows_nobody() {
    let sessions = sessions_with(|limits| limits.log.replay_max = 10_000);
    let session = start(&sessions, sh("seq 1 200000; read x; echo end")).await;
    let mut typist = Reader::typing(&session);
    let mut stalled = Reader::new(&session, &look_for(View::Watch));
    typist.until("200000\n").await;
    let gap = stalled.event(|event| matches!(event, Output::Gap { stream: 1, .. })).await;
    assert!(
        matches!(gap, Output::Gap { from: 0, to, .. } if to == stalled.at - stalled.output.len() as u64)
    );
    typist.types("\n");
    typist.end().await;
    stalled.end().await;
    assert!(stalled.text().ends_with("\n199999\n200000\nend\n"));
}

#[tokio::test]
async fn everybody_is_told_who_looks() {
    let sessions = sessions();
    let session = start(&sessions, sh("read x")).await;
    let mut one = look(&session);
    let watcher = session.attach(&look_for(View::Watch)).unwrap();
    assert_eq!(next(&mut one).await, Output::Viewers { typing: 1, watching: 1 });
    let mut two = look(&session);
    assert_eq!(next(&mut one).await, Output::Viewers { typing: 2, watching: 1 });
    assert_eq!(next(&mut two).await, Output::Viewers { typing: 2, watching: 1 });
    // Those that only read the log are no company.
    let _log = session.attach(&look_for(View::Follow)).unwrap();
    drop(watcher);
    assert_eq!(next(&mut one).await, Output::Viewers { typing: 2, watching: 0 });
    drop(two);
    assert_eq!(next(&mut one).await, Output::Viewers { typing: 1, watching: 0 });
    assert_eq!((session.info().typing, session.info().watching), (1, 0));
}

#[tokio::test]
async fn a_screen_is_drawn_again_for_whoever_asks() {
    let sessions = sessions();
    let session = on_terminal_of(&sessions, "stty -echo; echo words; read x; read x").await;
    let mut reader = Reader::typing(&session);
    reader.until("words\r\n").await;
    for _ in 0..3 {
        reader.viewer.refresh();
        let screen = reader.event(|event| matches!(event, Output::Screen { .. })).await;
        let Output::Screen { at: 7, bytes, .. } = screen else { panic!("{screen:?}") };
        same_picture(24, 80, b"words\r\n", &bytes);
    }
    let mut follower = Reader::new(&session, &look_for(View::Follow));
    follower.viewer.refresh();
    follower.until("words\r\n").await;
    assert!(follower.events.is_empty(), "{:?}", follower.events);
    let pipes = start(&sessions, sh("read x; echo end")).await;
    let mut reader = Reader::typing(&pipes);
    reader.viewer.refresh();
    reader.types("\n");
    reader.until("end\n").await;
}

#[tokio::test]
async fn an_interrupt_of_a_flood_is_seen_at_once_and_what_was_in_between_is_not() {
    let sessions = sessions();
    let line = "trap : INT; yes $(seq 1 100); echo in''terrupted; read x; exit 9";
    let session = on_terminal_of(&sessions, line).await;
    let mut typist = look(&session);
    typist.allow(1, 100);
    // Nothing is read until the program has to wait.
    until("the log is full", || async { session.info().stdout > 5_100_000 }).await;
    let total = session.info().stdout;
    let begin = Instant::now();
    typist.write_stdin(b"\x03").unwrap();
    let mut seen = Reader { viewer: typist, output: Vec::new(), at: 0, events: Vec::new() };
    let screen = seen.event(|event| matches!(event, Output::Screen { .. })).await;
    assert!(matches!(screen, Output::Screen { at, .. } if at >= total), "{total}");
    seen.output.clear();
    let mut taken = 0;
    while !seen.text().contains("interrupted") {
        seen.step().await;
        taken = taken.max(seen.output.len());
    }
    assert!(taken < 3 << 20, "{taken} bytes of what nobody wants to see");
    // Not after the flood: that never ends.
    assert!(begin.elapsed() < DEADLINE, "{:?}", begin.elapsed());
    seen.types("\n");
    assert_eq!(code(&seen.end().await), 9);
}

#[tokio::test]
async fn what_follows_an_interrupt_of_a_flood_waits_for_no_credit_and_takes_no_more_than_there_is()
{
    let sessions = sessions();
    let line = "trap : INT; yes $(seq 1 100); echo in''terrupted; read x";
    let session = on_terminal_of(&sessions, line).await;
    let mut typist = session.attach(&Start { room: [ROOM; 2], ..start_from(0, 0) }).unwrap();
    until("the log is full", || async { session.info().stdout > 5_100_000 }).await;
    let mut taken = 0;
    while taken < ROOM - ROOM / 16 {
        taken += shown(&mut typist).await.expect("no jump").len() as u64;
    }
    assert_eq!(taken, ROOM - ROOM / 16, "the flood has left nothing");
    typist.write_stdin(b"\x03").unwrap();
    assert_eq!(shown(&mut typist).await, None, "it jumps");
    let mut seen = Vec::new();
    while !seen.windows(11).any(|window| window == b"interrupted") {
        seen.extend(shown(&mut typist).await.expect("no jump"));
    }
    assert!(seen.len() as u64 <= ROOM / 16, "{} bytes without credit", seen.len());
}

#[tokio::test]
async fn a_flood_that_its_viewer_grants_half_a_window_at_a_time_comes_whole() {
    let sessions = sessions();
    let session = on_terminal_of(&sessions, "stty raw; seq 1 200000; read x").await;
    let mut typist = session.attach(&Start { room: [ROOM; 2], ..start_from(0, 0) }).unwrap();
    let (mut taken, mut allowed, mut seen) = (0, ROOM, Vec::new());
    while !seen.ends_with(b"\n200000\n") {
        let bytes = shown(&mut typist).await.expect("no jump");
        taken += bytes.len() as u64;
        assert!(taken <= allowed, "{taken} bytes, {allowed} were granted");
        seen.extend(bytes);
        if taken + ROOM - allowed >= ROOM / 2 {
            allowed = taken + ROOM;
            typist.allow(1, allowed);
        }
    }
    let numbers: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert!(seen == numbers.as_bytes());
}

/// The next bytes of a terminal, `None` where there is its screen.
async fn shown(viewer: &mut Viewer) -> Option<Vec<u8>> {
    loop {
        match next_out(viewer).await {
            Output::Bytes { stream: 1, bytes } => return Some(bytes),
            Output::Screen { .. } => return None,
            _ => {}
        }
    }
}

/// A viewer's window.
const ROOM: u64 = 1 << 20;

#[tokio::test]
async fn whoever_leaves_for_good_ends_the_lease_only_as_the_last() {
    let sessions = sessions_with(|limits| limits.lease = Duration::from_secs(600));
    for view in [View::Type, View::Watch] {
        let session = start(&sessions, sh("echo ready; exec sleep 300")).await;
        let mut stays = Reader::new(&session, &look_for(view));
        stays.until("ready").await;
        look(&session).leave();
        // The other is there still, and the program too when a later one has ended for that.
        for _ in 0..2 {
            let later = start(&sessions, argv(&["sleep", "300"])).await;
            look(&later).leave();
            assert_eq!(exit_of(&later).await.by, EndedBy::Lease);
        }
        assert_eq!(session.exit(), None);
        stays.viewer.leave();
        assert_eq!(exit_of(&session).await.by, EndedBy::Lease);
    }
    let spec = Spec { lease: Lease::Ms(600_000), ..argv(&["sleep", "300"]) };
    let session = start(&sessions, spec).await;
    look(&session).leave();
    assert_eq!(exit_of(&session).await.by, EndedBy::Lease);
    let spec = Spec { lease: Lease::Detached, ..sh("read x; exit 8") };
    let session = start(&sessions, spec).await;
    look(&session).leave();
    let mut back = look(&session);
    back.write_stdin(b"\n").unwrap();
    assert_eq!(code(&exit_of(&session).await), 8);
}

#[tokio::test]
async fn a_session_that_was_detached_later_outlives_its_lease() {
    let sessions = sessions();
    let kept = start(&sessions, fleeting(sh("read x; exit 8"))).await;
    let mut viewer = look(&kept);
    viewer.set_lease(Lease::Detached).unwrap();
    assert_eq!(next(&mut viewer).await, Output::Lease(Lease::Detached));
    assert_eq!(kept.info().lease, Lease::Detached);
    drop(viewer);
    // A lease that began later ends meanwhile.
    for _ in 0..2 {
        let ended = start(&sessions, fleeting(argv(&["sleep", "300"]))).await;
        drop(look(&ended));
        assert_eq!(exit_of(&ended).await.by, EndedBy::Lease);
    }
    assert_eq!(kept.exit(), None);
    let mut back = look(&kept);
    back.set_lease(Lease::Ms(1)).unwrap();
    drop(back);
    assert_eq!(exit_of(&kept).await.by, EndedBy::Lease);
}

#[tokio::test]
async fn the_log_ends_where_the_output_was_when_it_was_asked_for() {
    let sessions = sessions();
    for session in [
        start(&sessions, sh("echo begin; read x; exec yes")).await,
        on_terminal_of(&sessions, "stty -echo; echo begin; read x; exec yes").await,
    ] {
        let mut typist = Reader::typing(&session);
        typist.until("begin").await;
        until("its line is whole", || async { session.info().stdout > 5 }).await;
        let total = session.info().stdout;
        let mut log = Reader::new(&session, &Start { view: View::Log, ..start_from(3, 0) });
        // The flood begins only now.
        typist.types("\n");
        typist.until("y").await;
        log.event(|event| *event == Output::CaughtUp).await;
        assert_eq!((log.text().trim_end(), log.at), ("in", total));
        // In the middle of a flood it has an end as well.
        let mut log = Reader::new(&session, &look_for(View::Log));
        let until = session.info().stdout;
        log.event(|event| *event == Output::CaughtUp).await;
        assert!(log.at <= until, "{} is after {until}", log.at);
        typist.viewer.signal("KILL").unwrap();
        let exit = typist.end().await;
        let mut log = Reader::new(&session, &look_for(View::Log));
        log.event(|event| matches!(event, Output::Ended { stream: 1, .. })).await;
        log.event(|event| *event == Output::CaughtUp).await;
        assert_eq!(log.at, exit.stdout.bytes);
    }
}

#[tokio::test]
async fn who_follows_sees_all_to_the_end_and_who_waits_only_the_end() {
    let sessions = sessions();
    for terminal in [false, true] {
        let line = "read x; seq 1 50000; exit 4";
        let session = match terminal {
            true => on_terminal_of(&sessions, line).await,
            false => start(&sessions, sh(line)).await,
        };
        let mut typist = Reader::typing(&session);
        let mut follower = Reader::new(&session, &look_for(View::Follow));
        let mut waiting = session.attach(&look_for(View::Exit)).unwrap();
        waiting.allow(1, 1 << 20);
        typist.types("\n");
        let exit = typist.end().await;
        assert_eq!((follower.end().await, code(&exit)), (exit.clone(), 4));
        assert!(follower.output == typist.output);
        let (total, blake3) = tally(&follower.output);
        assert_eq!((total, blake3), (exit.stdout.bytes, exit.stdout.blake3));
        assert_eq!(next(&mut waiting).await, Output::Exit(exit));
    }
}

#[tokio::test]
async fn an_offset_that_is_not_there_yet_is_refused() {
    let sessions = sessions();
    let session = start(&sessions, sh("echo abc; echo d >&2; read x")).await;
    until("it writes", || async { (session.info().stdout, session.info().stderr) == (4, 2) }).await;
    for view in [View::Type, View::Watch, View::Log, View::Follow, View::Exit] {
        for (stdout, stderr, is_fine) in
            [(4, 2, true), (5, 2, false), (4, 3, false), (u64::MAX, 0, false)]
        {
            let begun = session.attach(&Start { view, ..start_from(stdout, stderr) });
            match begun {
                Ok(viewer) => assert!(is_fine && viewer.starts() == [4, 2]),
                Err(refusal) => assert!(!is_fine && refusal.code == Code::Malformed),
            }
        }
    }
}

#[tokio::test]
async fn a_thousand_cuts_of_a_stream_of_input_neither_lose_nor_repeat_a_byte() {
    let (sessions, dir) = (sessions_with(|limits| limits.stdin_window = 5_000), Dir::new());
    let copy = dir.path().join("copy");
    let session = start(&sessions, sh(&format!("cat >{}", copy.display()))).await;
    let input: Vec<u8> =
        (0..1_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let writer = || Start { writer: "typist".into(), ..start_from(0, 0) };
    let mut random = 12_345_u32;
    let mut below = |max: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(random >> 8).unwrap() % max
    };
    let mut viewer = session.attach(&writer()).unwrap();
    let mut lost = None;
    for _ in 0..1_000 {
        let from = usize::try_from(viewer.stdin().from).unwrap();
        let room = usize::try_from(viewer.stdin().to).unwrap() - from;
        let to = input.len().min(from + below(room.min(2_000) + 1));
        viewer.write_stdin(&input[from..to]).unwrap();
        // The link is cut: at once, or while the old one still has something to say.
        let old = std::mem::replace(&mut viewer, session.attach(&writer()).unwrap());
        lost = Some(old).filter(|_| below(2) == 0);
        if let Some(old) = &mut lost {
            let late = &input[to..input.len().min(to + 1 + below(100))];
            assert_eq!(old.write_stdin(late).unwrap_err().code, Code::OutOfOrder);
            let (total, blake3) = tally(&input[..to]);
            let end = tow_proto::message::End { stream: 0, total, blake3 };
            assert_eq!(old.end_stdin(&end).unwrap_err().code, Code::OutOfOrder);
        }
        tokio::task::yield_now().await;
    }
    drop(lost);
    let mut sent = usize::try_from(viewer.stdin().from).unwrap();
    assert!(sent > 100_000, "{sent}");
    while sent < input.len() {
        let to = usize::try_from(viewer.stdin().to).unwrap().min(input.len());
        viewer.write_stdin(&input[sent..to]).unwrap();
        sent = to;
        tokio::task::yield_now().await;
    }
    end_stdin(&mut viewer, &input);
    assert_eq!(code(&exit_of(&session).await), 0);
    assert!(std::fs::read(copy).unwrap() == input);
}

#[tokio::test]
async fn an_end_of_input_that_is_not_what_came_is_refused_and_ends_nothing() {
    let sessions = sessions();
    let mut viewer = look(&start(&sessions, sh("cat")).await);
    viewer.write_stdin(b"abc").unwrap();
    let (total, blake3) = tally(b"abc");
    for wrong in [(4, blake3), (total, tally(b"abd").1), (0, tally(b"").1)] {
        let end = tow_proto::message::End { stream: 0, total: wrong.0, blake3: wrong.1 };
        assert_eq!(viewer.end_stdin(&end).unwrap_err().code, Code::Corrupt);
    }
    viewer.write_stdin(b"def").unwrap();
    end_stdin(&mut viewer, b"abcdef");
    assert_eq!(see(&mut viewer).await.stdout, b"abcdef");
}

#[tokio::test]
async fn the_first_end_of_input_ends_it_for_all_who_type() {
    let sessions = sessions();
    let session = start(&sessions, sh("cat; echo end; exec sleep 300")).await;
    let (mut one, mut two) = (Reader::typing(&session), Reader::typing(&session));
    one.types("one ");
    two.types("two ");
    end_stdin(&mut one.viewer, b"one ");
    two.event(|event| *event == Output::StdinClosed).await;
    two.types("late");
    assert_eq!(two.line_after("one ").await, "two end");
    assert!(!one.events.contains(&Output::StdinClosed));
    two.viewer.signal("TERM").unwrap();
    two.end().await;
}
