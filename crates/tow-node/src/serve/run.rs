//! `run`, serving: the keeper starts the program, and its client looks at it from the start.

use tow_net::Link;
use tow_proto::message::{Program, Reply, Run};
use tow_proto::{ByteString, Code, Refusal};

use super::channel::Entry;
use super::sessions::{self, Stdin};
use super::{ChannelError, Peer, Served, Shared, now};
use crate::keeper::{RunAsk, to_bytes};

/// Runs a program and carries its streams.
pub(super) async fn run(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Run,
    entry: &mut Entry<'_>,
) -> Result<Served, ChannelError> {
    let permit = peer.grant.run(now())?;
    if request.id.is_empty() || request.id.len() > REQUEST_ID_LEN_MAX {
        return Err(Refusal::from(Code::Malformed).into());
    }
    let is_viewed = request.view;
    let ask = RunAsk {
        owner: peer.owner(),
        request,
        account: (&shared.account).into(),
        start: to_bytes(permit.start()),
    };
    let started = shared.keeper.run(ask, || peer.check_known(shared)).await;
    let (reply, keeper) = started?;
    if is_viewed {
        entry.begun(&reply.session);
    } else {
        entry.about(&reply.session);
    }
    let stdin = Stdin::of(reply.stdin);
    link.send_head(&Reply::Ok(reply));
    if is_viewed { sessions::carry(link, keeper, stdin).await } else { Ok(Served::ok(0)) }
}

/// What was asked for, for the audit log: never the values of variables.
pub(super) fn detail(request: &Run) -> Vec<ByteString> {
    match &request.program {
        Program::Argv(argv) => argv.clone(),
        Program::Shell(line) => vec!["-c".into(), line.clone()],
        Program::Login => vec!["-l".into()],
    }
}

const REQUEST_ID_LEN_MAX: usize = 64;
