//! The messages that `vectors/heads.json` names, as values.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tow_proto::classic::FileHeader;
use tow_proto::content::Tally;
use tow_proto::message::{
    Attached, AuditRequest, Confirm, Credit, End, Entry, EntryKind, Failure, FirstHead, GetReply,
    Hello, Invite, Join, JoinReply, KeyRm, Ls, Mkdir, MkdirReply, Move, MoveReply, Mtime, Put,
    PutReply, Read, ReadEvent, Remove, RemoveReply, Reply, Request, Rights, RunEvent, RunReply,
    SessionList, Stat, StatReply, Upward, Welcome,
};
use tow_proto::transfer::Options;
use tow_proto::{Blame, ByteString, Code, Refusal, json};

use crate::{sharing, transfers, writing};

/// A value, how it is written, and whether a text is read as it.
pub(crate) struct Message {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) written: String,
    pub(crate) is_read_from: Box<dyn Fn(&str) -> bool>,
}

/// All of them.
pub(crate) fn messages() -> Vec<Message> {
    let of_sessions = crate::sessions::messages();
    let heads = transfers::messages();
    let of_writing = writing::messages();
    let of_sharing = sharing::messages();
    [
        first_heads(),
        requests(),
        of_sessions,
        of_files(),
        of_writing,
        of_sharing,
        of_transfers(),
        heads,
        parts(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether `text` is read as a message of the type called `kind`.
pub(crate) fn is_understood(kind: &str, text: &str) -> bool {
    fn is<T: DeserializeOwned>(text: &str) -> bool {
        json::from_slice::<T>(text.as_bytes()).is_ok()
    }
    match kind {
        "Request" => is::<Request>(text),
        "FirstHead" => is::<FirstHead>(text),
        "Reply<RunReply>" => is::<Reply<RunReply>>(text),
        "Reply<Attached>" => is::<Reply<Attached>>(text),
        "Reply<SessionList>" => is::<Reply<SessionList>>(text),
        "RunEvent" => is::<RunEvent>(text),
        "Upward" => is::<Upward>(text),
        "Credit" => is::<Credit>(text),
        "End" => is::<End>(text),
        "ByteString" => is::<ByteString>(text),
        other => panic!("no message is called {other}"),
    }
}

/// A value under its name.
pub(crate) fn message<T>(kind: &'static str, name: &'static str, value: T) -> Message
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
{
    let written = String::from_utf8(json::to_vec(&value)).expect("JSON is text");
    let is_read_from =
        move |text: &str| json::from_slice::<T>(text.as_bytes()).is_ok_and(|read| read == value);
    Message { name, kind, written, is_read_from: Box::new(is_read_from) }
}

fn first_heads() -> Vec<Message> {
    let head = |name, head: FirstHead| message("FirstHead", name, head);
    let hello = Hello::new("tow 0.1.0", "laptop");
    let by = |join| FirstHead::Hello(Hello { join: Some(join), ..hello.clone() });
    let welcome = Welcome {
        version: 1,
        features: Vec::new(),
        agent: "tow 0.1.0".into(),
        machine: "box".into(),
        rights: Rights { run: true, read: true, ..Rights::default() },
        root: None,
        start: None,
        confirm: None,
    };
    let with_dirs =
        Welcome { root: Some("/srv".into()), start: Some("/srv/me".into()), ..welcome.clone() };
    let later =
        Refusal { blame: Blame::Link, retry: true, ..Code::Other(999).into() }.with_count(3);
    vec![
        head("hello", FirstHead::Hello(hello.clone())),
        head("hello-code", by(Join::Code { pake: pake() })),
        head("hello-ticket", by(Join::Ticket { proof: bytes_32() })),
        head("join", FirstHead::Join(JoinReply { pake: pake() })),
        head("confirm", FirstHead::Confirm(Confirm { confirm: bytes_32() })),
        head("welcome", FirstHead::Welcome(welcome)),
        head("welcome-dirs", FirstHead::Welcome(with_dirs)),
        head("refused", FirstHead::Refused(Code::UnknownKey.into())),
        head("refused-later", FirstHead::Refused(later)),
    ]
}

fn requests() -> Vec<Message> {
    let request = |name, request: Request| message("Request", name, request);
    let put = Put {
        path: "".into(),
        kind: EntryKind::Dir,
        name: "src".into(),
        source: "laptop:/home/me/src".into(),
        options: Options::default(),
    };
    let invite = Invite {
        rights: Rights { read: true, ..Rights::default() },
        root: Some("/srv".into()),
        name: Some("phone".into()),
        valid_secs: 600,
        grant_secs: None,
    };
    let brief = Invite { root: None, name: None, grant_secs: Some(86_400), ..invite };
    let rename = Move { from: "a".into(), to: "b".into(), replace: false };
    let remove = Remove { path: "a".into(), recursive: true, force: false };
    vec![
        request("ls", Request::Ls(Ls { path: "src".into(), itself: false })),
        request("stat", Request::Stat(Stat { path: "a".into(), follow: true })),
        request("read", Request::Read(Read { path: "a".into(), ..Read::default() })),
        request("read-part", Request::Read(Read { path: "a".into(), from: 4, len: Some(9) })),
        request("mkdir", Request::Mkdir(Mkdir { path: "a/b".into(), parents: true })),
        request("move", Request::Move(rename)),
        request("remove", Request::Remove(remove)),
        request("get", Request::Get(transfers::plain_get())),
        request("get-options", Request::Get(transfers::get_with_options())),
        request("put", Request::Put(put)),
        request("invite", Request::Invite(invite)),
        request("invite-brief", Request::Invite(brief)),
        request("keys", Request::Keys),
        request("key-rm", Request::KeyRm(KeyRm { key: "phone".into() })),
        request("audit", Request::Audit(AuditRequest { follow: true })),
        request("status", Request::Status),
        request("verb-later", Request::Unknown),
    ]
}

fn of_transfers() -> Vec<Message> {
    let get_ok =
        GetReply { kind: EntryKind::File, name: "a.txt".into(), source: "box:/srv/a.txt".into() };
    vec![
        message("Reply<GetReply>", "get-ok", Reply::Ok(get_ok)),
        message("Reply<PutReply>", "put-ok", Reply::Ok(PutReply { path: "/home/me/src".into() })),
    ]
}

/// What answers the verbs of single files.
fn of_files() -> Vec<Message> {
    let stat = StatReply {
        path: "/home/me/l".into(),
        kind: EntryKind::Link,
        size: 1,
        mode: 0o777,
        uid: 1_000,
        gid: 1_000,
        links: 1,
        device: 2_049,
        inode: 131_073,
        mtime: MTIME,
        ctime: Mtime(1_700_000_000, 6),
        atime: Mtime(1_700_000_000, 7),
        target: Some("a".into()),
    };
    let failures = vec![Failure::new("d/f", Code::PermissionDenied)];
    let removed = RemoveReply { removed: 2, failed: 1, failures };
    let made = MkdirReply { path: "/home/me/a/b".into(), made: true };
    let moved = MoveReply { path: "/home/me/b".into() };
    vec![
        message("Reply<StatReply>", "stat-ok", Reply::Ok(stat)),
        message("ReadEvent", "read-changed", ReadEvent::Changed),
        message("Reply<MkdirReply>", "mkdir-ok", Reply::Ok(made)),
        message("Reply<MoveReply>", "move-ok", Reply::Ok(moved)),
        message("Reply<RemoveReply>", "remove-ok", Reply::Ok(removed)),
    ]
}

fn parts() -> Vec<Message> {
    let entry = Entry {
        name: "l".into(),
        kind: EntryKind::Link,
        size: 2,
        mode: 0o777,
        mtime: MTIME,
        uid: 1_000,
        gid: 1_000,
        target: Some("\u{1b}[2J".into()),
    };
    let header = FileHeader { file_name: "a.txt".into(), file_size: 3 };
    vec![
        message("Vec<Entry>", "entries", vec![entry]),
        message("End", "end", End { stream: 1, total: 0, blake3: Tally::default().hash() }),
        message("Credit", "credit", Credit { stream: 0, to: u64::MAX }),
        message("ByteString", "name-text", ByteString::from("a/\u{e4}\n\u{202e}")),
        message("ByteString", "name-bytes", ByteString(b"a\x80".to_vec())),
        message("FileHeader", "classic-file", header),
    ]
}

fn pake() -> Vec<u8> {
    let mut message = vec![0x41];
    message.extend(0..32);
    message
}

fn bytes_32() -> Vec<u8> {
    (0..32).collect()
}

const MTIME: Mtime = Mtime(1_700_000_000, 5);
