//! `tow run`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use tow_node::ask::session::Patience;
use tow_proto::ByteString;
use tow_proto::message::{Lease, Program, Run};

use super::session::{self, Record};
use crate::args::RunArgs;
use crate::carry::{Plan, Role};
use crate::client::{self, Here, Host};
use crate::failure::Failure;
use crate::output::{self, Quiet};
use crate::remote;

/// Runs a program on a machine and gives its exit code.
pub(crate) fn run(args: RunArgs, quiet: Quiet) -> Result<ExitCode, Failure> {
    let (json, encoding, is_detached) = (args.json, args.text.encoding, args.detach);
    let here = Here::open()?;
    let host = here.host(&args.host)?;
    let request = request(args)?;
    client::block_on(async {
        if is_detached {
            return detach(&here, &host, request, json).await;
        }
        let lease = Some(request.lease);
        let plan = Plan { host: &host, role: Role::Owner, encoding, lease, quiet };
        session::work(&here, request, plan, Record::new(json)).await
    })
}

fn request(args: RunArgs) -> Result<Run, Failure> {
    let mut run = session::request(program(args.argv), args.lease)?;
    run.cwd = args.cwd.map(remote::bytes);
    run.env = args.env.iter().filter_map(|word| variable(word)).collect();
    run.timeout_ms = args.timeout.map(session::millis);
    if args.terminal {
        session::put_on_terminal(&mut run, args.text.encoding);
    }
    if args.detach {
        (run.view, run.stdin) = (false, false);
        if args.lease.is_none() {
            run.lease = Lease::Detached;
        }
    }
    Ok(run)
}

/// Starts the program, says what it is called, and lets it go.
async fn detach(here: &Here, host: &Host, run: Run, json: bool) -> Result<ExitCode, Failure> {
    let patience = Patience { give_up_after: Some(STARTING_MAX) };
    let remote = session::start(here, host, run, patience).await?;
    let session = remote.session().to_owned();
    remote.finish().await;
    if json {
        output::json(&serde_json::json!({ "session": session }))?;
    } else {
        output::line(&session)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// One word with a space in it is a shell line; everything else is an argv.
fn program(mut argv: Vec<OsString>) -> Program {
    match argv.as_slice() {
        [line] if line.as_bytes().contains(&b' ') => Program::Shell(remote::bytes(argv.remove(0))),
        _ => Program::Argv(argv.into_iter().map(remote::bytes).collect()),
    }
}

/// `K=V`, or `K` for the value that it has here; `None` where it has none.
fn variable(word: &OsStr) -> Option<(ByteString, ByteString)> {
    let bytes = word.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => Some((bytes[..at].into(), bytes[at + 1..].into())),
        None => std::env::var_os(word).map(|value| (bytes.into(), value.as_bytes().into())),
    }
}

/// How long it is tried to hear that a program has been started.
const STARTING_MAX: std::time::Duration = std::time::Duration::from_secs(30);
