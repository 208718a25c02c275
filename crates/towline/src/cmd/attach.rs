//! `tow attach`.

use std::process::ExitCode;

use tow_proto::message::View;

use super::session::{self, Record};
use crate::args::AttachArgs;
use crate::carry::{Plan, Role};
use crate::client::{self, Here};
use crate::failure::Failure;
use crate::output::Quiet;
use crate::terminal;

/// Goes on with a session, wherever it was started.
pub(crate) fn run(args: AttachArgs, quiet: Quiet) -> Result<ExitCode, Failure> {
    let encoding = args.text.encoding;
    let here = Here::open()?;
    let host = here.host(&args.host)?;
    // Whoever watches changes nothing, the size of the terminal neither.
    let (role, view, window) = if args.watch {
        (Role::Watcher, View::Watch, None)
    } else {
        (Role::Guest, View::Type, terminal::window())
    };
    client::block_on(async {
        let id = session::resolve(&here, &host, &args.session).await?;
        let plan = Plan { host: &host, role, encoding, lease: None, quiet };
        let attaching = session::attaching(id, view, window);
        session::look(&here, attaching, plan, Record::new(args.json)).await
    })
}
