//! `tow wait`.

use std::process::ExitCode;

use tow_proto::message::View;

use super::session::{self, Record};
use crate::args::WaitArgs;
use crate::carry::{Plan, Role};
use crate::client::{self, Here};
use crate::failure::Failure;
use crate::output::Quiet;

/// Waits for the end of a session.
pub(crate) fn run(args: WaitArgs, quiet: Quiet) -> Result<ExitCode, Failure> {
    let here = Here::open()?;
    let host = here.host(&args.host)?;
    client::block_on(async {
        let id = session::resolve(&here, &host, &args.session).await?;
        let role = Role::Reader(None);
        let plan = Plan { host: &host, role, encoding: None, lease: None, quiet };
        let attaching = session::attaching(id, View::Exit, None);
        session::look(&here, attaching, plan, Record::new(args.json)).await
    })
}
