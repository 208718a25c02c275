//! `tow share`.

use std::ffi::OsStr;
use std::process::ExitCode;

use serde::Serialize;
use tow_node::ask::share::{share, share_rm, shares};
use tow_node::ask::{AskError, Connection};
use tow_node::clock;
use tow_node::grant::Right;
use tow_proto::Code;
use tow_proto::message::{Rights, Share, ShareInfo, Shared};

use super::session;
use crate::args::{MayShare, ShareAction, ShareArgs};
use crate::client::{self, Here, Host};
use crate::failure::Failure;
use crate::output;
use crate::remote::Remote;

#[derive(Serialize)]
struct Made<'a> {
    id: &'a str,
    link: &'a str,
    expires: String,
}

#[derive(Serialize)]
struct Printed<'a> {
    id: &'a str,
    #[serde(flatten)]
    what: &'a Shared,
    may: Vec<String>,
    expires: String,
    links: u32,
}

/// Makes, lists and ends links for people who have nothing installed.
pub(crate) fn run(args: ShareArgs) -> Result<ExitCode, Failure> {
    let here = Here::open()?;
    match &args.action {
        Some(ShareAction::Ls { host }) => {
            on(&here, host, async |connection, host| {
                let all = shares(connection).await;
                let all = all.map_err(|error| client::failure(host, error))?;
                Ok(all.iter().try_for_each(|share| print(share, args.json))?)
            })?;
        }
        Some(ShareAction::Rm { host, shares }) => {
            on(&here, host, async |connection, host| {
                for id in shares {
                    share_rm(connection, id).await.map_err(|error| unknown(host, id, error))?;
                }
                Ok(())
            })?;
        }
        None => make(&here, &args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn make(here: &Here, args: &ShareArgs) -> Result<(), Failure> {
    let Some(word) = &args.what else { return Err(Failure::usage("nothing to share was named")) };
    let is_session = args.session.is_some()
        || args.may.iter().any(|may| matches!(may, MayShare::Watch | MayShare::Type));
    let (host, named) = match (Remote::parse(word), &args.session) {
        (None, Some(id)) => (word.to_string_lossy().into_owned(), id.as_str().into()),
        (Some(remote), None) => (remote.host, remote.path),
        _ => return Err(expected(word)),
    };
    let rights = rights(&args.may, is_session)?;
    let made = on(here, &host, async |connection, host| {
        let what = if is_session {
            let word = String::from_utf8_lossy(named.as_bytes()).into_owned();
            Shared::Session(session::resolve_on(connection, host, &word).await?)
        } else {
            Shared::Path(named.clone())
        };
        let made = share(connection, Share { what, rights, secs: args.valid.as_secs() }).await;
        made.map_err(|error| client::failure(host, error))
    })?;
    let expires = clock::to_rfc3339(clock::from_unix_secs(made.expires));
    if args.json {
        return Ok(output::json(&Made { id: &made.id, link: &made.link, expires })?);
    }
    output::line(&made.link)?;
    let id = made.id.get(..9).unwrap_or(&made.id);
    output::status(format_args!(
        "Good until {expires} for everybody who has it. To end it: tow share rm {host} {id}"
    ));
    Ok(())
}

/// What may be done by whoever has the link.
fn rights(may: &[MayShare], is_session: bool) -> Result<Rights, Failure> {
    let wrong = |hint: &str| {
        Err(Failure::usage("a directory is shared to read and write, a session to watch or type")
            .hint(hint.to_owned()))
    };
    if is_session {
        return match may {
            [] | [MayShare::Watch] => Ok(Right::together([Right::Watch])),
            [MayShare::Type] => Ok(Right::together([Right::Run])),
            _ => wrong("for a session: --may watch, or --may type"),
        };
    }
    let right = |may: &MayShare| match may {
        MayShare::Read => Some(Right::Read),
        MayShare::Write => Some(Right::Write),
        MayShare::Watch | MayShare::Type => None,
    };
    match may.iter().map(right).collect::<Option<Vec<_>>>() {
        Some(rights) if rights.is_empty() => Ok(Right::together([Right::Read])),
        Some(rights) => Ok(Right::together(rights)),
        None => wrong("for a directory: --may read, --may write, or --may read,write"),
    }
}

/// Asks one machine one thing.
fn on<T>(
    here: &Here,
    word: &str,
    ask: impl AsyncFnOnce(&mut Connection, &Host) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let host = here.host(word)?;
    client::block_on(async {
        let mut connection = here.connect(&host).await?;
        let answer = ask(&mut connection, &host).await;
        connection.close().await;
        answer
    })
}

fn print(share: &ShareInfo, json: bool) -> std::io::Result<()> {
    let may: Vec<_> = Right::list(share.rights).iter().map(ToString::to_string).collect();
    let expires = clock::to_rfc3339(clock::from_unix_secs(share.expires));
    let ShareInfo { id, what, open: links, .. } = share;
    if json {
        return output::json(&Printed { id, what, may, expires, links: *links });
    }
    let what = match what {
        Shared::Path(path) => path.to_string(),
        Shared::Session(id) => format!("session {}", id.escape_debug()),
    };
    let id = id.escape_debug();
    output::line(format_args!("{id}  {what}  {}  until {expires}  {links} links", may.join(",")))
}

fn unknown(host: &Host, id: &str, error: AskError) -> Failure {
    match error {
        AskError::Refused(refusal) if refusal.code == Code::NotFound => {
            Failure::other(format!("no share's id starts with `{}`", id.escape_debug()))
                .hint(format!("tow share ls {}", host.word))
        }
        error => client::failure(host, error),
    }
}

fn expected(word: &OsStr) -> Failure {
    Failure::usage(format!(
        "`{}` names nothing on a machine",
        word.to_string_lossy().escape_debug()
    ))
    .hint("write HOST:PATH for a directory, or HOST ID for a session")
}
