//! Content from a node that does not say the truth, or has no patience.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "every test binary uses its own part of the fake node")]

mod fake_node;

use fake_node::{FakeNode, Talk};
use tokio::sync::mpsc;
use tow_node::ask::AskError;
use tow_node::ask::read::{Content, read};
use tow_proto::message::{EntryKind, Mtime, Read, ReadEvent, Request, STDOUT, StatReply};
use tow_proto::{Code, Kind};

fn known() -> StatReply {
    StatReply {
        path: "/a".into(),
        kind: EntryKind::File,
        size: 6,
        mode: 0o644,
        uid: 0,
        gid: 0,
        links: 1,
        device: 1,
        inode: 2,
        mtime: Mtime(1, 2),
        ctime: Mtime(1, 2),
        atime: Mtime(1, 2),
        target: None,
    }
}

/// Reads what `answer` sends; gives what came of it and the bytes that were passed on.
async fn check(
    request: Read,
    answer: impl AsyncFnOnce(&mut Talk),
) -> (Result<Content, AskError>, Vec<u8>) {
    let node = FakeNode::new();
    let (bytes, mut queue) = mpsc::channel(1);
    let client = async {
        let mut connection = node.client.connect(&node.target).await.unwrap();
        let result = read(&mut connection, request, &bytes).await;
        drop(bytes);
        result
    };
    let server = async {
        let (mut talk, request) = node.asked().await;
        assert!(matches!(request, Request::Read(_)), "{request:?}");
        answer(&mut talk).await;
        talk
    };
    let taker = async {
        let mut all = Vec::new();
        while let Some(portion) = queue.recv().await {
            all.extend(portion);
        }
        all
    };
    let (result, all, _talk) = tokio::join!(client, taker, server);
    (result, all)
}

fn all() -> Read {
    Read { path: "a".into(), ..Read::default() }
}

#[tokio::test]
async fn content_comes_with_its_end_and_with_what_is_said_of_it() {
    let (result, bytes) = check(all(), async |talk| {
        talk.ok(&known()).await;
        for byte in b"abcdef" {
            talk.stdout(&[*byte]).await;
        }
        talk.end(STDOUT, b"abcdef").await;
    })
    .await;
    assert_eq!((result.unwrap(), bytes), (Content::Whole(known()), b"abcdef".to_vec()));
    let (result, _) = check(all(), async |talk| {
        talk.ok(&known()).await;
        talk.head(&ReadEvent::Changed).await;
        talk.end(STDOUT, b"").await;
    })
    .await;
    assert_eq!(result.unwrap(), Content::Changed(known()));
}

#[tokio::test]
async fn an_end_that_is_not_that_of_the_content_is_an_error() {
    for end in [&b"abcdeg"[..], b"abcde", b"abcdefg", b""] {
        let (result, _) = check(all(), async |talk| {
            talk.ok(&known()).await;
            talk.stdout(b"abcdef").await;
            talk.end(STDOUT, end).await;
        })
        .await;
        assert!(matches!(result, Err(AskError::Protocol { .. })), "{result:?}");
    }
}

#[tokio::test]
async fn more_than_was_asked_for_is_an_error() {
    let (result, _) = check(Read { len: Some(5), ..all() }, async |talk| {
        talk.ok(&known()).await;
        talk.stdout(b"abcdef").await;
        talk.end(STDOUT, b"abcdef").await;
    })
    .await;
    assert!(matches!(result, Err(AskError::Protocol { .. })), "{result:?}");
}

#[tokio::test]
async fn a_refusal_in_the_middle_or_another_frame_ends_it() {
    let (result, _) = check(all(), async |talk| {
        talk.ok(&known()).await;
        talk.stdout(b"abc").await;
        talk.refuse(Code::Io).await;
    })
    .await;
    assert!(matches!(result, Err(AskError::Refused(refusal)) if refusal.code == Code::Io));
    let (result, _) = check(all(), async |talk| {
        talk.ok(&known()).await;
        talk.send(Kind::DataErr, b"abc").await;
    })
    .await;
    assert!(matches!(result, Err(AskError::Protocol { .. })), "{result:?}");
}

#[tokio::test]
async fn who_takes_no_more_ends_it_at_once() {
    let node = FakeNode::new();
    let (bytes, queue) = mpsc::channel(1);
    drop(queue);
    let server = async {
        let (mut talk, _) = node.asked().await;
        talk.ok(&known()).await;
        // Nothing more ever comes.
        talk
    };
    let client = async {
        let mut connection = node.client.connect(&node.target).await.unwrap();
        read(&mut connection, all(), &bytes).await.unwrap()
    };
    let (content, _talk) = tokio::join!(client, server);
    assert_eq!(content, Content::Unread);
}
