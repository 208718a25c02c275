//! `tow join`.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use serde::Serialize;
use tow_net::Address;
use tow_node::ask::join::{Invitation, join};
use tow_node::grant::Right;
use tow_node::hosts::{Host as Known, Hosts};
use tow_node::invite::JoinCode;
use tow_node::ticket::Ticket;

use crate::args::JoinArgs;
use crate::client::{self, Here};
use crate::failure::Failure;
use crate::output;

#[derive(Serialize)]
struct Printed<'a> {
    name: &'a str,
    id: String,
    address: String,
    may: Vec<String>,
}

/// Gives my key to a machine and remembers its key.
pub(crate) fn run(args: JoinArgs) -> Result<ExitCode, Failure> {
    let here = Here::open()?;
    let (address, invitation) = invitation(&args)?;
    let joined = client::block_on(async {
        join(&here.client, &address, invitation)
            .await
            .map_err(|error| Failure::asking(&address.to_string(), error))
    })?;
    let wanted = args.name.as_deref().unwrap_or(&joined.welcome.machine);
    let known = Known::new(joined.key, vec![joined.address.to_string()], SystemTime::now());
    let name = Hosts::change(&here.state.hosts_path(), |hosts| hosts.add(wanted, known))?;
    let may: Vec<_> = Right::list(joined.welcome.rights).iter().map(ToString::to_string).collect();
    if args.json {
        let id = joined.key.id().to_string();
        output::json(&Printed { name: &name, id, address: joined.address.to_string(), may })?;
    } else {
        output::status(format_args!(
            "Joined. The machine is called {name} here; this device may: {}.\n  its key: {}\nTry: tow run {name} -- uname -a",
            may.join(", "),
            joined.key.id(),
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn invitation(args: &JoinArgs) -> Result<(Address, Invitation), Failure> {
    if args.target.trim_start().starts_with("https://") {
        if args.code.is_some() {
            return Err(Failure::usage("a ticket needs no code beside it"));
        }
        let ticket = Ticket::parse(&args.target)
            .map_err(|error| Failure::usage(format!("not a ticket: {error}")))?;
        let address = parse_address(&ticket.address)?;
        return Ok((address, Invitation::Ticket { key: ticket.key, secret: ticket.secret }));
    }
    let address = parse_address(&args.target)?;
    if let Address::Unix(_) = address {
        return Err(Failure::usage(
            "over a Unix socket the kernel vouches for you; there is nothing to join",
        ));
    }
    let code = match &args.code {
        Some(code) => code.clone(),
        None => read_code()?,
    };
    let code = JoinCode::parse(&code).map_err(|error| {
        Failure::usage(format!("that is not a code: {error}"))
            .hint("a code has 8 letters and digits, as `tow invite` prints it; no guess was spent")
    })?;
    Ok((address, Invitation::Code(code)))
}

fn parse_address(text: &str) -> Result<Address, Failure> {
    text.parse().map_err(|error: tow_net::address::AddressError| Failure::usage(error.to_string()))
}

fn read_code() -> Result<String, Failure> {
    if client::can_ask() {
        let _ = write!(std::io::stderr(), "Code: ");
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if line.trim().is_empty() {
        return Err(Failure::usage("no code was given").hint("on that machine: tow invite"));
    }
    Ok(line)
}
