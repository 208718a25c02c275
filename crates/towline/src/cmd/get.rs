//! `tow get`.

use std::process::ExitCode;
use std::time::Instant;

use tow_node::ask::{Pool, get};

use super::transfer::{Job, report};
use crate::args::GetArgs;
use crate::client::{self, Here};
use crate::failure::Failure;
use crate::output::Quiet;
use crate::remote::{self, Remote};

/// Copies files and trees from a machine.
pub(crate) fn run(args: GetArgs, quiet: Quiet) -> Result<ExitCode, Failure> {
    let mut paths = args.paths;
    let destination = match paths.last() {
        Some(last) if paths.len() > 1 && Remote::parse(last).is_none() => {
            remote::local(&paths.pop().unwrap_or_default())
        }
        _ => client::here()?,
    };
    let sources = paths.iter().map(|path| Remote::expect(path)).collect::<Result<Vec<_>, _>>()?;
    let here = Here::open()?;
    let key = here.client.key().id().to_string();
    client::block_on(async {
        let mut pool = Pool::new(here.client.clone());
        let mut all = true;
        for source in sources {
            let host = here.host(&source.host)?;
            let started = Instant::now();
            let name = format!("{}:{}", source.host, source.path);
            let mut job = Job { pool: &mut pool, host: &host, name, quiet };
            let (outcome, path) = job
                .run(async |connection, progress| {
                    let path = source.path.clone();
                    let outcome =
                        get::get(connection, path.clone(), &destination, &key, progress).await?;
                    Ok((outcome, path))
                })
                .await?;
            all &= report(&path, &outcome, started.elapsed(), args.json, quiet)?;
        }
        pool.close().await;
        Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}
