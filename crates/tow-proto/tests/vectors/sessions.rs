//! The messages of `run`, `attach` and the other verbs of sessions, as values.

use tow_proto::content::Tally;
use tow_proto::message::{
    Attach, Attached, Ended, EndedBy, ExitRecord, Kill, Killed, Lease, Program, Reply, Request,
    Run, RunEvent, RunReply, SessionInfo, SessionList, SessionRm, StdinState, StreamTotal, Upward,
    View, Window,
};
use tow_proto::{ByteString, Code, Refusal};

use crate::messages::{Message, message};

/// All of them.
pub(crate) fn messages() -> Vec<Message> {
    [requests(), replies(), from_node(), from_client()].into_iter().flatten().collect()
}

fn requests() -> Vec<Message> {
    let run = |name, run: Run| message("Request", name, Request::Run(Box::new(run)));
    let attach = |name, attach| message("Request", name, Request::Attach(Box::new(attach)));
    let kill = Kill { session: SESSION.into(), signal: "TERM".into() };
    let rm = SessionRm { session: SESSION.into() };
    vec![
        run("run", run_argv()),
        run("run-shell", run_shell()),
        run("run-login", run_login()),
        run(
            "run-unseen",
            Run { id: "a4".into(), lease: Lease::Detached, view: false, ..run_shell() },
        ),
        attach("attach-type", attach_again()),
        attach("attach-first", Attach { writer: "w2".into(), ..look(View::Type) }),
        attach("attach-watch", Attach { window: Some(WINDOW), ..look(View::Watch) }),
        attach("attach-log", Attach { stdout_from: Some(0), ..look(View::Log) }),
        attach("attach-follow", Attach { stderr_from: Some((1 << 53) + 1), ..look(View::Follow) }),
        attach("attach-exit", Attach { room: 0, ..look(View::Exit) }),
        message("Request", "sessions", Request::Sessions),
        message("Request", "kill", Request::Kill(kill)),
        message("Request", "session-rm", Request::SessionRm(rm)),
    ]
}

fn run_argv() -> Run {
    Run {
        id: "a1".into(),
        program: Program::Argv(vec!["ls".into(), "-l".into(), ByteString(vec![0xff])]),
        cwd: Some("/tmp".into()),
        env: vec![("LANG".into(), "C".into()), ("X".into(), ByteString(vec![0x80]))],
        timeout_ms: Some(5_000),
        lease: Lease::Ms(60_000),
        stdin: false,
        stdout_to: 65_536,
        stderr_to: 65_536,
        ..run_shell()
    }
}

fn run_shell() -> Run {
    Run {
        id: "a2".into(),
        program: Program::Shell("ls | wc".into()),
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

fn run_login() -> Run {
    Run {
        id: "a3".into(),
        program: Program::Login,
        env: vec![("TERM".into(), "xterm-256color".into())],
        terminal: Some(WINDOW),
        locale: "de_DE.UTF-8".into(),
        stdout_to: 262_144,
        ..run_shell()
    }
}

/// As one who was here before.
fn attach_again() -> Attach {
    let unknown = Window::default();
    Attach {
        writer: "a3".into(),
        window: Some(unknown),
        stdout_from: Some(4_096),
        stderr_from: Some(0),
        ..look(View::Type)
    }
}

/// As one who comes for the first time.
fn look(view: View) -> Attach {
    Attach {
        session: SESSION.into(),
        view,
        writer: String::new(),
        window: None,
        stdout_from: None,
        stderr_from: None,
        room: 262_144,
    }
}

fn replies() -> Vec<Message> {
    let run = |name, reply: Reply<RunReply>| message("Reply<RunReply>", name, reply);
    let attached = |name, reply| message("Reply<Attached>", name, Reply::Ok::<Attached>(reply));
    let list = |name, list| message("Reply<SessionList>", name, Reply::Ok::<SessionList>(list));
    let stdin = StdinState { from: 5, to: 65_541, window: 65_536 };
    let large = StdinState { from: 1 << 53, to: (1 << 53) + 1, window: u64::MAX };
    let again = Attached {
        session: SESSION.into(),
        terminal: true,
        stdout_from: 4_096,
        stderr_from: 0,
        stdin,
    };
    let without_stdin = Attached {
        terminal: false,
        stdout_from: (1 << 53) + 1,
        stdin: StdinState::default(),
        ..again.clone()
    };
    let here = SessionList { sessions: vec![running(), ended()], more: true };
    let killed: Reply<Killed> = Reply::Ok(Killed { processes: 3 });
    let no_such: Reply<Attached> = Reply::Refused(Code::UnknownSession.into());
    let over: Reply<Killed> = Reply::Refused(Code::SessionEnded.into());
    vec![
        run("run-ok", Reply::Ok(RunReply { session: SESSION.into(), stdin })),
        run("run-ok-large", Reply::Ok(RunReply { session: SESSION.into(), stdin: large })),
        run("run-refused", Reply::Refused(Refusal::about(Code::ProgramNotFound, "nope"))),
        attached("attach-ok", again),
        attached("attach-ok-no-stdin", without_stdin),
        message("Reply<Attached>", "attach-refused", no_such),
        list("sessions-ok", here),
        list("sessions-ok-none", SessionList { sessions: Vec::new(), more: false }),
        message("Reply<Killed>", "kill-ok", killed),
        message("Reply<Killed>", "kill-refused", over),
    ]
}

fn running() -> SessionInfo {
    SessionInfo {
        id: SESSION.into(),
        owner: "uid:1000".into(),
        program: Program::Login,
        terminal: true,
        started: 1_700_000_000,
        lease: Lease::Attached,
        typing: 1,
        watching: 2,
        stdout: 5_000,
        stderr: 0,
        exit: None,
        ended: None,
    }
}

fn ended() -> SessionInfo {
    SessionInfo {
        id: "0123456789ab".into(),
        owner: "tow1-abcd".into(),
        program: Program::Argv(vec!["make".into(), ByteString(vec![0xff])]),
        terminal: false,
        lease: Lease::Detached,
        typing: 0,
        watching: 0,
        stdout: (1 << 53) + 1,
        exit: Some(Box::new(exit_code())),
        ended: Some(1_700_000_060),
        ..running()
    }
}

fn exit_code() -> ExitRecord {
    let empty = StreamTotal { bytes: 0, blake3: Tally::default().hash() };
    ExitRecord {
        ended: Ended::Code(3),
        by: EndedBy::Itself,
        lingering: Vec::new(),
        stdout: empty,
        stderr: empty,
    }
}

fn from_node() -> Vec<Message> {
    let event = |name, event: RunEvent| message("RunEvent", name, event);
    let killed = ExitRecord {
        ended: Ended::Signal { name: "KILL".into(), number: 9, core: false },
        by: EndedBy::Timeout,
        lingering: vec![42],
        ..exit_code()
    };
    let far = RunEvent::Gap { stream: 2, from: 1 << 53, to: (1 << 53) + 1 };
    vec![
        event("exit", RunEvent::Exit(Box::new(exit_code()))),
        event("exit-signal", RunEvent::Exit(Box::new(killed))),
        event("stdin-closed", RunEvent::StdinClosed),
        event("screen", RunEvent::Screen { at: 5, rows: 24, cols: 80, bytes: 900 }),
        event("gap", RunEvent::Gap { stream: 1, from: 5, to: 9 }),
        event("gap-far", far),
        event("caught-up", RunEvent::CaughtUp),
        event("lease-now", RunEvent::Lease { lease: Lease::Detached }),
        event("viewers", RunEvent::Viewers { typing: 1, watching: 0 }),
        event("event-later", RunEvent::Unknown),
    ]
}

fn from_client() -> Vec<Message> {
    let event = |name, event: Upward| message("Upward", name, event);
    vec![
        event("signal", Upward::Signal { name: "INT".into() }),
        event("stop", Upward::Stop { stream: 1 }),
        event("resize", Upward::Resize(WINDOW)),
        event("lease", Upward::Lease { lease: Lease::Ms(60_000) }),
        event("leave", Upward::Leave),
        event("refresh", Upward::Refresh),
        event("upward-later", Upward::Unknown),
    ]
}

const SESSION: &str = "q3s7k2m9x0ab";
const WINDOW: Window = Window { rows: 50, cols: 120, xpixel: 960, ypixel: 1_000 };
