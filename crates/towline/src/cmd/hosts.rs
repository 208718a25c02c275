//! `tow hosts`.

use std::process::ExitCode;

use serde::Serialize;
use tow_node::clock;
use tow_node::hosts::{Hosts, HostsError};
use tow_node::state::StateDir;

use crate::args::{HostsAction, HostsArgs};
use crate::failure::Failure;
use crate::{home, output};

#[derive(Serialize)]
struct Printed<'a> {
    name: &'a str,
    id: String,
    addresses: &'a [String],
    added: String,
}

/// Which machines I know.
pub(crate) fn run(args: HostsArgs) -> Result<ExitCode, Failure> {
    let state = StateDir::open(home::layout()?)?;
    let path = state.hosts_path();
    let change = |name: &str, result: Result<(), HostsError>| match result {
        Err(error) => Err(Failure::other(error)
            .about(&name.escape_debug().to_string())
            .hint("tow hosts lists them")),
        Ok(()) => Ok(ExitCode::SUCCESS),
    };
    match args.action.unwrap_or(HostsAction::Ls) {
        HostsAction::Ls => list(&Hosts::load(&path)?, args.json),
        HostsAction::Rm { host } => {
            change(&host, Hosts::change(&path, |hosts| hosts.remove(&host).map(drop)))
        }
        HostsAction::Rename { host, name } => {
            change(&host, Hosts::change(&path, |hosts| hosts.rename(&host, &name)))
        }
    }
}

fn list(hosts: &Hosts, json: bool) -> Result<ExitCode, Failure> {
    let mut any = false;
    for (name, host) in hosts.iter() {
        any = true;
        if json {
            output::json(&Printed {
                name,
                id: host.key.id().to_string(),
                addresses: &host.addresses,
                added: clock::to_rfc3339(host.added),
            })?;
        } else {
            output::line(format_args!(
                "{name:<20} {}  {}",
                host.key.id(),
                host.addresses.join(" ")
            ))?;
        }
    }
    if !any && !json {
        output::status("No machine is known yet. On one: tow serve; then here: tow join HOST");
    }
    Ok(ExitCode::SUCCESS)
}
