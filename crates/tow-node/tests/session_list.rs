//! The list of a machine's sessions, from the asking side (PROTOCOL 7.5).

#![allow(clippy::unwrap_used)] // Clippy knows tests by their attribute, not by their directory.

#[allow(dead_code, reason = "every test binary uses its own part")]
mod fake_node;

use fake_node::{FakeNode, both};
use tow_node::ask::AskError;
use tow_node::ask::sessions::sessions;
use tow_proto::message::{Lease, Program, Request, SessionInfo, SessionList};

#[tokio::test]
async fn a_list_of_sessions_comes_in_parts_and_is_not_endless() {
    let node = FakeNode::new();
    let client = async {
        let mut connection = node.client.connect(&node.target).await?;
        sessions(&mut connection).await
    };
    let script = async |pages: usize, per_page: usize| {
        let (mut talk, request) = node.asked().await;
        assert_eq!(request, Request::Sessions);
        for page in 1..=pages {
            let sessions = vec![info(); per_page];
            talk.ok(&SessionList { sessions, more: page < pages }).await;
        }
        talk.gone().await;
    };
    let (list, ()) = both(client, script(3, 100)).await;
    assert_eq!(list.unwrap().len(), 300);
    for (pages, per_page) in [(200, 100), (3, 0)] {
        let client = async {
            let mut connection = node.client.connect(&node.target).await?;
            sessions(&mut connection).await
        };
        let (list, ()) = both(client, script(pages, per_page)).await;
        assert!(matches!(list, Err(AskError::Protocol { .. })), "{pages} parts of {per_page}");
    }
}

fn info() -> SessionInfo {
    SessionInfo {
        id: "s-1".into(),
        owner: "uid:0".into(),
        program: Program::Login,
        terminal: true,
        started: 1,
        lease: Lease::Attached,
        typing: 0,
        watching: 0,
        stdout: 0,
        stderr: 0,
        exit: None,
        ended: None,
    }
}
