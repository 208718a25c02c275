//! The serving side of a classic connection: blocks in, blocks out, and noticing that the client
//! has gone.

use std::future::pending;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufWriter};
use tokio::time::{sleep, timeout};
use tow_net::Stream;
use tow_proto::classic::{COMMAND_LEN_MAX, checked_len, prefix};

use super::server::SEND_TIMEOUT;

/// One client's connection, and what it sent ahead.
pub(super) struct Conversation {
    stream: Stream,
    buffer: Vec<u8>,
    has_ended: bool,
}

impl Conversation {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, buffer: Vec::new(), has_ended: false }
    }

    /// The next request; `None` where the client has left. It may wait for ever before one, but
    /// must finish it within [`REQUEST_TIMEOUT`].
    ///
    /// # Errors
    /// `InvalidData` for a length that is not allowed, `UnexpectedEof` for an end within a request,
    /// `TimedOut`, and the socket's own.
    pub(super) async fn next_request(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.buffer.is_empty() && !self.fill().await? {
            return Ok(None);
        }
        match timeout(REQUEST_TIMEOUT, self.finish_request()).await {
            Ok(request) => request.map(Some),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("a request was not complete after {} s", REQUEST_TIMEOUT.as_secs()),
            )),
        }
    }

    async fn finish_request(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some((prefix, rest)) = self.buffer.split_first_chunk::<PREFIX_LEN>() {
                let len = usize::try_from(checked_len(*prefix, COMMAND_LEN_MAX)?)
                    .expect("a length of at most a megabyte");
                if let Some(request) = rest.get(..len) {
                    let request = request.to_vec();
                    self.buffer.drain(..PREFIX_LEN + len);
                    return Ok(request);
                }
            }
            if !self.fill().await? {
                let have = self.buffer.len();
                let what = format!("the connection ended {have} bytes into a request");
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
            }
        }
    }

    /// Sends one block whose payload is in two parts.
    ///
    /// # Errors
    /// `TimedOut` where the client takes nothing for [`SEND_TIMEOUT`], and the socket's own.
    pub(super) async fn send(&mut self, first: &[u8], second: &[u8]) -> io::Result<()> {
        let prefix = prefix((first.len() + second.len()) as u64);
        let mut writer = BufWriter::with_capacity(SEND_LEN, &mut self.stream);
        for part in [&prefix, first, second] {
            for piece in part.chunks(SEND_LEN) {
                timeout(SEND_TIMEOUT, writer.write_all(piece)).await??;
            }
        }
        timeout(SEND_TIMEOUT, writer.flush()).await?
    }

    /// Resolves when the client has gone, while an answer is being made for it. Requests that it
    /// sends ahead are kept, up to [`AHEAD_LEN_MAX`].
    ///
    /// The end of its stream alone does not say whether it left or only has no more requests, so an
    /// answer has [`LEAVE_GRACE`] from then on.
    pub(super) async fn gone(&mut self) {
        while self.buffer.len() < AHEAD_LEN_MAX {
            match self.fill().await {
                Ok(true) => {}
                Ok(false) => return sleep(LEAVE_GRACE).await,
                Err(_) => return,
            }
        }
        pending::<()>().await;
    }

    /// False at the end of the stream. Cancelling it loses nothing.
    async fn fill(&mut self) -> io::Result<bool> {
        if self.has_ended {
            return Ok(false);
        }
        self.buffer.reserve(READ_LEN);
        self.has_ended = self.stream.read_buf(&mut self.buffer).await? == 0;
        Ok(!self.has_ended)
    }
}

const PREFIX_LEN: usize = 8;

/// Time for one request from its first byte to its last.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Time for a command after its client has sent its last byte.
const LEAVE_GRACE: Duration = Duration::from_secs(2);

/// Bytes of further requests that are read while a command runs.
const AHEAD_LEN_MAX: usize = 1 << 20;

const READ_LEN: usize = 16 << 10;

/// Bytes that must move within [`SEND_TIMEOUT`].
const SEND_LEN: usize = 64 << 10;
