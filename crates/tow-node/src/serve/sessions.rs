//! Sessions, serving: what the grant allows is asked of the keeper, and what the keeper and the
//! client say to each other is passed on, frame by frame.

use tow_net::{Link, LinkEvent, Reading};
use tow_proto::message::{
    Attach, Attached, FirstHead, Kill, Killed, Reply, RunEvent, SessionList, SessionRm, StdinState,
    View,
};
use tow_proto::{Code, Frame, Kind, Refusal, json};

use super::channel::Entry;
use super::{ChannelError, Peer, Served, Shared, now};
use crate::audit::Outcome;
use crate::grant::Right;
use crate::keeper::{Ask, Conversation, Scope};

/// Looks at a session for as long as the link lasts.
pub(super) async fn attach(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Attach,
    entry: &mut Entry<'_>,
) -> Result<Served, ChannelError> {
    let types = request.view == View::Type;
    let ask = Ask::Attach { scope: scope(peer)?, request: Box::new(request) };
    let mut keeper = shared.keeper.converse().await?;
    let attached: Attached = keeper.ask(&ask).await?;
    entry.begun(&attached.session);
    let stdin = if types { Stdin::of(attached.stdin) } else { Stdin::None };
    link.send_head(&Reply::Ok(attached));
    carry(link, keeper, stdin).await
}

/// Lists the sessions that may be seen.
pub(super) async fn list(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
) -> Result<Served, ChannelError> {
    let ask = Ask::Sessions { scope: scope(peer)? };
    let mut keeper = shared.keeper.converse().await?;
    let mut page: SessionList = keeper.ask(&ask).await?;
    loop {
        let more = page.more;
        link.send_head(&Reply::Ok(page));
        if !more {
            return Ok(Served::ok(0));
        }
        while !link.has_room() {
            if link.next_event().await? == LinkEvent::Closed {
                return Err(ChannelError::Closed);
            }
        }
        page = keeper.reply().await?;
    }
}

/// Sends a signal to all processes of a session.
pub(super) async fn kill(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: Kill,
) -> Result<Served, ChannelError> {
    let ask = Ask::Kill { scope: scope_to_end(peer)?, request };
    let killed: Killed = shared.keeper.converse().await?.ask(&ask).await?;
    link.send_head(&Reply::Ok(killed));
    Ok(Served::ok(0))
}

/// Forgets a session that has ended.
pub(super) async fn remove(
    shared: &Shared,
    peer: &Peer,
    link: &mut Link,
    request: SessionRm,
) -> Result<Served, ChannelError> {
    let ask = Ask::SessionRm { scope: scope_to_end(peer)?, request };
    let removed: serde_json::Value = shared.keeper.converse().await?.ask(&ask).await?;
    link.send_head(&Reply::Ok(removed));
    Ok(Served::ok(0))
}

pub(super) fn scope(peer: &Peer) -> Result<Scope, Refusal> {
    let permit = peer.grant.sessions(now())?;
    Ok(Scope {
        owner: peer.owner(),
        own: permit.own(),
        others: permit.others(),
        only: permit.only().map(str::to_owned),
    })
}

/// Whoever was given one session to look at or to type into does not end it.
fn scope_to_end(peer: &Peer) -> Result<Scope, Refusal> {
    let scope = scope(peer)?;
    if scope.only.is_some() {
        return Err(Refusal { right: Some(Right::Run.to_string()), ..Code::NoRight.into() });
    }
    Ok(scope)
}

/// What the client has to say before a channel is over (PROTOCOL 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stdin {
    /// Nothing: there is no stdin.
    None,
    /// The `end` of stdin.
    Open,
}

impl Stdin {
    /// That of a viewer that may type.
    pub(super) fn of(state: StdinState) -> Self {
        if state.window == 0 { Self::None } else { Self::Open }
    }
}

/// Passes on what the client of a session and its keeper say, until the channel is over.
pub(super) async fn carry(
    client: &mut Link,
    mut keeper: Conversation,
    stdin: Stdin,
) -> Result<Served, ChannelError> {
    let mut splice = Splice { stdin, bytes: 0 };
    let outcome = splice.carry(client, keeper.link()).await;
    client.set_reading(Reading::On);
    // A client's last words before it closed may be that it leaves.
    keeper.close().await;
    let outcome = outcome?;
    splice.discard_stdin(client).await?;
    Ok(Served { outcome, bytes: splice.bytes })
}

struct Splice {
    stdin: Stdin,
    bytes: u64,
}

impl Splice {
    /// Both links are always awaited: each writes what is queued for it, and answers pings, in its
    /// own wait. Only reading stops where the other one is behind. The keeper never is for long, so
    /// Ctrl-C passes a client that does not read.
    async fn carry(
        &mut self,
        client: &mut Link,
        keeper: &mut Link,
    ) -> Result<Outcome, ChannelError> {
        loop {
            client.set_reading(reading(keeper));
            keeper.set_reading(reading(client));
            tokio::select! {
                event = client.next_event() => match event? {
                    LinkEvent::Frame(frame) => self.pass_up(frame, keeper),
                    LinkEvent::Room => {}
                    LinkEvent::Closed => return Err(ChannelError::Closed),
                },
                event = keeper.next_event() => match event {
                    Ok(LinkEvent::Frame(frame)) => {
                        if let Some(outcome) = self.pass_down(frame, client)? {
                            return Ok(outcome);
                        }
                    }
                    Ok(LinkEvent::Room) => {}
                    // The client is to come back: another keeper tells it what became of the
                    // session. Mostly that it is lost; if only the connection was, it goes on.
                    Ok(LinkEvent::Closed) | Err(_) => {
                        return Err(Refusal::from(Code::Stopping).into());
                    }
                },
            }
        }
    }

    fn pass_up(&mut self, frame: Frame, keeper: &mut Link) {
        match frame.kind {
            Kind::End => self.stdin = Stdin::None,
            Kind::Data => self.bytes += frame.payload.len() as u64,
            _ => {}
        }
        keeper.send(frame.kind, &frame.payload);
    }

    /// Gives the outcome with the last frame.
    fn pass_down(
        &mut self,
        frame: Frame,
        client: &mut Link,
    ) -> Result<Option<Outcome>, ChannelError> {
        let last = match frame.kind {
            Kind::Head => last(&frame)?,
            Kind::Data | Kind::DataErr => {
                self.bytes += frame.payload.len() as u64;
                None
            }
            _ => None,
        };
        client.send(frame.kind, &frame.payload);
        Ok(last)
    }

    /// What the client sent before it knew of the end belongs to nobody; its `end` of stdin ends
    /// the channel.
    async fn discard_stdin(&mut self, client: &mut Link) -> Result<(), ChannelError> {
        while self.stdin == Stdin::Open {
            match client.next_event().await? {
                LinkEvent::Frame(Frame { kind: Kind::End, .. }) => self.stdin = Stdin::None,
                LinkEvent::Frame(_) | LinkEvent::Room => {}
                LinkEvent::Closed => return Ok(()),
            }
        }
        Ok(())
    }
}

fn reading(other: &Link) -> Reading {
    if other.has_room() { Reading::On } else { Reading::Off }
}

/// What became of the channel, where this head is its last. A refusal ends it, too.
fn last(frame: &Frame) -> Result<Option<Outcome>, ChannelError> {
    match json::from_slice(&frame.payload) {
        Ok(RunEvent::Exit(record)) => Ok(Some(Outcome::Ended(record.ended))),
        Ok(RunEvent::CaughtUp) => Ok(Some(Outcome::Ok)),
        Ok(_) => Ok(None),
        Err(_) => match json::from_slice(&frame.payload) {
            Ok(FirstHead::Refused(refusal)) => Err(refusal.into()),
            _ => Err(Refusal::from(Code::Internal).into()),
        },
    }
}
