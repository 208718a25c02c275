//! What the tests of sessions share: programs to run, and a viewer that checks what every viewer
//! may rely on.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tow_host::session::{Limits, Output, Session, Sessions, Spec, Start, Stdin, Stdio, Viewer};
use tow_proto::byte_string::ByteString;
use tow_proto::content::Tally;
use tow_proto::message::{End, Ended, ExitRecord, Lease, Program, STDIN, View, Window};

/// Longer than anything takes that works, on the slowest machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn sessions() -> Sessions {
    sessions_with(|_| ())
}

pub(crate) fn sessions_with(change: impl FnOnce(&mut Limits)) -> Sessions {
    // What the machine's own start-up files do is no concern of a test.
    let mut limits = Limits { login_time: Duration::ZERO, ..Limits::default() };
    change(&mut limits);
    Sessions::new(limits, None).expect("sessions")
}

/// Limits that make the end quick of what does not end when it is told to. Nothing else may depend on
/// how soon it reacts.
pub(crate) fn impatient(limits: &mut Limits) {
    limits.escalation = Duration::from_millis(200);
    limits.removal = Duration::from_millis(50);
}

/// Ends as soon as its first viewer, for whom it waits, has gone.
pub(crate) fn fleeting(spec: Spec) -> Spec {
    Spec { lease: Lease::Ms(1), ..spec }
}

/// Makes so much time pass at once for everything that this test's runtime waits for: what lasts an
/// hour is over, and how slow the machine is does not matter.
pub(crate) async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn argv<T: AsRef<[u8]>>(words: &[T]) -> Spec {
    let words = words.iter().map(|word| ByteString::from(word.as_ref())).collect();
    spec(Program::Argv(words))
}

pub(crate) fn sh(line: &str) -> Spec {
    spec(Program::Shell(line.into()))
}

/// The account's own shell.
pub(crate) fn login() -> Spec {
    spec(Program::Login)
}

/// The same on a terminal of that size.
pub(crate) fn on_terminal(rows: u16, cols: u16, spec: Spec) -> Spec {
    Spec { stdio: Stdio::Terminal(window(rows, cols)), ..spec }
}

pub(crate) fn window(rows: u16, cols: u16) -> Window {
    Window { rows, cols, xpixel: 0, ypixel: 0 }
}

fn spec(program: Program) -> Spec {
    Spec {
        program,
        cwd: None,
        home: "/tmp".into(),
        user: "tester".into(),
        shell: "/bin/sh".into(),
        path: "/usr/local/bin:/usr/bin:/bin".into(),
        lang: Some("C.UTF-8".into()),
        env: Vec::new(),
        locale: String::new(),
        stdio: Stdio::Pipes(Stdin::Open),
        timeout: None,
        lease: Lease::Attached,
    }
}

pub(crate) async fn start(sessions: &Sessions, spec: Spec) -> Session {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let id = format!("request-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    sessions.start("owner", &id, spec).await.expect("the program starts")
}

/// A look from the start by somebody who types.
pub(crate) fn look(session: &Session) -> Viewer {
    look_from(session, 0, 0)
}

/// A look from these offsets of stdout and stderr.
pub(crate) fn look_from(session: &Session, stdout: u64, stderr: u64) -> Viewer {
    session.attach(&start_from(stdout, stderr)).expect("a viewer")
}

/// How such a look begins: nothing may be sent until it is allowed, and all that was given counts as
/// consumed once more is allowed.
pub(crate) fn start_from(stdout: u64, stderr: u64) -> Start {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    Start {
        view: View::Type,
        writer: format!("writer-{}", NUMBER.fetch_add(1, Ordering::Relaxed)),
        window: None,
        from: [Some(stdout), Some(stderr)],
        room: [0; 2],
    }
}

/// Says that all of stdin was `sent`.
pub(crate) fn end_stdin(viewer: &mut Viewer, sent: &[u8]) {
    let (total, blake3) = tally(sent);
    viewer.end_stdin(&End { stream: STDIN, total, blake3 }).expect("it is what was sent");
}

/// Somebody who takes all of stdout as it comes.
pub(crate) struct Reader {
    pub(crate) viewer: Viewer,
    /// What came and was not asked for yet; of screens, the drawing.
    pub(crate) output: Vec<u8>,
    /// How far stdout has come here.
    pub(crate) at: u64,
    /// Everything but bytes and room for stdin.
    pub(crate) events: Vec<Output>,
}

impl Reader {
    pub(crate) fn new(session: &Session, start: &Start) -> Self {
        let viewer = session.attach(start).expect("a viewer");
        let at = viewer.starts()[0];
        Self { viewer, output: Vec::new(), at, events: Vec::new() }
    }

    /// Somebody who types, from the start.
    pub(crate) fn typing(session: &Session) -> Self {
        Self::new(session, &start_from(0, 0))
    }

    /// Takes one thing.
    pub(crate) async fn step(&mut self) {
        for stream in [1, 2] {
            self.viewer.allow(stream, self.at + READER_ROOM);
        }
        match next(&mut self.viewer).await {
            Output::Bytes { stream: 1, bytes } => {
                self.at += bytes.len() as u64;
                self.output.extend(bytes);
            }
            Output::StdinRoom { .. } => {}
            event => {
                match &event {
                    Output::Screen { at, bytes, .. } => {
                        self.at = *at;
                        self.output.extend(bytes);
                    }
                    Output::Gap { stream: 1, to, .. } => self.at = *to,
                    _ => {}
                }
                self.events.push(event);
            }
        }
    }

    /// Takes output until this was in it; gives all up to and with it, with the lines of a file.
    pub(crate) async fn until(&mut self, wanted: &str) -> String {
        let mut looked = 0;
        loop {
            let found = self.output[looked..]
                .windows(wanted.len())
                .position(|window| window == wanted.as_bytes());
            if let Some(found) = found {
                let end = looked + found + wanted.len();
                let seen: Vec<u8> = self.output.drain(..end).collect();
                return String::from_utf8_lossy(&seen).replace("\r\n", "\n");
            }
            looked = self.output.len().saturating_sub(wanted.len());
            assert!(self.exit().is_none(), "no {wanted:?} in {:?}", self.text());
            self.step().await;
        }
    }

    /// Takes output until this was in it and a line's end after that; gives what is between.
    pub(crate) async fn line_after(&mut self, start: &str) -> String {
        self.until(start).await;
        self.until("\n").await.trim_end().to_owned()
    }

    /// Takes all that comes until something other than bytes is as wanted.
    pub(crate) async fn event(&mut self, is_it: impl Fn(&Output) -> bool) -> Output {
        loop {
            if let Some(place) = self.events.iter().position(&is_it) {
                return self.events.remove(place);
            }
            assert!(self.exit().is_none(), "the last were {:?}", self.events);
            self.step().await;
        }
    }

    /// Takes the rest.
    pub(crate) async fn end(&mut self) -> ExitRecord {
        loop {
            if let Some(exit) = self.exit() {
                return exit;
            }
            self.step().await;
        }
    }

    pub(crate) fn types(&mut self, text: &str) {
        self.viewer.write_stdin(text.as_bytes()).expect("there is room");
    }

    /// What came and was not asked for yet.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).replace("\r\n", "\n")
    }

    fn exit(&self) -> Option<ExitRecord> {
        self.events.iter().find_map(|event| match event {
            Output::Exit(exit) => Some(exit.clone()),
            _ => None,
        })
    }
}

/// Credit that a [`Reader`] gives beyond what it has.
const READER_ROOM: u64 = 1 << 20;

/// Everything that a viewer saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) exit: ExitRecord,
}

/// Runs a program without input, to its end.
pub(crate) async fn run(sessions: &Sessions, spec: Spec) -> Seen {
    let mut viewer = look(&start(sessions, spec).await);
    if viewer.stdin().window > 0 {
        end_stdin(&mut viewer, b"");
    }
    see(&mut viewer).await
}

/// The next output, within the deadline.
pub(crate) async fn next(viewer: &mut Viewer) -> Output {
    timeout(DEADLINE, viewer.next()).await.expect("output within the deadline")
}

/// The next output other than what is said about stdin and about others, within the deadline.
pub(crate) async fn next_out(viewer: &mut Viewer) -> Output {
    loop {
        match next(viewer).await {
            Output::StdinRoom { .. } | Output::StdinClosed | Output::Viewers { .. } => {}
            output => return output,
        }
    }
}

/// Looks from the start to the end, with plenty of credit, and checks that the ends tell what came.
pub(crate) async fn see(viewer: &mut Viewer) -> Seen {
    let mut seen: [Vec<u8>; 2] = Default::default();
    let mut has_ended = [false; 2];
    loop {
        for (stream, seen) in [1, 2].into_iter().zip(&seen) {
            viewer.allow(stream, seen.len() as u64 + (1 << 20));
        }
        match next(viewer).await {
            Output::Bytes { stream, bytes } => {
                let index = usize::from(stream) - 1;
                assert!(!bytes.is_empty() && !has_ended[index]);
                seen[index].extend_from_slice(&bytes);
            }
            Output::Ended { stream, total, blake3 } => {
                let index = usize::from(stream) - 1;
                assert_eq!((total, blake3), tally(&seen[index]));
                assert!(!std::mem::replace(&mut has_ended[index], true), "ended twice");
            }
            Output::Exit(exit) => {
                assert_eq!(has_ended, [true, true], "the exit came before an end");
                assert_eq!((exit.stdout.bytes, exit.stdout.blake3), tally(&seen[0]));
                assert_eq!((exit.stderr.bytes, exit.stderr.blake3), tally(&seen[1]));
                let [stdout, stderr] = seen;
                return Seen { stdout, stderr, exit };
            }
            Output::StdinRoom { .. } | Output::StdinClosed | Output::Viewers { .. } => {}
            other => panic!("unexpected: {other:?}"),
        }
    }
}

/// Reads stdout until a line is whole.
pub(crate) async fn line(viewer: &mut Viewer) -> String {
    viewer.allow(1, 1 << 20);
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        if let Output::Bytes { stream: 1, bytes } = next(viewer).await {
            line.extend(bytes);
        }
    }
    String::from_utf8(line).expect("text").trim().to_owned()
}

pub(crate) fn tally(bytes: &[u8]) -> (u64, tow_proto::content::Hash) {
    let mut tally = Tally::default();
    tally.update(bytes);
    (tally.bytes(), tally.hash())
}

/// Waits until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The record of a session that nobody looks at.
pub(crate) async fn exit_of(session: &Session) -> ExitRecord {
    until("the session ends", || async { session.exit().is_some() }).await;
    session.exit().expect("it has ended")
}

/// The letter of a process's state; `None` when it is gone.
pub(crate) fn state_of(pid: &str) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

pub(crate) async fn until_gone(pid: &str) {
    until(&format!("process {pid} is gone"), || async { state_of(pid).is_none() }).await;
}

/// Kills a process that a test has left running on purpose.
pub(crate) fn kill(pid: &str) {
    let pid = pid.parse().ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

pub(crate) fn code(record: &ExitRecord) -> u8 {
    match record.ended {
        Ended::Code(code) => code,
        ref other => panic!("not a code: {other:?}"),
    }
}

pub(crate) fn signal(record: &ExitRecord) -> &str {
    match &record.ended {
        Ended::Signal { name, .. } => name,
        other => panic!("not a signal: {other:?}"),
    }
}

/// A directory of the test's own, removed at its end.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("tow-session-{}-{number}", std::process::id()));
        std::fs::create_dir(&dir).expect("a new directory");
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A file with these permission bits.
    pub(crate) fn file(&self, name: &str, content: &[u8], mode: u32) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.0.join(name);
        std::fs::write(&path, content).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
