//! `run`, asking: the mirror of a session's viewer.

use tow_net::LinkEvent;
use tow_proto::content::Tally;
use tow_proto::message::{
    Credit, End, ExitRecord, Request, Run, RunEvent, RunReply, STDERR, STDIN, STDOUT, StreamTotal,
    Upward,
};
use tow_proto::{Kind, json};

use super::{AskError, Connection, head};

pub use super::session::request_id;

/// What came from the program.
#[derive(Debug)]
pub enum Output {
    /// Bytes of stdout (1) or stderr (2), in order. Say [`Running::consumed`] when they are written.
    Bytes {
        /// 1 or 2.
        stream: u8,
        /// What it wrote.
        bytes: Vec<u8>,
    },
    /// A stream is complete and was verified.
    Ended {
        /// 1 or 2.
        stream: u8,
    },
    /// More stdin may be sent.
    StdinRoom,
    /// The program reads no more.
    StdinClosed,
    /// The program ended; both streams have before.
    Exit(Box<ExitRecord>),
}

/// A program that runs over there.
pub struct Running {
    connection: Connection,
    session: String,
    stdin: Stdin,
    stdout: Received,
    stderr: Received,
}

struct Stdin {
    tally: Tally,
    to: u64,
    ended: bool,
}

/// What was received of a stream, and how far the node may send.
struct Received {
    stream: u8,
    tally: Tally,
    consumed: u64,
    to: u64,
    ended: bool,
    /// We want no more of it, so its hash says nothing to us.
    stopped: bool,
}

impl Running {
    /// Starts the program of `run` (whose credit fields are filled in here).
    ///
    /// # Errors
    /// The refusal, or a lost link.
    pub async fn start(mut connection: Connection, mut run: Run) -> Result<Self, AskError> {
        run.stdout_to = WINDOW;
        run.stderr_to = WINDOW;
        let wants_stdin = run.stdin;
        let reply: RunReply = connection.ask(&Request::Run(Box::new(run))).await?;
        Ok(Self {
            connection,
            session: reply.session,
            stdin: Stdin { tally: Tally::default(), to: reply.stdin.to, ended: !wants_stdin },
            stdout: Received::new(STDOUT),
            stderr: Received::new(STDERR),
        })
    }

    /// The session's id.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Waits for what comes next. May be cancelled.
    ///
    /// # Errors
    /// A lost link, or output that is not what it should be.
    pub async fn next(&mut self) -> Result<Output, AskError> {
        loop {
            let frame = match self.connection.link.next_event().await? {
                LinkEvent::Frame(frame) => frame,
                LinkEvent::Room => return Ok(Output::StdinRoom),
                LinkEvent::Closed => {
                    return Err(AskError::Link(
                        std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into(),
                    ));
                }
            };
            match frame.kind {
                Kind::Data => return self.stdout.take(frame.payload),
                Kind::DataErr => return self.stderr.take(frame.payload),
                Kind::End => {
                    let end: End = parse(&frame.payload)?;
                    let stream = self.received(end.stream)?;
                    stream.check(end.total, end.blake3)?;
                    stream.ended = true;
                    return Ok(Output::Ended { stream: end.stream });
                }
                Kind::Credit => {
                    let credit: Credit = parse(&frame.payload)?;
                    if credit.stream == STDIN && credit.to > self.stdin.to {
                        self.stdin.to = credit.to;
                        return Ok(Output::StdinRoom);
                    }
                }
                Kind::Head => match head(&frame)? {
                    RunEvent::StdinClosed => return Ok(Output::StdinClosed),
                    RunEvent::Exit(record) => {
                        self.check_exit(&record)?;
                        return Ok(Output::Exit(record));
                    }
                    _ => {}
                },
                Kind::Ping | Kind::Pong => {}
            }
        }
    }

    /// Bytes of stdin that may be sent now.
    pub fn stdin_room(&self) -> usize {
        if self.stdin.ended || !self.connection.link.has_room() {
            return 0;
        }
        usize::try_from(self.stdin.to - self.stdin.tally.bytes()).unwrap_or(usize::MAX)
    }

    /// Sends stdin, at most [`Self::stdin_room`] bytes.
    pub fn write_stdin(&mut self, bytes: &[u8]) {
        if !self.stdin.ended {
            self.stdin.tally.update(bytes);
            self.connection.link.send(Kind::Data, bytes);
        }
    }

    /// No more stdin.
    pub fn end_stdin(&mut self) {
        if !self.stdin.ended {
            self.stdin.ended = true;
            self.send_stdin_end();
        }
    }

    fn send_stdin_end(&mut self) {
        let tally = &self.stdin.tally;
        let end = End { stream: STDIN, total: tally.bytes(), blake3: tally.hash() };
        self.connection.link.send(Kind::End, &json::to_vec(&end));
    }

    /// So many bytes of a stream were written where they belong: more may come.
    pub fn consumed(&mut self, stream: u8, bytes: u64) {
        let Ok(received) = self.received(stream) else { return };
        received.consumed += bytes;
        // Half a window at a time: small grants would cost a frame each.
        if received.consumed + WINDOW / 2 >= received.to && !received.ended {
            received.to = received.consumed + WINDOW;
            let credit = Credit { stream, to: received.to };
            self.connection.link.send(Kind::Credit, &json::to_vec(&credit));
        }
    }

    /// Delivers a signal to the program.
    pub fn signal(&mut self, name: &str) {
        self.connection.link.send_head(&Upward::Signal { name: name.to_owned() });
    }

    /// Nobody reads this stream here any more.
    pub fn stop(&mut self, stream: u8) {
        if let Ok(received) = self.received(stream) {
            received.stopped = true;
            self.connection.link.send_head(&Upward::Stop { stream });
        }
    }

    /// After the exit: ends the channel, so that the link can serve the next.
    pub fn finish(mut self) -> Connection {
        self.end_stdin();
        self.connection
    }

    fn received(&mut self, stream: u8) -> Result<&mut Received, AskError> {
        match stream {
            STDOUT => Ok(&mut self.stdout),
            STDERR => Ok(&mut self.stderr),
            _ => Err(AskError::Protocol { what: "no such stream" }),
        }
    }

    fn check_exit(&self, record: &ExitRecord) -> Result<(), AskError> {
        let totals = [(&self.stdout, record.stdout), (&self.stderr, record.stderr)];
        for (received, StreamTotal { bytes, blake3 }) in totals {
            received.check(bytes, blake3)?;
        }
        Ok(())
    }
}

impl Received {
    fn new(stream: u8) -> Self {
        Self {
            stream,
            tally: Tally::default(),
            consumed: 0,
            to: WINDOW,
            ended: false,
            stopped: false,
        }
    }

    fn take(&mut self, bytes: Vec<u8>) -> Result<Output, AskError> {
        self.tally.update(&bytes);
        if self.ended || self.tally.bytes() > self.to {
            return Err(AskError::Protocol { what: "more output than was granted" });
        }
        Ok(Output::Bytes { stream: self.stream, bytes })
    }

    fn check(&self, total: u64, hash: tow_proto::content::Hash) -> Result<(), AskError> {
        if self.stopped || (self.tally.bytes() == total && self.tally.hash() == hash) {
            Ok(())
        } else {
            Err(AskError::Protocol { what: "output that is not what the program wrote" })
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, AskError> {
    json::from_slice(payload).map_err(|_| AskError::Protocol { what: "a frame that can't be read" })
}

/// Output that may be on its way or waiting to be written here, for each stream, in bytes. At
/// 100 ms of round trip it allows 40 MB/s.
const WINDOW: u64 = 4 << 20;
