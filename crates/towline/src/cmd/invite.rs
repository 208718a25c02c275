//! `tow invite`.

use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;
use std::time::SystemTime;

use fast_qr::{ECL, QRBuilder};
use serde::Serialize;
use tow_node::ask::admin;
use tow_node::clock;
use tow_node::grant;
use tow_proto::message::{Invite, Invited};

use crate::args::{InviteArgs, Right};
use crate::client::{self, Here};
use crate::failure::Failure;
use crate::output;

#[derive(Serialize)]
struct Printed<'a> {
    code: &'a str,
    ticket: &'a str,
    expires: String,
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
    let invite = Invite {
        rights,
        root: root.map(|root| root.as_os_str().as_bytes().into()),
        name: args.name,
        valid_secs: args.valid.as_secs(),
        grant_secs: args.expires.map(|expires| expires.as_secs()),
    };
    let here = Here::open()?;
    let host = here.host(".")?;
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

/// How to get in, for a person.
pub(crate) fn show(invited: &Invited) {
    let address = invited.addresses.first().map_or("HOST", String::as_str);
    let left = invited.expires.saturating_sub(clock::unix_secs(SystemTime::now()));
    output::status(format_args!(
        "To let one device in, within {} minutes, on that device:\n\n    tow join {address} {}\n\nor with this ticket (it carries this machine's key):\n\n    tow join '{}'\n",
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
