//! Signing in and out: a browser changes an invitation, a share or a tunnel's link for a cookie and a
//! token (HTTP.md 2.1).

use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Extension};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use tow_node::serve::BROWSER_IDLE_MAX;
use tow_node::visitor::VisitorSecret;
use tow_proto::Code;

use crate::answer::{Answer, Failure, empty, json};
use crate::guest::{FOREIGN, Guest, cookie_name, is_own_origin};
use crate::machine::{House, Machine};
use crate::me::Me;
use crate::server::Connection;

pub(crate) fn routes() -> Router {
    // It is kept for somebody whom nobody knows yet.
    let sign_in = post(sign_in).layer(DefaultBodyLimit::max(SIGN_IN_LEN_MAX));
    Router::new().route("/api/v1/signin", sign_in).route("/api/v1/signout", post(sign_out))
}

#[derive(Deserialize)]
struct SignIn {
    secret: String,
    #[serde(default)]
    name: String,
}

#[derive(Serialize)]
struct SignedIn {
    token: String,
    me: Me,
}

async fn sign_in(
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer {
    if !is_own_origin(&headers, &connection) {
        return Err(FOREIGN);
    }
    let (from, now) = (connection.from.ip(), Instant::now());
    if connection.throttle.is_spent(from, now) {
        return Err(Failure::Http(StatusCode::TOO_MANY_REQUESTS, "too many failures"));
    }
    let asked: SignIn = serde_json::from_slice(&body).map_err(|_| Code::Malformed)?;
    let secret = take_in(&connection, &asked).inspect_err(|_| {
        connection.throttle.count(from, now);
    })?;
    let machine = match &connection.house {
        House::Here(desk) => Machine::Here(desk.visitor(&secret, connection.from)?),
        House::There(remote) => Machine::There(remote.clone()),
    };
    let me = Me::of(&machine, &secret);
    let mut response = json(StatusCode::OK, &SignedIn { token: secret.page_token(), me });
    set_cookie(&mut response, &headers, &connection, Some(&secret));
    Ok(response)
}

fn take_in(connection: &Connection, asked: &SignIn) -> Result<VisitorSecret, Failure> {
    match &connection.house {
        House::Here(desk) => Ok(desk.sign_in(&asked.secret, &asked.name, connection.from)?),
        House::There(remote) => remote.sign_in(&asked.secret).ok_or_else(|| Code::WrongCode.into()),
    }
}

async fn sign_out(
    Extension(connection): Extension<Connection>,
    guest: Guest,
    headers: HeaderMap,
) -> Answer {
    if let (House::Here(desk), Machine::Here(visitor)) = (&connection.house, &guest.machine) {
        desk.sign_out(visitor);
    }
    let mut response = empty(StatusCode::NO_CONTENT);
    set_cookie(&mut response, &headers, &connection, None);
    Ok(response)
}

fn set_cookie(
    response: &mut Response<Body>,
    headers: &HeaderMap,
    connection: &Connection,
    secret: Option<&VisitorSecret>,
) {
    let Some(name) = cookie_name(headers, connection) else { return };
    let secure = if connection.is_tls { "; Secure" } else { "" };
    let (value, age) = match secret {
        Some(secret) => (secret.to_text(), COOKIE_AGE_SECS),
        None => (String::new().into(), 0),
    };
    let cookie =
        format!("{name}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}", *value);
    if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}

const SIGN_IN_LEN_MAX: usize = 4 << 10;
/// The key's own end is what counts, and that moves; a cookie is set once.
const COOKIE_AGE_SECS: u64 = 30 * 24 * 3600;
const _: () = assert!(COOKIE_AGE_SECS >= BROWSER_IDLE_MAX.as_secs());
