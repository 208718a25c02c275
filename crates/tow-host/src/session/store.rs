//! Finished sessions on disk, so that a node knows them after it was restarted: for seven days, or
//! until a thousand newer ones have ended.
//!
//! A session is `ID.json`, its record, and `ID.1.log` and `ID.2.log`, what is kept of its outputs:
//! the bytes of the ranges that the record names, one after the other. The record comes last, under
//! its name by renaming, and goes first: logs without a record are nobody's. Nothing is synced to
//! the disk. A power cut may take the last records, and with them what is known about work that is
//! done; it takes no work, and a file that it left damaged is noticed and removed.
//!
//! All of it waits for the disk: not for a runtime's threads.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use tow_proto::json::{self, big};
use tow_proto::message::{ExitRecord, Lease, Program, STDERR, STDOUT, SessionInfo, StreamTotal};

use super::SessionId;
use super::log::{Kept, Log};

/// The directory of finished sessions. One process's; [`Store::load`] comes before all else.
#[derive(Clone, Debug)]
pub(super) struct Store {
    dir: Option<PathBuf>,
}

/// What is known about a session that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    /// Its name.
    #[serde(with = "id_text")]
    pub(super) id: SessionId,
    /// Who started it.
    pub(super) owner: String,
    /// The request id that they gave.
    pub(super) request: String,
    /// What was run.
    pub(super) program: Program,
    /// It had a terminal, not pipes.
    pub(super) has_terminal: bool,
    /// When it began, in seconds since 1970.
    #[serde(with = "big")]
    pub(super) started: u64,
    /// When it ended, in seconds since 1970.
    #[serde(with = "big")]
    pub(super) ended: u64,
    /// The lease that it had in the end.
    #[serde(default)]
    pub(super) lease: Lease,
    /// How it ended.
    pub(super) exit: ExitRecord,
    /// What of stdout and stderr is in the store. [`Store::save`] sets it.
    pub(super) kept: [Kept; 2],
}

impl Stored {
    /// As a list shows it.
    pub(super) fn info(&self) -> SessionInfo {
        SessionInfo {
            id: self.id.to_string(),
            owner: self.owner.clone(),
            program: self.program.clone(),
            terminal: self.has_terminal,
            started: self.started,
            lease: self.lease,
            typing: 0,
            watching: 0,
            stdout: self.exit.stdout.bytes,
            stderr: self.exit.stderr.bytes,
            exit: Some(Box::new(self.exit.clone())),
            ended: Some(self.ended),
        }
    }

    /// Length and hash of stdout (1) or stderr (2). `None` for other numbers.
    fn stream(&self, stream: u8) -> Option<(StreamTotal, Kept)> {
        match stream {
            STDOUT => Some((self.exit.stdout, self.kept[0])),
            STDERR => Some((self.exit.stderr, self.kept[1])),
            _ => None,
        }
    }

    fn is_sound(&self) -> bool {
        STREAMS
            .iter()
            .filter_map(|stream| self.stream(*stream))
            .all(|(total, kept)| kept.head_len <= kept.tail_from && kept.tail_from <= total.bytes)
    }

    /// Bytes of output that are kept.
    fn kept_len(&self) -> u64 {
        let streams = STREAMS.iter().filter_map(|stream| self.stream(*stream));
        streams.map(|(total, kept)| kept.len(total.bytes)).fold(0, u64::saturating_add)
    }
}

impl Store {
    /// The store in `dir`, which is made, for this user alone.
    ///
    /// # Errors
    /// There can't be such a directory.
    pub(super) fn open(dir: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        // It may be older, and have been opened by somebody.
        fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
        Ok(Self { dir: Some(dir) })
    }

    /// Keeps nothing.
    pub(super) fn nowhere() -> Self {
        Self { dir: None }
    }

    /// Whether anything is kept.
    pub(super) fn is_somewhere(&self) -> bool {
        self.dir.is_some()
    }

    /// All that is known, the newest last. Removes, and says so, what is damaged or does not belong
    /// here, and what a crash has left: so it is called once, before anything is saved.
    pub(super) fn load(&self) -> Vec<Stored> {
        let Some(dir) = &self.dir else { return Vec::new() };
        let mut records = read_all(dir);
        prune(dir, &mut records);
        for name in names_in(dir) {
            let is_wanted = match Item::of(&name) {
                Some(Item::Record(_)) => true,
                Some(Item::Log(id)) => record_path(dir, &id).exists(),
                Some(Item::Unfinished) => false,
                None => {
                    tracing::warn!(dir = %dir.display(), ?name, "removed: it is no session's");
                    false
                }
            };
            if !is_wanted {
                remove_if_there(&dir.join(&name)).unwrap_or_else(|error| {
                    tracing::warn!(dir = %dir.display(), ?name, %error, "it can't be removed");
                });
            }
        }
        records
    }

    /// Keeps a session's record, and what can be read of the logs that are given: `stored.kept` is
    /// set to that. A log that can't be written is left out, and that is said in our log.
    ///
    /// # Errors
    /// The record can't be written.
    pub(super) fn save(
        &self,
        stored: &mut Stored,
        logs: [Option<&dyn Copied>; 2],
    ) -> io::Result<()> {
        stored.kept = nothing_kept(&stored.exit);
        let Some(dir) = &self.dir else { return Ok(()) };
        for (index, log) in logs.into_iter().enumerate() {
            let total = stored.stream(STREAMS[index]).map_or(0, |(total, _)| total.bytes);
            // A log that is not that of the record's stream would give it wrong offsets.
            let Some(log) = log.filter(|log| log.total() == total) else { continue };
            let kept = log.kept();
            if kept.len(total) == 0 {
                continue;
            }
            let path = log_path(dir, &stored.id, STREAMS[index]);
            match write_file(&path, |file| write_log(file, log, kept)) {
                Ok(()) => stored.kept[index] = kept,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "output is not kept on disk");
                }
            }
        }
        let record = json::to_vec(stored);
        if record.len() as u64 > RECORD_LEN_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        write_file(&record_path(dir, &stored.id), |file| file.write_all(&record))
    }

    /// What was kept of stdout (1) or stderr (2). Where it is gone, or is not all there, a log of
    /// which all is missing.
    ///
    /// # Errors
    /// It can't be read now.
    pub(super) fn log(&self, stored: &Stored, stream: u8) -> io::Result<Log> {
        let Some((total, kept)) = stored.stream(stream) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let Some(dir) = self.dir.as_ref().filter(|_| kept.len(total.bytes) > 0) else {
            return Ok(Log::lost(total));
        };
        let path = log_path(dir, &stored.id, stream);
        let file = match open_regular(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Log::lost(total)),
            opened => opened?,
        };
        if file.metadata()?.len() != kept.len(total.bytes) {
            tracing::warn!(path = %path.display(), "a stored log is damaged");
            return Ok(Log::lost(total));
        }
        Ok(Log::stored(file, kept, total))
    }

    /// Forgets a session. One that is not there is no error.
    ///
    /// # Errors
    /// Its record can't be removed.
    pub(super) fn remove(&self, id: &SessionId) -> io::Result<()> {
        match &self.dir {
            Some(dir) => remove_session(dir, id),
            None => Ok(()),
        }
    }

    /// Forgets sessions that are too old or too many, and says which; of those that are left, the
    /// outputs that are too much. Reads every record: to be called now and then, not after each
    /// session.
    pub(super) fn prune(&self) -> Vec<SessionId> {
        let Some(dir) = &self.dir else { return Vec::new() };
        prune(dir, &mut read_all(dir))
    }
}

/// A log that is complete, copied portion by portion: whoever waits for its lock does not wait for
/// the disk that the copy goes to.
pub(super) trait Copied {
    /// See [`Log::total`].
    fn total(&self) -> u64;
    /// See [`Log::kept`].
    fn kept(&self) -> Kept;
    /// Bytes from an offset on, at most so many; none where they are kept no more.
    fn copy(&self, from: u64, len_max: usize) -> Vec<u8>;
}

impl Copied for Log {
    fn total(&self) -> u64 {
        self.total()
    }

    fn kept(&self) -> Kept {
        self.kept()
    }

    fn copy(&self, from: u64, len_max: usize) -> Vec<u8> {
        if self.readable_from(from) == from { self.copy(from, len_max) } else { Vec::new() }
    }
}

/// A file of a store, by its name.
enum Item {
    Record(SessionId),
    Log(SessionId),
    /// What a crash has left while it was written.
    Unfinished,
}

impl Item {
    fn of(name: &OsStr) -> Option<Self> {
        let (id, rest) = name.to_str()?.split_once('.')?;
        let id = SessionId::parse(id)?;
        match rest {
            "json" => Some(Self::Record(id)),
            "1.log" | "2.log" => Some(Self::Log(id)),
            "json.new" | "1.log.new" | "2.log.new" => Some(Self::Unfinished),
            _ => None,
        }
    }
}

fn record_path(dir: &Path, id: &SessionId) -> PathBuf {
    dir.join(format!("{id}.json"))
}

fn log_path(dir: &Path, id: &SessionId, stream: u8) -> PathBuf {
    dir.join(format!("{id}.{stream}.log"))
}

fn names_in(dir: &Path) -> Vec<OsString> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name()).collect(),
        Err(error) => {
            tracing::warn!(dir = %dir.display(), %error, "finished sessions can't be read");
            Vec::new()
        }
    }
}

/// Every record, by the time of its end. Damaged ones are removed.
fn read_all(dir: &Path) -> Vec<Stored> {
    let mut records = Vec::new();
    for name in names_in(dir) {
        let Some(Item::Record(id)) = Item::of(&name) else { continue };
        match read_record(dir, &id) {
            Ok(stored) => records.push(stored),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(%id, "removed: a session's record is damaged");
                warn_of(&id, remove_session(dir, &id));
            }
            Err(error) => tracing::warn!(%id, %error, "a session's record can't be read"),
        }
    }
    records.sort_by(|one, other| (one.ended, &one.id).cmp(&(other.ended, &other.id)));
    records
}

/// `InvalidData` for what will never be a record.
fn read_record(dir: &Path, id: &SessionId) -> io::Result<Stored> {
    let damaged = || io::Error::from(io::ErrorKind::InvalidData);
    let file = open_regular(&record_path(dir, id))?;
    let mut bytes = Vec::new();
    // Of what is longer, a part: that is no record either.
    file.take(RECORD_LEN_MAX).read_to_end(&mut bytes)?;
    let stored: Stored = json::from_slice(&bytes).map_err(|_| damaged())?;
    if stored.id == *id && stored.is_sound() { Ok(stored) } else { Err(damaged()) }
}

/// `InvalidData` for what is no file. Never waits for a pipe's other end.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let is_regular = fs::symlink_metadata(path)?.is_file();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    match file {
        Ok(file) if is_regular => Ok(file),
        Err(error) if is_regular => Err(error),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Makes a file that is there as a whole or not at all, for this user alone.
fn write_file(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished);
    let written =
        file.and_then(|mut file| fill(&mut file)).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        // It would also go at the next start.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

fn write_log(file: &mut File, log: &dyn Copied, kept: Kept) -> io::Result<()> {
    for range in kept.ranges(log.total()) {
        let mut at = range.start;
        while at < range.end {
            let left = usize::try_from(range.end - at).unwrap_or(usize::MAX);
            let bytes = log.copy(at, left.min(COPY_LEN_MAX));
            if bytes.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.write_all(&bytes)?;
            at += bytes.len() as u64;
        }
    }
    Ok(())
}

/// The record first: without it the rest is nobody's.
fn remove_session(dir: &Path, id: &SessionId) -> io::Result<()> {
    remove_if_there(&record_path(dir, id))?;
    remove_logs(dir, id)
}

fn remove_logs(dir: &Path, id: &SessionId) -> io::Result<()> {
    STREAMS.iter().try_for_each(|stream| remove_if_there(&log_path(dir, id, *stream)))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Brings `records`, the newest last, and the directory within the limits.
fn prune(dir: &Path, records: &mut Vec<Stored>) -> Vec<SessionId> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let oldest = now.saturating_sub(AGE_MAX).as_secs();
    let too_many = records.len().saturating_sub(RECORDS_MAX);
    let too_old = records.iter().take_while(|stored| stored.ended < oldest).count();
    let removed: Vec<SessionId> =
        records.drain(..too_many.max(too_old)).map(|stored| stored.id).collect();
    for id in &removed {
        warn_of(id, remove_session(dir, id));
    }
    let mut len = 0_u64;
    for stored in records.iter_mut().rev() {
        len = len.saturating_add(stored.kept_len());
        if len > LOGS_LEN_MAX && stored.kept_len() > 0 {
            warn_of(&stored.id, remove_logs(dir, &stored.id));
            stored.kept = nothing_kept(&stored.exit);
        }
    }
    removed
}

fn warn_of(id: &SessionId, removed: io::Result<()>) {
    if let Err(error) = removed {
        tracing::warn!(%id, %error, "a finished session can't be removed");
    }
}

fn nothing_kept(exit: &ExitRecord) -> [Kept; 2] {
    [Kept::nothing(exit.stdout.bytes), Kept::nothing(exit.stderr.bytes)]
}

/// A session's name as JSON has it.
mod id_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::SessionId;

    pub(super) fn serialize<S: Serializer>(
        id: &SessionId,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(id.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SessionId, D::Error> {
        let text = String::deserialize(deserializer)?;
        SessionId::parse(&text).ok_or_else(|| de::Error::custom("expected a session's name"))
    }
}

/// How long a finished session is known.
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How many finished sessions are known.
const RECORDS_MAX: usize = 1_000;
/// Bytes of a record. Its arguments are at most 128 KiB, and at most six times that in JSON.
const RECORD_LEN_MAX: u64 = 1 << 20;
/// Bytes of output that all finished sessions keep together; the newest keep theirs.
const LOGS_LEN_MAX: u64 = 1 << 30;
/// Bytes that are copied at once.
const COPY_LEN_MAX: usize = 256 << 10;
/// The outputs' numbers, by index.
const STREAMS: [u8; 2] = [STDOUT, STDERR];

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
