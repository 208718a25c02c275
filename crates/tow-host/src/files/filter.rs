//! What is left out of a transfer: what the options exclude, what the `.gitignore` files of the tree
//! say where they are to be obeyed, the directory of backups, and partial files always.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, fstat};
use rustix::io::{Errno, pread};
use tow_proto::message::EntryKind;
use tow_proto::transfer::Options;
use tow_proto::{ByteString, Code, Refusal};

use super::meta::kind_of;
use super::partial::is_partial_name;
use super::tree::join;
use crate::beneath::open_within;

/// The rules that hold in one directory. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    rules: Arc<Rules>,
    /// The innermost of the `.gitignore` files on the way from the top.
    innermost: Option<Arc<Ignored>>,
}

#[derive(Debug)]
struct Rules {
    exclude: Gitignore,
    backup: Option<Vec<u8>>,
    is_obeying: bool,
}

/// What a `.gitignore` file says.
#[derive(Debug)]
struct Ignored {
    /// Length of the path of its directory, with the slash after it.
    prefix_len: usize,
    patterns: Gitignore,
    outer: Option<Arc<Ignored>>,
}

impl Filter {
    /// What `options` leave out, at the top of the tree.
    ///
    /// # Errors
    /// [`Code::BadArgument`] about a pattern that can't be understood, [`Code::TooLong`] over
    /// [`PATTERNS_MAX`].
    pub(super) fn new(options: &Options) -> Result<Self, Refusal> {
        if options.exclude.len() > PATTERNS_MAX {
            return Err(Refusal::new(Code::TooLong).with_count(PATTERNS_MAX as u64));
        }
        let mut builder = GitignoreBuilder::new("");
        for pattern in &options.exclude {
            let refuse = || Refusal::about(Code::BadArgument, pattern.clone());
            let line = std::str::from_utf8(pattern.as_bytes()).map_err(|_| refuse())?;
            builder.add_line(None, line).map_err(|_| refuse())?;
        }
        let exclude = builder.build().map_err(|_| Refusal::new(Code::BadArgument))?;
        let backup = options.backup.as_ref().map(ByteString::as_bytes).map(without_slashes);
        let backup = backup.filter(|path| !path.is_empty()).map(<[u8]>::to_vec);
        let rules = Rules { exclude, backup, is_obeying: options.gitignore };
        Ok(Self { rules: Arc::new(rules), innermost: None })
    }

    /// The rules within the directory `dir`, which lies at `path`: those here, and its `.gitignore`
    /// file where there is one that is to be obeyed and can be read.
    pub(super) fn enter(&self, dir: &OwnedFd, path: &[u8]) -> Self {
        let mut inner = self.clone();
        if self.rules.is_obeying
            && let Some(patterns) = read_gitignore(dir)
        {
            let prefix_len = if path.is_empty() { 0 } else { path.len() + 1 };
            let outer = inner.innermost.take();
            inner.innermost = Some(Arc::new(Ignored { prefix_len, patterns, outer }));
        }
        inner
    }

    /// Whether `name` in the directory at `dir_path`, whose rules these are, is left out.
    pub(super) fn excludes(&self, dir_path: &[u8], name: &[u8], is_dir: bool) -> bool {
        if is_partial_name(name) {
            return true;
        }
        if self.rules.exclude.is_empty() && self.rules.backup.is_none() && self.innermost.is_none()
        {
            return false;
        }
        let path = join(dir_path, name);
        if self.rules.backup.as_ref() == Some(&path) {
            return true;
        }
        match self.rules.exclude.matched(as_path(&path), is_dir) {
            Match::Ignore(_) => return true,
            Match::Whitelist(_) => return false,
            Match::None => {}
        }
        let mut next = self.innermost.as_deref();
        while let Some(ignored) = next {
            let inner = path.get(ignored.prefix_len..).unwrap_or_default();
            match ignored.patterns.matched(as_path(inner), is_dir) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => next = ignored.outer.as_deref(),
            }
        }
        false
    }
}

/// The patterns of a directory's `.gitignore`; lines that are no patterns are passed over.
fn read_gitignore(dir: &OwnedFd) -> Option<Gitignore> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = open_within(dir, b".gitignore", flags, Mode::empty()).ok()?;
    if kind_of(&fstat(&file).ok()?) != EntryKind::File {
        return None;
    }
    let mut text = vec![0; GITIGNORE_LEN_MAX];
    let mut len = 0;
    while len < text.len() {
        match pread(&file, &mut text[len..], len as u64) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    let text = text.get(..len)?;
    let mut builder = GitignoreBuilder::new("");
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    for line in text.split(|byte| *byte == b'\n').take(PATTERNS_MAX) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Ok(line) = std::str::from_utf8(line) {
            let _ = builder.add_line(None, line);
        }
    }
    builder.build().ok().filter(|patterns| !patterns.is_empty())
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn without_slashes(mut path: &[u8]) -> &[u8] {
    while let [rest @ .., b'/'] = path {
        path = rest;
    }
    while let [b'/', rest @ ..] = path {
        path = rest;
    }
    path
}

/// Most patterns of the options, and of one `.gitignore` file.
pub(super) const PATTERNS_MAX: usize = 10_000;
/// What of a `.gitignore` file is read, in bytes.
const GITIGNORE_LEN_MAX: usize = 256 << 10;

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
