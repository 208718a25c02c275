//! The messages of PROTOCOL 7.7 that `vectors/heads.json` names, as values.

use tow_proto::Code;
use tow_proto::message::{
    Copy, CopyReply, EntryKind, Exists, Failure, Known, Mtime, Reply, Request, Set, StatReply,
    Stored, UploadId, UploadRm, UploadRmReply, UploadStat, Write, WriteEvent, WriteReply,
};

use crate::messages::{Message, message};

pub(crate) fn messages() -> Vec<Message> {
    [requests(), answers()].into_iter().flatten().collect()
}

fn requests() -> Vec<Message> {
    let request = |name, request: Request| message("Request", name, request);
    let write = |write| Request::Write(Box::new(write));
    let known = Known {
        device: 2_049,
        inode: 131_073,
        size: 5,
        mtime: Mtime(1_700_000_000, 5),
        ctime: Mtime(1_700_000_000, 6),
    };
    let part = Write {
        from: 1_000,
        last: false,
        upload: Some(upload()),
        size: Some(5_000),
        mode: Some(0o640),
        mtime: Some(Mtime(1_700_000_000, 5)),
        parents: true,
        exists: Exists::If(known),
        ..Write::whole("a")
    };
    let keep = Write { exists: Exists::Keep, ..Write::whole("a") };
    let set = Set { path: "a".into(), mode: Some(0o644), mtime: Some(Mtime(1_700_000_000, 0)) };
    vec![
        request("write", write(Write::whole("a"))),
        request("write-keep", write(keep)),
        request("write-part", write(part)),
        request(
            "upload-stat",
            Request::UploadStat(UploadStat { path: "a".into(), upload: upload() }),
        ),
        request("upload-rm", Request::UploadRm(UploadRm { path: "a".into(), upload: upload() })),
        request("copy", Request::Copy(Copy { from: "a".into(), to: "b".into(), replace: false })),
        request("set", Request::Set(set)),
        request("set-nothing", Request::Set(Set { path: "a".into(), mode: None, mtime: None })),
    ]
}

fn answers() -> Vec<Message> {
    let stat = StatReply {
        path: "/home/me/a".into(),
        kind: EntryKind::File,
        size: 5,
        mode: 0o644,
        uid: 1_000,
        gid: 1_000,
        links: 1,
        device: 2_049,
        inode: 131_074,
        mtime: Mtime(1_700_000_000, 5),
        ctime: Mtime(1_700_000_000, 6),
        atime: Mtime(1_700_000_000, 7),
        target: None,
    };
    let stored = WriteEvent::Stored(Box::new(Stored { created: true, stat }));
    let failures = vec![Failure::new("pipe", Code::SpecialFile)];
    let copied = CopyReply { copied: 12, failed: 1, failures };
    vec![
        message("Reply<WriteReply>", "write-ok", Reply::Ok(WriteReply { at: 1_000 })),
        message("WriteEvent", "write-stored", stored),
        message("WriteEvent", "write-written", WriteEvent::Written(WriteReply { at: 5_000 })),
        message("Reply<UploadRmReply>", "upload-rm-ok", Reply::Ok(UploadRmReply {})),
        message("Reply<CopyReply>", "copy-ok", Reply::Ok(copied)),
    ]
}

fn upload() -> UploadId {
    UploadId::try_from("up-1".to_owned()).expect("a name")
}
