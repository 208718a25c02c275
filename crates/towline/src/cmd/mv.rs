//! `tow mv`.

use std::ffi::OsString;
use std::process::ExitCode;

use serde::Serialize;
use tow_node::ask::edit::{Existing, rename};
use tow_node::ask::stat::{Links, stat};
use tow_proto::byte_string::escape;
use tow_proto::message::EntryKind;
use tow_proto::{ByteString, Code};

use super::each::{Each, name_of};
use crate::args::MvArgs;
use crate::client::{self, Host};
use crate::failure::{Class, Failure};
use crate::output;
use crate::remote::{self, Remote};

#[derive(Serialize)]
struct Printed<'a> {
    from: &'a ByteString,
    to: ByteString,
    moved: bool,
}

/// Moves and renames files on one machine.
pub(crate) fn run(args: MvArgs) -> Result<ExitCode, Failure> {
    let mut paths = args.paths.clone();
    let destination = paths.pop().unwrap_or_default();
    let mut each = Each::open()?;
    let Route { host, sources, to } = route(&each, &paths, destination)?;
    client::block_on(async {
        let is_dir = is_dir(&mut each, &host, &to).await?;
        if !is_dir && sources.len() > 1 {
            let what =
                format!("{}: {to}: not a directory, so only one can be moved there", host.name);
            return Err(Failure::new(Class::Other, what));
        }
        for from in sources {
            let Some(name) = name_of(from.as_bytes()) else {
                let what = format!("{}: {from} names nothing that can be moved", host.name);
                each.say(Failure::new(Class::Other, what));
                continue;
            };
            let to = if is_dir { within(&to, name) } else { to.clone() };
            one(&mut each, &host, &from, to, &args).await?;
        }
        Ok(each.finish().await)
    })
}

async fn one(
    each: &mut Each,
    host: &Host,
    from: &ByteString,
    to: ByteString,
    args: &MvArgs,
) -> Result<(), Failure> {
    let existing = if args.force { Existing::Replaced } else { Existing::Kept };
    let ask =
        async |connection: &mut _| match rename(connection, from.clone(), to.clone(), existing)
            .await
        {
            Err(error) if args.no_clobber && is_taken(&error) => Ok(None),
            done => done.map(|done| Some(done.path)),
        };
    let done = each.ask(host, ask, |refusal| hint(refusal.code)).await?;
    if let Some(done) = done.filter(|_| args.json) {
        let moved = done.is_some();
        output::json(&Printed { from, to: done.unwrap_or(to), moved })?;
    }
    Ok(())
}

fn is_taken(error: &tow_node::ask::AskError) -> bool {
    matches!(error, tow_node::ask::AskError::Refused(refusal) if refusal.code == Code::Exists)
}

fn hint(code: Code) -> Option<&'static str> {
    match code {
        Code::Exists => Some("-f replaces it, -n leaves it alone"),
        Code::OtherFileSystem => {
            Some("copy it there on that machine with tow run, then remove it here")
        }
        _ => None,
    }
}

/// What goes where, on one machine.
struct Route {
    host: Host,
    sources: Vec<ByteString>,
    to: ByteString,
}

fn route(each: &Each, sources: &[OsString], destination: OsString) -> Result<Route, Failure> {
    let sources = super::each::remotes(sources)?;
    let first = sources.first().map(|remote| remote.host.clone()).unwrap_or_default();
    let Some(to) = Remote::parse(&destination) else {
        let shown = escape(&remote::bytes(destination).0).into_owned();
        return Err(Failure::usage(format!("`{shown}` names no machine")).hint(format!(
            "to move it there: {first}:{shown}; to copy it to this machine: tow get"
        )));
    };
    let host = each.host(&to.host)?;
    for source in &sources {
        if !is_same(&each.host(&source.host)?, &host) {
            let what = format!("{} and {} are two machines", source.host, to.host);
            return Err(Failure::usage(what).hint("between machines: tow get, then tow put"));
        }
    }
    let sources = sources.into_iter().map(|remote| remote.path).collect();
    Ok(Route { host, sources, to: to.path })
}

/// Whether both are one machine, as far as we know.
fn is_same(one: &Host, other: &Host) -> bool {
    let (one, other) = (&one.target, &other.target);
    one.key == other.key && (one.key.is_some() || one.addresses == other.addresses)
}

/// Whether what is moved goes into `path`. Who may not look only says so with a slash at the end.
async fn is_dir(each: &mut Each, host: &Host, path: &ByteString) -> Result<bool, Failure> {
    let ask = async |connection: &mut _| stat(connection, path.clone(), Links::Follow).await;
    match each.try_ask(host, ask).await? {
        Ok(known) => Ok(known.kind == EntryKind::Dir),
        Err(refusal) => match refusal.code {
            Code::NotFound => Ok(false),
            Code::NoRight => {
                Ok(name_of(path.as_bytes()).is_none() || path.as_bytes().ends_with(b"/"))
            }
            _ => Err(client::failure(host, refusal.into())),
        },
    }
}

fn within(dir: &ByteString, name: &[u8]) -> ByteString {
    let dir = dir.as_bytes();
    let slash: &[u8] = if dir.is_empty() || dir.ends_with(b"/") { b"" } else { b"/" };
    [dir, slash, name].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_directory_has_one_slash_before_it() {
        for (dir, path) in [("", "a"), ("d", "d/a"), ("d/", "d/a"), ("/", "/a"), (".", "./a")] {
            assert_eq!(within(&dir.into(), b"a"), path.into(), "{dir}");
        }
    }
}
