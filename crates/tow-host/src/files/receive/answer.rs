//! The half of the receiving end that says what is there: digests of all directories first, then
//! whatever the sender asks. It changes nothing, but for what killed transfers left.

use std::ops::ControlFlow;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, fstat, statat, unlinkat};
use rustix::io::{Errno, pread};
use tow_proto::frame::PREFIX_LEN;
use tow_proto::transfer::{
    BLOCKS_MAX, Compress, Entry, Event, Listing, Meta, PackWriter, PieceHash, PieceTally, Pieces,
    Question, Record, Signature, What, sign,
};
use tow_proto::{ByteString, Code};

use super::Shared;
use super::destination::{Place, Tells};
use super::dirs::Dir;
use super::incoming::open_plain;
use super::large::read_piece;
use super::parts::Part;
use crate::beneath::split_last;
use crate::files::Progress;
use crate::files::filter::Filter;
use crate::files::item::Item;
use crate::files::meta::size_of_file;
use crate::files::partial::may_be_ours;
use crate::files::scan::{Look, Scanned, Specials, scan_tree};
use crate::files::tree::{check_inner_path, join, open_dir};

/// Says what is there already. Runs on a thread of its own, beside the [`super::Receiver`]'s.
#[derive(Debug)]
pub struct Answerer {
    shared: Arc<Shared>,
    filter: Filter,
    look: Look,
}

/// Where items for the sender go.
type Emit<'a> = &'a mut dyn FnMut(Item) -> ControlFlow<()>;

impl Answerer {
    pub(super) fn new(shared: Arc<Shared>, filter: Filter) -> Self {
        let stop = Arc::clone(&shared.stop.0);
        let look = Look::new(&shared.options, Specials::Listed).until(stop);
        Self { shared, filter, look }
    }

    /// The digests of all directories that are there, and that these were all. What a killed transfer
    /// of the same name left is removed on the way.
    pub fn have(&mut self, emit: Emit<'_>) -> ControlFlow<()> {
        let mut packs = Packs::new(&self.shared, emit);
        match &self.shared.place {
            _ if self.shared.tells == Tells::Nothing => {}
            Place::Nowhere => {}
            Place::File { dir, name, sent } => {
                let listing = self.list_file(dir, name, sent);
                if !listing.entries.is_empty() {
                    packs.record(&Record::Digest { path: b"", digest: Default::default() })?;
                }
            }
            Place::Tree(top) => {
                let (look, filter) = (self.look.clone(), self.filter.clone());
                scan_tree(&top.handle, look, filter, &Progress::default(), &mut |scanned| {
                    if self.shared.stop.is_set() {
                        return ControlFlow::Break(());
                    }
                    self.sweep(top, &scanned);
                    let listing = self.with_parts(scanned);
                    let digest = listing.digest(self.shared.columns);
                    packs.record(&Record::Digest { path: &listing.path, digest })
                })?;
            }
        }
        packs.flush()?;
        emit(Item::Event(Event::HaveEnd))
    }

    /// Answers one question. Of what is not there or can't be read, the answer is empty.
    pub fn answer(&mut self, question: Question, emit: Emit<'_>) -> ControlFlow<()> {
        let mut packs = Packs::new(&self.shared, emit);
        match question {
            Question::List(paths) => {
                paths.iter().try_for_each(|path| self.list(path.as_bytes(), &mut packs))?;
            }
            Question::Pieces(path) => self.pieces(path.as_bytes(), &mut packs)?,
            Question::Blocks { path, len, seed } => self.blocks(&path, len, seed, &mut packs)?,
        }
        packs.flush()
    }

    fn list(&self, path: &[u8], packs: &mut Packs<'_>) -> ControlFlow<()> {
        let listing = match &self.shared.place {
            _ if self.shared.tells == Tells::Nothing => empty(path, false),
            Place::Tree(top) => self.list_dir(top, path),
            Place::File { dir, name, sent } if path.is_empty() => self.list_file(dir, name, sent),
            _ => empty(path, true),
        };
        let mut from = 0;
        loop {
            from = packs.writer().listing(&listing, from);
            if from >= listing.entries.len() {
                return packs.flush_if_full();
            }
            packs.flush()?;
        }
    }

    fn list_dir(&self, top: &Dir, path: &[u8]) -> Listing {
        if !path.is_empty() && check_inner_path(path).is_err() {
            return empty(path, true);
        }
        let dir = match open_dir(&top.handle, path) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return empty(path, true),
            Err(_) => return empty(path, false),
        };
        let Ok(filter) = filter_at(&self.filter, self.is_obeying(), &top.handle, path) else {
            return empty(path, false);
        };
        let meta = fstat(&dir).map(|stat| self.look.meta(&stat)).unwrap_or_default();
        self.with_parts(self.look.list(&dir, path, meta, filter))
    }

    /// The one file, by the name that the sender knows.
    fn list_file(&self, dir: &Dir, name: &[u8], sent: &[u8]) -> Listing {
        let mut listing = self.look.list_one(&dir.handle, name, self.filter.clone()).listing;
        for entry in &mut listing.entries {
            entry.name = sent.into();
        }
        let partial = self.shared.ids.partial_name(sent, name);
        if let Ok(stat) = statat(&dir.handle, &partial, AtFlags::SYMLINK_NOFOLLOW)
            && may_be_ours(&stat)
        {
            self.shared.parts.found(sent.to_vec());
            listing.entries.extend(part(sent, size_of_file(&stat)));
        }
        listing
    }

    /// What was found, with the partial files of this transfer.
    fn with_parts(&self, scanned: Scanned) -> Listing {
        let Scanned { mut listing, partials, .. } = scanned;
        let before = listing.entries.len();
        for (name, len) in partials {
            let Some(of) = self.shared.ids.path_of_partial(&join(&listing.path, &name)) else {
                continue;
            };
            listing.entries.extend(part(split_last(&of).1, len));
            self.shared.parts.found(of);
        }
        if listing.entries.len() > before {
            // Stable: what is there stays before its partial file.
            listing.entries.sort_by(|one, other| one.name.cmp(&other.name));
        }
        listing
    }

    /// Removes what is left of runs that are over.
    fn sweep(&self, top: &Dir, scanned: &Scanned) {
        let scratch = &self.shared.scratch;
        if self.shared.options.dry_run {
            return;
        }
        let mut dir = None;
        for (name, _) in &scanned.partials {
            if scratch.is_left(&top.handle, name) {
                let opened = || open_dir(&top.handle, &scanned.listing.path);
                if let Ok(dir) = dir.get_or_insert_with(opened) {
                    let _ = unlinkat(&*dir, &**name, AtFlags::empty());
                }
            }
        }
    }

    /// The hashes of the pieces of a partial file, as those of a file of its length. They are sent
    /// while it is read.
    fn pieces(&self, path: &[u8], packs: &mut Packs<'_>) -> ControlFlow<()> {
        let none = Record::Pieces { path, first: 0, hashes: Vec::new() };
        let Some((dir, name)) = self.locate(path) else { return packs.record(&none) };
        let partial = self.shared.ids.partial_name(path, &name);
        let part = match self.shared.parts.open(&dir, &partial, path) {
            Ok(part) if part.len > 0 => part,
            _ => return packs.record(&none),
        };
        let count = Pieces::new(part.len).count();
        let mut first = 0;
        while first < count {
            let hashes = self.read_pieces(&part, first, count.min(first + PIECES_AT_ONCE));
            let (read, wanted) = (hashes.len() as u64, count.min(first + PIECES_AT_ONCE) - first);
            packs.record(&Record::Pieces { path, first, hashes })?;
            packs.flush()?;
            first += read;
            if read < wanted {
                // Cut by the receiver, or unreadable: there are no more.
                return match read {
                    0 => ControlFlow::Continue(()),
                    _ => packs.record(&Record::Pieces { path, first, hashes: Vec::new() }),
                };
            }
        }
        ControlFlow::Continue(())
    }

    fn read_pieces(&self, part: &Part, first: u64, end: u64) -> Vec<PieceHash> {
        let ranges = Pieces::new(part.len);
        let mut hashes = Vec::new();
        for index in first..end {
            let Some(range) = ranges.range(index) else { break };
            let tally = PieceTally::new(part.len, index);
            let Ok(tally) = read_piece(&part.file, range, tally, &self.shared.stop) else { break };
            part.set(index, tally.hash());
            hashes.push(tally.hash());
        }
        hashes
    }

    /// The signatures of the whole blocks of a file. They are sent while it is read.
    fn blocks(
        &self,
        path: &ByteString,
        len: u32,
        seed: u64,
        packs: &mut Packs<'_>,
    ) -> ControlFlow<()> {
        let path = path.as_bytes();
        let file = self.locate(path).and_then(|(dir, name)| open_plain(&dir.handle, &name).ok());
        let mut signatures = Vec::new();
        if let Some((file, _)) = file.filter(|_| len > 0) {
            let (mut at, mut total) = (0, 0);
            let mut buf = vec![0; READ_LEN.next_multiple_of(len as usize)];
            while let Ok(read) = self.fill(&file, &mut buf, at) {
                sign(&buf[..read], len, seed, &mut signatures);
                at += read as u64;
                if read < buf.len() || total + signatures.len() >= BLOCKS_MAX {
                    break;
                }
                if signatures.len() >= SIGNATURES_AT_ONCE {
                    total += signatures.len();
                    let signatures = std::mem::take(&mut signatures);
                    packs.blocks(path, true, signatures)?;
                }
            }
        }
        packs.blocks(path, false, signatures)
    }

    /// Reads until the buffer is full or the file ends.
    fn fill(&self, file: &OwnedFd, buf: &mut [u8], at: u64) -> Result<usize, Code> {
        let mut len = 0;
        while len < buf.len() {
            if self.shared.stop.is_set() {
                return Err(Code::Stopping);
            }
            match pread(file, &mut buf[len..], at + len as u64) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(Errno::INTR) => {}
                Err(_) => return Err(Code::Io),
            }
        }
        Ok(len)
    }

    /// The directory that `path` is in, and what it is called there.
    fn locate(&self, path: &[u8]) -> Option<(Arc<Dir>, Vec<u8>)> {
        check_inner_path(path).ok()?;
        match &self.shared.place {
            _ if self.shared.tells == Tells::Nothing => None,
            Place::Nowhere => None,
            Place::File { dir, name, sent } => {
                (path == sent).then(|| (Arc::clone(dir), name.clone()))
            }
            Place::Tree(top) => {
                let (parent, name) = split_last(path);
                let handle = open_dir(&top.handle, parent).ok()?;
                Some((Arc::new(Dir::new(parent, handle, false).ok()?), name.to_vec()))
            }
        }
    }

    fn is_obeying(&self) -> bool {
        self.shared.options.gitignore
    }
}

/// The rules in the directory at `path`, where `.gitignore` files are obeyed or not.
pub(super) fn filter_at(
    filter: &Filter,
    is_obeying: bool,
    top: &OwnedFd,
    path: &[u8],
) -> Result<Filter, Errno> {
    let mut filter = filter.clone();
    if !is_obeying {
        return Ok(filter);
    }
    filter = filter.enter(&open_dir(top, b"")?, b"");
    for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        let above = path.get(..at).unwrap_or_default();
        filter = filter.enter(&open_dir(top, above)?, above);
    }
    if path.is_empty() { Ok(filter) } else { Ok(filter.enter(&open_dir(top, path)?, path)) }
}

fn part(name: &[u8], len: u64) -> Option<Entry> {
    let entry = || Entry { name: name.into(), what: What::Part { len }, meta: Meta::default() };
    (len > 0).then(entry)
}

fn empty(path: &[u8], is_complete: bool) -> Listing {
    Listing { path: path.to_vec(), entries: Vec::new(), is_complete }
}

/// Fills packs and gives them away.
struct Packs<'a> {
    shared: &'a Shared,
    writer: PackWriter,
    emit: Emit<'a>,
}

impl<'a> Packs<'a> {
    fn new(shared: &'a Shared, emit: Emit<'a>) -> Self {
        Self { shared, writer: PackWriter::new(PREFIX_LEN, shared.columns), emit }
    }

    fn writer(&mut self) -> &mut PackWriter {
        &mut self.writer
    }

    fn record(&mut self, record: &Record<'_>) -> ControlFlow<()> {
        self.writer.record(record);
        self.flush_if_full()
    }

    fn blocks(&mut self, path: &[u8], more: bool, signatures: Vec<Signature>) -> ControlFlow<()> {
        let mut rest = signatures.as_slice();
        loop {
            let (now, later) = rest.split_at(rest.len().min(SIGNATURES_AT_ONCE));
            let more = more || !later.is_empty();
            self.writer.record(&Record::Blocks { path, more, signatures: now.to_vec() });
            self.flush()?;
            rest = later;
            if rest.is_empty() {
                return ControlFlow::Continue(());
            }
        }
    }

    fn flush_if_full(&mut self) -> ControlFlow<()> {
        if self.writer.body_len() < BODY_LEN { ControlFlow::Continue(()) } else { self.flush() }
    }

    fn flush(&mut self) -> ControlFlow<()> {
        if self.writer.is_empty() {
            return ControlFlow::Continue(());
        }
        let empty = PackWriter::new(PREFIX_LEN, self.shared.columns);
        let full = std::mem::replace(&mut self.writer, empty);
        let is_worth = full.body_len() >= COMPRESSED_LEN_MIN;
        let is_wanted = self.shared.options.compress != Compress::Never && is_worth;
        (self.emit)(Item::Pack(full.seal(is_wanted.then_some(COMPRESS_LEVEL))))
    }
}

/// Bodies of packs are about so long.
const BODY_LEN: usize = 64 << 10;
/// Below this, compressing gains nothing.
const COMPRESSED_LEN_MIN: usize = 1 << 10;
/// Of zstd: the fastest that is any good.
const COMPRESS_LEVEL: i32 = 1;
/// Hashes of pieces that are sent together: the sender waits for them.
const PIECES_AT_ONCE: u64 = 32;
/// Signatures that are sent together.
const SIGNATURES_AT_ONCE: usize = 16 << 10;
/// What is read of a file at once.
const READ_LEN: usize = 1 << 20;
