//! `COPY` and `MOVE`. What is replaced is not lost before its successor is there.

use aws_lc_rs::rand;
use axum::body::Body;
use axum::http::StatusCode;
use tow_node::ask::stat::Links;
use tow_proto::Code;
use tow_proto::message::{Copy, CopyReply, EntryKind, Move, MoveReply, Request, StatReply};

use super::answer::{Halt, Outcome, partly};
use super::locks::{Reach, is_below};
use super::names::{failures_below, make, no_body, remove};
use super::target::Target;
use super::{Call, Depth};
use crate::answer::{Failure, empty};

/// What is to be done, as it was found.
struct Plan {
    to: Target,
    from: StatReply,
    /// What has the name; a link itself.
    there: Option<StatReply>,
}

pub(super) async fn copy(call: Call, body: Body) -> Outcome {
    no_body(body).await?;
    let depth = call.depth(Depth::Infinity)?;
    if depth == Depth::One {
        return Err(Halt::BAD);
    }
    // Clients are shown what a link leads to, and get a copy of that.
    let plan = plan(&call, Links::Follow).await?;
    call.may_change(&[(&plan.to.key, Reach::Tree)]).await?;
    if plan.from.kind == EntryKind::Dir && depth == Depth::Zero {
        return copy_itself(&call, &plan).await;
    }
    let aside = put_aside(&plan).await?;
    let from = plan.from.path.clone();
    let copied = Copy { from, to: plan.to.on_machine(), replace: aside.is_none() };
    let copied: Result<CopyReply, _> = call.target.place.machine.ask(&Request::Copy(copied)).await;
    let copied = match copied {
        Ok(copied) => copied,
        Err(error) => {
            put_back(&plan.to, aside).await;
            return Err(call.target.place.say(error).into());
        }
    };
    drop_aside(aside).await;
    call.dav.dead().copy(&call.target.key, &plan.to.key);
    call.dav.locks().forget_below(&plan.to.key);
    if copied.failed > 0 {
        return Ok(partly(&failures_below(&plan.to, &copied.failures)));
    }
    Ok(plan.done())
}

/// A directory without what is in it.
async fn copy_itself(call: &Call, plan: &Plan) -> Outcome {
    // One that is there already is as good as a new one.
    if plan.there.as_ref().is_none_or(|there| there.kind != EntryKind::Dir) {
        let aside = put_aside(plan).await?;
        if let Err(failure) = make(&plan.to).await {
            put_back(&plan.to, aside).await;
            return Err(failure.into());
        }
        drop_aside(aside).await;
    }
    let properties = call.dav.dead().of(&call.target.key);
    call.dav.dead().set(&plan.to.key, properties);
    Ok(plan.done())
}

pub(super) async fn rename(call: Call, body: Body) -> Outcome {
    no_body(body).await?;
    if call.depth(Depth::Infinity)? != Depth::Infinity {
        return Err(Halt::BAD);
    }
    if call.target.is_root() {
        return Err(Halt::ROOT);
    }
    let plan = plan(&call, Links::Show).await?;
    call.may_change(&[(&call.target.key, Reach::Tree), (&plan.to.key, Reach::Tree)]).await?;
    let aside = put_aside(&plan).await?;
    let moved = give_name(&call.target, &plan.to, aside.is_none()).await;
    if let Err(failure) = moved {
        put_back(&plan.to, aside).await;
        return Err(failure.into());
    }
    drop_aside(aside).await;
    call.dav.dead().rename(&call.target.key, &plan.to.key);
    let mut locks = call.dav.locks();
    locks.forget(&call.target.key);
    locks.forget_below(&plan.to.key);
    Ok(plan.done())
}

impl Plan {
    fn done(&self) -> axum::http::Response<Body> {
        empty(if self.there.is_some() { StatusCode::NO_CONTENT } else { StatusCode::CREATED })
    }
}

async fn plan(call: &Call, links: Links) -> Result<Plan, Halt> {
    let to = call.destination()?;
    let replaces = match call.header("overwrite")?.map(str::trim) {
        None | Some("T" | "t") => true,
        Some("F" | "f") => false,
        Some(_) => return Err(Halt::BAD),
    };
    let from = call.target.place.stat(links).await?;
    let (source, wanted) = (&call.target.key, &to.key);
    // What is above the source would take it along when it is replaced.
    if source == wanted || is_below(source, wanted) {
        return Err(Halt::SAME);
    }
    // A copy into itself, too, would have no end.
    if is_below(wanted, source) && from.kind == EntryKind::Dir {
        return Err(Halt::SAME);
    }
    let above = to.above().ok_or(Halt::SAME)?;
    let above = above.place.look(Links::Follow).await?;
    if above.is_none_or(|above| above.kind != EntryKind::Dir) {
        return Err(Halt::NO_PARENT);
    }
    let there = to.place.look(Links::Show).await?;
    if there.is_some() && !replaces {
        return Err(Halt::UNMET);
    }
    Ok(Plan { to, from, there })
}

/// Gives what is to be replaced another name, where its successor can't take its name at one moment:
/// a directory is in the way, or is to come.
async fn put_aside(plan: &Plan) -> Result<Option<Target>, Halt> {
    let Some(there) = &plan.there else { return Ok(None) };
    if ![there.kind, plan.from.kind].contains(&EntryKind::Dir) {
        return Ok(None);
    }
    let mut number = [0; 8];
    rand::fill(&mut number).map_err(|_| Code::Internal)?;
    let above = plan.to.above().ok_or(Halt::ROOT)?;
    let name = format!("/.tow-{:016x}.replaced", u64::from_le_bytes(number));
    let aside = plan.to.sibling(&[&above.path, name.as_bytes()].concat());
    give_name(&plan.to, &aside, false).await?;
    Ok(Some(aside))
}

async fn put_back(to: &Target, aside: Option<Target>) {
    let Some(aside) = aside else { return };
    // What has come under the name meanwhile is somebody else's, or half of a copy.
    if let Err(failure) = give_name(&aside, to, false).await {
        tracing::warn!(?failure, path = ?aside.on_machine(), "what should be replaced kept another name");
    }
}

async fn drop_aside(aside: Option<Target>) {
    let Some(aside) = aside else { return };
    match remove(&aside).await {
        Ok(failures) if failures.is_empty() => {}
        Ok(failures) => tracing::warn!(
            count = failures.len(),
            path = ?aside.on_machine(),
            "something of what was replaced could not be removed"
        ),
        Err(failure) => tracing::warn!(?failure, "what was replaced could not be removed"),
    }
}

async fn give_name(from: &Target, to: &Target, replace: bool) -> Result<(), Failure> {
    let moved = Move { from: from.on_machine(), to: to.on_machine(), replace };
    let moved = from.place.machine.ask::<MoveReply>(&Request::Move(moved)).await;
    moved.map(drop).map_err(|error| from.place.say(error))
}
