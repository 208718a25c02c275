//! `tow classic`: the programs of the text on socket programming, byte-compatible with its own
//! (PROTOCOL 8).
//!
//! Neither side proves who it is and nothing is encrypted, so the servers stay on this machine
//! unless they are told otherwise.

mod client;
mod cmd;
mod cmd_server;
mod conversation;
mod file_server;
mod get;
mod server;

use std::error::Error;
use std::fmt::Write as _;
use std::process::ExitCode;

use crate::failure::Kind;

/// Arguments of `tow classic`.
#[derive(Debug, clap::Args)]
pub(crate) struct ClassicArgs {
    #[command(subcommand)]
    program: Program,
}

#[derive(Debug, clap::Subcommand)]
enum Program {
    /// Run the command lines that clients send, and answer with their output
    CmdServer(cmd_server::CmdServerArgs),
    /// Send command lines to a command server and show its answers (`q` leaves)
    Cmd(cmd::CmdArgs),
    /// Send one file to everybody who connects
    FileServer(file_server::FileServerArgs),
    /// Receive the file of a file server
    Get(get::GetArgs),
}

/// Runs one of the programs to its end. Must not be called within a tokio runtime.
pub(crate) fn run(args: ClassicArgs) -> ExitCode {
    let outcome = match args.program {
        Program::CmdServer(args) => cmd_server::run(&args),
        Program::Cmd(args) => cmd::run(&args),
        Program::FileServer(args) => file_server::run(&args),
        Program::Get(args) => get::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(Kind::Plain),
    }
}

/// An error and what caused it, in one line.
fn sentence(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
