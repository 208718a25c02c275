//! A node that does what a test says: it speaks frames by hand and hangs up where it is told to.

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tow_net::Address;
use tow_node::ask::session::{Attaching, Output, Patience, Remote};
use tow_node::ask::{AskError, Client, Target};
use tow_node::identity::Identity;
use tow_proto::content::{Hash, Tally};
use tow_proto::message::{
    Attach, Attached, Credit, End, Ended, EndedBy, ExitRecord, FirstHead, Lease, Program, Reply,
    Request, Rights, Run, RunEvent, RunReply, STDERR, STDOUT, StdinState, StreamTotal, View,
    Welcome,
};
use tow_proto::{Decoder, Frame, Kind, Refusal, Trust, frame, json};
use tow_testkit::TempDir;

/// Longer than anything takes that works, on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// Listens on a Unix socket of its own.
pub(crate) struct FakeNode {
    listener: UnixListener,
    pub(crate) client: Client,
    pub(crate) target: Target,
    _dir: TempDir,
}

impl FakeNode {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new();
        let path = dir.join("node.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let client = Client::new(&Identity::generate().unwrap(), "test", "laptop").unwrap();
        let target = Target { addresses: vec![Address::Unix(path)], key: None };
        Self { listener, client, target, _dir: dir }
    }

    /// Waits for the next link, lets it in and reads what it asks for.
    pub(crate) async fn asked(&self) -> (Talk, Request) {
        let (stream, _) = self.listener.accept().await.unwrap();
        let mut talk = Talk { stream, decoder: Decoder::new(Trust::Proved), unread: Vec::new() };
        let hello = talk.next().await;
        assert!(matches!(json::from_slice(&hello.payload), Ok(FirstHead::Hello(_))), "{hello:?}");
        let welcome = Welcome {
            version: 1,
            features: Vec::new(),
            agent: "fake".into(),
            machine: "box".into(),
            rights: Rights::default(),
            root: None,
            start: None,
            confirm: None,
        };
        talk.head(&FirstHead::Welcome(welcome)).await;
        let head = talk.next().await;
        (talk, json::from_slice(&head.payload).expect("a request"))
    }

    pub(crate) async fn asked_to_run(&self) -> (Talk, Box<Run>) {
        match self.asked().await {
            (talk, Request::Run(run)) => (talk, run),
            (_, other) => panic!("{other:?}"),
        }
    }

    pub(crate) async fn asked_to_attach(&self) -> (Talk, Box<Attach>) {
        match self.asked().await {
            (talk, Request::Attach(attach)) => (talk, attach),
            (_, other) => panic!("{other:?}"),
        }
    }

    /// Lets a program start, with a window of stdin.
    pub(crate) async fn run(&self, stdin_window: u64) -> Talk {
        let (mut talk, _) = self.asked_to_run().await;
        let stdin = StdinState { from: 0, to: stdin_window, window: stdin_window };
        talk.ok(&RunReply { session: SESSION.into(), stdin }).await;
        talk
    }

    /// Lets a client go on where it asks to; nothing has come from a writer.
    pub(crate) async fn attach(&self) -> (Talk, Box<Attach>) {
        let (mut talk, attach) = self.asked_to_attach().await;
        let stdin = match attach.view {
            View::Type => StdinState { from: 0, to: 10, window: 10 },
            _ => StdinState::default(),
        };
        talk.ok(&attached(&attach, stdin)).await;
        (talk, attach)
    }

    pub(crate) async fn start(&self) -> Result<Remote, AskError> {
        Remote::start(&self.client, &self.target, program(), Patience::default()).await
    }

    pub(crate) async fn look(&self, view: View) -> Result<Remote, AskError> {
        let attaching = Attaching {
            session: SESSION.into(),
            view,
            window: None,
            stdout_from: None,
            stderr_from: None,
        };
        Remote::attach(&self.client, &self.target, attaching, Patience::default()).await
    }
}

/// One link, from the node's side.
pub(crate) struct Talk {
    stream: UnixStream,
    decoder: Decoder,
    unread: Vec<u8>,
}

impl Talk {
    /// The next frame.
    pub(crate) async fn next(&mut self) -> Frame {
        self.next_or_end().await.expect("the link is still open")
    }

    /// The next frame, or `None` where the client has gone.
    pub(crate) async fn next_or_end(&mut self) -> Option<Frame> {
        loop {
            let mut input = self.unread.as_slice();
            let frame = self.decoder.read(&mut input).unwrap();
            self.unread = input.to_vec();
            if frame.is_some() {
                return frame;
            }
            let mut bytes = vec![0; 64 << 10];
            match self.stream.read(&mut bytes).await {
                Ok(len @ 1..) => self.unread.extend_from_slice(&bytes[..len]),
                _ => return None,
            }
        }
    }

    /// A client that has gone is no reason to fail: what it saw is what the test is about.
    pub(crate) async fn send(&mut self, kind: Kind, payload: &[u8]) {
        let mut bytes = Vec::new();
        frame::encode(kind, payload, &mut bytes);
        let _ = self.stream.write_all(&bytes).await;
    }

    /// The first bytes of a frame, and hangs up.
    pub(crate) async fn cut_within(mut self, kind: Kind, payload: &[u8], len: usize) {
        let mut bytes = Vec::new();
        frame::encode(kind, payload, &mut bytes);
        self.stream.write_all(&bytes[..len]).await.unwrap();
    }

    pub(crate) async fn head(&mut self, head: &impl Serialize) {
        self.send(Kind::Head, &json::to_vec(head)).await;
    }

    pub(crate) async fn ok(&mut self, reply: &impl Serialize) {
        self.head(&Reply::Ok(reply)).await;
    }

    pub(crate) async fn refuse(&mut self, refusal: impl Into<Refusal>) {
        self.head(&FirstHead::Refused(refusal.into())).await;
    }

    pub(crate) async fn stdout(&mut self, bytes: &[u8]) {
        self.send(Kind::Data, bytes).await;
    }

    pub(crate) async fn credit(&mut self, stream: u8, to: u64) {
        self.send(Kind::Credit, &json::to_vec(&Credit { stream, to })).await;
    }

    /// Stream `stream` is complete and was `all`.
    pub(crate) async fn end(&mut self, stream: u8, all: &[u8]) {
        let (total, blake3) = total(all);
        self.send(Kind::End, &json::to_vec(&End { stream, total, blake3 })).await;
    }

    /// The program has ended well.
    pub(crate) async fn exit(&mut self, stdout: &[u8], stderr: &[u8]) {
        let (bytes, blake3) = total(stdout);
        self.head(&RunEvent::Exit(record(StreamTotal { bytes, blake3 }, stderr))).await;
    }

    /// Both ends and the exit.
    pub(crate) async fn finish(&mut self, stdout: &[u8], stderr: &[u8]) {
        self.end(STDOUT, stdout).await;
        self.end(STDERR, stderr).await;
        self.exit(stdout, stderr).await;
    }

    /// Waits until the client has gone.
    pub(crate) async fn gone(&mut self) {
        while self.next_or_end().await.is_some() {}
    }
}

/// What a client saw of a session.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// Everything else, by name.
    pub(crate) others: Vec<&'static str>,
}

/// Follows a session to its end.
pub(crate) async fn follow(remote: &mut Remote) -> Result<Seen, AskError> {
    let mut seen = Seen::default();
    loop {
        let output = remote.next().await?;
        let is_over = matches!(output, Output::Exit(_) | Output::CaughtUp);
        seen.take(output, remote);
        if is_over {
            return Ok(seen);
        }
    }
}

impl Seen {
    pub(crate) fn take(&mut self, output: Output, remote: &mut Remote) {
        self.others.push(match output {
            Output::Bytes { stream, bytes } => {
                remote.consumed(stream, bytes.len() as u64);
                let seen = if stream == STDOUT { &mut self.stdout } else { &mut self.stderr };
                seen.extend_from_slice(&bytes);
                return;
            }
            Output::StdinRoom => return,
            Output::Ended { stream: STDOUT } => "stdout ended",
            Output::Ended { .. } => "stderr ended",
            Output::StdinClosed => "stdin closed",
            Output::Screen { .. } => "screen",
            Output::Gap { .. } => "gap",
            Output::Viewers { .. } => "viewers",
            Output::Lease(_) => "lease",
            Output::CaughtUp => "caught up",
            Output::Exit(_) => "exit",
            Output::LinkLost { .. } => "lost",
            Output::LinkBack => "back",
            _ => "unknown",
        });
    }
}

/// Runs both sides; a test that hangs has failed.
pub(crate) fn both<C, N>(
    client: impl Future<Output = C>,
    node: impl Future<Output = N>,
) -> impl Future<Output = (C, N)> {
    let (client, node) = (Box::pin(client), Box::pin(node));
    async { timeout(DEADLINE, async { tokio::join!(client, node) }).await.expect("both end") }
}

pub(crate) fn program() -> Run {
    Run {
        id: "run-1".into(),
        program: Program::Argv(vec!["true".into()]),
        cwd: None,
        env: Vec::new(),
        timeout_ms: None,
        lease: Lease::Attached,
        stdin: true,
        terminal: None,
        locale: String::new(),
        view: true,
        stdout_to: 0,
        stderr_to: 0,
    }
}

/// The reply to `attach` that grants what it asks for.
pub(crate) fn attached(attach: &Attach, stdin: StdinState) -> Attached {
    Attached {
        session: attach.session.clone(),
        terminal: false,
        stdout_from: attach.stdout_from.unwrap_or(0),
        stderr_from: attach.stderr_from.unwrap_or(0),
        stdin,
    }
}

/// The record of a program that has ended well.
pub(crate) fn record(stdout: StreamTotal, stderr: &[u8]) -> Box<ExitRecord> {
    let (bytes, blake3) = total(stderr);
    let stderr = StreamTotal { bytes, blake3 };
    let ended = Ended::Code(0);
    Box::new(ExitRecord { ended, by: EndedBy::Itself, lingering: Vec::new(), stdout, stderr })
}

/// Length and hash.
pub(crate) fn total(bytes: &[u8]) -> (u64, Hash) {
    let mut tally = Tally::default();
    tally.update(bytes);
    (tally.bytes(), tally.hash())
}

pub(crate) const SESSION: &str = "s-1";
