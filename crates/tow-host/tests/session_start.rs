//! How a program is started: its arguments, its surroundings, and what is refused.

mod session_support;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt as _;

use session_support::*;
use tow_host::session::{Spec, Stdin, Stdio};
use tow_proto::byte_string::ByteString;
use tow_proto::message::Program;
use tow_proto::refusal::{Code, Refusal};

async fn refused(spec: Spec) -> Refusal {
    let sessions = sessions();
    let refusal = sessions.start("owner", "id", spec).await.err().expect("a refusal");
    assert_eq!(sessions.running(), 0);
    refusal
}

#[tokio::test]
async fn arguments_arrive_as_they_were_given() {
    let words: [&[u8]; 7] =
        [b"printf", b"[%s]", b"", b"a b", b"$HOME *", b"line\nline", b"\xff\x80"];
    let seen = run(&sessions(), argv(&words)).await;
    assert_eq!(seen.stdout, b"[][a b][$HOME *][line\nline][\xff\x80]");
    assert_eq!(code(&seen.exit), 0);
}

#[tokio::test]
async fn a_shell_line_is_one_line_for_the_shell() {
    let seen = run(&sessions(), sh("echo $0 $# $((6 * 7)); echo err >&2")).await;
    assert_eq!((&seen.stdout[..], &seen.stderr[..]), (&b"/bin/sh 0 42\n"[..], &b"err\n"[..]));
}

#[tokio::test]
async fn the_environment_is_the_accounts_then_the_clients_and_nothing_of_ours() {
    let mut spec = argv(&["env"]);
    spec.env = vec![
        ("GREETING".into(), "hello = world".into()),
        ("LANG".into(), "de_DE.UTF-8".into()),
        ("BYTES".into(), std::ffi::OsString::from_vec(vec![0xff])),
        ("TOWLINE_SESSION".into(), "forged".into()),
    ];
    let sessions = sessions();
    let session = start(&sessions, spec).await;
    let seen = see(&mut look(&session)).await;
    let lines = seen.stdout.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n');
    let variables: BTreeMap<&[u8], &[u8]> = lines
        .map(|line| line.split_at(line.iter().position(|byte| *byte == b'=').unwrap()))
        .collect();
    let wanted: BTreeMap<&[u8], &[u8]> = [
        (&b"BYTES"[..], &b"=\xff"[..]),
        (b"GREETING", b"=hello = world"),
        (b"HOME", b"=/tmp"),
        (b"LANG", b"=de_DE.UTF-8"),
        (b"LOGNAME", b"=tester"),
        (b"PATH", b"=/usr/local/bin:/usr/bin:/bin"),
        (b"SHELL", b"=/bin/sh"),
        (b"TOWLINE_SESSION", format!("={}", session.id()).leak().as_bytes()),
        (b"USER", b"=tester"),
    ]
    .into();
    assert_eq!(variables, wanted);
}

#[tokio::test]
async fn a_program_is_looked_for_in_the_path_that_it_will_have() {
    let (first, second) = (Dir::new(), Dir::new());
    first.file("tool", b"#!/bin/sh\necho not executable", 0o644);
    second.file("tool", b"#!/bin/sh\necho second", 0o755);
    let mut spec = argv(&["tool"]);
    let path = format!("/nonexistent:{}:{}", first.path().display(), second.path().display());
    spec.env = vec![("PATH".into(), path.into())];
    assert_eq!(run(&sessions(), spec).await.stdout, b"second\n");
}

#[tokio::test]
async fn a_program_starts_in_its_working_directory_or_at_home() {
    let dir = Dir::new();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    dir.file("sub/tool", b"#!/bin/sh\npwd", 0o755);
    let real = dir.path().canonicalize().unwrap();
    for (cwd, program, wanted) in [
        (None, "pwd", real.clone()),
        (Some("sub"), "./tool", real.join("sub")),
        (Some("/usr"), "pwd", "/usr".into()),
    ] {
        let mut spec = argv(&[program]);
        spec.home = real.clone();
        spec.cwd = cwd.map(Into::into);
        let seen = run(&sessions(), spec).await;
        assert_eq!(seen.stdout, format!("{}\n", wanted.display()).as_bytes());
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_entered_is_not_taken_for_the_program() {
    let dir = Dir::new();
    let file = dir.file("file", b"", 0o755);
    for cwd in [dir.path().join("missing"), file] {
        let mut spec = argv(&["/nonexistent"]);
        spec.cwd = Some(cwd.clone());
        let wanted = Refusal::about(Code::NoWorkingDirectory, cwd.to_str().unwrap());
        assert_eq!(refused(spec).await, wanted);
    }
    let mut homeless = argv(&["pwd"]);
    homeless.home = "/nonexistent".into();
    let wanted = Refusal::about(Code::NoWorkingDirectory, "/nonexistent");
    assert_eq!(refused(homeless).await, wanted);
}

#[tokio::test]
async fn what_is_not_there_and_what_cannot_be_executed_are_told_apart() {
    let dir = Dir::new();
    let file = |name: &str, content: &[u8], mode| {
        dir.file(name, content, mode).to_str().unwrap().to_owned()
    };
    let directory = dir.path().to_str().unwrap().to_owned();
    for (program, wanted) in [
        ("no-such-program".to_owned(), Code::ProgramNotFound),
        (format!("{directory}/missing"), Code::ProgramNotFound),
        (format!("{}/tool", file("plain", b"", 0o755)), Code::ProgramNotFound),
        (file("data", b"#!/bin/sh\n", 0o644), Code::NotExecutable),
        (file("noise", b"\x01\x02\x03", 0o755), Code::NotExecutable),
        (file("script", b"#!/no/such/interpreter\n", 0o755), Code::NotExecutable),
        (directory.clone(), Code::NotExecutable),
    ] {
        let refusal = refused(argv(&[&program])).await;
        assert_eq!(refusal, Refusal::about(wanted, program.as_str()));
    }
    let mut shell = sh("true");
    shell.shell = "/no/shell".into();
    assert_eq!(refused(shell).await, Refusal::about(Code::ProgramNotFound, "/no/shell"));
}

#[tokio::test]
async fn what_cannot_be_passed_on_is_refused() {
    let nothing = Spec { program: Program::Argv(Vec::new()), ..sh("") };
    assert_eq!(refused(nothing).await.code, Code::BadArgument);
    assert_eq!(refused(argv(&[""])).await.code, Code::BadArgument);
    assert_eq!(refused(argv(&["echo", "a\0b"])).await.code, Code::BadArgument);
    let nul = Spec { program: Program::Shell(ByteString::from("a\0b")), ..sh("") };
    assert_eq!(refused(nul).await.code, Code::BadArgument);
    for name in ["LD_PRELOAD", "LD_", "BASH_ENV", "ENV", "", "A=B", "A\0"] {
        let mut spec = sh("true");
        spec.env = vec![(name.into(), "value".into())];
        assert_eq!(refused(spec).await, Refusal::about(Code::BadArgument, name), "{name}");
    }
}

#[tokio::test]
async fn arguments_and_environment_share_one_limit() {
    let run_with = |len: usize| async move {
        let mut spec = argv(&[&b"true"[..], &vec![b'x'; len]]);
        spec.env = vec![("V".into(), std::ffi::OsString::from_vec(vec![b'y'; 60 << 10]))];
        sessions().start("owner", "id", spec).await
    };
    assert!(run_with(60 << 10).await.is_ok());
    let refusal = run_with(70 << 10).await.err().expect("a refusal");
    assert_eq!(refusal, Refusal::new(Code::TooLong).with_count(128 << 10));
}

#[tokio::test]
async fn stdio_is_three_pipes_and_nothing_else_is_open() {
    // Without its close-on-exec flag, as a careless parent would leave one to us.
    let leak = rustix::io::dup(std::io::stderr()).unwrap();
    let seen = run(&sessions(), sh("exec ls -l /proc/self/fd/")).await;
    drop(leak);
    let text = String::from_utf8(seen.stdout).unwrap();
    let targets: Vec<_> = text.lines().filter_map(|line| line.split(" -> ").nth(1)).collect();
    assert_eq!(targets.len(), 4, "0, 1, 2 and the directory: {text}");
    assert!(targets[..3].iter().all(|target| target.starts_with("pipe:[")), "{text}");
    let no_input = Spec { stdio: Stdio::Pipes(Stdin::Null), ..sh("readlink /proc/self/fd/0") };
    assert_eq!(run(&sessions(), no_input).await.stdout, b"/dev/null\n");
}

#[tokio::test]
async fn a_program_leads_a_session_and_a_group_of_its_own() {
    let seen = run(&sessions(), sh("ps -o pid=,pgid=,sid= -p $$ || cat /proc/$$/stat")).await;
    let text = String::from_utf8(seen.stdout).unwrap();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap().split_ascii_whitespace().collect();
    let ids = if text.contains(')') { &fields[2..4] } else { &fields[..3] };
    assert!(ids.iter().all(|id| *id == ids[0]), "{text}");
}
