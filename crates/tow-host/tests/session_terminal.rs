//! Programs on a terminal, and what a terminal has beyond pipes: a size, keys that are signals, an
//! end of input that is none, and an end that comes when nobody has it any more.

mod session_support;

use std::time::{Duration, Instant};

use session_support::*;
use tow_host::session::{Output, Session, Sessions, Spec};
use tow_proto::message::{EndedBy, Lease};

/// A shell with job control that says nothing of its own but its prompt.
fn interactive() -> Spec {
    let mut spec = argv(&["bash", "--norc", "--noprofile", "-i"]);
    spec.env = vec![("TERM".into(), "dumb".into()), ("PS1".into(), "? ".into())];
    on_terminal(24, 80, spec)
}

async fn on_terminal_of(sessions: &Sessions, line: &str) -> Session {
    start(sessions, on_terminal(24, 80, sh(line))).await
}

/// All that a program writes to a terminal of that size.
async fn shown(rows: u16, cols: u16, spec: Spec) -> String {
    let session = start(&sessions(), on_terminal(rows, cols, spec)).await;
    let seen = see(&mut look(&session)).await;
    assert!(seen.stderr.is_empty());
    String::from_utf8(seen.stdout).expect("text").replace("\r\n", "\n")
}

#[tokio::test]
async fn the_terminal_is_the_programs_own() {
    let line = "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo out && echo err >&2 && echo tty >/dev/tty";
    assert_eq!(shown(24, 80, sh(line)).await, "out\nerr\ntty\n");
}

#[tokio::test]
async fn its_size_is_right_before_the_first_look_at_it() {
    let sizes = [
        ((30, 100), "30 100\n"),
        ((0, 0), "24 80\n"),
        ((0, 100), "24 80\n"),
        ((65_535, 65_535), "1000 1000\n"),
        ((1, 1), "1 1\n"),
    ];
    for ((rows, cols), wanted) in sizes {
        assert_eq!(shown(rows, cols, argv(&["stty", "size"])).await, wanted);
    }
}

#[tokio::test]
async fn a_program_hears_of_every_new_size() {
    let sessions = sessions();
    let line = "trap 'echo now $(stty size)' WINCH; echo ready; while :; do sleep 0.01; done";
    let mut reader = Reader::typing(&on_terminal_of(&sessions, line).await);
    reader.until("ready").await;
    reader.viewer.resize(window(50, 120));
    assert_eq!(reader.line_after("now ").await, "50 120");
    // Not known is not new.
    reader.viewer.resize(window(0, 0));
    reader.viewer.resize(window(65_535, 7));
    assert_eq!(reader.line_after("now ").await, "1000 7");
    reader.viewer.signal("TERM").unwrap();
    assert_eq!(signal(&reader.end().await), "TERM");
    assert!(!reader.text().contains("now "), "{:?}", reader.text());
}

#[tokio::test]
async fn the_terminals_name_is_the_clients_or_the_usual_one() {
    assert_eq!(shown(24, 80, sh("echo $TERM")).await, "xterm-256color\n");
    let spec = Spec { env: vec![("TERM".into(), "vt220".into())], ..sh("echo $TERM") };
    assert_eq!(shown(24, 80, spec).await, "vt220\n");
}

#[tokio::test]
async fn an_interrupt_hits_the_job_in_the_foreground_and_nothing_else() {
    let sessions = sessions();
    let mut reader = Reader::typing(&start(&sessions, interactive()).await);
    // What is typed is seen as well: only the shell makes one word of these two.
    reader.types("sleep 300 & echo back''ground $!=\n");
    let background = reader.line_after("background ").await.replace('=', "");
    for by_key in [true, false] {
        reader.types("sh -c 'echo be\"\"gun; exec sleep 300'\n");
        reader.until("begun").await;
        if by_key {
            reader.types("\x03");
        } else {
            reader.viewer.signal("INT").unwrap();
        }
        reader.until("? ").await;
        reader.types("echo sta''tus $?=\n");
        assert_eq!(reader.line_after("status ").await, "130=");
    }
    let state = state_of(&background);
    assert!(
        state.is_some_and(|state| !"TZ".contains(state)),
        "it was in the background: {state:?}"
    );
    reader.types("kill %1; exit 3\n");
    let exit = reader.end().await;
    assert_eq!((code(&exit), exit.by), (3, EndedBy::Itself));
}

#[tokio::test]
async fn a_job_can_be_stopped_by_its_key_and_brought_back() {
    let sessions = sessions();
    let mut reader = Reader::typing(&start(&sessions, interactive()).await);
    reader.types("sh -c 'echo be\"\"gun $$=; read line; echo g\"\"ot $line; exit 5'\n");
    let job = reader.line_after("begun ").await.replace('=', "");
    reader.types("\x1a");
    reader.until("Stopped").await;
    until("it stops", || async { state_of(&job) == Some('T') }).await;
    reader.types("fg\n");
    reader.until("sh -c").await;
    until("it goes on", || async { state_of(&job) == Some('S') }).await;
    reader.types("words\n");
    reader.until("got words").await;
    reader.types("exit\n");
    assert_eq!(code(&reader.end().await), 5);
}

#[tokio::test]
async fn the_end_of_input_is_the_character_that_the_program_has_chosen_for_it() {
    for set in ["true", "stty eof ^G"] {
        let sessions = sessions();
        let line = format!("{set}; echo ready; cat; echo after; cat; exit 4");
        let mut reader = Reader::typing(&on_terminal_of(&sessions, &line).await);
        reader.until("ready").await;
        reader.types("some words\n");
        reader.until("some words\r\nsome words").await;
        end_stdin(&mut reader.viewer, b"some words\n");
        reader.until("after").await;
        // Said again, as after a lost link, it is not another end.
        end_stdin(&mut reader.viewer, b"some words\n");
        let mut other = Reader::typing(reader_session(&sessions).as_ref().unwrap());
        other.types("more\n");
        other.until("more\r\nmore").await;
        end_stdin(&mut other.viewer, b"more\n");
        assert_eq!(code(&other.end().await), 4, "{set}");
    }
}

/// The only session that runs.
fn reader_session(sessions: &Sessions) -> Option<Session> {
    sessions.find(&sessions.list().first()?.id)
}

#[tokio::test]
async fn a_process_that_holds_the_terminal_does_not_hold_the_exit() {
    let sessions = sessions();
    let begin = Instant::now();
    // The hangup at the shell's end may come before it is in a session of its own.
    let line = "trap '' HUP; setsid sleep 300 & seq 1 2000; echo tail $!=";
    let mut reader = Reader::typing(&on_terminal_of(&sessions, line).await);
    let holder = reader.line_after("2000\r\ntail ").await.replace('=', "");
    let exit = reader.end().await;
    assert!(begin.elapsed() < DEADLINE, "{:?}", begin.elapsed());
    assert_eq!((code(&exit), &exit.lingering[..]), (0, &[holder.parse::<u32>().unwrap()][..]));
    kill(&holder);
}

#[tokio::test]
async fn a_process_that_floods_the_terminal_does_not_hold_the_exit() {
    let sessions = sessions_with(|limits| limits.quiet_max = Duration::from_millis(300));
    let line = "(trap '' HUP; exec yes) & echo $!=; exit 7";
    let mut reader = Reader::typing(&on_terminal_of(&sessions, line).await);
    let begin = Instant::now();
    let exit = reader.end().await;
    assert!(begin.elapsed() < DEADLINE, "{:?}", begin.elapsed());
    assert_eq!(code(&exit), 7);
    // The terminal is gone, and its next write fails.
    let text = reader.text();
    let flood = text.lines().find_map(|line| line.trim_start_matches("y\n").strip_suffix('='));
    until_gone(flood.expect("its number")).await;
}

#[tokio::test]
async fn what_was_written_before_the_end_of_the_terminal_is_all_there() {
    let wanted: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    for _ in 0..5 {
        let seen = shown(24, 80, argv(&["seq", "1", "20000"])).await;
        assert!(seen == wanted, "{} of {} bytes", seen.len(), wanted.len());
    }
}

#[tokio::test]
async fn input_that_nobody_reads_does_not_hold_the_output() {
    let long_line = "x".repeat(60_000);
    let lines = "y\n".repeat(30_000);
    for input in [&long_line, &lines] {
        for echo in ["echo", "-echo"] {
            let sessions = sessions();
            let count = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i + 1)); done";
            let line = format!("stty {echo}; echo ready; {count}; exec sleep 300");
            let mut reader = Reader::typing(&on_terminal_of(&sessions, &line).await);
            reader.until("ready").await;
            reader.types(input);
            reader.until("line 2999").await;
            // A signal passes what stands still.
            reader.viewer.signal("INT").unwrap();
            let exit = reader.end().await;
            assert_eq!((signal(&exit), exit.by), ("INT", EndedBy::User));
        }
    }
}

/// Types as much as there is room for, and reads meanwhile.
async fn paste(reader: &mut Reader, input: &[u8]) {
    let mut sent = 0;
    while sent < input.len() {
        let to = usize::try_from(reader.viewer.stdin().to).expect("an offset").min(input.len());
        reader.viewer.write_stdin(&input[sent..to]).expect("there is room");
        sent = to;
        if sent < input.len() {
            reader.step().await;
        }
    }
}

#[tokio::test]
async fn a_large_paste_is_copied_whole_while_output_comes_back() {
    let sessions = sessions_with(|limits| limits.stdin_window = 20_000);
    let input: String = (0..8_000).map(|number| format!("{number:>60}\n")).collect();
    let mut reader =
        Reader::typing(&on_terminal_of(&sessions, "stty -echo; echo ready; cat").await);
    reader.until("ready\r\n").await;
    paste(&mut reader, input.as_bytes()).await;
    end_stdin(&mut reader.viewer, input.as_bytes());
    assert_eq!(code(&reader.end().await), 0);
    assert!(reader.text() == input, "{} of {} bytes", reader.text().len(), input.len());
}

#[tokio::test]
async fn a_large_paste_that_is_echoed_as_well_stops_nothing() {
    let sessions = sessions_with(|limits| limits.stdin_window = 20_000);
    let input: String = (0..8_000).map(|number| format!("{number:>60}\n")).collect();
    let mut reader = Reader::typing(&on_terminal_of(&sessions, "echo ready; cat; echo end").await);
    reader.until("ready").await;
    paste(&mut reader, input.as_bytes()).await;
    end_stdin(&mut reader.viewer, input.as_bytes());
    assert_eq!(code(&reader.end().await), 0);
    assert!(reader.text().ends_with("7999\nend\n"));
}

#[tokio::test]
async fn a_login_shell_is_told_that_it_is_one() {
    let sessions = sessions();
    let spec = Spec { env: vec![("PS1".into(), "? ".into())], ..login() };
    let mut reader = Reader::typing(&start(&sessions, on_terminal(24, 80, spec)).await);
    reader.types("echo na''me $0=\n");
    assert_eq!(reader.line_after("name ").await, "-sh=");
    reader.types("exit 6\n");
    assert_eq!(code(&reader.end().await), 6);
}

#[tokio::test]
async fn a_lease_that_is_over_ends_what_would_survive_a_hangup() {
    let sessions = sessions_with(impatient);
    let line = "nohup sleep 300 >/dev/null 2>&1 & echo one $!=
        setsid sh -c 'trap \"\" HUP TERM; echo two $$=; while :; do sleep 300; done' & wait";
    let session = start(&sessions, on_terminal(24, 80, fleeting(sh(line)))).await;
    let mut reader = Reader::typing(&session);
    let deaf = reader.line_after("one ").await.replace('=', "");
    let stubborn = reader.line_after("two ").await.replace('=', "");
    drop(reader);
    assert_eq!(exit_of(&session).await.by, EndedBy::Lease);
    until_gone(&deaf).await;
    until_gone(&stubborn).await;
    until("nothing runs", || async { sessions.running() == 0 }).await;
}

#[tokio::test]
async fn a_terminal_whose_output_nobody_wants_is_hung_up() {
    let sessions = sessions();
    let mut reader = Reader::typing(&start(&sessions, on_terminal(24, 80, argv(&["yes"]))).await);
    reader.until("y\r\n").await;
    reader.viewer.stop(1);
    assert_eq!(signal(&reader.end().await), "HUP");
}

#[tokio::test]
async fn a_terminals_second_output_is_there_and_empty() {
    let sessions = sessions();
    let spec = Spec { lease: Lease::Detached, ..sh("echo out; echo err >&2") };
    let mut reader = Reader::typing(&start(&sessions, on_terminal(24, 80, spec)).await);
    let exit = reader.end().await;
    assert_eq!((exit.stdout.bytes, exit.stderr.bytes), (10, 0));
    assert!(reader.events.iter().any(|event| {
        matches!(event, Output::Ended { stream: 2, total: 0, blake3 } if *blake3 == tally(b"").1)
    }));
}
