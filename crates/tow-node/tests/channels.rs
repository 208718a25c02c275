//! Channels follow each other on one link, whatever the one before left under way (PROTOCOL 3.2).

#![allow(clippy::unwrap_used)] // Clippy knows tests by their attribute, not by their directory.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tow_node::keeper::KeeperProgram;
use tow_node::serve::{Account, Config, Node};
use tow_node::state::{Layout, StateDir};
use tow_proto::content::Tally;
use tow_proto::message::{
    Credit, End, FirstHead, Hello, Lease, Program, Reply, Request, Run, RunEvent, STDIN, STDOUT,
    Status, Upward,
};
use tow_proto::{Decoder, Frame, Kind, Trust, frame, json};

#[test]
fn what_comes_too_late_for_a_channel_does_not_disturb_the_next() {
    let node = TestNode::start("late");
    let mut client = node.connect();
    client.run_to_the_end();
    let credit = Credit { stream: STDOUT, to: 1 << 20 };
    let tally = Tally::default();
    let end = End { stream: STDIN, total: 0, blake3: tally.hash() };
    client.send(Kind::Credit, &json::to_vec(&credit));
    client.send(Kind::Data, b"typed too late");
    client.send(Kind::End, &json::to_vec(&end));
    client.send(Kind::Head, &json::to_vec(&Upward::Stop { stream: STDOUT }));
    client.send(Kind::Head, &json::to_vec(&Upward::Signal { name: "INT".into() }));
    client.send(Kind::Head, br#"{"event":"of a later version","x":[1]}"#);
    assert_eq!(client.status().machine, "box");
}

#[test]
fn what_is_no_request_and_belongs_to_no_channel_ends_the_link() {
    let node = TestNode::start("stray");
    for (kind, payload) in
        [(Kind::Head, &b"{\"path\":\"a\"}"[..]), (Kind::Head, b"["), (Kind::DataErr, b"x")]
    {
        let mut client = node.connect();
        client.send(kind, payload);
        let head = client.next();
        let refused = json::from_slice::<FirstHead>(&head.payload);
        assert!(matches!(refused, Ok(FirstHead::Refused(_))), "{head:?}");
        assert_eq!(client.rest(), 0, "the link is closed");
    }
}

/// A node on a thread of its own, with a state directory of its own.
struct TestNode {
    dir: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestNode {
    fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("tow-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let home = dir.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let node = Node::start(&state(&home), config(&home)).unwrap();
                ready.send(()).unwrap();
                node.serve(async { drop(stopped.await) }).await;
            });
        });
        is_ready.recv().expect("the node starts");
        Self { dir, stop: Some(stop), thread: Some(thread) }
    }

    fn connect(&self) -> Client {
        let stream = UnixStream::connect(self.dir.join("node.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut client =
            Client { stream, decoder: Decoder::new(Trust::Proved), unread: Vec::new() };
        let hello = FirstHead::Hello(Hello::new("test", "laptop"));
        client.send(Kind::Head, &json::to_vec(&hello));
        let head = client.next();
        assert!(matches!(json::from_slice(&head.payload), Ok(FirstHead::Welcome(_))), "{head:?}");
        client
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        let _ = std::fs::remove_dir_all(&self.dir);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

fn state(home: &Path) -> StateDir {
    let path = home.to_owned();
    let socket = home.join("node.sock");
    StateDir::open(Layout { config: path.clone(), state: path, socket }).unwrap()
}

fn config(home: &Path) -> Config {
    let account = Account {
        user: "nobody".into(),
        home: home.to_owned(),
        shell: "/bin/sh".into(),
        path: "/usr/bin:/bin".into(),
        lang: None,
    };
    Config {
        listen: Vec::new(),
        backlog: 16,
        root: None,
        machine: "box".into(),
        agent: "test".into(),
        account,
        descriptors: 1024,
        keeper: KeeperProgram::InProcess,
        web: None,
    }
}

/// The protocol by hand.
struct Client {
    stream: UnixStream,
    decoder: Decoder,
    unread: Vec<u8>,
}

impl Client {
    fn send(&mut self, kind: Kind, payload: &[u8]) {
        let mut bytes = Vec::new();
        frame::encode(kind, payload, &mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    fn next(&mut self) -> Frame {
        loop {
            let mut input = self.unread.as_slice();
            let frame = self.decoder.read(&mut input).unwrap();
            self.unread = input.to_vec();
            if let Some(frame) = frame {
                return frame;
            }
            let mut bytes = [0; 4096];
            let read = self.stream.read(&mut bytes).unwrap();
            assert!(read > 0, "the link is still open");
            self.unread.extend_from_slice(&bytes[..read]);
        }
    }

    /// How many bytes come until the end.
    fn rest(&mut self) -> usize {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes).unwrap();
        self.unread.len() + bytes.len()
    }

    /// A program without stdin, until its exit.
    fn run_to_the_end(&mut self) {
        let run = Run {
            id: "1".into(),
            program: Program::Argv(vec!["true".into()]),
            cwd: None,
            env: Vec::new(),
            timeout_ms: None,
            lease: Lease::Attached,
            stdin: false,
            terminal: None,
            locale: String::new(),
            view: true,
            stdout_to: 0,
            stderr_to: 0,
        };
        self.send(Kind::Head, &json::to_vec(&Request::Run(Box::new(run))));
        loop {
            let frame = self.next();
            if let Ok(RunEvent::Exit(_)) = json::from_slice(&frame.payload) {
                return;
            }
        }
    }

    fn status(&mut self) -> Status {
        self.send(Kind::Head, &json::to_vec(&Request::Status));
        let head = self.next();
        let reply: Reply<Status> = json::from_slice(&head.payload).expect("a reply");
        reply.into_result().expect("no refusal")
    }
}
