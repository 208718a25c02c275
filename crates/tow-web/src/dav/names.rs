//! `MKCOL` and `DELETE`.

use axum::body::Body;
use axum::http::StatusCode;
use tow_proto::Code;
use tow_proto::message::{Failure as Left, Mkdir, MkdirReply, Remove, RemoveReply, Request};

use super::answer::{Halt, Outcome, partly};
use super::locks::Reach;
use super::target::{Kind, Target, href};
use super::{Call, Depth};
use crate::answer::{Failure, empty};
use crate::body;

pub(super) async fn mkcol(call: Call, body: Body) -> Outcome {
    no_body(body).await?;
    if call.target.is_root() {
        return Err(TAKEN.into());
    }
    call.may_change(&[(&call.target.key, Reach::Name)]).await?;
    make(&call.target).await.map_err(|failure| match code(&failure) {
        Some(Code::Exists) => TAKEN.into(),
        Some(Code::NotFound | Code::NotADirectory) => Halt::NO_PARENT,
        _ => Halt::Failure(failure),
    })?;
    // A file that was here may have left something behind.
    call.dav.dead().forget(&call.target.key);
    Ok(empty(StatusCode::CREATED))
}

pub(super) async fn delete(call: Call, body: Body) -> Outcome {
    no_body(body).await?;
    if call.depth(Depth::Infinity)? != Depth::Infinity {
        return Err(Halt::BAD);
    }
    if call.target.is_root() {
        return Err(Halt::ROOT);
    }
    call.may_change(&[(&call.target.key, Reach::Tree)]).await?;
    let failures = remove(&call.target).await?;
    if !failures.is_empty() {
        return Ok(partly(&failures_below(&call.target, &failures)));
    }
    call.dav.locks().forget(&call.target.key);
    call.dav.dead().forget(&call.target.key);
    Ok(empty(StatusCode::NO_CONTENT))
}

/// Makes a directory.
///
/// # Errors
/// The refusal.
pub(super) async fn make(target: &Target) -> Result<(), Failure> {
    let mkdir = Mkdir { path: target.on_machine(), parents: false };
    let asked = target.place.machine.ask::<MkdirReply>(&Request::Mkdir(mkdir)).await;
    asked.map(drop).map_err(|error| target.place.say(error))
}

/// Removes something with everything in it; gives what stayed, and why.
///
/// # Errors
/// The refusal: then nothing was removed.
pub(super) async fn remove(target: &Target) -> Result<Vec<Left>, Failure> {
    let remove = Remove { path: target.on_machine(), recursive: true, force: false };
    let reply: Result<RemoveReply, _> = target.place.machine.ask(&Request::Remove(remove)).await;
    reply.map(|reply| reply.failures).map_err(|error| target.place.say(error))
}

/// What failed below `target`, as URLs.
pub(super) fn failures_below(
    target: &Target,
    failures: &[Left],
) -> Vec<(String, tow_proto::Refusal)> {
    let one = |left: &Left| {
        let below = left.path.as_bytes();
        let slash: &[u8] = if below.is_empty() { b"" } else { b"/" };
        let path = [&target.path, slash, below].concat();
        (href(&path, Kind::Other), left.why.clone())
    };
    failures.iter().map(one).collect()
}

/// Refuses a body that nobody would read.
///
/// # Errors
/// 415.
pub(super) async fn no_body(body: Body) -> Result<(), Halt> {
    match body::read(body, 0).await {
        Ok(_) => Ok(()),
        Err(Failure::Http(StatusCode::PAYLOAD_TOO_LARGE, _)) => Err(Halt::BODY),
        Err(failure) => Err(failure.into()),
    }
}

/// The refusal of a failure.
pub(super) fn code(failure: &Failure) -> Option<Code> {
    match failure {
        Failure::Refused(refusal) => Some(refusal.code),
        _ => None,
    }
}

const TAKEN: Failure = Failure::Http(StatusCode::METHOD_NOT_ALLOWED, "something has that name");
