//! `tow run` from outside: arguments, streams, signals, exit codes, and links that are cut.

#![allow(clippy::unwrap_used, reason = "what a test can't do without has failed it")]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use tow_testkit::{
    Cut, Direction, How, Machine, Pair, Proxy, Signal, closed, is_running, noise, until,
};

fn pair() -> Pair {
    Pair::new(env!("CARGO_BIN_EXE_tow"))
}

/// The numbers that a program wrote into its first line.
fn pids(line: &str) -> Vec<u32> {
    line.split(' ').map(|word| word.parse().expect("a process id")).collect()
}

#[test]
fn arguments_arrive_exactly_as_they_were_given() {
    let pair = pair();
    let long = "x".repeat(100_000);
    let given: Vec<OsString> = [
        &b"plain"[..],
        b"",
        b"two words",
        b"$HOME `id` \"quotes\" 'and' \\ * ? ; & | > <",
        b"new\nline\ttab",
        b"\xff\xfe not UTF-8 \x80",
        "ümlaut 漢字 \u{202e}".as_bytes(),
        b"--json",
        b"-n",
        b"--",
        long.as_bytes(),
        b"",
    ]
    .map(|bytes| OsString::from_vec(bytes.to_vec()))
    .to_vec();
    let done = pair.run(["--", "printf", "%s\\0"]).args(&given).run().ok();
    let mut expected = given.join(OsStr::from_bytes(b"\0")).into_vec();
    expected.push(0);
    assert!(done.stdout == expected, "{done}");
}

#[test]
fn options_end_at_the_first_word_after_the_host() {
    let pair = pair();
    assert_eq!(
        pair.run(["echo", "--json", "--timeout", "1s"]).run().ok().out(),
        "--json --timeout 1s\n"
    );
    assert_eq!(pair.run(["echo", "-x", "--", "y"]).run().ok().out(), "-x -- y\n");
}

#[test]
fn one_word_with_a_space_is_a_shell_line_and_several_words_are_not() {
    let pair = pair();
    let done = pair.run(["echo one; echo two >&2; exit 7"]).run().expect(7);
    assert_eq!((done.out().as_str(), done.err().as_str()), ("one\n", "two\n"));
    assert_eq!(pair.run(["echo", "a; exit 7"]).run().ok().out(), "a; exit 7\n");
    assert_eq!(pair.run(["--", "echo $((6 * 7))"]).run().ok().out(), "42\n");
    let _ = pair.run(["exit;7"]).run().fails(127, &["exit;7", "no such program"]);
}

#[test]
fn every_byte_passes_through_all_three_streams() {
    let pair = pair();
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let done = pair.run(["tee /dev/stderr"]).stdin(bytes.clone()).run().ok();
    assert!(done.stdout == bytes, "{} bytes of stdout", done.stdout.len());
    assert!(done.stderr == bytes, "{} bytes of stderr", done.stderr.len());
}

#[test]
fn ten_megabytes_on_each_stream_at_once_arrive_apart_and_whole() {
    let pair = pair();
    let [one, two, three] = [1, 2, 3].map(|seed| noise(10 << 20, seed));
    let _ = pair.host.write("one", &one);
    let _ = pair.host.write("two", &two);
    // A background job of a shell has no stdin unless it is told.
    let line = "exec 3<&0; cat <&3 >three & cat one & cat two >&2; wait";
    let done = pair.run([line]).stdin(three.clone()).run().ok();
    assert!(done.stdout == one, "{} bytes of stdout", done.stdout.len());
    assert!(done.stderr == two, "{} bytes of stderr", done.stderr.len());
    assert!(std::fs::read(pair.host.file("three")).unwrap() == three);
}

#[test]
fn a_filter_answers_while_its_input_is_open_and_ends_with_it() {
    let pair = pair();
    let mut cat = pair.run(["cat"]).start();
    for (index, line) in ["one", "two", "three"].iter().enumerate() {
        cat.write(format!("{line}\n").as_bytes());
        assert_eq!(cat.line(index), *line);
    }
    cat.close_stdin();
    let _ = cat.wait().ok();
}

#[test]
fn each_direction_may_end_before_the_other() {
    let pair = pair();
    // Input first: the program goes on after it.
    let done = pair.run(["n=$(wc -c); echo $n; seq 100000 | tail -n 1"]).stdin("12345").run().ok();
    assert_eq!(done.out(), "5\n100000\n");
    // Output first: what is still written to the program is read.
    let line = "exec >&- 2>&-; cat >late";
    let mut late = pair.run([line]).start();
    late.write(b"first ");
    until("the file is there", || pair.host.file("late").exists());
    late.write(b"second");
    late.close_stdin();
    let _ = late.wait().ok();
    assert_eq!(std::fs::read(pair.host.file("late")).unwrap(), b"first second");
}

#[test]
fn input_that_nobody_reads_delays_nothing() {
    let pair = pair();
    let _ = pair.run(["true"]).stdin(noise(8 << 20, 1)).run().ok();
    let done = pair.run(["exec <&-; echo done"]).stdin(noise(8 << 20, 1)).run().ok();
    assert_eq!(done.out(), "done\n");
}

#[test]
fn the_working_directory_is_the_grants_start_or_what_was_asked_for() {
    let pair = pair();
    let work = pair.host.work();
    std::fs::create_dir(pair.host.file("deeper")).unwrap();
    let pwd = |args: &[&str]| pair.client.tow(["run", "box"]).args(args).run().ok().out();
    assert_eq!(pwd(&["pwd"]), format!("{}\n", work.display()));
    assert_eq!(pwd(&["--cwd", "/usr", "pwd"]), "/usr\n");
    assert_eq!(pwd(&["--cwd", "deeper", "pwd"]), format!("{}/deeper\n", work.display()));
}

#[test]
fn variables_are_set_or_passed_on_and_others_stay_at_home() {
    let pair = pair();
    let odd = OsString::from_vec(b"\xff\x01 = x".to_vec());
    let done = pair
        .run([
            "--env",
            "SET=a b=c",
            "--env",
            "PASSED",
            "--env",
            "ABSENT",
            "--env",
            "EMPTY=",
            "env",
            "-0",
        ])
        .env("PASSED", &odd)
        .env("PRIVATE", "secret")
        .run()
        .ok();
    let variables: Vec<_> = done.stdout.split(|byte| *byte == 0).collect();
    assert!(variables.contains(&&b"SET=a b=c"[..]), "{done}");
    assert!(variables.contains(&&b"PASSED=\xff\x01 = x"[..]), "{done}");
    assert!(variables.contains(&&b"EMPTY="[..]), "{done}");
    assert!(!variables.iter().any(|one| one.starts_with(b"ABSENT=")), "{done}");
    assert!(!variables.iter().any(|one| one.starts_with(b"PRIVATE=")), "{done}");
}

#[test]
fn a_time_limit_ends_the_whole_tree_with_124() {
    let pair = pair();
    let line = "sleep 300 & echo $$ $!; wait";
    // Long enough to say that, on a slow machine too.
    let done = pair.run(["--timeout", "4s", "--json", line]).run().expect(124);
    let out = done.out();
    for pid in pids(out.lines().next().unwrap()) {
        until("the tree has ended", || !is_running(pid));
    }
    let record = done.last_json();
    assert_eq!((&record["timeout"], &record["ended_by"]), (&true.into(), &"timeout".into()));
    let _ = pair.run(["--timeout", "30s", "exit 3"]).run().expect(3);
}

#[test]
fn a_programs_exit_code_is_passed_on_whatever_it_is() {
    let pair = pair();
    for code in [0, 1, 2, 63, 100, 124, 126, 127, 128, 137, 200, 251, 252, 253, 254, 255] {
        let done = pair.run([format!("exit {code}")]).run().expect(code);
        assert!(done.stderr.is_empty(), "{done}");
    }
}

#[test]
fn programs_have_what_a_login_of_the_account_has() {
    let host = Machine::new(env!("CARGO_BIN_EXE_tow"));
    let tool = host.write("tools/greet", "#!/bin/sh\necho \"$GREETING $1\"\n");
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let exports = "echo noise; echo noise >&2; echo run >>\"$HOME/runs\"\n\
                   export PATH=\"$HOME/tools:$PATH\" GREETING=hello\n";
    // One of them is read by the shell of whoever runs this.
    let _ = host.write(".profile", exports);
    let _ = host.write(".zprofile", exports);
    let node = host.serve(&[]);
    // Nobody has asked for a program yet.
    until("the login is known", || host.file("runs").exists());
    let proxy = Proxy::to(node.address());
    let pair = Pair { node, proxy, client: Machine::new(env!("CARGO_BIN_EXE_tow")), host };
    pair.join(&pair.client, &[]);
    assert_eq!(pair.run(["greet", "you"]).run().ok().out(), "hello you\n");
    let done = pair.run(["greet me; greet $GREETING"]).run().ok();
    assert_eq!((done.out().as_str(), done.err().as_str()), ("hello me\nhello hello\n", ""));
    let done = pair.run(["--env", "GREETING=bye", "greet", "you"]).run().ok();
    assert_eq!(done.out(), "bye you\n");
    assert_eq!(std::fs::read_to_string(pair.host.file("runs")).unwrap(), "run\n");
}

#[test]
fn a_signal_gives_128_and_its_number() {
    let pair = pair();
    for (name, code) in [("HUP", 129), ("TERM", 143), ("KILL", 137), ("USR1", 138), ("SEGV", 139)] {
        let line = format!("kill -{name} $$; sleep 5");
        let record = pair.run(["--json", &line]).run().expect(code).last_json();
        assert_eq!((&record["signal"], &record["code"]), (&name.into(), &serde_json::Value::Null));
        assert_eq!(record["ended_by"], "itself");
    }
}

#[test]
fn what_can_not_be_started_says_so_with_its_own_code() {
    let pair = pair();
    let plain = pair.host.write("plain", "text");
    std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).unwrap();
    let plain = plain.display().to_string();
    let _ = pair.run(["no-such-program"]).run().fails_with_hint(
        127,
        &["box", "no-such-program", "no such program"],
        "PATH",
    );
    let _ = pair.run(["/no/such/program", "x"]).run().fails(127, &["/no/such/program"]);
    let _ = pair.run([&plain]).run().fails(126, &[&plain, "not executable"]);
    let _ = pair.run(["/usr"]).run().fails(126, &["/usr", "not executable"]);
    let done = pair.run(["--cwd", "/no/such/dir", "pwd"]).run();
    let _ = done.fails(251, &["/no/such/dir", "working directory"]);
    let _ = pair.run(["--cwd", &plain, "pwd"]).run().fails(251, &["working directory"]);
}

#[test]
fn wrong_usage_is_251() {
    let pair = pair();
    for args in
        [&["box"][..], &[], &["--bogus", "box", "true"], &["--timeout", "soon", "box", "true"]]
    {
        let done = pair.client.tow(["run"]).args(args).run().expect(251);
        assert!(done.stdout.is_empty() && done.err().starts_with("tow: error: "), "{done}");
    }
    let _ = pair.client.tow(["run", "no such:host:at:all", "true"]).run().fails(251, &[]);
}

#[test]
fn a_machine_that_can_not_be_reached_is_253() {
    let pair = pair();
    let done = pair.client.tow(["run", "nobody.invalid", "true"]).run();
    let _ = done.fails_with_hint(253, &["nobody.invalid", "not a machine"], "tow join");
    let proxied = pair.proxy.address();
    let closed = closed();
    pair.proxy.point_to(closed);
    let _ = pair.run(["true"]).run().fails(253, &["box"]);
    let hosts = pair.client.home().join("hosts.toml");
    let text = std::fs::read_to_string(&hosts).unwrap();
    std::fs::write(&hosts, text.replace(&proxied.to_string(), &closed.to_string())).unwrap();
    let _ = pair.run(["true"]).run().fails_with_hint(253, &["box", "refused"], "tow serve");
    let _ = pair.client.tow(["run", ".", "true"]).run().fails_with_hint(253, &[], "tow serve");
}

#[test]
fn the_exit_record_is_the_last_line_of_stdout() {
    let pair = pair();
    let done = pair.run(["--json", "printf out; printf error >&2; exit 3"]).run().expect(3);
    let record = done.last_json();
    assert_eq!((&record["code"], &record["signal"]), (&3.into(), &serde_json::Value::Null));
    assert_eq!(record["stdout"]["bytes"], 3);
    assert_eq!(record["stderr"]["bytes"], 5);
    // BLAKE3 of "out".
    let hash = record["stdout"]["blake3"].as_str().unwrap();
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{hash}");
    // A record is on a line of its own.
    assert!(done.stdout.starts_with(b"out\n{") && done.stderr == b"error", "{done}");
    let done = pair.run(["--json", "echo line"]).run().ok();
    assert_eq!(done.out().lines().count(), 2, "{done}");
}

#[test]
fn a_child_that_keeps_the_output_open_does_not_hold_the_answer() {
    let pair = pair();
    let started = Instant::now();
    let done = pair.run(["--json", "setsid sleep 300 & echo $!"]).run().ok();
    assert!(started.elapsed() < Duration::from_secs(20), "{done}");
    let child = pids(done.out().lines().next().unwrap())[0];
    assert_eq!(done.last_json()["lingering"], serde_json::json!([child]));
    assert!(is_running(child), "{done}");
    let _ = pair.host.sh(&format!("kill {child}")).run().ok();
}

#[test]
fn a_reader_that_has_enough_ends_the_program() {
    let pair = pair();
    let line = r#"{ "$TOW" run box 'echo $$; exec yes'; echo $? >code; } | head -n 1"#;
    let pid = pids(pair.client.sh(line).run().ok().out().trim_end())[0];
    until("yes has ended", || !is_running(pid));
    until("tow has ended", || {
        std::fs::read(pair.client.file("code")).is_ok_and(|code| code == b"141\n")
    });
}

#[test]
fn a_client_that_is_killed_takes_the_remote_tree_with_it() {
    let pair = pair();
    let line = "sleep 300 & a=$!; setsid sleep 300 & echo $$ $a $!; wait";
    let running = pair.run(["--lease", "0s", line]).start();
    let tree = pids(&running.line(0));
    assert!(tree.iter().all(|pid| is_running(*pid)));
    running.kill();
    for pid in tree {
        until("the tree has ended", || !is_running(pid));
    }
}

#[test]
fn a_closed_stdin_is_an_empty_one() {
    let pair = pair();
    let done = pair.client.sh(r#"exec "$TOW" run box 'wc -c' <&-"#).run().ok();
    assert_eq!(done.out(), "0\n");
}

#[test]
fn a_closed_stdout_loses_neither_the_program_nor_its_exit_code() {
    let pair = pair();
    let line = r#"exec "$TOW" run box 'echo out; echo error >&2; touch ran; exit 5' >&-"#;
    let done = pair.client.sh(line).run().expect(5);
    assert_eq!((done.err().as_str(), pair.host.file("ran").exists()), ("error\n", true));
    let _ = pair.client.sh(r#"exec "$TOW" run box 'exit 6' <&- >&- 2>&-"#).run().expect(6);
}

#[test]
fn a_full_stdout_is_an_error() {
    let pair = pair();
    let done = pair.client.sh(r#"exec "$TOW" run box 'echo out' >/dev/full"#).run();
    let _ = done.fails(254, &["stdout", "No space left"]);
}

#[test]
fn ctrl_c_reaches_the_program_and_the_second_one_ends_it() {
    let pair = pair();
    let polite = r#"trap "echo got it; exit 9" INT; echo ready; while :; do sleep 0.05; done"#;
    let running = pair.run([polite]).start();
    assert_eq!(running.line(0), "ready");
    running.signal(Signal::INT);
    assert_eq!(running.wait().expect(9).out(), "ready\ngot it\n");

    let deaf = r#"trap "echo no" INT; echo ready; while :; do sleep 0.05; done"#;
    let running = pair.run([deaf]).start();
    assert_eq!(running.line(0), "ready");
    running.signal(Signal::INT);
    assert_eq!(running.line(1), "no");
    running.signal(Signal::INT);
    let _ = running.wait().expect(137);
}

#[test]
fn term_and_hangup_are_passed_on() {
    let pair = pair();
    for (signal, name, code) in [(Signal::TERM, "TERM", 21), (Signal::HUP, "HUP", 22)] {
        let line = format!("trap 'exit {code}' {name}; echo ready; while :; do sleep 0.05; done");
        let running = pair.run([line]).start();
        assert_eq!(running.line(0), "ready");
        running.signal(signal);
        let _ = running.wait().expect(code);
    }
}

#[test]
fn a_cut_link_is_made_again_and_nothing_is_missing() {
    let pair = pair();
    let content = noise(1 << 20, 1);
    let _ = pair.host.write("megabyte", &content);
    for how in [How::Fin, How::Reset] {
        for after in [1, 100, 1_000, 1_600, 2_000, 2_500, 10_000, 300_000, 1_000_000] {
            pair.proxy.cut(Cut { direction: Direction::Down, after, how });
            let before = pair.proxy.connections();
            let done = pair.run(["cat megabyte; exit 3"]).run().expect(3);
            assert!(pair.proxy.connections() > before + 1, "{how:?} after {after}: {done}");
            assert!(
                done.stdout == content && done.stderr.is_empty(),
                "{how:?} after {after}: {done}"
            );
        }
    }
}

#[test]
fn a_cut_link_never_looks_like_an_end() {
    let pair = pair();
    let content = noise(1 << 20, 1);
    let _ = pair.host.write("megabyte", &content);
    for how in [How::Fin, How::Reset] {
        for after in [2_500, 10_000, 300_000, 1_000_000] {
            pair.proxy.cut(Cut { direction: Direction::Down, after, how });
            // Without a lease the program is ended before we are back, unless it has ended already.
            let done = pair.run(["--lease", "0s", "cat megabyte"]).run();
            if done.code() == 0 {
                assert!(done.stdout == content, "{how:?} after {after}: {done}");
            } else {
                assert!(content.starts_with(&done.stdout), "{how:?} after {after}: {done}");
                assert!([129, 143, 137].contains(&done.code()), "{how:?} after {after}: {done}");
                assert!(done.err().contains("its lease was over"), "{done}");
            }
        }
    }
}

#[test]
fn a_program_without_a_lease_ends_when_the_link_is_cut_on_the_way_up() {
    let pair = pair();
    for how in [How::Fin, How::Reset] {
        pair.proxy.cut(Cut { direction: Direction::Up, after: 300_000, how });
        let line = "echo $$; exec cat >/dev/null";
        let mut running = pair.run(["--lease", "0s", line]).start();
        let pid = pids(&running.line(0))[0];
        // Nobody is back before the machine has noticed the cut: that would be no end of the lease.
        pair.proxy.point_to(closed());
        // More than is let through, and no more than may wait for a link.
        running.write(&noise(600_000, 1));
        until("the program has ended", || !is_running(pid));
        pair.proxy.point_to(pair.node.address());
        let done = running.wait();
        // Its stdin ends first, which may be enough for it.
        let is_told = done.code() == 129 && done.err().contains("its lease was over");
        assert!(is_told || done.code() == 0, "{done}");
    }
}

#[test]
fn a_link_that_falls_silent_is_given_up_and_made_again() {
    let pair = pair();
    let content = noise(4 << 20, 1);
    let _ = pair.host.write("file", &content);
    // Both at once: each takes the 35 s after which a silent peer is dead.
    for after in [20_000, 1 << 20] {
        pair.proxy.cut(Cut { direction: Direction::Down, after, how: How::Silence });
    }
    let before = pair.proxy.connections();
    let run = pair.run(["cat file"]).start();
    until("it has its connection", || pair.proxy.connections() > before);
    let get = pair.client.tow(["get", "box:file", "got"]).start();
    assert!(run.wait().ok().stdout == content);
    let _ = get.wait().ok();
    assert!(std::fs::read(pair.client.file("got")).unwrap() == content);
}

#[test]
fn a_machine_that_does_not_come_back_is_254() {
    let pair = pair();
    let running = pair.run(["--lease", "0s", "echo ready; sleep 100"]).start();
    assert_eq!(running.line(0), "ready");
    pair.proxy.point_to(closed());
    pair.proxy.cut_now(How::Reset);
    let done = running.wait().fails_with_hint(254, &["box"], "session");
    assert_eq!(done.out(), "ready\n");
}

#[test]
fn programs_of_many_clients_run_side_by_side() {
    let pair = pair();
    let waiting: Vec<_> = (0..8).map(|_| pair.run(["read line; echo $line"]).start()).collect();
    let done = pair.run(["echo between"]).run().ok();
    assert_eq!(done.out(), "between\n");
    for (index, mut one) in waiting.into_iter().enumerate() {
        one.write(format!("{index}\n").as_bytes());
        assert_eq!(one.wait().ok().out(), format!("{index}\n"));
    }
}
