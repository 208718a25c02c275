//! A link: one live connection that carries channels one after the other (PROTOCOL 3).
//!
//! One task owns a link. [`Link::next_event`] waits and decides nothing; everything that sends only
//! queues. So a link needs no lock, a cancelled wait loses nothing, and a task that is busy with
//! its own work never holds up a ping for longer than one step.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use serde::Serialize;
use thiserror::Error;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop::consume_budget;
use tow_proto::frame::{self, PREFIX_LEN};
use tow_proto::heartbeat::{Beat, Heartbeat};
use tow_proto::{Decoder, Frame, FrameError, Kind, Trust, json};

use crate::socket::{Socket, Unix};
use crate::tls::{Plain, Spki, Tls, TlsError};

/// What happened on a link.
#[derive(Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// A frame arrived. Pings and pongs are answered by the link itself.
    Frame(Frame),
    /// The queue drained below its mark after it had been full.
    Room,
    /// The peer said that it is done, between two frames.
    Closed,
}

/// Why a link is over.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The socket failed.
    #[error("the connection was lost: {0}")]
    Io(#[from] io::Error),
    /// TLS failed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Not frames.
    #[error("not towline's protocol: {0}")]
    Frame(#[from] FrameError),
    /// The stream ended between two frames, but nobody said that it would.
    #[error("the connection was cut")]
    Cut,
    /// The stream ended in the middle of a frame.
    #[error("the connection was cut in the middle of a frame ({got} of {of} bytes)")]
    CutMidFrame {
        /// Bytes of the prefix or the payload that had arrived.
        got: u64,
        /// Bytes that there should have been.
        of: u64,
    },
    /// Nothing was heard for too long.
    #[error("nothing was heard for {} s", tow_proto::heartbeat::DEAD_AFTER.as_secs())]
    Dead,
}

impl LinkError {
    /// True where connecting again may help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Cut | Self::CutMidFrame { .. } | Self::Dead)
    }
}

/// Whether a link takes frames off its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Always, but for moments.
    On,
    /// The consumer of file content is behind: let the socket push back.
    Off,
}

/// One live connection.
pub struct Link {
    socket: Socket,
    tls: Option<Box<Tls>>,
    decoder: Decoder,
    heartbeat: Heartbeat,
    reading: Reading,
    incoming: Incoming,
    /// Plain frames of a link without TLS that are waiting to be written, from `written` on.
    outgoing: Vec<u8>,
    written: usize,
    /// Bytes that are queued for the socket, encrypted where there is TLS.
    queued: usize,
    was_full: bool,
    at_end: bool,
    frames_sent: u64,
    /// Bytes of the TLS handshake that have arrived.
    handshake_len: usize,
}

impl Link {
    /// A link over `stream`, whose peer is not proved yet.
    pub(crate) fn new(stream: TcpStream, tls: Tls, incoming: Incoming) -> Self {
        Self::over(Socket::Tcp(stream), Some(Box::new(tls)), incoming)
    }

    fn over(socket: Socket, tls: Option<Box<Tls>>, incoming: Incoming) -> Self {
        Self {
            socket,
            tls,
            decoder: Decoder::new(Trust::Unproved),
            heartbeat: Heartbeat::new(Instant::now()),
            reading: Reading::On,
            incoming,
            outgoing: Vec::new(),
            written: 0,
            queued: 0,
            was_full: false,
            at_end: false,
            frames_sent: 0,
            handshake_len: 0,
        }
    }

    /// A link over a Unix socket, for which the kernel vouches.
    ///
    /// # Errors
    /// The kernel can't watch it.
    pub fn from_unix(stream: UnixStream) -> io::Result<Self> {
        Ok(Self::over(Socket::Unix(Unix::new(stream)?), None, Incoming::default()))
    }

    /// From now on the limits of a proved peer apply.
    pub fn prove(&mut self) {
        self.decoder.prove();
    }

    /// The peer's key, where there is TLS.
    ///
    /// # Errors
    /// The peer speaks TLS but another protocol.
    pub fn peer_key(&self) -> Option<Result<Spki, TlsError>> {
        self.tls.as_ref().map(|tls| tls.peer())
    }

    /// 32 bytes that only the two ends of this link know, where there is TLS.
    pub fn exporter(&self, label: &[u8]) -> Option<[u8; 32]> {
        self.tls.as_ref()?.exporter(label)
    }

    /// Stops or resumes reading.
    pub fn set_reading(&mut self, reading: Reading) {
        self.reading = reading;
        self.heartbeat.handle_listening(reading == Reading::On, Instant::now());
    }

    /// True while more may be queued. A sender of much asks before each frame.
    pub fn has_room(&self) -> bool {
        self.queued < QUEUE_LEN_MAX
    }

    /// Frames that were queued so far, but for signs of life: tells a caller whether something was
    /// said meanwhile.
    pub fn frames_sent(&self) -> u64 {
        self.frames_sent
    }

    /// Queues a head.
    pub fn send_head<T: Serialize>(&mut self, head: &T) {
        self.send(Kind::Head, &json::to_vec(head));
    }

    /// Queues any frame.
    pub fn send(&mut self, kind: Kind, payload: &[u8]) {
        self.frames_sent += u64::from(!matches!(kind, Kind::Ping | Kind::Pong));
        self.enqueue(&frame::prefix(kind, payload.len()), payload);
    }

    /// Queues a frame whose payload stands in `buffer` behind [`PREFIX_LEN`] bytes of room, which
    /// spares a copy or a record of its own for the prefix.
    pub fn send_in_place(&mut self, kind: Kind, buffer: &mut [u8]) {
        let len = buffer.len() - PREFIX_LEN;
        buffer[..PREFIX_LEN].copy_from_slice(&frame::prefix(kind, len));
        self.frames_sent += 1;
        self.enqueue(buffer, &[]);
    }

    fn enqueue(&mut self, front: &[u8], back: &[u8]) {
        let len = front.len() + back.len();
        self.queued += self.tls.as_ref().map_or(len, |_| Tls::sealed_len(len));
        self.was_full |= !self.has_room();
        match &mut self.tls {
            Some(tls) => tls.send([front, back]),
            None => {
                // Moved once it is less than what was written: each byte about once altogether.
                if self.written >= self.outgoing.len().div_ceil(2) {
                    self.outgoing.drain(..self.written);
                    self.written = 0;
                }
                self.outgoing.extend_from_slice(front);
                self.outgoing.extend_from_slice(back);
            }
        }
    }

    /// Waits for the next thing that happens; meanwhile writes what is queued. May be cancelled at
    /// any time without losing anything.
    ///
    /// # Errors
    /// The link is over.
    pub async fn next_event(&mut self) -> Result<LinkEvent, LinkError> {
        loop {
            // Who sends without a pause would keep this thread from all others.
            consume_budget().await;
            if self.reading == Reading::On
                && let Some(event) = self.take_event()?
            {
                return Ok(event);
            }
            self.flush()?;
            if self.was_full && self.queued <= QUEUE_LEN_MAX / 2 {
                self.was_full = false;
                return Ok(LinkEvent::Room);
            }
            self.wait().await?;
        }
    }

    /// Waits for the next frame and takes the end of the link for an error.
    ///
    /// # Errors
    /// The link is over.
    pub async fn next_frame(&mut self) -> Result<Frame, LinkError> {
        loop {
            match self.next_event().await? {
                LinkEvent::Frame(frame) => return Ok(frame),
                LinkEvent::Room => {}
                LinkEvent::Closed => {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
            }
        }
    }

    /// Waits until everything queued was handed to the kernel.
    ///
    /// # Errors
    /// The link is over.
    pub async fn flushed(&mut self) -> Result<(), LinkError> {
        loop {
            self.flush()?;
            if !self.wants_write() {
                return Ok(());
            }
            self.socket.ready(false, true).await?;
        }
    }

    /// Says goodbye: sends what is queued, then waits shortly for the peer to have read it, so that
    /// the last words are not lost to a reset.
    pub async fn close(mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close();
        }
        let farewell = async {
            self.flushed().await?;
            self.socket.shutdown_write()?;
            self.incoming.release();
            for _ in 0..FAREWELL_READS_MAX {
                self.socket.ready(true, false).await?;
                let mut scratch = [0; 4096];
                match self.socket.try_read(&mut scratch) {
                    Ok(0) => break,
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => break,
                    _ => {}
                }
            }
            Ok::<(), LinkError>(())
        };
        let _ = tokio::time::timeout(FAREWELL_MAX, farewell).await;
    }

    /// Gives buffers back between two channels: an idle link is small.
    pub fn rest(&mut self) {
        self.incoming.release();
        if !self.wants_write() {
            (self.outgoing, self.written) = (Vec::new(), 0);
        }
    }

    pub(crate) async fn handshake(&mut self) -> Result<(), LinkError> {
        while self.is_handshaking() {
            self.handshake_step().await?;
        }
        Ok(())
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    pub(crate) fn has_answered(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.has_answered())
    }

    pub(crate) async fn handshake_step(&mut self) -> Result<(), LinkError> {
        // Gives the deadline its turn too.
        consume_budget().await;
        if !self.incoming.is_empty() {
            let fed = self.feed();
            // An alert tells the peer why.
            self.flush()?;
            return fed;
        }
        self.flush()?;
        if self.at_end {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        self.wait().await
    }

    fn wants_write(&self) -> bool {
        match &self.tls {
            Some(tls) => tls.wants_write(),
            None => self.written < self.outgoing.len(),
        }
    }

    /// Everything that can be had without the socket.
    fn take_event(&mut self) -> Result<Option<LinkEvent>, LinkError> {
        loop {
            match self.take_frame()? {
                Some(Taken::Frame(Frame { kind: Kind::Ping, payload })) => {
                    // A peer that asks without reading the answers gets no more of them.
                    if self.has_room() {
                        self.send(Kind::Pong, &payload);
                    }
                }
                Some(Taken::Frame(Frame { kind: Kind::Pong, .. })) => {}
                Some(Taken::Frame(frame)) => return Ok(Some(LinkEvent::Frame(frame))),
                Some(Taken::End) => return self.ended().map(Some),
                None => return Ok(None),
            }
        }
    }

    fn take_frame(&mut self) -> Result<Option<Taken>, LinkError> {
        loop {
            let taken = match &mut self.tls {
                Some(tls) => match tls.plain(|bytes| self.decoder.read(bytes)) {
                    Plain::Some(taken) => taken?,
                    Plain::Closed => return Ok(Some(Taken::End)),
                    Plain::None if !self.incoming.is_empty() => {
                        self.feed()?;
                        continue;
                    }
                    Plain::None => None,
                },
                None => self.incoming.take(|bytes| self.decoder.read(bytes))?,
            };
            match taken {
                Some(frame) => return Ok(Some(Taken::Frame(frame))),
                // TLS may hold more plaintext than the chunk that was used up.
                None if self.tls.is_some() && self.has_plain() => {}
                None if self.incoming.is_empty() => {
                    return Ok(self.at_end.then_some(Taken::End));
                }
                None => {}
            }
        }
    }

    fn has_plain(&mut self) -> bool {
        self.tls.as_mut().is_some_and(|tls| !matches!(tls.plain(|_| ()), Plain::None))
    }

    fn feed(&mut self) -> Result<(), LinkError> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let before = self.incoming.bytes().len();
        self.incoming.take(|bytes| tls.feed(bytes))?;
        let fed = before - self.incoming.bytes().len();
        // Whoever asked would ask for ever.
        if fed == 0 {
            return Err(io::Error::from(io::ErrorKind::InvalidData).into());
        }
        if tls.is_handshaking() {
            self.handshake_len += fed;
            if self.handshake_len > HANDSHAKE_LEN_MAX {
                return Err(TlsError::TooLong.into());
            }
        }
        Ok(())
    }

    fn ended(&mut self) -> Result<LinkEvent, LinkError> {
        if self.decoder.is_between_frames() {
            let is_said = self.tls.as_mut().is_none_or(|tls| tls.is_closed());
            return if is_said { Ok(LinkEvent::Closed) } else { Err(LinkError::Cut) };
        }
        let (got, of) = self.decoder.progress();
        Err(LinkError::CutMidFrame { got, of })
    }

    fn flush(&mut self) -> Result<(), LinkError> {
        while self.wants_write() {
            let written = match &mut self.tls {
                Some(tls) => tls.flush_into(&mut self.socket),
                None => self.socket.write(&self.outgoing[self.written..]),
            };
            match written {
                Ok(written) => {
                    if self.tls.is_none() {
                        self.written += written;
                    }
                    self.queued = self.queued.saturating_sub(written);
                    self.heartbeat.handle_sent(Instant::now());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.queued = 0;
        self.outgoing.clear();
        self.written = 0;
        self.socket.rest();
        Ok(())
    }

    /// Waits for the socket or the clock, and reads once.
    async fn wait(&mut self) -> Result<(), LinkError> {
        let wants_read = self.reading == Reading::On && !self.at_end;
        let deadline = self.heartbeat.poll_timeout();
        let ready = tokio::select! {
            ready = self.socket.ready(wants_read, self.wants_write()) => ready?,
            () = tokio::time::sleep_until(deadline.into()) => return self.handle_timeout(),
        };
        if wants_read && (ready.is_readable() || ready.is_read_closed()) {
            // A stranger has little to say, and there may be many of them.
            let len_max = match self.decoder.trust() {
                Trust::Unproved => READ_LEN_MIN,
                Trust::Proved => READ_LEN_MAX,
            };
            match self.incoming.fill(len_max, |buffer| self.socket.try_read(buffer)) {
                Ok(0) => self.at_end = true,
                Ok(_) => self.heartbeat.handle_heard(Instant::now()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        } else if ready.is_error() {
            self.socket.take_error()?;
            // Dead all the same; to wait again would not be to wait.
            return Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
        }
        Ok(())
    }

    fn handle_timeout(&mut self) -> Result<(), LinkError> {
        match self.heartbeat.handle_timeout(Instant::now()) {
            Some(Beat::Ping) if self.decoder.trust() == Trust::Proved && !self.is_handshaking() => {
                self.send(Kind::Ping, &[]);
            }
            Some(Beat::Dead) => return Err(LinkError::Dead),
            Some(Beat::Ping) | None => {}
        }
        Ok(())
    }
}

enum Taken {
    Frame(Frame),
    End,
}

/// Bytes from the socket that are not used yet. Grows while reads fill it, and can be given back.
#[derive(Default)]
pub(crate) struct Incoming {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The last read took all the room there was: the next one gets more.
    was_filled: bool,
}

impl Incoming {
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    pub(crate) fn take<T>(&mut self, take: impl FnOnce(&mut &[u8]) -> T) -> T {
        let bytes = &self.buffer[self.start..self.end];
        let mut rest = bytes;
        let result = take(&mut rest);
        self.start += bytes.len() - rest.len();
        result
    }

    /// Reads once; the room for that grows up to `len_max`.
    pub(crate) fn fill(
        &mut self,
        len_max: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
        if self.was_filled || self.end == self.buffer.len() {
            let len = (self.buffer.len() * 2).clamp(READ_LEN_MIN, len_max);
            self.buffer.resize(len.max(self.end + READ_LEN_MIN), 0);
        }
        let read = read(&mut self.buffer[self.end..])?;
        self.end += read;
        self.was_filled = self.end == self.buffer.len();
        Ok(read)
    }

    /// Gives the room back where nothing is in it.
    pub(crate) fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

pub(crate) const READ_LEN_MIN: usize = 4 << 10;
/// 256 KiB was the fastest in probes; 1 MiB leaves the second-level cache.
const READ_LEN_MAX: usize = 256 << 10;
const QUEUE_LEN_MAX: usize = 512 << 10;
/// Ten times what the handshakes of this protocol take.
const HANDSHAKE_LEN_MAX: usize = 16 << 10;
const FAREWELL_MAX: Duration = Duration::from_secs(2);
const FAREWELL_READS_MAX: usize = 4096;
