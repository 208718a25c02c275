//! `tow kill`.

use std::process::ExitCode;

use tow_node::ask::sessions::kill;
use tow_node::ask::{AskError, Connection};
use tow_proto::Code;

use super::session;
use crate::args::KillArgs;
use crate::client::{self, Here, Host};
use crate::failure::Failure;

/// Sends a signal to every process of a session.
pub(crate) fn run(args: KillArgs) -> Result<ExitCode, Failure> {
    let here = Here::open()?;
    let host = here.host(&args.host)?;
    client::block_on(async {
        let mut connection = here.connect(&host).await?;
        let done = send(&mut connection, &host, &args).await;
        connection.close().await;
        done.map(|()| ExitCode::SUCCESS)
    })
}

async fn send(connection: &mut Connection, host: &Host, args: &KillArgs) -> Result<(), Failure> {
    let id = session::resolve_on(connection, host, &args.session).await?;
    let signal = args.signal.to_ascii_uppercase();
    match kill(connection, &id, &signal).await {
        Ok(_) => Ok(()),
        Err(AskError::Refused(refusal))
            if matches!(refusal.code, Code::BadArgument | Code::Malformed) =>
        {
            let shown = args.signal.escape_debug();
            Err(Failure::usage(format!("{}: there is no signal `{shown}`", host.name))
                .hint("a signal is named as by kill(1): TERM, KILL, HUP, INT, USR1, …"))
        }
        Err(error) => Err(client::failure(host, error)),
    }
}
