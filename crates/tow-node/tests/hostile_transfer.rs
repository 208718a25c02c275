//! A node that means harm, and what comes of it at a client that fetches from it or sends to it: a
//! refusal, and nothing outside of the destination.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(dead_code, reason = "every test binary uses its own part of the fake node")]

mod fake_node;

use std::fs;
use std::os::unix::fs::symlink;

use fake_node::{FakeNode, Talk, both};
use tow_node::ask::AskError;
use tow_node::ask::get::get;
use tow_node::ask::put::put;
use tow_node::transfer::{Outcome, Run};
use tow_proto::message::{EntryKind, GetReply, PutReply, Request, STDOUT};
use tow_proto::transfer::{
    Columns, Digest, Entry, Event, How, Listing, Meta, Options, Pack, PackWriter, Record, What,
};
use tow_proto::{Code, Kind, json};
use tow_testkit::{TempDir, files_beneath};

fn pack(records: &[Record<'_>]) -> Vec<u8> {
    let mut writer = PackWriter::new(0, Columns::default());
    records.iter().for_each(|record| writer.record(record));
    writer.seal(None)
}

fn meta() -> Meta {
    Meta { mode: 0o644, ..Meta::default() }
}

fn dir(path: &[u8]) -> Record<'_> {
    Record::Dir { path, meta: Meta { mode: 0o755, ..Meta::default() } }
}

fn file<'a>(name: &'a str, content: &'a [u8]) -> Record<'a> {
    Record::File { name: name.as_bytes(), meta: meta(), content }
}

fn large(path: &str, size: u64) -> Record<'_> {
    Record::Large { path: path.as_bytes(), meta: meta(), size, how: How::Whole }
}

/// Fetches a tree from a node that says what `talk` does; gives what came of it and what is there.
async fn fetch(
    reply_name: &str,
    node_says: impl AsyncFnOnce(&mut Talk),
) -> (Result<Outcome, AskError>, TempDir) {
    let (node, temp) = (FakeNode::new(), TempDir::new());
    fs::create_dir_all(temp.join("here/dest")).unwrap();
    fs::create_dir(temp.join("outside")).unwrap();
    fs::write(temp.join("outside/victim"), b"old").unwrap();
    let client = async {
        let mut connection = node.client.connect(&node.target).await.unwrap();
        get(&mut connection, "tree".into(), &temp.join("here/dest"), Run::default()).await
    };
    let server = async {
        let (mut talk, request) = node.asked().await;
        assert!(matches!(request, Request::Get(_)), "{request:?}");
        let name = reply_name.into();
        talk.ok(&GetReply { kind: EntryKind::Dir, name, source: "box:/tree".into() }).await;
        node_says(&mut talk).await;
        talk.gone().await;
    };
    let (result, ()) = both(client, server).await;
    let outside = fs::read(temp.join("outside/victim")).unwrap();
    assert_eq!(outside, b"old", "the victim was written");
    assert_eq!(fs::read_dir(temp.join("outside")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
    assert_eq!(fs::read_dir(temp.join("here")).unwrap().count(), 1);
    (result, temp)
}

#[track_caller]
fn code(result: Result<Outcome, AskError>) -> Code {
    match result {
        Err(AskError::Here(refusal)) => refusal.code,
        other => panic!("no refusal: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_names_the_tree_wrongly_is_refused() {
    for name in ["..", ".", "", "a/b", "/etc", "../outside"] {
        let (result, temp) = fetch(name, async |_| {}).await;
        assert_eq!(code(result), Code::BadName, "{name}");
        assert!(files_beneath(&temp.join("here/dest")).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_lead_out_end_the_transfer() {
    let outside = "../../../outside/victim";
    let wrong: Vec<Vec<Record<'_>>> = vec![
        vec![dir(b""), file("../x", b"x")],
        vec![dir(b""), file(outside, b"x")],
        vec![dir(b""), file("/etc/x", b"x")],
        vec![dir(b""), file("a/b", b"x")],
        vec![dir(b"../x")],
        vec![dir(b"/x")],
        vec![dir(b"a//b")],
        vec![Record::Enter { path: b".." }],
        vec![dir(b""), large(outside, 3)],
        vec![dir(b""), Record::Delete { name: b".." }],
        vec![dir(b""), Record::Hard { name: b"x", path: outside.as_bytes() }],
        vec![dir(b""), Record::Link { name: b"../l", meta: meta(), target: b"x" }],
        vec![dir(b""), Record::Meta { name: b"../..", meta: meta() }],
    ];
    for records in wrong {
        let bytes = pack(&records);
        let (result, _temp) = fetch("tree", async |talk| talk.send(Kind::Pack, &bytes).await).await;
        assert_eq!(code(result), Code::BadName, "{records:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_not_written_through_and_a_name_may_come_twice() {
    let bytes = pack(&[
        dir(b""),
        Record::Link { name: b"sub", meta: meta(), target: b"../../../outside" },
        Record::Link { name: b"leaf", meta: meta(), target: b"../../../outside/victim" },
        file("leaf", b"new"),
        file("twice", b"one"),
        file("twice", b"other"),
        dir(b"sub"),
        file("victim", b"evil"),
    ]);
    let (result, temp) = fetch("tree", async |talk| {
        talk.send(Kind::Pack, &bytes).await;
        talk.send(Kind::Pack, &pack(&[large("sub/victim", 4)])).await;
        talk.stdout(b"evil").await;
        talk.end(STDOUT, b"evil").await;
        talk.head(&Event::Finish).await;
    })
    .await;
    let outcome = result.unwrap();
    assert!(outcome.summary.failed >= 2, "{outcome:?}");
    let tree = temp.join("here/dest/tree");
    assert!(tree.join("sub").is_symlink());
    assert_eq!(fs::read(tree.join("leaf")).unwrap(), b"new");
    assert!(!tree.join("leaf").is_symlink());
    assert_eq!(fs::read(tree.join("twice")).unwrap(), b"other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_that_lies_and_a_wrong_hash_show_nothing() {
    let (result, temp) = fetch("tree", async |talk| {
        talk.send(Kind::Pack, &pack(&[dir(b""), large("a", 3)])).await;
        talk.stdout(b"four").await;
    })
    .await;
    assert_eq!(code(result), Code::Malformed);
    assert!(!temp.join("here/dest/tree/a").exists());
    let (result, temp) = fetch("tree", async |talk| {
        talk.send(Kind::Pack, &pack(&[dir(b""), large("a", 5)])).await;
        talk.stdout(b"four").await;
        talk.end(STDOUT, b"four").await;
        talk.send(Kind::Pack, &pack(&[large("b", 4)])).await;
        talk.stdout(b"evil").await;
        talk.end(STDOUT, b"good").await;
        talk.head(&Event::Finish).await;
    })
    .await;
    let outcome = result.unwrap();
    let codes: Vec<Code> = outcome.failures.iter().map(|failure| failure.why.code).collect();
    assert_eq!((codes, outcome.summary.files), (vec![Code::Corrupt; 2], 0));
    assert!(files_beneath(&temp.join("here/dest/tree")).is_empty());
    let mut bytes = pack(&[dir(b""), file("a", b"content")]);
    *bytes.last_mut().unwrap() ^= 1;
    let (result, temp) = fetch("tree", async |talk| talk.send(Kind::Pack, &bytes).await).await;
    assert_eq!(code(result), Code::Corrupt);
    assert!(files_beneath(&temp.join("here/dest/tree")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_without_end_or_about_other_places_are_refused() {
    let list = |path: &str| Event::List { paths: vec![path.into()] };
    for (event, expected) in [
        (list("../../outside"), Code::BadName),
        (list("/etc"), Code::BadName),
        (Event::Pieces { path: "../x".into() }, Code::BadName),
        (Event::Blocks { path: "a".into(), len: 1000, seed: 1 }, Code::Malformed),
        (Event::List { paths: vec!["a".into(); 1_001] }, Code::TooLong),
    ] {
        let (result, _temp) = fetch("tree", async |talk| talk.head(&event).await).await;
        assert_eq!(code(result), expected, "{event:?}");
    }
    // Nobody reads the answers: what waits for them is bounded.
    let event = json::to_vec(&Event::List { paths: vec!["".into(); 1_000] });
    let (result, _temp) = fetch("tree", async |talk| {
        for _ in 0..40_000 {
            talk.send(Kind::Head, &event).await;
        }
    })
    .await;
    assert_eq!(code(result), Code::TooLong);
}

/// Sends a tree with `a/file` to a node that says what `node_says` does.
async fn send(node_says: impl AsyncFnOnce(&mut Talk)) -> (Result<Outcome, AskError>, TempDir) {
    let (node, temp) = (FakeNode::new(), TempDir::new());
    fs::create_dir_all(temp.join("tree/a")).unwrap();
    fs::write(temp.join("tree/a/file"), b"content").unwrap();
    fs::write(temp.join("secret"), b"secret").unwrap();
    symlink("../secret", temp.join("tree/link")).unwrap();
    let options = Options { delete: true, ..Options::default() };
    let client = async {
        let mut connection = node.client.connect(&node.target).await.unwrap();
        let run = Run { options, ..Run::default() };
        let sent = put(&mut connection, &temp.join("tree"), "".into(), run).await;
        sent.map(|(outcome, _)| outcome)
    };
    let server = async {
        let (mut talk, request) = node.asked().await;
        assert!(matches!(request, Request::Put(_)), "{request:?}");
        talk.ok(&PutReply { path: "/dest/tree".into() }).await;
        node_says(&mut talk).await;
        while let Some(frame) = talk.next_or_end().await {
            if frame.kind == Kind::Pack {
                let pack = Pack::open(frame.payload, Columns::default()).unwrap();
                for record in pack.records() {
                    if let Record::File { content, .. } = record.unwrap() {
                        assert_eq!(content, b"content", "something else was sent");
                    }
                }
            }
        }
    };
    let (result, ()) = both(client, server).await;
    assert_eq!(fs::read(temp.join("tree/a/file")).unwrap(), b"content");
    (result, temp)
}

fn listing(path: &str, names: &[&str]) -> Listing {
    let what = || What::File { size: 1, hash: None };
    let entry = |name: &&str| Entry { name: name.as_bytes().into(), what: what(), meta: meta() };
    let entries = names.iter().map(entry).collect();
    Listing { path: path.as_bytes().to_vec(), is_complete: true, entries }
}

#[tokio::test(flavor = "multi_thread")]
async fn listings_that_lie_end_the_transfer() {
    let wrong = [
        listing("", &["../x"]),
        listing("", &["a/b"]),
        listing("", &["b", "a"]),
        listing("", &["a", "a"]),
        listing("", &[".."]),
        listing("never/asked/for", &["x"]),
        listing("../..", &["x"]),
    ];
    for listing in wrong {
        let text = format!("{listing:?}");
        let digest = Record::Digest { path: b"", digest: Digest::default() };
        let (result, _temp) = send(async |talk| {
            talk.send(Kind::Pack, &pack(&[digest])).await;
            talk.head(&Event::HaveEnd).await;
            let mut answer = PackWriter::new(0, Columns::default());
            answer.listing(&listing, 0);
            talk.send(Kind::Pack, &answer.seal(None)).await;
        })
        .await;
        let code = code(result);
        assert!(
            [Code::Malformed, Code::BadName, Code::OutOfOrder].contains(&code),
            "{text}: {code:?}"
        );
    }
}
