//! `tow run`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tow_node::ask::AskError;
use tow_node::ask::run::{Output, Running, request_id};
use tow_proto::ByteString;
use tow_proto::message::{
    Ended, EndedBy, ExitRecord, Lease, Program, Run, STDERR, STDOUT, StreamTotal,
};

use crate::args::RunArgs;
use crate::client::{self, Here, Host};
use crate::failure::Failure;
use crate::stdio::{Sink, Written, read_stdin};
use crate::{output, remote};

/// Runs a program on a machine and gives its exit code.
pub(crate) fn run(args: RunArgs) -> Result<ExitCode, Failure> {
    let json = args.json;
    let here = Here::open()?;
    let host = here.host(&args.host)?;
    let request = request(args)?;
    let Carried { record, last_byte } = client::block_on(async {
        let connection = here.connect(&host).await?;
        let started = Running::start(connection, request).await;
        let running = started.map_err(|error| client::failure(&host, error))?;
        carry(running, &host).await
    })?;
    if json {
        // The record has a line of its own, also where the program did not end its last one.
        if last_byte != b'\n' {
            output::line("")?;
        }
        output::json(&Printed::from(&record))?;
    }
    Ok(exit_code(&record))
}

fn request(args: RunArgs) -> Result<Run, Failure> {
    let env = args.env.iter().filter_map(|word| variable(word)).collect();
    Ok(Run {
        id: request_id().ok_or_else(|| Failure::other("the system has no randomness"))?,
        program: program(args.argv),
        cwd: args.cwd.map(remote::bytes),
        env,
        timeout_ms: args.timeout.map(millis),
        lease: args.lease.map_or(Lease::Attached, |lease| Lease::Ms(millis(lease))),
        stdin: true,
        stdout_to: 0,
        stderr_to: 0,
    })
}

/// One word with a space in it is a shell line; everything else is an argv.
fn program(mut argv: Vec<OsString>) -> Program {
    match argv.as_slice() {
        [line] if line.as_bytes().contains(&b' ') => Program::Shell(remote::bytes(argv.remove(0))),
        _ => Program::Argv(argv.into_iter().map(remote::bytes).collect()),
    }
}

/// `K=V`, or `K` for the value that it has here; `None` where it has none.
fn variable(word: &OsStr) -> Option<(ByteString, ByteString)> {
    let bytes = word.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => Some((bytes[..at].into(), bytes[at + 1..].into())),
        None => std::env::var_os(word).map(|value| (bytes.into(), value.as_bytes().into())),
    }
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What became of the program.
struct Carried {
    record: ExitRecord,
    /// The last of its stdout; an end of line where there was nothing.
    last_byte: u8,
}

/// Carries the streams until the program has ended and all of its output was written here.
async fn carry(mut running: Running, host: &Host) -> Result<Carried, Failure> {
    let (written_to, mut written) = mpsc::channel(WRITTEN_WAITING_MAX);
    let stdout = Sink::new(STDOUT, std::io::stdout(), written_to.clone());
    let stderr = Sink::new(STDERR, std::io::stderr(), written_to);
    let mut stdin = Some(read_stdin());
    let mut waiting: Vec<u8> = Vec::new();
    let mut last_byte = b'\n';
    let mut signals = Signals::new()?;
    let record = loop {
        tokio::select! {
            output = running.next() => match output {
                Ok(Output::Bytes { stream: STDERR, bytes }) => stderr.push(bytes),
                Ok(Output::Bytes { bytes, .. }) => {
                    last_byte = bytes.last().copied().unwrap_or(last_byte);
                    stdout.push(bytes);
                }
                Ok(Output::StdinClosed) => stdin = None,
                Ok(Output::Exit(record)) => break record,
                Ok(Output::Ended { .. } | Output::StdinRoom) => {}
                Err(error) => {
                    let _ = (stdout.finish(), stderr.finish());
                    return Err(lost(host, running.session(), error));
                }
            },
            bytes = next_input(&mut stdin), if waiting.is_empty() => match bytes {
                Some(bytes) => waiting = bytes,
                None => {
                    stdin = None;
                    running.end_stdin();
                }
            },
            Some(done) = written.recv() => match done {
                Written::Bytes(stream, count) => running.consumed(stream, count),
                Written::Gone(stream) => running.stop(stream),
            },
            name = signals.next() => running.signal(name),
        }
        let room = running.stdin_room().min(waiting.len());
        if room > 0 {
            let rest = waiting.split_off(room);
            running.write_stdin(&waiting);
            waiting = rest;
        }
    };
    // The sinks' threads report to a channel that nobody reads any more.
    drop(written);
    let written = [("stdout", stdout.finish()), ("stderr", stderr.finish())];
    running.finish().close().await;
    for (name, result) in written {
        result.map_err(|error| Failure::other(format!("{name}: {error}")))?;
    }
    Ok(Carried { record: *record, last_byte })
}

/// The program's end is not known, unless the machine said why it is over.
fn lost(host: &Host, session: &str, error: AskError) -> Failure {
    let is_told = matches!(error, AskError::Refused(_));
    let failure = client::failure(host, error);
    if is_told {
        return failure;
    }
    failure.hint(format!(
        "the program's end is not known; without a viewer it is ended when its lease is over (session {session})"
    ))
}

async fn next_input(stdin: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match stdin {
        Some(stdin) => stdin.recv().await,
        None => std::future::pending().await,
    }
}

/// Signals of this process that are meant for the program.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    quit: Signal,
    interrupts: u32,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            interrupts: 0,
        })
    }

    /// The name of the next one. The second Ctrl-C does not ask any more.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => {
                self.interrupts += 1;
                if self.interrupts == 1 { "INT" } else { "KILL" }
            }
            _ = self.terminate.recv() => "TERM",
            _ = self.hangup.recv() => "HUP",
            _ = self.quit.recv() => "QUIT",
        }
    }
}

/// The exit record as `--json` prints it.
#[derive(Serialize)]
struct Printed<'a> {
    code: Option<u8>,
    signal: Option<&'a str>,
    core: bool,
    timeout: bool,
    ended_by: EndedBy,
    lingering: &'a [u32],
    stdout: StreamTotal,
    stderr: StreamTotal,
}

impl<'a> From<&'a ExitRecord> for Printed<'a> {
    fn from(record: &'a ExitRecord) -> Self {
        let (code, signal, core) = match &record.ended {
            Ended::Code(code) => (Some(*code), None, false),
            Ended::Signal { name, core, .. } => (None, Some(name.as_str()), *core),
        };
        Self {
            code,
            signal,
            core,
            timeout: record.by == EndedBy::Timeout,
            ended_by: record.by,
            lingering: &record.lingering,
            stdout: record.stdout,
            stderr: record.stderr,
        }
    }
}

fn exit_code(record: &ExitRecord) -> ExitCode {
    let code = match (&record.ended, record.by) {
        (_, EndedBy::Timeout) => 124,
        (Ended::Code(code), _) => *code,
        (Ended::Signal { number, .. }, _) => 128_u8.saturating_add(*number),
    };
    ExitCode::from(code)
}

/// A writer that says more than is listened to waits; that is what a pipe would do.
const WRITTEN_WAITING_MAX: usize = 64;
