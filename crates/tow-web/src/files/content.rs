//! `GET` and `HEAD` of a path: content or parts of it, or what is in a directory.
//!
//! On this machine content goes from the file to the connection on a thread of its own; on another
//! one it comes by the verb `read`. In both cases the last piece waits until it is known that the
//! file was not changed meanwhile.

use std::ops::ControlFlow;
use std::time::{Instant, SystemTime};

use axum::body::Body;
use axum::extract::{Extension, Request};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tow_host::files::{Chunk, Content, Sent};
use tow_node::ask::read::{self, Content as Came};
use tow_node::ask::session::request_id;
use tow_node::ask::stat::Links;
use tow_node::audit::Outcome;
use tow_node::serve::{Done, Visitor};
use tow_proto::message::{EntryKind, Read, StatReply};
use tow_proto::{Code, Refusal};

use super::condition::{Unmet, allows_range, check, date, etag, last_modified};
use super::range::{Selected, Span, select};
use super::show::{Use, describe, media_type};
use super::{Place, Query, UNMET, known, list};
use crate::answer::{Answer, Failure, empty};
use crate::archive;
use crate::guest::Guest;
use crate::here::{Stay, reading};
use crate::machine::Machine;
use crate::server::Connection;
use crate::stream::{Outlet, Streamed, stream};

/// What is asked of content.
struct Asked {
    method: Method,
    headers: HeaderMap,
    name: Vec<u8>,
    shown: Use,
}

/// An answer about content, as far as it is known from what is known of the file.
struct Plan {
    /// Head of the answer, with an empty body.
    response: Response<Body>,
    /// What the body is made of; nothing for `HEAD`.
    pieces: Vec<Piece>,
    /// How long it is. `None` of a file that does not say how long it is.
    len: Option<u64>,
}

enum Piece {
    Text(Bytes),
    Part(Span),
    /// To the end, wherever that is.
    All,
}

pub(crate) async fn get(
    Extension(connection): Extension<Connection>,
    guest: Guest,
    request: Request,
) -> Answer {
    let place = Place::of_uri(guest.machine, request.uri())?;
    let query = Query::of(request.uri());
    if query.has("stat") {
        let links = if query.has("follow") { Links::Follow } else { Links::Show };
        return known(&place, place.stat(links).await?);
    }
    let (parts, _) = request.into_parts();
    if query.has("archive") {
        return archive::of_place(&connection, place, &parts).await;
    }
    let shown = if query.has("inline") { Use::Inline } else { Use::Save };
    let name = place.name().to_vec();
    let asked = Asked { method: parts.method, headers: parts.headers, name, shown };
    match place.machine.clone() {
        Machine::Here(visitor) => here(&connection, &place, &visitor, asked).await,
        Machine::There(_) => there(&connection, &place, asked).await,
    }
}

/// What became of opening a file of this machine.
enum Opened {
    /// All of the answer, which is short.
    Answer(Response<Body>),
    /// Its head; the rest has to come.
    Long(Content, Box<Plan>),
}

async fn here(connection: &Connection, place: &Place, visitor: &Visitor, asked: Asked) -> Answer {
    let started = Instant::now();
    let (permit, slot) = reading(visitor).await.map_err(|no| place.say(no))?;
    let (root, path) = (permit.root().clone(), place.path.clone());
    let opened = spawn_blocking(move || open(&mut || Content::open(&root, &path), &asked))
        .await
        .map_err(|_| Code::Internal)?;
    let done = |outcome, bytes| Done { outcome, bytes, duration: started.elapsed() };
    let (content, plan) = match opened {
        Ok(Opened::Answer(response)) => {
            let bytes = body_len(&response);
            visitor.audit("read", vec![place.path.clone()], &done(Outcome::Ok, bytes));
            return Ok(response);
        }
        Ok(Opened::Long(content, plan)) => (content, plan),
        Err(Failure::Refused(refusal)) if refusal.code == Code::IsADirectory => {
            drop(slot);
            return list::list(connection, place).await;
        }
        Err(failure) => {
            if let Failure::Refused(refusal) = &failure {
                let outcome = Outcome::Refused(refusal.code);
                visitor.audit("read", vec![place.path.clone()], &done(outcome, 0));
            }
            return Err(place.say(failure));
        }
    };
    let stay = Stay::begin(visitor, connection);
    let (outlet, streamed) = stream(CHUNKS_WAITING_MAX, plan.len);
    let (visitor, pieces, path) = (visitor.clone(), plan.pieces, place.path.clone());
    spawn_blocking(move || {
        let (outcome, bytes) = send(&content, &pieces, outlet);
        let duration = started.elapsed();
        visitor.audit("read", vec![path], &Done { outcome, bytes, duration });
        drop((slot, stay));
    });
    finish(plan.response, plan.len, streamed).await
}

/// Opens are tried again where a short file changes while it is read.
fn open(
    content: &mut dyn FnMut() -> Result<Content, Refusal>,
    asked: &Asked,
) -> Result<Opened, Failure> {
    for _ in 0..TRIES_MAX {
        let content = content()?;
        let plan = plan(asked, content.stat(), SystemTime::now())?;
        if plan.len.is_some_and(|len| len > SHORT_LEN_MAX) {
            return Ok(Opened::Long(content, Box::new(plan)));
        }
        let mut body = Vec::new();
        match collect(&content, &plan.pieces, &mut body)? {
            Sent::Steady => {
                let is_unsized = plan.len.is_none();
                return Ok(Opened::Answer(plan.with_body(body, is_unsized)));
            }
            // Longer than short, though it says nothing of its length.
            Sent::Stopped => return Ok(Opened::Long(content, Box::new(plan))),
            Sent::Changed => {}
        }
    }
    Err(UNSTEADY)
}

/// The pieces in memory; stopped where they are not short.
fn collect(content: &Content, pieces: &[Piece], body: &mut Vec<u8>) -> Result<Sent, Refusal> {
    each(content, pieces, &mut |bytes| {
        let bytes = bytes.as_ref();
        if bytes.len() > SHORT_LEN_MAX as usize - body.len() {
            return ControlFlow::Break(());
        }
        body.extend_from_slice(bytes);
        ControlFlow::Continue(())
    })
}

/// Sends the pieces, and ends the body where they are what was in the file at one moment.
fn send(content: &Content, pieces: &[Piece], mut outlet: Outlet) -> (Outcome, u64) {
    let sent = each(content, pieces, &mut |bytes| match outlet.blocking_put(bytes.into()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    });
    let bytes = outlet.bytes();
    match sent {
        Ok(Sent::Steady) => {
            outlet.blocking_end();
            (Outcome::Ok, bytes)
        }
        Ok(Sent::Changed) => {
            outlet.blocking_fail(UNSTEADY);
            (Outcome::Refused(Code::Changed), bytes)
        }
        Ok(Sent::Stopped) => (Outcome::Cut, bytes),
        Err(refusal) => {
            let code = refusal.code;
            outlet.blocking_fail(refusal);
            (Outcome::Refused(code), bytes)
        }
    }
}

/// A piece that is sent without a copy.
enum Lent {
    Text(Bytes),
    Chunk(Chunk),
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Text(bytes) => bytes,
            Self::Chunk(chunk) => chunk.payload(),
        }
    }
}

impl From<Lent> for Bytes {
    fn from(lent: Lent) -> Self {
        match lent {
            Lent::Text(bytes) => bytes,
            // Its buffer goes back to its pool when it was sent.
            chunk => Self::from_owner(chunk),
        }
    }
}

fn each(
    content: &Content,
    pieces: &[Piece],
    out: &mut dyn FnMut(Lent) -> ControlFlow<()>,
) -> Result<Sent, Refusal> {
    for piece in pieces {
        let (from, len) = match piece {
            Piece::Text(text) => {
                if out(Lent::Text(text.clone())).is_break() {
                    return Ok(Sent::Stopped);
                }
                continue;
            }
            Piece::Part(span) => (span.from, Some(span.len)),
            Piece::All => (0, None),
        };
        let sent = content.send(from, len, &mut |chunk| out(Lent::Chunk(chunk)))?;
        if sent != Sent::Steady {
            return Ok(sent);
        }
    }
    Ok(Sent::Steady)
}

async fn there(connection: &Connection, place: &Place, asked: Asked) -> Answer {
    let stat = place.stat(Links::Follow).await?;
    if stat.kind == EntryKind::Dir {
        return list::list(connection, place).await;
    }
    let Plan { response, pieces, len } = plan(&asked, &stat, SystemTime::now())?;
    if pieces.is_empty() {
        return Ok(response);
    }
    let (outlet, streamed) = stream(CHUNKS_WAITING_MAX, len);
    let from = place.clone();
    tokio::spawn(async move { fetch(&from, &stat, pieces, outlet).await });
    finish(response, len, streamed).await.map_err(|failure| place.say(failure))
}

/// Sends the pieces as they come from the machine that has them.
async fn fetch(place: &Place, stat: &StatReply, pieces: Vec<Piece>, mut outlet: Outlet) {
    for piece in pieces {
        let (from, len) = match piece {
            Piece::Text(text) => match outlet.put(text).await {
                Ok(()) => continue,
                Err(_) => return,
            },
            Piece::Part(span) => (span.from, Some(span.len)),
            Piece::All => (0, None),
        };
        let asked = Read { path: place.path.clone(), from, len };
        match fetch_part(place, asked, &mut outlet).await {
            Ok(Came::Whole(now)) if etag(&now) == etag(stat) => {}
            Ok(Came::Unread) => return,
            Ok(_) => return outlet.fail(UNSTEADY).await,
            Err(failure) => return outlet.fail(failure).await,
        }
    }
    outlet.end().await;
}

async fn fetch_part(place: &Place, asked: Read, outlet: &mut Outlet) -> Result<Came, Failure> {
    let mut connection = place.machine.connect().await?;
    let (sender, mut queue) = mpsc::channel::<Vec<u8>>(CHUNKS_WAITING_MAX);
    let (came, ()) = tokio::join!(
        async {
            let sender = sender;
            read::read(&mut connection, asked, &sender).await
        },
        async {
            while let Some(bytes) = queue.recv().await {
                if outlet.put(bytes.into()).await.is_err() {
                    return queue.close();
                }
            }
        }
    );
    let came = came?;
    if came != Came::Unread {
        place.machine.keep(connection);
    }
    Ok(came)
}

/// The answer, once the first piece is there.
async fn finish(mut response: Response<Body>, len: Option<u64>, mut streamed: Streamed) -> Answer {
    streamed.ready().await?;
    if len.is_none() && !streamed.is_empty() {
        disown(response.headers_mut());
    }
    *response.body_mut() = Body::new(streamed);
    Ok(response)
}

/// A file that does not say how long it is says nothing else about its content either.
fn disown(fields: &mut HeaderMap) {
    for name in [header::ETAG, header::LAST_MODIFIED, header::ACCEPT_RANGES] {
        fields.remove(name);
    }
}

fn body_len(response: &Response<Body>) -> u64 {
    hyper::body::Body::size_hint(response.body()).exact().unwrap_or(0)
}

impl Plan {
    fn with_body(self, body: Vec<u8>, is_unsized: bool) -> Response<Body> {
        let mut response = self.response;
        if is_unsized && !body.is_empty() {
            disown(response.headers_mut());
        }
        if !self.pieces.is_empty() {
            *response.body_mut() = Body::from(body);
        }
        response
    }
}

/// What is to be answered.
fn plan(asked: &Asked, stat: &StatReply, now: SystemTime) -> Result<Plan, Failure> {
    let mut response = empty(StatusCode::OK);
    let fields = response.headers_mut();
    describe(fields, &asked.name, asked.shown);
    let set = |fields: &mut HeaderMap, name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            fields.insert(name, value);
        }
    };
    set(fields, header::ETAG, &etag(stat));
    set(fields, header::ACCEPT_RANGES, "bytes");
    set(fields, header::CACHE_CONTROL, "private, no-cache");
    if let Some(changed) = last_modified(stat, now).and_then(date) {
        set(fields, header::LAST_MODIFIED, &changed);
    }
    let nothing = |response, len| Ok(Plan { response, pieces: Vec::new(), len: Some(len) });
    match check(&asked.method, &asked.headers, Some(stat), now) {
        Ok(()) => {}
        Err(Unmet::Failed) => return Err(UNMET),
        Err(Unmet::NotModified) => {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            for name in [header::CONTENT_TYPE, header::CONTENT_DISPOSITION] {
                response.headers_mut().remove(name);
            }
            return nothing(response, 0);
        }
    }
    // A range is a matter of GET alone (RFC 9110, 14.2).
    if asked.method == Method::HEAD {
        set(response.headers_mut(), header::CONTENT_LENGTH, &stat.size.to_string());
        return nothing(response, 0);
    }
    let is_allowed = allows_range(&asked.headers, stat, now);
    let selected = if is_allowed { select(&asked.headers, stat.size) } else { Selected::Whole };
    match selected {
        Selected::Whole if stat.size == 0 => {
            Ok(Plan { response, pieces: vec![Piece::All], len: None })
        }
        Selected::Whole => {
            let all = Span { from: 0, len: stat.size };
            Ok(Plan { response, pieces: vec![Piece::Part(all)], len: Some(stat.size) })
        }
        Selected::Nothing => {
            let mut response = axum::response::IntoResponse::into_response(NO_RANGE);
            let range = format!("bytes */{}", stat.size);
            set(response.headers_mut(), header::CONTENT_RANGE, &range);
            nothing(response, 0)
        }
        Selected::Parts(parts) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let fields = response.headers_mut();
            if let [part] = parts[..] {
                set(fields, header::CONTENT_RANGE, &part.describe(stat.size));
                return Ok(Plan { response, pieces: vec![Piece::Part(part)], len: Some(part.len) });
            }
            let boundary = request_id().ok_or(Code::Internal)?;
            let kind = format!("multipart/byteranges; boundary={boundary}");
            set(fields, header::CONTENT_TYPE, &kind);
            let (pieces, len) = multipart(&parts, stat.size, &media_type(&asked.name), &boundary);
            Ok(Plan { response, pieces, len: Some(len) })
        }
    }
}

/// Several parts with a head each, and how long all of that is.
fn multipart(parts: &[Span], size: u64, kind: &str, boundary: &str) -> (Vec<Piece>, u64) {
    let (mut pieces, mut len) = (Vec::new(), 0);
    for part in parts {
        let range = part.describe(size);
        let head =
            format!("\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {range}\r\n\r\n");
        len += head.len() as u64 + part.len;
        pieces.extend([Piece::Text(head.into()), Piece::Part(*part)]);
    }
    let end = format!("\r\n--{boundary}--\r\n");
    len += end.len() as u64;
    pieces.push(Piece::Text(end.into()));
    (pieces, len)
}

/// One is read while others are sent: 1 MiB.
const CHUNKS_WAITING_MAX: usize = 4;
/// A body that is made at once.
const SHORT_LEN_MAX: u64 = 64 << 10;
const TRIES_MAX: usize = 3;
const UNSTEADY: Failure =
    Failure::Http(StatusCode::SERVICE_UNAVAILABLE, "the file is being changed at this moment");
const NO_RANGE: Failure =
    Failure::Http(StatusCode::RANGE_NOT_SATISFIABLE, "the file has no such part");
