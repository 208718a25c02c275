//! `tow classic get`: receives the file of a file server.
//!
//! The content goes to a hidden partial beside its destination, which gets its name when it is
//! complete and goes when it is not.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::net::Shutdown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use thiserror::Error;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tow_net::Address;
use tow_proto::byte_string::escape;
use tow_proto::classic::{COMMAND_LEN_MAX, FileHeader, recv_data};
use tow_proto::json;

use super::client::{Connection, connect, read_some};
use super::sentence;
use crate::failure::{Class, Failure};
use crate::output;

/// Arguments of `tow classic get`.
#[derive(Debug, clap::Args)]
pub(super) struct GetArgs {
    /// The server: HOST:PORT, [IPV6]:PORT or unix:/PATH
    address: Address,
    /// A directory for the file, or a name for it; the current directory if left out
    dest: Option<PathBuf>,
    /// Replace a file that is there already
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: GetArgs) -> Result<(), Failure> {
    let connection = Arc::new(connect(&args.address)?);
    let overwrite = if args.force { Overwrite::Yes } else { Overwrite::No };
    let dest = args.dest.unwrap_or_else(|| PathBuf::from("."));
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(receive_or_stop(connection, dest, overwrite));
    // After a second Ctrl-C the thread may still be there.
    runtime.shutdown_background();
    let Received { path, size } = outcome?;
    output::status(format_args!("received {}, {size} bytes", shown(&path)));
    Ok(())
}

/// Whether a file of that name may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overwrite {
    Yes,
    No,
}

/// A file that is complete.
struct Received {
    path: PathBuf,
    size: u64,
}

/// Why there is no file.
#[derive(Debug, Error)]
enum GetError {
    #[error("the server sent no header that can be read")]
    Header(#[source] io::Error),
    #[error("the header is {0}")]
    HeaderJson(#[source] json::JsonError),
    #[error("the server's name for the file cannot be used: `{}`", escape(.0.as_bytes()))]
    Name(String),
    #[error("{} exists", shown(.0))]
    Exists(PathBuf),
    #[error("{}: is a directory", shown(.0))]
    IsADirectory(PathBuf),
    #[error("the connection ended after {got} of {size} bytes")]
    Short { got: u64, size: u64 },
    #[error("the server sent more than the {size} bytes that it announced")]
    Long { size: u64 },
    #[error("nothing came for {} s, after {got} of {size} bytes", SILENCE_MAX.as_secs())]
    Silent { got: u64, size: u64 },
    #[error("receiving failed")]
    Receive(#[source] io::Error),
    #[error("{}: cannot be written", shown(path))]
    Write { path: PathBuf, source: io::Error },
    #[error("interrupted; nothing was kept")]
    Interrupted,
}

impl From<GetError> for Failure {
    fn from(error: GetError) -> Self {
        let failure = Self::other(sentence(&error));
        match error {
            GetError::Interrupted => Self::new(Class::Interrupted, sentence(&error)),
            GetError::Exists(_) => failure.hint("--force replaces it; DEST gives another name"),
            GetError::Name(_) => failure.hint("DEST gives the file a name"),
            GetError::Header(_) | GetError::HeaderJson(_) => {
                failure.hint("is that a classic file server?")
            }
            _ => failure,
        }
    }
}

/// Receives on a thread; the first Ctrl-C ends the connection, so that the thread cleans up, and
/// after the second nobody waits for that.
async fn receive_or_stop(
    connection: Arc<Connection>,
    dest: PathBuf,
    overwrite: Overwrite,
) -> Result<Received, Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let of_thread = Arc::clone(&connection);
    let mut receiving = tokio::task::spawn_blocking(move || receive(&of_thread, &dest, overwrite));
    tokio::select! {
        received = &mut receiving => return Ok(received.map_err(Failure::other)??),
        _ = interrupt.recv() => connection.shut_down(Shutdown::Both),
    }
    let ended = tokio::select! {
        received = receiving => received.map_err(Failure::other)?,
        _ = interrupt.recv() => Err(GetError::Interrupted),
    };
    // It may have been complete already.
    ended.map_err(|_| GetError::Interrupted.into())
}

fn receive(
    mut connection: &Connection,
    dest: &Path,
    overwrite: Overwrite,
) -> Result<Received, GetError> {
    connection.set_read_timeout(SILENCE_MAX).map_err(GetError::Receive)?;
    let header = recv_data(&mut connection, COMMAND_LEN_MAX).map_err(GetError::Header)?;
    let header: FileHeader = json::from_slice(&header).map_err(GetError::HeaderJson)?;
    let path = destination(dest, &header.file_name, overwrite)?;
    let size = header.file_size;
    let mut partial = Partial::create(&path)?;
    let progress = progress_bar(size);
    let copied = copy_content(connection, &mut partial, size, &progress);
    progress.finish_and_clear();
    copied?;
    check_end(connection, size)?;
    partial.publish(&path, overwrite)?;
    Ok(Received { path, size })
}

/// Where the file goes. A name from the server is only ever one component.
fn destination(dest: &Path, file_name: &str, overwrite: Overwrite) -> Result<PathBuf, GetError> {
    let path = if dest.is_dir() { dest.join(last_component(file_name)?) } else { dest.to_owned() };
    match fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Err(GetError::IsADirectory(path)),
        Ok(_) if overwrite == Overwrite::No => Err(GetError::Exists(path)),
        _ => Ok(path),
    }
}

/// What follows the last `/`; a backslash is part of a name.
fn last_component(file_name: &str) -> Result<&str, GetError> {
    match file_name.rsplit('/').next().unwrap_or_default() {
        "" | "." | ".." => Err(GetError::Name(file_name.to_owned())),
        name if name.contains('\0') || name.len() > NAME_LEN_MAX => {
            Err(GetError::Name(file_name.to_owned()))
        }
        name => Ok(name),
    }
}

fn copy_content(
    connection: &Connection,
    partial: &mut Partial,
    size: u64,
    progress: &ProgressBar,
) -> Result<(), GetError> {
    let mut buffer = vec![0; BUFFER_LEN];
    let mut got = 0;
    while got < size {
        let room = usize::try_from(size - got).unwrap_or(BUFFER_LEN).min(BUFFER_LEN);
        match read_some(connection, &mut buffer[..room]) {
            Ok(0) => return Err(GetError::Short { got, size }),
            Ok(read) => {
                partial.append(&buffer[..read])?;
                got += read as u64;
                progress.set_position(got);
            }
            Err(error) if is_timeout(&error) => return Err(GetError::Silent { got, size }),
            Err(error) => return Err(GetError::Receive(error)),
        }
    }
    partial.finish(size)
}

/// After the content comes the end. A server that neither closes nor sends has sent everything.
fn check_end(connection: &Connection, size: u64) -> Result<(), GetError> {
    connection.set_read_timeout(END_WAIT).map_err(GetError::Receive)?;
    match read_some(connection, &mut [0]) {
        Ok(1..) => Err(GetError::Long { size }),
        _ => Ok(()),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// A bar on stderr where that is a terminal, else nothing.
fn progress_bar(size: u64) -> ProgressBar {
    let target = if output::is_watched() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template(
        "{wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
    );
    let bar = ProgressBar::with_draw_target(Some(size), target);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// A file without its name yet; removed when it is dropped before it got it.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Partial {
    fn create(destination: &Path) -> Result<Self, GetError> {
        let name = destination.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let short: String = name.chars().take(PARTIAL_NAME_CHARS).collect();
        let path = destination.with_file_name(format!(".{short}.{}.tow-part", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(GetError::Write { path: destination.to_owned(), source }),
        }
    }

    /// The next bytes of the content; blocks of zeros become holes.
    fn append(&mut self, bytes: &[u8]) -> Result<(), GetError> {
        let is_hole = bytes == &ZEROS[..bytes.len()];
        let outcome = if is_hole {
            self.file.seek(SeekFrom::Current(bytes.len() as i64)).map(drop)
        } else {
            self.file.write_all(bytes)
        };
        outcome.map_err(|source| self.error(source))
    }

    /// Gives it its length, which a hole at the end does not.
    fn finish(&mut self, size: u64) -> Result<(), GetError> {
        self.file.set_len(size).map_err(|source| self.error(source))
    }

    /// Gives it its name.
    fn publish(self, destination: &Path, overwrite: Overwrite) -> Result<(), GetError> {
        let outcome = match overwrite {
            Overwrite::Yes => fs::rename(&self.path, destination),
            Overwrite::No => rename_to_new(&self.path, destination),
        };
        match outcome {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(GetError::Exists(destination.to_owned()))
            }
            outcome => {
                outcome.map_err(|source| GetError::Write { path: destination.to_owned(), source })
            }
        }
    }

    fn error(&self, source: io::Error) -> GetError {
        GetError::Write { path: self.path.clone(), source }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Once it was renamed there is nothing of that name.
        let _ = fs::remove_file(&self.path);
    }
}

/// Fails where the new name exists, also on file systems that cannot rename like that.
fn rename_to_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => fs::hard_link(from, to),
        outcome => Ok(outcome?),
    }
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes()).into_owned()
}

static ZEROS: [u8; BUFFER_LEN] = [0; BUFFER_LEN];

/// Bytes per read and write.
const BUFFER_LEN: usize = 256 << 10;

/// Longest name of a file in bytes (NAME_MAX of limits.h).
const NAME_LEN_MAX: usize = 255;

/// Characters of a name, of at most 4 bytes each, that still fit into the name of its partial.
const PARTIAL_NAME_CHARS: usize = 50;

/// How long a server may send nothing.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// How long the end of the connection is waited for when everything is there.
const END_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_reduced_to_its_last_component() {
        for (name, expected) in [
            ("plain", Some("plain")),
            ("../../evil", Some("evil")),
            ("/etc/passwd", Some("passwd")),
            ("a\\b", Some("a\\b")),
            ("..\\evil", Some("..\\evil")),
            ("...", Some("...")),
            ("", None),
            (".", None),
            ("..", None),
            ("a/", None),
            ("a/..", None),
            ("a\0b", None),
        ] {
            assert_eq!(last_component(name).ok(), expected, "{name:?}");
        }
        assert!(last_component(&"x".repeat(255)).is_ok());
        assert!(last_component(&"x".repeat(256)).is_err());
    }
}
