//! `tow shell`.

use std::process::ExitCode;

use tow_proto::message::Program;

use super::session::{self, Record};
use crate::args::ShellArgs;
use crate::carry::{Plan, Role};
use crate::client::{self, Here};
use crate::failure::Failure;
use crate::output::Quiet;

/// The account's login shell, on a terminal like the one here.
pub(crate) fn run(args: ShellArgs, quiet: Quiet) -> Result<ExitCode, Failure> {
    let encoding = args.text.encoding;
    let here = Here::open()?;
    let host = here.host(&args.host)?;
    let mut request = session::request(Program::Login, args.lease)?;
    session::put_on_terminal(&mut request, encoding);
    client::block_on(async {
        let lease = Some(request.lease);
        let plan = Plan { host: &host, role: Role::Owner, encoding, lease, quiet };
        session::work(&here, request, plan, Record::Unsaid).await
    })
}
