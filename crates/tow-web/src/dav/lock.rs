//! `LOCK` and `UNLOCK`.

use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode};
use tow_node::ask::stat::Links;
use tow_node::ask::write::{Writer, Written};
use tow_proto::Code;
use tow_proto::message::{Exists, Write};

use super::answer::{HEAD, Halt, Outcome, xml};
use super::describe::active;
use super::locks::{Lock, NoLock, Reach, Scope, Span};
use super::target::Target;
use super::xml::{elements, is_dav, parse, whole};
use super::{Call, Depth, XML_LEN_MAX};
use crate::answer::{Failure, empty};
use crate::body;

pub(super) async fn lock(call: Call, body: Body) -> Outcome {
    let body = body::read(body, XML_LEN_MAX).await?;
    // A lock is of no use to those who may not write, and would keep others out.
    call.may_write()?;
    let lasts = lasts(call.header("timeout")?.unwrap_or_default());
    if body.is_empty() {
        return refresh(&call, lasts).await;
    }
    let (scope, says) = wanted(&body)?;
    let span = match call.depth(Depth::Infinity)? {
        Depth::Zero => Span::Itself,
        Depth::Infinity => Span::Tree,
        Depth::One => return Err(Halt::BAD),
    };
    let is_there = call.target.place.look(Links::Follow).await?.is_some();
    if is_there {
        call.conditions().await?;
    } else {
        call.may_change(&[(&call.target.key, Reach::Name)]).await?;
    }
    let now = Instant::now();
    let lock = Lock {
        token: token()?,
        key: call.target.key.clone(),
        scope,
        span,
        owner: call.owner.clone(),
        says,
        lasts,
        until: now + lasts,
    };
    call.dav.locks().add(lock.clone(), now).map_err(|no| match no {
        NoLock::Taken(key) => Halt::locked(&call.target.href_of_key(&key)),
        NoLock::Full => Halt::FULL,
    })?;
    // A name that is not there yet gets an empty file, which is what others see of the lock.
    if !is_there && let Err(halt) = create(&call.target).await {
        call.dav.locks().remove(&lock.key, &lock.token);
        return Err(halt);
    }
    let status = if is_there { StatusCode::OK } else { StatusCode::CREATED };
    let mut response = discovered(status, &lock, &call.target, now);
    if let Ok(token) = HeaderValue::from_str(&format!("<{}>", lock.token)) {
        response.headers_mut().insert("lock-token", token);
    }
    Ok(response)
}

async fn refresh(call: &Call, lasts: Duration) -> Outcome {
    let conditions = call.conditions().await?;
    let [token] = conditions.tokens() else { return Err(Halt::BAD) };
    let now = Instant::now();
    let lock = call.dav.locks().refresh(&call.target.key, token, &call.owner, lasts, now);
    let lock = lock.ok_or_else(|| unknown(StatusCode::PRECONDITION_FAILED))?;
    Ok(discovered(StatusCode::OK, &lock, &call.target, now))
}

pub(super) async fn unlock(call: Call) -> Outcome {
    let token = call.header("lock-token")?.ok_or(Halt::BAD)?.trim();
    let token = token.strip_prefix('<').and_then(|token| token.strip_suffix('>'));
    let token = token.ok_or(Halt::BAD)?;
    let mut locks = call.dav.locks();
    let of = locks.on(&call.target.key, Instant::now());
    let lock = of.iter().find(|lock| lock.token == token);
    if lock.is_some_and(|lock| lock.owner != call.owner) {
        return Err(Failure::Http(StatusCode::FORBIDDEN, "somebody else's lock").into());
    }
    if lock.is_none() || !locks.remove(&call.target.key, token) {
        return Err(unknown(StatusCode::CONFLICT));
    }
    Ok(empty(StatusCode::NO_CONTENT))
}

fn unknown(status: StatusCode) -> Halt {
    Halt::condition(status, "lock-token-matches-request-uri")
}

fn discovered(status: StatusCode, lock: &Lock, target: &Target, now: Instant) -> Response<Body> {
    let active = active(lock, target, now);
    xml(
        status,
        format!(
            "{HEAD}<D:prop xmlns:D=\"DAV:\"><D:lockdiscovery>{active}</D:lockdiscovery></D:prop>"
        ),
    )
}

/// Which lock the body asks for, and what its holder says of itself.
fn wanted(body: &[u8]) -> Result<(Scope, String), Halt> {
    let document = parse(body)?;
    let root = document.root_element();
    let part = |local| elements(root).find(|node| is_dav(*node, local));
    let has = |part: Option<roxmltree::Node<'_, '_>>, local| {
        part.is_some_and(|part| elements(part).any(|node| is_dav(node, local)))
    };
    if !is_dav(root, "lockinfo") || !has(part("locktype"), "write") {
        return Err(Halt::BAD_XML);
    }
    let scope = part("lockscope");
    let scope = match (has(scope, "exclusive"), has(scope, "shared")) {
        (true, false) => Scope::Exclusive,
        (false, true) => Scope::Shared,
        _ => return Err(Halt::BAD_XML),
    };
    let says = part("owner").map(whole).unwrap_or_default();
    if says.len() > SAYS_LEN_MAX {
        return Err(Failure::Http(StatusCode::PAYLOAD_TOO_LARGE, "too much about the owner").into());
    }
    Ok((scope, says))
}

/// How long a lock lasts: what is asked for first, within bounds.
fn lasts(field: &str) -> Duration {
    let first = field.split(',').next().unwrap_or_default().trim();
    let secs = first.strip_prefix("Second-").and_then(|secs| secs.parse().ok());
    let asked = if first.eq_ignore_ascii_case("infinite") { Some(LASTS_MAX) } else { None };
    let asked = asked.or(secs.map(Duration::from_secs)).unwrap_or(LASTS);
    asked.clamp(LASTS_MIN, LASTS_MAX)
}

async fn create(target: &Target) -> Result<(), Halt> {
    let machine = &target.place.machine;
    let mut connection = machine.connect().await?;
    let write = Write { exists: Exists::Keep, size: Some(0), ..Write::whole(target.on_machine()) };
    let written = match Writer::begin(&mut connection, write).await {
        Ok(writer) => writer.finish().await,
        Err(error) => Err(error),
    };
    let written = written.map_err(|error| match error.into() {
        Failure::Refused(refusal) if refusal.code == Code::NotFound => Halt::NO_PARENT,
        failure => Halt::Failure(target.place.say(failure)),
    })?;
    if matches!(written, Written::Stored(_)) {
        machine.keep(connection);
    }
    Ok(())
}

/// A random UUID (RFC 9562, version 4), which is what a token of `opaquelocktoken` holds.
fn token() -> Result<String, Halt> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| Code::Internal)?;
    let number = u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | (4 << 76) | (2 << 62);
    let digits = format!("{number:032x}");
    let (a, rest) = digits.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    Ok(format!("opaquelocktoken:{a}-{b}-{c}-{d}-{e}"))
}

const LASTS: Duration = Duration::from_secs(600);
const LASTS_MIN: Duration = Duration::from_secs(1);
const LASTS_MAX: Duration = Duration::from_secs(3600);
const SAYS_LEN_MAX: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_lasts_as_long_as_is_asked_within_bounds() {
        for (field, secs) in [
            ("", 600),
            ("Second-60", 60),
            ("Infinite, Second-4100000000", 3600),
            ("Second-4100000000", 3600),
            ("Second-0", 1),
            ("Second-x", 600),
        ] {
            assert_eq!(lasts(field).as_secs(), secs, "{field}");
        }
    }

    #[test]
    fn tokens_are_uuids_and_no_two_are_the_same() {
        let (one, other) = (token().ok().unwrap(), token().ok().unwrap());
        assert_ne!(one, other);
        let uuid = one.strip_prefix("opaquelocktoken:").unwrap();
        let lens: Vec<_> = uuid.split('-').map(str::len).collect();
        assert_eq!(lens, [8, 4, 4, 4, 12], "{uuid}");
        assert_eq!(&uuid[14..15], "4");
        assert!("89ab".contains(&uuid[19..20]), "{uuid}");
    }

    #[test]
    fn a_lock_has_a_scope_and_writes() {
        let ask = |inner: &str| {
            wanted(format!("<D:lockinfo xmlns:D='DAV:'>{inner}</D:lockinfo>").as_bytes()).ok()
        };
        let write = "<D:locktype><D:write/></D:locktype>";
        let scope = |name: &str| format!("<D:lockscope><D:{name}/></D:lockscope>");
        let (scope_read, says) =
            ask(&format!("{write}{}<D:owner>me &amp; you</D:owner>", scope("shared"))).unwrap();
        assert_eq!((scope_read, says.contains("me &amp; you")), (Scope::Shared, true));
        assert_eq!(ask(&format!("{write}{}", scope("exclusive"))).unwrap().0, Scope::Exclusive);
        for bad in
            [String::new(), write.to_owned(), scope("shared"), format!("{write}{}", scope("x"))]
        {
            assert!(ask(&bad).is_none(), "{bad}");
        }
    }
}
