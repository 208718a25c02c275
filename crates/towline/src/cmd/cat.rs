//! `tow cat`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tow_node::ask::AskError;
use tow_node::ask::read::{Content, read};
use tow_proto::message::Read;

use super::each::{Each, remotes};
use crate::args::CatArgs;
use crate::client;
use crate::failure::{Class, Failure};
use crate::remote::Remote;

/// Writes the content of files on a machine to stdout.
pub(crate) fn run(args: CatArgs) -> Result<ExitCode, Failure> {
    let remotes = remotes(&args.paths)?;
    let mut each = Each::open()?;
    client::block_on(async {
        let (bytes, queue) = mpsc::channel(PORTIONS_WAITING_MAX);
        let writer = spawn_blocking(move || write(queue));
        for remote in remotes {
            match one(&mut each, remote, &bytes).await {
                Ok(true) => {}
                // The writer says why.
                Ok(false) => break,
                Err(failure) => {
                    // What has arrived is written before the complaint.
                    drop(bytes);
                    written(writer).await?;
                    return Err(failure);
                }
            }
        }
        drop(bytes);
        written(writer).await?;
        Ok(each.finish().await)
    })
}

/// Whether there is still somebody who reads.
async fn one(
    each: &mut Each,
    remote: Remote,
    bytes: &mpsc::Sender<Vec<u8>>,
) -> Result<bool, Failure> {
    let host = each.host(&remote.host)?;
    let mut connection = each.connect(&host).await?;
    let request = Read { path: remote.path.clone(), ..Read::default() };
    match read(&mut connection, request, bytes).await {
        Ok(Content::Unread) => return Ok(false),
        Ok(Content::Whole(_)) => each.keep(&host, connection),
        Ok(Content::Changed(_)) => {
            each.keep(&host, connection);
            let path = &remote.path;
            each.say(Failure::new(
                Class::Other,
                format!("{}: {path}: changed while it was being read", host.name),
            ));
        }
        // It may have come in the middle: the link is not used again.
        Err(error @ AskError::Refused(_)) => each.say(client::failure(&host, error)),
        Err(error) => return Err(client::failure(&host, error)),
    }
    Ok(true)
}

/// The thread that writes, so that a reader who takes his time does not keep us from showing signs
/// of life.
fn write(mut queue: mpsc::Receiver<Vec<u8>>) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    while let Some(bytes) = queue.blocking_recv() {
        stdout.write_all(&bytes)?;
    }
    stdout.flush()
}

async fn written(writer: JoinHandle<io::Result<()>>) -> Result<(), Failure> {
    writer.await.map_err(Failure::other)?.map_err(Failure::from)
}

/// Each is at most what a frame holds.
const PORTIONS_WAITING_MAX: usize = 2;
