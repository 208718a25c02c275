//! Where a node keeps what it must not lose or show: directories and files that only their owner can
//! reach, checked before they are used, and changed so that a crash leaves the old or the new.
//!
//! Nothing here reads the environment: the caller says where things are.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use aws_lc_rs::rand;
use rustix::fs::{FlockOperation, OFlags, flock};
use thiserror::Error;

/// Where things are; absolute paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Keys and known machines: what a person may want to read.
    pub config: PathBuf,
    /// The identity, the audit log, the lock.
    pub state: PathBuf,
    /// The node's Unix socket.
    pub socket: PathBuf,
}

/// Directories that were made or found private.
#[derive(Clone, Debug)]
pub struct StateDir {
    layout: Layout,
}

/// The right to be the one node of a state directory, as long as it is held.
#[derive(Debug)]
pub struct NodeLock {
    _file: File,
}

/// Why a directory or a file can't be used. Each names the path, and what mends it where a command
/// does.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StateError {
    /// A path that depends on the working directory.
    #[error("{}: not an absolute path", path.display())]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// Something else is in the place of a directory.
    #[error("{}: not a directory", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Something else is in the place of a file, a symbolic link for example.
    #[error("{}: not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Somebody else owns it, and so decides who can reach it.
    #[error("{}: owned by uid {owner}, not by uid {us}", path.display())]
    NotOurs {
        /// The path.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        us: u32,
    },
    /// Others can read or enter what is ours alone.
    #[error("{}: open to others (mode {mode:03o})", path.display())]
    NotPrivate {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they should be.
        wanted: u32,
    },
    /// Others can replace what lies beneath.
    #[error("{}: others can write there (mode {mode:03o})", path.display())]
    Writable {
        /// The path.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// More symbolic links than a path has.
    #[error("{}: too many symbolic links", path.display())]
    LinkLoop {
        /// The path.
        path: PathBuf,
    },
    /// A file of ours is larger than any that we write.
    #[error("{}: {len} bytes, at most {max} are expected", path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
        /// The most that is read, in bytes.
        max: u64,
    },
    /// Another node runs on this directory.
    #[error("{}: another node runs here{}", path.display(), pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The node's process, where its file says so.
        pid: Option<u32>,
    },
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl StateDir {
    /// Makes the directories of `layout` where they are missing, and checks them.
    ///
    /// # Errors
    /// A directory can't be made, others can reach it, or others can replace what leads to it.
    pub fn open(layout: Layout) -> Result<Self, StateError> {
        ensure_private_dir(&layout.config)?;
        ensure_private_dir(&layout.state)?;
        Ok(Self { layout })
    }

    /// Becomes the node of this directory: at most one process at a time. Makes and checks the
    /// directory of the socket too.
    ///
    /// # Errors
    /// [`StateError::Locked`] when there is a node already, else what [`Self::open`] may say.
    pub fn lock(&self) -> Result<NodeLock, StateError> {
        if let Some(dir) = self.layout.socket.parent() {
            ensure_private_dir(dir)?;
        }
        let path = self.layout.state.join("node.lock");
        let mut file = open_private(&path, OpenOptions::new().read(true).write(true).create(true))?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(StateError::io(&path)(error.into()));
            }
            let mut text = String::new();
            let pid = (&file).take(PID_LEN_MAX).read_to_string(&mut text).ok();
            return Err(StateError::Locked {
                path,
                pid: pid.and_then(|_| text.trim().parse().ok()),
            });
        }
        file.set_len(0).map_err(StateError::io(&path))?;
        writeln!(file, "{}", std::process::id()).map_err(StateError::io(&path))?;
        Ok(NodeLock { _file: file })
    }

    /// Where things are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The file of the node's own key: who this machine is.
    pub fn node_key_path(&self) -> PathBuf {
        self.layout.state.join("node.pem")
    }

    /// The file of the user's key: who asks other machines.
    pub fn user_key_path(&self) -> PathBuf {
        self.layout.state.join("user.pem")
    }

    /// The file of the certificate that browsers see, with its key.
    pub(crate) fn web_certificate_path(&self) -> PathBuf {
        self.layout.state.join("web.pem")
    }

    /// The directory of the keys that may come in.
    pub fn keys_dir(&self) -> PathBuf {
        self.layout.config.join("keys")
    }

    /// The file of the machines that we know.
    pub fn hosts_path(&self) -> PathBuf {
        self.layout.config.join("hosts.toml")
    }

    /// The socket of the keeper. Its number is that of the language that is spoken there.
    pub fn keeper_socket_path(&self) -> PathBuf {
        self.layout.state.join("keeper.1.sock")
    }

    /// What sessions leave behind: records, and output that was too long for memory.
    pub fn sessions_dir(&self) -> PathBuf {
        self.layout.state.join("sessions")
    }

    /// The keeper's log, to be appended to. A long one starts again.
    ///
    /// # Errors
    /// It can't be opened, or is open to others.
    pub(crate) fn open_keeper_log(&self) -> Result<File, StateError> {
        let path = self.layout.state.join("keeper.log");
        let file = open_private(&path, OpenOptions::new().append(true).create(true))?;
        if file.metadata().map_err(StateError::io(&path))?.len() > KEEPER_LOG_LEN_MAX {
            file.set_len(0).map_err(StateError::io(&path))?;
        }
        Ok(file)
    }

    /// The audit log.
    pub fn audit_path(&self) -> PathBuf {
        self.layout.state.join("audit.jsonl")
    }
}

impl StateError {
    /// For `map_err`: what happened at `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// The command that mends it, where one does.
    pub fn cure(&self) -> Option<String> {
        match self {
            Self::NotOurs { path, us, .. } => Some(format!("chown {us} '{}'", path.display())),
            Self::NotPrivate { path, wanted, .. } => {
                Some(format!("chmod {wanted:o} '{}'", path.display()))
            }
            Self::Writable { path, .. } => Some(format!("chmod go-w '{}'", path.display())),
            _ => None,
        }
    }

    /// True where the path does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Makes `path`, and what leads to it, for us alone, and checks it.
pub(crate) fn ensure_private_dir(path: &Path) -> Result<(), StateError> {
    if !path.is_absolute() {
        return Err(StateError::NotAbsolute { path: path.to_owned() });
    }
    let us = rustix::process::geteuid().as_raw();
    match check_way_to(path, us) {
        Err(error) if error.is_not_found() => {
            make_private_dir(path)?;
            check_way_to(path, us)?;
        }
        checked => checked?,
    }
    let metadata = fs::metadata(path).map_err(StateError::io(path))?;
    check_private(path, &metadata, us, DIR_MODE)
}

fn make_private_dir(path: &Path) -> Result<(), StateError> {
    let made = DirBuilder::new().recursive(true).mode(DIR_MODE).create(path);
    match made {
        // A symbolic link that leads nowhere.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(StateError::NotADirectory { path: path.to_owned() })
        }
        made => made.map_err(StateError::io(path)),
    }
}

/// Every directory and symbolic link on the way to `path`, and `path` itself, must belong to root or
/// to us, and only sticky directories may be writable by others. Links are followed one by one, so
/// that a link in a safe place can't lead through an unsafe one.
fn check_way_to(path: &Path, us: u32) -> Result<(), StateError> {
    let mut ahead: Vec<PathBuf> = steps(path);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    check_step(&at, &fs::symlink_metadata(&at).map_err(StateError::io(&at))?, us)?;
    while let Some(step) = ahead.pop() {
        if step.as_os_str() == ".." {
            at.pop();
            continue;
        }
        at.push(step);
        let metadata = fs::symlink_metadata(&at).map_err(StateError::io(&at))?;
        check_step(&at, &metadata, us)?;
        if metadata.is_symlink() {
            links += 1;
            if links > LINKS_MAX {
                return Err(StateError::LinkLoop { path: path.to_owned() });
            }
            let target = fs::read_link(&at).map_err(StateError::io(&at))?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            } else {
                at.pop();
            }
            ahead.extend(steps(&target));
        }
    }
    Ok(())
}

/// The components of `path` without its root, the last one first.
fn steps(path: &Path) -> Vec<PathBuf> {
    path.components()
        .filter(|step| matches!(step, Component::Normal(_) | Component::ParentDir))
        .map(|step| PathBuf::from(step.as_os_str()))
        .rev()
        .collect()
}

fn check_step(path: &Path, metadata: &Metadata, us: u32) -> Result<(), StateError> {
    let owner = metadata.uid();
    if owner != 0 && owner != us {
        return Err(StateError::NotOurs { path: path.to_owned(), owner, us });
    }
    if metadata.is_symlink() {
        return Ok(());
    }
    if !metadata.is_dir() {
        return Err(StateError::NotADirectory { path: path.to_owned() });
    }
    let mode = metadata.mode() & MODE_BITS;
    if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
        return Err(StateError::Writable { path: path.to_owned(), mode });
    }
    Ok(())
}

/// The file or directory must be ours, and nobody else's business.
fn check_private(path: &Path, metadata: &Metadata, us: u32, wanted: u32) -> Result<(), StateError> {
    if metadata.uid() != us {
        return Err(StateError::NotOurs { path: path.to_owned(), owner: metadata.uid(), us });
    }
    let mode = metadata.mode() & MODE_BITS;
    if mode & OPEN_TO_OTHERS != 0 {
        return Err(StateError::NotPrivate { path: path.to_owned(), mode, wanted });
    }
    Ok(())
}

/// Opens a file that must be private, and makes it so when it is made here. Symbolic links are not
/// followed, and a FIFO in its place does not block.
pub(crate) fn open_private(path: &Path, options: &mut OpenOptions) -> Result<File, StateError> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let opened = options.mode(FILE_MODE).custom_flags(flags.cast_signed()).open(path);
    let file = match opened {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(StateError::NotAFile { path: path.to_owned() });
        }
        opened => opened.map_err(StateError::io(path))?,
    };
    let metadata = file.metadata().map_err(StateError::io(path))?;
    if !metadata.is_file() {
        return Err(StateError::NotAFile { path: path.to_owned() });
    }
    check_private(path, &metadata, rustix::process::geteuid().as_raw(), FILE_MODE)?;
    Ok(file)
}

/// Reads a private file of at most `len_max` bytes.
pub(crate) fn read_private(path: &Path, len_max: u64) -> Result<Vec<u8>, StateError> {
    let file = open_private(path, OpenOptions::new().read(true))?;
    let len = file.metadata().map_err(StateError::io(path))?.len();
    if len > len_max {
        return Err(StateError::TooLong { path: path.to_owned(), len, max: len_max });
    }
    let mut bytes = Vec::new();
    file.take(len_max).read_to_end(&mut bytes).map_err(StateError::io(path))?;
    Ok(bytes)
}

/// Makes `path` hold `bytes`, for us alone: after a crash it holds either the old or the new ones.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let temp = write_temp(path, bytes)?;
    publish(path, &temp, fs::rename(&temp, path))
}

/// Makes `path` with `bytes`. An existing file stays as it is, and is an error of the kind
/// `AlreadyExists`.
pub(crate) fn create_private(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    let temp = write_temp(path, bytes)?;
    let linked = fs::hard_link(&temp, path);
    if linked.is_ok() {
        fs::remove_file(&temp).map_err(StateError::io(&temp))?;
    }
    publish(path, &temp, linked)
}

/// Removes `path` for good.
pub(crate) fn remove_private(path: &Path) -> Result<(), StateError> {
    fs::remove_file(path).map_err(StateError::io(path))?;
    sync_parent(path)
}

fn publish(path: &Path, temp: &Path, moved: io::Result<()>) -> Result<(), StateError> {
    if let Err(error) = moved {
        // What is left over does no harm; the first error is the one to know.
        let _ = fs::remove_file(temp);
        return Err(StateError::io(path)(error));
    }
    sync_parent(path)
}

/// A synced file with `bytes` beside `path`, under a name that nobody can foresee.
fn write_temp(path: &Path, bytes: &[u8]) -> Result<PathBuf, StateError> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| StateError::io(path)(io::Error::other("no randomness")))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temp = path.with_file_name(format!(".{name}.{:016x}.tmp", u64::from_le_bytes(random)));
    let mut file = open_private(&temp, OpenOptions::new().write(true).create_new(true))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = fs::remove_file(&temp);
        return Err(StateError::io(path)(error));
    }
    Ok(temp)
}

/// The line on which a mistake starts, from 1.
pub(crate) fn line_of(text: &str, span: Option<std::ops::Range<usize>>) -> usize {
    let start = span.map_or(0, |span| span.start).min(text.len());
    1 + text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count()
}

fn sync_parent(path: &Path) -> Result<(), StateError> {
    let Some(dir) = path.parent() else { return Ok(()) };
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(StateError::io(dir))
}

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const MODE_BITS: u32 = 0o7777;
const STICKY: u32 = 0o1000;
const WRITABLE_BY_OTHERS: u32 = 0o022;
const OPEN_TO_OTHERS: u32 = 0o077;
/// Symbolic links on the way to a directory, as many as Linux follows.
const LINKS_MAX: u32 = 40;
const PID_LEN_MAX: u64 = 32;
/// Length in bytes after which the keeper's log starts again when the next keeper starts.
const KEEPER_LOG_LEN_MAX: u64 = 1 << 20;

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
