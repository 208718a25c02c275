//! What is said where one file is written survives its way (PROTOCOL 7.7).

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tow_proto::json;
use tow_proto::message::{
    Copy, CopyReply, EntryKind, Exists, Failure, Known, Mtime, Request, Set, StatReply, Stored,
    UploadId, UploadRm, UploadStat, Write, WriteEvent, WriteReply,
};

use super::{any_name, any_offset, any_refusal};

proptest! {
    #[test]
    fn what_answers_a_write_survives_json(event in any_event(), copied in any_copied()) {
        prop_assert_eq!(json::from_slice::<WriteEvent>(&json::to_vec(&event))?, event);
        prop_assert_eq!(json::from_slice::<CopyReply>(&json::to_vec(&copied))?, copied);
    }

    #[test]
    fn an_upload_is_named_by_few_plain_letters(name in ".{0,70}") {
        let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
        let is_fine = (1..=64).contains(&name.len()) && name.chars().all(is_plain);
        prop_assert_eq!(UploadId::try_from(name.clone()).is_ok(), is_fine);
        let read = json::from_slice::<UploadId>(&json::to_vec(&name));
        prop_assert_eq!(read.is_ok(), is_fine);
    }
}

pub(crate) fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        any_write().prop_map(|write| Request::Write(Box::new(write))),
        (any_name(), any_upload())
            .prop_map(|(path, upload)| Request::UploadStat(UploadStat { path, upload })),
        (any_name(), any_upload())
            .prop_map(|(path, upload)| Request::UploadRm(UploadRm { path, upload })),
        (any_name(), any_name(), any::<bool>())
            .prop_map(|(from, to, replace)| Request::Copy(Copy { from, to, replace })),
        (any_name(), option::of(any::<u32>()), option::of(any_time()))
            .prop_map(|(path, mode, mtime)| Request::Set(Set { path, mode, mtime })),
    ]
}

fn any_write() -> impl Strategy<Value = Write> {
    let what = (any_name(), any_offset(), any::<bool>(), option::of(any_upload()));
    let how = (option::of(any_offset()), option::of(any::<u32>()), option::of(any_time()));
    (what, how, any::<bool>(), any_exists()).prop_map(
        |((path, from, last, upload), (size, mode, mtime), parents, exists)| Write {
            path,
            from,
            last,
            upload,
            size,
            mode,
            mtime,
            parents,
            exists,
        },
    )
}

fn any_exists() -> impl Strategy<Value = Exists> {
    let known = (any_offset(), any_offset(), any_offset(), any_time(), any_time()).prop_map(
        |(device, inode, size, mtime, ctime)| Known { device, inode, size, mtime, ctime },
    );
    prop_oneof![Just(Exists::Replace), Just(Exists::Keep), known.prop_map(Exists::If)]
}

fn any_event() -> impl Strategy<Value = WriteEvent> {
    let stored = (any_name(), any_offset(), any_time(), any::<bool>());
    prop_oneof![
        stored.prop_map(|(path, size, mtime, created)| {
            let stat = StatReply {
                path,
                kind: EntryKind::File,
                size,
                mode: 0o644,
                uid: 0,
                gid: 0,
                links: 1,
                device: size,
                inode: size,
                mtime,
                ctime: mtime,
                atime: mtime,
                target: None,
            };
            WriteEvent::Stored(Box::new(Stored { created, stat }))
        }),
        any_offset().prop_map(|at| WriteEvent::Written(WriteReply { at })),
        Just(WriteEvent::Unknown),
    ]
}

fn any_copied() -> impl Strategy<Value = CopyReply> {
    let failure = (any_name(), any_refusal()).prop_map(|(path, why)| Failure::new(path, why));
    (any_offset(), any_offset(), vec(failure, 0..3))
        .prop_map(|(copied, failed, failures)| CopyReply { copied, failed, failures })
}

fn any_upload() -> impl Strategy<Value = UploadId> {
    "[A-Za-z0-9_-]{1,64}".prop_map(|text| UploadId::try_from(text).expect("a name"))
}

fn any_time() -> impl Strategy<Value = Mtime> {
    (any::<i64>(), any::<u32>()).prop_map(|(secs, nanos)| Mtime(secs, nanos))
}
