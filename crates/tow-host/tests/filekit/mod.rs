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

use tow_host::beneath::Root;
use tow_host::files::{
    Destination, HaveSet, Item, Outgoing, Progress, Receiver, Rejected, Source, Step,
};
use tow_proto::message::{EntryKind, Failure, Have, Summary, TransferEvent};
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
    pub had: Vec<Have>,
    /// `from` of every file that was sent.
    pub starts: Vec<(ByteString, u64)>,
    pub breaks: usize,
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
}

/// Where a transfer goes and who makes it.
pub struct Move<'a> {
    pub from: &'a Root,
    pub path: ByteString,
    pub to: &'a Root,
    pub dest: ByteString,
    pub key: &'a str,
}

impl<'a> Move<'a> {
    pub fn new(from: &'a Root, path: &str, to: &'a Root, dest: &str) -> Self {
        Self { from, path: path.into(), to, dest: dest.into(), key: "key" }
    }

    pub fn run(&self) -> Result<Outcome, Refusal> {
        self.run_until(|_| ControlFlow::Continue(()))
    }

    /// Goes on until `gate` stops it: called with each item before it is delivered.
    pub fn run_until(
        &self,
        gate: impl FnMut(&Item) -> ControlFlow<()>,
    ) -> Result<Outcome, Refusal> {
        let source = Source::offer(self.from, &self.path, "box")?;
        let destination = self.prepare(&source)?;
        let progress = Arc::new(Progress::default());
        let outgoing = source.scan(&Progress::default());
        deliver(outgoing, destination, progress, gate)
    }

    pub fn prepare(&self, source: &Source) -> Result<Destination, Refusal> {
        Destination::prepare(
            self.to,
            &self.dest,
            source.kind(),
            source.name(),
            source.source(),
            self.key,
        )
    }
}

/// Carries everything from one end to the other.
pub fn deliver(
    outgoing: Outgoing,
    mut destination: Destination,
    progress: Arc<Progress>,
    mut gate: impl FnMut(&Item) -> ControlFlow<()>,
) -> Result<Outcome, Refusal> {
    let (mut have, mut had) = (HaveSet::new(), Vec::new());
    let _ = destination.have(&progress, &mut |one| {
        have.add(one.clone()).unwrap();
        had.push(one);
        ControlFlow::Continue(())
    });
    let mut receiver = destination.receive(Arc::clone(&progress));
    let rejected = Rejected::default();
    let mut outcome = Outcome {
        summary: None,
        failed: Vec::new(),
        had,
        starts: Vec::new(),
        breaks: 0,
        bytes: 0,
        progress,
    };
    let mut violated = None;
    let sent = outgoing.send(have, &rejected, &Progress::default(), &mut |item| {
        gate(&item)?;
        outcome.note(&item);
        let result = receiver.handle(item, &mut |event| {
            let TransferEvent::Failed(failure) = event else { panic!("unexpected {event:?}") };
            rejected.reject(&failure.path);
            outcome.failed.push(failure);
        });
        match result {
            Ok(Step::More | Step::Finished) => ControlFlow::Continue(()),
            Err(refusal) => {
                violated = Some(refusal);
                ControlFlow::Break(())
            }
        }
    });
    if let Some(refusal) = violated {
        return Err(refusal);
    }
    if sent.is_continue() {
        outcome.summary = Some(receiver.finish(&mut |event| {
            if let TransferEvent::Failed(failure) = event {
                outcome.failed.push(failure);
            }
        }));
    }
    Ok(outcome)
}

impl Outcome {
    fn note(&mut self, item: &Item) {
        match item {
            Item::Data(chunk) => self.bytes += chunk.payload().len() as u64,
            Item::Event(TransferEvent::File { path, from, .. }) => {
                self.starts.push((path.clone(), *from));
            }
            Item::Event(TransferEvent::Break) => self.breaks += 1,
            Item::Event(TransferEvent::Failed(failure)) => self.failed.push(failure.clone()),
            _ => {}
        }
    }
}

/// A receiver for items of a test's own making.
pub fn receiver(root: &Root, dest: &str, kind: EntryKind, name: &str) -> Receiver {
    let mut destination =
        Destination::prepare(root, &dest.into(), kind, &name.into(), &"evil:/x".into(), "key")
            .unwrap();
    let progress = Arc::new(Progress::default());
    let _ = destination.have(&progress, &mut |_| ControlFlow::Continue(()));
    destination.receive(progress)
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
