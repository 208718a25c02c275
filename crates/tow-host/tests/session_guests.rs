//! What those who may only watch can do to a session of somebody else: nothing.

mod session_support;

use std::time::Duration;

use session_support::*;
use tokio::time::timeout;
use tow_host::session::{Output, Session, Start, Viewer};
use tow_proto::message::{EndedBy, View};

fn watch(session: &Session) -> Viewer {
    let start = Start { view: View::Watch, from: [None; 2], ..start_from(0, 0) };
    session.attach(&start).expect("a place")
}

#[tokio::test]
async fn a_watcher_that_leaves_ends_no_session_whose_typist_is_expected() {
    let sessions = sessions_with(|limits| limits.lease = Duration::from_secs(600));
    // Its first viewer has not come yet; its typist has lost the link; that one came back since
    // somebody left for good, and lost the link again.
    for (visits, for_good) in [(0, 0), (1, 0), (1, 1)] {
        let session = start(&sessions, argv(&["sleep", "300"])).await;
        let company = watch(&session);
        (0..for_good).for_each(|_| look(&session).leave());
        (0..visits).for_each(|_| drop(look(&session)));
        company.leave();
        // An order to end closes stdin at once, and the program is told to go.
        let later = start(&sessions, argv(&["sleep", "300"])).await;
        look(&later).leave();
        assert_eq!(exit_of(&later).await.by, EndedBy::Lease);
        assert_eq!(session.exit(), None, "{visits} {for_good}");
        look(&session).leave();
        assert_eq!(exit_of(&session).await.by, EndedBy::Lease);
    }
}

#[tokio::test]
async fn viewers_that_come_for_a_drawing_and_go_hold_up_nobody() {
    let sessions = sessions();
    let line = "stty -echo; seq 1 20000; read x; exit 3";
    let session = start(&sessions, on_terminal(300, 300, sh(line))).await;
    let mut typist = Reader::typing(&session);
    typist.until("\r\n20000\r\n").await;
    for _ in 0..200 {
        let mut guest = watch(&session);
        // As far as to begin with a drawing, or to wait for its turn.
        while timeout(Duration::ZERO, guest.next()).await.is_ok() {}
    }
    let threads = std::fs::read_dir("/proc/self/task").expect("/proc").count();
    assert!(threads < 40, "{threads} threads for what nobody looks at");
    // Whoever waited for a turn and gave up has lost nothing, and nobody else has.
    let mut guest = watch(&session);
    let is_screen = |drawn| matches!(drawn, Ok(Output::Screen { .. }));
    while !is_screen(timeout(Duration::from_millis(1), guest.next()).await) {}
    typist.types("\n");
    assert_eq!(code(&typist.end().await), 3);
}

#[tokio::test]
async fn a_list_is_given_in_parts_and_only_of_those_that_are_seen() {
    let sessions = sessions();
    let mut all = Vec::new();
    for number in 0..7 {
        let owner = if number % 2 == 0 { "one" } else { "other" };
        let begun = sessions.start(owner, &number.to_string(), argv(&["true"])).await.unwrap();
        exit_of(&begun).await;
        all.push((begun.info().started, begun.id().to_string(), owner));
    }
    all.sort_unstable();
    for owner in ["one", "other"] {
        let expected = all.iter().filter(|(_, _, of)| *of == owner).map(|(_, id, _)| id.clone());
        let expected: Vec<_> = expected.collect();
        let (mut ids, mut last) = (Vec::new(), None::<(u64, String)>);
        while ids.len() < expected.len() {
            let after = last.as_ref().map(|(started, id)| (*started, id.as_str()));
            let part = sessions.list_after(after, 2, |_, of| of == owner);
            assert!((1..=2).contains(&part.len()) && part.iter().all(|one| one.owner == owner));
            last = part.last().map(|one| (one.started, one.id.clone()));
            ids.extend(part.into_iter().map(|one| one.id));
        }
        assert_eq!(ids, expected);
        let after = last.as_ref().map(|(started, id)| (*started, id.as_str()));
        assert_eq!(sessions.list_after(after, 2, |_, of| of == owner), []);
    }
    assert_eq!(sessions.list_after(None, 9, |_, _| false), []);
}
