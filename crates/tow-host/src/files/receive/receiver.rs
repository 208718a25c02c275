//! The half of the receiving end that changes things: takes what the sender sends, in its order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use rustix::io::Errno;
use tow_proto::message::{Failure, Summary};
use tow_proto::transfer::{Event, How, Meta, Pack, Record};
use tow_proto::{Code, Refusal};

use super::backup::Backup;
use super::destination::{Permits, Place};
use super::dirs::{Dir, Dirs, Former};
use super::dress::Dress;
use super::large::Incoming;
use super::names::Names;
use super::publish::{Batch, Unsettled};
use super::small::Modes;
use super::{Fault, Shared, Stop};
use crate::beneath::{PATH_LEN_MAX, split_last};
use crate::files::filter::Filter;
use crate::files::item::{Change, Item, Watch};
use crate::files::tree::join;
use crate::files::{ENTRIES_MAX, Phase, Progress};

/// Takes what the sender sends. Dropped unfinished, it puts what is complete in its place and keeps
/// the partial file of what is not, for a resume.
pub struct Receiver {
    pub(super) shared: Arc<Shared>,
    pub(super) filter: Filter,
    pub(super) permits: Permits,
    pub(super) progress: Arc<Progress>,
    pub(super) watch: Arc<dyn Watch>,
    /// `None` where the top is not there and will not be made.
    pub(super) dirs: Option<Dirs>,
    pub(super) dress: Dress,
    pub(super) names: Names,
    pub(super) backup: Option<Backup>,
    pub(super) state: State,
    pub(super) here: Here,
    pub(super) batch: Batch,
    pub(super) unsettled: Unsettled,
    /// Directories whose metadata is set at the end.
    pub(super) dressed_last: Vec<(Vec<u8>, Meta)>,
    /// Directories that were read-only and are not while they are filled.
    pub(super) opened: BTreeMap<Vec<u8>, Former>,
    /// Names and the files whose further names they will be.
    pub(super) hards: Vec<(Vec<u8>, Vec<u8>)>,
    /// What these lists take up in bytes.
    pub(super) lists_len: usize,
    pub(super) summary: Summary,
    pub(super) is_over_max_delete: bool,
    /// Of a dry run: what would be gone by now, so that something of another kind could have its name.
    pub(super) cleared: Option<Vec<u8>>,
    /// What is not what the sender has, as far as it is known by name.
    pub(super) unmade: BTreeSet<Vec<u8>>,
    /// Bytes of the paths of failures that were told.
    told_len: usize,
    /// Files that came out wrong and are to be sent once more: there is no end before that.
    again: BTreeSet<Vec<u8>>,
    /// How many came out wrong, whichever way they were sent.
    corrupt: usize,
    events: usize,
}

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    More,
    /// The sender said that this was all: call [`Receiver::finish`].
    Finished,
}

/// Where events for the sender go.
pub(super) type Out<'a> = &'a mut dyn FnMut(Event);

#[derive(Debug)]
pub(super) enum State {
    Idle,
    Receiving(Box<Incoming>),
    /// A file that failed here: what is still on its way is dropped.
    Skipping,
    Finished,
}

/// The directory that names are in.
#[derive(Debug)]
pub(super) struct Here {
    pub(super) path: Vec<u8>,
    pub(super) dir: Result<Where, Code>,
    pub(super) modes: Modes,
}

/// Where something is.
#[derive(Clone, Debug)]
pub(super) enum Where {
    Open(Arc<Dir>),
    /// In a directory that would be made.
    Nowhere,
}

impl Receiver {
    pub(super) fn new(
        shared: Arc<Shared>,
        filter: Filter,
        permits: Permits,
        unsettled: Unsettled,
        progress: Arc<Progress>,
        watch: Arc<dyn Watch>,
    ) -> Self {
        let top = shared.place.top().cloned();
        let options = &shared.options;
        let dir = top.clone().map_or(Where::Nowhere, Where::Open);
        Self {
            dress: Dress::new(options.archive, permits.special_bits),
            backup: options.backup.as_ref().map(|path| Backup::new(path.as_bytes())),
            batch: Batch::new(options.durable),
            shared,
            filter,
            permits,
            progress,
            watch,
            dirs: top.map(Dirs::new),
            names: Names::new(),
            state: State::Idle,
            here: Here { path: Vec::new(), dir: Ok(dir), modes: Modes::default() },
            unsettled,
            dressed_last: Vec::new(),
            opened: BTreeMap::new(),
            hards: Vec::new(),
            lists_len: 0,
            summary: Summary::default(),
            is_over_max_delete: false,
            cleared: None,
            unmade: BTreeSet::new(),
            told_len: 0,
            again: BTreeSet::new(),
            corrupt: 0,
            events: 0,
        }
    }

    /// Ends long work of both halves.
    pub fn stopper(&self) -> Stop {
        self.shared.stop.clone()
    }

    /// The next item. What is to be told to the sender goes to `out`. Questions are for
    /// [`super::Answerer::answer`].
    ///
    /// # Errors
    /// The sender broke the protocol: the transfer is over.
    pub fn handle(&mut self, item: Item, out: Out<'_>) -> Result<Step, Refusal> {
        match item {
            Item::Pack(payload) => self.handle_pack(payload, out)?,
            Item::Data(chunk) => self.handle_data(chunk.payload(), out)?,
            Item::DataZstd(payload) => {
                let content = zstd::bulk::decompress(&payload, CONTENT_LEN_MAX);
                let content = content.map_err(|_| Refusal::new(Code::Malformed))?;
                self.handle_data(&content, out)?;
            }
            Item::End(end) => self.handle_end(end, out)?,
            Item::Event(event) => return self.handle_event(event, out),
        }
        if self.batch.is_due() {
            self.publish(out);
        }
        Ok(Step::More)
    }

    fn handle_event(&mut self, event: Event, out: Out<'_>) -> Result<Step, Refusal> {
        self.count_event()?;
        match event {
            Event::Unknown => {}
            Event::Plan { files, bytes } => {
                self.progress.enter(Phase::Moving);
                self.progress.plan(files, bytes);
            }
            Event::Failed(Failure { path, .. }) => {
                // What is there of it stays for another time.
                self.shared.parts.keep(path.as_bytes());
                self.again.remove(path.as_bytes());
                self.note_unmade(path.as_bytes());
                self.summary.failed += 1;
            }
            Event::At { offset } => self.handle_at(offset)?,
            Event::Hole { len } => self.handle_hole(len, out)?,
            Event::Break => self.handle_break()?,
            // Said before the sender heard what came out wrong: it will say so again.
            Event::Finish if matches!(self.state, State::Idle) && !self.again.is_empty() => {}
            Event::Finish if matches!(self.state, State::Idle) => {
                self.state = State::Finished;
                return Ok(Step::Finished);
            }
            _ => return Err(Code::OutOfOrder.into()),
        }
        Ok(Step::More)
    }

    fn handle_pack(&mut self, payload: Vec<u8>, out: Out<'_>) -> Result<(), Refusal> {
        let pack = Pack::open(payload, self.shared.columns)?;
        for record in pack.records() {
            self.count_event()?;
            self.handle_record(record?, out)?;
        }
        Ok(())
    }

    fn handle_record(&mut self, record: Record<'_>, out: Out<'_>) -> Result<(), Refusal> {
        match (&self.state, &record) {
            (State::Idle, _) => {}
            (State::Receiving(_) | State::Skipping, Record::Copy { runs }) => {
                return self.handle_copy(runs, out);
            }
            _ => return Err(Code::OutOfOrder.into()),
        }
        let about = match &record {
            Record::Enter { path } | Record::Dir { path, .. } | Record::Large { path, .. } => {
                path.to_vec()
            }
            // Only made where something is to be said of it.
            _ => Vec::new(),
        };
        match self.carry_out(&record, out) {
            Ok(()) => Ok(()),
            Err(fault) => {
                let path = match name_of(&record) {
                    Some(name) => join(&self.here.path, name),
                    None => about,
                };
                match fault {
                    Fault::Violation(_) => Err(fault.about(&path)),
                    Fault::Failed(..) => {
                        self.fail(fault.about(&path), out);
                        Ok(())
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, record: &Record<'_>, out: Out<'_>) -> Result<(), Fault> {
        match record {
            Record::Enter { path } => self.enter(path),
            Record::Dir { path, meta } => self.dir(path, meta),
            Record::File { name, meta, content } => self.file(name, meta, content),
            Record::Link { name, meta, target } => self.link(name, meta, target),
            Record::Hard { name, path } => self.hard(name, path),
            Record::Special { name, meta, device } => self.special(name, meta, *device),
            Record::Meta { name, meta } => self.meta(name, meta),
            Record::Delete { name } => self.delete(name, out),
            Record::Same { files, bytes } => {
                self.summary.same = self.summary.same.saturating_add(*files);
                self.progress.reused(*bytes);
                self.progress.files_done(*files);
                Ok(())
            }
            Record::Large { path, meta, size, how } => self.large(path, meta, *size, *how, out),
            Record::Digest { .. }
            | Record::Listing { .. }
            | Record::Pieces { .. }
            | Record::Blocks { .. }
            | Record::Copy { .. } => Err(Fault::Violation(Code::OutOfOrder)),
        }
    }

    /// Announces a large file. Until it is known to be well, its content is dropped.
    fn large(
        &mut self,
        path: &[u8],
        meta: &Meta,
        size: u64,
        how: How,
        out: Out<'_>,
    ) -> Result<(), Fault> {
        self.state = State::Skipping;
        self.again.remove(path);
        match self.start(path, meta, size, how, out) {
            Ok(Some(incoming)) => self.state = State::Receiving(Box::new(incoming)),
            Ok(None) => {}
            Err(fault) => {
                if let (Fault::Failed(code, _), true) = (&fault, how != How::Whole) {
                    self.expect_again(path, *code);
                }
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Before it is told that a file failed that was to be put together from parts. Where it came out
    /// wrong, the sender sends it once more.
    pub(super) fn expect_again(&mut self, path: &[u8], code: Code) {
        // Of those beyond, the sender may not have heard.
        let is_told = self.summary.failed < FAILED_MAX && self.corrupt < AGAIN_MAX;
        if code == Code::Corrupt && is_told {
            self.again.insert(path.to_vec());
        }
    }

    /// The directory that `path` is in, and the name that what it names has there.
    pub(super) fn locate(&mut self, path: &[u8]) -> Result<(Where, Vec<u8>), Fault> {
        let (parent, name) = split_last(path);
        let name = match &self.shared.place {
            Place::File { sent, name, .. } if path == sent => name.clone(),
            Place::File { .. } => return Err(Fault::Violation(Code::BadName)),
            _ => name.to_vec(),
        };
        if path.ends_with(b".tow-part") && self.is_ours(path, &name) {
            return Err(Fault::Failed(Code::BadName, None));
        }
        let place =
            if parent == self.here.path { self.here.dir.clone()? } else { self.open_dir(parent)? };
        Ok((place, name))
    }

    /// A directory that should be there.
    pub(super) fn open_dir(&mut self, path: &[u8]) -> Result<Where, Fault> {
        let Some(dirs) = &mut self.dirs else { return Ok(Where::Nowhere) };
        match dirs.open(path) {
            Ok(dir) => Ok(Where::Open(dir)),
            Err(Errno::NOENT) if self.is_dry() => Ok(Where::Nowhere),
            // What is in the way would be gone by now.
            Err(Errno::NOTDIR | Errno::LOOP) if self.is_dry() && self.shared.options.delete => {
                Ok(Where::Nowhere)
            }
            Err(errno) => Err(Fault::of_dir(errno)),
        }
    }

    /// Whether a name is one under which this transfer makes things.
    fn is_ours(&self, path: &[u8], name: &[u8]) -> bool {
        self.shared.ids.path_of_partial(path).is_some() || self.shared.scratch.is_one(name)
    }

    pub(super) fn is_dry(&self) -> bool {
        self.shared.options.dry_run
    }

    /// Tells who watches.
    pub(super) fn tell(&self, change: Change, path: &[u8], size: u64) {
        self.watch.item(change, path, size);
    }

    /// What the lists that are kept until the end take up.
    pub(super) fn remember(&mut self, len: usize) -> Result<(), Fault> {
        self.lists_len += len + LISTED_LEN;
        if self.lists_len > LISTS_LEN_MAX {
            return Err(Fault::Violation(Code::TooLong));
        }
        Ok(())
    }

    /// Whatever the number of failures, the sender is told of a bounded one.
    pub(super) fn fail(&mut self, why: Refusal, out: Out<'_>) {
        let path = why.path.clone().unwrap_or_default();
        let again = why.code == Code::Corrupt && self.again.contains(path.as_bytes());
        self.summary.failed += u64::from(!again);
        self.corrupt += usize::from(why.code == Code::Corrupt);
        self.told_len = self.told_len.saturating_add(path.as_bytes().len());
        self.note_unmade(path.as_bytes());
        // What is sent once more has to be told of; of the rest, as much as may wait for the link.
        let is_little = self.summary.failed <= FAILED_MAX && self.told_len <= TOLD_LEN_MAX;
        if again || is_little {
            out(Event::Failed(Failure { path, why, again }));
        }
    }

    fn note_unmade(&mut self, path: &[u8]) {
        if self.unmade.len() < UNMADE_MAX && path.len() <= PATH_LEN_MAX {
            self.unmade.insert(path.to_vec());
        }
    }

    fn count_event(&mut self) -> Result<(), Refusal> {
        self.events += 1;
        if self.events > EVENTS_MAX {
            return Err(Refusal::new(Code::TooLong).with_count(EVENTS_MAX as u64));
        }
        Ok(())
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("state", &self.state).finish_non_exhaustive()
    }
}

fn name_of<'a>(record: &Record<'a>) -> Option<&'a [u8]> {
    match record {
        Record::File { name, .. }
        | Record::Link { name, .. }
        | Record::Hard { name, .. }
        | Record::Special { name, .. }
        | Record::Meta { name, .. }
        | Record::Delete { name } => Some(name),
        _ => None,
    }
}

/// Most records and heads of one transfer: every entry may be tried again and fail.
const EVENTS_MAX: usize = 5 * ENTRIES_MAX;
/// Most bytes that directories and further names take up in memory until the end.
const LISTS_LEN_MAX: usize = 256 << 20;
/// What one of them takes up beside its paths, roughly.
const LISTED_LEN: usize = 128;
/// Most failures that the sender is told of one by one; all are counted.
const FAILED_MAX: u64 = 100_000;
/// Most paths of those that are kept by name.
const UNMADE_MAX: usize = 10_000;
/// Most bytes of their paths.
const TOLD_LEN_MAX: usize = 16 << 20;
/// Most files that are waited for because they came out wrong.
const AGAIN_MAX: usize = 1_000;
/// Most bytes of content in one frame.
const CONTENT_LEN_MAX: usize = 1 << 20;
