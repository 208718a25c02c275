//! `tow serve`.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tow_net::listen::ListenError;
use tow_net::{Address, Certificate, ListenAddress, WebAcceptor};
use tow_node::grant::Right;
use tow_node::keeper::KeeperProgram;
use tow_node::serve::{Config, Node, StartError, WebDoor, web_certificate};
use tow_node::state::StateDir;
use tow_proto::message::Invite;
use tow_web::{Door, Options};

use crate::args::ServeArgs;
use crate::failure::Failure;
use crate::{account, home, output};

#[derive(Serialize)]
struct Ready {
    event: &'static str,
    listen: Vec<String>,
    id: String,
}

/// Serves until INT or TERM.
pub(crate) fn run(args: ServeArgs) -> Result<ExitCode, Failure> {
    if rustix::process::geteuid().is_root() {
        output::status(
            "tow: warning: running as root: whoever has the right `run` is root on this machine",
        );
    }
    let listen = args
        .listen
        .iter()
        .map(|text| {
            text.parse::<ListenAddress>().map_err(|error| Failure::usage(error.to_string()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let root = args.root.clone().map(|root| {
        root.canonicalize().map_err(|error| Failure::usage(format!("{}: {error}", root.display())))
    });
    let state = StateDir::open(home::layout()?)?;
    let web = if args.no_web { None } else { Some(web_door(&state, &args)?) };
    let config = Config {
        listen,
        backlog: args.backlog,
        root: root.transpose()?,
        machine: account::machine(),
        agent: account::AGENT.to_owned(),
        account: account::account(),
        descriptors: raise_descriptors(),
        keeper: keeper(&state)?,
        web,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let node = Node::start(&state, config).map_err(start_failure)?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        announce(&node, args.json)?;
        let go_on = node
            .serve(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                tracing::info!("stopping");
            })
            .await;
        tell_what_goes_on(go_on);
        Ok(ExitCode::SUCCESS)
    });
    // A thread that reads a large file or waits for a dead disk can't be told to stop.
    runtime.shutdown_timeout(THREADS_STOP_MAX);
    served
}

fn web_door(state: &StateDir, args: &ServeArgs) -> Result<WebDoor, Failure> {
    let certificate = match (&args.cert, &args.key) {
        (Some(chain), Some(key)) => Certificate { chain: read_pem(chain)?, key: read_pem(key)? },
        _ => web_certificate(state, vec![account::machine(), "localhost".into()])
            .map_err(Failure::other)?,
    };
    let acceptor = WebAcceptor::new(&certificate).map_err(Failure::other)?;
    let web = Arc::new(Door::new(Options { names: args.web_name.clone() }));
    Ok(WebDoor { acceptor, web })
}

fn read_pem(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

/// This program again, as the process that keeps sessions.
fn keeper(state: &StateDir) -> Result<KeeperProgram, Failure> {
    let tow = std::env::current_exe()?;
    let store = state.sessions_dir();
    Ok(KeeperProgram::Process(vec![tow.into(), "keeper".into(), "--store".into(), store.into()]))
}

/// Whoever stops a node should know that programs outlive it.
fn tell_what_goes_on(sessions: u32) {
    match sessions {
        0 => {}
        1 => output::status("tow: 1 session goes on; `tow serve` makes it reachable again"),
        _ => output::status(format_args!(
            "tow: {sessions} sessions go on; `tow serve` makes them reachable again"
        )),
    }
}

fn announce(node: &Node, json: bool) -> Result<(), Failure> {
    let listen: Vec<_> = node.addresses().iter().map(Address::to_url).collect();
    if json {
        let id = node.id().to_string();
        // The local socket has its fixed place; what a caller needs are the ports.
        let listen = listen.into_iter().skip(1).collect();
        return Ok(output::json(&Ready { event: "ready", listen, id })?);
    }
    for address in &listen {
        tracing::info!("listening on {address}");
    }
    if node.knows_nobody() {
        // A code belongs before a person's eyes, never into a log.
        if std::io::stderr().is_terminal() {
            let everything = Invite {
                rights: Right::all(),
                root: None,
                name: None,
                valid_secs: 600,
                grant_secs: None,
            };
            let invited = node.invite(&everything).map_err(Failure::other)?;
            super::invite::show(&invited);
        } else {
            tracing::info!("no key is known yet; to let a device in: tow invite");
        }
    }
    Ok(())
}

fn start_failure(error: StartError) -> Failure {
    match error {
        StartError::State(error) => error.into(),
        StartError::Identity(error) => error.into(),
        StartError::Listen(ListenError::AddressInUse { .. }) => Failure::other(error)
            .hint("choose another port with --listen, or stop what listens there"),
        error => Failure::other(error),
    }
}

/// Raises the soft limit of open files to the hard one, and gives it.
pub(crate) fn raise_descriptors() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Longest wait for what is still being done to files when everything else has ended.
const THREADS_STOP_MAX: Duration = Duration::from_secs(3);
