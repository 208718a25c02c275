//! Who did what, from where, with what outcome: one line of JSON each, appended to a private file.
//!
//! What can't be written is counted, and the count is in the next line. Equal refusals of peers that
//! have not proved themselves are counted too once there are too many, so that a stranger can't fill
//! the disk. What programs read and write is not here, nor is the value of any variable.

mod flood;
mod line;
mod reader;

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tow_proto::message::Ended;
use tow_proto::{ByteString, Code, Trust};

use crate::identity::KeyId;
use crate::state::{self, StateError};
use flood::{Floods, Verdict};
use line::Extra;
pub use reader::{ReadTo, Reader};

/// One thing that was asked for, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Who asked.
    pub who: Who,
    /// What the device is called here; empty where it is not known.
    pub name: String,
    /// The address it came from.
    pub from: String,
    /// Whether it has proved itself: the refusals of those that have not are limited.
    pub trust: Trust,
    /// What was asked for: a verb, or `join`, `link`.
    pub what: &'static str,
    /// The program with its arguments, or the paths.
    pub detail: Vec<ByteString>,
    /// The session that it is about; empty where there is none.
    pub session: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Bytes that went either way.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
    env: Vec<ByteString>,
}

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The holder of a key.
    Key(KeyId),
    /// A user of this machine.
    Uid(u32),
    /// Nobody knows.
    Unknown,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It has begun. Another record says what came of it, unless this machine loses its power.
    Begun,
    /// It was refused.
    Refused(Code),
    /// A program ran, and ended so.
    Ended(Ended),
    /// The link was cut before it was done.
    Cut,
}

/// The audit log of a node; clones share it.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Shared>);

impl Record {
    /// A record to be filled in.
    pub fn new(who: Who, trust: Trust, what: &'static str, outcome: Outcome) -> Self {
        Self {
            who,
            name: String::new(),
            from: String::new(),
            trust,
            what,
            detail: Vec::new(),
            session: String::new(),
            outcome,
            bytes: 0,
            duration: Duration::ZERO,
            env: Vec::new(),
        }
    }

    /// Notes which variables were set. Only their names: a value may be a secret.
    #[must_use]
    pub fn with_env(mut self, env: &[(ByteString, ByteString)]) -> Self {
        self.env = env.iter().map(|(name, _)| name.clone()).collect();
        self
    }
}

impl Audit {
    /// Opens the log for as long as the node runs, and goes on counting where it stopped.
    ///
    /// # Errors
    /// It can't be opened, or is open to others.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        Self::open_rotating(path, FILE_LEN_MAX)
    }

    fn open_rotating(path: &Path, len_max: u64) -> Result<Self, StateError> {
        let mut file = open_log(path)?;
        let len = file.metadata().map_err(StateError::io(path))?.len();
        let tail = read_tail(&mut file, len).map_err(StateError::io(path))?;
        let older = || {
            let mut older = File::open(older_path(path)).ok()?;
            let len = older.metadata().ok()?.len();
            last_seq(&read_tail(&mut older, len).ok()?)
        };
        let writer = Writer {
            file: Arc::new(file),
            len,
            len_max,
            rotate_at: len_max,
            generation: 1,
            seq: last_seq(&tail).or_else(older).unwrap_or(0),
            lost: 0,
            is_torn: tail.last().is_some_and(|byte| *byte != b'\n'),
            floods: Floods::default(),
        };
        let (end, _) = watch::channel(writer.end());
        Ok(Self(Arc::new(Shared { path: path.to_owned(), writer: Mutex::new(writer), end })))
    }

    /// Appends one record. Takes as long as a write to the page cache; never fails: what can't be
    /// written is counted in the next record that can.
    pub fn record(&self, record: &Record) {
        self.record_at(record, SystemTime::now(), Instant::now());
    }

    fn record_at(&self, record: &Record, wall: SystemTime, now: Instant) {
        let mut writer = self.0.writer();
        writer.write_floods(wall, now);
        if writer.floods.judge(record, now) == Verdict::Write {
            writer.write(record, wall, None);
        }
        self.0.rotate_if_due(&mut writer);
        self.0.publish(&writer);
    }

    /// Writes the counts of what was held back, and everything to the disk. To be called every few
    /// seconds; the end of the log does it too.
    pub fn flush(&self) {
        self.0.flush(SystemTime::now(), Instant::now());
    }

    /// Reads the log from its start.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn reader(&self, to: ReadTo) -> Result<Reader, StateError> {
        Reader::new(Arc::clone(&self.0), to)
    }
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    writer: Mutex<Writer>,
    /// Up to where there are whole lines; readers wait for it to change.
    end: watch::Sender<End>,
}

/// A place in the log: files are counted from 1 at the node's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    generation: u64,
    len: u64,
}

#[derive(Debug)]
struct Writer {
    file: Arc<File>,
    len: u64,
    len_max: u64,
    rotate_at: u64,
    generation: u64,
    seq: u64,
    lost: u64,
    /// The file ends in a part of a line.
    is_torn: bool,
    floods: Floods,
}

impl Shared {
    fn writer(&self) -> MutexGuard<'_, Writer> {
        // A writer that panicked has at worst a torn line behind it.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, writer: &Writer) {
        self.end.send_if_modified(|end| std::mem::replace(end, writer.end()) != writer.end());
    }

    fn flush(&self, wall: SystemTime, now: Instant) {
        let mut writer = self.writer();
        writer.write_floods(wall, now);
        self.publish(&writer);
        let file = Arc::clone(&writer.file);
        // Requests are recorded meanwhile: they don't wait for the disk.
        drop(writer);
        if let Err(error) = file.sync_data() {
            tracing::warn!(%error, "the audit log could not be synced");
        }
    }

    /// Starts a new file once this one is long enough; the one before it is kept, older ones are not.
    fn rotate_if_due(&self, writer: &mut Writer) {
        if writer.len < writer.rotate_at {
            return;
        }
        match self.rotate() {
            Ok(file) => {
                writer.file = Arc::new(file);
                writer.len = 0;
                writer.generation += 1;
                writer.is_torn = false;
                writer.rotate_at = writer.len_max;
            }
            Err(error) => {
                tracing::warn!(%error, "the audit log can't be rotated, so it grows");
                writer.rotate_at = writer.len + writer.len_max;
            }
        }
    }

    fn rotate(&self) -> Result<File, StateError> {
        let fresh = self.path.with_extension("jsonl.new");
        let file = open_log(&fresh)?;
        fs::rename(&self.path, older_path(&self.path)).map_err(StateError::io(&self.path))?;
        fs::rename(&fresh, &self.path).map_err(StateError::io(&self.path))?;
        Ok(file)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Every window is over now.
        self.flush(SystemTime::now(), Instant::now() + flood::WINDOW);
    }
}

impl Writer {
    fn end(&self) -> End {
        End { generation: self.generation, len: self.len }
    }

    fn write_floods(&mut self, wall: SystemTime, now: Instant) {
        for (record, repeated) in self.floods.poll_over(now) {
            self.write(&record, wall, Some(repeated));
        }
    }

    fn write(&mut self, record: &Record, wall: SystemTime, repeated: Option<u64>) {
        let extra = Extra { seq: self.seq + 1, repeated, lost: self.lost };
        let mut bytes = line::render(record, wall, &extra);
        if self.is_torn {
            bytes.insert(0, b'\n');
        }
        match (&*self.file).write_all(&bytes) {
            Ok(()) => {
                self.len += bytes.len() as u64;
                self.seq += 1;
                self.lost = 0;
                self.is_torn = false;
            }
            Err(error) => self.lose(repeated.unwrap_or(1), &error),
        }
    }

    fn lose(&mut self, records: u64, error: &std::io::Error) {
        if self.lost == 0 {
            tracing::error!(%error, "the audit log can't be written; what is missing is counted");
        }
        self.lost += records;
        // A part of the line may have gone out.
        if self.file.set_len(self.len).is_err() {
            self.is_torn = true;
            self.len = self.file.metadata().map_or(self.len, |metadata| metadata.len());
        }
    }
}

fn open_log(path: &Path) -> Result<File, StateError> {
    state::open_private(path, OpenOptions::new().read(true).append(true).create(true))
}

fn older_path(path: &Path) -> PathBuf {
    path.with_extension("1.jsonl")
}

fn read_tail(file: &mut File, len: u64) -> std::io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL_LEN)))?;
    let mut tail = Vec::new();
    file.take(TAIL_LEN).read_to_end(&mut tail)?;
    Ok(tail)
}

/// The number of the last line that is whole.
fn last_seq(tail: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        seq: u64,
    }
    let mut lines = tail.split(|byte| *byte == b'\n').rev();
    lines.find_map(|line| serde_json::from_slice::<Numbered>(line).ok()).map(|line| line.seq)
}

/// Length of a file in bytes after which a new one is started.
const FILE_LEN_MAX: u64 = 64 << 20;
/// Longer than any two lines.
const TAIL_LEN: u64 = 512 << 10;

#[cfg(test)]
#[path = "audit/tests.rs"]
mod tests;
