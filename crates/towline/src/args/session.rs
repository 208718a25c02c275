//! Arguments of the commands that work with sessions.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use encoding_rs::Encoding;

use super::duration;
use crate::encoding;

/// How text is shown and typed here.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Text {
    /// The encoding of the text there, such as gbk; here it is UTF-8
    #[arg(long, value_name = "NAME", value_parser = encoding::parse)]
    pub(crate) encoding: Option<&'static Encoding>,
}

#[derive(Debug, Parser)]
#[command(
    after_help = ESCAPES,
    override_usage = "tow run [OPTIONS] HOST [OPTIONS] [--] PROGRAM [ARGUMENTS]…\n       tow run [OPTIONS] HOST [OPTIONS] 'SHELL LINE'"
)]
pub(crate) struct RunArgs {
    /// The machine
    pub(crate) host: String,
    /// On a terminal, as `tow shell` has it
    #[arg(short, long)]
    pub(crate) terminal: bool,
    /// Start it, print its id and go; it has no stdin, and runs until it ends
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Working directory there
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<OsString>,
    /// Set a variable there, or pass mine on
    #[arg(long, value_name = "K[=V]")]
    pub(crate) env: Vec<OsString>,
    /// End the program after this time; exit code 124
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// How long the program outlives this command's connection [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) lease: Option<Duration>,
    #[command(flatten)]
    pub(crate) text: Text,
    /// Print the exit record as a last line of JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// The program and its arguments, passed as they are; one word with a space in it is a shell line
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PROGRAM"
    )]
    pub(crate) argv: Vec<OsString>,
}

#[derive(Debug, Parser)]
#[command(after_help = ESCAPES)]
pub(crate) struct ShellArgs {
    /// The machine
    pub(crate) host: String,
    /// How long the shell outlives this command's connection [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) lease: Option<Duration>,
    #[command(flatten)]
    pub(crate) text: Text,
}

#[derive(Debug, Parser)]
#[command(after_help = ESCAPES)]
pub(crate) struct AttachArgs {
    /// The machine
    pub(crate) host: String,
    /// The session, or the start of its id
    #[arg(value_name = "ID")]
    pub(crate) session: String,
    /// Look, and touch nothing; Ctrl-C ends it
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) text: Text,
    /// Print the exit record as a last line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What can be typed to `tow` itself.
const ESCAPES: &str = "At a terminal, typed at the start of a line:\n  \
    ~.    leave: the program is ended, unless it is detached or somebody else has it open\n  \
    ~d    detach: the program goes on; tow attach comes back to it\n  \
    ~?    what can be typed, and how the session is\n  \
    ~^Z   suspend tow\n  \
    ~~    a tilde";

#[derive(Debug, Parser)]
#[command(subcommand_negates_reqs = true)]
pub(crate) struct SessionsArgs {
    #[command(subcommand)]
    pub(crate) action: Option<SessionsAction>,
    /// The machine
    #[arg(required = true)]
    pub(crate) host: Option<String>,
    /// Print JSON lines
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionsAction {
    /// List them
    Ls {
        /// The machine
        host: String,
    },
    /// Forget sessions that have ended: their records and their output
    Rm {
        /// The machine
        host: String,
        /// The sessions, or the starts of their ids
        #[arg(required = true, value_name = "ID")]
        sessions: Vec<String>,
    },
}

#[derive(Debug, Parser)]
pub(crate) struct LogsArgs {
    /// The machine
    pub(crate) host: String,
    /// The session, or the start of its id
    #[arg(value_name = "ID")]
    pub(crate) session: String,
    /// Start at this byte of the output [default: all that is kept]
    #[arg(long, value_name = "OFFSET")]
    pub(crate) from: Option<u64>,
    /// stderr instead of stdout
    #[arg(long)]
    pub(crate) stderr: bool,
    /// Go on with what comes, until the program ends
    #[arg(short, long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) text: Text,
}

#[derive(Debug, Parser)]
pub(crate) struct WaitArgs {
    /// The machine
    pub(crate) host: String,
    /// The session, or the start of its id
    #[arg(value_name = "ID")]
    pub(crate) session: String,
    /// Print the exit record as a line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Parser)]
pub(crate) struct KillArgs {
    /// The machine
    pub(crate) host: String,
    /// The session, or the start of its id
    #[arg(value_name = "ID")]
    pub(crate) session: String,
    /// The signal that each of its processes is sent
    #[arg(short, long, value_name = "SIG", default_value = "TERM")]
    pub(crate) signal: String,
}
