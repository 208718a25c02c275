//! The heads of transfers that `vectors/heads.json` names, as values.

use tow_proto::message::{Failure, Get, Summary};
use tow_proto::transfer::{Compress, Durable, Event, Options};
use tow_proto::{ByteString, Code};

use crate::messages::{Message, message};

/// A name that is not UTF-8, and nothing asked for beside it.
pub(crate) fn plain_get() -> Get {
    Get { path: ByteString(b"\xffa".to_vec()), options: Options::default() }
}

/// Every option.
pub(crate) fn get_with_options() -> Get {
    let options = Options {
        exact: true,
        checksum: true,
        delete: true,
        max_delete: Some(100),
        delete_all: true,
        dry_run: true,
        exclude: vec!["*.o".into(), ByteString(b"\xff".to_vec())],
        gitignore: true,
        backup: Some(".old".into()),
        archive: true,
        special: true,
        durable: Durable::File,
        whole: true,
        compress: Compress::Always,
        bwlimit: Some(1_000_000),
    };
    Get { path: "src".into(), options }
}

/// A different number in each field.
pub(crate) fn summary() -> Summary {
    Summary {
        files: 1,
        patched: 8,
        same: 2,
        dirs: 3,
        links: 4,
        hard_links: 9,
        special: 10,
        deleted: 11,
        bytes: 5,
        reused: 6,
        failed: 7,
    }
}

/// All of them.
pub(crate) fn messages() -> Vec<Message> {
    let event = |name, event: Event| message("Event", name, event);
    let paths = vec!["".into(), "a/b".into()];
    vec![
        event("transfer-have-end", Event::HaveEnd),
        event("transfer-plan", Event::Plan { files: 2, bytes: 1 << 53 }),
        event("transfer-list", Event::List { paths }),
        event("transfer-pieces", Event::Pieces { path: "a".into() }),
        event("transfer-blocks", Event::Blocks { path: "a".into(), len: 8_192, seed: 77 }),
        event("transfer-at", Event::At { offset: 1_048_576 }),
        event("transfer-hole", Event::Hole { len: 4_096 }),
        event("transfer-break", Event::Break),
        event("transfer-failed", Event::Failed(Failure::new("f", Code::PermissionDenied))),
        event("transfer-finish", Event::Finish),
        event("transfer-stored", Event::Stored(summary())),
        event("transfer-later", Event::Unknown),
    ]
}
