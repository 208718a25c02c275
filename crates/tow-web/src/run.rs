//! `POST /api/v1/run`: a program, and what it writes as lines of JSON (HTTP.md 4).

use std::collections::VecDeque;

use axum::Router;
use axum::extract::{Extension, Request};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tow_node::ask::AskError;
use tow_node::ask::session::{Output, Remote, request_id};
use tow_proto::message::{ExitRecord, Lease, Program, Run, STDERR, STDOUT};
use tow_proto::{ByteString, Code};

use crate::answer::{Answer, Failure, json};
use crate::body::json as json_of;
use crate::files::Place;
use crate::guest::Guest;
use crate::server::Connection;
use crate::stream::{Outlet, stream};

pub(crate) fn routes() -> Router {
    Router::new().route("/api/v1/run", post(run))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    argv: Option<Vec<ByteString>>,
    shell: Option<ByteString>,
    cwd: Option<ByteString>,
    #[serde(default)]
    env: Vec<(ByteString, ByteString)>,
    timeout_ms: Option<u64>,
    stdin: Option<ByteString>,
    #[serde(default)]
    detach: bool,
}

#[derive(Serialize)]
struct Session<'a> {
    session: &'a str,
}

/// One line.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Session(&'a str),
    Stdout(ByteString),
    Stderr(ByteString),
    Exit(&'a ExitRecord),
}

async fn run(
    Extension(connection): Extension<Connection>,
    guest: Guest,
    request: Request,
) -> Answer {
    let mut asked: Asked = json_of(request.into_body()).await?;
    let stdin = asked.stdin.take();
    let place = Place::of_path(guest.machine, b"/");
    let detach = asked.detach;
    if detach && stdin.is_some() {
        return Err(NO_STDIN);
    }
    let run = request_of(&place, asked, stdin.is_some())?;
    let link = place.machine.connect().await.map_err(|error| place.say(error))?;
    let remote = Remote::start_on(link, run).await.map_err(|error| place.say(error))?;
    if detach {
        let answer = json(StatusCode::ACCEPTED, &Session { session: remote.session() });
        remote.finish().await;
        return Ok(answer);
    }
    // A program waits for who looks at it, as it does in a terminal.
    connection.leisure.give();
    let (outlet, streamed) = stream(LINES_WAITING_MAX, None);
    tokio::spawn(async move {
        let mut running = Running::new(remote, outlet, stdin);
        let ended = running.carry().await;
        running.finish(ended).await;
    });
    let response: Response = streamed.into_response("application/x-ndjson");
    Ok(response)
}

fn request_of(place: &Place, asked: Asked, stdin: bool) -> Result<Run, Failure> {
    let program = match (asked.argv, asked.shell) {
        (Some(argv), None) if !argv.is_empty() => Program::Argv(argv),
        (None, Some(line)) => Program::Shell(line),
        _ => return Err(NO_PROGRAM),
    };
    Ok(Run {
        id: request_id().ok_or(Code::Internal)?,
        program,
        cwd: asked.cwd.map(|cwd| place.other(&cwd)).transpose()?,
        env: asked.env,
        timeout_ms: asked.timeout_ms,
        lease: if asked.detach { Lease::Detached } else { Lease::Attached },
        stdin,
        terminal: None,
        locale: String::new(),
        view: !asked.detach,
        // Filled in where it is asked.
        stdout_to: 0,
        stderr_to: 0,
    })
}

/// A program whose output is on its way to a client.
struct Running {
    remote: Remote,
    outlet: Outlet,
    stdin: Vec<u8>,
    /// What of it was written.
    written: usize,
    is_stdin_over: bool,
    /// Lines that are not with the client, and what of which stream they hold. Bounded by the
    /// window of each stream.
    lines: VecDeque<(Bytes, u8, u64)>,
    tails: [Vec<u8>; 2],
}

/// How it came to its end.
enum Ended {
    Exit(Box<ExitRecord>),
    /// The client has gone away.
    Unread,
    /// The link was lost, or the machine made no sense.
    Lost(AskError),
}

impl Running {
    fn new(remote: Remote, outlet: Outlet, stdin: Option<ByteString>) -> Self {
        let stdin = stdin.map(|stdin| stdin.0).unwrap_or_default();
        let lines = VecDeque::from([(line(&Line::Session(remote.session())), STDOUT, 0)]);
        let tails = [Vec::new(), Vec::new()];
        Self { remote, outlet, stdin, written: 0, is_stdin_over: false, lines, tails }
    }

    async fn carry(&mut self) -> Ended {
        loop {
            self.feed();
            tokio::select! {
                output = self.remote.next() => match output {
                    Ok(Output::Exit(record)) => return Ended::Exit(record),
                    Ok(output) => self.handle(output),
                    Err(error) => return Ended::Lost(error),
                },
                room = self.outlet.room(), if !self.lines.is_empty() => {
                    if room.is_err() {
                        return Ended::Unread;
                    }
                    self.pass();
                }
                () = self.outlet.unread() => return Ended::Unread,
            }
        }
    }

    /// Writes of stdin what may be written.
    fn feed(&mut self) {
        let left = &self.stdin[self.written..];
        let len = left.len().min(self.remote.stdin_room());
        if len > 0 {
            self.remote.write_stdin(&left[..len]);
            self.written += len;
        }
        if self.written == self.stdin.len() && !self.is_stdin_over {
            self.is_stdin_over = true;
            self.remote.end_stdin();
        }
    }

    fn handle(&mut self, output: Output) {
        match output {
            Output::Bytes { stream, bytes } => {
                let read = bytes.len() as u64;
                let bytes = whole(&mut self.tails[usize::from(stream == STDERR)], bytes);
                self.say(stream, bytes, read);
            }
            Output::Ended { stream } => {
                let tail = std::mem::take(&mut self.tails[usize::from(stream == STDERR)]);
                self.say(stream, tail, 0);
            }
            Output::StdinClosed => {
                (self.stdin, self.written, self.is_stdin_over) = (Vec::new(), 0, true);
            }
            _ => {}
        }
    }

    fn say(&mut self, stream: u8, bytes: Vec<u8>, read: u64) {
        if bytes.is_empty() {
            return self.remote.consumed(stream, read);
        }
        let bytes = ByteString(bytes);
        let said = if stream == STDERR { Line::Stderr(bytes) } else { Line::Stdout(bytes) };
        self.lines.push_back((line(&said), stream, read));
    }

    /// Gives the client the next line, and the program room for as much.
    fn pass(&mut self) {
        if let Some((line, stream, read)) = self.lines.front()
            && self.outlet.pass(line.clone())
        {
            self.remote.consumed(*stream, *read);
            self.lines.pop_front();
        }
    }

    async fn finish(mut self, ended: Ended) {
        match ended {
            Ended::Exit(record) => {
                self.remote.finish().await;
                self.lines.push_back((line(&Line::Exit(&record)), STDOUT, 0));
                for (line, _, _) in self.lines {
                    if self.outlet.put(line).await.is_err() {
                        return;
                    }
                }
                self.outlet.end().await;
            }
            Ended::Unread => self.remote.leave().await,
            // Without an end, the body is cut.
            Ended::Lost(error) => tracing::debug!(%error, "a program is looked at no more"),
        }
    }
}

/// What is whole characters of `bytes` behind what was left before: a character that came in two
/// halves is shown as one.
fn whole(tail: &mut Vec<u8>, bytes: Vec<u8>) -> Vec<u8> {
    let mut all = std::mem::take(tail);
    all.extend_from_slice(&bytes);
    if let Err(error) = std::str::from_utf8(&all)
        && error.error_len().is_none()
    {
        *tail = all.split_off(error.valid_up_to());
    }
    all
}

fn line(said: &Line<'_>) -> Bytes {
    let mut line = serde_json::to_vec(said).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

const LINES_WAITING_MAX: usize = 4;
const NO_PROGRAM: Failure =
    Failure::Http(StatusCode::BAD_REQUEST, "either argv, which is not empty, or shell");
const NO_STDIN: Failure =
    Failure::Http(StatusCode::BAD_REQUEST, "a program that nobody looks at has no stdin");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_in_two_halves_is_one() {
        let mut tail = Vec::new();
        assert_eq!(whole(&mut tail, b"a\xc3".to_vec()), b"a");
        assert_eq!(whole(&mut tail, b"\xbcb".to_vec()), "üb".as_bytes());
        assert_eq!(whole(&mut tail, b"\xff\xc3".to_vec()), b"\xff\xc3", "no text anyway");
        assert_eq!(whole(&mut tail, b"\xf0\x9f".to_vec()), b"");
        assert_eq!(tail, b"\xf0\x9f");
    }

    #[test]
    fn lines_are_what_the_api_says() {
        let bytes = ByteString(vec![0xff]);
        assert_eq!(line(&Line::Session("s")), "{\"session\":\"s\"}\n");
        assert_eq!(line(&Line::Stdout("a\n".into())), "{\"stdout\":\"a\\n\"}\n");
        assert_eq!(line(&Line::Stderr(bytes)), "{\"stderr\":{\"b64\":\"/w==\"}}\n");
    }
}
