//! A receiving end for items of a test's own making.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tow_host::beneath::Root;
use tow_host::files::item::{Change, Item, Watch};
use tow_host::files::receive::{Answerer, Destination, Permits, Receiver, Step};
use tow_host::files::{Chunk, Progress};
use tow_proto::Code;
use tow_proto::content::{Hash, Tally};
use tow_proto::message::{End, EntryKind, Mtime, STDOUT, Summary};
use tow_proto::transfer::{
    Columns, Event, Listing, Meta, Options, Pack, PackWriter, PieceHash, Question, Record,
    Signature,
};
use tow_testkit::TempDir;

pub const NOW: Mtime = Mtime(1_700_000_000, 5);

/// What was told of each change.
#[derive(Default)]
pub struct Told(pub Mutex<Vec<(Change, String, u64)>>);

impl Watch for Told {
    fn item(&self, change: Change, path: &[u8], size: u64) {
        let path = String::from_utf8_lossy(path).into_owned();
        self.0.lock().unwrap().push((change, path, size));
    }
}

/// A directory, and how things get into it.
pub struct Kit {
    pub dir: TempDir,
    pub options: Options,
    pub permits: Permits,
    pub told: Arc<Told>,
}

/// Both halves, and what the receiver said.
pub struct End2 {
    pub receiver: Receiver,
    pub answerer: Answerer,
    pub failed: Vec<(String, Code)>,
    /// What is to be sent once more.
    pub again: Vec<String>,
    pub counts: Vec<Option<u64>>,
    columns: Columns,
}

impl Kit {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        let (dir, told) = (TempDir::new(), Arc::default());
        Self { dir, options, permits: Permits::default(), told }
    }

    /// The place of a name in the tree.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join("tree").join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.at(name)).unwrap()
    }

    /// Of a tree.
    pub fn open(&self) -> End2 {
        self.open_as(EntryKind::Dir, "tree")
    }

    pub fn open_as(&self, kind: EntryKind, name: &str) -> End2 {
        self.open_in(self.dir.path(), kind, name)
    }

    pub fn open_in(&self, dir: &Path, kind: EntryKind, name: &str) -> End2 {
        let destination = self.prepare(dir, kind, name).unwrap();
        let (receiver, answerer) =
            destination.permit(self.permits).open(Arc::new(Progress::default()), self.told.clone());
        let columns = Columns::from(&self.options);
        let (failed, again, counts) = Default::default();
        End2 { receiver, answerer, failed, again, counts, columns }
    }

    pub fn prepare(
        &self,
        dir: &Path,
        kind: EntryKind,
        name: &str,
    ) -> Result<Destination, tow_proto::Refusal> {
        let root = Root::open(dir, dir).unwrap();
        let (name, source) = (name.into(), "box:/x".into());
        Destination::prepare(&root, &".".into(), kind, &name, &source, "key", &self.options)
    }

    /// Everything that is told of, sorted.
    pub fn told(&self) -> Vec<(Change, String, u64)> {
        let mut told = std::mem::take(&mut *self.told.0.lock().unwrap());
        told.sort_by(|one, other| one.1.cmp(&other.1));
        told
    }

    /// Names of partial files of whatever kind, anywhere.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = walk(self.dir.path());
        found.retain(|path| path.to_string_lossy().ends_with(".tow-part"));
        found
    }
}

/// Every path beneath `dir`, sorted.
pub fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

impl End2 {
    pub fn say(&mut self, item: Item) -> Result<Step, Code> {
        let (failed, counts, again) = (&mut self.failed, &mut self.counts, &mut self.again);
        let step = self.receiver.handle(item, &mut |event| {
            let Event::Failed(failure) = event else { panic!("unexpected {event:?}") };
            if failure.again {
                assert_eq!(failure.why.code, Code::Corrupt);
                return again.push(failure.path.to_string());
            }
            failed.push((failure.path.to_string(), failure.why.code));
            counts.push(failure.why.count);
        });
        step.map_err(|refusal| refusal.code)
    }

    pub fn records(&mut self, records: &[Record<'_>]) -> Result<Step, Code> {
        let mut writer = PackWriter::new(0, self.columns);
        records.iter().for_each(|record| writer.record(record));
        self.say(Item::Pack(writer.seal(Some(1))))
    }

    pub fn event(&mut self, event: Event) -> Result<Step, Code> {
        self.say(Item::Event(event))
    }

    pub fn data(&mut self, content: &[u8]) -> Result<Step, Code> {
        self.say(Item::Data(Chunk::from_payload(content.to_vec())))
    }

    pub fn end(&mut self, content: &[u8]) -> Result<Step, Code> {
        let mut tally = Tally::default();
        tally.update(content);
        self.end_with(tally.bytes(), tally.hash())
    }

    pub fn end_with(&mut self, total: u64, blake3: Hash) -> Result<Step, Code> {
        self.say(Item::End(End { stream: STDOUT, total, blake3 }))
    }

    /// Says that this was all, and gives what came of it.
    pub fn finish(mut self) -> (Summary, Vec<(String, Code)>) {
        assert_eq!(self.event(Event::Finish), Ok(Step::Finished));
        let mut failed = self.failed;
        let summary = self.receiver.finish(&mut |event| {
            let Event::Failed(failure) = event else { panic!("unexpected {event:?}") };
            failed.push((failure.path.to_string(), failure.why.code));
        });
        assert_eq!(summary.failed, failed.len() as u64);
        (summary, failed)
    }

    /// The same where nothing may fail.
    pub fn finish_well(self) -> Summary {
        let (summary, failed) = self.finish();
        assert_eq!(failed, []);
        summary
    }

    /// Digests by path; all zeros are `None`.
    pub fn have(&mut self) -> Vec<(String, Option<[u8; 16]>)> {
        let mut digests = Vec::new();
        let (columns, mut is_over) = (self.columns, false);
        let flow = self.answerer.have(&mut |item| {
            match item {
                Item::Event(Event::HaveEnd) => is_over = true,
                item => each(item, columns, &mut |record| {
                    let Record::Digest { path, digest } = record else { panic!("{record:?}") };
                    let path = String::from_utf8(path.to_vec()).unwrap();
                    digests.push((path, Some(digest.0).filter(|bytes| *bytes != [0; 16])));
                }),
            }
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue() && is_over);
        digests
    }

    pub fn list(&mut self, path: &str) -> Listing {
        let mut whole: Option<Listing> = None;
        let mut wants_more = true;
        self.ask(Question::List(vec![path.into()]), &mut |record| {
            let Record::Listing { listing, more } = record else { panic!("{record:?}") };
            assert!(std::mem::replace(&mut wants_more, more), "more after the last one");
            match &mut whole {
                Some(whole) => whole.entries.extend(listing.entries),
                None => whole = Some(listing),
            }
        });
        assert!(!wants_more, "the last one never came");
        whole.unwrap()
    }

    pub fn pieces(&mut self, path: &str) -> Vec<PieceHash> {
        let mut all = Vec::new();
        self.ask(Question::Pieces(path.into()), &mut |record| {
            let Record::Pieces { first, hashes, .. } = record else { panic!("{record:?}") };
            assert_eq!(first, all.len() as u64);
            all.extend(hashes);
        });
        all
    }

    pub fn blocks(&mut self, path: &str, len: u32, seed: u64) -> Vec<Signature> {
        let (mut all, mut wants_more) = (Vec::new(), true);
        self.ask(Question::Blocks { path: path.into(), len, seed }, &mut |record| {
            let Record::Blocks { more, signatures, .. } = record else { panic!("{record:?}") };
            assert!(std::mem::replace(&mut wants_more, more));
            all.extend(signatures);
        });
        assert!(!wants_more);
        all
    }

    fn ask(&mut self, question: Question, take: &mut dyn FnMut(Record<'_>)) {
        let columns = self.columns;
        let flow = self.answerer.answer(question, &mut |item| {
            each(item, columns, take);
            ControlFlow::Continue(())
        });
        assert!(flow.is_continue());
    }
}

fn each(item: Item, columns: Columns, take: &mut dyn FnMut(Record<'_>)) {
    let Item::Pack(frame) = item else { panic!("unexpected {item:?}") };
    let payload = frame[tow_proto::frame::PREFIX_LEN..].to_vec();
    let pack = Pack::open(payload, columns).unwrap();
    for record in pack.records() {
        take(record.unwrap());
    }
}

pub fn meta() -> Meta {
    Meta { mode: 0o644, mtime: NOW, owner: None }
}

pub fn mode(mode: u32) -> Meta {
    Meta { mode, ..meta() }
}

pub fn top() -> Record<'static> {
    dir("")
}

pub fn dir(path: &str) -> Record<'_> {
    Record::Dir { path: path.as_bytes(), meta: mode(0o755) }
}

pub fn enter(path: &str) -> Record<'_> {
    Record::Enter { path: path.as_bytes() }
}

pub fn file<'a>(name: &'a str, content: &'a [u8]) -> Record<'a> {
    Record::File { name: name.as_bytes(), meta: meta(), content }
}

pub fn link<'a>(name: &'a str, target: &'a str) -> Record<'a> {
    Record::Link { name: name.as_bytes(), meta: mode(0o777), target: target.as_bytes() }
}

pub fn hard<'a>(name: &'a str, path: &'a str) -> Record<'a> {
    Record::Hard { name: name.as_bytes(), path: path.as_bytes() }
}

pub fn delete(name: &str) -> Record<'_> {
    Record::Delete { name: name.as_bytes() }
}

pub fn large(path: &str, size: u64, how: tow_proto::transfer::How) -> Record<'_> {
    Record::Large { path: path.as_bytes(), meta: meta(), size, how }
}

/// Allocated bytes of a file.
pub fn allocated(path: &Path) -> u64 {
    fs::metadata(path).unwrap().blocks() * 512
}

pub fn failures<const N: usize>(expected: [(&str, Code); N]) -> Vec<(String, Code)> {
    expected.map(|(path, code)| (path.to_owned(), code)).to_vec()
}
