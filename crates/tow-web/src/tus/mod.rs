//! Resumable uploads: tus 1.0.0 with creation, expiration, termination and checksum (HTTP.md 7).
//!
//! Nothing is remembered here: an upload is what its id says and what of it lies on the disk.

mod checksum;
mod fields;
mod id;
mod incoming;
mod metadata;
mod receive;
mod upload;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use axum::middleware::map_response;
use axum::response::IntoResponse as _;
use axum::routing::any;

use crate::answer::{Answer, Failure, empty};
use crate::guest::Guest;
use crate::server::Connection;
use incoming::Incoming;
use upload::Asked;

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/tus", any(all))
        .route("/tus/", any(all))
        .route("/tus/{id}", any(one))
        .route_layer(map_response(marked))
}

/// Every answer says which version it is.
async fn marked(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(fields::RESUMABLE, fields::ONE);
    response
}

/// What there is to know, and new uploads.
async fn all(Extension(connection): Extension<Connection>, request: Request) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    if parts.method == Method::OPTIONS {
        return options();
    }
    let mut incoming = Incoming::new(body);
    let answer = async {
        let asked = asked(&mut parts, &connection).await?;
        let answer = match method(&parts)? {
            Method::POST => asked.create(&parts.headers, &mut incoming).await,
            _ => Err(NOT_SO),
        };
        answer.map_err(|failure| failure.below(asked.root()))
    };
    let answer = Box::pin(until_stopped(&connection, answer)).await;
    answered(answer, &parts, incoming).await
}

/// One upload.
async fn one(Extension(connection): Extension<Connection>, request: Request) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    if parts.method == Method::OPTIONS {
        return options();
    }
    let mut incoming = Incoming::new(body);
    let answer = async {
        let asked = asked(&mut parts, &connection).await?;
        let id = id::Id::parse(parts.uri.path().rsplit('/').next().unwrap_or_default());
        let id = id.ok_or(NO_UPLOAD)?;
        let answer = match method(&parts)? {
            Method::HEAD => asked.head(&id).await,
            Method::PATCH => asked.patch(&id, &parts.headers, &mut incoming).await,
            Method::DELETE => asked.delete(&id).await,
            _ => Err(NOT_SO),
        };
        answer.map_err(|failure| failure.below(asked.root()))
    };
    let answer = Box::pin(until_stopped(&connection, answer)).await;
    answered(answer, &parts, incoming).await
}

/// Who asks; and that they mean this protocol.
async fn asked(parts: &mut Parts, connection: &Connection) -> Result<Asked, Failure> {
    let guest = Guest::own(parts, connection)?;
    if parts.headers.get(fields::RESUMABLE) != Some(&fields::ONE) {
        return Err(OTHER_VERSION);
    }
    Ok(Asked::new(guest.machine, connection.forgotten.clone()))
}

/// The method that is meant: programs that know only `POST` say it beside.
fn method(parts: &Parts) -> Result<Method, Failure> {
    match fields::text(&parts.headers, &fields::METHOD_OVERRIDE)? {
        Some(name) if parts.method == Method::POST => {
            Method::from_bytes(name.as_bytes()).map_err(|_| NOT_SO)
        }
        _ => Ok(parts.method.clone()),
    }
}

/// An upload would keep a node that stops for as long as it takes.
async fn until_stopped(connection: &Connection, answer: impl Future<Output = Answer>) -> Answer {
    tokio::select! {
        answer = answer => answer,
        () = connection.ended() => Err(tow_proto::Code::Stopping.into()),
    }
}

async fn answered(answer: Answer, parts: &Parts, incoming: Incoming) -> Response<Body> {
    let failure = match answer {
        Ok(response) => return response,
        Err(failure) => failure,
    };
    // Whoever waits for leave to send has sent nothing.
    if !parts.headers.contains_key(header::EXPECT) {
        incoming.drain().await;
    }
    let mut response = refused(failure);
    if response.status() == StatusCode::PRECONDITION_FAILED {
        response.headers_mut().insert(fields::VERSION, fields::ONE);
    }
    response
}

/// A refusal with the status that clients of tus expect.
fn refused(failure: Failure) -> Response<Body> {
    use tow_proto::Code;
    let (status, offset) = match &failure {
        Failure::Refused(refusal) => match (refusal.code, refusal.count) {
            (Code::OutOfOrder, at) => (Some(StatusCode::CONFLICT), at),
            (Code::TooLong, Some(_)) => (Some(StatusCode::PAYLOAD_TOO_LARGE), None),
            // Of a path: another request writes it. Else the machine is busy.
            (Code::Busy, _) if refusal.path.is_some() => (Some(StatusCode::LOCKED), None),
            _ => (None, None),
        },
        _ => (None, None),
    };
    let mut response = failure.into_response();
    if let Some(status) = status {
        *response.status_mut() = status;
    }
    if let Some(offset) = offset {
        response.headers_mut().insert(fields::OFFSET, HeaderValue::from(offset));
    }
    response
}

fn options() -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    let fields = response.headers_mut();
    fields.insert(fields::VERSION, fields::ONE);
    fields.insert(
        fields::EXTENSION,
        HeaderValue::from_static("creation,creation-with-upload,expiration,termination,checksum"),
    );
    fields.insert(fields::CHECKSUM_ALGORITHM, HeaderValue::from_static("sha1,sha256"));
    fields.insert(fields::MAX_SIZE, HeaderValue::from(id::SIZE_MAX));
    response
}

/// Uploads that were given up lately: it is told to who asks for them again. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Forgotten(Arc<Mutex<VecDeque<String>>>);

impl Forgotten {
    fn add(&self, upload: String) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() == FORGOTTEN_COUNT_MAX {
            known.pop_front();
        }
        known.push_back(upload);
    }

    fn has(&self, upload: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().any(|one| one == upload)
    }
}

const FORGOTTEN_COUNT_MAX: usize = 1_000;
const NOT_SO: Failure =
    Failure::Http(StatusCode::METHOD_NOT_ALLOWED, "not with this method at this address");
const NO_UPLOAD: Failure = Failure::Http(StatusCode::NOT_FOUND, "there is no such upload");
const OTHER_VERSION: Failure =
    Failure::Http(StatusCode::PRECONDITION_FAILED, "only tus 1.0.0 is spoken here");
