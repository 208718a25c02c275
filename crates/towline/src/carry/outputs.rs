//! stdout and stderr of the program on their way to ours.

use std::io::{self, IsTerminal as _};

use encoding_rs::Encoding;
use tokio::sync::mpsc;
use tow_proto::message::{STDERR, STDOUT};

use super::Role;
use crate::encoding::Decoder;
use crate::failure::Failure;
use crate::stdio::{Of, Sink, Through, Written};

/// Both, and what they tell.
pub(super) struct Outputs {
    /// The stream that is written to our stdout.
    result: u8,
    stdout: Stream,
    stderr: Stream,
    written: mpsc::Receiver<Written>,
    last_byte: u8,
}

struct Stream {
    sink: Sink,
    decoder: Option<Decoder>,
}

impl Outputs {
    pub(super) fn new(role: Role, encoding: Option<&'static Encoding>, through: Through) -> Self {
        let (told, written) = mpsc::channel(WRITTEN_WAITING_MAX);
        let result = role.result();
        let other = if result == STDOUT { STDERR } else { STDOUT };
        let stream = |sink| Stream { sink, decoder: encoding.map(Decoder::new) };
        let stdout = stream(Sink::new(result, io::stdout(), told.clone(), through));
        let stderr = stream(Sink::new(other, io::stderr(), told, Through::Threads));
        Self { result, stdout, stderr, written, last_byte: b'\n' }
    }

    /// What was written. May be cancelled.
    pub(super) async fn next(&mut self) -> Written {
        tokio::select! {
            Some(written) = self.written.recv() => written,
            written = self.stdout.sink.next() => written,
        }
    }

    /// Bytes of the program.
    pub(super) fn push(&mut self, stream: u8, bytes: Vec<u8>) {
        if stream == STDOUT {
            self.last_byte = bytes.last().copied().unwrap_or(self.last_byte);
        }
        self.stream(stream).push(bytes);
    }

    /// The stream ends here, or goes on elsewhere: half a character is none.
    pub(super) fn end(&mut self, stream: u8) {
        let Stream { sink, decoder } = self.stream(stream);
        let rest = decoder.as_mut().map(Decoder::finish).unwrap_or_default();
        if !rest.is_empty() {
            sink.push(rest.into_bytes(), Of::Ours);
        }
    }

    /// What a terminal shows, in place of what came before.
    pub(super) fn draw(&mut self, screen: Vec<u8>) {
        // The rest of a character that is now part of the drawing.
        let _ = self.stdout.decoder.as_mut().map(Decoder::finish);
        self.stdout.sink.push(screen, Of::Ours);
    }

    /// Something of ours on the terminal at stdout.
    pub(super) fn say_on_stdout(&mut self, text: impl Into<Vec<u8>>) {
        self.stdout.sink.push(text.into(), Of::Ours);
    }

    /// Something of ours on stderr.
    pub(super) fn say(&mut self, text: impl Into<Vec<u8>>) {
        self.stderr.sink.push(text.into(), Of::Ours);
    }

    /// The last byte of stdout; an end of line where there was nothing.
    pub(super) fn last_byte(&self) -> u8 {
        self.last_byte
    }

    /// Waits until everything was written.
    ///
    /// # Errors
    /// Something was not, and not because its reader had enough.
    pub(super) fn finish(self) -> Result<(), Failure> {
        // The sinks' threads report to a channel that nobody reads any more.
        drop(self.written);
        let written =
            [("stdout", self.stdout.sink.finish()), ("stderr", self.stderr.sink.finish())];
        for (name, result) in written {
            result.map_err(|error| Failure::other(format!("{name}: {error}")))?;
        }
        Ok(())
    }

    /// The same, but a reader that takes nothing is not waited for: a terminal takes everything.
    pub(super) fn let_go(self) {
        drop(self.written);
        if io::stdout().is_terminal() {
            // Whoever goes does not care.
            let _ = self.stdout.sink.finish();
        } else {
            self.stdout.sink.abandon();
        }
        if io::stderr().is_terminal() {
            let _ = self.stderr.sink.finish();
        } else {
            self.stderr.sink.abandon();
        }
    }

    fn stream(&mut self, stream: u8) -> &mut Stream {
        if stream == self.result { &mut self.stdout } else { &mut self.stderr }
    }
}

impl Stream {
    fn push(&mut self, bytes: Vec<u8>) {
        let count = bytes.len() as u64;
        let bytes = match &mut self.decoder {
            Some(decoder) => decoder.decode(&bytes).into_bytes(),
            None => bytes,
        };
        self.sink.push(bytes, Of::Stream(count));
    }
}

/// A writer that says more than is listened to waits; that is what a pipe would do.
const WRITTEN_WAITING_MAX: usize = 64;
