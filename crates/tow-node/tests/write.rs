//! Writing single files over real links: rights, cuts, two writers at once, and ends that are wrong
//! (PROTOCOL 7.7).

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod node_support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use node_support::{DEADLINE, TestNode, ask, grant, last_refusal, next};
use serde_json::Value;
use tokio::time::timeout;
use tow_net::Link;
use tow_node::ask::edit::{Existing, copy, set};
use tow_node::ask::write::{Writer, Written, upload_rm, upload_stat};
use tow_node::ask::{AskError, Client, Connection, Target};
use tow_node::grant::Right;
use tow_node::identity::Identity;
use tow_proto::content::Tally;
use tow_proto::message::{
    Copy, CopyReply, End, Exists, Mtime, Request, STDOUT, Set, StatReply, UploadId, UploadRm,
    UploadStat, Write, WriteEvent, WriteReply,
};
use tow_proto::{ByteString, Code, Kind, json};
use tow_testkit::{TempDir, names_in, noise};

fn path(dir: &TempDir, name: &str) -> ByteString {
    dir.join(name).to_str().unwrap().into()
}

fn id() -> UploadId {
    UploadId::try_from("up".to_owned()).unwrap()
}

/// A part of the upload `up`.
fn part(path: ByteString, from: u64) -> Write {
    Write { from, last: false, upload: Some(id()), ..Write::whole(path) }
}

fn request(write: Write) -> Request {
    Request::Write(Box::new(write))
}

fn end(bytes: &[u8]) -> Vec<u8> {
    let mut tally = Tally::default();
    tally.update(bytes);
    json::to_vec(&End { stream: STDOUT, total: tally.bytes(), blake3: tally.hash() })
}

async fn connect(node: &TestNode, identity: &Identity) -> Connection {
    let client = Client::new(identity, "test", "laptop").unwrap();
    let target = Target { addresses: vec![node.address.clone()], key: Some(node.key) };
    client.connect(&target).await.unwrap()
}

async fn event(link: &mut Link) -> WriteEvent {
    json::from_slice(&next(link).await.payload).unwrap()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, AskError>) -> Code {
    match result {
        Err(AskError::Refused(refusal)) => refusal.code,
        other => panic!("no refusal: {other:?}"),
    }
}

/// Begins once the node has noticed that the link before was lost.
async fn begin_again(link: &mut Link, write: Write) -> WriteReply {
    let begin = async {
        loop {
            match ask::<WriteReply>(link, &request(write.clone())).await {
                Err(refusal) if refusal.code == Code::Busy => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                reply => return reply.unwrap(),
            }
        }
    };
    timeout(DEADLINE, begin).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_up_in_one_channel_and_the_link_serves_the_next() {
    let (dir, device) = (TempDir::new(), Identity::generate().unwrap());
    let node = TestNode::start("write", vec![grant(&device, &[Right::Write])]);
    let mut connection = connect(&node, &device).await;
    let bytes = noise(9_000_000, 1);
    let whole = Write { mode: Some(0o640), ..Write::whole(path(&dir, "a")) };
    let mut writer = Writer::begin(&mut connection, whole).await.unwrap();
    assert_eq!(writer.at(), 0);
    for portion in bytes.chunks(1_300_000) {
        writer.send(portion).await.unwrap();
    }
    assert_eq!(writer.at(), 9_000_000);
    let Written::Stored(stored) = writer.finish().await.unwrap() else { panic!("it is the last") };
    assert!(stored.created);
    assert_eq!((stored.stat.size, stored.stat.mode), (9_000_000, 0o640));
    assert_eq!(fs::read(dir.join("a")).unwrap(), bytes);
    // Beside the source of its bytes, a writer that waits keeps the link.
    let mut writer = Writer::begin(&mut connection, part(path(&dir, "b"), 0)).await.unwrap();
    writer.send(b"one").await.unwrap();
    assert!(timeout(Duration::from_millis(50), writer.failed()).await.is_err());
    assert_eq!(writer.finish().await.unwrap(), Written::Part { at: 3 });
    assert_eq!(upload_stat(&mut connection, path(&dir, "b"), id()).await.unwrap(), 3);
    upload_rm(&mut connection, path(&dir, "b"), id()).await.unwrap();
    let gone = upload_stat(&mut connection, path(&dir, "b"), id()).await;
    assert_eq!(refused(gone), Code::NotFound);
    assert_eq!(names_in(dir.path()), ["a"]);
    let audit = node.audit();
    let line = audit.iter().find(|line| line["what"] == "write").unwrap();
    assert_eq!((&line["outcome"], &line["bytes"]), (&"ok".into(), &9_000_000.into()), "{line}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_rights_nothing_is_written_copied_set_or_told() {
    let dir = TempDir::new();
    fs::write(dir.join("a"), "old").unwrap();
    let devices: Vec<_> = Right::ALL.iter().map(|_| Identity::generate().unwrap()).collect();
    let mut grants = Vec::new();
    for (device, right) in devices.iter().zip(Right::ALL) {
        // Everything but this one.
        let rights: Vec<_> = Right::ALL.into_iter().filter(|one| *one != right).collect();
        grants.push(grant(device, &rights));
    }
    let node = TestNode::start("write-rights", grants);
    let new = || path(&dir, "new");
    let copying = Request::Copy(Copy { from: path(&dir, "a"), to: new(), replace: false });
    let others = [
        request(Write::whole(new())),
        Request::UploadStat(UploadStat { path: new(), upload: id() }),
        Request::UploadRm(UploadRm { path: new(), upload: id() }),
        Request::Set(Set { path: path(&dir, "a"), mode: Some(0o777), mtime: None }),
    ];
    for (device, missing) in devices.iter().zip(Right::ALL) {
        let mut link = node.link(device).await;
        for request in others.iter().chain([&copying]) {
            let is_copy = matches!(request, Request::Copy(_));
            if missing != Right::Write && !(is_copy && missing == Right::Read) {
                continue;
            }
            let refusal = ask::<Value>(&mut link, request).await.unwrap_err();
            let right = missing.to_string();
            assert_eq!((refusal.code, refusal.right), (Code::NoRight, Some(right)), "{request:?}");
        }
    }
    assert_eq!(names_in(dir.path()), ["a"]);
    let verbs: Vec<_> = node.audit().iter().map(|line| line["what"].to_string()).collect();
    for verb in ["write", "upload_stat", "upload_rm", "copy", "set"] {
        assert!(verbs.contains(&format!("\"{verb}\"")), "{verbs:?}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_upload_that_is_cut_goes_on_at_its_offset() {
    let (dir, device) = (TempDir::new(), Identity::generate().unwrap());
    fs::write(dir.join("a"), "old").unwrap();
    let node = TestNode::start("write-cut", vec![grant(&device, &[Right::Write])]);
    let bytes = noise(3_000_000, 2);
    let mut link = node.link(&device).await;
    let begun: WriteReply = ask(&mut link, &request(part(path(&dir, "a"), 0))).await.unwrap();
    assert_eq!(begun.at, 0);
    for portion in bytes[..2_000_000].chunks(500_000) {
        link.send(Kind::Data, portion);
    }
    timeout(DEADLINE, link.flushed()).await.unwrap().unwrap();
    drop(link);
    let mut link = node.link(&device).await;
    let stat = Request::UploadStat(UploadStat { path: path(&dir, "a"), upload: id() });
    let arrived = async {
        loop {
            match ask::<WriteReply>(&mut link, &stat).await {
                Ok(WriteReply { at: 2_000_000 }) => return,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(DEADLINE, arrived).await.expect("all of it arrived");
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"old");
    let last = Write { last: true, size: Some(3_000_000), ..part(path(&dir, "a"), 2_000_000) };
    assert_eq!(begin_again(&mut link, last).await.at, 2_000_000);
    link.send(Kind::Data, &bytes[2_000_000..]);
    link.send(Kind::End, &end(&bytes[2_000_000..]));
    let WriteEvent::Stored(stored) = event(&mut link).await else { panic!("it is the last") };
    assert_eq!((stored.created, stored.stat.size), (false, 3_000_000));
    assert_eq!(fs::read(dir.join("a")).unwrap(), bytes);
    assert_eq!(names_in(dir.path()), ["a"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unnamed_write_that_is_cut_leaves_nothing() {
    let (dir, device) = (TempDir::new(), Identity::generate().unwrap());
    fs::write(dir.join("a"), "old").unwrap();
    let node = TestNode::start("write-gone", vec![grant(&device, &[Right::Write])]);
    let mut link = node.link(&device).await;
    let _: WriteReply = ask(&mut link, &request(Write::whole(path(&dir, "a")))).await.unwrap();
    link.send(Kind::Data, b"new");
    timeout(DEADLINE, link.flushed()).await.unwrap().unwrap();
    assert_eq!(names_in(dir.path()).len(), 2);
    drop(link);
    let gone = async {
        while names_in(dir.path()).len() > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(DEADLINE, gone).await.expect("the partial goes");
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"old");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_upload_has_one_writer() {
    let (dir, device) = (TempDir::new(), Identity::generate().unwrap());
    let node = TestNode::start("write-busy", vec![grant(&device, &[Right::Write])]);
    let (mut one, mut other) = (connect(&node, &device).await, connect(&node, &device).await);
    let mut writer = Writer::begin(&mut one, part(path(&dir, "a"), 0)).await.unwrap();
    let second = Writer::begin(&mut other, part(path(&dir, "a"), 0)).await.map(|_| ());
    assert_eq!(refused(second), Code::Busy);
    assert_eq!(refused(upload_rm(&mut other, path(&dir, "a"), id()).await), Code::Busy);
    writer.send(b"x").await.unwrap();
    assert_eq!(writer.finish().await.unwrap(), Written::Part { at: 1 });
    let second = Writer::begin(&mut other, part(path(&dir, "a"), 0)).await.map(|_| ());
    match second {
        Err(AskError::Refused(refusal)) => {
            assert_eq!((refusal.code, refusal.count), (Code::OutOfOrder, Some(1)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(Writer::begin(&mut other, part(path(&dir, "a"), 1)).await.unwrap().at(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_is_wrong_publishes_nothing_and_takes_back_what_came_with_it() {
    let (dir, device) = (TempDir::new(), Identity::generate().unwrap());
    fs::write(dir.join("a"), "old").unwrap();
    let node = TestNode::start("write-corrupt", vec![grant(&device, &[Right::Write])]);
    for wrong in [end(b"nex"), end(b"ne"), end(b"")] {
        for write in [Write::whole(path(&dir, "a")), part(path(&dir, "a"), 0)] {
            let mut link = node.link(&device).await;
            assert_eq!(begin_again(&mut link, write).await.at, 0);
            link.send(Kind::Data, b"new");
            link.send(Kind::End, &wrong);
            assert_eq!(last_refusal(&mut link).await.code, Code::Corrupt);
            assert_eq!(names_in(dir.path()), ["a"]);
        }
    }
    // What has no place: heads and data of another stream.
    let later = json::to_vec(&Request::Status);
    for (kind, payload) in [(Kind::Head, later.as_slice()), (Kind::DataErr, b"x")] {
        let mut link = node.link(&device).await;
        let _: WriteReply = ask(&mut link, &request(Write::whole(path(&dir, "a")))).await.unwrap();
        link.send(kind, payload);
        assert_eq!(last_refusal(&mut link).await.code, Code::OutOfOrder);
    }
    assert_eq!(fs::read(dir.join("a")).unwrap(), b"old");
    assert_eq!(names_in(dir.path()), ["a"]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_in_the_middle_is_said_to_who_sends() {
    let (dir, device) = (TempDir::new(), Identity::generate().unwrap());
    fs::write(dir.join("a"), "old").unwrap();
    let node = TestNode::start("write-long", vec![grant(&device, &[Right::Write])]);
    let mut connection = connect(&node, &device).await;
    let short = Write { size: Some(1_000), ..Write::whole(path(&dir, "a")) };
    let mut writer = Writer::begin(&mut connection, short).await.unwrap();
    let mut failed = writer.send(&noise(100_000, 3)).await;
    if failed.is_ok() {
        failed = Err(timeout(DEADLINE, writer.failed()).await.unwrap());
    }
    assert_eq!(refused(failed), Code::TooLong);
    let mut connection = connect(&node, &device).await;
    let keep = Write { exists: Exists::Keep, ..Write::whole(path(&dir, "late")) };
    let mut writer = Writer::begin(&mut connection, keep.clone()).await.unwrap();
    writer.send(b"new").await.unwrap();
    fs::write(dir.join("late"), "faster").unwrap();
    assert_eq!(refused(writer.finish().await), Code::Exists);
    let mut connection = connect(&node, &device).await;
    // A refusal in place of the reply leaves the link as it is.
    for _ in 0..2 {
        let again = Writer::begin(&mut connection, keep.clone()).await.map(|_| ());
        assert_eq!(refused(again), Code::Exists);
    }
    assert_eq!(fs::read(dir.join("late")).unwrap(), b"faster");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_copied_and_a_mode_is_set() {
    let (dir, device) = (TempDir::new(), Identity::generate().unwrap());
    fs::create_dir(dir.join("a")).unwrap();
    fs::write(dir.join("a/file"), "content").unwrap();
    symlink("file", dir.join("a/link")).unwrap();
    let rights = [Right::Read, Right::Write];
    let node = TestNode::start("write-copy", vec![grant(&device, &rights)]);
    let mut connection = connect(&node, &device).await;
    let (from, to) = (path(&dir, "a"), path(&dir, "b"));
    let copied = copy(&mut connection, from.clone(), to.clone(), Existing::Kept).await.unwrap();
    assert_eq!(copied, CopyReply { copied: 3, ..CopyReply::default() });
    assert_eq!(fs::read(dir.join("b/file")).unwrap(), b"content");
    assert_eq!(fs::read_link(dir.join("b/link")).unwrap(), Path::new("file"));
    let again = copy(&mut connection, from, to, Existing::Kept).await;
    assert_eq!(refused(again), Code::Exists);
    let time = Some(Mtime(1_700_000_000, 0));
    let stat: StatReply =
        set(&mut connection, path(&dir, "b/file"), Some(0o600), time).await.unwrap();
    assert_eq!((stat.mode, Some(stat.mtime)), (0o600, time));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_something_with_files_is_told_where_they_are() {
    let dir = TempDir::new();
    fs::create_dir(dir.join("start")).unwrap();
    let real = dir.path().canonicalize().unwrap();
    let bytes = |path: &Path| Some(ByteString::from(path.to_str().unwrap()));
    for (number, right) in Right::ALL.into_iter().enumerate() {
        let device = Identity::generate().unwrap();
        let mut grant = grant(&device, &[right]);
        (grant.root, grant.start) = (dir.path().to_owned(), dir.join("start"));
        let node = TestNode::start(&format!("write-welcome{number}"), vec![grant]);
        let mut connection = connect(&node, &device).await;
        let welcome = connection.welcome().await.unwrap();
        let expected = match right {
            Right::Read | Right::Write => (bytes(&real), bytes(&real.join("start"))),
            _ => (None, None),
        };
        assert_eq!((welcome.root.clone(), welcome.start.clone()), expected, "{right}");
        connection.close().await;
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_that_are_too_long_for_a_welcome_are_left_out_of_it() {
    let dir = TempDir::new();
    let deep = dir.join(vec!["x".repeat(250); 14].join("/"));
    fs::create_dir_all(&deep).unwrap();
    let device = Identity::generate().unwrap();
    let mut grant = grant(&device, &[Right::Read]);
    (grant.root, grant.start) = (deep.clone(), deep);
    let node = TestNode::start("write-deep", vec![grant]);
    let mut connection = connect(&node, &device).await;
    let welcome = connection.welcome().await.unwrap();
    assert_eq!((&welcome.root, &welcome.start), (&None, &None));
    assert!(welcome.rights.read);
    connection.close().await;
    node.stop().await;
}
