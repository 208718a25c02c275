//! `tow invite`.

use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use fast_qr::{ECL, QRBuilder};
use serde::Serialize;
use tow_node::ask::{admin, share};
use tow_node::clock;
use tow_node::grant;
use tow_proto::message::{Invite, Invited, Token};

use crate::args::{InviteArgs, Right};
use crate::client::{self, Here, Host};
use crate::failure::Failure;
use crate::output;

#[derive(Serialize)]
struct Printed<'a> {
    code: &'a str,
    ticket: &'a str,
    expires: String,
}

#[derive(Serialize)]
struct PrintedToken<'a> {
    token: &'a str,
}

/// Asks this machine's node for a way in.
pub(crate) fn run(args: InviteArgs) -> Result<ExitCode, Failure> {
    let rights = if args.may.is_empty() {
        grant::Right::all()
    } else {
        grant::Right::together(args.may.iter().map(|right| (*right).into()))
    };
    let root = args.root.map(|root| {
        root.canonicalize().map_err(|error| Failure::usage(format!("{}: {error}", root.display())))
    });
    let root = root.transpose()?;
    if root.is_some() && rights.run {
        output::status(
            "tow: note: --root confines files only; programs that this device runs are not confined",
        );
    }
    let here = Here::open()?;
    let host = here.host(".")?;
    let root = root.map(|root| root.as_os_str().as_bytes().into());
    let grant_secs = args.expires.map(|expires| expires.as_secs());
    if args.token {
        let grant_secs = grant_secs.or(args.valid.map(|valid| valid.as_secs()));
        return token(&here, &host, Token { rights, root, name: args.name, grant_secs }, args.json);
    }
    let valid_secs = args.valid.unwrap_or(VALID).as_secs();
    let invite = Invite { rights, root, name: args.name, valid_secs, grant_secs };
    let invited = client::block_on(async {
        let mut connection = here.connect(&host).await?;
        let invited = admin::invite(&mut connection, invite).await;
        connection.close().await;
        invited.map_err(|error| client::failure(&host, error))
    })?;
    if args.json {
        let expires = clock::to_rfc3339(clock::from_unix_secs(invited.expires));
        output::json(&Printed { code: &invited.code, ticket: &invited.ticket, expires })?;
    } else {
        show(&invited);
    }
    Ok(ExitCode::SUCCESS)
}

/// An app password, told once.
fn token(here: &Here, host: &Host, token: Token, json: bool) -> Result<ExitCode, Failure> {
    let made = client::block_on(async {
        let mut connection = here.connect(host).await?;
        let made = share::token(&mut connection, token).await;
        connection.close().await;
        made.map_err(|error| client::failure(host, error))
    })?;
    if json {
        output::json(&PrintedToken { token: &made.token })?;
        return Ok(ExitCode::SUCCESS);
    }
    output::line(&made.token)?;
    let address = made.addresses.first().map_or("HOST:PORT", String::as_str);
    output::status(format_args!(
        "An app password; it is not shown again. For example:\n\n    curl -k -H 'Authorization: Bearer {}' https://{address}/api/v1/me\n\nWebDAV: https://{address}/dav/ with any user name. To end it: tow keys rm {}",
        made.token,
        made.id.get(..9).unwrap_or(&made.id),
    ));
    Ok(ExitCode::SUCCESS)
}

/// How to get in, for a person.
pub(crate) fn show(invited: &Invited) {
    let address = invited.addresses.first().map_or("HOST", String::as_str);
    let left = invited.expires.saturating_sub(clock::unix_secs(SystemTime::now()));
    output::status(format_args!(
        "To let one device in, within {} minutes, on that device:\n\n    tow join {address} {}\n\nor with this ticket, which also opens the page in a browser (it carries this machine's key):\n\n    tow join '{}'\n",
        left.div_ceil(60),
        invited.code,
        invited.ticket,
    ));
    if output::is_watched()
        && let Ok(qr) = QRBuilder::new(invited.ticket.as_str()).ecl(ECL::L).build()
    {
        output::status(qr.to_str());
    }
}

impl From<Right> for grant::Right {
    fn from(right: Right) -> Self {
        match right {
            Right::Run => Self::Run,
            Right::Read => Self::Read,
            Right::Write => Self::Write,
            Right::Forward => Self::Forward,
            Right::Admin => Self::Admin,
            Right::Watch => Self::Watch,
        }
    }
}

/// How long an invitation is good for.
const VALID: Duration = Duration::from_secs(600);
