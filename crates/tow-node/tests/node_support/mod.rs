//! A node within the test, and links to it on which a test says what it likes.
#![allow(dead_code, reason = "every test binary uses its own part")]

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tow_net::{Address, Link, Pin, Spki, TlsKeys};
use tow_node::grant::Right;
use tow_node::identity::{Identity, PublicKey};
use tow_node::keeper::KeeperProgram;
use tow_node::keys::{Holder, Keys, Record};
use tow_node::serve::{Account, Config, Node};
use tow_node::state::{Layout, StateDir};
use tow_proto::message::{FirstHead, Hello, Lease, Program, Reply, Request, Run};
use tow_proto::{Frame, Kind, Refusal, json};

/// Longer than anything takes that works, on the slowest machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A node with a state directory of its own, and keys that may come in.
pub(crate) struct TestNode {
    pub(crate) dir: PathBuf,
    pub(crate) address: Address,
    pub(crate) key: PublicKey,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<u32>>,
}

impl TestNode {
    /// Starts a node that lets the holders of `grants` in.
    pub(crate) fn start(name: &str, grants: Vec<Record>) -> Self {
        let dir = std::env::temp_dir().join(format!("tow-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
        let mut keys = Keys::load(&state(&dir).keys_dir()).unwrap();
        for record in grants {
            keys.add(record).unwrap();
        }
        Self::start_in(dir, "test")
    }

    /// Stops the node in order, and starts one of this program and version on what it has left.
    pub(crate) async fn again_as(mut self, agent: &str) -> Self {
        self.end().await;
        Self::start_in(std::mem::take(&mut self.dir), agent)
    }

    fn start_in(dir: PathBuf, agent: &str) -> Self {
        let state = state(&dir);
        let config = Config { agent: agent.to_owned(), ..config(&dir) };
        let node = Node::start(&state, config).unwrap();
        let address = node.addresses().last().unwrap().clone();
        let key = Identity::load(&state.node_key_path()).unwrap().public();
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(node.serve(async { drop(stopped.await) }));
        Self { dir, address, key, stop: Some(stop), served: Some(served) }
    }

    /// The owner's link, over the Unix socket.
    pub(crate) async fn owner(&self) -> Link {
        let stream = UnixStream::connect(self.dir.join("node.sock")).await.unwrap();
        greet(Link::from_unix(stream).unwrap()).await
    }

    /// A link over TLS.
    pub(crate) async fn link(&self, identity: &Identity) -> Link {
        let keys = TlsKeys::new(identity.pkcs8_der(), Spki(identity.public().to_spki())).unwrap();
        let pin = Pin::Key(Spki(self.key.to_spki()));
        greet(tow_net::connect(&self.address, &keys, pin).await.unwrap()).await
    }

    /// Lines of the audit log so far.
    pub(crate) fn audit(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(state(&self.dir).audit_path()).unwrap();
        // The last one may be half written.
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Stops the node in order.
    pub(crate) async fn stop(mut self) {
        self.end().await;
    }

    async fn end(&mut self) {
        drop(self.stop.take());
        if let Some(served) = self.served.take() {
            timeout(DEADLINE, served).await.expect("the node stops").unwrap();
        }
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        // Another one may have taken it over.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A grant that starts in the temporary directory.
pub(crate) fn grant(identity: &Identity, rights: &[Right]) -> Record {
    let now = SystemTime::now();
    Record {
        key: identity.public(),
        name: "laptop".into(),
        rights: Right::together(rights.iter().copied()),
        root: "/".into(),
        start: std::env::temp_dir(),
        created: now,
        expires: None,
        holder: Holder::Device,
        end: None,
        session: None,
        root_identity: None,
        giver: None,
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
        listen: vec!["127.0.0.1:0".parse().unwrap()],
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

async fn greet(mut link: Link) -> Link {
    link.send_head(&FirstHead::Hello(Hello::new("test", "laptop")));
    link.prove();
    let head = next(&mut link).await;
    assert!(matches!(json::from_slice(&head.payload), Ok(FirstHead::Welcome(_))), "{head:?}");
    link
}

/// The next frame.
pub(crate) async fn next(link: &mut Link) -> Frame {
    timeout(DEADLINE, link.next_frame()).await.expect("something comes").expect("a frame")
}

/// Asks, and reads the reply.
pub(crate) async fn ask<T: DeserializeOwned>(
    link: &mut Link,
    request: &impl Serialize,
) -> Result<T, Refusal> {
    link.send_head(request);
    let head = next(link).await;
    json::from_slice::<Reply<T>>(&head.payload).unwrap_or_else(|_| panic!("{head:?}")).into_result()
}

/// The refusal that ends the link, whatever comes before it.
pub(crate) async fn last_refusal(link: &mut Link) -> Refusal {
    loop {
        let frame = next(link).await;
        if frame.kind == Kind::Head
            && let Ok(FirstHead::Refused(refusal)) = json::from_slice(&frame.payload)
        {
            return refusal;
        }
    }
}

/// A request for a program without input.
pub(crate) fn run(argv: &[&str]) -> Request {
    Request::Run(Box::new(Run {
        id: "1".into(),
        program: Program::Argv(argv.iter().map(|word| (*word).into()).collect()),
        cwd: None,
        env: Vec::new(),
        timeout_ms: None,
        lease: Lease::Attached,
        stdin: false,
        terminal: None,
        locale: String::new(),
        view: true,
        stdout_to: 1 << 20,
        stderr_to: 1 << 20,
    }))
}
