//! Answers of WebDAV: conditions that are named in XML, and several statuses in one body.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use tow_node::ask::AskError;
use tow_proto::{Code, Refusal};

use super::xml::escape;
use crate::answer::{Failure, status_of};

/// Why a request ends before it did anything.
#[derive(Debug)]
pub(super) enum Halt {
    /// As everywhere.
    Failure(Failure),
    /// A condition of RFC 4918, 16, as an element.
    Condition(StatusCode, String),
}

/// What a handler gives.
pub(super) type Outcome = Result<Response<Body>, Halt>;

impl Halt {
    /// The request makes no sense.
    pub(super) const BAD: Self = Self::Failure(Failure::Http(
        StatusCode::BAD_REQUEST,
        "a field of the head that can't be understood",
    ));
    /// The body is not the XML that is expected.
    pub(super) const BAD_XML: Self =
        Self::Failure(Failure::Http(StatusCode::BAD_REQUEST, "XML that can't be understood"));
    /// A body where there is none.
    pub(super) const BODY: Self =
        Self::Failure(Failure::Http(StatusCode::UNSUPPORTED_MEDIA_TYPE, "no body is expected"));
    /// `If` does not hold, or `Overwrite: F` finds something.
    pub(super) const UNMET: Self = Self::Failure(Failure::Http(
        StatusCode::PRECONDITION_FAILED,
        "it is not what the condition says",
    ));
    /// The directory is missing.
    pub(super) const NO_PARENT: Self =
        Self::Failure(Failure::Http(StatusCode::CONFLICT, "the directory above it is missing"));
    /// Not on this host.
    pub(super) const OTHER_HOST: Self =
        Self::Failure(Failure::Http(StatusCode::BAD_GATEWAY, "another host"));
    /// Not below `/dav`.
    pub(super) const ELSEWHERE: Self =
        Self::Failure(Failure::Http(StatusCode::FORBIDDEN, "not below /dav/"));
    /// To itself, or to what it is in.
    pub(super) const SAME: Self =
        Self::Failure(Failure::Http(StatusCode::FORBIDDEN, "a place in or above itself"));
    /// Nobody moves or removes what a grant covers.
    pub(super) const ROOT: Self =
        Self::Failure(Failure::Http(StatusCode::FORBIDDEN, "the root stays where it is"));
    /// There are too many locks or properties.
    pub(super) const FULL: Self =
        Self::Failure(Failure::Http(StatusCode::INSUFFICIENT_STORAGE, "too many already"));

    /// Somebody has locked what is at `href`.
    pub(super) fn locked(href: &str) -> Self {
        let element =
            format!("<D:lock-token-submitted><D:href>{href}</D:href></D:lock-token-submitted>");
        Self::Condition(StatusCode::LOCKED, element)
    }

    /// The condition `name` of RFC 4918, 16.
    pub(super) fn condition(status: StatusCode, name: &str) -> Self {
        Self::Condition(status, format!("<D:{name}/>"))
    }

    pub(super) fn into_response(self) -> Response<Body> {
        match self {
            Self::Failure(failure) => failure.into_response(),
            Self::Condition(status, element) => {
                let body = format!("{HEAD}<D:error xmlns:D=\"DAV:\">{element}</D:error>");
                xml(status, body)
            }
        }
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Failure(refusal.into())
    }
}

impl From<Code> for Halt {
    fn from(code: Code) -> Self {
        Self::Failure(code.into())
    }
}

impl From<AskError> for Halt {
    fn from(error: AskError) -> Self {
        Self::Failure(error.into())
    }
}

/// An answer whose body is XML.
pub(super) fn xml(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(XML_TYPE));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What was left undone of something that was done in part: each URL, and why.
pub(super) fn partly(failures: &[(String, Refusal)]) -> Response<Body> {
    let mut body = format!("{HEAD}<D:multistatus xmlns:D=\"DAV:\">");
    for (href, why) in failures {
        let status = status_line(status_of(why.code));
        let sentence = escape(why.code.sentence());
        body.push_str(&format!(
            "<D:response><D:href>{href}</D:href><D:status>{status}</D:status>\
            <D:responsedescription>{sentence}</D:responsedescription></D:response>"
        ));
    }
    body.push_str("</D:multistatus>");
    xml(StatusCode::MULTI_STATUS, body)
}

/// A status as it stands in a body.
pub(super) fn status_line(status: StatusCode) -> String {
    format!("HTTP/1.1 {} {}", status.as_str(), status.canonical_reason().unwrap_or_default())
}

/// How every XML begins.
pub(super) const HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n";
pub(super) const XML_TYPE: &str = "application/xml; charset=utf-8";
