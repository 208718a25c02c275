//! `tow classic file-server`: everybody who connects gets a header with the file's name and
//! size, then its content.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tow_net::listen::{Accepted, Peer};
use tow_proto::classic::{FileHeader, prefix};
use tow_proto::{ByteString, json};

use super::client::{Connection, read_some};
use super::sentence;
use super::server::{self, SEND_TIMEOUT, ServerArgs, tell};
use crate::failure::Failure;

/// Arguments of `tow classic file-server`.
#[derive(Debug, clap::Args)]
pub(super) struct FileServerArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// The file to send
    file: PathBuf,
}

pub(super) fn run(args: &FileServerArgs) -> Result<(), Failure> {
    let offer = Arc::new(Offer::new(&args.file)?);
    server::serve(&args.server, "read this file", move |accepted| {
        serve_client(Arc::clone(&offer), accepted)
    })
}

/// The file on offer. It is opened anew for every client.
struct Offer {
    path: PathBuf,
    name: String,
}

/// Why a client did not get all of the file.
#[derive(Debug, Error)]
enum OfferError {
    #[error("cannot read the file")]
    Read(#[source] io::Error),
    #[error("not a regular file")]
    NotAFile,
    #[error("the file shrank: {sent} of {size} bytes were there")]
    Shrank { sent: u64, size: u64 },
    #[error("took nothing for {} s", SEND_TIMEOUT.as_secs())]
    Stalled,
    #[error("sending failed")]
    Send(#[source] io::Error),
}

impl Offer {
    fn new(path: &Path) -> Result<Self, Failure> {
        let about =
            |error: OfferError| Failure::other(format!("{}: {}", shown(path), sentence(&error)));
        open(path).map_err(about)?;
        let name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
        Ok(Self { path: path.to_owned(), name: name.into_owned() })
    }

    /// Sends header and content; gives the content's length in bytes.
    fn send(&self, connection: &Connection) -> Result<u64, OfferError> {
        let (file, size) = open(&self.path)?;
        let header = FileHeader { file_name: self.name.clone(), file_size: size };
        let header = json::to_vec(&header);
        let head = [&prefix(header.len() as u64), header.as_slice()].concat();
        connection.set_write_timeout(SEND_TIMEOUT).map_err(send_error)?;
        (&*connection).write_all(&head).map_err(send_error)?;
        // `io::copy` leaves the copying to the kernel where it sees the socket itself.
        let mut content = (&file).take(size);
        let sent = match connection {
            Connection::Tcp(stream) => io::copy(&mut content, &mut &*stream),
            Connection::Unix(stream) => io::copy(&mut content, &mut &*stream),
        };
        match sent.map_err(send_error)? {
            sent if sent < size => Err(OfferError::Shrank { sent, size }),
            _ => Ok(size),
        }
    }
}

/// Opens the file; a pipe or a device that has taken its place is not waited for.
fn open(path: &Path) -> Result<(File, u64), OfferError> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(OfferError::Read)?;
    let metadata = file.metadata().map_err(OfferError::Read)?;
    if !metadata.is_file() {
        return Err(OfferError::NotAFile);
    }
    Ok((file, metadata.len()))
}

fn send_error(error: io::Error) -> OfferError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => OfferError::Stalled,
        _ => OfferError::Send(error),
    }
}

async fn serve_client(offer: Arc<Offer>, Accepted { stream, peer }: Accepted) {
    tell(peer, "connected");
    let served = match Connection::new(stream) {
        // Disk and socket are read and written by a thread that may wait for both.
        Ok(connection) => {
            tokio::task::spawn_blocking(move || send_and_close(&offer, &connection, peer)).await
        }
        Err(error) => return tell(peer, format_args!("was dropped: {error}")),
    };
    if served.is_err() {
        tell(peer, "was dropped: an internal error");
    }
}

fn send_and_close(offer: &Offer, connection: &Connection, peer: Peer) {
    match offer.send(connection) {
        Ok(size) => {
            close(connection);
            tell(peer, format_args!("got {}, {size} bytes", shown(Path::new(&offer.name))));
        }
        Err(error) => tell(peer, format_args!("was dropped: {}", sentence(&error))),
    }
}

/// Ends the stream and lets the client close: a socket that is closed with unread bytes in it is
/// reset, and the client may lose the end of the file.
fn close(connection: &Connection) {
    connection.shut_down(Shutdown::Write);
    let deadline = Instant::now() + CLOSE_TIMEOUT;
    let mut unread = [0; 4096];
    while let Some(left) =
        deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    {
        let read =
            connection.set_read_timeout(left).and_then(|()| read_some(connection, &mut unread));
        if !matches!(read, Ok(1..)) {
            return;
        }
    }
}

/// A path as a status line has it.
fn shown(path: &Path) -> ByteString {
    path.as_os_str().as_encoded_bytes().into()
}

/// How long a client may take to close after it got everything.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
