//! What both classic servers share: where they may listen, how they accept, how they end.

use std::fmt::Display;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tow_net::ListenAddress;
use tow_net::listen::{ACCEPT_PAUSE, Accepted, DEFAULT_BACKLOG, ListenError, Listener, listen};

use super::sentence;
use crate::failure::Failure;
use crate::output;

/// Arguments of both servers.
#[derive(Debug, clap::Args)]
pub(super) struct ServerArgs {
    /// Where to listen: IP:PORT, [IPV6]:PORT or unix:/PATH; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: ListenAddress,
    /// How many connections may wait to be accepted
    #[arg(long, value_name = "N", default_value_t = DEFAULT_BACKLOG)]
    backlog: u32,
    /// Listen although other machines can connect: nothing is encrypted, nobody proves who they are
    #[arg(long)]
    insecure: bool,
}

/// Serves every connection by a task of its own running `handle`, until SIGINT or SIGTERM; then the
/// tasks are dropped and the socket is closed. `danger` completes "everybody who can connect may …".
///
/// # Errors
/// The address is reachable from other machines without `--insecure`, or can't be listened on.
pub(super) fn serve<H, F>(args: &ServerArgs, danger: &str, handle: H) -> Result<(), Failure>
where
    H: Fn(Accepted) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    check_exposure(args, danger)?;
    let runtime =
        runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    let outcome = runtime.block_on(accept_until_stopped(args, handle));
    // A thread that waits for a slow client must not hold the exit up.
    runtime.shutdown_background();
    outcome
}

fn check_exposure(args: &ServerArgs, danger: &str) -> Result<(), Failure> {
    let listen = &args.listen;
    if listen.is_local_only() {
        return Ok(());
    }
    if !args.insecure {
        let what = format!("refused to listen on {listen}: everybody who can connect may {danger}");
        return Err(Failure::usage(what).hint(
            "listen on 127.0.0.1, [::1] or unix:/PATH; use `tow serve` between machines; or accept it with --insecure",
        ));
    }
    output::status(format_args!(
        "tow: warning: {listen} is reachable from other machines, nothing is encrypted, and everybody who can connect may {danger}"
    ));
    Ok(())
}

async fn accept_until_stopped<H, F>(args: &ServerArgs, handle: H) -> Result<(), Failure>
where
    H: Fn(Accepted) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut stopped = pin!(stop_signal()?);
    let listener = listen(&args.listen, args.backlog).map_err(|error| cannot_listen(&error))?;
    output::status(format_args!("listening on {}", listener.local_address()));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => break,
            Some(_) = tasks.join_next() => continue,
            accepted = accept_into(&places, &listener) => accepted,
        };
        match accepted {
            Ok((accepted, place)) => {
                let task = handle(accepted);
                tasks.spawn(async move {
                    task.await;
                    drop(place);
                });
            }
            Err(error) => {
                output::status(format_args!("cannot accept for now: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.shutdown().await;
    output::status("stopped");
    Ok(())
}

/// Accepts only while there is a place: further clients wait in the backlog.
async fn accept_into(
    places: &Arc<Semaphore>,
    listener: &Listener,
) -> io::Result<(Accepted, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.accept().await?, place))
}

/// Resolves at the first SIGINT or SIGTERM; both are caught from this call on.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn cannot_listen(error: &ListenError) -> Failure {
    let failure = Failure::other(sentence(error));
    match error {
        ListenError::AddressInUse { .. } => {
            failure.hint("another program listens there; port 0 takes a free port")
        }
        ListenError::PermissionDenied { .. } => {
            failure.hint("ports below 1024 belong to root; choose a higher one")
        }
        _ => failure,
    }
}

/// A status line about one client.
pub(super) fn tell(peer: impl Display, what: impl Display) {
    output::status(format_args!("{peer} {what}"));
}

/// Connections that are served at once.
const CONNECTIONS_MAX: usize = 256;

/// Threads for all connections; the work itself is in other processes or on blocking threads.
const WORKERS: usize = 2;

/// How long a client may take none of the bytes that are sent to it.
pub(super) const SEND_TIMEOUT: Duration = Duration::from_secs(60);
