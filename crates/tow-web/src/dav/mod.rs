//! WebDAV, class 1 and 2 (HTTP.md 8, RFC 4918): what a file manager or a mount asks becomes requests
//! of the native protocol, and content is served and taken by the handlers of [`crate::files`].
//!
//! Locks and dead properties are in memory, each bounded, and gone when the node stops.

mod answer;
mod conditions;
mod content;
mod copymove;
mod dead;
mod describe;
mod lock;
mod locks;
mod names;
mod propfind;
mod proppatch;
mod target;
mod xml;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use axum::routing::any;
use tow_proto::Code;

use self::answer::{Halt, Outcome};
use self::conditions::Conditions;
use self::dead::Dead;
use self::locks::{Locks, Reach};
use self::target::Target;
use crate::answer::{Failure, empty};
use crate::guest::Guest;
use crate::machine::Machine;
use crate::server::Connection;

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/dav", any(serve))
        .route("/dav/", any(serve))
        .route("/dav/{*path}", any(serve))
}

/// What a door remembers of WebDAV. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Dav(Arc<Shelf>);

#[derive(Default)]
struct Shelf {
    locks: Mutex<Locks>,
    dead: Mutex<Dead>,
}

/// One request of somebody known.
struct Call {
    parts: Parts,
    target: Target,
    dav: Dav,
    /// Whose locks count as their own.
    owner: String,
    guest: Guest,
    connection: Connection,
}

async fn serve(Extension(connection): Extension<Connection>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    // Windows and others ask before they have asked for a password; nothing of the machine is said.
    if parts.method == Method::OPTIONS {
        return options(empty(StatusCode::OK));
    }
    let guest = match Guest::own(&parts, &connection) {
        Ok(guest) => guest,
        Err(failure) => return challenge(failure),
    };
    match Call::new(parts, guest, connection) {
        Ok(call) => call.answer(body).await.unwrap_or_else(Halt::into_response),
        Err(halt) => halt.into_response(),
    }
}

impl Call {
    fn new(parts: Parts, guest: Guest, connection: Connection) -> Result<Self, Halt> {
        let owner = match &guest.machine {
            Machine::Here(visitor) => visitor.owner(),
            Machine::There(_) => String::new(),
        };
        let target = Target::of_uri(guest.machine.clone(), parts.uri.path())?;
        let dav = connection.dav.clone();
        Ok(Self { parts, target, dav, owner, guest, connection })
    }

    async fn answer(self, body: Body) -> Outcome {
        match self.parts.method.as_str() {
            "GET" | "HEAD" => content::get(self).await,
            "PUT" => content::put(self, body).await,
            "DELETE" => names::delete(self, body).await,
            "MKCOL" => names::mkcol(self, body).await,
            "COPY" => copymove::copy(self, body).await,
            "MOVE" => copymove::rename(self, body).await,
            "PROPFIND" => propfind::propfind(self, body).await,
            "PROPPATCH" => proppatch::proppatch(self, body).await,
            "LOCK" => lock::lock(self, body).await,
            "UNLOCK" => lock::unlock(self).await,
            _ => Ok(options(empty(StatusCode::METHOD_NOT_ALLOWED))),
        }
    }

    /// The conditions that the request makes in `If`.
    async fn conditions(&self) -> Result<Conditions, Halt> {
        let conditions = Conditions::of(&self.parts.headers)?;
        conditions.check(self).await?;
        // That of a file that is written is checked with the writing.
        if self.parts.method != Method::PUT {
            self.target.place.check(&self.parts.method, &self.parts.headers).await?;
        }
        Ok(conditions)
    }

    /// Whether what is about to be changed, each as far as it says, is free or locked by the one who
    /// asks; and the conditions of the request.
    async fn may_change(&self, touched: &[(&[u8], Reach)]) -> Result<(), Halt> {
        let conditions = self.conditions().await?;
        let locks = self.dav.locks();
        for (key, reach) in touched {
            locks
                .check(key, *reach, &self.owner, conditions.tokens(), Instant::now())
                .map_err(|root| Halt::locked(&self.target.href_of_key(&root)))?;
        }
        Ok(())
    }

    /// For what is only remembered here; whatever else is changed, the machine asks for the right.
    fn may_write(&self) -> Result<(), Halt> {
        let rights = self.target.place.machine.welcome().rights;
        if rights.write { Ok(()) } else { Err(Code::NoRight.into()) }
    }

    fn header(&self, name: &str) -> Result<Option<&str>, Halt> {
        let mut values = self.parts.headers.get_all(name).into_iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(Some).map_err(|_| Halt::BAD),
            (Some(_), Some(_)) => Err(Halt::BAD),
        }
    }

    /// `Depth`, or what is meant without it.
    fn depth(&self, default: Depth) -> Result<Depth, Halt> {
        match self.header("depth")?.map(str::trim) {
            None => Ok(default),
            Some("0") => Ok(Depth::Zero),
            Some("1") => Ok(Depth::One),
            Some(text) if text.eq_ignore_ascii_case("infinity") => Ok(Depth::Infinity),
            Some(_) => Err(Halt::BAD),
        }
    }
}

/// How far down a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    Zero,
    One,
    Infinity,
}

impl Dav {
    fn locks(&self) -> MutexGuard<'_, Locks> {
        self.0.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dead(&self) -> MutexGuard<'_, Dead> {
        self.0.dead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says what can be asked for.
fn options(mut response: Response<Body>) -> Response<Body> {
    let fields = response.headers_mut();
    fields.insert(header::ALLOW, HeaderValue::from_static(METHODS));
    fields.insert("dav", HeaderValue::from_static("1, 2"));
    fields.insert("ms-author-via", HeaderValue::from_static("DAV"));
    response
}

/// Asks for a password where that would help. Only here: a browser would show a window of its own.
fn challenge(failure: Failure) -> Response<Body> {
    let mut response = failure.into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(BASIC));
    }
    response
}

/// Below what everything is.
const DAV: &str = "/dav";
const METHODS: &str =
    "OPTIONS, GET, HEAD, PUT, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK";
const BASIC: &str = "Basic realm=\"towline\", charset=\"UTF-8\"";
/// The longest body that is XML, in bytes.
const XML_LEN_MAX: usize = 1 << 20;
