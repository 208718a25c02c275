//! What an archive has in it, known before its first byte is sent.

use std::collections::HashSet;

use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tow_host::files::Found;
use tow_proto::message::{EntryKind, Mtime};
use tow_proto::{ByteString, Code, Refusal};

/// An archive's entries, in their order.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) entries: Vec<Entry>,
    /// Lines of the last entry.
    errors: Vec<u8>,
    names_len: usize,
    tops: HashSet<Vec<u8>>,
}

/// Something in an archive.
#[derive(Debug)]
pub(super) struct Entry {
    /// What it is called there; a directory's name ends in a slash.
    pub(super) name: Vec<u8>,
    pub(super) what: What,
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Mtime,
}

/// What an entry is.
#[derive(Debug)]
pub(super) enum What {
    Dir,
    Link(Vec<u8>),
    /// A file that is read when it is its turn.
    File(Planned),
    /// A file of our own.
    Text(Vec<u8>),
}

/// A file as it was found: if it is another by then, there is no archive.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) path: ByteString,
    pub(super) size: u64,
    pub(super) mtime: Mtime,
    /// Where that is known.
    pub(super) identity: Option<Identity>,
}

/// What tells a file from all others, with its size and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) ctime: (i64, u32),
}

impl Plan {
    /// Whatever comes next is called `name` or is in it.
    ///
    /// # Errors
    /// [`Code::Exists`]: something is called so.
    pub(super) fn begin(&mut self, name: &[u8]) -> Result<(), Refusal> {
        let is_new = self.tops.insert(name.to_vec());
        if is_new { Ok(()) } else { Err(Refusal::about(Code::Exists, name)) }
    }

    /// How many more entries there may be.
    pub(super) fn left(&self) -> usize {
        ENTRIES_MAX.saturating_sub(self.entries.len())
    }

    /// Adds what was found beneath `path`, which is called `top` here.
    ///
    /// # Errors
    /// [`Code::TooLong`]: that are too many names.
    pub(super) fn add(
        &mut self,
        top: &[u8],
        path: &ByteString,
        found: Found,
    ) -> Result<(), Refusal> {
        let mut name = top.to_vec();
        let mut whole = path.0.clone();
        if !found.path.is_empty() {
            name.extend([b"/", &found.path[..]].concat());
            if !whole.ends_with(b"/") {
                whole.push(b'/');
            }
            whole.extend(&found.path);
        }
        self.names_len += name.len() + whole.len() + ENTRY_LEN;
        let is_too_long = name.len() > NAME_LEN_MAX;
        if self.names_len > NAMES_LEN_MAX || self.left() == 0 {
            return Err(Code::TooLong.into());
        }
        if let Some(code) = found.refused.or(is_too_long.then_some(Code::TooLong)) {
            self.refused(&name, code);
            if found.kind != EntryKind::Dir || is_too_long {
                return Ok(());
            }
        }
        let what = match (found.kind, found.target) {
            (EntryKind::Dir, _) => {
                name.push(b'/');
                What::Dir
            }
            (EntryKind::Link, Some(target)) => What::Link(target.0),
            (EntryKind::File, _) => {
                let ctime = (found.ctime.0, found.ctime.1);
                let identity = Identity { device: found.device, inode: found.inode, ctime };
                let identity = (found.inode != 0).then_some(identity);
                let (size, mtime) = (found.size, found.mtime);
                What::File(Planned { path: whole.into(), size, mtime, identity })
            }
            (EntryKind::Link | EntryKind::Special, _) => return Ok(()),
        };
        let (mode, uid, gid) = (found.mode & 0o777, found.uid, found.gid);
        self.entries.push(Entry { name, what, mode, uid, gid, mtime: found.mtime });
        Ok(())
    }

    fn refused(&mut self, name: &[u8], code: Code) {
        let line = format!("{}: {}\n", name.escape_ascii(), code.sentence());
        self.names_len += line.len();
        self.errors.extend(line.into_bytes());
    }

    /// Nothing more comes: what could not be read is told in a last entry.
    pub(super) fn finish(mut self) -> Self {
        if !self.errors.is_empty() {
            let mut name = b"tow-errors.txt".to_vec();
            while self.tops.contains(&name) {
                name.insert(0, b'_');
            }
            let what = What::Text(std::mem::take(&mut self.errors));
            // A time of its own would make the same archive another one.
            let mtime = Mtime(ERRORS_MTIME, 0);
            self.entries.push(Entry { name, what, mode: 0o644, uid: 0, gid: 0, mtime });
        }
        self
    }

    /// The same for the same content, as far as can be told without reading it.
    pub(super) fn etag(&self, form: &str) -> String {
        let mut context = Context::new(&SHA256);
        for entry in &self.entries {
            let (kind, size, inner, identity) = match &entry.what {
                What::Dir => (0_u8, 0, &[][..], None),
                What::Link(target) => (1, 0, &target[..], None),
                What::File(planned) => (2, planned.size, &[][..], planned.identity),
                What::Text(text) => (3, 0, &text[..], None),
            };
            context.update(&[kind]);
            for part in [&entry.name[..], inner] {
                context.update(&(part.len() as u64).to_le_bytes());
                context.update(part);
            }
            context.update(&size.to_le_bytes());
            for number in [entry.mode, entry.uid, entry.gid, entry.mtime.1] {
                context.update(&number.to_le_bytes());
            }
            context.update(&entry.mtime.0.to_le_bytes());
            if let Some(Identity { device, inode, ctime }) = identity {
                context.update(&device.to_le_bytes());
                context.update(&inode.to_le_bytes());
                context.update(&ctime.0.to_le_bytes());
                context.update(&ctime.1.to_le_bytes());
            }
        }
        let hash = URL_SAFE_NO_PAD.encode(&context.finish().as_ref()[..ETAG_HASH_LEN]);
        format!("\"{form}1-{hash}\"")
    }
}

impl Entry {
    /// Bytes of content.
    pub(super) fn size(&self) -> u64 {
        match &self.what {
            What::Dir => 0,
            What::Link(content) | What::Text(content) => content.len() as u64,
            What::File(planned) => planned.size,
        }
    }
}

/// Most entries of an archive.
pub(super) const ENTRIES_MAX: usize = 200_000;
/// Most bytes that a plan takes up.
const NAMES_LEN_MAX: usize = 128 << 20;
/// What an entry takes up beside its names.
const ENTRY_LEN: usize = size_of::<Entry>();
/// Longest name in a zip.
const NAME_LEN_MAX: usize = 65_000;
/// 1980-01-01, where the time of a zip begins.
const ERRORS_MTIME: i64 = 315_532_800;
const ETAG_HASH_LEN: usize = 18;
