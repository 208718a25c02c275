//! `tow keeper`: the process that holds a node's sessions. `tow serve` starts it; nobody types it.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tow_node::keeper::{self, Keeping};

use super::serve::raise_descriptors;
use crate::account;
use crate::args::KeeperArgs;
use crate::failure::Failure;

/// Keeps sessions until TERM, or until there is nothing to keep and no node.
pub(crate) fn run(args: KeeperArgs) -> Result<ExitCode, Failure> {
    // First of all: a Ctrl-C for the node, or the end of its terminal, is not for its sessions. It
    // fails where a shell has given this process a group of its own, which is as good.
    let _ = rustix::process::setsid();
    let listener = listener()?;
    let keeping = Keeping {
        agent: account::AGENT.to_owned(),
        store: args.store,
        descriptors: raise_descriptors(),
    };
    // One thread: what passes through is less than it can carry, and nothing waits for another.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        // Caught, so that it does not end us, and thrown away. Programs start with their defaults.
        let _hangup = signal(SignalKind::hangup())?;
        let _interrupt = signal(SignalKind::interrupt())?;
        tracing::info!("keeping sessions");
        keeper::keep(listener, keeping, async {
            terminate.recv().await;
            tracing::info!("told to end, and all sessions with it");
        })
        .await?;
        tracing::info!("nothing is left to keep");
        Ok(ExitCode::SUCCESS)
    })
}

/// The socket that the node listens on for us.
fn listener() -> Result<UnixListener, Failure> {
    let listener = UnixListener::from(io::stdin().as_fd().try_clone_to_owned()?);
    match listener.local_addr() {
        Ok(address) if address.as_pathname().is_some() => Ok(listener),
        _ => Err(Failure::usage("stdin is not a node's socket: `tow serve` starts this")),
    }
}
