//! Where an archive's content comes from: the disk of this machine, or a link to another one.
//!
//! Everything here blocks, and runs on a thread of its own.

use std::ops::ControlFlow;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tow_host::beneath::Root;
use tow_host::files::{Content, Found, Sent, walk};
use tow_node::ask::ls::{Depth, ls};
use tow_node::ask::read::{self, Content as Came};
use tow_node::ask::{AskError, Connection};
use tow_proto::message::{Entry, EntryKind, Mtime, Read, Request, Stat, StatReply};
use tow_proto::{ByteString, Code, Refusal};

use super::plan::Planned;
use crate::machine::Machine;

/// What is read from.
pub(super) enum Source {
    /// This machine.
    Here(Root),
    /// Another one.
    There(Box<There>),
}

/// A link to another machine, made anew where it was lost.
pub(super) struct There {
    machine: Machine,
    runtime: Handle,
    connection: Option<Connection>,
}

/// Why content did not come to its end.
#[derive(Debug)]
pub(super) enum Broken {
    /// Nobody reads on.
    Unread,
    /// The file is not what it was, or can't be read.
    Lost,
}

impl Source {
    /// Gives what is at `path` and everything in it, as [`walk`] does.
    ///
    /// # Errors
    /// As of [`walk`].
    pub(super) fn walk(
        &mut self,
        path: &ByteString,
        count_max: usize,
        emit: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), Refusal> {
        match self {
            Self::Here(root) => walk(root, path, count_max, emit),
            Self::There(there) => there.walk(path, count_max, emit),
        }
    }

    /// Gives `len` bytes of a file from offset `from` on, if it is still the one that was found.
    pub(super) fn read(
        &mut self,
        planned: &Planned,
        from: u64,
        len: u64,
        out: &mut dyn FnMut(&[u8]) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let mut left = len;
        let mut broken = None;
        let mut take = |bytes: &[u8]| {
            let Some(rest) = left.checked_sub(bytes.len() as u64) else {
                broken = Some(Broken::Lost);
                return ControlFlow::Break(());
            };
            left = rest;
            match out(bytes) {
                Ok(()) => ControlFlow::Continue(()),
                Err(why) => {
                    broken = Some(why);
                    ControlFlow::Break(())
                }
            }
        };
        let is_steady = match self {
            Self::Here(root) => here(root, planned, from, len, &mut take),
            Self::There(there) => there.read(planned, from, len, &mut take),
        };
        match broken {
            Some(broken) => Err(broken),
            None if is_steady && left == 0 => Ok(()),
            None => Err(Broken::Lost),
        }
    }
}

fn here(
    root: &Root,
    planned: &Planned,
    from: u64,
    len: u64,
    take: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> bool {
    let Ok(content) = Content::open(root, &planned.path) else { return false };
    if !is_planned(content.stat(), planned) {
        return false;
    }
    let sent = content.send(from, Some(len), &mut |chunk| take(chunk.payload()));
    matches!(sent, Ok(Sent::Steady))
}

/// Whether a file is still the one that was found.
fn is_planned(stat: &StatReply, planned: &Planned) -> bool {
    let is_same = planned.identity.is_none_or(|identity| {
        let ctime = (stat.ctime.0, stat.ctime.1);
        (stat.device, stat.inode, ctime) == (identity.device, identity.inode, identity.ctime)
    });
    is_same && stat.size == planned.size && stat.mtime == planned.mtime
}

impl There {
    pub(super) fn new(machine: Machine) -> Self {
        Self { machine, runtime: Handle::current(), connection: None }
    }

    /// Does something on the link, which is good afterwards where the machine answered.
    fn ask<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Connection) -> Result<T, AskError>,
    ) -> Result<T, Refusal> {
        let connection = self.connection.take();
        let machine = &self.machine;
        let (answer, connection) = self.runtime.block_on(async {
            let mut connection = match connection {
                Some(connection) => connection,
                None => match machine.connect().await {
                    Ok(connection) => connection,
                    Err(error) => return (Err(error), None),
                },
            };
            let answer = work(&mut connection).await;
            let is_good = matches!(answer, Ok(_) | Err(AskError::Refused(_)));
            (answer, is_good.then_some(connection))
        });
        self.connection = connection;
        answer.map_err(|error| match error {
            AskError::Refused(refusal) | AskError::Here(refusal) => refusal,
            error => {
                tracing::warn!(%error, "the machine behind the door did not answer");
                Code::Io.into()
            }
        })
    }

    fn walk(
        &mut self,
        path: &ByteString,
        count_max: usize,
        emit: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), Refusal> {
        let too_long = || Refusal::about(Code::TooLong, path.clone()).with_count(count_max as u64);
        let asked = Request::Stat(Stat { path: path.clone(), follow: true });
        let stat: StatReply = self.ask(async |connection| connection.ask(&asked).await)?;
        let mut top = of_stat(&stat);
        self.check(path, &mut top);
        let mut left = count_max.checked_sub(1).ok_or_else(too_long)?;
        let is_dir = top.kind == EntryKind::Dir;
        let mut levels = Vec::new();
        if is_dir {
            match self.inside(path, b"", &mut left) {
                Ok(inner) => levels.push(inner.into_iter()),
                Err(Code::TooLong) => return Err(too_long()),
                Err(code) => top.refused = Some(code),
            }
        }
        if emit(top).is_break() {
            return Ok(());
        }
        while let Some(level) = levels.last_mut() {
            let Some(mut next) = level.next() else {
                levels.pop();
                continue;
            };
            if next.kind == EntryKind::Dir {
                match self.inside(path, &next.path, &mut left) {
                    Ok(inner) => levels.push(inner.into_iter()),
                    Err(Code::TooLong) => return Err(too_long()),
                    Err(code) => next.refused = Some(code),
                }
            }
            if emit(next).is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn inside(
        &mut self,
        top: &ByteString,
        path: &[u8],
        left: &mut usize,
    ) -> Result<Vec<Found>, Code> {
        if path.split(|byte| *byte == b'/').count() > DEPTH_MAX {
            return Err(Code::TooDeep);
        }
        // With the slash it is a directory or nothing.
        let whole: ByteString = [top.as_bytes(), b"/", path, b"/"].concat().into();
        let mut entries: Vec<Entry> = Vec::new();
        let listed = self.ask(async |connection| {
            ls(connection, whole, Depth::Inside, |batch| {
                if entries.len() <= *left {
                    entries.extend(batch);
                }
            })
            .await
        });
        listed.map_err(|refusal| refusal.code)?;
        *left = left.checked_sub(entries.len()).ok_or(Code::TooLong)?;
        entries.sort_by(|one, other| one.name.as_bytes().cmp(other.name.as_bytes()));
        let found = entries.into_iter().map(|entry| {
            let mut found = of_entry(path, entry);
            let whole = [top.as_bytes(), b"/", &found.path].concat().into();
            self.check(&whole, &mut found);
            found
        });
        Ok(found.collect())
    }

    /// Whether a file can be read is asked for where its mode leaves that open.
    fn check(&mut self, path: &ByteString, found: &mut Found) {
        if found.kind == EntryKind::File && found.mode & 0o004 == 0 {
            let asked = Read { path: path.clone(), from: 0, len: Some(0) };
            let (bytes, _queue) = mpsc::channel(1);
            let read = self.ask(async |connection| read::read(connection, asked, &bytes).await);
            found.refused = read.err().map(|refusal| refusal.code);
        }
    }

    fn read(
        &mut self,
        planned: &Planned,
        from: u64,
        len: u64,
        take: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> bool {
        let (bytes, mut queue) = mpsc::channel(PIECES_WAITING_MAX);
        let asked = Read { path: planned.path.clone(), from, len: Some(len) };
        let (machine, connection) = (self.machine.clone(), self.connection.take());
        let reading = self.runtime.spawn(async move {
            let mut connection = match connection {
                Some(connection) => connection,
                None => machine.connect().await?,
            };
            let came = read::read(&mut connection, asked, &bytes).await?;
            Ok::<_, AskError>((connection, came))
        });
        while let Some(piece) = queue.blocking_recv() {
            if take(&piece).is_break() {
                return false;
            }
        }
        match self.runtime.block_on(reading) {
            Ok(Ok((connection, Came::Whole(stat)))) => {
                self.connection = Some(connection);
                is_planned(&stat, planned)
            }
            _ => false,
        }
    }
}

fn of_stat(stat: &StatReply) -> Found {
    Found {
        path: Vec::new(),
        kind: stat.kind,
        size: stat.size,
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mtime,
        // What lists do not say is not compared.
        ctime: Mtime::default(),
        device: 0,
        inode: 0,
        target: stat.target.clone(),
        refused: (stat.kind == EntryKind::Special).then_some(Code::SpecialFile),
    }
}

fn of_entry(parent: &[u8], entry: Entry) -> Found {
    let name = entry.name.as_bytes();
    let is_name = !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/');
    let path = if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() };
    let refused = match entry.kind {
        // The other machine may say anything.
        _ if !is_name => Some(Code::BadName),
        EntryKind::Special => Some(Code::SpecialFile),
        _ => None,
    };
    Found {
        path,
        kind: if is_name { entry.kind } else { EntryKind::Special },
        size: if entry.kind == EntryKind::File { entry.size } else { 0 },
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        ctime: Mtime::default(),
        device: 0,
        inode: 0,
        target: entry.target,
        refused,
    }
}

const DEPTH_MAX: usize = 256;
const PIECES_WAITING_MAX: usize = 4;
