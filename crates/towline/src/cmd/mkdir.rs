//! `tow mkdir`.

use std::process::ExitCode;

use serde::Serialize;
use tow_node::ask::edit::{Above, mkdir};
use tow_proto::{ByteString, Code};

use super::each::{Each, remotes};
use crate::args::MkdirArgs;
use crate::client;
use crate::failure::Failure;
use crate::output;

#[derive(Serialize)]
struct Printed {
    path: ByteString,
    made: bool,
}

/// Makes directories on a machine.
pub(crate) fn run(args: MkdirArgs) -> Result<ExitCode, Failure> {
    let remotes = remotes(&args.paths)?;
    let above = if args.parents { Above::Made } else { Above::Exist };
    let mut each = Each::open()?;
    client::block_on(async {
        for remote in remotes {
            let host = each.host(&remote.host)?;
            let ask = async |connection: &mut _| mkdir(connection, remote.path, above).await;
            let hint = |code| match code {
                Code::NotFound => Some("-p makes the directories above it too"),
                _ => None,
            };
            let done = each.ask(&host, ask, |refusal| hint(refusal.code)).await?;
            if let Some(done) = done.filter(|_| args.json) {
                output::json(&Printed { path: done.path, made: done.made })?;
            }
        }
        Ok(each.finish().await)
    })
}
