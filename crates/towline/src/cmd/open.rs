//! `tow open`.

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, ExitCode, Stdio};

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tow_net::WebStream;
use tow_node::visitor::VisitorSecret;
use tow_web::{Door, Options, Remote};

use crate::args::OpenArgs;
use crate::client::{self, Here};
use crate::failure::Failure;
use crate::local_peer;
use crate::output::{self, Quiet};

#[derive(Serialize)]
struct Ready {
    event: &'static str,
    link: String,
}

/// Serves the page of a machine on a port of our own until it is interrupted.
pub(crate) fn run(args: OpenArgs, quiet: Quiet) -> Result<ExitCode, Failure> {
    let here = Here::open()?;
    let host = here.host(&args.host)?;
    client::block_on(async {
        let ticket = VisitorSecret::random().ok_or_else(|| Failure::other("no randomness"))?;
        let remote = Remote::connect(here.client.clone(), host.target.clone(), ticket.clone())
            .await
            .map_err(|error| client::failure(&host, error))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await?;
        let address = listener.local_addr()?;
        let link = format!("http://{address}/#towo1.{}", *ticket.to_text());
        announce(&args, quiet, &host.name, link)?;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let door = Door::new(Options::default());
        tokio::select! {
            failed = accept(&listener, &door, &remote, &stop, &tasks) => failed?,
            _ = tokio::signal::ctrl_c() => {}
        }
        stop.cancel();
        tasks.close();
        let _ = tokio::time::timeout(STOP_MAX, tasks.wait()).await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Only programs of this user are listened to, and of them only who has the link gets in.
async fn accept(
    listener: &TcpListener,
    door: &Door,
    remote: &Remote,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<(), Failure> {
    let address = listener.local_addr()?;
    loop {
        let (stream, from): (_, SocketAddr) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(tow_net::listen::ACCEPT_PAUSE).await;
                continue;
            }
        };
        if tasks.len() >= CONNECTIONS_MAX {
            continue;
        }
        let (door, remote, stop) = (door.clone(), remote.clone(), stop.clone());
        tasks.spawn(async move {
            let user = rustix::process::geteuid().as_raw();
            let is_ours = spawn_blocking(move || local_peer::is_of(user, from, address)).await;
            if !is_ours.unwrap_or(false) {
                tracing::warn!(%from, "a program of another user came to the port, and was not let in");
                return;
            }
            door.serve_tunnel(WebStream::plain(stream), from, remote, stop).await;
        });
    }
}

fn announce(args: &OpenArgs, quiet: Quiet, host: &str, link: String) -> Result<(), Failure> {
    if args.json {
        return Ok(output::json(&Ready { event: "ready", link })?);
    }
    let is_open = !args.no_browser && std::io::stderr().is_terminal() && open_browser(&link);
    if !quiet.0 {
        let how = if is_open { "in your browser" } else { "at this address, once" };
        output::status(format_args!("tow: {host} is open {how}; Ctrl-C closes it"));
    }
    Ok(output::line(&link)?)
}

/// A list of processes may show the link for a moment, but it is good once, and only for programs of
/// this user: they could start a browser themselves.
fn open_browser(link: &str) -> bool {
    let has_screen =
        ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    has_screen
        && Command::new("xdg-open")
            .arg(link)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}

/// Of one browser and its tabs.
const CONNECTIONS_MAX: usize = 256;
const STOP_MAX: std::time::Duration = std::time::Duration::from_secs(2);
