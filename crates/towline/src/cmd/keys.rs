//! `tow keys`.

use std::process::ExitCode;

use serde::Serialize;
use tow_node::ask::{AskError, admin};
use tow_node::clock;
use tow_node::grant::Right;
use tow_proto::message::{KeyInfo, KeyRmDone};
use tow_proto::{ByteString, Code, Refusal};

use crate::args::{KeysAction, KeysArgs};
use crate::client::{self, Here, Host};
use crate::failure::Failure;
use crate::output;

#[derive(Serialize)]
struct Printed {
    name: String,
    id: String,
    holder: String,
    may: Vec<String>,
    root: ByteString,
    expires: Option<String>,
    links: u32,
}

/// Who may come in on this machine.
pub(crate) fn run(args: KeysArgs) -> Result<ExitCode, Failure> {
    let here = Here::open()?;
    let host = here.host(".")?;
    client::block_on(async {
        let mut connection = here.connect(&host).await?;
        let done = match args.action.unwrap_or(KeysAction::Ls) {
            KeysAction::Ls => match admin::keys(&mut connection).await {
                Ok(keys) => Ok(list(keys, args.json)),
                Err(error) => Err(error),
            },
            KeysAction::Rm { key } => match admin::key_rm(&mut connection, &key).await {
                Err(AskError::Refused(refusal)) => Ok(Err(not_removed(&host, &key, refusal))),
                result => result.map(|done| removed(&done, args.json)),
            },
        };
        connection.close().await;
        done.map_err(|error| client::failure(&host, error))?
    })?;
    Ok(ExitCode::SUCCESS)
}

fn removed(done: &KeyRmDone, json: bool) -> Result<(), Failure> {
    let KeyRmDone { name, id, links } = done;
    if json {
        return Ok(output::json(&serde_json::json!({ "name": name, "id": id, "links": links }))?);
    }
    output::status(format_args!("Removed {name} ({id}); {links} open links were cut."));
    Ok(())
}

/// A key is not a file: the words of those refusals are our own.
fn not_removed(host: &Host, key: &str, refusal: Refusal) -> Failure {
    let key = key.escape_debug();
    match refusal.code {
        Code::NotFound => Failure::other(format!(
            "no key is called `{key}`, nor has a fingerprint that starts so"
        )),
        Code::Malformed => Failure::other(format!(
            "several keys are called `{key}`, or have fingerprints that start so"
        )),
        _ => return client::failure(host, refusal.into()),
    }
    .hint("tow keys lists them")
}

fn list(keys: Vec<KeyInfo>, json: bool) -> Result<(), Failure> {
    if keys.is_empty() && !json {
        output::status("No key may come in yet. To let a device in: tow invite");
    }
    for key in keys {
        let may: Vec<_> = Right::list(key.rights).iter().map(ToString::to_string).collect();
        let expires = key.expires.map(|at| clock::to_rfc3339(clock::from_unix_secs(at)));
        if json {
            let KeyInfo { name, id, root, links, holder, .. } = key;
            output::json(&Printed { name, id, holder, may, root, expires, links })?;
        } else {
            output::line(format_args!(
                "{:<20} {}  {:<7}  {}  root {}{}{}",
                key.name.escape_debug().to_string(),
                key.id,
                key.holder.escape_debug().to_string(),
                may.join(","),
                key.root,
                expires.map(|at| format!("  until {at}")).unwrap_or_default(),
                if key.links > 0 { format!("  {} links", key.links) } else { String::new() },
            ))?;
        }
    }
    Ok(())
}
