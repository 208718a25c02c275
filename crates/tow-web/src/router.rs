//! Which address is served by what.

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{Response, StatusCode};
use axum::middleware::{from_fn, map_request, map_response};

use crate::answer::{Failure, seal};
use crate::body::{JSON_LEN_MAX, pace};
use crate::{archive, channel, dav, files, guest, me, page, run, sessions, shares, sign_in, tus};

/// Everything that may be asked for; each request brings its `Connection` as an extension.
pub(crate) fn router() -> Router {
    Router::new()
        .merge(page::routes())
        .merge(sign_in::routes())
        .merge(me::routes())
        .merge(archive::routes())
        .merge(channel::routes())
        .merge(dav::routes())
        .merge(files::routes())
        .merge(run::routes())
        .merge(sessions::routes())
        .merge(shares::routes())
        .merge(tus::routes())
        .fallback(|| async { NOTHING })
        .method_not_allowed_fallback(|| async { NOT_SO })
        .layer(DefaultBodyLimit::max(JSON_LEN_MAX))
        .layer(map_request(async |request: Request| pace(request)))
        .layer(from_fn(guest::check_host))
        .layer(map_response(sealed))
        .with_state(())
}

async fn sealed(mut response: Response<Body>) -> Response<Body> {
    seal(&mut response);
    response
}

const NOTHING: Failure = Failure::Http(StatusCode::NOT_FOUND, "there is nothing at this address");
const NOT_SO: Failure =
    Failure::Http(StatusCode::METHOD_NOT_ALLOWED, "not with this method at this address");
