//! Sessions over HTTP: list, end and forget them, read their output, wait for their end (HTTP.md 4).

use std::collections::VecDeque;

use axum::Router;
use axum::extract::{Path, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::routing::{delete, get, post};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tow_node::ask::session::{Attaching, Output, Remote};
use tow_node::ask::sessions::{kill, session_rm, sessions};
use tow_proto::Code;
use tow_proto::message::{STDERR, STDOUT, SessionInfo, View};

use crate::answer::{Answer, Failure, empty, json};
use crate::body::json as json_of;
use crate::files::Query;
use crate::guest::Guest;
use crate::machine::Machine;
use crate::stream::{Outlet, stream};

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/api/v1/sessions", get(list))
        .route("/api/v1/sessions/{id}", delete(remove))
        .route("/api/v1/sessions/{id}/kill", post(signal))
        .route("/api/v1/sessions/{id}/log", get(log))
        .route("/api/v1/sessions/{id}/exit", get(exit))
}

#[derive(Serialize)]
struct List {
    sessions: Vec<SessionInfo>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signal {
    signal: String,
}

#[derive(Serialize)]
struct Killed {
    processes: u32,
}

async fn list(guest: Guest) -> Answer {
    let mut connection = guest.machine.connect().await?;
    let sessions = sessions(&mut connection).await?;
    guest.machine.keep(connection);
    Ok(json(StatusCode::OK, &List { sessions }))
}

async fn remove(guest: Guest, Path(id): Path<String>) -> Answer {
    let mut connection = guest.machine.connect().await?;
    session_rm(&mut connection, &id).await?;
    guest.machine.keep(connection);
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn signal(guest: Guest, Path(id): Path<String>, request: Request) -> Answer {
    let Signal { signal } = json_of(request.into_body()).await?;
    let mut connection = guest.machine.connect().await?;
    let processes = kill(&mut connection, &id, &signal).await?;
    guest.machine.keep(connection);
    Ok(json(StatusCode::OK, &Killed { processes }))
}

async fn look(
    machine: &Machine,
    session: String,
    view: View,
    from: [Option<u64>; 2],
) -> Result<Remote, Failure> {
    let [stdout_from, stderr_from] = from;
    let attaching = Attaching { session, view, window: None, stdout_from, stderr_from };
    Ok(Remote::attach_on(machine.connect().await?, attaching).await?)
}

async fn exit(guest: Guest, Path(id): Path<String>) -> Answer {
    let mut remote = look(&guest.machine, id, View::Exit, [None, None]).await?;
    loop {
        if let Output::Exit(record) = remote.next().await? {
            remote.finish().await;
            return Ok(json(StatusCode::OK, &record));
        }
    }
}

async fn log(guest: Guest, Path(id): Path<String>, uri: Uri) -> Answer {
    let query = Query::of(&uri);
    let wanted = match query.value("stream") {
        None | Some("1") => STDOUT,
        Some("2") => STDERR,
        Some(_) => return Err(BAD_STREAM),
    };
    let from = query.value("from").map(|from| from.parse().map_err(|_| BAD_FROM)).transpose()?;
    let froms = if wanted == STDOUT { [from, None] } else { [None, from] };
    let mut remote = look(&guest.machine, id, View::Log, froms).await?;
    let (at, first) = start(&mut remote, wanted, from.unwrap_or(0)).await?;
    let (outlet, mut streamed) = stream(PIECES_WAITING_MAX, None);
    tokio::spawn(send(remote, wanted, first, outlet));
    streamed.ready().await?;
    let mut response = streamed.into_response("application/octet-stream");
    response.headers_mut().insert(FROM, HeaderValue::from(at));
    Ok(response)
}

/// Where what is kept starts, and the first that comes of it.
async fn start(
    remote: &mut Remote,
    wanted: u8,
    mut at: u64,
) -> Result<(u64, Option<Output>), Failure> {
    loop {
        match remote.next().await? {
            Output::Gap { stream, to, .. } if stream == wanted => at = to,
            Output::Bytes { stream, bytes } if stream != wanted => {
                remote.consumed(stream, bytes.len() as u64);
            }
            Output::CaughtUp => return Ok((at, None)),
            first @ Output::Bytes { .. } => return Ok((at, Some(first))),
            _ => {}
        }
    }
}

/// Sends one stream up to now. What is dropped while it is read cuts the answer: it would have a
/// hole.
async fn send(mut remote: Remote, wanted: u8, first: Option<Output>, mut outlet: Outlet) {
    let mut is_over = first.is_none();
    // Bounded by the window of the stream.
    let mut pieces: VecDeque<Bytes> = VecDeque::new();
    if let Some(Output::Bytes { bytes, .. }) = first {
        pieces.push_back(bytes.into());
    }
    while !is_over || !pieces.is_empty() {
        tokio::select! {
            output = remote.next(), if !is_over => match output {
                Ok(Output::Bytes { stream, bytes }) if stream == wanted => {
                    pieces.push_back(bytes.into());
                }
                Ok(Output::Bytes { stream, bytes }) => remote.consumed(stream, bytes.len() as u64),
                Ok(Output::Gap { stream, .. }) if stream == wanted => {
                    return outlet.fail(Code::Changed).await;
                }
                Ok(Output::CaughtUp) => is_over = true,
                Ok(_) => {}
                Err(error) => return outlet.fail(error).await,
            },
            room = outlet.room(), if !pieces.is_empty() => {
                let Some(piece) = pieces.pop_front().filter(|_| room.is_ok()) else { break };
                let len = piece.len() as u64;
                if outlet.put(piece).await.is_err() {
                    break;
                }
                remote.consumed(wanted, len);
            }
            () = outlet.unread() => break,
        }
    }
    remote.finish().await;
    if is_over && pieces.is_empty() {
        outlet.end().await;
    }
}

const FROM: HeaderName = HeaderName::from_static("x-tow-from");
const PIECES_WAITING_MAX: usize = 4;
const BAD_STREAM: Failure =
    Failure::Http(StatusCode::BAD_REQUEST, "stream is 1, stdout, or 2, stderr");
const BAD_FROM: Failure = Failure::Http(StatusCode::BAD_REQUEST, "from is an offset in bytes");
