//! Several files and directories as one (HTTP.md 6).
//!
//! An archive is planned first, by what the file system says of everything in it; then its content is
//! read as it is sent. What turns out to be other than was planned cuts the connection: a complete
//! archive is what was there.

mod plan;
mod pour;
mod source;
mod tar;
mod zip;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, header};
use axum::routing::get;
use tokio::task::spawn_blocking;
use tow_node::audit::Outcome;
use tow_node::serve::{Done, Slot, Visitor};
use tow_proto::{ByteString, Code, Refusal};

use self::plan::Plan;
use self::pour::Pour;
use self::source::{Broken, Source, There};
use self::zip::Zip;
use crate::answer::{Answer, Failure, empty};
use crate::files::{Place, Query, Selected, disposition, select};
use crate::guest::Guest;
use crate::here::{Stay, reading};
use crate::machine::Machine;
use crate::path::decode;
use crate::server::Connection;
use crate::stream::stream;

pub(crate) use self::zip::Crcs;

pub(crate) fn routes() -> Router {
    Router::new().route("/api/v1/archive", get(archive))
}

async fn archive(
    Extension(connection): Extension<Connection>,
    guest: Guest,
    request: Request,
) -> Answer {
    let (parts, _) = request.into_parts();
    let form = Form::of(Query::of(&parts.uri).value("format").unwrap_or("zip"))?;
    let paths = paths(&parts.uri)?;
    let mut places = Vec::with_capacity(paths.len());
    for path in paths {
        if !path.starts_with(b"/") {
            return Err(Refusal::about(Code::BadName, path).into());
        }
        places.push(Place::of_path(guest.machine.clone(), &path));
    }
    answer(&connection, places, form, &parts).await
}

/// Of a URL's `path` options, which may be many.
fn paths(uri: &Uri) -> Result<Vec<Vec<u8>>, Refusal> {
    let pairs = uri.query().unwrap_or_default().split('&');
    let named = pairs.filter_map(|pair| pair.strip_prefix("path="));
    let mut paths: Vec<Vec<u8>> = Vec::new();
    for path in named {
        let path = decode(path)?;
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    if paths.is_empty() { Err(Code::BadArgument.into()) } else { Ok(paths) }
}

/// What `?archive` of a file's address is answered with.
///
/// # Errors
/// As of the archive of its path alone.
pub(crate) async fn of_place(connection: &Connection, place: Place, parts: &Parts) -> Answer {
    let form = match Query::of(&parts.uri).value("archive").unwrap_or_default() {
        "" | "1" | "true" => Form::Zip,
        named => Form::of(named)?,
    };
    answer(connection, vec![place], form, parts).await
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Zip,
    Tar,
}

impl Form {
    fn of(name: &str) -> Result<Self, Failure> {
        match name {
            "zip" => Ok(Self::Zip),
            "tar" => Ok(Self::Tar),
            _ => Err(Failure::Http(StatusCode::BAD_REQUEST, "archives are zip or tar here")),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Zip => "zip",
            Self::Tar => "tar",
        }
    }
}

/// What is sent.
enum Made {
    Zip(Zip),
    Tar(Plan),
}

/// What is kept for as long as an archive takes, and who wants it.
struct Held {
    visitor: Option<(Visitor, Slot, Stay)>,
    paths: Vec<ByteString>,
    started: Instant,
}

async fn answer(connection: &Connection, places: Vec<Place>, form: Form, parts: &Parts) -> Answer {
    let first = places.first().cloned().ok_or(Code::BadArgument)?;
    let paths = places.iter().map(|place| place.path.clone()).collect();
    let mut held = Held { visitor: None, paths, started: Instant::now() };
    let source = source(&first.machine, connection, &mut held).await;
    let source = source.map_err(|no| first.say(no))?;
    let named = places.iter().map(|place| (name(place), place.path.clone())).collect();
    let (source, etag, made) =
        make(source, named, form).await.map_err(|no| first.say(held.refused(no)))?;
    let mut response = head(&places, form, &etag);
    let headers = &parts.headers;
    if says(headers, &header::IF_MATCH).is_some_and(|tags| !names(tags, &etag)) {
        return Err(UNMET);
    }
    if says(headers, &header::IF_NONE_MATCH).is_some_and(|tags| names(tags, &etag)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let (from, to) = match &made {
        Made::Tar(_) => (0, u64::MAX),
        Made::Zip(zip) => match range(headers, &parts.method, &etag, zip.len(), &mut response) {
            Some(part) => part,
            None => return Ok(response),
        },
    };
    let len = (form == Form::Zip).then(|| to - from);
    if parts.method == Method::HEAD {
        if let Some(len) = len {
            response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(len));
        }
        return Ok(response);
    }
    let (outlet, streamed) = stream(PIECES_WAITING_MAX, len);
    let crcs = connection.crcs.clone();
    spawn_blocking(move || send(source, &made, &crcs, Pour::new(outlet, from, to), held));
    *response.body_mut() = Body::new(streamed);
    Ok(response)
}

/// From where the archive is read; on this machine with leave and a place among its readers.
async fn source(
    machine: &Machine,
    connection: &Connection,
    held: &mut Held,
) -> Result<Source, Refusal> {
    match machine {
        Machine::Here(visitor) => {
            let (permit, slot) = reading(visitor).await?;
            let stay = Stay::begin(visitor, connection);
            held.visitor = Some((visitor.clone(), slot, stay));
            Ok(Source::Here(permit.root().clone()))
        }
        Machine::There(_) => Ok(Source::There(Box::new(There::new(machine.clone())))),
    }
}

/// What something is called in an archive.
fn name(place: &Place) -> Vec<u8> {
    match place.name() {
        b"" | b"." | b".." => place.machine.welcome().machine.replace('/', "_").into_bytes(),
        name => name.to_vec(),
    }
}

/// Plans the archive; nobody waits for that any more when this is dropped.
async fn make(
    mut source: Source,
    named: Vec<(Vec<u8>, ByteString)>,
    form: Form,
) -> Result<(Source, String, Made), Refusal> {
    let stop = Stop::default();
    let flag = Arc::clone(&stop.0);
    let made = spawn_blocking(move || {
        let plan = plan(&mut source, &named, &flag)?;
        let etag = plan.etag(form.name());
        let made = match form {
            Form::Zip => Made::Zip(Zip::new(plan)),
            Form::Tar => Made::Tar(plan),
        };
        Ok((source, etag, made))
    });
    made.await.unwrap_or_else(|_| Err(Code::Internal.into()))
}

fn plan(
    source: &mut Source,
    named: &[(Vec<u8>, ByteString)],
    stop: &AtomicBool,
) -> Result<Plan, Refusal> {
    let mut plan = Plan::default();
    for (name, path) in named {
        plan.begin(name)?;
        let mut added = Ok(());
        let left = plan.left();
        source.walk(path, left, &mut |found| {
            added = plan.add(name, path, found);
            match added.is_err() || stop.load(Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        added?;
    }
    Ok(plan.finish())
}

/// The head of an answer with all of it, without a body.
fn head(places: &[Place], form: Form, etag: &str) -> Response<Body> {
    let mut called = match places {
        [one] => name(one),
        several => {
            let machine = several.first().map(|place| place.machine.welcome().machine);
            machine.unwrap_or_default().into_bytes()
        }
    };
    called.extend(format!(".{}", form.name()).into_bytes());
    let mut response = empty(StatusCode::OK);
    let fields = response.headers_mut();
    let kind = match form {
        Form::Zip => "application/zip",
        Form::Tar => "application/x-tar",
    };
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    let disposition = disposition("attachment", &called);
    if let Ok(disposition) = HeaderValue::from_str(&disposition) {
        fields.insert(header::CONTENT_DISPOSITION, disposition);
    }
    // What has no length can't be asked for in parts.
    if form == Form::Zip {
        fields.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Ok(etag) = HeaderValue::from_str(etag) {
            fields.insert(header::ETAG, etag);
        }
    }
    response
}

/// Which part of an archive is asked for; `None` where there is no such part, which the answer says
/// then. Who asks for several gets the whole.
fn range(
    headers: &HeaderMap,
    method: &Method,
    etag: &str,
    len: u64,
    response: &mut Response<Body>,
) -> Option<(u64, u64)> {
    // Of another archive a part is of no use.
    let is_same = says(headers, &header::IF_RANGE).is_none_or(|tag| tag.trim() == etag);
    let selected = match is_same && *method == Method::GET {
        true => select(headers, len),
        false => Selected::Whole,
    };
    let (status, described, part) = match &selected {
        Selected::Parts(parts) => match &parts[..] {
            [one] => (
                StatusCode::PARTIAL_CONTENT,
                one.describe(len),
                Some((one.from, one.from + one.len)),
            ),
            _ => return Some((0, len)),
        },
        Selected::Whole => return Some((0, len)),
        Selected::Nothing => (StatusCode::RANGE_NOT_SATISFIABLE, format!("bytes */{len}"), None),
    };
    *response.status_mut() = status;
    if let Ok(described) = HeaderValue::from_str(&described) {
        response.headers_mut().insert(header::CONTENT_RANGE, described);
    }
    part
}

fn says<'h>(headers: &'h HeaderMap, field: &HeaderName) -> Option<&'h str> {
    headers.get(field)?.to_str().ok()
}

/// Whether a list of tags has this one. Ours has no comma in it.
fn names(tags: &str, etag: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

fn send(mut source: Source, made: &Made, crcs: &Crcs, mut pour: Pour, held: Held) {
    let poured = match made {
        Made::Zip(zip) => zip.pour(&mut source, crcs, &mut pour),
        Made::Tar(plan) => tar::pour(plan, &mut source, &mut pour),
    };
    let bytes = pour.bytes();
    match poured.and_then(|()| pour.end()) {
        Ok(bytes) => held.audit(Outcome::Ok, bytes),
        // The reader sees that it was cut.
        Err(Broken::Unread) => held.audit(Outcome::Cut, bytes),
        Err(Broken::Lost) => held.audit(Outcome::Refused(Code::Changed), bytes),
    }
}

impl Held {
    fn refused(&self, refusal: Refusal) -> Refusal {
        self.audit(Outcome::Refused(refusal.code), 0);
        refusal
    }

    /// Another machine has written it down itself.
    fn audit(&self, outcome: Outcome, bytes: u64) {
        if let Some((visitor, ..)) = &self.visitor {
            let duration = self.started.elapsed();
            visitor.audit("archive", self.paths.clone(), &Done { outcome, bytes, duration });
        }
    }
}

/// Says stop when it is dropped.
#[derive(Default)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

const PIECES_WAITING_MAX: usize = 8;
const UNMET: Failure =
    Failure::Http(StatusCode::PRECONDITION_FAILED, "it is not what the condition says");
