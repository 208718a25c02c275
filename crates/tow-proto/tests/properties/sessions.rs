//! Random messages of `run`, `attach` and the other verbs of sessions.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tow_proto::content::Hash;
use tow_proto::message::{
    Attach, Attached, Ended, EndedBy, ExitRecord, Kill, Lease, Program, Request, Run, RunEvent,
    RunReply, SessionInfo, SessionList, SessionRm, StdinState, StreamTotal, Upward, View, Window,
};

use super::{any_name, any_number, any_offset};

/// Any request about sessions.
pub(super) fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        any_run().prop_map(|run| Request::Run(Box::new(run))),
        any_attach().prop_map(|attach| Request::Attach(Box::new(attach))),
        any::<(String, String)>()
            .prop_map(|(session, signal)| Request::Kill(Kill { session, signal })),
        any::<String>().prop_map(|session| Request::SessionRm(SessionRm { session })),
        Just(Request::Sessions),
    ]
}

fn any_run() -> impl Strategy<Value = Run> {
    (
        (
            any::<String>(),
            any_program(),
            option::of(any_name()),
            vec((any_name(), any_name()), 0..3),
        ),
        (option::of(any_number()), any_lease(), any::<bool>()),
        (option::of(any_window()), any::<String>(), any::<bool>()),
        (any_offset(), any_offset()),
    )
        .prop_map(|(what, (timeout_ms, lease, stdin), (terminal, locale, view), credit)| Run {
            id: what.0,
            program: what.1,
            cwd: what.2,
            env: what.3,
            timeout_ms,
            lease,
            stdin,
            terminal,
            locale,
            view,
            stdout_to: credit.0,
            stderr_to: credit.1,
        })
}

fn any_attach() -> impl Strategy<Value = Attach> {
    use View::{Exit, Follow, Log, Type, Watch};
    let view = prop::sample::select(vec![Type, Watch, Log, Follow, Exit]);
    let from = (option::of(any_offset()), option::of(any_offset()));
    (any::<(String, String)>(), view, option::of(any_window()), from, any_offset()).prop_map(
        |((session, writer), view, window, (stdout_from, stderr_from), room)| Attach {
            session,
            view,
            writer,
            window,
            stdout_from,
            stderr_from,
            room,
        },
    )
}

/// Any reply to `run`.
pub(super) fn any_run_reply() -> impl Strategy<Value = RunReply> {
    (any::<String>(), any_stdin()).prop_map(|(session, stdin)| RunReply { session, stdin })
}

/// Any reply to `attach`.
pub(super) fn any_attached() -> impl Strategy<Value = Attached> {
    (any::<String>(), any::<bool>(), any_offset(), any_offset(), any_stdin()).prop_map(
        |(session, terminal, stdout_from, stderr_from, stdin)| Attached {
            session,
            terminal,
            stdout_from,
            stderr_from,
            stdin,
        },
    )
}

/// Any part of a list.
pub(super) fn any_session_list() -> impl Strategy<Value = SessionList> {
    (vec(any_session(), 0..4), any::<bool>())
        .prop_map(|(sessions, more)| SessionList { sessions, more })
}

fn any_session() -> impl Strategy<Value = SessionInfo> {
    (
        (any::<(String, String)>(), any_program(), any::<bool>(), any_lease()),
        (any_number(), option::of(any_number()), option::of(any_exit())),
        (any::<(u32, u32)>(), any_offset(), any_offset()),
    )
        .prop_map(|(what, (started, ended, exit), (viewers, stdout, stderr))| SessionInfo {
            id: what.0.0,
            owner: what.0.1,
            program: what.1,
            terminal: what.2,
            started,
            lease: what.3,
            typing: viewers.0,
            watching: viewers.1,
            stdout,
            stderr,
            exit: exit.map(Box::new),
            ended,
        })
}

/// Any event of the node.
pub(super) fn any_run_event() -> impl Strategy<Value = RunEvent> {
    prop_oneof![
        any_exit().prop_map(|record| RunEvent::Exit(Box::new(record))),
        (any_offset(), any::<(u16, u16)>(), any_offset())
            .prop_map(|(at, (rows, cols), bytes)| RunEvent::Screen { at, rows, cols, bytes }),
        (any::<u8>(), any_offset(), any_offset()).prop_map(|(stream, from, to)| RunEvent::Gap {
            stream,
            from,
            to
        }),
        any_lease().prop_map(|lease| RunEvent::Lease { lease }),
        any::<(u32, u32)>().prop_map(|(typing, watching)| RunEvent::Viewers { typing, watching }),
        prop::sample::select(vec![RunEvent::StdinClosed, RunEvent::CaughtUp, RunEvent::Unknown]),
    ]
}

/// Any event of the client.
pub(super) fn any_upward() -> impl Strategy<Value = Upward> {
    prop_oneof![
        any::<String>().prop_map(|name| Upward::Signal { name }),
        any::<u8>().prop_map(|stream| Upward::Stop { stream }),
        any_window().prop_map(Upward::Resize),
        any_lease().prop_map(|lease| Upward::Lease { lease }),
        prop::sample::select(vec![Upward::Leave, Upward::Refresh, Upward::Unknown]),
    ]
}

fn any_program() -> impl Strategy<Value = Program> {
    prop_oneof![
        vec(any_name(), 0..4).prop_map(Program::Argv),
        any_name().prop_map(Program::Shell),
        Just(Program::Login),
    ]
}

fn any_lease() -> impl Strategy<Value = Lease> {
    prop_oneof![Just(Lease::Attached), Just(Lease::Detached), any_number().prop_map(Lease::Ms)]
}

fn any_window() -> impl Strategy<Value = Window> {
    any::<[u16; 4]>().prop_map(|[rows, cols, xpixel, ypixel]| Window { rows, cols, xpixel, ypixel })
}

fn any_stdin() -> impl Strategy<Value = StdinState> {
    (any_offset(), any_offset(), any_offset()).prop_map(|(from, to, window)| StdinState {
        from,
        to,
        window,
    })
}

fn any_exit() -> impl Strategy<Value = ExitRecord> {
    use EndedBy::{Itself, Lease, Node, Timeout, User};
    let ended = prop_oneof![
        any::<u8>().prop_map(Ended::Code),
        (any::<String>(), any::<u8>(), any::<bool>())
            .prop_map(|(name, number, core)| Ended::Signal { name, number, core }),
    ];
    let total = || {
        (any_offset(), any::<[u8; 32]>())
            .prop_map(|(bytes, hash)| StreamTotal { bytes, blake3: Hash(hash) })
    };
    let by = prop::sample::select(vec![Itself, Timeout, Lease, User, Node]);
    (ended, by, vec(any::<u32>(), 0..3), total(), total()).prop_map(
        |(ended, by, lingering, stdout, stderr)| ExitRecord {
            ended,
            by,
            lingering,
            stdout,
            stderr,
        },
    )
}
