//! `run`, serving: a viewer of a session, for as long as the link lasts.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tow_host::session::{Output, Spec, Stdin, Viewer};
use tow_net::{Link, LinkEvent};
use tow_proto::content::Tally;
use tow_proto::message::{
    Credit, End, ExitRecord, Program, Reply, Run, RunEvent, RunReply, STDERR, STDIN, STDOUT, Upward,
};
use tow_proto::{ByteString, Code, Frame, Kind, Refusal, json};

use super::{ChannelError, Peer, Served, Shared, now};
use crate::audit::Outcome;

/// Runs a program and carries its streams.
pub(super) async fn run(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Run,
) -> Result<Served, ChannelError> {
    let permit = peer.grant.run(now())?;
    let (stdout_to, stderr_to, wants_stdin) = (request.stdout_to, request.stderr_to, request.stdin);
    let id = request.id.clone();
    if id.is_empty() || id.len() > REQUEST_ID_LEN_MAX {
        return Err(Refusal::from(Code::Malformed).into());
    }
    let spec = spec(shared, permit.start(), request);
    let session = shared.sessions.start(&peer.owner(), &id, spec).await?;
    let mut viewer = session.attach(0, 0);
    viewer.allow(STDOUT, stdout_to);
    viewer.allow(STDERR, stderr_to);
    let reply = RunReply { session: session.id().to_string(), stdin_to: viewer.stdin_to() };
    link.send_head(&Reply::Ok(reply));
    let mut channel =
        Channel { viewer, stdin: Tally::default(), stdin_ended: !wants_stdin, bytes: 0 };
    let record = channel.carry(link).await?;
    let served = Served { outcome: Outcome::Ended(record.ended.clone()), bytes: channel.bytes };
    link.send_head(&RunEvent::Exit(Box::new(record)));
    channel.discard_stdin(link).await?;
    Ok(served)
}

fn spec(shared: &Shared, start: &Path, request: Run) -> Spec {
    let os = |bytes: ByteString| OsString::from_vec(bytes.0);
    let cwd = match request.cwd {
        Some(cwd) => start.join(PathBuf::from(os(cwd))),
        None => start.to_owned(),
    };
    Spec {
        program: request.program,
        cwd: Some(cwd),
        home: shared.account.home.clone(),
        env: request.env.into_iter().map(|(name, value)| (os(name), os(value))).collect(),
        stdin: if request.stdin { Stdin::Open } else { Stdin::Null },
        timeout: request.timeout_ms.map(Duration::from_millis),
        lease: request.lease,
        shell: shared.account.shell.clone(),
        user: shared.account.user.clone(),
        path: shared.account.path.clone(),
        lang: shared.account.lang.clone(),
    }
}

struct Channel {
    viewer: Viewer,
    stdin: Tally,
    stdin_ended: bool,
    bytes: u64,
}

impl Channel {
    /// Until the program has ended and everything it wrote was sent.
    async fn carry(&mut self, link: &mut Link) -> Result<ExitRecord, ChannelError> {
        loop {
            tokio::select! {
                event = link.next_event() => match event? {
                    LinkEvent::Frame(frame) => self.handle_frame(frame)?,
                    LinkEvent::Room => {}
                    LinkEvent::Closed => return Err(ChannelError::Closed),
                },
                output = self.viewer.next(), if link.has_room() => {
                    if let Some(record) = self.handle_output(link, output) {
                        return Ok(record);
                    }
                }
            }
        }
    }

    fn handle_output(&mut self, link: &mut Link, output: Output) -> Option<ExitRecord> {
        match output {
            Output::Bytes { stream, bytes } => {
                self.bytes += bytes.len() as u64;
                link.send(if stream == STDERR { Kind::DataErr } else { Kind::Data }, &bytes);
            }
            Output::Ended { stream, total, blake3 } => {
                link.send(Kind::End, &json::to_vec(&End { stream, total, blake3 }));
            }
            Output::StdinRoom { to } => {
                link.send(Kind::Credit, &json::to_vec(&Credit { stream: STDIN, to }));
            }
            Output::StdinClosed => link.send_head(&RunEvent::StdinClosed),
            // A viewer from the start sets the pace, so nothing is dropped before it was seen.
            Output::Gap { .. } => {}
            Output::Exit(record) => return Some(record),
        }
        None
    }

    fn handle_frame(&mut self, frame: Frame) -> Result<(), ChannelError> {
        match frame.kind {
            Kind::Data if !self.stdin_ended => {
                self.stdin.update(&frame.payload);
                self.bytes += frame.payload.len() as u64;
                self.viewer.write_stdin(frame.payload)?;
            }
            Kind::End if !self.stdin_ended => {
                let end: End = parse(&frame.payload)?;
                if (end.stream, end.total, end.blake3)
                    != (STDIN, self.stdin.bytes(), self.stdin.hash())
                {
                    return Err(Refusal::from(Code::Corrupt).into());
                }
                self.stdin_ended = true;
                self.viewer.end_stdin();
            }
            Kind::Credit => {
                let credit: Credit = parse(&frame.payload)?;
                self.viewer.allow(credit.stream, credit.to);
            }
            Kind::Head => match parse(&frame.payload)? {
                // A name that we do not know is not worth the program.
                Upward::Signal { name } => drop(self.viewer.signal(&name)),
                Upward::Stop { stream } => self.viewer.stop(stream),
                _ => {}
            },
            _ => return Err(Refusal::from(Code::OutOfOrder).into()),
        }
        Ok(())
    }

    /// What the client sent before it knew of the end belongs to nobody; its `end` of stdin ends
    /// the channel.
    async fn discard_stdin(&mut self, link: &mut Link) -> Result<(), ChannelError> {
        while !self.stdin_ended {
            match link.next_event().await? {
                LinkEvent::Frame(frame) => self.stdin_ended = frame.kind == Kind::End,
                LinkEvent::Room => {}
                LinkEvent::Closed => return Ok(()),
            }
        }
        Ok(())
    }
}

fn parse<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, ChannelError> {
    json::from_slice(payload).map_err(|_| Refusal::from(Code::Malformed).into())
}

/// What was asked for, for the audit log: never the values of variables.
pub(super) fn detail(request: &Run) -> Vec<ByteString> {
    match &request.program {
        Program::Argv(argv) => argv.clone(),
        Program::Shell(line) => vec!["-c".into(), line.clone()],
    }
}

const REQUEST_ID_LEN_MAX: usize = 64;
