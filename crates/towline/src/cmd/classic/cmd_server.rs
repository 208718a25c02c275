//! `tow classic cmd-server`: a request is a block with a command line, the answer a block with
//! what it wrote to stdout and then to stderr.

use std::io;

use tow_host::shell_line::{self, Ended, OUTPUT_LEN_MAX, Outcome};
use tow_net::listen::{Accepted, Peer};
use tow_proto::byte_string::escape;

use super::conversation::Conversation;
use super::sentence;
use super::server::{self, ServerArgs, tell};
use crate::failure::Failure;

/// Arguments of `tow classic cmd-server`.
#[derive(Debug, clap::Args)]
pub(super) struct CmdServerArgs {
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: &CmdServerArgs) -> Result<(), Failure> {
    server::serve(&args.server, "run commands as this user", serve_client)
}

async fn serve_client(Accepted { stream, peer }: Accepted) {
    tell(peer, "connected");
    match answer_requests(&mut Conversation::new(stream), peer).await {
        Ok(()) => tell(peer, "left"),
        Err(error) => tell(peer, format_args!("was dropped: {error}")),
    }
}

async fn answer_requests(conversation: &mut Conversation, peer: Peer) -> io::Result<()> {
    while let Some(request) = conversation.next_request().await? {
        tell(peer, format_args!("asked {}", shown(&request)));
        let answer = tokio::select! {
            answer = answer(&request) => answer,
            () = conversation.gone() => return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "it left before its command was done; the command was killed",
            )),
        };
        let len = answer.stdout.len() + answer.stderr.len();
        conversation.send(&answer.stdout, &answer.stderr).await?;
        tell(peer, format_args!("got {len} bytes"));
    }
    Ok(())
}

/// Both outputs of a command, and after them what there is to say about it.
#[derive(Default)]
struct Answer {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

async fn answer(request: &[u8]) -> Answer {
    let line = match std::str::from_utf8(request) {
        Ok("") => return Answer::default(),
        Ok(line) => line,
        Err(error) => {
            let at = error.valid_up_to();
            return Answer::saying(&format!("the command is not UTF-8 (at byte {at})"));
        }
    };
    match shell_line::run(line).await {
        Ok(Outcome { stdout, stderr, ended }) => {
            let mut answer = Answer { stdout, stderr };
            if ended == Ended::OutputTooLong {
                answer.say(&format!("killed after {OUTPUT_LEN_MAX} bytes of output"));
            }
            answer
        }
        Err(error) => Answer::saying(&sentence(&error)),
    }
}

impl Answer {
    fn saying(what: &str) -> Self {
        let mut answer = Self::default();
        answer.say(what);
        answer
    }

    fn say(&mut self, what: &str) {
        self.stderr.extend_from_slice(format!("tow: {what}\n").as_bytes());
    }
}

/// A command as a status line has it: nothing that a terminal acts upon, and not too much.
fn shown(request: &[u8]) -> String {
    match request.get(..SHOWN_LEN_MAX) {
        Some(start) => format!("`{}…` ({} bytes)", escape(start), request.len()),
        None => format!("`{}`", escape(request)),
    }
}

/// Bytes of a command that a status line shows.
const SHOWN_LEN_MAX: usize = 200;
