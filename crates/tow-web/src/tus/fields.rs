//! The header fields of tus.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::answer::Failure;
use axum::http::StatusCode;

pub(super) const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
pub(super) const VERSION: HeaderName = HeaderName::from_static("tus-version");
pub(super) const EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
pub(super) const MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
pub(super) const CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
pub(super) const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(super) const LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(super) const DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
pub(super) const CONCAT: HeaderName = HeaderName::from_static("upload-concat");
pub(super) const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
pub(super) const EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
pub(super) const CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
pub(super) const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// The only version there is.
pub(super) const ONE: HeaderValue = HeaderValue::from_static("1.0.0");

/// The text of a field; `None` where it is missing.
///
/// # Errors
/// It is there twice, or is no text.
pub(super) fn text<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h str>, Failure> {
    let mut values = headers.get_all(name).into_iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| BAD),
        (Some(_), Some(_)) => Err(BAD),
    }
}

/// The number of a field.
///
/// # Errors
/// It is missing, there twice, or no number of bytes.
pub(super) fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, Failure> {
    let text = text(headers, name)?.ok_or(MISSING)?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BAD);
    }
    text.parse().map_err(|_| BAD)
}

/// Whether what comes is a part of a file.
pub(super) fn is_content(headers: &HeaderMap) -> bool {
    let content_type = headers.get(axum::http::header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let bare = content_type.split(';').next().unwrap_or_default().trim();
    bare.eq_ignore_ascii_case("application/offset+octet-stream")
}

const MISSING: Failure = Failure::Http(StatusCode::BAD_REQUEST, "a field of tus is missing");
pub(super) const BAD: Failure =
    Failure::Http(StatusCode::BAD_REQUEST, "a field of tus that can't be understood");
