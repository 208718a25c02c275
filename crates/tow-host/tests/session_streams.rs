//! What goes in and what comes out.

mod session_support;

use std::time::{Duration, Instant};

use session_support::*;
use tokio::time::timeout;
use tow_host::session::{Output, Spec, Start, Stdin, Stdio};
use tow_proto::message::{EndedBy, Lease};
use tow_proto::refusal::{Code, Refusal};

#[tokio::test]
async fn ten_megabytes_on_both_outputs_at_once_arrive_whole() {
    let line = "seq 1 1400000 & seq 1 1400000 >&2; wait";
    let seen = run(&sessions(), sh(line)).await;
    assert!(seen.stdout.len() > 10_000_000 && seen.stdout == seen.stderr);
    assert!(seen.stdout.ends_with(b"1399999\n1400000\n"));
}

#[tokio::test]
async fn a_few_bytes_come_at_once() {
    let sessions = sessions();
    let mut viewer = look(&start(&sessions, argv(&["cat"])).await);
    viewer.allow(1, 100);
    for byte in b"abc" {
        viewer.write_stdin(&[*byte]).unwrap();
        assert_eq!(next_out(&mut viewer).await, Output::Bytes { stream: 1, bytes: vec![*byte] });
    }
    end_stdin(&mut viewer, b"abc");
    while !matches!(next_out(&mut viewer).await, Output::Exit(_)) {}
}

#[tokio::test]
async fn no_byte_comes_beyond_the_credit() {
    let sessions = sessions();
    let mut viewer = look(&start(&sessions, sh("seq 1 1000")).await);
    let mut at = 0;
    for to in [0_u64, 1, 7, 500, 500, 2_000] {
        viewer.allow(1, to);
        while at < to {
            match next_out(&mut viewer).await {
                Output::Bytes { stream: 1, bytes } => at += bytes.len() as u64,
                // The program may have ended already.
                output => assert!(matches!(output, Output::Ended { stream: 2, .. }), "{output:?}"),
            }
            assert!(at <= to);
        }
        viewer.allow(1, to / 2);
        let more = timeout(Duration::from_millis(30), viewer.next()).await;
        assert!(!matches!(more, Ok(Output::Bytes { .. })), "beyond the credit of {to}: {more:?}");
    }
    viewer.allow(7, 1 << 40);
    viewer.allow(0, 1 << 40);
}

#[tokio::test]
async fn without_credit_the_program_waits_as_at_a_full_pipe() {
    let sessions = sessions();
    let mut viewer = look(&start(&sessions, sh("head -c 8388608 /dev/zero; echo done >&2")).await);
    viewer.allow(2, 100);
    let early = timeout(Duration::from_millis(300), viewer.next()).await;
    assert!(early.is_err(), "8 MiB went somewhere: {early:?}");
    let seen = see(&mut viewer).await;
    assert_eq!((seen.stdout.len(), &seen.stderr[..]), (8 << 20, &b"done\n"[..]));
}

#[tokio::test]
async fn what_was_written_before_the_exit_is_not_lost_for_want_of_credit() {
    let len = (2 << 20) + (64 << 10);
    let sessions = sessions_with(|limits| limits.log.memory_max = 4 << 20);
    let session = start(&sessions, sh(&format!("head -c {len} /dev/urandom"))).await;
    let mut viewer = look(&session);
    exit_of(&session).await;
    let seen = see(&mut viewer).await;
    assert_eq!(seen.stdout.len(), len);
}

#[tokio::test]
async fn the_end_of_a_full_pipe_is_not_lost_although_a_child_holds_it() {
    // The log takes 64 KiB and the pipe as much: the program exits while some is in either.
    let sessions = sessions_with(|limits| {
        limits.log.memory_max = 64 << 10;
        limits.quiet = Duration::from_millis(1);
        limits.quiet_max = Duration::from_millis(2);
    });
    let line = "sleep 300 2>/dev/null & echo $! >&2; head -c 90000 /dev/urandom";
    let mut viewer = look(&start(&sessions, sh(line)).await);
    viewer.allow(2, 100);
    let Output::Bytes { stream: 2, bytes: pid } = next_out(&mut viewer).await else { panic!() };
    let pid = String::from_utf8(pid).unwrap().trim().to_owned();
    // The shell itself is gone before anything is taken: what `sleep` says about its parent shows
    // it.
    until("the program exits", || async {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let parent = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().to_owned();
        parent == std::process::id().to_string()
    })
    .await;
    let mut len = 0;
    let exit = loop {
        viewer.allow(1, len + 1000);
        match next_out(&mut viewer).await {
            Output::Bytes { stream: 1, bytes } => len += bytes.len() as u64,
            Output::Exit(exit) => break exit,
            _ => {}
        }
    };
    assert_eq!((len, exit.stdout.bytes), (90_000, 90_000));
    assert_eq!(exit.lingering, [pid.parse::<u32>().unwrap()]);
    kill(&pid);
}

#[tokio::test]
async fn a_detached_session_without_viewers_keeps_the_last_bytes() {
    let sessions = sessions_with(|limits| {
        limits.log.memory_max = 60_000;
        limits.log.replay_max = 4_000;
    });
    let all: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    let spec = Spec { lease: Lease::Detached, ..sh("seq 1 100000") };
    let session = start(&sessions, spec).await;
    let record = exit_of(&session).await;
    assert_eq!((record.stdout.bytes, record.stdout.blake3), tally(all.as_bytes()));

    let mut viewer = look_from(&session, 10, 0);
    viewer.allow(1, 1 << 20);
    let Output::Gap { stream: 1, from: 10, to } = next_out(&mut viewer).await else { panic!() };
    let kept_len = all.len() - usize::try_from(to).unwrap();
    assert!((50_000..=60_000).contains(&kept_len), "{kept_len}");
    let mut kept = Vec::new();
    let (total, blake3) = loop {
        match next_out(&mut viewer).await {
            Output::Bytes { stream: 1, bytes } => kept.extend(bytes),
            Output::Ended { stream: 1, total, blake3 } => break (total, blake3),
            _ => {}
        }
    };
    assert_eq!(kept, &all.as_bytes()[all.len() - kept_len..]);
    assert_eq!((total, blake3), (record.stdout.bytes, record.stdout.blake3));
}

#[tokio::test]
async fn a_viewer_that_comes_back_goes_on_at_any_offset_that_is_kept() {
    let sessions = sessions();
    let session =
        start(&sessions, sh("printf 0123456789; printf abc >&2; read line; printf more")).await;
    let mut first = look(&session);
    first.allow(1, 10);
    assert_eq!(
        next_out(&mut first).await,
        Output::Bytes { stream: 1, bytes: b"0123456789".into() }
    );
    first.allow(2, 3);
    assert_eq!(next_out(&mut first).await, Output::Bytes { stream: 2, bytes: b"abc".into() });
    drop(first);

    let mut second = look_from(&session, 4, 3);
    second.allow(1, 100);
    assert_eq!(next_out(&mut second).await, Output::Bytes { stream: 1, bytes: b"456789".into() });
    second.write_stdin(b"x\n").unwrap();
    let mut rest = Vec::new();
    while !matches!(rest.last(), Some(Output::Exit(_))) {
        rest.push(next_out(&mut second).await);
    }
    assert!(rest.contains(&Output::Bytes { stream: 1, bytes: b"more".into() }));
    assert!(rest.iter().any(|output| matches!(output, Output::Ended { stream: 1, total: 14, .. })));
    assert!(rest.iter().any(|output| matches!(output, Output::Ended { stream: 2, total: 3, .. })));
    assert_eq!(
        Some(next_out(&mut second).await),
        rest.pop(),
        "the exit is told as often as it is asked for"
    );
}

#[tokio::test]
async fn bytes_in_flight_when_a_link_dies_are_there_for_the_next_viewer() {
    let sessions = sessions_with(|limits| {
        limits.log.memory_max = 64 << 10;
        limits.log.replay_max = 64 << 10;
    });
    let session = start(&sessions, argv(&["seq", "1", "100000"])).await;
    let window = Start { room: [50_000, 0], ..start_from(0, 0) };
    let mut lost = session.attach(&window).unwrap();
    let mut taken = 0;
    while taken < 50_000 {
        let Output::Bytes { stream: 1, bytes } = next_out(&mut lost).await else { panic!() };
        taken += bytes.len();
    }
    // The old link has not been found dead yet; then it is.
    let mut again = look(&session);
    drop(lost);
    let seen = see(&mut again).await;
    assert_eq!(seen.stdout.len() as u64, seen.exit.stdout.bytes);
}

#[tokio::test]
async fn an_old_viewer_that_is_stuck_does_not_stop_the_newest() {
    let sessions = sessions_with(|limits| limits.log.replay_max = 0);
    let session = start(&sessions, sh("seq 1 1000000")).await;
    let mut stuck = look(&session);
    let seen = see(&mut look(&session)).await;
    assert!(seen.stdout.ends_with(b"\n1000000\n"));
    stuck.allow(1, u64::MAX);
    let gap = next_out(&mut stuck).await;
    assert!(matches!(gap, Output::Gap { stream: 1, from: 0, to } if to > 1 << 20), "{gap:?}");
}

#[tokio::test]
async fn a_program_whose_output_nobody_wants_ends_by_sigpipe() {
    let sessions = sessions();
    let session = start(&sessions, argv(&["yes"])).await;
    let mut viewer = look(&session);
    assert_eq!(line(&mut viewer).await.split('\n').next(), Some("y"));
    viewer.stop(1);
    let mut ended = None;
    let exit = loop {
        match next_out(&mut viewer).await {
            Output::Ended { stream: 1, total, .. } => ended = Some(total),
            Output::Exit(exit) => break exit,
            Output::Bytes { .. } => panic!("bytes after the stop"),
            _ => {}
        }
    };
    assert_eq!((signal(&exit), exit.by), ("PIPE", EndedBy::Itself));
    assert_eq!(ended, Some(exit.stdout.bytes));
    assert!(exit.lingering.is_empty());
}

#[tokio::test]
async fn input_larger_than_the_window_passes_a_filter_that_answers_at_once() {
    let input: Vec<u8> = (0..5_000_000_u32).map(|number| (number * 7 / 3) as u8).collect();
    let sessions = sessions_with(|limits| limits.stdin_window = 100_000);
    let mut viewer = look(&start(&sessions, argv(&["cat"])).await);
    let (mut sent, mut to, mut output) = (0, viewer.stdin().to, Vec::new());
    assert_eq!(to, 100_000);
    loop {
        while sent < input.len() && (sent as u64) < to {
            let end = input.len().min(usize::try_from(to).unwrap()).min(sent + 30_000);
            viewer.write_stdin(&input[sent..end]).unwrap();
            sent = end;
            if sent == input.len() {
                end_stdin(&mut viewer, &input);
            }
        }
        viewer.allow(1, output.len() as u64 + 70_000);
        match next(&mut viewer).await {
            Output::Bytes { stream: 1, bytes } => output.extend(bytes),
            Output::StdinRoom { to: more } => to = more,
            Output::Ended { stream: 1, .. } => break,
            _ => {}
        }
    }
    assert!(output == input);
    assert_eq!(viewer.stdin().from, input.len() as u64);
}

#[tokio::test]
async fn a_filter_that_needs_the_end_of_its_input_gets_it() {
    let sessions = sessions();
    let mut viewer = look(&start(&sessions, argv(&["sort"])).await);
    viewer.write_stdin(b"pear\napple\n").unwrap();
    viewer.write_stdin(b"fig\n").unwrap();
    end_stdin(&mut viewer, b"pear\napple\nfig\n");
    let seen = see(&mut viewer).await;
    assert_eq!((&seen.stdout[..], code(&seen.exit)), (&b"apple\nfig\npear\n"[..], 0));
}

#[tokio::test]
async fn no_more_input_is_taken_than_was_granted() {
    let sessions = sessions_with(|limits| limits.stdin_window = 1000);
    let mut viewer = look(&start(&sessions, argv(&["cat"])).await);
    let refusal = viewer.write_stdin(&[0; 1001]).unwrap_err();
    assert_eq!(refusal, Refusal::new(Code::TooLong).with_count(1000));
    viewer.write_stdin(&[0; 1000]).unwrap();
    end_stdin(&mut viewer, &[0; 1000]);
    assert_eq!(viewer.write_stdin(&[0]).unwrap_err().code, Code::OutOfOrder);
    assert_eq!(see(&mut viewer).await.stdout.len(), 1000);
}

#[tokio::test]
async fn a_program_that_closes_its_input_early_is_told_of_and_hears_no_more() {
    let sessions = sessions();
    let line = "echo open; exec 0<&-; exec sleep 30";
    let mut viewer = look(&start(&sessions, sh(line)).await);
    while next(&mut viewer).await != Output::StdinClosed {}
    viewer.write_stdin(&[0; 100]).expect("dropped without a word");
    viewer.write_stdin(&[0; 3 << 20]).expect("dropped, however much it is");
    viewer.signal("TERM").unwrap();
    assert_eq!(see(&mut viewer).await.stdout, b"open\n");
}

#[tokio::test]
async fn a_program_that_reads_only_the_start_of_its_input_ends_all_the_same() {
    let sessions = sessions();
    let mut viewer = look(&start(&sessions, argv(&["head", "-c", "3"])).await);
    viewer.write_stdin(&[b'x'; 1 << 20]).unwrap();
    let seen = see(&mut viewer).await;
    assert_eq!((&seen.stdout[..], code(&seen.exit)), (&b"xxx"[..], 0));
}

#[tokio::test]
async fn without_stdin_a_program_finds_an_empty_one() {
    let spec = Spec { stdio: Stdio::Pipes(Stdin::Null), ..argv(&["cat"]) };
    let sessions = sessions();
    let mut viewer = look(&start(&sessions, spec).await);
    assert_eq!(viewer.stdin().to, 0);
    assert_eq!(viewer.write_stdin(&[1]).unwrap_err().code, Code::OutOfOrder);
    assert_eq!(code(&see(&mut viewer).await.exit), 0);
}

#[tokio::test]
async fn an_output_ends_when_it_ends_and_not_when_the_program_does() {
    let sessions = sessions();
    let begin = Instant::now();
    let mut viewer = look(&start(&sessions, sh("echo x; exec >&-; read line")).await);
    viewer.allow(1, 100);
    assert_eq!(next_out(&mut viewer).await, Output::Bytes { stream: 1, bytes: b"x\n".into() });
    assert!(matches!(next_out(&mut viewer).await, Output::Ended { stream: 1, total: 2, .. }));
    end_stdin(&mut viewer, b"");
    assert!(matches!(next_out(&mut viewer).await, Output::Ended { stream: 2, total: 0, .. }));
    assert!(matches!(next_out(&mut viewer).await, Output::Exit(_)));
    assert!(begin.elapsed() < DEADLINE);
}
