//! This user as a client: the key, the machines that are known, and the way to one of them.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use tow_net::Address;
use tow_node::ask::{AskError, Client, Connection, Target};
use tow_node::hosts::Hosts;
use tow_node::identity::Identity;
use tow_node::state::StateDir;
use tow_proto::Code;

use crate::account;
use crate::failure::{Class, Failure};
use crate::home;

/// Everything that a command needs to ask a machine.
pub(crate) struct Here {
    pub(crate) state: StateDir,
    pub(crate) client: Client,
    pub(crate) hosts: Hosts,
}

/// A machine as it was named on the command line.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// As it was named on the command line: for hints that say what to type.
    pub(crate) word: String,
    /// What to call it in messages.
    pub(crate) name: String,
    /// Where it is and which key it has.
    pub(crate) target: Target,
}

impl Here {
    /// Opens the state directory, and makes the key on first use.
    pub(crate) fn open() -> Result<Self, Failure> {
        let state = StateDir::open(home::layout()?)?;
        let identity = Identity::load_or_create(&state.user_key_path())?;
        let client =
            Client::new(&identity, account::AGENT, &account::machine()).map_err(Failure::other)?;
        let hosts = Hosts::load(&state.hosts_path())?;
        Ok(Self { state, client, hosts })
    }

    /// Finds out which machine `name` means.
    ///
    /// # Errors
    /// It is neither known nor an address of one that is.
    pub(crate) fn host(&self, name: &str) -> Result<Host, Failure> {
        if name == "." {
            let sockets = home::sockets()?;
            let addresses = sockets.into_iter().map(Address::Unix).collect();
            return Ok(Host {
                word: name.into(),
                name: "this machine".into(),
                target: Target { addresses, key: None },
            });
        }
        if let Some(host) = self.hosts.find(name) {
            let addresses: Vec<Address> =
                host.addresses.iter().filter_map(|address| address.parse().ok()).collect();
            return Ok(Host {
                word: name.into(),
                name: name.into(),
                target: Target { addresses, key: Some(host.key) },
            });
        }
        let address: Address = name.parse().map_err(|error: tow_net::address::AddressError| {
            Failure::usage(error.to_string())
                .hint("a machine is named as in `tow hosts`, or by HOST, HOST:PORT, [V6]:PORT, unix:/PATH")
        })?;
        let key = match &address {
            Address::Unix(_) => None,
            Address::Tcp { .. } => match self.hosts.find_address(&address.to_string()) {
                Some((_, host)) => Some(host.key),
                None => return Err(unknown(name)),
            },
        };
        let target = Target { addresses: vec![address], key };
        Ok(Host { word: name.into(), name: name.into(), target })
    }

    /// Connects to a machine.
    pub(crate) async fn connect(&self, host: &Host) -> Result<Connection, Failure> {
        self.client.connect(&host.target).await.map_err(|error| failure(host, error))
    }
}

/// What went wrong between us and `host`.
pub(crate) fn failure(host: &Host, error: AskError) -> Failure {
    let is_here = host.target.addresses.iter().all(|address| matches!(address, Address::Unix(_)));
    let hint = match &error {
        AskError::Refused(refusal) if refusal.code == Code::UnknownSession => {
            Some(format!("tow sessions {} lists them", host.word))
        }
        _ => None,
    };
    let failure = Failure::asking(&host.name, error);
    if let Some(hint) = hint {
        return failure.hint(hint);
    }
    if is_here && failure.class() == Class::Connect {
        return failure.hint("is `tow serve` running on this machine, by you?");
    }
    failure
}

fn unknown(name: &str) -> Failure {
    Failure::new(
        Class::Connect,
        format!("`{}` is not a machine that you have joined", name.escape_debug()),
    )
    .hint(format!("on that machine: tow invite; then here: tow join {}", name.escape_debug()))
}

/// A runtime for one command: everything happens on this thread, but for files and the like.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(future);
    // A thread that waits for our stdin has nothing to wait for any more.
    runtime.shutdown_background();
    result
}

/// The directory that relative local paths start from.
pub(crate) fn here() -> Result<PathBuf, Failure> {
    std::env::current_dir()
        .map_err(|error| Failure::other(format!("the working directory: {error}")))
}

/// True where a person can be asked.
pub(crate) fn can_ask() -> bool {
    std::io::stdin().is_terminal()
}
