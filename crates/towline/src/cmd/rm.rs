//! `tow rm`.

use std::process::ExitCode;

use serde::Serialize;
use tow_node::ask::edit::{Missing, Scope, remove};
use tow_proto::message::RemoveReply;
use tow_proto::{ByteString, Code};

use super::each::{Each, name_of, remotes};
use crate::args::RmArgs;
use crate::client::{self, Host};
use crate::failure::{Class, Failure};
use crate::output;
use crate::remote::Remote;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Printed<'a> {
    Failed { path: &'a ByteString, code: u16, message: String },
    Done { path: &'a ByteString, removed: u64, failed: u64 },
}

/// Removes files and trees on a machine.
pub(crate) fn run(args: RmArgs) -> Result<ExitCode, Failure> {
    let remotes = remotes(&args.paths)?;
    let scope = if args.recursive { Scope::Tree } else { Scope::One };
    let missing = if args.force { Missing::Fine } else { Missing::Refused };
    let mut each = Each::open()?;
    client::block_on(async {
        for remote in remotes {
            let host = each.host(&remote.host)?;
            let path = remote.path.clone();
            if name_of(path.as_bytes()).is_none() {
                each.say(unremovable(&remote));
                continue;
            }
            let ask =
                async |connection: &mut _| remove(connection, path.clone(), scope, missing).await;
            if let Some(done) = each.ask(&host, ask, |refusal| hint(refusal.code)).await? {
                report(&mut each, &host, &remote, &done, args.json)?;
            }
        }
        Ok(each.finish().await)
    })
}

fn unremovable(remote: &Remote) -> Failure {
    let what = format!("{}:{} is not removed", remote.host, remote.path);
    Failure::new(Class::Other, what).hint(TOP)
}

fn hint(code: Code) -> Option<&'static str> {
    match code {
        Code::IsADirectory => Some("-r removes a directory and everything in it"),
        Code::BadName => Some(TOP),
        _ => None,
    }
}

fn report(
    each: &mut Each,
    host: &Host,
    remote: &Remote,
    done: &RemoveReply,
    json: bool,
) -> Result<(), Failure> {
    for failure in &done.failures {
        let mut path = remote.path.0.clone();
        if !failure.path.is_empty() {
            path.extend(b"/".iter().chain(failure.path.as_bytes()));
        }
        let (path, why) = (ByteString(path), &failure.why);
        if json {
            let (code, message) = (why.code.number(), why.to_string());
            output::json(&Printed::Failed { path: &path, code, message })?;
        }
        each.say(Failure::new(Class::Other, format!("{}: {path}: {why}", host.name)));
    }
    let told = done.failures.len() as u64;
    if done.failed > told {
        let more = done.failed - told;
        each.say(Failure::new(Class::Other, format!("{}: {more} more like these", host.name)));
    }
    if json {
        let RemoveReply { removed, failed, .. } = *done;
        output::json(&Printed::Done { path: &remote.path, removed, failed })?;
    }
    Ok(())
}

const TOP: &str = "neither `.` and `..` nor the directory that the grant covers can be removed";
