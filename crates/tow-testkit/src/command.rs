//! The `tow` command as a process: what it is given, what it prints, how it ends.

use std::ffi::OsStr;
use std::io::{Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::terminal::Terminal;
use crate::wait::{self, INTERVAL, until_some};

/// A command that is being put together. It has 60 s, and an empty stdin unless told otherwise.
#[derive(Debug)]
pub struct Tow {
    command: Command,
    stdin: Vec<u8>,
    patience: Duration,
}

/// A command that runs. It is killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Output,
    stderr: Output,
    what: String,
    started: Instant,
    patience: Duration,
}

/// A command that has ended.
#[derive(Debug)]
pub struct Done {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr.
    pub stderr: Vec<u8>,
    /// How long it ran.
    pub took: Duration,
    what: String,
}

impl Tow {
    pub(crate) fn new(command: Command) -> Self {
        Self { command, stdin: Vec::new(), patience: Duration::from_secs(120) }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// A variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Where it runs.
    #[must_use]
    pub fn cwd(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// What it reads, up to the end.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// It has so long.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// It takes too long.
    #[track_caller]
    pub fn run(mut self) -> Done {
        let bytes = std::mem::take(&mut self.stdin);
        let mut running = self.start();
        let stdin = running.stdin.take();
        let feeder = thread::spawn(move || {
            // A program that reads no more is no fault.
            stdin.map(|mut stdin| stdin.write_all(&bytes))
        });
        let done = running.wait();
        let _ = feeder.join();
        done
    }

    /// Starts it on a terminal of its own.
    ///
    /// # Panics
    /// It can't be started.
    #[track_caller]
    pub fn on_terminal(self, rows: u16, cols: u16) -> Terminal {
        Terminal::start(&self.command, rows, cols)
    }

    /// Starts it with its stdin open.
    ///
    /// # Panics
    /// It can't be started.
    #[track_caller]
    pub fn start(mut self) -> Running {
        let what = format!("{:?}", self.command.get_args().collect::<Vec<_>>());
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("{what}: {error}"));
        Running {
            stdin: child.stdin.take(),
            stdout: Output::of(child.stdout.take()),
            stderr: Output::of(child.stderr.take()),
            child,
            what,
            started: Instant::now(),
            patience: self.patience,
        }
    }
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its stdin.
    ///
    /// # Panics
    /// It reads no more.
    #[track_caller]
    pub fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(bytes).and_then(|()| stdin.flush()).expect("stdin is read");
    }

    /// Ends its stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// What it has written to stdout so far.
    pub fn stdout(&self) -> Vec<u8> {
        self.stdout.bytes()
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> Vec<u8> {
        self.stderr.bytes()
    }

    /// Waits for a line of stdout, counted from 0, and gives it without its end.
    ///
    /// # Panics
    /// It does not come.
    #[track_caller]
    pub fn line(&self, index: usize) -> String {
        until_some(&format!("line {index} of {}", self.what), || {
            let bytes = self.stdout.bytes();
            let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
            let line = lines.nth(index)?.strip_suffix(b"\n")?;
            Some(String::from_utf8_lossy(line).into_owned())
        })
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        // It may have ended already.
        let _ = pid.map(|pid| kill_process(pid, signal));
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        self.end();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// It takes too long.
    #[track_caller]
    pub fn wait(mut self) -> Done {
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                _ if self.started.elapsed() < self.patience => thread::sleep(INTERVAL),
                _ => {
                    self.end();
                    panic!(
                        "{} took too long\n{}{}",
                        self.what,
                        tail(&self.stdout()),
                        tail(&self.stderr())
                    );
                }
            }
        };
        Done {
            status,
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
            took: self.started.elapsed(),
            what: self.what.clone(),
        }
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Done {
    /// The exit code; minus the signal's number where one ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| -self.status.signal().unwrap_or(0))
    }

    /// Asserts the exit code.
    #[track_caller]
    #[must_use]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self}");
        self
    }

    /// Asserts that it worked.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.expect(0)
    }

    /// stdout as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// stderr as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Asserts the exit code and an error of one line, or of two where the second is a hint. Each
    /// of `words` is in the first.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code(), code, "{self}");
        let err = self.err();
        // What `serve` says to root is no part of the error.
        let lines: Vec<_> =
            err.lines().filter(|line| !line.starts_with("tow: warning: running as root")).collect();
        assert!(err.ends_with('\n') && (1..=2).contains(&lines.len()), "{self}");
        assert!(lines[0].starts_with("tow: error: "), "{self}");
        assert!(lines[1..].iter().all(|line| line.starts_with("tow: hint: ")), "{self}");
        for word in words {
            assert!(lines[0].contains(word), "{word:?} is missing: {self}");
        }
        self
    }

    /// The same, and asserts that `hint` is in the second line.
    #[track_caller]
    pub fn fails_with_hint(self, code: i32, words: &[&str], hint: &str) -> Self {
        let done = self.fails(code, words);
        let err = done.err();
        let second = err.lines().find_map(|line| line.strip_prefix("tow: hint: "));
        assert!(second.is_some_and(|line| line.contains(hint)), "{hint:?} is missing: {done}");
        done
    }

    /// The lines of stdout that are JSON objects.
    pub fn json(&self) -> Vec<Value> {
        let lines = self.stdout.split(|byte| *byte == b'\n');
        lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
    }

    /// The last line of stdout, which must be JSON.
    ///
    /// # Panics
    /// It is not.
    #[track_caller]
    pub fn last_json(&self) -> Value {
        let last = self.stdout.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
        serde_json::from_slice(last.unwrap_or_default())
            .unwrap_or_else(|error| panic!("{error}: {self}"))
    }
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { status, stdout, stderr, took, what } = self;
        write!(f, "{what}: {status} after {took:?}\n--- stdout ({} bytes)\n", stdout.len())?;
        write!(f, "{}\n--- stderr\n{}", tail(stdout), tail(stderr))
    }
}

/// What a process writes, read as it comes.
#[derive(Debug)]
struct Output {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let reader = pipe.map(|mut pipe| {
            let bytes = Arc::clone(&bytes);
            thread::spawn(move || {
                let mut buffer = vec![0; 64 << 10];
                while let Ok(len @ 1..) = pipe.read(&mut buffer) {
                    lock(&bytes).extend_from_slice(&buffer[..len]);
                }
            })
        });
        Self { bytes, reader }
    }

    fn bytes(&self) -> Vec<u8> {
        lock(&self.bytes).clone()
    }

    /// Everything up to the end of the pipe, which comes with the end of the process.
    fn finish(&mut self) -> Vec<u8> {
        if let Some(reader) = self.reader.take() {
            wait::until("a process that has ended holds no pipe", || reader.is_finished());
            let _ = reader.join();
        }
        std::mem::take(&mut lock(&self.bytes))
    }
}

fn lock(bytes: &Mutex<Vec<u8>>) -> std::sync::MutexGuard<'_, Vec<u8>> {
    bytes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tail(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL_LEN)..]).into_owned()
}

const TAIL_LEN: usize = 4 << 10;
