//! `tow logs`.

use std::process::ExitCode;

use tow_node::ask::session::Attaching;
use tow_proto::message::{STDERR, STDOUT, SessionInfo, View};

use super::session::{self, Record};
use crate::args::LogsArgs;
use crate::carry::{Plan, Role};
use crate::client::{self, Here, Host};
use crate::failure::Failure;
use crate::output::Quiet;

/// Writes what a session has written.
pub(crate) fn run(args: LogsArgs, quiet: Quiet) -> Result<ExitCode, Failure> {
    let here = Here::open()?;
    let host = here.host(&args.host)?;
    let stream = if args.stderr { STDERR } else { STDOUT };
    client::block_on(async {
        let info = session::look_up(&here, &host, &args.session).await?;
        let attaching = attaching(&args, &host, info, stream)?;
        let role = Role::Reader(Some(stream));
        let encoding = args.text.encoding;
        let plan = Plan { host: &host, role, encoding, lease: None, quiet };
        session::look(&here, attaching, plan, Record::Unsaid).await?;
        // What became of the program is not what was asked.
        Ok(ExitCode::SUCCESS)
    })
}

/// The stream from where it was asked for, and the other one from where it will not be much.
fn attaching(
    args: &LogsArgs,
    host: &Host,
    info: SessionInfo,
    stream: u8,
) -> Result<Attaching, Failure> {
    let from = args.from.unwrap_or(0);
    let name = if stream == STDERR { "stderr" } else { "stdout" };
    let total = if stream == STDERR { info.stderr } else { info.stdout };
    if from > total {
        return Err(Failure::usage(format!(
            "{}: session {} has {total} bytes of {name} so far, and none at {from}",
            host.name, info.id
        )));
    }
    let (stdout_from, stderr_from) =
        if stream == STDERR { (info.stdout, from) } else { (from, info.stderr) };
    Ok(Attaching {
        session: info.id,
        view: if args.follow { View::Follow } else { View::Log },
        window: None,
        stdout_from: Some(stdout_from),
        stderr_from: Some(stderr_from),
    })
}
