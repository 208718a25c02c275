//! What a new process is given, and how a start fails: on pipes and on a terminal, in a control
//! group and without.

use std::process::Command;
use std::time::Duration;

use tokio::time::timeout;
use tow_proto::message::Window;

use super::super::pty::Pty;
use super::super::{Containment, SessionId};
use super::*;

/// Longer than anything takes that works, on the slowest machine.
pub(in super::super) const DEADLINE: Duration = Duration::from_secs(60);
const WINDOW: Window = Window { rows: 33, cols: 99, xpixel: 990, ypixel: 660 };

pub(in super::super) const TERMINAL: Stdio = Stdio::Terminal(WINDOW);
pub(in super::super) const PIPES: Stdio = Stdio::Pipes(Stdin::Null);

/// A plan to run these words.
pub(in super::super) fn plan(words: &[&str], stdio: Stdio) -> Plan {
    let strings = |words: &[&str]| -> Vec<CString> {
        words.iter().map(|word| CString::new(*word).unwrap()).collect()
    };
    let id = SessionId::random().unwrap();
    let named = format!("TOWLINE_SESSION={id}");
    Plan {
        id,
        candidates: strings(&words[..1]),
        argv: strings(words),
        env: strings(&["PATH=/usr/local/bin:/usr/bin:/bin", "TERM=xterm", &named]),
        cwd: rustix::fs::open("/tmp/.", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap(),
        stdio,
    }
}

pub(in super::super) fn cgroups(containment: Containment) -> Option<Cgroups> {
    match containment {
        Containment::Cgroup => Cgroups::find(),
        Containment::ProcessTree => None,
    }
}

/// A shell that runs `line`.
pub(in super::super) fn start_shell(line: &str, stdio: Stdio, containment: Containment) -> Spawned {
    spawn(plan(&["/bin/sh", "-c", line], stdio), cgroups(containment).as_ref()).unwrap()
}

/// A shell on a terminal, in the control group that `Spawned` had.
struct OnTerminal {
    pty: Pty,
    leader: Leader,
    seen: Vec<u8>,
    _cgroup: Option<Cgroup>,
}

impl OnTerminal {
    fn start(line: &str) -> Self {
        Self::start_in(line, TERMINAL)
    }

    fn start_in(line: &str, stdio: Stdio) -> Self {
        let Spawned { leader, stdio, cgroup } = start_shell(line, stdio, Containment::Cgroup);
        let SpawnedStdio::Terminal(master) = stdio else { panic!("not a terminal") };
        Self { pty: Pty::new(master).unwrap(), leader, seen: Vec::new(), _cgroup: cgroup }
    }

    /// Reads once; nothing is the end.
    async fn read(&mut self) -> usize {
        let mut buffer = [0; 1000];
        loop {
            let waited = timeout(DEADLINE, self.pty.readable()).await;
            assert!(waited.is_ok(), "no more and no end after {:?}", self.text());
            match self.pty.try_read(&mut buffer) {
                Ok(len) => {
                    self.seen.extend(&buffer[..len]);
                    return len;
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    async fn read_until(&mut self, wanted: &str) {
        while !self.text().contains(wanted) {
            assert!(self.read().await > 0, "{wanted:?} is not in {:?}", self.text());
        }
    }

    async fn write(&mut self, bytes: &[u8]) {
        timeout(DEADLINE, self.pty.writable()).await.expect("room");
        assert_eq!(self.pty.try_write(bytes).unwrap(), bytes.len());
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).replace("\r\n", "\n")
    }

    /// Reads to the end. Gives what was seen and the exit code.
    async fn end(mut self) -> (String, Option<i32>) {
        while self.read().await > 0 {}
        (self.text(), exit_code(self.leader).await)
    }
}

/// Waits for it, and lets the kernel forget it.
async fn exit_code(leader: Leader) -> Option<i32> {
    timeout(DEADLINE, leader.exited()).await.expect("an exit");
    let status = leader.status().expect("it has exited");
    leader.reap();
    status.exit_status()
}

/// What a program on pipes writes to stdout, and its exit code.
async fn run(line: &str, containment: Containment) -> (String, Option<i32>) {
    let Spawned { leader, stdio, cgroup } = start_shell(line, PIPES, containment);
    let SpawnedStdio::Pipes { stdin: None, outputs: [stdout, _stderr] } = stdio else {
        panic!("not two pipes");
    };
    let text = tokio::task::spawn_blocking(|| io::read_to_string(std::fs::File::from(stdout)));
    let text = timeout(DEADLINE, text).await.expect("an end").unwrap().unwrap();
    let code = exit_code(leader).await;
    drop(cgroup);
    (text, code)
}

#[tokio::test]
async fn a_program_runs_on_pipes_or_on_a_terminal_in_a_control_group_or_without() {
    for containment in [Containment::Cgroup, Containment::ProcessTree] {
        let (text, code) = run("echo out; exit 7", containment).await;
        assert_eq!((text.as_str(), code), ("out\n", Some(7)), "{containment:?}");
    }
    let (text, code) = OnTerminal::start("echo out; echo err >&2; exit 7").end().await;
    assert_eq!((text.as_str(), code), ("out\nerr\n", Some(7)));
}

#[tokio::test]
async fn a_program_is_born_in_its_control_group_which_is_gone_after_it() {
    let Some(cgroups) = cgroups(Containment::Cgroup) else { return };
    let plan = plan(&["/bin/sh", "-c", "(setsid cat /proc/self/cgroup); exec sleep 60"], PIPES);
    let name = format!("towline-{}-{}", std::process::id(), plan.id);
    let Spawned { leader, stdio, cgroup } = spawn(plan, Some(&cgroups)).unwrap();
    let cgroup = cgroup.expect("a control group");
    assert!(cgroup.members().contains(&leader.pid()) && !cgroup.is_empty());
    cgroup.kill().unwrap();
    assert_eq!(exit_code(leader).await, None);
    let deadline = std::time::Instant::now() + DEADLINE;
    while !(cgroup.members().is_empty() && cgroup.is_empty()) {
        assert!(std::time::Instant::now() < deadline, "{:?} are left", cgroup.members());
        tokio::task::yield_now().await;
    }
    drop((cgroup, stdio));
    let own = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    for line in own.lines().filter(|line| line.contains(" - cgroup2 ")) {
        let point = line.split(' ').nth(4).unwrap();
        assert!(!std::path::Path::new(point).join(&name).exists());
    }
    let (text, _) = run("(setsid cat /proc/self/cgroup)", Containment::Cgroup).await;
    let start = format!("towline-{}-", std::process::id());
    assert!(text.lines().any(|line| line.starts_with("0::") && line.contains(&start)), "{text}");
}

#[tokio::test]
async fn groups_that_a_program_made_itself_are_removed_with_its_own() {
    let Some(cgroups) = cgroups(Containment::Cgroup) else { return };
    let cgroup = cgroups.create(&SessionId::random().unwrap()).unwrap();
    for path in ["one", "one/two", "three"] {
        rustix::fs::mkdirat(&cgroup, path, Mode::from_raw_mode(0o755)).unwrap();
    }
    let dir = rustix::io::fcntl_dupfd_cloexec(&cgroup, 3).unwrap();
    drop(cgroup);
    let gone = rustix::fs::openat(&dir, "cgroup.procs", OFlags::RDONLY, Mode::empty());
    assert_eq!(gone.unwrap_err(), Errno::NOENT);
}

#[tokio::test]
async fn a_kernel_that_knows_only_fork_will_do() {
    let (stdio, theirs) = open_stdio(PIPES).unwrap();
    let image = Image::new(plan(&["/bin/sh", "-c", "exit 9"], PIPES), theirs).unwrap();
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let child = image.born(&tell, Way::Fork).unwrap();
    drop(tell);
    assert!(child.pidfd.is_none() && failure(&told).unwrap().is_none());
    let leader = Leader::new(child.pid, child.pidfd).unwrap();
    assert_eq!(exit_code(leader).await, Some(9));
    drop(stdio);
}

#[tokio::test]
async fn without_its_control_group_a_program_runs_all_the_same() {
    let Some(cgroups) = cgroups(Containment::Cgroup) else { return };
    let cgroup = cgroups.create(&SessionId::random().unwrap()).unwrap();
    cgroup.remove();
    let (_stdio, theirs) = open_stdio(PIPES).unwrap();
    let image = Image::new(plan(&["/bin/true"], PIPES), theirs).unwrap();
    let (told, tell) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let (child, cgroup) = start(&image, &tell, Some(cgroup)).unwrap();
    drop(tell);
    assert!(cgroup.is_none() && failure(&told).unwrap().is_none());
    let leader = Leader::new(child.pid, child.pidfd).unwrap();
    assert_eq!(exit_code(leader).await, Some(0));
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_says_why_by_number() {
    let dir = std::env::temp_dir().join(format!("tow-spawn-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    let file = |name: &str, content: &[u8], mode| {
        use std::os::unix::fs::PermissionsExt as _;
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (program, wanted) in [
        ("/no/such/program".to_owned(), Errno::NOENT),
        (file("data", b"#!/bin/sh\n", 0o644), Errno::ACCESS),
        (file("noise", b"\x01\x02\x03", 0o755), Errno::NOEXEC),
        (file("script", b"#!/no/such/interpreter\n", 0o755), Errno::NOEXEC),
        ("/tmp".to_owned(), Errno::ACCESS),
    ] {
        for stdio in [PIPES, TERMINAL] {
            for containment in [Containment::Cgroup, Containment::ProcessTree] {
                let plan = plan(&[&program], stdio);
                let error = spawn(plan, cgroups(containment).as_ref()).err().expect("an error");
                let wanted = Some(wanted.raw_os_error());
                assert_eq!(error.raw_os_error(), wanted, "{program}: {error}");
            }
        }
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_is_not_about_the_program_has_no_number_unless_something_has_run_out() {
    let error = |step: Step, errno| step.error(errno).raw_os_error();
    assert_eq!(error(Step::Exec, Errno::NOENT), Some(libc::ENOENT));
    for step in Step::ALL.into_iter().filter(|step| *step != Step::Exec) {
        assert_eq!(error(step, Errno::NOENT), None);
        assert_eq!(error(step, Errno::MFILE), Some(libc::EMFILE));
    }
    let text = Step::Directory.error(Errno::NOENT).to_string();
    assert!(text.contains("Directory") && text.contains("No such file"), "{text}");
}

#[test]
fn a_failure_survives_its_way_from_the_child() {
    for step in Step::ALL {
        let failure = Failure { step, errno: libc::ENOEXEC };
        assert_eq!(Failure::from_bytes(failure.to_bytes()), failure);
    }
}

#[tokio::test]
async fn a_program_ignores_no_signal_and_blocks_none() {
    let line = "grep -E '^Sig(Ign|Blk)' /proc/self/status";
    let none = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
    for containment in [Containment::Cgroup, Containment::ProcessTree] {
        assert_eq!(run(&format!("exec {line}"), containment).await.0, none);
    }
    assert_eq!(OnTerminal::start(&format!("exec {line}")).end().await.0, none);
}

#[test]
fn what_the_node_was_told_to_ignore_is_not_ignored_by_its_programs() {
    // The test above, in a process that was started as nohup starts one.
    let mut helper = Command::new("/bin/sh");
    helper.args(["-c", "trap '' HUP INT QUIT TERM PIPE USR1; exec \"$@\"", "sh"]);
    helper.arg(std::env::current_exe().unwrap());
    let name = "session::spawn::tests::a_program_ignores_no_signal_and_blocks_none";
    let output = helper.args(["--exact", name]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
async fn a_thread_hears_its_signals_again_after_a_start() {
    let blocked = || {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find(|line| line.starts_with("SigBlk")).unwrap().to_owned()
    };
    let before = blocked();
    let mut leaders = Vec::new();
    for words in [&["/bin/true"][..], &["/no/such/program"]] {
        leaders.extend(spawn(plan(words, PIPES), None).map(|spawned| spawned.leader));
        assert_eq!(blocked(), before);
    }
    for leader in leaders {
        assert_eq!(exit_code(leader).await, Some(0));
    }
}

#[tokio::test]
async fn a_terminal_is_the_controlling_one_of_its_program() {
    let line = "tty; ps -o tty= -p $$; echo open >/dev/tty; ls -l /proc/self/fd; echo; \
        ps -o pid= -o pgid= -o sid= -o tpgid= -p $$";
    let (text, code) = OnTerminal::start(line).end().await;
    assert_eq!(code, Some(0), "{text}");
    let mut lines = text.lines();
    let name = lines.next().unwrap();
    assert!(name.starts_with("/dev/pts/"), "{text}");
    assert_eq!(lines.next().unwrap().trim(), name.trim_start_matches("/dev/"));
    assert_eq!(lines.next(), Some("open"));
    let targets = lines.by_ref().take_while(|line| !line.is_empty());
    let targets: Vec<_> = targets.filter_map(|line| line.split(" -> ").nth(1)).collect();
    assert_eq!(targets[..3], [name; 3], "{text}");
    assert_eq!(targets.len(), 4, "0, 1, 2 and the directory: {text}");
    let ids: Vec<_> = lines.next().unwrap().split_ascii_whitespace().collect();
    // The last is the group in the foreground: of `ps` itself, if the shell had job control.
    assert_eq!(ids, [ids[0]; 4], "{text}");
}

#[tokio::test]
async fn a_terminal_has_its_size_before_its_program_runs() {
    let size = "stty size; stty -a";
    let text = OnTerminal::start(size).end().await.0;
    assert_eq!(text.lines().next(), Some("33 99"));
    for wanted in [" iutf8", "erase = ^?", "intr = ^C", "eof = ^D", " icanon", " echo "] {
        assert!(text.contains(wanted), "{wanted} is not in {text}");
    }
    let unknown = Stdio::Terminal(Window { rows: 0, cols: 0, xpixel: 0, ypixel: 0 });
    let text = OnTerminal::start_in(size, unknown).end().await.0;
    assert_eq!(text.lines().next(), Some("24 80"));
}

#[tokio::test]
async fn a_program_hears_of_a_new_size_of_its_terminal() {
    let line = "trap 'stty size; exit 4' WINCH; echo ready; sleep 60 & wait";
    let mut terminal = OnTerminal::start(line);
    terminal.read_until("ready").await;
    terminal.pty.resize(Window { rows: 0, cols: 7, xpixel: 0, ypixel: 0 }).unwrap();
    terminal.pty.resize(Window { rows: 50, cols: 132, xpixel: 0, ypixel: 0 }).unwrap();
    terminal.read_until("50 132").await;
    assert_eq!(exit_code(terminal.leader).await, Some(4));
}

#[tokio::test]
async fn a_signal_to_the_foreground_leaves_the_shell_behind_it_alone() {
    for (name, signal) in [
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("TERM", Signal::TERM),
        ("HUP", Signal::HUP),
        ("USR1", Signal::USR1),
    ] {
        let line = format!(
            "set -m; sh -c 'trap \"echo caught; exit 3\" {name}; echo ready; \
             while :; do :; done'; echo code $?"
        );
        let mut terminal = OnTerminal::start(&line);
        terminal.read_until("ready").await;
        terminal.pty.signal_foreground(signal).unwrap();
        let (text, _) = terminal.end().await;
        assert!(text.ends_with("caught\ncode 3\n"), "{name}: {text:?}");
    }
}

#[tokio::test]
async fn a_terminal_without_anybody_takes_signals_and_sizes_without_complaint() {
    let mut terminal = OnTerminal::start("exit");
    while terminal.read().await > 0 {}
    timeout(DEADLINE, terminal.leader.exited()).await.unwrap();
    terminal.pty.resize(WINDOW).unwrap();
    for signal in [Signal::INT, Signal::TERM] {
        terminal.pty.signal_foreground(signal).unwrap();
    }
    assert_eq!(terminal.read().await, 0, "the end stays");
    terminal.leader.reap();
}

#[tokio::test]
async fn keys_are_signals_and_ends_and_stopped_jobs() {
    // What is awaited is said by who is in the foreground.
    let line = "set -m; stty -echo; trap : INT; sh -c 'echo one; exec cat'; \
        sh -c 'echo two; exec sleep 60'; sh -c 'echo three; exec sleep 60'; echo four; read x";
    let mut terminal = OnTerminal::start(line);
    terminal.read_until("one").await;
    let end_of_file = terminal.pty.end_of_file_char();
    assert_eq!(end_of_file, 0x04);
    terminal.write(&[b"line\n", &[end_of_file][..]].concat()).await;
    terminal.read_until("line\ntwo").await;
    terminal.write(b"\x03").await;
    terminal.read_until("three").await;
    terminal.write(b"\x1a").await;
    terminal.read_until("four").await;
}

#[tokio::test]
async fn the_character_that_ends_input_is_the_programs_choice() {
    let mut terminal = OnTerminal::start("stty eof ^A; echo ready; cat; echo done");
    terminal.read_until("ready").await;
    assert_eq!(terminal.pty.end_of_file_char(), 0x01);
    terminal.write(&[0x01]).await;
    terminal.read_until("done").await;
}

#[tokio::test]
async fn the_end_of_a_terminal_comes_after_all_that_was_written() {
    let (text, code) = OnTerminal::start("seq 1 20000; exit 5").end().await;
    let wanted: String = (1..=20_000).map(|number| format!("{number}\n")).collect();
    assert_eq!((text == wanted, code), (true, Some(5)));
}

#[tokio::test]
async fn a_terminal_that_a_child_holds_does_not_end_but_has_all_that_was_written() {
    let line = "trap '' HUP; sleep 60 & seq 1 1000";
    let mut terminal = OnTerminal::start(line);
    timeout(DEADLINE, terminal.leader.exited()).await.unwrap();
    let mut buffer = [0; 10_000];
    loop {
        match terminal.pty.try_read(&mut buffer) {
            Ok(len) => {
                assert!(len > 0, "an end");
                terminal.seen.extend(&buffer[..len]);
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                if terminal.text().ends_with("\n1000\n") {
                    break;
                }
                timeout(DEADLINE, terminal.pty.readable()).await.expect("more");
            }
        }
    }
    if let Some(cgroup) = &terminal._cgroup {
        cgroup.kill().unwrap();
    }
    terminal.leader.reap();
}
