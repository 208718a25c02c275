//! Answers: refusals as JSON with a status, and the header fields that every answer carries.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use tow_node::ask::AskError;
use tow_proto::{ByteString, Code, Refusal};

use crate::path::below_root;

/// Why a request is not answered as hoped.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The machine's own no.
    Refused(Refusal),
    /// A no of HTTP's own, in words for a person.
    Http(StatusCode, &'static str),
    /// The same, of what was asked.
    Told(StatusCode, String),
}

impl Failure {
    /// The same with the path as the API has it, below `root`.
    pub(crate) fn below(mut self, root: &ByteString) -> Self {
        if let Self::Refused(refusal) = &mut self
            && let Some(path) = &refusal.path
            // A program has a name that is no path.
            && path.as_bytes().starts_with(b"/")
        {
            refusal.path = below_root(root, path.as_bytes()).map(Into::into);
        }
        self
    }
}

/// Why one name of many was left out, as JSON.
pub(crate) fn why(refusal: &Refusal) -> impl Serialize {
    refused_facts(refusal)
}

/// What a handler gives.
pub(crate) type Answer = Result<Response<Body>, Failure>;

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorFacts<'a>,
}

#[derive(Serialize)]
struct ErrorFacts<'a> {
    code: u16,
    name: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a ByteString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    right: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Code> for Failure {
    fn from(code: Code) -> Self {
        Self::Refused(code.into())
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Refused(refusal) | AskError::Here(refusal) => Self::Refused(refusal),
            error => {
                tracing::warn!(%error, "the machine behind the door did not answer");
                Self::Http(StatusCode::BAD_GATEWAY, "the machine could not be asked")
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response<Body> {
        match &self {
            Self::Refused(refusal) => failed(status_of(refusal.code), &refused_facts(refusal)),
            Self::Http(status, message) => failed(*status, &own_facts(*status, message)),
            Self::Told(status, message) => failed(*status, &own_facts(*status, message)),
        }
    }
}

fn failed(status: StatusCode, error: &ErrorFacts<'_>) -> Response<Body> {
    let mut response = json(status, &ErrorBody { error: facts(error) });
    let fields = response.headers_mut();
    match status {
        StatusCode::SERVICE_UNAVAILABLE => {
            fields.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        StatusCode::TOO_MANY_REQUESTS => {
            fields.insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
        }
        _ => {}
    }
    response
}

fn refused_facts(refusal: &Refusal) -> ErrorFacts<'_> {
    ErrorFacts {
        code: refusal.code.number(),
        name: format!("{:?}", refusal.code),
        message: refusal.code.sentence().to_owned(),
        path: refusal.path.as_ref(),
        right: refusal.right.as_deref(),
        count: refusal.count,
    }
}

fn own_facts(status: StatusCode, message: &str) -> ErrorFacts<'static> {
    ErrorFacts {
        code: 0,
        name: status.canonical_reason().unwrap_or_default().replace(' ', ""),
        message: message.to_owned(),
        path: None,
        right: None,
        count: None,
    }
}

fn facts<'a>(error: &ErrorFacts<'a>) -> ErrorFacts<'a> {
    ErrorFacts { name: error.name.clone(), message: error.message.clone(), ..*error }
}

/// A JSON answer that nobody keeps.
pub(crate) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response<Body> {
    let mut response = Response::new(Body::from(serde_json::to_vec(body).unwrap_or_default()));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// The status that stands for a refusal (HTTP.md 3).
pub(crate) fn status_of(code: Code) -> StatusCode {
    match code {
        Code::UnknownKey
        | Code::ExpiredKey
        | Code::RemovedKey
        | Code::NoInvitation
        | Code::WrongCode
        | Code::UsedCode
        | Code::ExpiredCode
        | Code::SpentCode => StatusCode::UNAUTHORIZED,
        Code::NoRight | Code::OutsideRoot | Code::PermissionDenied | Code::ReadOnly => {
            StatusCode::FORBIDDEN
        }
        Code::NotFound | Code::UnknownSession | Code::ProgramNotFound => StatusCode::NOT_FOUND,
        Code::NotADirectory
        | Code::IsADirectory
        | Code::Exists
        | Code::NotEmpty
        | Code::IntoItself
        | Code::SpecialFile
        | Code::LinkLoop
        | Code::OtherFileSystem
        | Code::SessionRuns
        | Code::SessionEnded => StatusCode::CONFLICT,
        Code::Changed => StatusCode::PRECONDITION_FAILED,
        Code::Busy | Code::Stopping | Code::JoinBusy => StatusCode::SERVICE_UNAVAILABLE,
        Code::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
        Code::Io | Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// Sets what every answer carries, where the handler has not said otherwise.
pub(crate) fn seal(response: &mut Response<Body>) {
    let fields = response.headers_mut();
    for (name, value) in SEAL {
        let name = HeaderName::from_static(name);
        fields.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

const SEAL: [(&str, &str); 6] = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-frame-options", "DENY"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"),
];
