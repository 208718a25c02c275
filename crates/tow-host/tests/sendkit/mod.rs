//! A receiver that is only a model: a tree in memory that answers and obeys a sender.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex};

use tow_host::files::item::{Change, Item, Watch};
use tow_host::files::send::{Answer, Inbox};
use tow_host::files::{Progress, Source};
use tow_proto::message::{EntryKind, Failure, Mtime};
use tow_proto::transfer::{
    Columns, Device, Digest, Entry, Event, How, Listing, Meta, Options, Pack, PackWriter,
    PieceTally, Question, Record, RunReader, What, piece_len, sign,
};
use tow_proto::{Code, Refusal};

use crate::filekit::Dir;

/// Something in the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Dir(Meta),
    File(Meta, Vec<u8>),
    Link(Meta, Vec<u8>),
    Special(Meta, Device),
}

/// A tree by path; the top is the empty path.
pub type Tree = BTreeMap<Vec<u8>, Node>;

/// What is on disk.
pub fn load(top: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut waiting = vec![top.to_path_buf()];
    while let Some(path) = waiting.pop() {
        let found = std::fs::symlink_metadata(&path).unwrap();
        let mtime = Mtime(found.mtime(), found.mtime_nsec() as u32);
        let meta = Meta { mode: found.permissions().mode() & 0o777, mtime, owner: None };
        let node = if found.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Node::Dir(meta)
        } else if found.is_symlink() {
            Node::Link(meta, std::fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
        } else if found.is_file() {
            Node::File(meta, std::fs::read(&path).unwrap())
        } else {
            Node::Special(meta, Device::Pipe)
        };
        let inner = path.strip_prefix(top).unwrap().as_os_str().as_bytes();
        tree.insert(inner.to_vec(), node);
    }
    tree
}

/// Every change that was reported.
#[derive(Default)]
pub struct Notes(pub Mutex<Vec<(Change, String, u64)>>);

impl Watch for Notes {
    fn item(&self, change: Change, path: &[u8], size: u64) {
        let path = String::from_utf8_lossy(path).into_owned();
        self.0.lock().unwrap().push((change, path, size));
    }
}

impl Notes {
    pub fn take(&self) -> Vec<(Change, String)> {
        let notes = std::mem::take(&mut *self.0.lock().unwrap());
        let mut notes: Vec<_> = notes.into_iter().map(|(change, path, _)| (change, path)).collect();
        notes.sort_by(|(_, one), (_, other)| one.cmp(other));
        notes
    }
}

/// The content of the file that is coming.
struct Coming {
    path: Vec<u8>,
    meta: Meta,
    size: u64,
    how: How,
    content: Vec<u8>,
    at: usize,
    runs: RunReader,
}

/// Called with each item before it is delivered; a break cuts the transfer there.
pub type Gate = Box<dyn FnMut(&Item) -> ControlFlow<()>>;

/// The model, what it was told, and how it behaves.
pub struct Fake {
    pub options: Options,
    pub tree: Tree,
    pub parts: BTreeMap<Vec<u8>, Vec<u8>>,
    pub inbox: Arc<Inbox>,
    pub notes: Arc<Notes>,
    pub progress: Arc<Progress>,
    /// Called with each item before it is taken.
    pub gate: Gate,
    /// The questions for pieces are left to the test.
    pub parts_are_silent: bool,
    /// Partial files are gone when they are asked for.
    pub forgets_parts: bool,
    /// Nothing is said of what is there.
    pub is_silent: bool,
    /// This file comes out wrong, and that is said after the end.
    pub corrupts: Option<Vec<u8>>,
    pub seen: Seen,
    dir: Option<Vec<u8>>,
    coming: Option<Coming>,
    is_over: bool,
}

/// What was seen of the sender.
#[derive(Debug, Default)]
pub struct Seen {
    pub failed: Vec<(String, Code)>,
    pub deleted: Vec<String>,
    pub hard: Vec<(String, String)>,
    pub large: Vec<(String, How)>,
    pub meta: Vec<String>,
    pub questions: Vec<Question>,
    pub same: (u64, u64),
    pub plans: Vec<(u64, u64)>,
    pub packs: usize,
    pub breaks: usize,
    pub ends: usize,
    pub holes: u64,
    pub offsets: Vec<u64>,
    /// Bytes of content in data frames and small files.
    pub bytes: u64,
    pub copied: u64,
    /// Bytes of packs and compressed content as they would go over the link.
    pub wire: u64,
    pub finishes: usize,
}

impl Fake {
    pub fn new(tree: Tree, options: Options) -> Self {
        Self {
            options,
            tree,
            parts: BTreeMap::new(),
            inbox: Arc::new(Inbox::default()),
            notes: Arc::default(),
            progress: Arc::default(),
            gate: Box::new(|_| ControlFlow::Continue(())),
            parts_are_silent: false,
            forgets_parts: false,
            is_silent: false,
            corrupts: None,
            seen: Seen::default(),
            dir: None,
            coming: None,
            is_over: false,
        }
    }

    /// Lets `path` beneath `from` be sent to this receiver.
    pub fn run(&mut self, from: &Dir, path: &str) -> Result<ControlFlow<()>, Refusal> {
        let source = Source::offer(&from.root(), &path.into(), "box").unwrap();
        let is_file = source.kind() == EntryKind::File;
        let (notes, progress) = (Arc::clone(&self.notes), Arc::clone(&self.progress));
        let outgoing = source.open(self.options.clone(), progress, notes)?;
        if !self.is_silent {
            self.have(is_file);
        }
        let inbox = Arc::clone(&self.inbox);
        let result = outgoing.send(&inbox, &mut |item| self.take(item));
        if let Ok(ControlFlow::Continue(())) = result {
            assert!(self.is_over && self.coming.is_none());
        }
        result
    }

    fn have(&mut self, is_file: bool) {
        let mut pack = self.pack();
        for (path, node) in &self.tree {
            if matches!(node, Node::Dir(_)) {
                let digest = self.listing(path).digest(self.columns());
                let digest = if is_file { Digest::default() } else { digest };
                pack.record(&Record::Digest { path, digest });
                if pack.room() < PackWriter::RECORD_LEN_MAX {
                    let full = std::mem::replace(&mut pack, self.pack());
                    self.inbox.push(Answer::Pack(full.seal(None)));
                }
            }
        }
        self.inbox.push(Answer::Pack(pack.seal(None)));
        self.inbox.push(Answer::HaveEnd);
    }

    fn columns(&self) -> Columns {
        Columns::from(&self.options)
    }

    fn pack(&self) -> PackWriter {
        PackWriter::new(0, self.columns())
    }

    pub fn listing(&self, dir: &[u8]) -> Listing {
        let inner = |path: &[u8]| {
            let rest = match dir {
                b"" => path,
                dir => path.strip_prefix(dir)?.strip_prefix(b"/")?,
            };
            (!rest.is_empty() && !rest.contains(&b'/')).then(|| rest.to_vec())
        };
        let mut entries: Vec<Entry> = Vec::new();
        for (path, node) in &self.tree {
            let Some(name) = inner(path) else { continue };
            let (what, meta) = match node {
                Node::Dir(meta) => (What::Dir, meta),
                Node::File(meta, content) => {
                    let hash = tow_proto::content::Hash(*blake3::hash(content).as_bytes());
                    let hash = self.options.checksum.then(|| Box::new(hash));
                    (What::File { size: content.len() as u64, hash }, meta)
                }
                Node::Link(meta, target) => (What::Link { target: target.clone().into() }, meta),
                Node::Special(meta, device) => (What::Special(*device), meta),
            };
            entries.push(Entry { name: name.into(), what, meta: meta.clone() });
        }
        for (path, content) in &self.parts {
            let Some(name) = inner(path) else { continue };
            let what = What::Part { len: content.len() as u64 };
            entries.push(Entry { name: name.into(), what, meta: Meta::default() });
        }
        // Stable: a partial file comes after what has its name.
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Listing { path: dir.to_vec(), entries, is_complete: true }
    }

    fn answer(&mut self, question: Question) {
        let mut answers = Vec::new();
        match &question {
            Question::List(paths) => {
                assert!(!paths.is_empty());
                for path in paths {
                    let listing = self.listing(path.as_bytes());
                    let mut from = 0;
                    loop {
                        let mut pack = self.pack();
                        from = pack.listing(&listing, from);
                        answers.push(pack.seal(None));
                        if from == listing.entries.len() {
                            break;
                        }
                    }
                }
            }
            Question::Pieces(_) if self.parts_are_silent => {}
            Question::Pieces(path) => {
                if self.forgets_parts {
                    self.parts.clear();
                }
                let part = self.parts.get(path.as_bytes()).cloned().unwrap_or_default();
                let len = part.len() as u64;
                let chunks = part.chunks(piece_len(len) as usize).enumerate();
                let hashes: Vec<_> = chunks
                    .map(|(index, piece)| {
                        let mut tally = PieceTally::new(len, index as u64);
                        tally.update(piece);
                        tally.hash()
                    })
                    .collect();
                let mut pack = self.pack();
                assert_eq!(pack.pieces(path.as_bytes(), 0, &hashes), hashes.len());
                answers.push(pack.seal(None));
            }
            Question::Blocks { path, len, seed } => {
                let mut signatures = Vec::new();
                if let Some(Node::File(_, content)) = self.tree.get(path.as_bytes()) {
                    sign(content, *len, *seed, &mut signatures);
                }
                let mut rest = signatures.as_slice();
                loop {
                    let mut pack = self.pack();
                    rest = &rest[pack.blocks(path.as_bytes(), rest)..];
                    answers.push(pack.seal(None));
                    if rest.is_empty() {
                        break;
                    }
                }
            }
        }
        self.seen.questions.push(question);
        answers.into_iter().for_each(|answer| self.inbox.push(Answer::Pack(answer)));
    }

    fn take(&mut self, item: Item) -> ControlFlow<()> {
        (self.gate)(&item)?;
        match item {
            Item::Event(event) => self.event(event),
            Item::Pack(buf) => {
                self.seen.packs += 1;
                self.seen.wire += buf.len() as u64;
                let payload = buf[tow_proto::frame::PREFIX_LEN..].to_vec();
                let pack = Pack::open(payload, self.columns()).unwrap();
                self.dir = None;
                for record in pack.records() {
                    assert!(self.coming.as_ref().is_none_or(|coming| coming.how != How::Whole));
                    self.record(record.unwrap());
                }
            }
            Item::Data(chunk) => {
                assert_eq!(chunk.headroom(), tow_proto::frame::PREFIX_LEN);
                self.seen.wire += chunk.payload().len() as u64;
                self.content(chunk.payload());
            }
            Item::DataZstd(buf) => {
                self.seen.wire += buf.len() as u64;
                let packed = &buf[tow_proto::frame::PREFIX_LEN..];
                self.content(&zstd::bulk::decompress(packed, 1 << 20).unwrap());
            }
            Item::End(end) => {
                let coming = self.coming.take().unwrap();
                let mut content = coming.content;
                content.truncate(coming.size as usize);
                assert_eq!(content.len() as u64, end.total);
                self.seen.ends += 1;
                let path = String::from_utf8_lossy(&coming.path).into_owned();
                assert_eq!(*blake3::hash(&content).as_bytes(), end.blake3.0, "{path}");
                self.parts.remove(&coming.path);
                self.tree.insert(coming.path, Node::File(coming.meta, content));
            }
        }
        ControlFlow::Continue(())
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Plan { files, bytes } => self.seen.plans.push((files, bytes)),
            Event::At { offset } => {
                self.seen.offsets.push(offset);
                self.coming.as_mut().unwrap().at = offset as usize;
            }
            Event::Hole { len } => {
                self.seen.holes += len;
                self.put(&vec![0; len as usize]);
            }
            Event::Break => {
                self.seen.breaks += 1;
                self.coming = None;
            }
            Event::Failed(Failure { path, why, .. }) => {
                let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
                self.seen.failed.push((path, why.code));
            }
            Event::Finish => {
                self.seen.finishes += 1;
                self.is_over = true;
                match self.corrupts.take() {
                    Some(path) => {
                        self.inbox.push(Answer::Failed { path: path.into(), code: Code::Corrupt });
                    }
                    None => self.inbox.close(),
                }
            }
            event => {
                let question = event.question().unwrap();
                question.check().unwrap();
                self.answer(question);
            }
        }
    }

    fn content(&mut self, bytes: &[u8]) {
        self.seen.bytes += bytes.len() as u64;
        self.put(bytes);
    }

    fn put(&mut self, bytes: &[u8]) {
        let coming = self.coming.as_mut().unwrap();
        let end = coming.at + bytes.len();
        if coming.content.len() < end {
            coming.content.resize(end, 0);
        }
        coming.content[coming.at..end].copy_from_slice(bytes);
        coming.at = end;
    }

    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        match self.dir.as_deref().expect("a pack begins with its directory") {
            b"" => name.to_vec(),
            dir => [dir, name].join(&b'/'),
        }
    }

    fn record(&mut self, record: Record<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match record {
            Record::Enter { path } => {
                assert!(path.is_empty() || matches!(self.tree.get(path), Some(Node::Dir(_))));
                self.dir = Some(path.to_vec());
            }
            Record::Dir { path, meta } => {
                self.tree.insert(path.to_vec(), Node::Dir(meta));
                self.dir = Some(path.to_vec());
            }
            Record::File { name, meta, content } => {
                self.seen.bytes += content.len() as u64;
                self.tree.insert(self.path_of(name), Node::File(meta, content.to_vec()));
            }
            Record::Link { name, meta, target } => {
                self.tree.insert(self.path_of(name), Node::Link(meta, target.to_vec()));
            }
            Record::Special { name, meta, device } => {
                self.tree.insert(self.path_of(name), Node::Special(meta, device));
            }
            Record::Hard { name, path } => {
                self.seen.hard.push((text(&self.path_of(name)), text(path)));
                if let Some(node) = self.tree.get(path).cloned() {
                    self.tree.insert(self.path_of(name), node);
                }
            }
            Record::Meta { name, meta } => {
                let path = self.path_of(name);
                self.seen.meta.push(text(&path));
                let (Node::Dir(old)
                | Node::File(old, _)
                | Node::Link(old, _)
                | Node::Special(old, _)) = self.tree.get_mut(&path).unwrap();
                *old = meta;
            }
            Record::Delete { name } => {
                let path = self.path_of(name);
                self.seen.deleted.push(text(&path));
                let inside = [path.as_slice(), b"/"].concat();
                self.tree.retain(|known, _| *known != path && !known.starts_with(&inside));
            }
            Record::Same { files, bytes } => {
                self.seen.same.0 += files;
                self.seen.same.1 += bytes;
            }
            Record::Large { path, meta, size, how } => self.begin(path, meta, size, how),
            Record::Copy { runs } => {
                let path = self.coming.as_ref().unwrap().path.clone();
                let Some(Node::File(_, old)) = self.tree.get(&path).cloned() else { panic!() };
                for run in runs {
                    let range = self.coming.as_mut().unwrap().runs.range(run).unwrap();
                    self.seen.copied += range.end - range.start;
                    self.put(&old[range.start as usize..range.end as usize]);
                }
            }
            record => panic!("{record:?} from a sender"),
        }
    }

    fn begin(&mut self, path: &[u8], meta: Meta, size: u64, how: How) {
        self.seen.large.push((String::from_utf8_lossy(path).into_owned(), how));
        let old_size = match self.tree.get(path) {
            Some(Node::File(_, content)) => content.len() as u64,
            _ => 0,
        };
        let block_len = if let How::Blocks { len } = how { len } else { 1 };
        let content = match how {
            How::Resume { .. } => self.parts.get(path).cloned().unwrap_or_default(),
            How::Whole | How::Blocks { .. } => Vec::new(),
        };
        let runs = RunReader::new(old_size, block_len);
        let path = path.to_vec();
        self.coming = Some(Coming { path, meta, size, how, content, at: 0, runs });
    }
}
