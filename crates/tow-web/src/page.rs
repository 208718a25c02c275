//! The page: what `cargo x web` built, embedded in the binary.

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::routing::get;
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::answer::{Answer, Failure};

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Built;

pub(crate) fn routes() -> Router {
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { front(&headers) }))
        .route("/assets/{*path}", get(asset))
        .route("/{file}", get(top))
        .route("/healthz", get(|| async { "ok\n" }))
}

fn front(headers: &HeaderMap) -> Answer {
    let mut response = match file("index.html", headers) {
        Some(response) => response,
        None => Response::new(Body::from(NOT_BUILT)),
    };
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Answer {
    let mut response = file(&format!("assets/{path}"), &headers).ok_or(GONE)?;
    // Their names are made of their content.
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    response.headers_mut().insert(header::CACHE_CONTROL, forever);
    Ok(response)
}

/// Icons and the like beside the page.
async fn top(Path(name): Path<String>, headers: HeaderMap) -> Answer {
    file(&name, &headers).ok_or(GONE)
}

/// A file of the page in the smallest form that the browser takes.
fn file(name: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let plain = Built::get(name)?;
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let takes = |coding: &str| {
        accepted.is_some_and(|accepted| {
            accepted.split(',').any(|one| one.split(';').next().unwrap_or("").trim() == coding)
        })
    };
    let packed = [("br", ".br"), ("gzip", ".gz")].into_iter().find_map(|(coding, suffix)| {
        let packed = takes(coding).then(|| Built::get(&format!("{name}{suffix}"))).flatten()?;
        Some((coding, packed))
    });
    let (coding, found) = match packed {
        Some((coding, packed)) => (Some(coding), packed),
        None => (None, clone_of(&plain)),
    };
    let etag = format!("\"{}\"", hex(&found.metadata.sha256_hash()[..16]));
    let mut response = if is_known(headers, &etag) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        Response::new(Body::from(found.data))
    };
    let fields = response.headers_mut();
    let kind = HeaderValue::from_str(plain.metadata.mimetype()).ok()?;
    fields.insert(header::CONTENT_TYPE, kind);
    fields.insert(header::ETAG, HeaderValue::from_str(&etag).ok()?);
    fields.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if let Some(coding) = coding {
        fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    Some(response)
}

fn clone_of(file: &EmbeddedFile) -> EmbeddedFile {
    EmbeddedFile { data: file.data.clone(), metadata: file.metadata.clone() }
}

fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Everything from here, nothing from elsewhere, and no script but our files. xterm.js sets styles
/// of its own.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; font-src 'self'; \
    worker-src 'self'; manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; \
    form-action 'none'; require-trusted-types-for 'script'";
const GONE: Failure = Failure::Http(StatusCode::NOT_FOUND, "there is nothing at this address");
const NOT_BUILT: &str = "<!doctype html><meta charset=utf-8><title>towline</title>\
    <p>This <code>tow</code> was built without the page. <code>cargo x web</code> makes it, then \
    build again. Everything else is here: see docs/HTTP.md.";
