//! Sessions by way of the keeper: who may do what with whose, what passes between a client and a
//! session, and what becomes of sessions when their node goes.

#![allow(clippy::unwrap_used)] // Clippy knows tests by their attribute, not by their directory.

mod node_support;

use std::time::{Duration, Instant};

use node_support::{DEADLINE, TestNode, ask, grant, last_refusal, next, run};
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};
use tow_net::{Link, LinkEvent};
use tow_node::grant::Right;
use tow_node::identity::Identity;
use tow_proto::content::Tally;
use tow_proto::message::{
    Attach, Attached, Credit, End, Ended, EndedBy, ExitRecord, Kill, Killed, Lease, Program,
    Request, Run, RunEvent, RunReply, STDIN, STDOUT, SessionInfo, SessionList, SessionRm, Status,
    Upward, View, Window,
};
use tow_proto::{Code, Kind, Refusal, json as wire};

/// A line for the shell, with everything that a client asks for.
fn line(id: &str, line: &str) -> Run {
    let Request::Run(run) = run(&[]) else { panic!("it is one") };
    Run { id: id.into(), program: Program::Shell(line.into()), stdin: true, ..*run }
}

/// One that goes on until it is ended, and that nobody looks at.
fn detached(id: &str) -> Request {
    request(Run { view: false, lease: Lease::Detached, ..line(id, "exec sleep 1000") })
}

fn request(run: Run) -> Request {
    Request::Run(Box::new(run))
}

fn attach(session: &str, view: View) -> Attach {
    Attach {
        session: session.into(),
        view,
        writer: "writer".into(),
        window: None,
        stdout_from: None,
        stderr_from: None,
        room: 1 << 20,
    }
}

/// Everything of a channel up to its last frame.
#[derive(Default)]
struct Seen {
    stdout: Vec<u8>,
    events: Vec<RunEvent>,
}

impl Seen {
    /// Reads until `is_enough`.
    async fn until(link: &mut Link, mut is_enough: impl FnMut(&Self) -> bool) -> Self {
        let mut seen = Self::default();
        while !is_enough(&seen) {
            let frame = next(link).await;
            match frame.kind {
                Kind::Data => seen.stdout.extend(frame.payload),
                Kind::Head => seen.events.push(wire::from_slice(&frame.payload).unwrap()),
                _ => {}
            }
        }
        seen
    }

    async fn until_exit(link: &mut Link) -> (Self, ExitRecord) {
        let is_exit = |seen: &Self| matches!(seen.events.last(), Some(RunEvent::Exit(_)));
        let mut seen = Self::until(link, is_exit).await;
        let Some(RunEvent::Exit(record)) = seen.events.pop() else { panic!("it was the last") };
        (seen, *record)
    }

    async fn until_stdout(link: &mut Link, text: &str) -> Self {
        let has = |seen: &Self| String::from_utf8_lossy(&seen.stdout).contains(text);
        Self::until(link, has).await
    }
}

async fn sessions(link: &mut Link) -> Vec<SessionInfo> {
    let list: SessionList = ask(link, &Request::Sessions).await.unwrap();
    assert!(!list.more);
    list.sessions
}

/// Looks again until the session has ended.
async fn ended(link: &mut Link, session: &str) -> ExitRecord {
    let started = Instant::now();
    loop {
        let found = sessions(link).await.into_iter().find(|one| one.id == session);
        if let Some(record) = found.unwrap().exit {
            return *record;
        }
        assert!(started.elapsed() < DEADLINE, "it goes on");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The agent of the keeper of a node.
async fn keeper_of(node: &TestNode) -> String {
    let stream = UnixStream::connect(node.dir.join("keeper.1.sock")).await.unwrap();
    let mut link = Link::from_unix(stream).unwrap();
    link.prove();
    let here: Value = ask(&mut link, &json!({"ask": "hello"})).await.unwrap();
    here["agent"].as_str().unwrap().to_owned()
}

type Facts = (Code, Option<String>);

fn facts(refusal: Refusal) -> Facts {
    (refusal.code, refusal.right)
}

fn no<T>(right: &str) -> Result<T, Facts> {
    Err((Code::NoRight, Some(right.to_owned())))
}

fn unknown() -> Result<(), Facts> {
    Err((Code::UnknownSession, None))
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_say_what_may_be_done_with_whose_sessions() {
    use Right::{Admin, Read, Run, Watch};
    let kinds: [&[Right]; 6] =
        [&[Run], &[Run, Watch], &[Watch], &[Admin], &[Run, Watch, Admin], &[Read]];
    let devices: Vec<_> = kinds.iter().map(|_| Identity::generate().unwrap()).collect();
    let owner = Identity::generate().unwrap();
    let mut grants: Vec<_> =
        devices.iter().zip(kinds).map(|(device, rights)| grant(device, rights)).collect();
    grants.push(grant(&owner, &[Run]));
    let node = TestNode::start("scope", grants);
    let mut owners = node.link(&owner).await;
    let started: RunReply = ask(&mut owners, &detached("1")).await.unwrap();
    let id = started.session.as_str();
    // By device: is it in the list, may it be looked at, may it be worked with?
    let expected = [
        (Ok(false), unknown(), unknown()),
        (Ok(true), Ok(()), no("admin")),
        (Ok(true), Ok(()), no("admin")),
        (Ok(true), Ok(()), Ok(())),
        (Ok(true), Ok(()), Ok(())),
        (no("run"), no("run"), no("run")),
    ];
    for ((device, rights), (listed, looked, worked)) in devices.iter().zip(kinds).zip(expected) {
        let mut link = node.link(device).await;
        let list = ask::<SessionList>(&mut link, &Request::Sessions).await;
        let list = list.map(|list| list.sessions.iter().any(|one| one.id == id));
        assert_eq!(list.map_err(facts), listed, "{rights:?}");
        for view in [View::Watch, View::Log, View::Follow, View::Exit, View::Type] {
            let mut link = node.link(device).await;
            let request = Request::Attach(attach(id, view).into());
            let attached = ask::<Attached>(&mut link, &request).await.map(drop).map_err(facts);
            let allowed = if view == View::Type { &worked } else { &looked };
            assert_eq!(attached, *allowed, "{rights:?} {view:?}");
        }
        let kill = Request::Kill(Kill { session: id.into(), signal: "CONT".into() });
        let killed = ask::<Killed>(&mut link, &kill).await.map(drop).map_err(facts);
        assert_eq!(killed, worked, "{rights:?}");
        // It runs, so whoever may remove it may not yet.
        let remove = Request::SessionRm(SessionRm { session: id.into() });
        let removed = ask::<Value>(&mut link, &remove).await.map(drop).map_err(facts);
        let runs = worked.and(Err((Code::SessionRuns, None)));
        assert_eq!(removed, runs, "{rights:?}");
    }
    // What is not there is refused like what may not be seen.
    let request = Request::Attach(attach("0123456789ab", View::Log).into());
    let refused = ask::<Attached>(&mut owners, &request).await.unwrap_err();
    assert_eq!(refused.code, Code::UnknownSession);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_may_only_watch_sees_its_own_sessions_and_types_into_none() {
    let device = Identity::generate().unwrap();
    let node = TestNode::start("demoted", vec![grant(&device, &[Right::Run])]);
    let mut link = node.link(&device).await;
    let started: RunReply = ask(&mut link, &detached("1")).await.unwrap();
    let mut keys = tow_node::keys::Keys::load(&node.dir.join("keys")).unwrap();
    let node = {
        keys.add(grant(&device, &[Right::Watch])).unwrap();
        node.again_as("test").await
    };
    let mut link = node.link(&device).await;
    let types = Request::Attach(attach(&started.session, View::Type).into());
    let refused = ask::<Attached>(&mut link, &types).await.unwrap_err();
    assert_eq!((refused.code, refused.right.as_deref()), (Code::NoRight, Some("run")));
    let watches = Request::Attach(attach(&started.session, View::Watch).into());
    let _: Attached = ask(&mut link, &watches).await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_under_the_next_node_where_its_client_left_it() {
    let node = TestNode::start("survives", Vec::new());
    let mut link = node.owner().await;
    let run = line("1", "echo one; read word; echo $word; read word; echo $word; exit 3");
    let started: RunReply = ask(&mut link, &request(run)).await.unwrap();
    assert!(started.stdin.window > 0);
    let mut stdin = Tally::default();
    let mut write = |link: &mut Link, text: &[u8]| {
        stdin.update(text);
        link.send(Kind::Data, text);
        stdin.clone()
    };
    let _ = write(&mut link, b"two\n");
    let seen = Seen::until_stdout(&mut link, "two\n").await;
    assert_eq!(seen.stdout, b"one\ntwo\n");
    let (node, refusal) = tokio::join!(node.again_as("test"), last_refusal(&mut link));
    assert_eq!((refusal.code, refusal.retry), (Code::Stopping, true));
    let mut link = node.owner().await;
    let back = Attach {
        stdout_from: Some(4),
        stderr_from: Some(0),
        writer: "1".into(),
        ..attach(&started.session, View::Type)
    };
    let attached: Attached = ask(&mut link, &Request::Attach(back.into())).await.unwrap();
    assert_eq!((attached.stdout_from, attached.stdin.from), (4, 4));
    let stdin = write(&mut link, b"three\n");
    let end = End { stream: STDIN, total: stdin.bytes(), blake3: stdin.hash() };
    link.send(Kind::End, &wire::to_vec(&end));
    let (seen, record) = Seen::until_exit(&mut link).await;
    assert_eq!(seen.stdout, b"two\nthree\n");
    assert_eq!((record.ended, record.stdout.bytes), (Ended::Code(3), 14));
    // The channel is over, and the link serves the next.
    let status: Status = ask(&mut link, &Request::Status).await.unwrap();
    assert_eq!(status.sessions, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_replaces_a_keeper_only_when_nothing_runs() {
    let node = TestNode::start("versions", Vec::new());
    let mut link = node.owner().await;
    let started: RunReply = ask(&mut link, &detached("1")).await.unwrap();
    let node = node.again_as("newer").await;
    let mut link = node.owner().await;
    let status: Status = ask(&mut link, &Request::Status).await.unwrap();
    assert_eq!((status.sessions, keeper_of(&node).await.as_str()), (1, "test"));
    let kill = Request::Kill(Kill { session: started.session.clone(), signal: "KILL".into() });
    let killed: Killed = ask(&mut link, &kill).await.unwrap();
    assert_eq!(killed.processes, 1);
    assert_eq!(ended(&mut link, &started.session).await.by, EndedBy::User);
    let node = node.again_as("newest").await;
    let mut link = node.owner().await;
    let status: Status = ask(&mut link, &Request::Status).await.unwrap();
    assert_eq!((status.sessions, keeper_of(&node).await.as_str()), (0, "newest"));
    // The record has been handed on by way of the disk.
    assert!(sessions(&mut link).await.iter().any(|one| one.id == started.session));
    let remove = Request::SessionRm(SessionRm { session: started.session });
    let _: Value = ask(&mut link, &remove).await.unwrap();
    assert!(sessions(&mut link).await.is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_looked_at_leaves_the_link_to_the_next_request() {
    let node = TestNode::start("unseen", Vec::new());
    let mut link = node.owner().await;
    let run = Run { view: false, ..line("1", "echo out; exit 5") };
    let started: RunReply = ask(&mut link, &request(run.clone())).await.unwrap();
    assert_eq!(started.stdin.window, 0);
    // The same request again is the same session.
    let again: RunReply = ask(&mut link, &request(run)).await.unwrap();
    assert_eq!(again.session, started.session);
    assert_eq!(ended(&mut link, &started.session).await.ended, Ended::Code(5));
    // Looked at later: the log, and how it ended.
    let log = Request::Attach(attach(&started.session, View::Log).into());
    let _: Attached = ask(&mut link, &log).await.unwrap();
    let seen = Seen::until(&mut link, |seen| seen.events.contains(&RunEvent::CaughtUp)).await;
    assert_eq!(seen.stdout, b"out\n");
    let exit = Request::Attach(attach(&started.session, View::Exit).into());
    let _: Attached = ask(&mut link, &exit).await.unwrap();
    let (seen, record) = Seen::until_exit(&mut link).await;
    assert_eq!((seen.stdout.len(), record.ended), (0, Ended::Code(5)));
    let outcomes = |what: &str| -> Vec<_> {
        let audit = node.audit();
        let lines = audit.iter().filter(|line| line["what"] == what);
        lines.map(|line| (line["outcome"].clone(), line["session"].clone())).collect()
    };
    let about = |outcome: &str| (Value::from(outcome), Value::from(started.session.clone()));
    // The last one is recorded when its channel is over, which may be known here before.
    let started_at = Instant::now();
    while outcomes("attach").len() < 4 {
        assert!(started_at.elapsed() < DEADLINE, "{:?}", outcomes("attach"));
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(outcomes("run"), [about("ok"), about("ok")]);
    assert_eq!(outcomes("attach"), ["begun", "ok", "begun", "exit"].map(about));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_the_last_size_that_was_asked_for() {
    let node = TestNode::start("sizes", Vec::new());
    let mut link = node.owner().await;
    let window = |rows| Window { rows, cols: 90, ..Window::default() };
    let script = "stty -echo; stty size; while read word; do stty size; done";
    let run = Run { terminal: Some(window(30)), ..line("1", script) };
    let _: RunReply = ask(&mut link, &request(run)).await.unwrap();
    let _ = Seen::until_stdout(&mut link, "30 90").await;
    // Many at once, and then something typed, which is for the last of them.
    (31..200).for_each(|rows| link.send_head(&Upward::Resize(window(rows))));
    link.send(Kind::Data, b"now\n");
    let seen = Seen::until_stdout(&mut link, " 90").await;
    assert!(
        String::from_utf8_lossy(&seen.stdout).contains("199 90"),
        "{seen:?}",
        seen = seen.stdout
    );
    link.send_head(&Upward::Refresh);
    let is_screen = |event: &RunEvent| matches!(event, RunEvent::Screen { rows: 199, .. });
    let seen = Seen::until(&mut link, |seen| seen.events.iter().any(is_screen)).await;
    assert!(seen.events.iter().all(|event| *event != RunEvent::Unknown));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_for_good_ends_what_only_they_looked_at() {
    let node = TestNode::start("leaves", Vec::new());
    let mut link = node.owner().await;
    let started: RunReply = ask(&mut link, &request(line("1", "exec sleep 1000"))).await.unwrap();
    link.send_head(&Upward::Lease { lease: Lease::Ms(3_600_000) });
    let lease = RunEvent::Lease { lease: Lease::Ms(3_600_000) };
    let _ = Seen::until(&mut link, |seen| seen.events.contains(&lease)).await;
    // Said and closed at once: the last word still counts.
    link.send_head(&Upward::Leave);
    timeout(DEADLINE, link.close()).await.unwrap();
    let record = ended(&mut node.owner().await, &started.session).await;
    assert_eq!(record.by, EndedBy::Lease);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_passes_a_client_that_does_not_read() {
    let node = TestNode::start("stalled", Vec::new());
    let mut link = node.owner().await;
    // Far more than sockets and queues hold.
    let run = Run { stdout_to: 1 << 30, ..line("1", "exec yes") };
    let started: RunReply = ask(&mut link, &request(run)).await.unwrap();
    let mut owner = node.owner().await;
    let started_at = Instant::now();
    let mut written = 0;
    // It has stopped once what it has written stays the same for a while.
    loop {
        let now = sessions(&mut owner).await[0].stdout;
        if now > 0 && now == written {
            break;
        }
        written = now;
        assert!(started_at.elapsed() < DEADLINE, "{now} bytes wait for a client that reads none");
        sleep(Duration::from_millis(200)).await;
    }
    link.send_head(&Upward::Signal { name: "INT".into() });
    timeout(DEADLINE, link.flushed()).await.unwrap().unwrap();
    let started_at = Instant::now();
    while ended_by_now(&mut owner, &started.session).await.is_none() {
        assert!(started_at.elapsed() < DEADLINE, "the signal has not come through");
        sleep(Duration::from_millis(5)).await;
    }
    node.stop().await;
}

/// How a session's own process has ended: its outputs may still wait for their reader.
async fn ended_by_now(link: &mut Link, session: &str) -> Option<()> {
    let kill = Request::Kill(Kill { session: session.into(), signal: "CONT".into() });
    ask::<Killed>(link, &kill).await.err().map(|refusal| {
        assert_eq!(refusal.code, Code::SessionEnded);
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_on_a_channel_ends_it_with_a_reason() {
    let node = TestNode::start("wrong", Vec::new());
    let end = End { stream: STDIN, total: 5, blake3: Tally::default().hash() };
    let credit = Credit { stream: STDIN, to: 5 };
    let cases = [
        (Kind::End, wire::to_vec(&end), Code::Corrupt),
        (Kind::End, wire::to_vec(&End { stream: STDOUT, ..end }), Code::OutOfOrder),
        (Kind::Head, b"[".to_vec(), Code::Malformed),
        (Kind::Head, b"{\"verb\":\"status\"}".to_vec(), Code::Malformed),
        (Kind::DataErr, b"x".to_vec(), Code::OutOfOrder),
    ];
    for (number, (kind, payload, code)) in cases.into_iter().enumerate() {
        let mut link = node.owner().await;
        let run = line(&number.to_string(), "exec sleep 1000");
        let _: RunReply = ask(&mut link, &request(run)).await.unwrap();
        // Credit for a stream that is not the client's to allow says nothing.
        link.send(Kind::Credit, &wire::to_vec(&credit));
        link.send(kind, &payload);
        assert_eq!(last_refusal(&mut link).await.code, code, "{kind:?}");
        let last = timeout(DEADLINE, link.next_event()).await.unwrap();
        assert!(matches!(last, Ok(LinkEvent::Closed)), "{last:?}");
    }
    node.stop().await;
}
