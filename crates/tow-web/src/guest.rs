//! Who asks: an app password or a browser's cookie, and whether the request is their own doing and not
//! that of a page of somebody else's (HTTP.md 2).

use std::net::IpAddr;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Extension, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, Response, StatusCode, header};
use axum::middleware::Next;
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tow_node::visitor::VisitorSecret;
use tow_proto::{Code, Refusal};

use crate::answer::Failure;
use crate::machine::{House, Machine};
use crate::server::Connection;

/// Somebody known, for the time of one request.
#[derive(Clone)]
pub(crate) struct Guest {
    /// What they ask.
    pub(crate) machine: Machine,
    /// What they hold.
    pub(crate) secret: VisitorSecret,
    /// How they showed it.
    pub(crate) by: By,
}

/// How a guest said who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// `Authorization`, which a page of somebody else's can't set.
    Password,
    /// A cookie, and proof that our own page sends it.
    Page,
    /// A cookie alone: the page's token comes in the first message of the WebSocket.
    Cookie,
}

impl<S: Sync> FromRequestParts<S> for Guest {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Self::own(parts, parts.extensions.get::<Connection>().ok_or(Code::Internal)?)
    }
}

impl Guest {
    /// Who sends this head, and not a page of somebody else's.
    pub(crate) fn own(parts: &Parts, connection: &Connection) -> Result<Self, Failure> {
        let guest = Self::of(&parts.method, &parts.headers, connection)?;
        if guest.by == By::Cookie {
            return Err(FOREIGN);
        }
        Ok(guest)
    }

    /// Who sends this head. One with [`By::Cookie`] has still to show the page's token.
    pub(crate) fn of(
        method: &Method,
        headers: &HeaderMap,
        connection: &Connection,
    ) -> Result<Self, Failure> {
        let now = Instant::now();
        if connection.throttle.is_spent(connection.from.ip(), now) {
            return Err(Failure::Http(StatusCode::TOO_MANY_REQUESTS, "too many failures"));
        }
        let is_own = is_own_origin(headers, connection);
        let (secret, by) = match headers.get(header::AUTHORIZATION) {
            Some(_) if !is_own => return Err(FOREIGN),
            Some(value) => {
                let secret = value.to_str().ok().and_then(password);
                (secret.ok_or_else(|| stranger(connection)), By::Password)
            }
            None => {
                let secret = cookie(headers, connection).ok_or(Failure::from(Code::UnknownKey));
                let by = secret
                    .as_ref()
                    .map_or(By::Cookie, |secret| by_cookie(method, headers, is_own, secret));
                (secret, by)
            }
        };
        let secret = secret?;
        let machine = machine(&secret, connection).inspect_err(|failure| {
            // One whose time is over has guessed nothing: their page must not keep them from signing
            // in again.
            let is_unknown = |refusal: &Refusal| refusal.code == Code::UnknownKey;
            if matches!(failure, Failure::Refused(refusal) if is_unknown(refusal)) {
                connection.throttle.count(connection.from.ip(), now);
            }
        })?;
        connection.prove(&machine)?;
        Ok(Self { machine, secret, by })
    }
}

fn stranger(connection: &Connection) -> Failure {
    connection.throttle.count(connection.from.ip(), Instant::now());
    Code::UnknownKey.into()
}

fn machine(secret: &VisitorSecret, connection: &Connection) -> Result<Machine, Failure> {
    match &connection.house {
        House::Here(desk) => Ok(Machine::Here(desk.visitor(secret, connection.from)?)),
        House::There(remote) if remote.knows(secret) => Ok(Machine::There(remote.clone())),
        House::There(_) => Err(Code::UnknownKey.into()),
    }
}

fn by_cookie(method: &Method, headers: &HeaderMap, is_own: bool, secret: &VisitorSecret) -> By {
    let has_token = shows_token(headers, secret);
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match () {
        () if !is_own => By::Cookie,
        () if has_token => By::Page,
        // Only a browser says so, and it can't be made to lie.
        () if reads && fetch_site(headers).is_some() => By::Page,
        () => By::Cookie,
    }
}

/// Whether nothing in the head says that a page of another origin sends it.
pub(crate) fn is_own_origin(headers: &HeaderMap, connection: &Connection) -> bool {
    let is_own_site = fetch_site(headers).is_none_or(|site| matches!(site, "same-origin" | "none"));
    let own = host(headers).map(|host| format!("{}://{host}", scheme(connection)));
    let origin = headers.get(header::ORIGIN);
    let is_own_origin =
        origin.is_none_or(|origin| own.is_some_and(|own| origin.as_bytes() == own.as_bytes()));
    is_own_site && is_own_origin
}

fn fetch_site(headers: &HeaderMap) -> Option<&str> {
    // Something that is not even text is not "same-origin" either.
    headers.get("sec-fetch-site").map(|site| site.to_str().unwrap_or("cross-site"))
}

fn scheme(connection: &Connection) -> &'static str {
    if connection.is_tls { "https" } else { "http" }
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// The secret of `Authorization`: `Bearer TOKEN`, or Basic with any user and the token.
fn password(value: &str) -> Option<VisitorSecret> {
    let (scheme, rest) = value.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return VisitorSecret::parse(rest);
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = zeroize::Zeroizing::new(STANDARD.decode(rest).ok()?);
    let pair = std::str::from_utf8(&pair).ok()?;
    VisitorSecret::parse(pair.split_once(':')?.1)
}

fn cookie(headers: &HeaderMap, connection: &Connection) -> Option<VisitorSecret> {
    let name = cookie_name(headers, connection)?;
    let pairs = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let secrets = pairs.flat_map(|pairs| pairs.split(';')).filter_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        if key == name { VisitorSecret::parse(value) } else { None }
    });
    let secrets: Vec<_> = secrets.collect();
    // Another port of this host can put a cookie of this name before ours; the token is ours alone.
    let own = secrets.iter().find(|secret| shows_token(headers, secret));
    own.or(secrets.first()).cloned()
}

fn shows_token(headers: &HeaderMap, secret: &VisitorSecret) -> bool {
    let token = headers.get(PAGE_TOKEN).and_then(|token| token.to_str().ok());
    token.is_some_and(|token| secret.accepts(token))
}

/// The cookie of this door: a browser keeps one jar for all ports of a host.
pub(crate) fn cookie_name(headers: &HeaderMap, connection: &Connection) -> Option<String> {
    let (_, port) = split_host(host(headers)?)?;
    let port = port.unwrap_or(if connection.is_tls { 443 } else { 80 });
    let prefix = if connection.is_tls { "__Host-" } else { "" };
    Some(format!("{prefix}tow-{port}"))
}

/// Refuses a request that does not name this machine: a name that was bent to our address by
/// somebody else's DNS is somebody else's origin.
pub(crate) async fn check_host(
    Extension(connection): Extension<Connection>,
    request: Request,
    next: Next,
) -> Response<Body> {
    connection.leisure.end();
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).into_iter();
    let (Some(named), None) = (hosts.next().and_then(|host| host.to_str().ok()), hosts.next())
    else {
        return NO_HOST.into_response();
    };
    if headers.contains_key(header::TRANSFER_ENCODING)
        && headers.contains_key(header::CONTENT_LENGTH)
    {
        return TWO_LENGTHS.into_response();
    }
    if !is_ours(named, &connection) {
        return OTHER_HOST.into_response();
    }
    let authority = request.uri().authority().map(|authority| authority.as_str());
    if authority.is_some_and(|authority| !authority.eq_ignore_ascii_case(named)) {
        return OTHER_HOST.into_response();
    }
    next.run(request).await
}

fn is_ours(host: &str, connection: &Connection) -> bool {
    let Some((name, _)) = split_host(host) else { return false };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    if bare.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let machine = match &connection.house {
        House::Here(desk) => desk.machine(),
        House::There(_) => "localhost",
    };
    name == "localhost"
        || name.ends_with(".localhost")
        || name == machine.to_ascii_lowercase()
        || connection.options.names.iter().any(|own| own.eq_ignore_ascii_case(&name))
}

/// Name and port of a `Host`.
fn split_host(host: &str) -> Option<(&str, Option<u16>)> {
    let after_name = match host.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at_checked(after_name)?;
    match port.strip_prefix(':') {
        Some(port) => Some((name, Some(port.parse().ok()?))),
        None if port.is_empty() && !name.is_empty() => Some((name, None)),
        None => None,
    }
}

/// The field in which a page shows its token.
pub(crate) const PAGE_TOKEN: HeaderName = HeaderName::from_static("x-tow-token");
pub(crate) const FOREIGN: Failure =
    Failure::Http(StatusCode::FORBIDDEN, "a request that our own page did not send");
const NO_HOST: Failure = Failure::Http(StatusCode::BAD_REQUEST, "a request has one Host");
const TWO_LENGTHS: Failure = Failure::Http(StatusCode::BAD_REQUEST, "a body has one length");
const OTHER_HOST: Failure = Failure::Http(
    StatusCode::MISDIRECTED_REQUEST,
    "this machine has another name; tow serve --web-name NAME gives it one more",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_a_name_and_perhaps_a_port() {
        assert_eq!(split_host("box:8690"), Some(("box", Some(8690))));
        assert_eq!(split_host("[::1]:80"), Some(("[::1]", Some(80))));
        assert_eq!(split_host("[::1]"), Some(("[::1]", None)));
        assert_eq!(split_host("127.0.0.1"), Some(("127.0.0.1", None)));
        for bad in ["", ":80", "a:b", "a:80:80", "[::1", "[::1]x", "a:99999"] {
            assert!(split_host(bad).is_none_or(|(name, _)| name.is_empty()), "{bad}");
        }
    }

    #[test]
    fn a_password_comes_as_bearer_or_as_basic_with_any_user() {
        let secret = VisitorSecret::random().unwrap();
        let token = secret.to_token();
        let basic = |user: &str| STANDARD.encode(format!("{user}:{}", *token));
        for value in [
            format!("Bearer {}", *token),
            format!("bearer  {}", *token),
            format!("Basic {}", basic("me")),
            format!("BASIC {}", basic("")),
        ] {
            assert_eq!(password(&value).and_then(|found| found.key()), secret.key());
        }
        for bad in ["", "Bearer", "Basic !!", "Digest x", "Bearer nothing"] {
            assert!(password(bad).is_none(), "{bad}");
        }
    }
}
