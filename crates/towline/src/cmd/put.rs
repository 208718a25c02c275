//! `tow put`.

use std::process::ExitCode;
use std::time::Instant;

use tow_node::ask::{Pool, put};

use super::transfer::{Job, report};
use crate::args::PutArgs;
use crate::client::{self, Here};
use crate::failure::Failure;
use crate::output::Quiet;
use crate::remote::{self, Remote};

/// Copies files and trees to a machine.
pub(crate) fn run(args: PutArgs, quiet: Quiet) -> Result<ExitCode, Failure> {
    let mut paths = args.paths;
    let destination = Remote::expect(&paths.pop().unwrap_or_default())?;
    let here = Here::open()?;
    let host = here.host(&destination.host)?;
    let key = here.client.key().id().to_string();
    client::block_on(async {
        let mut pool = Pool::new(here.client.clone());
        let mut all = true;
        for source in &paths {
            let started = Instant::now();
            let name = source.to_string_lossy().escape_debug().to_string();
            let source = remote::local(source);
            let mut job = Job { pool: &mut pool, host: &host, name, quiet };
            let (outcome, path) = job
                .run(async |connection, progress| {
                    put::put(connection, &source, destination.path.clone(), &key, progress).await
                })
                .await?;
            all &= report(&path, &outcome, started.elapsed(), args.json, quiet)?;
        }
        pool.close().await;
        Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}
