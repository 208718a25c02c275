//! What is done to names: `DELETE`, `PATCH`, and the requests `mkdir`, `move` and `copy`.

use axum::extract::Request;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tow_proto::ByteString;
use tow_proto::message::{
    Copy, CopyReply, Failure as Failed, Mkdir, MkdirReply, Move, MoveReply, Mtime, Remove,
    RemoveReply, Request as Asked, Set, StatReply,
};

use super::{Place, Query, known};
use crate::answer::{Answer, empty, json, why};
use crate::body::json as json_of;
use crate::guest::Guest;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewDir {
    path: ByteString,
    #[serde(default)]
    parents: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FromTo {
    from: ByteString,
    to: ByteString,
    #[serde(default)]
    replace: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attributes {
    #[serde(default)]
    mode: Option<u32>,
    #[serde(default)]
    mtime: Option<Mtime>,
}

#[derive(Serialize)]
struct Removed<F: Serialize> {
    removed: u64,
    failed: u64,
    failures: Vec<F>,
}

#[derive(Serialize)]
struct Copied<F: Serialize> {
    copied: u64,
    failed: u64,
    failures: Vec<F>,
}

#[derive(Serialize)]
struct Named<'a, W: Serialize> {
    path: &'a ByteString,
    why: W,
}

pub(super) async fn remove(guest: Guest, request: Request) -> Answer {
    let place = Place::of_uri(guest.machine, request.uri())?;
    place.check(request.method(), request.headers()).await?;
    let recursive = Query::of(request.uri()).has("recursive");
    let remove = Remove { path: place.path.clone(), recursive, force: false };
    let reply: RemoveReply =
        place.machine.ask(&Asked::Remove(remove)).await.map_err(|error| place.say(error))?;
    let RemoveReply { removed, failed, failures } = reply;
    let failures = named(&failures);
    Ok(json(StatusCode::OK, &Removed { removed, failed, failures }))
}

pub(super) async fn set(guest: Guest, request: Request) -> Answer {
    let place = Place::of_uri(guest.machine, request.uri())?;
    let (parts, body) = request.into_parts();
    let Attributes { mode, mtime } = json_of(body).await?;
    place.check(&parts.method, &parts.headers).await?;
    let set = Set { path: place.path.clone(), mode, mtime };
    let stat: StatReply =
        place.machine.ask(&Asked::Set(set)).await.map_err(|error| place.say(error))?;
    known(&place, stat)
}

pub(super) async fn mkdir(guest: Guest, request: Request) -> Answer {
    let NewDir { path, parents } = json_of(request.into_body()).await?;
    let place = Place::of_path(guest.machine, b"/");
    let mkdir = Mkdir { path: place.other(&path)?, parents };
    let reply: MkdirReply =
        place.machine.ask(&Asked::Mkdir(mkdir)).await.map_err(|error| place.say(error))?;
    Ok(empty(if reply.made { StatusCode::CREATED } else { StatusCode::NO_CONTENT }))
}

pub(super) async fn rename(guest: Guest, request: Request) -> Answer {
    let FromTo { from, to, replace } = json_of(request.into_body()).await?;
    let place = Place::of_path(guest.machine, b"/");
    let rename = Move { from: place.other(&from)?, to: place.other(&to)?, replace };
    let _: MoveReply =
        place.machine.ask(&Asked::Move(rename)).await.map_err(|error| place.say(error))?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn copy(guest: Guest, request: Request) -> Answer {
    let FromTo { from, to, replace } = json_of(request.into_body()).await?;
    let place = Place::of_path(guest.machine, b"/");
    let copy = Copy { from: place.other(&from)?, to: place.other(&to)?, replace };
    let reply: CopyReply =
        place.machine.ask(&Asked::Copy(copy)).await.map_err(|error| place.say(error))?;
    let CopyReply { copied, failed, failures } = reply;
    let failures = named(&failures);
    Ok(json(StatusCode::OK, &Copied { copied, failed, failures }))
}

fn named(failures: &[Failed]) -> Vec<Named<'_, impl Serialize>> {
    failures.iter().map(|failed| Named { path: &failed.path, why: why(&failed.why) }).collect()
}
