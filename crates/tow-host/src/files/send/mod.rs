//! The sending end (PROTOCOL 7.3): what there is, what of it the receiver lacks, and the content of
//! that.
//!
//! Directories are found by threads of their own ([`super::scan`]), wait in the [`window::Window`]
//! until it is known what the receiver has of them, and are sent in the order in which they were
//! found. Nothing waits for an answer while there is anything else to do.

mod asides;
mod blocks;
mod compress;
mod dir;
mod inbox;
mod large;
mod limit;
mod outlet;
mod packs;
mod small;
mod window;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tow_proto::message::{EntryKind, Failure};
use tow_proto::transfer::{Columns, Event, Options, Pack, Record};
use tow_proto::{ByteString, Code, Refusal};

use self::asides::Asides;
use self::dir::Here;
use self::large::Way;
use self::outlet::{Outlet, Stop};
use self::packs::Packer;
use self::window::Window;
use super::chunk::Pool;
use super::filter::Filter;
use super::item::{Change, Item, Watch};
use super::meta::FileId;
use super::scan::{Look, SCANNERS, Scanned, Scanner, Specials};
use super::source::{Origin, Source};
use super::{Phase, Progress};

pub use inbox::{Answer, Inbox};

/// A file or a tree that is about to be sent.
pub struct Outgoing {
    origin: Origin,
    name: ByteString,
    options: Options,
    filter: Filter,
    progress: Arc<Progress>,
    watch: Arc<dyn Watch>,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Source {
    /// What is to be sent as `options` say, which are those of the request.
    ///
    /// # Errors
    /// A pattern that can't be understood.
    pub fn open(
        self,
        options: Options,
        progress: Arc<Progress>,
        watch: Arc<dyn Watch>,
    ) -> Result<Outgoing, Refusal> {
        let filter = Filter::new(&options)?;
        let name = self.name().clone();
        Ok(Outgoing { origin: self.into_origin(), name, options, filter, progress, watch })
    }
}

impl Outgoing {
    /// Sends everything that the receiver does not have, up to and with [`Event::Finish`]. What the
    /// receiver says comes by `inbox`. Breaks where `out` does, or where `inbox` was closed too
    /// early. What was sent in parts may come out wrong at the receiver and is sent again then, so
    /// this may not return before `inbox` is closed: it is to be closed when the receiver has said
    /// `stored`.
    ///
    /// # Errors
    /// An empty source that would delete everything, or a receiver that does not keep to the
    /// protocol. The transfer has to end then.
    pub fn send(
        self,
        inbox: &Inbox,
        out: &mut dyn FnMut(Item) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Refusal> {
        let Self { origin, name, options, filter, progress, watch } = self;
        let specials = if options.special { Specials::Listed } else { Specials::Failed };
        let look = Look::new(&options, specials).until(inbox.closed());
        let top = origin.top();
        let outlet = Outlet::new(out, inbox, &options);
        let columns = Columns::from(&options);
        let mut sender = Sender {
            columns,
            inbox,
            progress: &progress,
            watch: &*watch,
            look: look.clone(),
            pool: Arc::default(),
            out: outlet,
            packer: Packer::new(columns),
            window: Window::new(columns),
            asides: Asides::default(),
            linked: HashMap::new(),
            in_parts: HashSet::new(),
            said: (0, 0, None),
            seed: seed(),
            is_file: origin.kind() == EntryKind::File,
            origin,
            options: &options,
        };
        progress.enter(if options.checksum { Phase::Hashing } else { Phase::Scanning });
        let result = match top {
            None => {
                let one = sender.one(&name, filter);
                sender.run(&mut Finder::One(one.map(Box::new)))
            }
            Some(top) => {
                let ready = || inbox.wake();
                let scanner = Scanner::new(&top, look, filter, &progress, &ready);
                std::thread::scope(|scope| {
                    for _ in 0..SCANNERS {
                        scope.spawn(|| scanner.work());
                    }
                    let result = sender.run(&mut Finder::Tree(&scanner));
                    scanner.close();
                    result
                })
            }
        };
        match result {
            Ok(()) => Ok(ControlFlow::Continue(())),
            Err(Stop::Link) => Ok(ControlFlow::Break(())),
            Err(Stop::Refused(refusal)) => Err(refusal),
        }
    }
}

/// Where directories come from.
enum Finder<'a> {
    /// The one name of the transfer of a file.
    One(Option<Box<Scanned>>),
    Tree(&'a Scanner<'a>),
}

impl Finder<'_> {
    fn take(&mut self) -> Option<Scanned> {
        match self {
            Self::One(one) => one.take().map(|one| *one),
            Self::Tree(scanner) => scanner.take(),
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Self::One(one) => one.is_none(),
            Self::Tree(scanner) => scanner.is_done(),
        }
    }

    fn is_read(&self) -> bool {
        match self {
            Self::One(_) => true,
            Self::Tree(scanner) => scanner.is_read(),
        }
    }
}

/// How many answers are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// As many as there is room for.
    Full,
    /// All that are there: without one of them, nothing goes on.
    Empty,
}

/// The work under way.
struct Sender<'a> {
    origin: Origin,
    /// One file is sent, and its name is all that the top holds.
    is_file: bool,
    options: &'a Options,
    columns: Columns,
    inbox: &'a Inbox,
    progress: &'a Progress,
    watch: &'a dyn Watch,
    look: Look,
    pool: Arc<Pool>,
    out: Outlet<'a>,
    packer: Packer,
    window: Window,
    asides: Asides,
    /// Under which path a file with several names was sent, or is there already.
    linked: HashMap<FileId, Vec<u8>>,
    /// Files that were put together there, and may have come out wrong.
    in_parts: HashSet<Vec<u8>>,
    /// What was said last of how much there is, and when.
    said: (u64, u64, Option<Instant>),
    seed: u64,
}

impl Sender<'_> {
    fn run(&mut self, finder: &mut Finder<'_>) -> Result<(), Stop> {
        self.wait_for_digests(finder)?;
        self.progress.enter(Phase::Moving);
        loop {
            let turn = self.inbox.turn();
            self.take_answers(Until::Full)?;
            self.admit(finder)?;
            self.plan(finder.is_read())?;
            if self.send_aside()? || self.send_dir()? {
                continue;
            }
            if !finder.is_done() || !self.window.is_empty() {
                self.idle(turn)?;
            } else if !self.has_asides() {
                break;
            } else if !self.hurry_aside()? {
                self.idle(turn)?;
            }
        }
        self.finish()
    }

    /// Nothing is new before it is known what is there.
    fn wait_for_digests(&mut self, finder: &mut Finder<'_>) -> Result<(), Stop> {
        loop {
            let turn = self.inbox.turn();
            self.take_answers(Until::Full)?;
            if self.inbox.has_all_digests() {
                return Ok(());
            }
            self.plan(finder.is_read())?;
            self.idle(turn)?;
        }
    }

    fn admit(&mut self, finder: &mut Finder<'_>) -> Result<(), Stop> {
        while self.window.has_room()
            && let Some(scanned) = finder.take()
        {
            self.window.admit(scanned);
        }
        while let Some(question) = self.window.question() {
            self.out.event(question)?;
        }
        Ok(())
    }

    /// Takes what came from the receiver.
    fn take_answers(&mut self, until: Until) -> Result<(), Stop> {
        while (until == Until::Empty || !self.window.is_full())
            && let Some(payload) = self.inbox.take()
        {
            let pack = Pack::open(payload, self.columns).map_err(Refusal::from)?;
            for record in pack.records() {
                match record.map_err(Refusal::from)? {
                    Record::Digest { path, digest } => self.window.has(path, digest)?,
                    Record::Listing { listing, more } => self.window.answer(listing, more)?,
                    record @ (Record::Pieces { .. } | Record::Blocks { .. }) => {
                        if !self.asides.answer(record) {
                            return Err(Refusal::new(Code::Malformed).into());
                        }
                    }
                    _ => return Err(Refusal::new(Code::OutOfOrder).into()),
                }
            }
        }
        Ok(())
    }

    /// Says how much there is, as far as is known, where that has changed.
    fn plan(&mut self, is_read: bool) -> Result<(), Stop> {
        let now = self.progress.now();
        let (files, bytes) = (now.files_total, now.bytes_total);
        let is_news = self.said.2.is_none() || (files, bytes) != (self.said.0, self.said.1);
        let is_due = is_read || self.said.2.is_none_or(|then| then.elapsed() >= PLAN_EVERY);
        if is_news && is_due {
            self.said = (files, bytes, Some(Instant::now()));
            self.out.event(Event::Plan { files, bytes })?;
        }
        Ok(())
    }

    /// There is nothing to do before something comes from the scan or from the receiver.
    fn idle(&mut self, turn: u64) -> Result<(), Stop> {
        if !self.packer.is_empty() && !self.inbox.wait(turn, LINGER) {
            // What is ready should not wait for what takes long.
            self.flush()?;
        }
        self.inbox.wait(turn, IDLE_MAX);
        if self.inbox.is_closed() { Err(Stop::Link) } else { Ok(()) }
    }

    /// Sends the pack as it is.
    fn flush(&mut self) -> Result<(), Stop> {
        if self.packer.is_empty() { Ok(()) } else { self.out.pack(self.packer.take()) }
    }

    fn failed(&mut self, path: &[u8], code: Code) -> Result<(), Stop> {
        let why = Refusal::about(code, path);
        self.out.event(Event::Failed(Failure::new(path, why)))
    }

    /// What the receiver puts together from parts is sent once more where it came out wrong.
    fn in_parts(&mut self, path: &[u8]) {
        self.in_parts.insert(path.to_vec());
    }

    /// Ends the transfer, and ends it again as often as something had to be sent once more.
    fn finish(&mut self) -> Result<(), Stop> {
        loop {
            while let Some(path) = self.inbox.take_corrupt() {
                if self.in_parts.remove(path.as_bytes()) {
                    self.large(path.as_bytes(), Change::Content, Way::Whole)?;
                }
            }
            self.flush()?;
            self.progress.enter(Phase::Saving);
            let turn = self.inbox.turn();
            self.out.event(Event::Finish)?;
            if self.in_parts.is_empty() || !self.wait_for_corrupt(turn) {
                return Ok(());
            }
        }
    }

    /// Waits until a file came out wrong, or the receiver is done.
    fn wait_for_corrupt(&self, mut turn: u64) -> bool {
        loop {
            if self.inbox.has_corrupt() {
                return true;
            }
            if self.inbox.is_closed() {
                return false;
            }
            self.inbox.wait(turn, IDLE_MAX);
            turn = self.inbox.turn();
        }
    }
}

/// The key of the hashes of blocks: one that the receiver could not know before.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Without randomness it is only easier for a receiver to fool itself.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
    u64::from_le_bytes(bytes)
}

/// How often it is said how much there is, while that changes.
const PLAN_EVERY: Duration = Duration::from_millis(250);
/// How long a pack that is not full waits for more.
const LINGER: Duration = Duration::from_millis(5);
/// After which nobody waits any longer without looking again.
const IDLE_MAX: Duration = Duration::from_secs(60);
