//! A transfer within one process, and throw-away directories for it.
#![allow(dead_code, unreachable_pub, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, channel};
use std::thread;

use tow_host::beneath::Root;
use tow_host::files::item::Item;
use tow_host::files::receive::{Answerer, Destination, Receiver, Step};
use tow_host::files::send::{Answer, Inbox, Outgoing};
use tow_host::files::{Progress, Source};
use tow_proto::frame::PREFIX_LEN;
use tow_proto::message::{Failure, Summary};
use tow_proto::transfer::{Columns, Event, How, Options, Pack, Question, Record};
use tow_proto::{ByteString, Code, Refusal};

/// A directory that is removed with everything in it.
pub struct Dir(PathBuf);

impl Dir {
    pub fn new(what: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tow-{what}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().canonicalize().unwrap().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: impl AsRef<[u8]>) -> PathBuf {
        self.0.join(OsStr::from_bytes(name.as_ref()))
    }

    pub fn write(&self, name: impl AsRef<[u8]>, content: &[u8]) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn root(&self) -> Root {
        Root::open(&self.0, &self.0).unwrap()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::process::Command::new("chmod").arg("-R").arg("u+rwX").arg(&self.0).status();
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes that compress and repeat nowhere, the same for the same seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// What a transfer came to.
#[derive(Debug)]
pub struct Outcome {
    /// `None` where it was cut.
    pub summary: Option<Summary>,
    /// From either side.
    pub failed: Vec<Failure>,
    /// Every `large`: its path and how it was sent.
    pub larges: Vec<(ByteString, How)>,
    pub breaks: usize,
    /// How often the sender said that this was all.
    pub finishes: usize,
    /// Bytes of data frames and of small files.
    pub bytes: u64,
    pub progress: Arc<Progress>,
}

impl Outcome {
    pub fn summary(&self) -> Summary {
        self.summary.expect("the transfer was not cut")
    }

    pub fn code_of(&self, path: &str) -> Option<Code> {
        self.failed.iter().find(|one| one.path == path.into()).map(|one| one.why.code)
    }

    pub fn how(&self, path: &str) -> Option<How> {
        self.larges.iter().rfind(|(sent, _)| *sent == path.into()).map(|(_, how)| *how)
    }

    fn note(&mut self, item: &Item, columns: Columns) {
        match item {
            Item::Data(chunk) => self.bytes += chunk.payload().len() as u64,
            Item::Event(Event::Break) => self.breaks += 1,
            Item::Event(Event::Failed(failure)) => self.failed.push(failure.clone()),
            Item::Pack(payload) => {
                let pack = Pack::open(payload.clone(), columns).unwrap();
                for record in pack.records() {
                    match record.unwrap() {
                        Record::File { content, .. } => self.bytes += content.len() as u64,
                        Record::Large { path, how, .. } => self.larges.push((path.into(), how)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// Where a transfer goes, who makes it and how.
pub struct Move<'a> {
    pub from: &'a Root,
    pub path: ByteString,
    pub to: &'a Root,
    pub dest: ByteString,
    pub key: &'a str,
    pub options: Options,
    pub pace: Pace,
}

/// When the receiver gets what the sender gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    AtOnce,
    /// Not before the sender has said that this was all.
    AtTheEnd,
}

impl<'a> Move<'a> {
    pub fn new(from: &'a Root, path: &str, to: &'a Root, dest: &str) -> Self {
        let options = Options::default();
        let pace = Pace::AtOnce;
        Self { from, path: path.into(), to, dest: dest.into(), key: "key", options, pace }
    }

    pub fn run(&self) -> Result<Outcome, Refusal> {
        self.run_until(|_| ControlFlow::Continue(()))
    }

    /// Goes on until `gate` stops it: called with each item of the sender before it is delivered.
    pub fn run_until(
        &self,
        gate: impl FnMut(&Item) -> ControlFlow<()>,
    ) -> Result<Outcome, Refusal> {
        let source = Source::offer(self.from, &self.path, "box")?;
        let destination = self.prepare(&source)?;
        let outgoing = source.open(self.options.clone(), Arc::default(), Arc::new(()))?;
        deliver(outgoing, destination, &self.options, self.pace, gate)
    }

    pub fn prepare(&self, source: &Source) -> Result<Destination, Refusal> {
        Destination::prepare(
            self.to,
            &self.dest,
            source.kind(),
            source.name(),
            source.source(),
            self.key,
            &self.options,
        )
    }
}

/// Carries everything from one end to the other.
pub fn deliver(
    outgoing: Outgoing,
    destination: Destination,
    options: &Options,
    pace: Pace,
    mut gate: impl FnMut(&Item) -> ControlFlow<()>,
) -> Result<Outcome, Refusal> {
    let progress = Arc::new(Progress::default());
    let (receiver, answerer) = destination.open(Arc::clone(&progress), Arc::new(()));
    let (inbox, columns) = (Inbox::default(), Columns::from(options));
    let (questions, asked) = channel::<Question>();
    thread::scope(|scope| {
        let inbox = &inbox;
        scope.spawn(move || answer_all(answerer, asked, inbox));
        let mut sink = Sink::new(receiver, inbox, progress);
        let mut is_cut = false;
        let sent = outgoing.send(inbox, &mut |item| {
            let item = match item {
                Item::Pack(buffer) => Item::Pack(without_room(buffer)),
                Item::DataZstd(buffer) => Item::DataZstd(without_room(buffer)),
                item => item,
            };
            if gate(&item).is_break() {
                is_cut = true;
                return ControlFlow::Break(());
            }
            sink.outcome.note(&item, columns);
            if let Item::Event(event) = &item
                && let Some(question) = event.question()
            {
                questions.send(question).unwrap();
                return ControlFlow::Continue(());
            }
            sink.take(item, pace)
        });
        drop(questions);
        let _ = sent?;
        sink.finish(is_cut)
    })
}

fn answer_all(mut answerer: Answerer, asked: mpsc::Receiver<Question>, inbox: &Inbox) {
    let mut emit = |item| {
        match item {
            Item::Pack(buffer) => inbox.push(Answer::Pack(without_room(buffer))),
            Item::Event(Event::HaveEnd) => inbox.push(Answer::HaveEnd),
            item => panic!("unexpected {item:?}"),
        }
        ControlFlow::Continue(())
    };
    let _ = answerer.have(&mut emit);
    for question in asked {
        question.check().unwrap();
        let _ = answerer.answer(question, &mut emit);
    }
}

/// The receiver, and what it says.
struct Sink<'a> {
    receiver: Receiver,
    inbox: &'a Inbox,
    says: Result<Step, Refusal>,
    waiting: Vec<Item>,
    outcome: Outcome,
}

impl<'a> Sink<'a> {
    fn new(receiver: Receiver, inbox: &'a Inbox, progress: Arc<Progress>) -> Self {
        let outcome = Outcome {
            summary: None,
            failed: Vec::new(),
            larges: Vec::new(),
            breaks: 0,
            finishes: 0,
            bytes: 0,
            progress,
        };
        Self { receiver, inbox, says: Ok(Step::More), waiting: Vec::new(), outcome }
    }

    fn take(&mut self, item: Item, pace: Pace) -> ControlFlow<()> {
        let is_last = matches!(item, Item::Event(Event::Finish));
        self.outcome.finishes += usize::from(is_last);
        self.waiting.push(item);
        if pace == Pace::AtTheEnd && !is_last {
            return ControlFlow::Continue(());
        }
        for item in self.waiting.drain(..) {
            self.says = self.receiver.handle(item, &mut |event| {
                let Event::Failed(failure) = event else { panic!("unexpected {event:?}") };
                let (path, code) = (failure.path.clone(), failure.why.code);
                self.inbox.push(Answer::Failed { path, code });
                self.outcome.failed.push(failure);
            });
            if self.says.is_err() {
                return ControlFlow::Break(());
            }
        }
        if matches!(self.says, Ok(Step::Finished)) {
            self.inbox.close();
        }
        ControlFlow::Continue(())
    }

    fn finish(mut self, is_cut: bool) -> Result<Outcome, Refusal> {
        if self.says? == Step::Finished && !is_cut {
            self.outcome.summary = Some(self.receiver.finish(&mut |event| {
                if let Event::Failed(failure) = event {
                    self.outcome.failed.push(failure);
                }
            }));
        }
        Ok(self.outcome)
    }
}

fn without_room(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.drain(..PREFIX_LEN);
    buffer
}

/// Every path below `top` with what matters of it, sorted.
pub fn picture(top: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut waiting = vec![top.to_path_buf()];
    while let Some(path) = waiting.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(top).unwrap().as_os_str().as_bytes().escape_ascii();
        let mode = meta.permissions().mode() & 0o7777;
        let (secs, nanos) = (meta.mtime(), meta.mtime_nsec());
        if meta.is_dir() {
            lines.push(format!("{name}/ {mode:o} {secs}.{nanos:09}"));
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if meta.is_symlink() {
            let target = std::fs::read_link(&path).unwrap();
            lines.push(format!("{name} -> {} {secs}.{nanos:09}", target.display()));
        } else if meta.is_file() {
            let hash = blake3::hash(&std::fs::read(&path).unwrap());
            lines.push(format!("{name} {mode:o} {secs}.{nanos:09} {} {hash}", meta.len()));
        } else {
            lines.push(format!("{name} special"));
        }
    }
    lines.sort();
    lines
}

/// Names of partial files below `top`.
pub fn partials(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![top.to_path_buf()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() && !path.is_symlink() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.as_os_str().as_bytes().ends_with(b".tow-part") {
            found.push(path);
        }
    }
    found
}
